//! Does one run: checks out its files, has Terraform plan them, applies what may be applied,
//! and records each step before and after.

mod confinement;
mod failure;
mod judging;
mod owner;
mod places;
mod prepare;
mod recorder;
mod recover;

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracing::{error, info, warn};

pub use failure::of_engine as failure_of;
pub use owner::Owner;
pub use places::Places;
pub use recover::{Recovered, stranded_state};

use self::prepare::problem_warning;
use self::recorder::Recorder;
use crate::clock::now;
use crate::decide::{Next, Review, Ruling, after_plan};
use crate::engine::{
    self, ApplyEnd, CancelToken, Engine, EngineError, Job, PlanMode, Progress, SavedPlan, Stop,
    Tests,
};
use crate::fault::chain;
use crate::fleet::{Came, Fleet};
use crate::forge::Origin;
use crate::id::RunId;
use crate::modules::ModuleProblem;
use crate::plan::{self, StateVersion};
use crate::policy::Policies;
use crate::redact::Redactor;
use crate::run::{AppliedParts, Check, Event, Failure, Purpose, Run, State};
use crate::sandbox::{Level, Sandbox};
use crate::store::{Begin, RunFilter, StoreError};
use crate::workspace::Settings;

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

/// Does runs.
pub struct Worker {
    fleet: Arc<Fleet>,
    engine: Arc<Engine>,
    /// What keeps runs from the rest of the machine.
    sandbox: Sandbox,
    policies: Arc<Policies>,
    places: Places,
    /// The daemon's environment, as it was at its start.
    environment: Vec<(String, String)>,
    /// Variables that no run sees, whatever a pattern says.
    never: Vec<String>,
}

/// What a person or the daemon's end may wish of a run that is under way.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// To end before anything is applied.
    pub plan: CancelToken,
    /// To interrupt an apply: only ever a person's.
    pub apply: CancelToken,
}

/// Whether the base branch still wants of a workspace what a run brings.
#[derive(Debug, PartialEq, Eq)]
enum Base {
    /// It does.
    Stands,
    /// It wants something else by now.
    Moved,
}

/// What follows a plan.
enum Judged {
    Apply(Leave),
    Over(Outcome),
}

/// The leave to apply a plan.
struct Leave {
    /// Masks what the plan marks as secret.
    redactor: Redactor,
    /// How long planning took.
    took: Duration,
    /// The force-push that was known when the leave was given.
    rewound: Option<String>,
}

/// A run's files, ready.
struct Ready {
    run: Run,
    settings: Settings,
    job: Job,
    problems: Vec<ModuleProblem>,
    /// Masks what was injected into the environment: it is secret, whatever Terraform thinks of it.
    secrets: Redactor,
    /// What was checked before the plan, with what is injected masked.
    checks: Vec<Check>,
    /// Checkout and temporary files, which live as long as the run.
    folders: [Option<TempDir>; 2],
}

/// What came of working on a run, before it is recorded.
enum Outcome {
    Event(Event),
    /// It waits for a person, for this reason.
    Held(String),
    Failed(Box<Failure>, Option<AppliedParts>),
    /// It was asked to end, or its process was lost.
    Stopped(Option<AppliedParts>),
    /// Terraform is still at it and will be waited for: nothing is recorded yet.
    LeftRunning,
}

impl Worker {
    /// A worker for the repositories of `fleet`.
    ///
    /// `policies` judge its plans. `environment` is what runs are given a part of: the process's
    /// own, mostly.
    pub fn new(
        fleet: Arc<Fleet>,
        engine: Arc<Engine>,
        sandbox: Sandbox,
        policies: Arc<Policies>,
        environment: Vec<(String, String)>,
    ) -> Self {
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
            sandbox,
            policies,
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
        wishes: &Wishes,
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
        let observer = Recorder::new(&self.fleet, id, progress);
        let outcome = self
            .plan_and_apply(&mut ready, &observer, wishes)
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
            Outcome::Held(reason) => {
                info!(run.id = %id, "Run {id} waits for a person: {reason}");
                let event = Event::HeldBack {
                    reason: reason.clone(),
                };
                store.happened(id, &event, now(), |result| {
                    result.hold = Some(reason);
                    result.approval = None;
                })
            }
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
        wishes: &Wishes,
    ) -> Result<Outcome, StoreError> {
        let mode = match ready.run.what.purpose {
            Purpose::Drift => PlanMode::RefreshOnly,
            Purpose::Propose | Purpose::Merge => PlanMode::Normal,
        };
        if ready.run.what.purpose == Purpose::Propose
            && let Some(outcome) = self.check(ready, observer, wishes).await?
        {
            return Ok(outcome);
        }
        let saved = match self
            .engine
            .plan(&ready.job, mode, observer, &wishes.plan)
            .await
        {
            Ok(saved) => saved,
            Err(error) => {
                self.keep_checks(ready, &ready.secrets)?;
                return Ok(self.failed(ready, &error, &ready.secrets));
            }
        };
        match self.judge(ready, &saved).await? {
            Judged::Apply(leave) => self.apply(ready, saved, observer, wishes, leave).await,
            Judged::Over(outcome) => Ok(outcome),
        }
    }

    /// Makes the checks before a proposal's plan; gives the outcome where they end the run.
    async fn check(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        wishes: &Wishes,
    ) -> Result<Option<Outcome>, StoreError> {
        let what = &ready.run.what;
        let row = match &what.proposal {
            Some(key) => self.fleet.store.proposal(&what.repo, key)?,
            None => None,
        };
        let tests = match row.map(|row| row.proposal.origin) {
            Some(Origin::Own) => Tests::Run,
            // What a person let in is the plan of a fork.
            Some(Origin::Fork) | None => {
                Tests::Skip("tests may create real things, and those of a fork are not run")
            }
        };
        let mut done = Vec::new();
        let ended = self
            .engine
            .check(
                &ready.job,
                &ready.settings.checks,
                tests,
                &mut done,
                observer,
                &wishes.plan,
            )
            .await;
        ready.checks = done.iter().map(|c| c.redacted(&ready.secrets)).collect();
        match ended {
            Ok(()) => Ok(None),
            Err(error) => {
                self.keep_checks(ready, &ready.secrets)?;
                Ok(Some(self.failed(ready, &error, &ready.secrets)))
            }
        }
    }

    /// Records what was checked, with what `redactor` knows as secret masked.
    fn keep_checks(&self, ready: &Ready, redactor: &Redactor) -> Result<(), StoreError> {
        if ready.checks.is_empty() {
            return Ok(());
        }
        let checks: Vec<Check> = ready.checks.iter().map(|c| c.redacted(redactor)).collect();
        self.fleet
            .store
            .amend(ready.run.id, |result| result.checks = checks)
    }

    /// Reads a plan into the record, and decides what follows.
    async fn judge(&self, ready: &Ready, saved: &SavedPlan) -> Result<Judged, StoreError> {
        let id = ready.run.id;
        let store = &self.fleet.store;
        let purpose = ready.run.what.purpose;
        let read = File::open(&saved.json)
            .map_err(|source| chain(&source))
            .and_then(|file| {
                plan::read_masked(BufReader::new(file), &self.fleet.key, &ready.secrets)
                    .map_err(|error| chain(&error))
            });
        let failed = |failure| Ok(Judged::Over(Outcome::Failed(Box::new(failure), None)));
        let (plan, redactor) = match read {
            Ok(read) => read,
            Err(error) => {
                self.keep_checks(ready, &ready.secrets)?;
                return failed(failure::of_reading(&error));
            }
        };
        let carried = plan::look_into(&saved.file, &self.fleet.key)
            .inspect_err(|error| {
                warn!(run.id = %id, "What the plan of run {id} was made of is not known: {}", chain(error));
            })
            .ok();
        let configuration = carried.as_ref().map(|c| c.configuration.clone());
        let took: Duration = saved.took.iter().map(|(_, took)| *took).sum();
        let warnings: Vec<_> = saved
            .warnings
            .iter()
            .map(|w| w.redacted(&redactor))
            .chain(ready.problems.iter().map(problem_warning))
            .collect();
        self.keep_checks(ready, &redactor)?;
        store.amend(id, |result| {
            result.tool = Some(format!(
                "{} {} {}",
                self.engine.flavour(),
                plan.terraform_version,
                match self.sandbox_of(purpose).level() {
                    Level::None => "without a sandbox".to_owned(),
                    level => format!("in {level}"),
                }
            ));
            result.plan = Some(plan.clone());
            result.configuration = configuration.clone();
            result.state = carried.map(|c| c.state);
            result.plan_sha256 = Some(saved.sha256.clone());
            result.warnings = warnings;
            result.took = took;
        })?;
        if plan.errored {
            return failed(failure::of_errored_plan());
        }
        let verdict = match purpose {
            // It changes nothing, and what repairs it is judged by itself.
            Purpose::Drift => None,
            Purpose::Propose | Purpose::Merge => {
                self.verdict(ready, &saved.json, &plan, &redactor).await?
            }
        };
        store.amend(id, |result| result.verdict = verdict.clone())?;
        if purpose != Purpose::Merge {
            return Ok(Judged::Over(Outcome::Event(Event::PlanMade)));
        }
        let ruling = Ruling {
            approvals: self.approvals(ready, verdict.as_ref()).await?,
            verdict,
        };
        let row = store.workspace(&ready.run.what.repo, &ready.run.what.workspace)?;
        let rewound = row.and_then(|row| row.rewound);
        // A version that was put back knows nothing of what was applied after it.
        let restored = match &ready.job.state {
            engine::State::Local(path) => engine::restored_state(path).map(|version| {
                format!(
                    "its state was damaged, and the version `{}` was put back: compare the plan with what is there, \
                     since what was applied after that version is not known to it",
                    version.replace('`', "")
                )
            }),
            engine::State::Backend | engine::State::InFolder => None,
        };
        let review = self.review(ready)?;
        let reviewed = review.compare(&plan, configuration.as_deref(), &ready.run.what.inputs);
        store.amend(id, |result| result.reviewed = Some(reviewed))?;
        let approval = ready.run.result.approval.as_ref();
        Ok(
            match after_plan(
                &plan,
                &ready.settings,
                &review,
                approval,
                rewound.as_deref().or(restored.as_deref()),
                &ruling,
            ) {
                Next::Nothing => {
                    self.state_is_whole(ready);
                    Judged::Over(Outcome::Event(Event::NothingToApply))
                }
                Next::Hold(reason) => Judged::Over(Outcome::Held(reason)),
                Next::Apply => Judged::Apply(Leave {
                    redactor,
                    took,
                    rewound,
                }),
            },
        )
    }

    /// Forgets that a version of the state was put back, now that the state is what is there.
    fn state_is_whole(&self, ready: &Ready) {
        if let engine::State::Local(path) = &ready.job.state
            && let Err(error) = engine::is_whole_again(path)
        {
            warn!(run.id = %ready.run.id, "The note beside {} cannot be removed: {error}", path.display());
        }
    }

    async fn apply(
        &self,
        ready: &mut Ready,
        saved: SavedPlan,
        observer: &Recorder<'_>,
        wishes: &Wishes,
        leave: Leave,
    ) -> Result<Outcome, StoreError> {
        let id = ready.run.id;
        let store = &self.fleet.store;
        let Leave {
            redactor,
            took: planned_for,
            rewound,
        } = leave;
        if self.look_again(&ready.run).await? == Base::Moved {
            // It waits for its turn again; what is decided of it then knows the new head.
            return Ok(Outcome::Stopped(None));
        }
        // The daemon ends, or somebody wished it: what was not begun is not begun.
        if wishes.plan.is_cancelled() {
            return Ok(Outcome::Stopped(None));
        }
        // From here on a person must be told how far it came, whatever happens; and should this
        // future be dropped, Terraform goes on and needs its folders.
        match store.begin_apply(id, rewound.as_deref(), now())? {
            Begin::Begun => {}
            Begin::StopWished => return Ok(Outcome::Stopped(None)),
            Begin::Rewound(reason) => return Ok(Outcome::Held(reason)),
        }
        let folders = std::mem::take(&mut ready.folders).map(|folder| folder.map(TempDir::keep));
        let applied = self
            .engine
            .apply(&ready.job, saved, observer, &wishes.apply)
            .await;
        if !matches!(applied, Err(EngineError::StillRunning { .. })) {
            for folder in folders.iter().flatten() {
                if let Err(error) = std::fs::remove_dir_all(folder) {
                    warn!(run.id = %id, "{} cannot be removed: {error}", folder.display());
                }
            }
        }
        let after = kept_state(&ready.job);
        match applied {
            Ok(applied) => {
                let took: Duration = applied.took.iter().map(|(_, took)| *took).sum();
                store.amend(id, |result| {
                    result.state_after = after;
                    result.took = planned_for + took;
                    result
                        .warnings
                        .extend(applied.warnings.iter().map(|w| w.redacted(&redactor)));
                })?;
                self.state_is_whole(ready);
                Ok(Outcome::Event(Event::ApplyDone))
            }
            Err(error) => {
                if after.is_some() {
                    store.amend(id, |result| result.state_after = after)?;
                }
                Ok(self.failed(ready, &error, &redactor))
            }
        }
    }

    /// Has the repository looked at once more just before an apply: the base branch may have moved
    /// on, or a person taken back what they said. Where it cannot be looked at, what is on record holds.
    async fn look_again(&self, run: &Run) -> Result<Base, StoreError> {
        let (repo, name) = (&run.what.repo, &run.what.workspace);
        if self.fleet.looks.again(repo).await == Came::Badly {
            warn!(run.id = %run.id, repo = %repo, "{repo} could not be looked at just before the apply of run {}: it goes by the look before", run.id);
        }
        let view = self.fleet.store.repository(repo)?.and_then(|r| r.view);
        let wanted = view.as_ref().and_then(|view| view.workspace(name));
        Ok(match wanted {
            Some(wanted) if wanted.inputs == run.what.inputs => Base::Stands,
            _ => Base::Moved,
        })
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
            // What was planned after the merge was seen is nothing that a reviewer could have read.
            let seen = self.fleet.store.runs(&filter)?.into_iter().find(|run| {
                run.state == State::Planned
                    && run.what.inputs == touch.inputs
                    && run.changed_at <= row.changed_at
            });
            if let Some(run) = seen
                && let Some(plan) = &run.result.plan
            {
                review.add(plan, run.result.configuration.clone(), run.what.inputs);
            }
        }
        Ok(review)
    }
}

/// Which state a workspace has, where it is kept by us.
fn kept_state(job: &Job) -> Option<StateVersion> {
    match &job.state {
        engine::State::Local(path) => engine::state_mark(path),
        engine::State::Backend | engine::State::InFolder => None,
    }
}
