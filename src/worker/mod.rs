//! Does one run: checks out its files, has Terraform plan them, applies what may be applied,
//! and records each step before and after.

mod failure;
mod owner;
mod places;
mod recover;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracing::{error, info, warn};

pub use failure::of_engine as failure_of;
pub use owner::Owner;
pub use places::Places;
pub use recover::Recovered;

use crate::clock::now;
use crate::decide::{Next, Review, after_plan};
use crate::engine::supervise::Exit;
use crate::engine::{
    self, ApplyEnd, CancelToken, Engine, EngineError, Job, Lock, Observer, ObserverRefused,
    PlanMode, Progress, SavedPlan, StepEnd, StepStart, Stop, environment,
};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked};
use crate::id::RunId;
use crate::modules::{Backend, ModuleProblem, Presence, ResolveError, Resolved};
use crate::plan::{self, Diagnostic, Severity};
use crate::redact::Redactor;
use crate::run::{AppliedParts, Event, Failure, Purpose, Run, State};
use crate::source::{Mirror, SourceError};
use crate::store::{RunFilter, StoreError};
use crate::workspace::Settings;

/// How long a plan that is to be applied waits for somebody else's lock of the state.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Why a run could not be worked on; what fails inside a run is its outcome and no such error.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The record could not be read or written.
    #[error("the record of run {run} could not be read or written")]
    Store {
        /// The run.
        run: RunId,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Why the files of a run could not be made ready.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error("the repository `{0}` is no longer declared")]
    Undeclared(String),
    #[error("the workspace is not in this commit")]
    NoWorkspace,
    #[error("the folder `{folder}` holds no Terraform configuration in this commit")]
    NoConfiguration { folder: String },
    #[error("the commit could not be checked out")]
    Source(#[from] SourceError),
    #[error("the files of the commit could not be read")]
    Tree(#[from] ResolveError),
    #[error("cannot make the folder {folder}")]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the checkout was cut short")]
    CutShort(#[from] tokio::task::JoinError),
}

/// Does runs.
pub struct Worker {
    fleet: Arc<Fleet>,
    engine: Arc<Engine>,
    places: Places,
    /// The daemon's environment, as it was at its start.
    environment: Vec<(String, String)>,
    /// Variables that no run sees, whatever a pattern says.
    never: Vec<String>,
}

/// A run's files, ready.
struct Ready {
    run: Run,
    settings: Settings,
    job: Job,
    problems: Vec<ModuleProblem>,
    /// Masks what was injected into the environment: it is secret, whatever Terraform thinks of it.
    secrets: Redactor,
    /// Checkout and temporary files, which live as long as the run.
    folders: [Option<TempDir>; 2],
}

/// What came of working on a run, before it is recorded.
enum Outcome {
    Event(Event),
    Failed(Box<Failure>, Option<AppliedParts>),
    /// It was asked to end, or its process was lost.
    Stopped(Option<AppliedParts>),
    /// Terraform is still at it and will be waited for: nothing is recorded yet.
    LeftRunning,
}

impl Worker {
    /// A worker for the repositories of `fleet`.
    ///
    /// `environment` is what runs are given a part of: the process's own, mostly.
    pub fn new(fleet: Arc<Fleet>, engine: Arc<Engine>, environment: Vec<(String, String)>) -> Self {
        let places = Places::new(&fleet.config.data_dir);
        let never = fleet
            .config
            .github
            .as_ref()
            .and_then(|g| g.token_variable().map(str::to_owned))
            .into_iter()
            .collect();
        Self {
            fleet,
            engine,
            places,
            environment,
            never,
        }
    }

    /// The folders that runs use.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Does a run that was claimed, to its end or to a hold. `progress` is told how Terraform goes on.
    ///
    /// # Errors
    ///
    /// Where the record fails: nothing is begun that could not be recorded.
    pub async fn work(
        &self,
        id: RunId,
        cancel: &CancelToken,
        progress: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<State, WorkError> {
        let store = &self.fleet.store;
        let failed = |source| WorkError::Store { run: id, source };
        let run = store.run(id).map_err(failed)?;
        let began = Instant::now();
        let label = format!(
            "{} of {} at {}",
            run.what.workspace,
            run.what.repo,
            run.what.commit.short()
        );
        info!(run.id = %id, workspace = %run.what.workspace, purpose = %run.what.purpose, "Run {id} begins: {} {label}", run.what.purpose);
        let mut ready = match self.prepare(run).await {
            Ok(ready) => ready,
            Err(error) => {
                let failure = failure::of_checkout(&chain(&error));
                return self
                    .record(id, Outcome::Failed(Box::new(failure), None))
                    .map_err(failed);
            }
        };
        store
            .happened(id, &Event::CheckedOut, now(), |_| {})
            .map_err(failed)?;
        let observer = Recorder {
            fleet: &self.fleet,
            run: id,
            open: std::sync::Mutex::default(),
            progress,
        };
        let outcome = self
            .plan_and_apply(&mut ready, &observer, cancel)
            .await
            .map_err(failed)?;
        if !matches!(outcome, Outcome::LeftRunning) {
            self.discard_plans(id);
        }
        let state = self.record(id, outcome).map_err(failed)?;
        let duration_ms = began.elapsed().as_millis();
        info!(run.id = %id, state = %state, duration_ms, "Run {id} is {state}: {label}");
        Ok(state)
    }

    fn record(&self, id: RunId, outcome: Outcome) -> Result<State, StoreError> {
        let store = &self.fleet.store;
        match outcome {
            Outcome::Event(event) => store.happened(id, &event, now(), |_| {}),
            Outcome::LeftRunning => Ok(store.run(id)?.state),
            Outcome::Stopped(parts) => {
                // Without a wish the daemon ends: what was planned is planned again by the next one.
                let event = store.run(id)?.result.stop.unwrap_or(Event::WorkerLost);
                store.happened(id, &event, now(), |result| result.applied = parts)
            }
            Outcome::Failed(failure, parts) => {
                warn!(run.id = %id, step = %failure.step, "Run {id} failed: {}", failure.summary);
                let event = Event::StepFailed {
                    summary: failure.summary.clone(),
                };
                store.happened(id, &event, now(), |result| {
                    result.failure = Some(*failure);
                    result.applied = parts;
                })
            }
        }
    }

    /// Removes the plans of a run that needs them no more: they hold secrets in clear.
    fn discard_plans(&self, id: RunId) {
        for attempt in self.places.attempts(id) {
            if let Err(error) = engine::discard_plan(&attempt) {
                warn!(run.id = %id, "The plan in {} cannot be removed: {error}", attempt.display());
            }
        }
    }

    async fn plan_and_apply(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        cancel: &CancelToken,
    ) -> Result<Outcome, StoreError> {
        let id = ready.run.id;
        let store = &self.fleet.store;
        let purpose = ready.run.what.purpose;
        let mode = match purpose {
            Purpose::Drift => PlanMode::RefreshOnly,
            Purpose::Propose | Purpose::Merge => PlanMode::Normal,
        };
        let saved = match self.engine.plan(&ready.job, mode, observer, cancel).await {
            Ok(saved) => saved,
            Err(error) => return Ok(self.failed(ready, &error, &ready.secrets)),
        };
        let read = File::open(&saved.json)
            .map_err(|source| chain(&source))
            .and_then(|file| {
                plan::read_masked(BufReader::new(file), &self.fleet.key, &ready.secrets)
                    .map_err(|error| chain(&error))
            });
        let (plan, redactor) = match read {
            Ok(read) => read,
            Err(error) => {
                return Ok(Outcome::Failed(Box::new(failure::of_reading(&error)), None));
            }
        };
        let took: Duration = saved.took.iter().map(|(_, took)| *took).sum();
        let warnings: Vec<_> = saved
            .warnings
            .iter()
            .map(|w| w.redacted(&redactor))
            .chain(ready.problems.iter().map(problem_warning))
            .collect();
        let errored = plan.errored;
        store.amend(id, |result| {
            result.tool = Some(format!(
                "{} {}",
                self.engine.flavour(),
                plan.terraform_version
            ));
            result.plan = Some(plan.clone());
            result.warnings = warnings;
            result.took = took;
        })?;
        if errored {
            return Ok(Outcome::Failed(Box::new(failure::of_errored_plan()), None));
        }
        if purpose != Purpose::Merge {
            return Ok(Outcome::Event(Event::PlanMade));
        }
        let row = store.workspace(&ready.run.what.repo, &ready.run.what.workspace)?;
        let rewound = row.and_then(|row| row.rewound);
        let review = self.review(ready)?;
        let approval = ready.run.result.approval.clone();
        let next = after_plan(
            &plan,
            &ready.settings,
            &review,
            approval.as_ref(),
            rewound.as_deref(),
        );
        match next {
            Next::Nothing => Ok(Outcome::Event(Event::NothingToApply)),
            Next::Hold(reason) => {
                info!(run.id = %id, "Run {id} waits for a person: {reason}");
                store.amend(id, |result| {
                    result.hold = Some(reason.clone());
                    result.approval = None;
                })?;
                Ok(Outcome::Event(Event::HeldBack { reason }))
            }
            Next::Apply => {
                self.apply(ready, saved, observer, cancel, &redactor, took)
                    .await
            }
        }
    }

    async fn apply(
        &self,
        ready: &mut Ready,
        saved: SavedPlan,
        observer: &Recorder<'_>,
        cancel: &CancelToken,
        redactor: &Redactor,
        planned_for: Duration,
    ) -> Result<Outcome, StoreError> {
        let id = ready.run.id;
        let store = &self.fleet.store;
        if cancel.is_cancelled() || store.run(id)?.result.stop.is_some() {
            return Ok(Outcome::Stopped(None));
        }
        // From here on a person must be told how far it came, whatever happens; and should this
        // future be dropped, Terraform goes on and needs its folders.
        store.happened(id, &Event::ApplyStarted, now(), |_| {})?;
        let folders = std::mem::take(&mut ready.folders).map(|folder| folder.map(TempDir::keep));
        let applied = self.engine.apply(&ready.job, saved, observer, cancel).await;
        if !matches!(applied, Err(EngineError::StillRunning { .. })) {
            for folder in folders.iter().flatten() {
                if let Err(error) = std::fs::remove_dir_all(folder) {
                    warn!(run.id = %id, "{} cannot be removed: {error}", folder.display());
                }
            }
        }
        match applied {
            Ok(applied) => {
                let took: Duration = applied.took.iter().map(|(_, took)| *took).sum();
                store.amend(id, |result| {
                    result.took = planned_for + took;
                    result
                        .warnings
                        .extend(applied.warnings.iter().map(|w| w.redacted(redactor)));
                })?;
                Ok(Outcome::Event(Event::ApplyDone))
            }
            Err(error) => Ok(self.failed(ready, &error, redactor)),
        }
    }

    fn failed(&self, ready: &Ready, error: &EngineError, redactor: &Redactor) -> Outcome {
        match error {
            EngineError::Cancelled(_) => Outcome::Stopped(None),
            EngineError::ApplyFailed(_)
                if failure::is_lost(error) || self.was_stopped(ready.run.id, error) =>
            {
                Outcome::Stopped(failure::parts(error))
            }
            EngineError::StillRunning { .. } => {
                error!(run.id = %ready.run.id, "Run {} goes on without us: {}", ready.run.id, chain(error));
                Outcome::LeftRunning
            }
            _ => {
                let parts = failure::parts(error);
                Outcome::Failed(Box::new(failure::of_engine(error, redactor)), parts)
            }
        }
    }

    /// Whether an apply ended because a person asked it to.
    fn was_stopped(&self, id: RunId, error: &EngineError) -> bool {
        let asked = self
            .fleet
            .store
            .run(id)
            .is_ok_and(|run| run.result.stop.is_some());
        asked
            && matches!(error, EngineError::ApplyFailed(failed)
                if failed.end == ApplyEnd::Stopped(Stop::Cancelled))
    }

    /// What reviewers saw of the change: the plans of the proposals that were merged since the
    /// workspace's commit, each at the head that was merged.
    fn review(&self, ready: &Ready) -> Result<Review, StoreError> {
        let what = &ready.run.what;
        let mut review = Review::default();
        let Some(tracked) = self.fleet.tracked(&what.repo) else {
            return Ok(review);
        };
        let facts = self.fleet.facts(tracked)?;
        for merged in crate::decide::merged_since(&facts, &what.workspace) {
            let Some(row) = self.fleet.store.proposal(&what.repo, &merged.key)? else {
                continue;
            };
            let Some(touch) = row.touched().iter().find(|t| t.name == what.workspace) else {
                continue;
            };
            let filter = RunFilter {
                repo: Some(what.repo.clone()),
                workspace: Some(what.workspace.clone()),
                proposal: Some(merged.key.clone()),
                purpose: Some(Purpose::Propose),
                limit: 50,
            };
            let seen = self
                .fleet
                .store
                .runs(&filter)?
                .into_iter()
                .find(|run| run.state == State::Planned && run.what.inputs == touch.inputs);
            if let Some(plan) = seen.and_then(|run| run.result.plan) {
                review
                    .changes
                    .extend(plan.changes.into_iter().map(|c| c.digest));
            }
        }
        Ok(review)
    }

    async fn prepare(&self, run: Run) -> Result<Ready, PrepareError> {
        let what = &run.what;
        let undeclared = || PrepareError::Undeclared(what.repo.to_string());
        let tracked = Arc::clone(self.fleet.tracked(&what.repo).ok_or_else(undeclared)?);
        let settings = tracked
            .settings(&what.workspace)
            .ok_or_else(undeclared)?
            .clone();
        let folder = self.places.checkouts();
        let (name, tree) = (what.workspace.clone(), what.tree.clone());
        let prefix = format!("run-{}-", run.id);
        let (resolved, checkout) = tokio::task::spawn_blocking(move || {
            let make = |source| PrepareError::Folder {
                folder: folder.clone(),
                source,
            };
            std::fs::create_dir_all(&folder).map_err(make)?;
            let checkout = tempfile::Builder::new()
                .prefix(&prefix)
                .tempdir_in(&folder)
                .map_err(make)?;
            let resolved = check_out(&tracked, &name, &tree, checkout.path())?;
            Ok::<_, PrepareError>((resolved, checkout))
        })
        .await??;
        let trust = match what.purpose {
            Purpose::Propose => places::Trust::Proposed,
            Purpose::Merge | Purpose::Drift => places::Trust::Merged,
        };
        let work_dir = self
            .places
            .next_attempt(run.id)
            .map_err(|source| PrepareError::Folder {
                folder: self.places.run(run.id),
                source,
            })?;
        let patterns = match what.purpose {
            Purpose::Merge => &settings.env.apply,
            Purpose::Propose | Purpose::Drift => &settings.env.plan,
        };
        let choose = |patterns: &[String]| {
            environment(patterns, self.environment.iter().cloned(), &self.never)
        };
        let env = choose(patterns);
        let harmless = choose(&[]);
        // What a declaration lets in is secret; what every run sees (PATH, HOME) is not.
        let secrets = env
            .iter()
            .filter(|(name, _)| harmless.iter().all(|(other, _)| other != name))
            .map(|(_, value)| value.expose().to_owned());
        let secrets = Redactor::new(secrets);
        let tmp_dir = tempfile::Builder::new()
            .prefix("mst-")
            .tempdir()
            .map_err(|source| PrepareError::Folder {
                folder: std::env::temp_dir(),
                source,
            })?;
        let state = match resolved.backend {
            Backend::None => engine::State::Local(self.places.state(&what.repo, &what.workspace)),
            Backend::Named(_) | Backend::Cloud => engine::State::Backend,
        };
        let job = Job {
            workspace: what.workspace.clone(),
            checkout: checkout.path().to_owned(),
            folder: resolved.workspace.path.clone(),
            work_dir,
            data_dir: self.places.terraform(&what.repo, &what.workspace, trust),
            tmp_dir: tmp_dir.path().to_owned(),
            wrapper: Vec::new(),
            state,
            var_files: settings.var_files.clone(),
            terraform_workspace: settings.terraform_workspace.clone(),
            env,
            plan_timeout: settings.plan_timeout,
            apply_timeout: settings.apply_timeout,
            lock: match what.purpose {
                Purpose::Merge => Lock::Take { wait: LOCK_WAIT },
                // A plan that is only shown writes nothing: it leaves no lock behind when it is killed.
                Purpose::Propose | Purpose::Drift => Lock::Skip,
            },
            required_version: resolved.required_version.clone(),
        };
        Ok(Ready {
            settings,
            job,
            problems: resolved.problems,
            secrets,
            run,
            folders: [Some(checkout), Some(tmp_dir)],
        })
    }
}

/// Checks out the files that concern a workspace.
fn check_out(
    tracked: &Tracked,
    name: &crate::id::WorkspaceName,
    tree: &crate::id::ObjectId,
    into: &Path,
) -> Result<Resolved, PrepareError> {
    let mirror = Mirror::open(&tracked.mirror)?;
    let files = mirror.tree(tree)?;
    let resolved = crate::modules::resolve(&files, &tracked.declaration)?
        .into_iter()
        .find(|r| &r.workspace.name == name)
        .ok_or(PrepareError::NoWorkspace)?;
    if resolved.presence == Presence::Absent {
        return Err(PrepareError::NoConfiguration {
            folder: resolved.workspace.path,
        });
    }
    mirror.checkout(tree, Some(&resolved.files), into)?;
    Ok(resolved)
}

fn problem_warning(problem: &ModuleProblem) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        summary: problem.message.clone(),
        detail: String::new(),
        address: None,
        file: Some(problem.file.clone()),
        line: problem.line.and_then(|line| line.try_into().ok()),
        snippet: None,
    }
}

/// How a step ended, in the record's words.
fn outcome(end: &StepEnd) -> String {
    match end.ended.as_ref().map(|ended| &ended.exit) {
        Some(Exit::Code(code)) => format!("exit code {code}"),
        Some(Exit::Signal(signal)) => format!("signal {signal}"),
        Some(Exit::NotStarted(reason)) => format!("not started: {reason}"),
        None => "nothing says how it ended".to_owned(),
    }
}

/// Records each process before it runs and after it ended.
struct Recorder<'w> {
    fleet: &'w Fleet,
    run: RunId,
    /// The record of the step that runs.
    open: std::sync::Mutex<Option<i64>>,
    progress: &'w (dyn Fn(&Progress) + Send + Sync),
}

impl<'w> Recorder<'w> {
    /// One that nobody watches.
    fn silent(fleet: &'w Fleet, run: RunId) -> Self {
        Self {
            fleet,
            run,
            open: std::sync::Mutex::default(),
            progress: &|_| {},
        }
    }

    /// Goes on with a step that is recorded already.
    fn resume(&self, step: i64) {
        *self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(step);
    }
}

impl Observer for Recorder<'_> {
    fn before(&self, start: &StepStart) -> Result<(), ObserverRefused> {
        let value = serde_json::to_value(start).map_err(|e| ObserverRefused(Box::new(e)))?;
        let id = self
            .fleet
            .store
            .step_starts(self.run, &start.step.to_string(), &value, now())
            .map_err(|e| ObserverRefused(Box::new(e)))?;
        *self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(id);
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        let open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let Some(id) = open else { return };
        if let Err(error) = self.fleet.store.step_ended(id, &outcome(end), now()) {
            warn!(run.id = %self.run, "Recording the end of a step of run {} failed: {}", self.run, chain(&error));
        }
    }

    fn progress(&self, progress: &Progress) {
        (self.progress)(progress);
    }
}
