//! A checkout, folders and an engine of one test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay::config::Limits;
use mainstay::engine::{
    Applied, CancelToken, Engine, EngineError, Job, KeptState, Lock, Observer, ObserverRefused,
    Patience, PlanMode, Program, Progress, SavedPlan, State, Step, StepEnd, StepStart,
};
use mainstay::modules::Backend;
use mainstay::redact::Secret;
use mainstay::seal::Keys;
use mainstay::workspace::Trust;
use tempfile::TempDir;

/// The variable by which a test finds the processes that it started.
const MARK: &str = "MAINSTAY_TEST_MARK";

pub(crate) struct Bench {
    dir: TempDir,
    pub(crate) engine: Engine,
    pub(crate) seen: Recorder,
    pub(crate) cancel: CancelToken,
    runs: Mutex<u32>,
}

impl Bench {
    /// A bench with the real program and this `main.tf`.
    pub(crate) fn new(main_tf: &str) -> Self {
        Self::with(&Program::Terraform, tempfile::tempdir().unwrap(), main_tf)
    }

    /// A bench with a shell script in the program's place.
    pub(crate) fn faked(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("terraform");
        let version = r#"[ "$1" = version ] && { echo '{"terraform_version":"1.11.4"}'; exit; }"#;
        fs::write(&program, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self::with(&Program::Path(program), dir, "")
    }

    fn with(program: &Program, dir: TempDir, main_tf: &str) -> Self {
        fs::create_dir(dir.path().join("checkout")).unwrap();
        fs::write(dir.path().join("cli.tfrc"), "").unwrap();
        let engine = Engine::locate(program, env!("CARGO_BIN_EXE_mainstay").into())
            .unwrap()
            .with_patience(Patience {
                plan: Duration::from_millis(500),
                apply: Duration::from_secs(30),
            });
        let bench = Self {
            dir,
            engine,
            seen: Recorder::default(),
            cancel: CancelToken::new(),
            runs: Mutex::new(0),
        };
        bench.write("main.tf", main_tf);
        bench
    }

    pub(crate) fn patient(self, patience: Patience) -> Self {
        Self {
            engine: self.engine.with_patience(patience),
            ..self
        }
    }

    /// A path in the bench's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path("checkout").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("states/net.tfstate")
    }

    /// The state that Mainstay keeps.
    pub(crate) fn kept(&self) -> KeptState {
        let keys = Keys::of(self.dir.path(), None);
        keys.ready().unwrap();
        KeptState {
            path: self.state(),
            keys,
            repo: "acme/infra".parse().unwrap(),
            workspace: "net".parse().unwrap(),
            commit: None,
        }
    }

    /// What the state holds.
    pub(crate) fn read_state(&self) -> String {
        let copy = self.path("state-copy");
        self.kept().copy(&copy).unwrap();
        fs::read_to_string(copy).unwrap()
    }

    /// Where an apply finds the state.
    pub(crate) fn open_state(&self) -> PathBuf {
        self.kept().open_folder().join("net.tfstate")
    }

    /// A job with a work folder of its own.
    pub(crate) fn job(&self) -> Job {
        let mut runs = self.runs.lock().unwrap();
        *runs += 1;
        Job {
            workspace: "net".parse().unwrap(),
            checkout: self.path("checkout"),
            folder: String::new(),
            work_dir: self.path(&format!("work/{runs}")),
            data_dir: self.path("data"),
            tmp_dir: self.path("tmp"),
            wrapper: Vec::new(),
            door: None,
            state: State::Kept(self.kept()),
            var_files: Vec::new(),
            terraform_workspace: None,
            env: vec![
                ("PATH".into(), Secret::new(std::env::var("PATH").unwrap())),
                (
                    "TF_CLI_CONFIG_FILE".into(),
                    Secret::new(self.path("cli.tfrc").to_str().unwrap()),
                ),
                (MARK.into(), Secret::new(self.dir.path().to_str().unwrap())),
            ],
            plan_timeout: Duration::from_secs(60),
            apply_timeout: Duration::from_secs(60),
            lock: Lock::Take {
                wait: Duration::ZERO,
            },
            required_version: Vec::new(),
            limits: Limits::default(),
            trust: Trust::default(),
            backend: self.backend(),
        }
    }

    /// The backend that the configuration has now.
    fn backend(&self) -> Backend {
        let text = std::fs::read_to_string(self.path("checkout/main.tf")).unwrap_or_default();
        match text.split_once("backend \"") {
            Some((_, rest)) => {
                let name = rest.split('"').next().unwrap_or_default();
                Backend::Named(name.to_owned())
            }
            None => Backend::None,
        }
    }

    pub(crate) async fn plan(&self, job: &Job) -> Result<SavedPlan, EngineError> {
        self.engine
            .plan(job, PlanMode::Normal, &self.seen, &self.cancel)
            .await
    }

    pub(crate) async fn apply(&self, job: &Job, plan: SavedPlan) -> Result<Applied, EngineError> {
        self.engine.apply(job, plan, &self.seen, &self.cancel).await
    }

    pub(crate) async fn plan_and_apply(&self, job: &Job) -> Result<Applied, EngineError> {
        let plan = self.plan(job).await?;
        self.apply(job, plan).await
    }

    /// The numbers of the living processes that this bench's steps started.
    pub(crate) fn alive(&self) -> Vec<i32> {
        marked(self.dir.path())
    }
}

/// The numbers of the living processes that carry this mark.
fn marked(mark: &Path) -> Vec<i32> {
    let wanted = format!("{MARK}={}", mark.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|b| *b == 0).any(|e| e == wanted.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// Waits until `what` holds, half a minute at most.
pub(crate) async fn until(mut what: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it did not come to pass"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An observer that keeps all it is told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) starts: Mutex<Vec<StepStart>>,
    pub(crate) ends: Mutex<Vec<StepEnd>>,
    pub(crate) progress: Mutex<Vec<Progress>>,
    pub(crate) refuse: AtomicBool,
}

impl Recorder {
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.starts.lock().unwrap().iter().map(|s| s.step).collect()
    }

    pub(crate) fn last(&self) -> StepStart {
        self.starts.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn saw(&self, progress: &Progress) -> bool {
        self.progress.lock().unwrap().contains(progress)
    }
}

impl Observer for Recorder {
    fn before(&self, start: &StepStart) -> Result<(), ObserverRefused> {
        self.starts.lock().unwrap().push(start.clone());
        if self.refuse.load(Ordering::SeqCst) {
            return Err(ObserverRefused("the disk is full".into()));
        }
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        self.ends.lock().unwrap().push(end.clone());
    }

    fn progress(&self, progress: &Progress) {
        self.progress.lock().unwrap().push(progress.clone());
    }
}
