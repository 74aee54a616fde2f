//! Applies: what is applied, what is told of it, and what becomes of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use mainstay::engine::{
    self, ApplyEnd, ApplyOutcome, Changes, EngineError, FailedApply, KeptState, Progress, Remedy,
    Rescue, SavedPlan, State, Step, environment, supervise::Exit,
};

use mainstay::plan::{self, FingerprintKey, StateVersion};

use crate::bench::Bench;

const ONE: &str = r#"
resource "terraform_data" "one" {
  input = "x"
}
"#;

fn failed(error: EngineError) -> FailedApply {
    match error {
        EngineError::ApplyFailed(failed) => *failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_saved_plan_names_the_version_of_the_state_that_it_was_made_on() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let made_on = |plan: &SavedPlan| {
        let key = FingerprintKey::new([1; 32]);
        plan::look_into(&plan.file, &key).unwrap().state
    };
    let first = bench.plan(&job).await.unwrap();
    assert_eq!(made_on(&first), StateVersion::default());
    bench.apply(&job, first).await.unwrap();
    bench.write("main.tf", &ONE.replace("\"x\"", "\"y\""));
    let second = bench.plan(&job).await.unwrap();
    let kept = engine::state_mark(&bench.kept().path).unwrap();
    assert!(!kept.lineage.is_empty() && kept.serial > 0, "{kept:?}");
    assert_eq!(made_on(&second), kept);
}

#[tokio::test]
async fn what_was_planned_is_applied_and_then_there_is_nothing_to_do() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let files = [plan.file.clone(), plan.json.clone()];
    let applied = bench.apply(&job, plan).await.unwrap();
    assert_eq!(
        applied.resources,
        [("terraform_data.one".to_owned(), ApplyOutcome::Done)]
    );
    assert!(applied.warnings.is_empty());
    assert!(
        bench
            .seen
            .saw(&Progress::Applied("terraform_data.one".into()))
    );
    for file in files {
        assert!(!file.exists(), "{}", file.display());
    }
    let folder = bench.state().parent().unwrap().to_owned();
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    // Only the sealed state and the folder for applies, which is empty: no backup of Terraform's own.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    assert_eq!(fs::read_dir(folder.join("open")).unwrap().count(), 0);
    assert_eq!(
        bench.plan(&bench.job()).await.unwrap().outcome,
        Changes::None
    );
}

#[tokio::test]
async fn the_state_before_an_apply_is_kept() {
    let bench = Bench::new(ONE);
    bench.plan_and_apply(&bench.job()).await.unwrap();
    let before = bench.read_state();
    bench.write("main.tf", &ONE.replace("\"x\"", "\"y\""));
    bench.plan_and_apply(&bench.job()).await.unwrap();
    let kept: Vec<_> = fs::read_dir(bench.state().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".backup.sealed"))
        .collect();
    assert_eq!(kept.len(), 1);
    let mut version = Vec::new();
    bench.kept().keys.show(&kept[0], &mut version).unwrap();
    assert_eq!(String::from_utf8(version).unwrap(), before);
    assert_ne!(bench.read_state(), before);
}

#[tokio::test]
async fn an_apply_that_fails_half_way_says_what_was_done() {
    let bench = Bench::new(
        r#"
resource "terraform_data" "first" {}
resource "terraform_data" "bad" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "false"
  }
}
resource "terraform_data" "later" {
  depends_on = [terraform_data.bad]
}
"#,
    );
    let error = bench.plan_and_apply(&bench.job()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::AskHuman);
    assert_eq!(
        error.to_string(),
        "the apply of net failed: local-exec provisioner error (main.tf:5) (1 changed, 1 failed, \
         1 not reached)"
    );
    let failed = failed(error);
    let outcomes: BTreeMap<_, _> = failed.resources.into_iter().collect();
    assert_eq!(outcomes["terraform_data.first"], ApplyOutcome::Done);
    assert_eq!(outcomes["terraform_data.bad"], ApplyOutcome::Failed);
    assert_eq!(outcomes["terraform_data.later"], ApplyOutcome::NotReached);
    assert_eq!(failed.end, ApplyEnd::Exit(Exit::Code(1)));
    assert_eq!(failed.stranded, None);
}

#[tokio::test]
async fn a_plan_file_that_was_touched_is_not_applied() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let plan = bench.plan(&job).await.unwrap();
    let mut bytes = fs::read(&plan.file).unwrap();
    bytes.push(0);
    fs::write(&plan.file, bytes).unwrap();
    let error = bench.apply(&job, plan).await.unwrap_err();
    assert!(
        matches!(error, EngineError::PlanTampered { .. }),
        "{error:?}"
    );
    assert!(!bench.kept().sealed().exists() && !bench.open_state().exists());
    assert!(!bench.seen.steps().contains(&Step::Apply));
}

#[tokio::test]
async fn a_plan_is_applied_to_nothing_but_what_it_was_made_for() {
    let bench = Bench::new(ONE);
    let job = bench.job();
    let mut other = bench.job();
    other.state = State::Kept(KeptState {
        path: bench.path("states/other.tfstate"),
        ..bench.kept()
    });
    let plan = bench.plan(&job).await.unwrap();
    let error = bench.apply(&other, plan).await.unwrap_err();
    assert!(
        matches!(error, EngineError::PlanTampered { .. }),
        "{error:?}"
    );
    assert!(!bench.path("states/other.tfstate").exists());
}

#[tokio::test]
async fn a_stale_plan_changes_nothing_and_may_be_made_again() {
    let bench = Bench::new(ONE);
    let (first, second) = (bench.job(), bench.job());
    let early = bench.plan(&first).await.unwrap();
    bench.plan_and_apply(&second).await.unwrap();
    let error = bench.apply(&first, early).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error:?}");
    assert!(error.to_string().contains("Saved plan is stale"), "{error}");
}

#[tokio::test]
async fn a_provisioner_sees_nothing_but_the_list() {
    let bench = Bench::new("");
    let told = bench.path("environment");
    bench.write(
        "main.tf",
        &format!(
            "resource \"terraform_data\" \"one\" {{\n  provisioner \"local-exec\" {{\n    command \
             = \"env >{}\"\n  }}\n}}\n",
            told.display()
        ),
    );
    let daemon = [
        ("PATH", std::env::var("PATH").unwrap()),
        ("HOME", "/tmp".to_owned()),
        ("GITHUB_TOKEN", "forge".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "cloud".to_owned()),
        ("APP_KEY", "wanted".to_owned()),
        ("TF_LOG", "trace".to_owned()),
        ("TF_CLI_CONFIG_FILE", "/nowhere/there.tfrc".to_owned()),
    ];
    let mut job = bench.job();
    job.env = environment(
        &["APP_*".to_owned(), "GITHUB_*".to_owned()],
        daemon.map(|(name, value)| (name.to_owned(), value)),
        &["GITHUB_TOKEN".to_owned()],
    );
    bench.plan_and_apply(&job).await.unwrap();
    let told = fs::read_to_string(told).unwrap();
    let names: BTreeSet<&str> = told
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        // The shell's own.
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert_eq!(
        names,
        BTreeSet::from([
            "APP_KEY",
            "CHECKPOINT_DISABLE",
            "HOME",
            "PATH",
            "TF_DATA_DIR",
            "TF_INPUT",
            "TF_IN_AUTOMATION",
            "TMPDIR",
        ])
    );
}

/// An `http` backend that refuses to save the state so many times.
struct Backend {
    url: String,
    state: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Backend {
    fn refusing(times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&state);
        // The thread ends with the process; each connection is one request.
        std::thread::spawn(move || {
            let mut left = times;
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &kept, &mut left);
            }
        });
        Self { url, state }
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<Option<Vec<u8>>>, refusals: &mut usize) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut state = state.lock().unwrap();
    let (status, answer) = match first.split(' ').next().unwrap() {
        "GET" => state
            .clone()
            .map_or((404, Vec::new()), |state| (200, state)),
        "POST" if *refusals > 0 => {
            *refusals -= 1;
            (403, Vec::new())
        }
        "POST" => {
            *state = Some(body);
            (200, Vec::new())
        }
        _ => (405, Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}

fn behind(backend: &Backend) -> String {
    format!(
        "terraform {{\n  backend \"http\" {{\n    address = \"{}\"\n  }}\n}}\n{ONE}",
        backend.url
    )
}

#[tokio::test]
async fn a_state_that_could_not_be_saved_is_kept_and_pushed() {
    let backend = Backend::refusing(1);
    let bench = Bench::new(&behind(&backend));
    let mut job = bench.job();
    job.state = State::Backend;
    let error = bench.plan_and_apply(&job).await.unwrap_err();
    assert!(
        error.advice().contains("pushed afterwards"),
        "{}",
        error.advice()
    );
    let stranded = failed(error).stranded.unwrap();
    assert_eq!(stranded.rescue, Rescue::Saved);
    let saved = backend.state.lock().unwrap().clone().unwrap();
    assert!(String::from_utf8_lossy(&saved).contains("\"one\""));
    assert!(!bench.path("checkout/errored.tfstate").exists());
    let mode = fs::metadata(&stranded.kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_state_that_cannot_be_pushed_either_is_shouted_about() {
    let backend = Backend::refusing(usize::MAX);
    let bench = Bench::new(&behind(&backend));
    let mut job = bench.job();
    job.state = State::Backend;
    let error = bench.plan_and_apply(&job).await.unwrap_err();
    assert!(error.advice().contains("THE STATE COULD NOT BE SAVED"));
    let stranded = failed(error).stranded.unwrap();
    assert!(matches!(stranded.rescue, Rescue::Failed(_)));
    assert!(stranded.kept.exists());

    // The next apply does not write over it.
    bench.write("main.tf", ONE);
    job.state = State::Kept(bench.kept());
    job.backend = mainstay::modules::Backend::None;
    let error = bench.plan_and_apply(&job).await.unwrap_err();
    assert!(
        matches!(error, EngineError::StrandedState { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_state_that_a_repository_commits_is_never_pushed() {
    let backend = Backend::refusing(0);
    let bench = Bench::new(&behind(&backend));
    bench.write("errored.tfstate", "{\"version\":4}");
    let mut job = bench.job();
    job.state = State::Backend;
    let error = bench.plan_and_apply(&job).await.unwrap_err();
    assert!(
        matches!(error, EngineError::StrandedState { .. }),
        "{error:?}"
    );
    assert!(backend.state.lock().unwrap().is_none());
    assert!(!bench.seen.steps().contains(&Step::Apply));
}
