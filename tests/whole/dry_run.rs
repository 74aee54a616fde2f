//! `mainstay dry-run` in real checkouts, with the real Terraform.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::checkout::{Checkout, Ran, snapshot, write, write_program};
use insta::assert_snapshot;
use serde_json::Value;

/// A root module with one resource and one variable that has a value.
fn root(value: &str) -> String {
    format!(
        "variable \"size\" {{ default = \"{value}\" }}\nresource \"terraform_data\" \"it\" {{ input = var.size }}\n"
    )
}

/// A checkout with the roots `network` and `database` committed.
fn two_roots() -> Checkout {
    let checkout = Checkout::new();
    checkout.commit(&[
        ("network/main.tf", &root("small")),
        ("database/main.tf", &root("small")),
    ]);
    checkout
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn names(report: &Value) -> Vec<&str> {
    let all = report["workspaces"].as_array().unwrap();
    all.iter().map(|w| w["name"].as_str().unwrap()).collect()
}

#[test]
fn edits_that_are_not_committed_are_planned_and_only_where_they_are() {
    let checkout = two_roots();
    checkout.write("network/main.tf", &root("large"));
    checkout.write("network/new.tf", "output \"size\" { value = var.size }\n");
    let ran = checkout.run(&["dry-run"]).ended_with(2);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r#"
    network changes

     workspace  create  change  replace  destroy
     network         1                            N s

    Outputs of network
    +   size = "large"

    ── network ──
      fmt passed in N s
      validate passed in N s

    # terraform_data.it will be created
    +   id     = (known after apply)
    +   input  = "large"
    +   output = (known after apply)

    planned with what is not committed: network/main.tf, network/new.tf
    network: it names no backend and has no state here, so everything counts as new

    HEAD on main at HEAD · Terraform 1.11.4
    "#);
}

#[test]
fn where_nothing_differs_it_says_what_can_be_planned_all_the_same() {
    let checkout = two_roots();
    let ran = checkout.run(&["dry-run"]).ended_with(0);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r"
    No workspace is touched

    no workspace differs from main at HEAD; --workspace NAME plans one all the same: database,
      network

    HEAD on main at HEAD
    ");
}

#[test]
fn a_workspace_that_is_named_is_planned_although_it_does_not_differ() {
    let checkout = two_roots();
    let ran = checkout
        .run(&["dry-run", "--workspace", "database", "--format", "json"])
        .ended_with(2);
    let report = json(&ran);
    assert_eq!(report["schema"], "mainstay.report/1");
    assert_eq!(names(&report), ["database"]);
    assert_eq!(report["workspaces"][0]["plan"]["counts"]["create"], 1);
    assert_eq!(report["workspaces"][0]["on_merge"], Value::Null);
}

#[test]
fn a_workspace_that_nobody_knows_is_answered_with_the_nearest() {
    let checkout = two_roots();
    let ran = checkout.run(&["dry-run", "-w", "netwrok"]).ended_with(1);
    assert_snapshot!(ran.stderr, @"error: there is no workspace `netwrok` here; did you mean `network`?");
    let ran = checkout.run(&["dry-run", "-w", "xyz"]).ended_with(1);
    assert_snapshot!(ran.stderr, @"error: there is no workspace `xyz` here; there are `database`, `network`");
}

#[test]
fn another_base_is_compared_with() {
    let checkout = two_roots();
    checkout.git(&["tag", "before"]);
    checkout.commit(&[("network/main.tf", &root("large"))]);
    assert_eq!(
        names(&json(&checkout.run(&["dry-run", "--format", "json"]))),
        [""; 0]
    );
    let ran = checkout
        .run(&["dry-run", "--base", "before", "--format", "json"])
        .ended_with(2);
    assert_eq!(names(&json(&ran)), ["network"]);
    let ran = checkout.run(&["dry-run", "--base", "mian"]).ended_with(1);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r"
    error: the checkout cannot be read
      because `mian` names no commit in the repository in HERE/checkout/.git/; is it `main`?
    ");
}

#[test]
fn a_branch_is_compared_with_where_it_left_the_default_one() {
    let checkout = two_roots();
    checkout.git(&["switch", "--quiet", "--create", "mine"]);
    checkout.commit(&[("database/main.tf", &root("large"))]);
    // What main got since is not this branch's doing.
    checkout.git(&["switch", "--quiet", "main"]);
    checkout.commit(&[("network/main.tf", &root("large"))]);
    checkout.git(&["switch", "--quiet", "mine"]);
    let ran = checkout.run(&["dry-run", "--format", "json"]).ended_with(2);
    assert_eq!(names(&json(&ran)), ["database"]);
}

#[test]
fn the_markdown_is_the_comment_without_its_marker() {
    let checkout = two_roots();
    checkout.write("network/main.tf", &root("large"));
    let ran = checkout
        .run(&["dry-run", "--format", "markdown"])
        .ended_with(2);
    assert!(
        ran.stdout.starts_with("### `network` changes"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("<!--"), "{}", ran.stdout);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
}

#[test]
fn a_plan_without_changes_ends_with_0() {
    let checkout = Checkout::new();
    checkout.commit(&[("network/main.tf", "locals { a = 1 }\nterraform { required_version = \">= 1\" }\nvariable \"x\" { default = 1 }\nresource \"terraform_data\" \"none\" { count = 0 }\n")]);
    let ran = checkout.run(&["dry-run", "-w", "network"]).ended_with(0);
    assert!(ran.stdout.starts_with("No changes"), "{}", ran.stdout);
}

#[test]
fn a_folder_that_is_taken_away_is_said_and_nothing_is_destroyed_by_it() {
    let checkout = two_roots();
    std::fs::remove_dir_all(checkout.dir().join("database")).unwrap();
    let ran = checkout.run(&["dry-run"]).ended_with(0);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r"
    No workspace is planned: 1 folder gone

    The folder of database is gone. Nothing is destroyed by that: what it manages stays in the world.
      To destroy it, put the folder back with its resources taken out and merge that first; to leave
      it, take the workspace out of the declarations.

    HEAD on main at HEAD
    ");
}

#[test]
fn a_folder_below_names_the_same_checkout() {
    let checkout = two_roots();
    checkout.write("network/main.tf", &root("large"));
    checkout.write("network/deep/readme.md", "");
    let mut below = checkout.mainstay(&["dry-run", "--format", "json"]);
    below.current_dir(checkout.dir().join("network/deep"));
    assert_eq!(
        names(&json(&checkout.finish(below).ended_with(2))),
        ["network"]
    );
    let mut named = checkout.mainstay(&["dry-run", "checkout/database", "--format", "json"]);
    named.current_dir(checkout.folder());
    assert_eq!(
        names(&json(&checkout.finish(named).ended_with(2))),
        ["network"]
    );
}

#[test]
fn a_path_with_blanks_and_letters_of_other_alphabets_is_as_good_as_any() {
    let checkout = Checkout::named("my cörp ☂ infra");
    checkout.commit(&[
        ("réseau/main.tf", &root("small")),
        (
            "app/main.tf",
            "module \"it\" { source = \"../modules/a b\" }\n",
        ),
        ("modules/a b/main.tf", &root("small")),
    ]);
    checkout.write("modules/a b/main.tf", &root("large"));
    let ran = checkout.run(&["dry-run", "--format", "json"]).ended_with(2);
    let report = json(&ran);
    assert_eq!(names(&report), ["app"]);
    assert_eq!(
        report["workspaces"][0]["plan"]["changes"][0]["address"],
        "module.it.terraform_data.it"
    );
}

#[test]
fn variables_in_files_that_git_ignores_count() {
    let checkout = Checkout::new();
    checkout.commit(&[
        ("network/main.tf", &root("small")),
        (".gitignore", "*.tfvars\n*.tfstate\n.terraform*\n"),
    ]);
    checkout.write("network/terraform.tfvars", "size = \"from the file\"\n");
    let ran = checkout.run(&["dry-run", "-w", "network"]).ended_with(2);
    assert!(ran.stdout.contains("from the file"), "{}", ran.stdout);
}

#[test]
fn state_in_the_folder_is_planned_against_and_not_touched() {
    let checkout = Checkout::new();
    checkout.commit(&[
        ("network/main.tf", &root("small")),
        (".gitignore", "*.tfstate\n.terraform*\n"),
    ]);
    let folder = checkout.dir().join("network");
    for step in [&["init"][..], &["apply", "-auto-approve"]] {
        let done = crate::localfs::terraform(&folder)
            .args(step)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let ran = checkout.run(&["dry-run", "-w", "network"]).ended_with(0);
    assert!(ran.stdout.starts_with("No changes"), "{}", ran.stdout);
    checkout.write("network/main.tf", &root("large"));
    let ran = checkout.run(&["dry-run", "--format", "json"]).ended_with(2);
    assert_eq!(json(&ran)["workspaces"][0]["plan"]["counts"]["update"], 1);
}

#[test]
fn the_state_that_the_daemon_keeps_is_planned_against_in_a_copy() {
    let mut checkout = declared("");
    // What the daemon would have in its data folder after an apply.
    let made = Checkout::without_git("made");
    made.write("main.tf", &root("small"));
    for step in [
        &["init"][..],
        &["apply", "-auto-approve", "-var=size=declared"],
    ] {
        let done = crate::localfs::terraform(made.dir())
            .args(step)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let ran = checkout
        .run(&["dry-run", "-w", "network", "--format", "json"])
        .ended_with(2);
    assert_eq!(json(&ran)["workspaces"][0]["plan"]["counts"]["create"], 1);
    let var = checkout.folder().join("daemon/var");
    let config = mainstay::config::load(&checkout.folder().join("daemon/mainstay.toml"));
    let (config, declarations) = config.into_valid().unwrap();
    assert_eq!(config.data_dir, var);
    let kept = mainstay::worker::Places::new(&var)
        .state(&declarations[0].repo, &"network".parse().unwrap());
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::copy(made.dir().join("terraform.tfstate"), &kept).unwrap();
    let before = snapshot(&var);
    checkout.set("UNUSED", "");
    let ran = checkout
        .run(&["dry-run", "-w", "network", "--format", "json"])
        .ended_with(0);
    assert_eq!(json(&ran)["workspaces"][0]["state_note"], Value::Null);
    assert!(
        snapshot(&var) == before,
        "the daemon's folder is not as it was"
    );
}

/// A checkout of a repository that a daemon's settings declare, the workspace with more settings.
fn declared(more: &str) -> Checkout {
    let mut checkout = Checkout::new();
    let daemon = checkout.folder().join("daemon");
    write(&daemon.join("mainstay.toml"), "data_dir = \"var\"\n");
    write(
        &daemon.join("workspaces/acme.toml"),
        &format!(
            "repo = \"https://git.example.com/acme/infra.git\"\n\n[[workspace]]\nname = \"network\"\npath = \"net\"\n\
             environment = \"production\"\nvar_files = [\"../prod.tfvars\"]\n{more}\n"
        )
        .replace("../prod.tfvars", "prod.tfvars"),
    );
    checkout.commit(&[
        ("net/main.tf", &root("small")),
        ("net/prod.tfvars", "size = \"declared\"\n"),
        ("other/main.tf", &root("small")),
    ]);
    checkout.git(&["remote", "add", "origin", "git@git.example.com:acme/infra"]);
    checkout.set("MAINSTAY_CONFIG", daemon.join("mainstay.toml"));
    checkout
}

#[test]
fn the_declaration_is_found_by_the_remote_and_obeyed() {
    let checkout = declared("apply = \"on-approval\"");
    checkout.write("net/main.tf", &format!("{}# edited\n", root("small")));
    checkout.write("other/main.tf", &root("large"));
    let ran = checkout.run(&["dry-run", "--format", "json"]).ended_with(2);
    let report = json(&ran);
    assert_eq!(
        names(&report),
        ["network"],
        "what is not declared is not planned"
    );
    assert_eq!(report["workspaces"][0]["environment"], "production");
    assert_eq!(report["workspaces"][0]["on_merge"], "hold");
    assert!(
        ran.stdout.contains("declared"),
        "the variable file counts: {}",
        ran.stdout
    );
    // The same by --config.
    let file = checkout.folder().join("daemon/mainstay.toml");
    let mut named = checkout.mainstay(&["dry-run", "--format", "json", "--config"]);
    named.arg(file).env_remove("MAINSTAY_CONFIG");
    assert_eq!(
        names(&json(&checkout.finish(named).ended_with(2))),
        ["network"]
    );
}

#[test]
fn a_check_that_fails_is_an_error_and_one_that_warns_is_none() {
    let run = |on_failure| {
        format!(
            "checks = {{ run = [{{ name = \"own\", command = [\"false\"], on_failure = \"{on_failure}\" }}] }}"
        )
    };
    let ran = |on_failure| {
        let checkout = declared(&run(on_failure));
        checkout.write("net/main.tf", &root("large"));
        checkout.run(&["dry-run"])
    };
    let failed = ran("fail").ended_with(1);
    assert!(
        failed.stdout.contains("network changes · 1 check failed"),
        "{}",
        failed.stdout
    );
    ran("warn").ended_with(2);
}

#[test]
fn what_a_policy_denies_ends_with_3() {
    let checkout = declared("policies = [\"names\"]");
    let rule = "package main\n\ndeny contains \"it is declared\" if {\n  input.variables.size.value == \"declared\"\n  \
                input.mainstay.purpose == \"dry-run\"\n  input.mainstay.environment == \"production\"\n}\n";
    write(&checkout.folder().join("daemon/policies/names.rego"), rule);
    // What the checkout says of policies is nobody's.
    checkout.write("policies/names.rego", "package main\n");
    checkout.write("net/main.tf", &format!("{}# edited\n", root("small")));
    checkout.run(&["dry-run", "--format", "json"]).ended_with(3);
    checkout.write("net/prod.tfvars", "size = \"other\"\n");
    checkout.run(&["dry-run"]).ended_with(2);
}

#[test]
fn a_value_that_the_settings_inject_is_planned_with_and_not_shown() {
    let mut checkout = declared("env = { plan = [\"TF_VAR_key\"] }");
    checkout.set("TF_VAR_key", "the-key-of-the-kingdom");
    checkout.write(
        "net/main.tf",
        &format!(
            "{}variable \"key\" {{}}\nresource \"terraform_data\" \"k\" {{ input = var.key }}\n",
            root("small")
        ),
    );
    for format in ["text", "markdown", "json"] {
        let ran = checkout.run(&["dry-run", "--format", format]).ended_with(2);
        assert!(!ran.stdout.contains("the-key-of"), "{}", ran.stdout);
        assert!(ran.stdout.contains("terraform_data.k"), "{}", ran.stdout);
    }
}

#[test]
fn a_checkout_of_another_repository_is_said_not_to_be_declared() {
    let checkout = declared("");
    checkout.git(&[
        "remote",
        "set-url",
        "origin",
        "https://user:secret@git.example.com/acme/elsewhere.git",
    ]);
    let ran = checkout.run(&["dry-run", "-w", "other"]).ended_with(2);
    assert!(
        ran.stdout.contains(
            "no declaration is of this repository (its remote is git.example.com/acme/elsewhere)"
        ),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
}

#[test]
fn settings_that_are_named_and_missing_are_an_error() {
    let checkout = two_roots();
    let ran = checkout
        .run(&["dry-run", "--config", "none.toml"])
        .ended_with(1);
    assert_snapshot!(ran.stderr, @"error: there is no file none.toml, which `--config` names");
}

#[test]
fn a_folder_in_no_repository_says_so() {
    let checkout = Checkout::without_git("plain");
    checkout.write("main.tf", &root("small"));
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert_snapshot!(ran.stderr, @r"
    error: the checkout cannot be read
      because . is in no git repository; run `git init` there, or name a folder that is
    ");
    let ran = checkout.run(&["dry-run", "nowhere"]).ended_with(1);
    assert_snapshot!(ran.stderr, @r"
    error: the checkout cannot be read
      because cannot open nowhere
      because No such file or directory (os error 2)
    ");
}

#[test]
fn a_repository_without_commits_says_so() {
    let checkout = Checkout::new();
    checkout.write("main.tf", &root("small"));
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    let here = checkout.folder().to_string_lossy().into_owned();
    assert_snapshot!(ran.stderr.replace(&here, "HERE"), @r"
    error: the checkout cannot be read
      because the repository in HERE/checkout/.git/ has no commit to compare with; commit something first
    ");
}

#[test]
fn a_repository_without_terraform_says_what_was_looked_for() {
    let checkout = Checkout::new();
    checkout.commit(&[("README.md", "Nothing here.\n")]);
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert_snapshot!(ran.stable(&checkout), @"error: found no root module below HERE/checkout: no folder there holds `.tf` files with a provider, a backend, resources or modules; declare one in a file of `workspaces/`, or name another folder");
}

#[test]
fn hcl_that_does_not_parse_is_shown_with_its_place() {
    let checkout = two_roots();
    checkout.write("network/main.tf", "locals {\n  a = 1\n");
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r"
    Plan failed in network

    Failed
      network · plan: `plan` failed in network: Unclosed configuration block (main.tf:1)
        Correct the configuration.

     workspace  create  change  replace  destroy
     network                                      plan failed

    ── network ──
      Error: Unclosed configuration block
        at main.tf:1: locals {
        There is no closing brace for this block before the end of the file. This may be caused by
          incorrect brace nesting elsewhere in this file.
      fmt was skipped: it says the same as the failed plan
      validate was skipped: it says the same as the failed plan

    planned with what is not committed: network/main.tf

    HEAD on main at HEAD
    ");
}

#[test]
fn a_variable_without_a_value_is_named() {
    let checkout = two_roots();
    checkout.write(
        "network/main.tf",
        "variable \"region\" {}\nresource \"terraform_data\" \"it\" { input = var.region }\n",
    );
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r#"
    Plan failed in network

    Failed
      network · plan: `plan` failed in network: No value for required variable (main.tf:1)
        Give the variable a value: a default, a file in var_files, or TF_VAR_… named in env.

     workspace  create  change  replace  destroy
     network                                      plan failed

    ── network ──
      Error: No value for required variable
        at main.tf:1: variable "region" {}
        The root module input variable "region" is not set, and has no default value. Use a -var or
          -var-file command line argument to provide a value for this variable.
      fmt passed in N s
      validate passed in N s

    planned with what is not committed: network/main.tf

    HEAD on main at HEAD
    "#);
}

#[test]
fn a_module_that_is_not_there_is_named() {
    let checkout = two_roots();
    checkout.write(
        "network/main.tf",
        "module \"site\" {\n  source = \"../modules/site\"\n}\n",
    );
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r#"
    Plan failed in network

    Failed
      network · init: `init` failed in network: Unreadable module directory, and 1 more
        Correct the configuration; terraform init shows the same by hand.

     workspace  create  change  replace  destroy
     network                                      init failed

    ── network ──
      Error: Unreadable module directory
        Unable to evaluate directory symlink: lstat ../modules: no such file or directory
      Error: Unreadable module directory
        The directory  could not be read for module "site" at main.tf:1.
      fmt passed in N s

    planned with what is not committed: network/main.tf

    HEAD on main at HEAD
    "#);
}

#[test]
fn one_failure_does_not_hide_the_plan_of_another_workspace() {
    let checkout = two_roots();
    checkout.write(
        "network/main.tf",
        "resource \"terraform_data\" \"it\" { input = var.none }\n",
    );
    checkout.write("database/main.tf", &root("large"));
    let ran = checkout.run(&["dry-run", "--format", "json"]).ended_with(1);
    let report = json(&ran);
    assert_eq!(names(&report), ["database", "network"]);
    assert_eq!(report["workspaces"][0]["progress"], "planned");
    assert_eq!(report["workspaces"][1]["progress"], "failed");
    assert!(report["workspaces"][1]["failure"]["diagnostics"][0]["line"].is_number());
}

#[test]
fn a_checkout_after_init_is_planned_and_its_working_folder_not_used() {
    let checkout = Checkout::new();
    checkout.commit(&[
        ("network/main.tf", &root("small")),
        (".gitignore", ".terraform*\n"),
    ]);
    checkout.write("network/.terraform/environment", "no-such-workspace");
    let ran = checkout.run(&["dry-run", "-w", "network"]).ended_with(2);
    assert!(ran.stdout.starts_with("network changes"), "{}", ran.stdout);
}

#[test]
fn terraform_missing_says_what_was_looked_for_and_where() {
    let checkout = two_roots();
    let bin = crate::checkout::path_of(checkout.folder(), &["git"]);
    let mut command = checkout.mainstay(&["dry-run"]);
    command.env("PATH", &bin);
    let ran = checkout.finish(command).ended_with(1);
    assert_snapshot!(crate::screening::times(&ran.stable(&checkout)), @r#"
    error: Terraform cannot be used
      because found no program `terraform` (looked in the PATH, HERE/bin-git): install it, or set `engine` to "terraform", "tofu" or the path of either
    "#);
}

#[test]
fn stopped_half_way_it_leaves_no_process_and_no_file() {
    let checkout = two_roots();
    checkout.write("network/main.tf", &root("large"));
    let bin = checkout.folder().join("fake");
    let ready = checkout.folder().join("ready");
    write_program(
        &bin.join("terraform"),
        &format!(
            "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{{\"terraform_version\":\"1.11.4\"}}'; exit 0; fi\n\
             trap 'exit 1' INT TERM\nsleep 300 &\necho $! >'{0}.part'; mv '{0}.part' '{0}'\nwait\n",
            ready.display()
        ),
    );
    let before = snapshot(checkout.dir());
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let _ = std::fs::remove_file(&ready);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let child = checkout
            .mainstay(&["dry-run"])
            .env("PATH", path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let sleeper: i32 = until("the plan to begin", || {
            std::fs::read_to_string(&ready).ok()?.trim().parse().ok()
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let ran = Ran::of(&child.wait_with_output().unwrap()).ended_with(1);
        let said = "error: stopped: nothing was changed, and nothing is left behind\n";
        assert_eq!(ran.stderr, said);
        assert_eq!(ran.stdout, "");
        until("the last process to be gone", || {
            (!std::path::Path::new(&format!("/proc/{sleeper}")).exists()).then_some(())
        });
        checkout.holds(&before);
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn several_workspaces_are_planned_at_once() {
    let checkout = two_roots();
    let bin = checkout.folder().join("fake");
    let log = checkout.folder().join("log");
    // Two plans meet here, or neither ends.
    write_program(
        &bin.join("terraform"),
        &format!(
            "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{{\"terraform_version\":\"1.11.4\"}}'; exit 0; fi\n\
             for a; do case \"$a\" in plan) echo here >>'{0}'\n i=0\n while [ $(wc -l <'{0}') -lt 2 ]; do i=$((i+1)); [ $i -gt 1000 ] && exit 9; sleep 0.01; done;; esac; done\n\
             exec {1} \"$@\"\n",
            log.display(),
            which("terraform")
        ),
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = checkout.mainstay(&[
        "dry-run", "-w", "network", "-w", "database", "--format", "json",
    ]);
    command.env("PATH", path);
    let ran = checkout.finish(command).ended_with(2);
    assert_eq!(names(&json(&ran)), ["network", "database"]);
}

fn which(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|f| f.join(program))
        .find(|p| p.is_file());
    found.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn providers_are_installed_aside_and_the_lock_file_is_not_written() {
    let mut checkout = Checkout::new();
    checkout.set("TF_CLI_CONFIG_FILE", crate::localfs::cli_config());
    let body = "resource \"localfs_file\" \"it\" {\n  path    = \"a\"\n  content = \"b\"\n}\n";
    crate::localfs::write_root_module(&checkout.dir().join("network"), body);
    checkout.commit(&[]);
    let ran = checkout.run(&["dry-run", "-w", "network"]).ended_with(2);
    assert!(ran.stdout.contains("localfs_file.it will be created"));
}
