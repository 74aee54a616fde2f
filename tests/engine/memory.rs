//! The process that reads a plan: it holds to the limits, to its sandbox, and to who started it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mainstay::config::{Limits, SandboxLevel};
use mainstay::engine::{Job, ReadingError};
use mainstay::plan::{FingerprintKey, Room};
use mainstay::reading::{COMMAND, Order, Sent};
use mainstay::sandbox::{self, Confinement, Lifetime, Network};

use crate::bench::Bench;

/// The program under test.
const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

fn order(json: &Path) -> Order {
    Order {
        json: json.to_owned(),
        saved: None,
        key: FingerprintKey::new([1; 32]),
        secrets: Vec::new(),
        warnings: Vec::new(),
        checks: Vec::new(),
        judging: None,
        room: Room::RECORD,
    }
}

fn plan_of(bench: &Bench, bytes: usize) -> PathBuf {
    let value = "x".repeat(bytes);
    let json = format!(
        r#"{{"format_version":"1.2","resource_changes":[{{"address":"terraform_data.a","change":{{"actions":["create"],"after":{{"input":"{value}"}}}}}}]}}"#
    );
    let path = bench.path("plan.json");
    std::fs::write(&path, json).unwrap();
    path
}

fn job(bench: &Bench, memory: u64, patience: Duration) -> Job {
    Job {
        limits: Limits {
            memory,
            ..Limits::default()
        },
        plan_timeout: patience,
        ..bench.job()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_plan_whose_reading_takes_too_much_memory_fails_alone_and_by_name_of_the_limit() {
    let bench = Bench::faked("");
    let order = order(&plan_of(&bench, 24 << 20));
    let job = job(&bench, 24 << 20, MINUTE);
    let read = bench.engine.read_plan(&job, &[], &order, &bench.cancel);
    let error = read.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading the plan used more than 24 MiB of memory, and was ended"
    );
    let advice = error.advice();
    assert!(advice.contains("raise `memory` in `[limits]`"), "{advice}");
}

#[tokio::test]
async fn what_is_no_plan_is_said_to_be_none_without_a_word_of_it() {
    let bench = Bench::faked("");
    let json = bench.path("plan.json");
    std::fs::write(&json, r#"{"format_version":"1.2","errored":"hunter2"}"#).unwrap();
    let job = job(&bench, 1 << 30, MINUTE);
    let order = order(&json);
    let read = bench.engine.read_plan(&job, &[], &order, &bench.cancel);
    let said = read.await.unwrap_err().to_string();
    assert!(said.contains("broken or is no plan"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

/// A file whose reading never comes to an end.
fn endless(bench: &Bench) -> PathBuf {
    let path = bench.path("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[tokio::test]
async fn a_reading_that_takes_too_long_is_ended() {
    let bench = Bench::faked("");
    let job = job(&bench, 1 << 30, Duration::from_millis(300));
    let order = order(&endless(&bench));
    let read = bench.engine.read_plan(&job, &[], &order, &bench.cancel);
    let error = read.await.unwrap_err();
    assert!(matches!(error, ReadingError::TimedOut(_)), "{error:?}");
}

#[test]
fn a_reader_ends_when_nobody_waits_for_it_any_more() {
    let bench = Bench::faked("");
    let mut reader = Command::new(MAINSTAY)
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = reader.stdin.take().unwrap();
    let sent = Sent::new(order(&endless(&bench)), 1 << 30);
    serde_json::to_writer(&mut input, &sent).unwrap();
    input.write_all(b"\n").unwrap();
    assert!(reader.try_wait().unwrap().is_none());
    drop(input);
    let began = Instant::now();
    while reader.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < MINUTE, "it goes on alone");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_reader_in_a_sandbox_reads_the_plan_and_nothing_else() {
    let bench = Bench::faked("");
    let sandbox = sandbox::find(SandboxLevel::Auto, Path::new(MAINSTAY)).unwrap();
    let job = job(&bench, 1 << 30, MINUTE);
    std::fs::create_dir_all(&job.tmp_dir).unwrap();
    let json = plan_of(&bench, 100);
    let beside = bench.path("beside.json");
    std::fs::copy(&json, &beside).unwrap();
    let confinement = Confinement {
        cwd: job.tmp_dir.clone(),
        tmp_dir: job.tmp_dir.clone(),
        read: vec![json.clone()],
        write: Vec::new(),
        lifetime: Lifetime::OnItsOwn,
        network: Network::Nothing,
    };
    let behind = sandbox.wrapper(bench.engine.own_program(), &confinement);
    assert!(!behind.is_empty(), "there is no sandbox on this machine");
    let read = |order: Order| {
        let (bench, job, behind) = (&bench, &job, &behind);
        async move {
            bench
                .engine
                .read_plan(job, behind, &order, &bench.cancel)
                .await
        }
    };
    let answer = read(order(&json)).await.unwrap();
    assert_eq!(answer.plan.counts.create, 1);
    let error = read(order(&beside)).await.unwrap_err();
    assert!(matches!(error, ReadingError::Unreadable(_)), "{error:?}");
}
