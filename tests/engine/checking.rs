//! The checks before a plan, by the real Terraform and by commands of one's own.

use std::time::Duration;

use mainstay::engine::{EngineError, Step, Tests};
use mainstay::run::{Check, CheckOutcome};
use mainstay::workspace::{CheckMode, Checks, OwnCheck};

use crate::bench::{Bench, until};

/// A command that a shell reads, with so many seconds.
fn command(script: &str, seconds: u64) -> OwnCheck {
    OwnCheck {
        name: "own".to_owned(),
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        on_failure: CheckMode::Fail,
        timeout: Duration::from_secs(seconds),
    }
}

fn only(own: OwnCheck) -> Checks {
    Checks {
        run: vec![own],
        ..Checks::OFF
    }
}

async fn check(bench: &Bench, checks: &Checks) -> (Vec<Check>, Result<(), EngineError>) {
    let mut done = Vec::new();
    let job = bench.job();
    let ended = bench
        .engine
        .check(
            &job,
            checks,
            Tests::Run,
            &mut done,
            &bench.seen,
            &bench.cancel,
        )
        .await;
    (done, ended)
}

#[tokio::test]
async fn what_a_check_needs_is_initialised_once_and_the_plan_after_it_needs_nothing_more() {
    let bench = Bench::new(
        "module \"m\" {\n  source = \"./m\"\n}\noutput \"x\" {\n  value = module.m.nope\n}\n",
    );
    bench.write("m/main.tf", "output \"x\" {\n  value = 1\n}\n");
    let (done, ended) = check(&bench, &Checks::default()).await;
    ended.unwrap();
    let [format, validity] = &done[..] else {
        panic!("{done:?}");
    };
    assert_eq!(format.outcome, CheckOutcome::Passed);
    assert_eq!(validity.outcome, CheckOutcome::Failed);
    let found = &validity.diagnostics[0];
    assert_eq!(found.summary, "Unsupported attribute");
    assert_eq!(
        (found.file.as_deref(), found.line),
        (Some("main.tf"), Some(5))
    );

    bench.write("main.tf", "module \"m\" {\n  source = \"./m\"\n}\n");
    bench.plan(&bench.job()).await.unwrap();
    assert_eq!(
        bench.seen.steps(),
        [
            Step::Fmt,
            Step::Validate,
            Step::Init,
            Step::Validate,
            Step::Plan,
            Step::Show
        ]
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_stopped_and_nothing_of_it_is_left() {
    let bench = Bench::new("");
    let (done, ended) = check(&bench, &only(command("sleep 60 & sleep 60", 1))).await;
    ended.unwrap();
    assert_eq!(done[0].outcome, CheckOutcome::Failed);
    assert_eq!(done[0].tail, "it did not end within 1 s and was stopped");
    assert!(bench.alive().is_empty());
}

#[tokio::test]
async fn a_check_that_is_cancelled_ends_the_run_and_leaves_no_process() {
    let bench = Bench::new("");
    let checks = only(command("touch began; sleep 60", 300));
    let ((done, ended), ()) = tokio::join!(check(&bench, &checks), async {
        until(|| bench.path("checkout/began").exists()).await;
        bench.cancel.cancel();
    });
    assert!(matches!(ended, Err(EngineError::Cancelled(_))), "{ended:?}");
    assert!(done.is_empty());
    assert!(bench.alive().is_empty());
}

#[tokio::test]
async fn checks_run_behind_the_sandbox_and_see_what_a_plan_sees() {
    let bench = Bench::new("");
    let mut job = bench.job();
    job.wrapper = ["/bin/sh", "-c", "SANDBOXED=yes \"$@\"; exit $?", "sandbox"]
        .map(Into::into)
        .into();
    let seen = command(
        "echo \"$SANDBOXED $TF_IN_AUTOMATION ${HOME-none}\"; exit 1",
        60,
    );
    let mut done = Vec::new();
    bench
        .engine
        .check(
            &job,
            &only(seen),
            Tests::Run,
            &mut done,
            &bench.seen,
            &bench.cancel,
        )
        .await
        .unwrap();
    assert_eq!(done[0].tail, "yes 1 none");
}

#[tokio::test]
async fn tests_that_are_not_to_be_run_are_said_to_be_left_out() {
    let bench = Bench::new("");
    bench.write("a.tftest.hcl", "run \"x\" {}\n");
    let mut done = Vec::new();
    let checks = Checks {
        test: CheckMode::Fail,
        ..Checks::OFF
    };
    let job = bench.job();
    bench
        .engine
        .check(
            &job,
            &checks,
            Tests::Skip("of a fork"),
            &mut done,
            &bench.seen,
            &bench.cancel,
        )
        .await
        .unwrap();
    let reason = "of a fork".to_owned();
    assert_eq!(done[0].outcome, CheckOutcome::Skipped { reason });
    assert!(bench.seen.steps().is_empty());
}
