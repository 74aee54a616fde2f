//! Plans: what is run for them, and how they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use mainstay::engine::{
    Changes, Engine, EngineError, Flavour, Lock, PlanMode, Program, Progress, Remedy, State, Step,
    restored_state,
};
use mainstay::modules::Backend;
use mainstay::plan::{self, FingerprintKey};
use mainstay::redact::Secret;
use mainstay::workspace::{ProviderPattern, Rule};

use crate::bench::Bench;

const ONE: &str = r#"
resource "terraform_data" "one" {
  input = "x"
}
"#;

#[tokio::test]
async fn a_plan_of_built_in_resources_needs_no_init() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    assert_eq!(plan.outcome, Changes::Some);
    assert_eq!(bench.seen.steps(), [Step::Plan, Step::Show]);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&plan.json).unwrap()).unwrap();
    assert_eq!(json["resource_changes"][0]["address"], "terraform_data.one");
    assert!(bench.seen.saw(&Progress::Planned(1)));
    assert!(bench.alive().is_empty());
    for secret in [&plan.file, &plan.json, &job.work_dir.join("1-plan/stdout")] {
        let mode = fs::metadata(secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", secret.display());
    }
}

/// The digests of the changes and of the configuration of a plan of this code, made in a folder
/// of its own.
async fn identity(main: &str) -> (String, String) {
    let bench = Bench::new(main);
    bench.write("m/main.tf", ONE);
    let saved = bench.plan(&bench.job()).await.unwrap();
    let key = FingerprintKey::new([7; 32]);
    let (plan, _) = plan::read(fs::File::open(&saved.json).unwrap(), &key).unwrap();
    let carried = plan::look_into(&saved.file, &key).unwrap();
    (plan.fingerprint, carried.configuration)
}

#[tokio::test]
async fn another_command_of_a_provisioner_is_another_configuration_though_the_changes_are_equal() {
    let code = |command: &str| {
        format!(
            "module \"m\" {{\n  source = \"./m\"\n}}\nresource \"terraform_data\" \"run\" {{\n  \
             provisioner \"local-exec\" {{\n    command = \"{command}\"\n  }}\n}}\n"
        )
    };
    let (one, again) = (identity(&code("true")).await, identity(&code("true")).await);
    assert_eq!(one, again, "the folder does not count");
    let (changes, configuration) = identity(&code("rm -rf everything")).await;
    assert_eq!(one.0, changes);
    assert_ne!(one.1, configuration);
}

#[tokio::test]
async fn local_modules_are_installed_when_terraform_asks_for_it() {
    let bench = Bench::new("module \"m\" {\n  source = \"./m\"\n}\n");
    bench.write("m/main.tf", ONE);
    bench.write("n/main.tf", ONE);
    bench.plan(&bench.job()).await.unwrap();
    assert_eq!(
        bench.seen.steps(),
        [Step::Plan, Step::Init, Step::Plan, Step::Show]
    );

    // What was installed is used again, until the source changes.
    bench.seen.starts.lock().unwrap().clear();
    bench.plan(&bench.job()).await.unwrap();
    assert_eq!(bench.seen.steps(), [Step::Plan, Step::Show]);
    bench.write("main.tf", "module \"m\" {\n  source = \"./n\"\n}\n");
    bench.seen.starts.lock().unwrap().clear();
    bench.plan(&bench.job()).await.unwrap();
    assert_eq!(
        bench.seen.steps(),
        [Step::Plan, Step::Init, Step::Plan, Step::Show]
    );
}

#[tokio::test]
async fn a_data_folder_that_was_moved_is_filled_anew() {
    let bench = Bench::new("module \"m\" {\n  source = \"./m\"\n}\n");
    bench.write("m/main.tf", ONE);
    bench.plan(&bench.job()).await.unwrap();
    let mut job = bench.job();
    job.data_dir = bench.path("moved");
    fs::rename(bench.path("data"), &job.data_dir).unwrap();
    bench.seen.starts.lock().unwrap().clear();
    bench.plan(&job).await.unwrap();
    assert_eq!(
        bench.seen.steps(),
        [Step::Plan, Step::Init, Step::Plan, Step::Show]
    );
}

#[tokio::test]
async fn a_backend_that_changes_or_goes_away_is_initialised_anew() {
    let backend = |path: PathBuf| {
        format!(
            "terraform {{\n  backend \"local\" {{\n    path = \"{}\"\n  }}\n}}\n{ONE}",
            path.display()
        )
    };
    let bench = Bench::new("");
    let anew = vec![Step::Plan, Step::Init, Step::Plan, Step::Show];
    for (text, steps) in [
        (backend(bench.path("a.tfstate")), anew.clone()),
        (backend(bench.path("b.tfstate")), anew),
        // The record of a backend that is gone is forgotten, and without one there is nothing to
        // initialise.
        (ONE.to_owned(), vec![Step::Plan, Step::Show]),
    ] {
        bench.write("main.tf", &text);
        bench.seen.starts.lock().unwrap().clear();
        let mut job = bench.job();
        job.state = State::Backend;
        bench.plan(&job).await.unwrap();
        assert_eq!(bench.seen.steps(), steps);
    }
}

#[tokio::test]
async fn a_backend_that_was_not_seen_is_refused_after_init() {
    let bench = Bench::new(&format!(
        "terraform {{\n  backend \"local\" {{\n    path = \"elsewhere.tfstate\"\n  }}\n}}\n{ONE}"
    ));
    let mut job = bench.job();
    job.state = State::Backend;
    // As if a file hid the block from Mainstay, and not from Terraform.
    job.backend = Backend::None;
    for _ in 0..2 {
        // What the refused init left is no way in for the next run.
        bench.seen.starts.lock().unwrap().clear();
        let error = bench.plan(&job).await.unwrap_err();
        assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert!(
            error.diagnostics()[0].detail.contains("`local`"),
            "{error:?}"
        );
        assert_eq!(bench.seen.steps(), [Step::Plan, Step::Init]);
    }
    job.trust.loosened = [Rule::Backend].into();
    bench.plan(&job).await.unwrap();
}

#[tokio::test]
async fn a_backend_that_is_set_up_otherwise_than_was_seen_is_refused_after_init() {
    let bench = Bench::faked(
        r#"[ "$1" = init ] && { echo '{"version":3,"backend":{"type":"local","config":{"path":"mine","workspace_dir":null}}}' >"$TF_DATA_DIR/terraform.tfstate"; exit 0; }
           echo '{"@message":"m","type":"diagnostic","diagnostic":{"severity":"error","summary":"Inconsistent dependency lock file","detail":"d"}}'
           exit 1"#,
    );
    let block = |path: &str| {
        format!("terraform {{\n  backend \"local\" {{\n    path = \"{path}\"\n  }}\n}}\n")
    };
    let mut job = bench.job();
    job.state = State::Backend;
    job.backend = Backend::Named("local".to_owned());
    bench.write("backend.tf", &block("ours"));
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
    assert!(
        error.diagnostics()[0].detail.contains("`path`"),
        "{error:?}"
    );
    assert_eq!(bench.seen.steps(), [Step::Plan, Step::Init]);
    bench.write("backend.tf", &block("mine"));
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::PlanFailed(_)), "{error:?}");
}

#[tokio::test]
async fn a_lock_file_is_read_after_init_as_terraform_reads_it() {
    for lock in [
        // Nothing but the beginning of a line tells an entry for a reader of lines.
        "provider\t\"evil.example/x/y\" {}",
        "/**/ provider \"evil.example/x/y\" {}",
        "provider \"evil.example/x/y\" {",
    ] {
        let bench = Bench::faked(&format!(
            r#"[ "$1" = init ] && {{ printf '%s\n' '{lock}' >.terraform.lock.hcl; exit 0; }}
               echo '{{"@message":"m","type":"diagnostic","diagnostic":{{"severity":"error","summary":"Inconsistent dependency lock file","detail":"d"}}}}'
               exit 1"#,
        ));
        let mut job = bench.job();
        job.trust.providers = vec![ProviderPattern::parse("hashicorp/*").unwrap()];
        let error = bench.plan(&job).await.unwrap_err();
        assert!(
            matches!(error, EngineError::Untrusted(_)),
            "{lock}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_provider_or_module_that_was_not_seen_is_refused_after_init() {
    let bench = Bench::new("");
    let module = bench.path("elsewhere");
    fs::create_dir_all(&module).unwrap();
    fs::write(module.join("main.tf"), ONE).unwrap();
    let text = format!("module \"m\" {{\n  source = \"{}\"\n}}\n", module.display());
    bench.write("main.tf", &text);
    let mut job = bench.job();
    for _ in 0..2 {
        let error = bench.plan(&job).await.unwrap_err();
        assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
        assert!(
            error.diagnostics()[0].summary.contains("`modules`"),
            "{error:?}"
        );
    }
    job.trust.loosened = [Rule::Modules].into();
    bench.plan(&job).await.unwrap();

    let bench = Bench::faked(
        r#"[ "$1" = init ] && { echo 'provider "evil.example/x/y" {}' >.terraform.lock.hcl; exit 0; }
           echo '{"@message":"m","type":"diagnostic","diagnostic":{"severity":"error","summary":"Inconsistent dependency lock file","detail":"d"}}'
           exit 1"#,
    );
    let mut job = bench.job();
    job.trust.providers = vec![ProviderPattern::parse("hashicorp/*").unwrap()];
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
    assert!(
        error.diagnostics()[0].detail.contains("evil.example/x/y"),
        "{error:?}"
    );
    assert_eq!(bench.seen.steps(), [Step::Plan, Step::Init]);
}

#[tokio::test]
async fn an_init_that_does_not_help_is_not_repeated() {
    let bench = Bench::faked(
        r#"echo "$@" >>"$TF_DATA_DIR/calls"
           [ "$1" = init ] && exit 0
           echo '{"@message":"m","type":"diagnostic","diagnostic":{"severity":"error","summary":"Inconsistent dependency lock file","detail":"d"}}'
           exit 1"#,
    );
    bench.write(".terraform.lock.hcl", "");
    let error = bench.plan(&bench.job()).await.unwrap_err();
    assert!(matches!(error, EngineError::PlanFailed(_)), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    assert!(error.advice().contains("commit `.terraform.lock.hcl`"));
    assert_eq!(bench.seen.steps(), [Step::Plan, Step::Init, Step::Plan]);
    // A committed lock file is the law.
    let calls = fs::read_to_string(bench.path("data/calls")).unwrap();
    let init = calls.lines().find(|call| call.starts_with("init")).unwrap();
    assert_eq!(init, "init -input=false -no-color -json -lockfile=readonly");
}

#[tokio::test]
async fn code_that_does_not_parse_is_told_with_its_place_and_leaves_no_plan() {
    let bench = Bench::new("\nresource \"terraform_data\" \"one\" { input = \n");
    let job = bench.job();
    let error = bench.plan(&job).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Plan));
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    let found = &error.diagnostics()[0];
    assert_eq!(
        (found.file.as_deref(), found.line),
        (Some("main.tf"), Some(2))
    );
    assert_eq!(
        error.to_string(),
        "`plan` failed in net: Invalid expression (main.tf:2)"
    );
    assert!(!job.work_dir.join("plan").exists());
}

#[tokio::test]
async fn a_plan_whose_precondition_fails_is_no_plan() {
    let bench = Bench::new(
        r#"
variable "size" {
  default = 1
}
resource "terraform_data" "one" {
  lifecycle {
    precondition {
      condition     = var.size == 2
      error_message = "Plan: 0 to add, 0 to change, 0 to destroy."
    }
  }
}
"#,
    );
    let job = bench.job();
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::PlanFailed(_)), "{error:?}");
    assert_eq!(
        error.diagnostics()[0].summary,
        "Resource precondition failed"
    );
    assert!(error.tail().contains("Resource precondition failed"));
    assert!(!job.work_dir.join("plan").exists());
    assert!(!job.work_dir.join("plan.json").exists());
}

#[tokio::test]
async fn variable_files_and_secrets_reach_the_plan_and_no_file_of_a_step() {
    let bench = Bench::new(
        r#"
variable "size" {}
variable "password" {
  sensitive = true
}
resource "terraform_data" "one" {
  input = "${var.size} ${sha256(var.password)}"
}
"#,
    );
    bench.write("prod.tfvars", "size = \"large\"\n");
    let mut job = bench.job();
    job.var_files = vec!["prod.tfvars".to_owned()];
    job.env
        .push(("TF_VAR_password".into(), Secret::new("correct-horse")));
    bench.plan(&job).await.unwrap();
    for step in ["1-plan", "2-show"] {
        for entry in fs::read_dir(job.work_dir.join(step)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("correct-horse"), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_refresh_only_plan_plans_no_change_of_its_own() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let plan = bench
        .engine
        .plan(&job, PlanMode::RefreshOnly, &bench.seen, &bench.cancel)
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&plan.json).unwrap()).unwrap();
    assert!(
        json["resource_changes"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

#[tokio::test]
async fn a_mistyped_terraform_workspace_is_refused_and_not_made() {
    let bench = Bench::new(ONE);
    let mut job = bench.job();
    job.state = State::InFolder;
    job.terraform_workspace = Some("stagign".to_owned());
    let error = bench.plan(&job).await.unwrap_err();
    let EngineError::NoSuchTerraformWorkspace { existing, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(existing, &["default"]);
    assert_eq!(
        error.to_string(),
        "net selects the Terraform workspace `stagign`, which does not exist; there is `default`"
    );
    assert!(!bench.path("checkout/terraform.tfstate.d").exists());
}

#[tokio::test]
async fn a_terraform_workspace_that_exists_is_used() {
    let bench = Bench::new("output \"selected\" {\n  value = terraform.workspace\n}\n");
    fs::create_dir_all(bench.path("checkout/terraform.tfstate.d/staging")).unwrap();
    let mut job = bench.job();
    job.state = State::InFolder;
    job.terraform_workspace = Some("staging".to_owned());
    let plan = bench.plan(&job).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&plan.json).unwrap()).unwrap();
    assert_eq!(json["output_changes"]["selected"]["after"], "staging");
}

#[tokio::test]
async fn a_workspace_is_selected_behind_a_backend_that_needs_init() {
    let bench = Bench::new("");
    bench.write(
        "main.tf",
        &format!(
            "terraform {{\n  backend \"local\" {{\n    path = \"{}\"\n  }}\n}}\n{ONE}",
            bench.path("b.tfstate").display()
        ),
    );
    let mut job = bench.job();
    job.state = State::Backend;
    job.terraform_workspace = Some("default".to_owned());
    bench.plan(&job).await.unwrap();
    assert_eq!(
        bench.seen.steps(),
        [
            Step::WorkspaceList,
            Step::Init,
            Step::WorkspaceList,
            Step::Plan,
            Step::Show
        ]
    );
}

#[tokio::test]
async fn nothing_is_planned_against_an_empty_state() {
    let bench = Bench::new(ONE);
    bench.plan_and_apply(&bench.job()).await.unwrap();
    bench.write("main.tf", &ONE.replace('x', "y"));
    bench.plan_and_apply(&bench.job()).await.unwrap();
    bench.seen.starts.lock().unwrap().clear();
    fs::write(bench.open_state(), "").unwrap();
    // Who has no lock does not know who else writes.
    let mut job = bench.job();
    job.lock = Lock::Skip;
    let error = bench.plan(&job).await.unwrap_err();
    let EngineError::CorruptState { versions, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(versions.len(), 1);
    assert_eq!(error.remedy(), Remedy::AskHuman);
    assert!(error.advice().contains(versions[0].to_str().unwrap()));
    assert!(bench.seen.steps().is_empty());
}

#[tokio::test]
async fn whoever_alone_has_a_damaged_state_puts_its_newest_version_back() {
    let bench = Bench::new(ONE);
    bench.plan_and_apply(&bench.job()).await.unwrap();
    bench.write("main.tf", &ONE.replace('x', "y"));
    bench.plan_and_apply(&bench.job()).await.unwrap();
    fs::write(bench.open_state(), "").unwrap();
    let plan = bench.plan(&bench.job()).await.unwrap();
    // The kept version is the one before the last apply.
    assert_eq!(plan.outcome, Changes::Some);
    assert!(restored_state(&bench.state()).is_some());
}

#[tokio::test]
async fn a_version_that_does_not_fit_is_told_before_anything_runs() {
    let bench = Bench::new(ONE);
    let mut job = bench.job();
    job.required_version = vec![">= 1.0".to_owned(), ">= 99.0".to_owned()];
    let error = bench.plan(&job).await.unwrap_err();
    let have = bench.engine.version().await.unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "the configuration of net asks for version `>= 99.0`, and {} is {have}",
            bench.engine.program().display()
        )
    );
    assert!(bench.seen.steps().is_empty());
}

#[tokio::test]
async fn a_step_whose_start_cannot_be_recorded_is_not_started() {
    let bench = Bench::faked("touch \"$TF_DATA_DIR/ran\"; exit 1");
    bench.seen.refuse.store(true, Ordering::SeqCst);
    let error = bench.plan(&bench.job()).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
    assert!(!bench.path("data/ran").exists());
    assert!(!bench.seen.last().supervisor.is_alive());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let bench = Bench::new(ONE);
    let mut job = bench.job();
    job.folder = "missing".to_owned();
    let error = bench.plan(&job).await.unwrap_err();
    let EngineError::NotStarted { reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("No such file"), "{reason}");
}

#[tokio::test]
async fn a_flood_of_output_is_spooled_and_its_long_lines_are_said() {
    let bench = Bench::faked(
        r"head -c 3000000 /dev/zero | tr '\0' x; echo
          for i in $(seq 100); do echo line $i; done; printf '\377\n'; echo end >&2; exit 1",
    );
    let error = bench.plan(&bench.job()).await.unwrap_err();
    assert!(error.tail().len() <= 8 * 1024);
    assert!(error.tail().contains("line 100") && error.tail().contains("end"));
    assert!(error.tail().contains('\u{fffd}'));
    assert!(error.diagnostics()[0].summary.contains("longer than 1 MiB"));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_where_it_was_looked_for() {
    let error = Engine::locate(
        &Program::Path("/nowhere/tofu".into()),
        env!("CARGO_BIN_EXE_mainstay").into(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "found no program `/nowhere/tofu` (looked in /nowhere): install it, or set `engine` to \
         \"terraform\", \"tofu\" or the path of either"
    );
    assert_eq!(error.remedy(), Remedy::FixMachine);
}

#[tokio::test]
async fn a_program_that_is_something_else_has_no_version() {
    let engine = Engine::locate(&Program::Path("/bin/true".into()), "mainstay".into()).unwrap();
    assert_eq!(engine.flavour(), Flavour::Terraform);
    let error = engine.version().await.unwrap_err();
    assert!(matches!(error, EngineError::NoVersion { .. }), "{error:?}");
}

#[tokio::test]
async fn a_folder_whose_sockets_would_have_too_long_names_is_refused() {
    let bench = Bench::new(ONE);
    let mut job = bench.job();
    job.tmp_dir = bench.path(&"x".repeat(80));
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    assert!(bench.seen.steps().is_empty());
}

#[tokio::test]
async fn a_relative_folder_is_refused() {
    let bench = Bench::new(ONE);
    let mut job = bench.job();
    job.data_dir = "data".into();
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    assert!(bench.seen.steps().is_empty());
}
