//! What the daemon holds of a plan, whatever its size.
//!
//! A program in Terraform's place gives the plan's JSON, so that its size costs the test little; all
//! else is real. The sizes here are far below what is promised, since the debug build reads some
//! 2 MiB in a second: `MAINSTAY_LARGE_PLAN=64` tries the whole (in MiB), with `MAINSTAY_PATIENCE=600`
//! (in seconds), and prints what it measured. What is kept of a plan is cut from 1 MiB on, so that
//! the daemon does the same at each size.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, one_value, workspace};

/// What the daemon may hold more than before while a plan of any size goes through, in KiB.
const BOUND: u64 = 20 * 1024;

/// The size of the plans' JSON in MiB where nobody asks for another one.
const SIZE: usize = 2;

/// Looks at every value of the plan.
const POLICY: &str = "package main\n\nimport rego.v1\n\ndeny contains msg if {\n\tsome change in input.resource_changes\n\tchange.type == \"forbidden\"\n\tmsg := \"forbidden\"\n}\n";

fn size() -> usize {
    let asked = std::env::var("MAINSTAY_LARGE_PLAN").ok();
    asked.and_then(|size| size.parse().ok()).unwrap_or(SIZE)
}

/// A line of `/proc/PID/status`, in KiB.
fn kib(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Forgets the most that a process ever held, and gives what it holds now.
fn begin(pid: u32) -> u64 {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    kib(pid, "VmRSS:")
}

fn plan(values: &str, changes: &str) -> String {
    format!(
        r#"{{"format_version":"1.2","terraform_version":"1.11.4","planned_values":{{"root_module":{{"resources":[{values}]}}}},"resource_changes":[{changes}],"complete":true,"errored":false}}"#
    )
}

/// A plan of two values of half that many MiB each: the same one, as it is planned and as it changes.
fn one_value_plan(mib: usize) -> String {
    let value = "0123456789abcde ".repeat(mib << 15);
    let address = r#""address":"terraform_data.value","mode":"managed","type":"terraform_data","name":"value""#;
    plan(
        &format!(r#"{{{address},"values":{{"input":"{value}"}}}}"#),
        &format!(
            r#"{{{address},"change":{{"actions":["update"],"before":{{"input":"small"}},"after":{{"input":"{value}"}},"after_unknown":{{}}}}}}"#
        ),
    )
}

/// A plan of as many resources as make that many MiB, each with a secret of its own; all are new but
/// one, which is destroyed.
fn many_resources_plan(mib: usize) -> String {
    let (mut values, mut changes) = (String::new(), String::new());
    let mut number = 0;
    while values.len() + changes.len() < mib << 20 {
        let comma = if number == 0 { "" } else { "," };
        let address = format!(
            r#""address":"module.deep.module.deeper.terraform_data.value[{number}]","module_address":"module.deep.module.deeper","mode":"managed","type":"terraform_data","name":"value","index":{number}"#
        );
        let value =
            format!(r#"{{"input":"the value of number {number}","password":"the-secret-of-all"}}"#);
        let (action, before, after) = match number {
            7 => ("delete", value.as_str(), "null"),
            _ => ("create", "null", value.as_str()),
        };
        let sensitive = r#"{"password":true}"#;
        write!(values, r#"{comma}{{{address},"values":{value}}}"#).unwrap();
        write!(
            changes,
            r#"{comma}{{{address},"change":{{"actions":["{action}"],"before":{before},"after":{after},"after_unknown":{{}},"before_sensitive":{sensitive},"after_sensitive":{sensitive}}}}}"#
        )
        .unwrap();
        number += 1;
    }
    plan(&values, &changes)
}

/// A program in Terraform's place that shows the plan in `large.json`, where it is there.
fn put_large_plans(s: &Scenario) {
    let (script, large) = (
        s.folder().join("terraform-large"),
        s.folder().join("large.json"),
    );
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = show ] && [ -e '{0}' ]; then exec cat '{0}'; fi\nexec terraform \"$@\"\n",
        large.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir_all(s.folder().join("policies")).unwrap();
    fs::write(s.folder().join("policies/all.rego"), POLICY).unwrap();
    s.configure(&format!("engine = \"{}\"", script.display()));
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("network", "policies = [\"all\"]")),
    );
}

fn put(folder: &Path, plan: &str) -> u64 {
    let file = folder.join("large.json");
    fs::write(&file, plan).unwrap();
    fs::metadata(&file).unwrap().len() >> 20
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_plan_goes_through_and_the_daemon_holds_little_more_than_before() {
    let mut s = Scenario::new().await;
    put_large_plans(&s);
    let file = "network/main.tf";
    s.repo.commit("main", &[(file, &one_value("one"))], "First");
    s.start();
    s.run_is("merge", "network", "applied").await;
    let pid = s.pid();
    for (name, plan) in [
        ("one-value", one_value_plan(size())),
        ("many-resources", many_resources_plan(size())),
    ] {
        let mib = put(s.folder(), &plan);
        drop(plan);
        let before = begin(pid);
        let began = std::time::Instant::now();
        let pull = s.propose(name, &[(file, &one_value(name))]);
        let head = s.repo.head(name).unwrap();
        s.status_is(&head, "mainstay/plan", "success").await;
        let on_main = s.repo.merge(pull, Method::Squash, "alice").unwrap();
        s.status_is(&on_main, "mainstay/apply", "success").await;
        let comment = s.comment_with(pull, "### Applied").await;
        let most = kib(pid, "VmHWM:");
        eprintln!(
            "{name}: a plan of {mib} MiB, planned and applied in {:?}; the daemon held {before} KiB and at most {most} KiB, then {} KiB",
            began.elapsed(),
            kib(pid, "VmRSS:"),
        );
        let more = most.saturating_sub(before);
        // A single value is never held, not even in part.
        let bound = match name {
            "one-value" => BOUND.min(mib << 10),
            _ => BOUND,
        };
        assert!(
            more < bound,
            "{name}: {more} KiB more than {before} KiB\n{comment}"
        );
        if name == "many-resources" {
            assert!(comment.contains("1 destroyed"), "{comment}");
            assert!(comment.contains("value[7]"), "{comment}");
            assert!(!comment.contains("the-secret-of-all"), "{comment}");
        }
    }
    s.end().await;
}
