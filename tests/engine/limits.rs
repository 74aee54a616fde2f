//! Limits of a run: each ends it, with a sentence that names the limit and the key that raises it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay::config::Limits;
use mainstay::engine::{ApplyEnd, EngineError, Limit, Patience};
use rustix::process::Signal;

use crate::bench::{Bench, until};
use crate::stopping::{applying, failed, signal};

/// Plans with a program in Terraform's place, and gives what is said of the end.
async fn refused(script: &str, limits: Limits) -> (String, String) {
    let bench = Bench::faked(script);
    let mut job = bench.job();
    job.limits = limits;
    let error = bench.plan(&job).await.unwrap_err();
    assert!(matches!(error, EngineError::LimitHit { .. }), "{error:?}");
    until(|| bench.alive().is_empty()).await;
    (error.to_string(), error.advice())
}

#[tokio::test]
async fn a_plan_that_holds_too_much_memory_is_ended() {
    let limits = Limits {
        memory: 64 << 20,
        ..Limits::default()
    };
    // `tail` holds what has no end of a line.
    let (said, advice) = refused(
        "head -c 200000000 /dev/zero | tail -c 200000000 | sleep 60",
        limits,
    )
    .await;
    assert_eq!(
        said,
        "`plan` in net used more than 64 MiB of memory, and was ended"
    );
    assert!(advice.contains("raise `memory` in `[limits]`"), "{advice}");
}

#[tokio::test]
async fn a_plan_with_too_many_processes_is_ended() {
    let limits = Limits {
        processes: 20,
        ..Limits::default()
    };
    let (said, _) = refused(
        "i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done; wait",
        limits,
    )
    .await;
    assert_eq!(
        said,
        "`plan` in net had more than 20 processes at once, and was ended"
    );
}

#[tokio::test]
async fn a_plan_that_fills_the_disk_is_ended() {
    let limits = Limits {
        disk: 4 << 20,
        ..Limits::default()
    };
    // Many files: of one, the kernel itself would allow no more.
    let script = "for i in 1 2 3; do head -c 2000000 /dev/zero >$i; done; sleep 60";
    let (said, _) = refused(script, limits).await;
    assert_eq!(
        said,
        "`plan` in net put more than 4 MiB on the disk, and was ended"
    );
}

#[tokio::test]
async fn a_plan_that_prints_too_much_is_ended_also_where_it_was_quick() {
    let limits = Limits {
        output: 1 << 20,
        ..Limits::default()
    };
    for script in ["yes", "head -c 2000000 /dev/zero; exit 2"] {
        let (said, _) = refused(script, limits).await;
        assert_eq!(said, "`plan` in net printed more than 1 MiB, and was ended");
    }
}

#[tokio::test]
async fn open_files_are_bounded_and_there_are_no_core_dumps() {
    let bench = Bench::faked("ulimit -n >files; ulimit -c >core; exit 1");
    let mut job = bench.job();
    job.limits.open_files = 99;
    bench.plan(&job).await.unwrap_err();
    let read = |name| fs::read_to_string(bench.path("checkout").join(name)).unwrap();
    assert_eq!((read("files").trim(), read("core").trim()), ("99", "0"));
    // Terraform says it in its own words.
    let limits = Limits {
        open_files: 99,
        ..Limits::default()
    };
    let (said, _) = refused(
        "echo 'Error: open x: too many open files' >&2; exit 1",
        limits,
    )
    .await;
    assert_eq!(
        said,
        "`plan` in net needed more than 99 open files in one process, and was ended"
    );
}

#[tokio::test]
async fn a_plan_that_is_too_large_is_refused_by_terraforms_file_and_by_its_json() {
    let bench = Bench::new(
        r#"locals { line = join("", [for i in range(1000) : "0123456789abcdef"]) }
output "large" { value = [for i in range(40) : "${i}${local.line}"] }"#,
    );
    let mut job = bench.job();
    job.limits.plan = 256 << 10;
    // The file is packed and small; the JSON is not.
    let error = bench.plan(&job).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`show` in net made a plan of more than 256 KiB, and was ended"
    );
    assert!(!job.out_dir().join("plan").exists());
    let mut job = bench.job();
    job.limits.plan = 64;
    let error = bench.plan(&job).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`plan` in net made a plan of more than 64 bytes, and was ended"
    );
}

#[tokio::test]
async fn an_apply_that_comes_to_a_limit_is_asked_once_and_not_killed() {
    let script =
        applying("trap 'echo asked >>asked; exit 1' INT; while :; do sleep 0.05; echo more; done");
    let bench = Bench::faked(&script).patient(Patience {
        plan: Duration::from_secs(5),
        apply: Duration::from_secs(30),
    });
    let mut job = bench.job();
    job.limits.output = 40;
    let plan = bench.plan(&job).await.unwrap();
    let error = bench.apply(&job, plan).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("printed more than 40 bytes and was stopped"),
        "{said}"
    );
    assert!(matches!(failed(error).end, ApplyEnd::Limited(hit) if hit.limit == Limit::Output));
    let asked = fs::read_to_string(bench.path("checkout/asked")).unwrap();
    assert_eq!(asked, "asked\n");
}

#[tokio::test]
async fn an_apply_whose_sandbox_is_killed_goes_on_and_its_end_is_learned() {
    let bench = Bench::new(
        r#"resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "touch begun; while [ ! -e go ]; do sleep 0.05; done" }
}"#,
    );
    let mut job = bench.job();
    job.wrapper = ["/bin/sh", "-c", "\"$@\"; exit $?", "sandbox"]
        .map(Into::into)
        .into();
    let plan = bench.plan(&job).await.unwrap();
    let (applied, ()) = tokio::join!(bench.apply(&job, plan), async {
        until(|| bench.path("checkout/begun").exists()).await;
        let running = fs::read(bench.seen.last().dir.join("pid.json")).unwrap();
        let running: serde_json::Value = serde_json::from_slice(&running).unwrap();
        let sandbox = i32::try_from(running["program"]["pid"].as_i64().unwrap()).unwrap();
        signal(sandbox, Signal::TERM);
        let gone = Path::new("/proc").join(sandbox.to_string());
        until(|| !gone.exists()).await;
        bench.write("go", "");
    });
    assert_eq!(applied.unwrap().resources.len(), 1);
    assert!(bench.read_state().contains("slow"));
}

#[tokio::test]
async fn a_link_in_the_plans_place_leads_nowhere() {
    let bench = Bench::faked(
        r#"case "$1" in plan) for a; do case "$a" in -out=*) ln -s "$PWD/precious" "${a#-out=}";; esac; done; exit 2;; esac"#,
    );
    bench.write("precious", "x");
    let before = fs::metadata(bench.path("checkout/precious"))
        .unwrap()
        .permissions();
    let error = bench.plan(&bench.job()).await.unwrap_err();
    assert!(error.to_string().contains("protect"), "{error}");
    let after = fs::metadata(bench.path("checkout/precious"))
        .unwrap()
        .permissions();
    assert_eq!(before, after);
}
