//! Does one run: checks out its files, has Terraform plan them, applies what may be applied,
//! and records each step before and after.

mod applying;
mod checking;
mod confinement;
mod failure;
mod following;
mod judging;
mod lending;
mod operator;
mod owner;
mod places;
mod prepare;
mod recorder;
mod recover;
mod resting;
mod reviewing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracing::{error, info, warn};

pub use failure::of_engine as failure_of;
pub use failure::of_refusals;
pub use owner::Owner;
pub use places::Places;
pub use recover::{Recovered, stranded_state};
pub use resting::put_to_rest;

use self::following::Unfinished;
use self::lending::Author;
use self::prepare::{PrepareError, problem_warning};
use self::recorder::Recorder;
use crate::clock::{Timestamp, now};
use crate::decide::{Approvals, Next, Ruling, after_plan};
use crate::engine::{
    self, ApplyEnd, CancelToken, Engine, EngineError, Job, PlanMode, Progress, ReadingError,
    SavedPlan, Stop,
};
use crate::fault::chain;
use crate::fleet::Fleet;
use crate::id::RunId;
use crate::modules::ModuleProblem;
use crate::plan::Diagnostic;
use crate::policy::Policies;
use crate::reading::{Answer, Masks};
use crate::redact::Redactor;
use crate::run::{AppliedParts, Check, Event, Failure, Purpose, Run, State};
use crate::sandbox::{Level, Sandbox};
use crate::seal::Keys;
use crate::store::StoreError;
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
    /// What rests on the disk is sealed with these.
    keys: Keys,
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

/// What follows a plan.
enum Judged {
    Apply(Leave),
    Over(Outcome),
}

/// The leave to apply a plan.
struct Leave {
    /// Masks what the plan marks as secret.
    masks: Masks,
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
    /// Who wrote the code.
    author: Author,
    /// Until when the credentials hold that it was lent, where that is known.
    lent_until: Option<Timestamp>,
    /// What the reader is told of the run itself.
    notes: Vec<Diagnostic>,
    /// What was checked before the plan, with what is injected masked.
    checks: Vec<Check>,
    /// The last apply of the workspace, where that came to no good end.
    unfinished: Option<Unfinished>,
    /// Checkout, temporary files and a stranger's data folder, which live as long as the run.
    folders: [Option<TempDir>; 3],
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
        let keys = Keys::of(&fleet.config.data_dir, fleet.config.key_file.as_deref());
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
            keys,
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
                let failure = match &error {
                    PrepareError::Refused { folder, refusals } => {
                        failure::of_refusals(folder, refusals)
                    }
                    error => failure::of_checkout(&chain(error)),
                };
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
        // Only these: as soon as it is on record, the next attempt may begin.
        let attempts = match outcome {
            Outcome::LeftRunning => Vec::new(),
            _ => self.places.attempts(id),
        };
        let state = self.record(id, outcome).map_err(failed)?;
        // After the record: how an apply ended is read from its log until that is on record.
        self.put_to_rest(id, attempts);
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
        if let Some(outcome) = self.lend(ready, observer, wishes).await? {
            return Ok(outcome);
        }
        if ready.run.what.purpose == Purpose::Propose
            && let Some(outcome) = self.check(ready, observer, wishes).await?
        {
            return Ok(outcome);
        }
        ready.unfinished = self.unfinished(&ready.run)?;
        if ready.run.what.purpose != Purpose::Propose {
            self.say_what_came_before(ready)?;
        }
        if let Some(failure) = self.save_stranded(ready, observer).await? {
            return Ok(Outcome::Failed(Box::new(failure), None));
        }
        let saved = match self.plan(ready, mode, observer, wishes).await? {
            Ok(saved) => saved,
            Err(error) => {
                self.keep_refused(ready, || ready.secrets.clone())?;
                self.keep_checks(ready, &ready.secrets)?;
                if !ready.notes.is_empty() {
                    let notes = ready.notes.clone();
                    self.fleet
                        .store
                        .amend(ready.run.id, |result| result.warnings = notes)?;
                }
                return Ok(self.failed(ready, &error, &ready.secrets));
            }
        };
        match self.judge(ready, &saved, wishes).await? {
            Judged::Apply(leave) => self.apply(ready, saved, observer, wishes, leave).await,
            Judged::Over(outcome) => Ok(outcome),
        }
    }

    /// Has a plan read and judged in a process of its own, writes down what it says, and decides
    /// what follows.
    async fn judge(
        &self,
        ready: &Ready,
        saved: &SavedPlan,
        wishes: &Wishes,
    ) -> Result<Judged, StoreError> {
        let id = ready.run.id;
        let store = &self.fleet.store;
        let what = &ready.run.what;
        let purpose = what.purpose;
        let answer = match self.read(ready, saved, &wishes.plan).await? {
            Ok(answer) => answer,
            Err(error) => {
                self.keep_refused(ready, || ready.secrets.clone())?;
                self.keep_checks(ready, &ready.secrets)?;
                return Ok(Judged::Over(match error {
                    ReadingError::Cancelled => Outcome::Stopped(None),
                    error => Outcome::Failed(Box::new(failure::of_reading(&error)), None),
                }));
            }
        };
        let Answer {
            plan,
            carried,
            mut warnings,
            checks,
            verdict,
            masks,
        } = answer;
        let carried = carried
            .inspect_err(|error| {
                warn!(run.id = %id, "What the plan of run {id} was made of is not known: {error}");
            })
            .ok();
        let configuration = carried.as_ref().map(|c| c.configuration.clone());
        let state = carried.map(|c| c.state);
        let took: Duration = saved.took.iter().map(|(_, took)| *took).sum();
        self.keep_refused(ready, || masks.redactor())?;
        warnings.extend(ready.problems.iter().map(problem_warning));
        warnings.extend(ready.notes.iter().cloned());
        let verdict = match verdict {
            Some(verdict) => Some(self.overridden(ready, &plan, verdict)?),
            None => None,
        };
        let review = match purpose {
            Purpose::Merge if !plan.errored => Some(self.review(ready)?),
            Purpose::Propose | Purpose::Merge | Purpose::Drift => None,
        };
        let reviewed = review
            .as_ref()
            .map(|review| review.compare(&plan, configuration.as_deref(), &what.inputs));
        let tool = format!(
            "{} {} {}",
            self.engine.flavour(),
            plan.terraform_version,
            match self.sandbox_of(purpose).level() {
                Level::None => "without a sandbox".to_owned(),
                level => format!("in {level}"),
            }
        );
        let ruling = Ruling {
            approvals: match &review {
                Some(_) => self.approvals(ready, verdict.as_ref()).await?,
                None => Approvals::NotAsked,
            },
            verdict,
        };
        let row = store.workspace(&what.repo, &what.workspace)?;
        let rewound = row.and_then(|row| row.rewound);
        let repeats = match &review {
            Some(_) => self.follow(ready, &plan, state.as_ref())?,
            None => None,
        };
        let restored = restored(&ready.job);
        let waits_for = rewound
            .as_deref()
            .or(restored.as_deref())
            .or(repeats.as_deref());
        let next = review.map(|review| {
            after_plan(
                &plan,
                &ready.settings,
                &review,
                ready.run.result.approval.as_ref(),
                waits_for,
                &ruling,
            )
        });
        let errored = plan.errored;
        // All that is known of the plan is written at once: it is the largest that is ever written.
        store.amend(id, |result| {
            result.tool = Some(tool);
            result.plan = Some(plan);
            result.configuration = configuration;
            result.state = state;
            result.plan_sha256 = Some(saved.sha256.clone());
            result.warnings = warnings;
            result.checks = checks;
            result.took = took;
            result.verdict = ruling.verdict;
            if reviewed.is_some() {
                result.reviewed = reviewed;
            }
        })?;
        if errored {
            let failure = Box::new(failure::of_errored_plan());
            return Ok(Judged::Over(Outcome::Failed(failure, None)));
        }
        Ok(match next {
            None => Judged::Over(Outcome::Event(Event::PlanMade)),
            Some(Next::Nothing) => {
                self.state_is_whole(ready);
                Judged::Over(Outcome::Event(Event::NothingToApply))
            }
            Some(Next::Hold(reason)) => Judged::Over(Outcome::Held(reason)),
            Some(Next::Apply) => Judged::Apply(Leave {
                masks,
                took,
                rewound,
            }),
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
                let mut failure = failure::of_engine(error, redactor);
                // What could not be reached for this reason looks like an outage.
                if parts.is_none() && !engine::refused(&ready.job.work_dir).is_empty() {
                    failure.advice = Some(
                        "it asked for hosts that `network` does not allow, which are named below; where it \
                         needs one, who runs Mainstay lists it under `[sandbox] network`"
                            .to_owned(),
                    );
                }
                Outcome::Failed(Box::new(failure), parts)
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
}

/// Why an apply must wait where the state of the workspace was put back.
fn restored(job: &Job) -> Option<String> {
    // A version that was put back knows nothing of what was applied after it.
    match &job.state {
        engine::State::Kept(kept) => engine::restored_state(&kept.path).map(|version| {
            format!(
                "its state was damaged, and the version `{}` was put back: compare the plan with what is there, \
                 since what was applied after that version is not known to it",
                version.replace('`', "")
            )
        }),
        engine::State::Local(_) | engine::State::Backend | engine::State::InFolder => None,
    }
}
