//! Stops of every kind: asked for, too late, killed, and the daemon's own end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mainstay::engine::{
    Adopted, ApplyEnd, ApplyOutcome, EngineError, FailedApply, Observer, ObserverRefused, Patience,
    Progress, Remedy, Step, StepEnd, StepStart, Stop, supervise::Asked, supervise::Exit,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, Recorder, until};

/// The variable that makes this program the one that is killed.
const VICTIM: &str = "MAINSTAY_TEST_VICTIM";

/// One resource that takes this long, and one after it.
fn slow(seconds: u32) -> String {
    format!(
        r#"
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{
    command = "sleep {seconds}; touch ${{path.root}}/slept"
  }}
}}
resource "terraform_data" "later" {{
  depends_on = [terraform_data.slow]
}}
"#
    )
}

/// A script that plans at once, and applies as given.
pub(crate) fn applying(script: &str) -> String {
    format!(
        r#"case "$1" in
             plan) for a; do case "$a" in -out=*) echo plan >"${{a#-out=}}";; esac; done; exit 2;;
             show) echo '{{}}'; exit 0;;
             apply) {script};;
           esac"#
    )
}

fn begun() -> Progress {
    Progress::Applying("terraform_data.slow".into())
}

pub(crate) fn failed(error: EngineError) -> FailedApply {
    match error {
        EngineError::ApplyFailed(failed) => *failed,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The number of the process that a step's supervisor started.
fn program_of(start: &StepStart) -> i32 {
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(start.dir.join("pid.json")).unwrap()).unwrap();
    i32::try_from(record["program"]["pid"].as_i64().unwrap()).unwrap()
}

#[tokio::test]
async fn an_apply_that_is_cancelled_saves_its_state_and_begins_nothing_more() {
    let bench = Bench::new(&slow(2));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.seen.saw(&begun())).await;
        bench.cancel.cancel();
        bench.cancel.cancel();
    });
    let failed = failed(result.unwrap_err());
    assert_eq!(failed.end, ApplyEnd::Stopped(Stop::Cancelled));
    assert_eq!(
        failed.with(ApplyOutcome::NotReached).collect::<Vec<_>>(),
        ["terraform_data.later"]
    );
    // Terraform ends a provisioner's shell at once, and what that had started is waited for.
    assert_eq!(
        failed.with(ApplyOutcome::Failed).collect::<Vec<_>>(),
        ["terraform_data.slow"]
    );
    let state: serde_json::Value = serde_json::from_str(&bench.read_state()).unwrap();
    assert_eq!(state["resources"][0]["name"], "slow");
    assert!(bench.alive().is_empty());
}

#[tokio::test]
async fn an_apply_behind_a_sandbox_is_asked_itself_and_not_the_sandbox() {
    let bench = Bench::new(&slow(2));
    let mut job = bench.job();
    // It ends at once on a signal, as a sandbox does.
    job.wrapper = ["/bin/sh", "-c", "\"$@\"; exit $?", "sandbox"]
        .map(Into::into)
        .into();
    let plan = bench.plan(&job).await.unwrap();
    let (result, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.seen.saw(&begun())).await;
        bench.cancel.cancel();
    });
    let failed = failed(result.unwrap_err());
    assert_eq!(failed.end, ApplyEnd::Stopped(Stop::Cancelled));
    let ends = bench.seen.ends.lock().unwrap();
    let ended = ends.last().unwrap().ended.as_ref().unwrap();
    assert_eq!(
        (&ended.exit, ended.asked),
        (&Exit::Code(1), Asked::Interrupted)
    );
    assert!(!bench.read_state().is_empty());
}

#[tokio::test]
async fn an_apply_gets_one_signal_whoever_else_sends_more() {
    let bench = Bench::faked(&applying(
        r#"trap 'echo x >>"$TF_DATA_DIR/signals"' INT; echo >"$TF_DATA_DIR/ready"
           for i in $(seq 20); do sleep 0.1; done; exit 0"#,
    ));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.path("data/ready").exists()).await;
        let supervisor = bench.seen.last().supervisor.pid;
        for other in [
            Signal::TERM,
            Signal::INT,
            Signal::HUP,
            Signal::USR1,
            Signal::USR1,
        ] {
            signal(supervisor, other);
        }
        bench.cancel.cancel();
        until(|| bench.path("data/signals").exists()).await;
        signal(supervisor, Signal::USR1);
        // An apply is never killed, whoever asks for it.
        signal(supervisor, Signal::USR2);
    });
    // It ended well all the same.
    result.unwrap();
    assert_eq!(
        fs::read_to_string(bench.path("data/signals")).unwrap(),
        "x\n"
    );
}

#[tokio::test]
async fn an_apply_that_does_not_stop_is_reported_and_not_killed() {
    let bench = Bench::faked(&applying("trap '' INT; sleep 2; exit 0")).patient(Patience {
        plan: Duration::from_secs(5),
        apply: Duration::from_millis(200),
    });
    let mut job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    job.apply_timeout = Duration::from_millis(200);
    let error = bench.apply(&job, plan).await.unwrap_err();
    assert!(
        matches!(error, EngineError::StillRunning { .. }),
        "{error:?}"
    );
    assert_eq!(error.remedy(), Remedy::AskHuman);
    assert!(!bench.alive().is_empty());

    // Its end is still learned.
    let start = bench.seen.last();
    let never = mainstay::engine::CancelToken::new();
    let adopted = bench.engine.adopt(&start, &bench.seen, &never).await;
    let Adopted::Ended(end, ended) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!(
        (ended.exit, ended.asked),
        (Exit::Code(0), Asked::Interrupted)
    );
    assert_eq!(end.overran, Some(job.apply_timeout));
}

#[tokio::test]
async fn a_cancelled_plan_leaves_no_process() {
    // A program that ignores the signal, with children that do, one of them in a session of its own.
    let bench = Bench::faked(
        r#"trap '' INT TERM
           setsid sh -c 'trap "" INT TERM; echo >"$TF_DATA_DIR/ready"; sleep 300' &
           (sleep 300 &)
           sleep 300"#,
    );
    let job = bench.job();
    let (result, ()) = tokio::join!(bench.plan(&job), async {
        until(|| bench.path("data/ready").exists() && bench.alive().len() >= 4).await;
        bench.cancel.cancel();
    });
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Cancelled(_)), "{error:?}");
    assert_eq!(bench.alive(), [] as [i32; 0]);
}

#[tokio::test]
async fn a_plan_of_terraforms_that_takes_too_long_is_ended() {
    // To find what is distinct among so many takes hours, and heeds no signal.
    let bench = Bench::new(
        r#"
locals {
  many = flatten([for a in range(1000) : [for b in range(200) : "${a} ${b}"]])
}
output "distinct" {
  value = length(distinct(local.many))
}
"#,
    );
    let mut job = bench.job();
    job.plan_timeout = Duration::from_millis(700);
    let begun = Instant::now();
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(bench.alive().is_empty());
    assert!(!job.work_dir.join("plan").exists());
}

#[tokio::test]
async fn nothing_starts_once_it_is_cancelled() {
    let bench = Bench::faked("touch \"$TF_DATA_DIR/ran\"");
    bench.cancel.cancel();
    let error = bench.plan(&bench.job()).await.unwrap_err();
    assert!(matches!(error, EngineError::Cancelled(_)), "{error:?}");
    assert!(bench.seen.steps().is_empty());
}

#[tokio::test]
async fn a_plan_during_the_first_apply_is_told_of_the_lock() {
    let bench = Bench::new(&slow(3));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, error) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.seen.saw(&begun())).await;
        bench.plan(&bench.job()).await.unwrap_err()
    });
    result.unwrap();
    assert!(
        matches!(error, EngineError::StateLocked { .. }),
        "{error:?}"
    );
    assert_eq!(error.remedy(), Remedy::Retry);
}

#[tokio::test]
async fn a_held_lock_is_told_with_its_holder() {
    let bench = Bench::new("resource \"terraform_data\" \"one\" {}\n");
    bench.plan_and_apply(&bench.job()).await.unwrap();
    bench.write("main.tf", &slow(3));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, error) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.seen.saw(&begun())).await;
        bench.plan(&bench.job()).await.unwrap_err()
    });
    result.unwrap();
    let EngineError::StateLocked { lock, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(lock.operation.as_deref(), Some("OperationTypeApply"));
    assert!(lock.who.as_deref().unwrap().contains('@'));
    assert!(error.advice().contains(lock.id.as_deref().unwrap()));
}

#[tokio::test]
async fn a_killed_apply_ends_only_when_its_provisioners_did() {
    let bench = Bench::new(&slow(2));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.seen.saw(&begun())).await;
        signal(program_of(&bench.seen.last()), Signal::KILL);
    });
    assert!(bench.path("checkout/slept").exists());
    assert!(bench.alive().is_empty());
    let failed = failed(result.unwrap_err());
    assert_eq!(failed.end, ApplyEnd::Exit(Exit::Signal(9)));
    assert_eq!(
        failed.with(ApplyOutcome::Unknown).collect::<Vec<_>>(),
        ["terraform_data.slow"]
    );
}

#[tokio::test]
async fn providers_of_a_killed_apply_are_ended() {
    let bench = Bench::faked(&applying(
        "TF_PLUGIN_MAGIC_COOKIE=x sleep 300 & sleep 0.2; kill -9 $$",
    ));
    let begun = Instant::now();
    let error = bench.plan_and_apply(&bench.job()).await.unwrap_err();
    assert_eq!(failed(error).end, ApplyEnd::Exit(Exit::Signal(9)));
    assert!(bench.alive().is_empty());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_step_whose_waiting_was_dropped_can_be_adopted() {
    let bench = Bench::new(&slow(2));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    {
        let apply = bench.apply(&job, plan);
        tokio::select! {
            _ = apply => panic!("it was to be dropped"),
            () = until(|| bench.seen.saw(&begun())) => {}
        }
    }
    let adopted = bench
        .engine
        .adopt(&bench.seen.last(), &bench.seen, &bench.cancel)
        .await;
    let Adopted::Ended(end, ended) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!((ended.exit, ended.asked), (Exit::Code(0), Asked::No));
    assert!(end.resources.iter().all(|(_, o)| *o == ApplyOutcome::Done));
    assert_eq!(end.resources.len(), 2);
}

#[tokio::test]
async fn an_adopted_step_can_be_stopped() {
    let bench = Bench::new(&slow(2));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    {
        let apply = bench.apply(&job, plan);
        tokio::select! {
            _ = apply => panic!("it was to be dropped"),
            () = until(|| bench.seen.saw(&begun())) => {}
        }
    }
    bench.cancel.cancel();
    let adopted = bench
        .engine
        .adopt(&bench.seen.last(), &bench.seen, &bench.cancel)
        .await;
    let Adopted::Ended(end, ended) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!(
        (ended.exit, ended.asked),
        (Exit::Code(1), Asked::Interrupted)
    );
    assert_eq!(end.resources[0].1, ApplyOutcome::NotReached);
    assert_eq!(end.overran, None);
}

#[tokio::test]
async fn an_adopted_apply_that_takes_too_long_is_asked_to_stop_once() {
    let bench = Bench::new(&slow(9));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    {
        let apply = bench.apply(&job, plan);
        tokio::select! {
            _ = apply => panic!("it was to be dropped"),
            () = until(|| bench.seen.saw(&begun())) => {}
        }
    }
    let mut start = bench.seen.last();
    assert_eq!(start.limit, Some(job.apply_timeout));
    let limit = Duration::from_secs(1);
    start.limit = Some(limit);
    let adopted = bench.engine.adopt(&start, &bench.seen, &bench.cancel).await;
    let Adopted::Ended(end, ended) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!(
        (ended.exit, ended.asked),
        (Exit::Code(1), Asked::Interrupted)
    );
    assert_eq!(end.overran, Some(limit));
    assert!(
        end.resources
            .contains(&("terraform_data.later".to_owned(), ApplyOutcome::NotReached))
    );
    // Terraform that is asked once saves what it did.
    assert!(bench.read_state().contains("\"slow\""));
}

#[tokio::test]
async fn a_step_that_was_killed_with_its_supervisor_is_dead() {
    let bench = Bench::faked(&applying("echo >\"$TF_DATA_DIR/ready\"; exec sleep 300"));
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let (result, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| {
            bench.path("data/ready").exists() && bench.seen.last().dir.join("pid.json").exists()
        })
        .await;
        let start = bench.seen.last();
        signal(start.supervisor.pid, Signal::KILL);
        tokio::time::sleep(Duration::from_millis(300)).await;
        // While the program lives, so does the step.
        assert!(
            !bench
                .seen
                .ends
                .lock()
                .unwrap()
                .iter()
                .any(|e| e.step == Step::Apply)
        );
        signal(program_of(&start), Signal::KILL);
    });
    assert_eq!(failed(result.unwrap_err()).end, ApplyEnd::Lost);
    let adopted = bench
        .engine
        .adopt(&bench.seen.last(), &bench.seen, &bench.cancel)
        .await;
    assert!(matches!(adopted, Adopted::Dead(_)), "{adopted:?}");
}

/// An observer that kills its own process, as `kill -9` of the daemon does.
struct Victim {
    folder: std::path::PathBuf,
    when: String,
    recorder: Recorder,
}

impl Victim {
    fn die(&self) {
        fs::write(
            self.folder.join("start.json"),
            serde_json::to_vec(&self.recorder.last()).unwrap(),
        )
        .unwrap();
        signal(std::process::id().cast_signed(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

impl Observer for Victim {
    fn before(&self, start: &StepStart) -> Result<(), ObserverRefused> {
        self.recorder.before(start)?;
        if start.step == Step::Apply && self.when == "before" {
            self.die();
        }
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        self.recorder.after(end);
    }

    fn progress(&self, progress: &Progress) {
        if *progress == begun() && self.when == "applying" {
            self.die();
        }
    }
}

/// Not a test of its own: the process that the two tests below kill.
#[tokio::test]
async fn victim() {
    let Ok(when) = std::env::var(VICTIM) else {
        return;
    };
    let bench = Bench::new(&slow(2));
    let job = bench.job();
    let folder = std::path::PathBuf::from(std::env::var("MAINSTAY_TEST_FOLDER").unwrap());
    fs::write(
        folder.join("state"),
        bench.open_state().as_os_str().as_encoded_bytes(),
    )
    .unwrap();
    let plan = bench.plan(&job).await.unwrap();
    let victim = Victim {
        folder,
        when,
        recorder: Recorder::default(),
    };
    victim.recorder.refuse.store(false, Ordering::SeqCst);
    let _ = bench.engine.apply(&job, plan, &victim, &bench.cancel).await;
    unreachable!("it was to be killed");
}

/// Runs the victim until it is dead, and gives the step that it had started.
fn kill_a_daemon(when: &str, folder: &Path) -> StepStart {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stopping::victim", "--nocapture"])
        .env(VICTIM, when)
        .env("MAINSTAY_TEST_FOLDER", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    serde_json::from_slice(&fs::read(folder.join("start.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_daemon_killed_before_it_recorded_the_start_starts_nothing() {
    let bench = Bench::new("");
    let folder = bench.path("");
    let start = kill_a_daemon("before", &folder);
    until(|| !start.supervisor.is_alive()).await;
    assert!(!start.dir.join("pid.json").exists());
    let adopted = bench.engine.adopt(&start, &bench.seen, &bench.cancel).await;
    let Adopted::Dead(end) = adopted else {
        panic!("{adopted:?}")
    };
    assert!(end.resources.is_empty() && end.tail.is_empty());
    let state = fs::read_to_string(folder.join("state")).unwrap();
    assert!(!Path::new(&state).exists());
    remove_leftovers(&start);
}

#[tokio::test]
async fn an_apply_goes_on_when_the_daemon_is_killed_and_its_end_is_learned() {
    let bench = Bench::new("");
    let folder = bench.path("");
    let start = kill_a_daemon("applying", &folder);
    assert!(start.supervisor.is_alive());
    let adopted = bench.engine.adopt(&start, &bench.seen, &bench.cancel).await;
    let Adopted::Ended(end, ended) = adopted else {
        panic!("{adopted:?}")
    };
    assert_eq!((ended.exit, ended.asked), (Exit::Code(0), Asked::No));
    assert_eq!(end.resources.len(), 2);
    let state = fs::read_to_string(folder.join("state")).unwrap();
    let state = fs::read_to_string(state).unwrap();
    assert!(state.contains("\"later\"") && state.contains("\"slow\""));
    remove_leftovers(&start);
}

/// Removes the folder of a victim's bench, which could not do so itself.
fn remove_leftovers(start: &StepStart) {
    // The step's folder is in that of the attempt, which is in the bench's work folder.
    let bench = start.dir.ancestors().nth(3).unwrap();
    fs::remove_dir_all(bench).unwrap();
}
