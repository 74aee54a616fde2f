//! What an apply that came to no good end left for the runs after it: a state that is not saved, a
//! lock that nobody holds any more, and the question how far it came.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use super::recorder::Recorder;
use super::{Ready, Wishes, Worker};
use crate::audit::What;
use crate::clock::now;
use crate::engine::{
    self, CancelToken, EngineError, Lock, LockInfo, OwnLock, PlanMode, Rescue, SavedPlan, Step,
    StepStart,
};
use crate::fault::chain;
use crate::id::RunId;
use crate::plan::{Plan, StateVersion};
use crate::run::{
    AppliedParts, Event, Evidence, Failure, Interruption, Journal, Purpose, Run, State, unsaved,
    would_repeat,
};
use crate::seal::{Kind, Wanted, is_sealed, remove};
use crate::store::{RunFilter, StepRow, StoreError};

/// How long a plan waits at first where the lock may be one that nobody holds any more.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// So many runs are looked through for the last apply.
const RUNS_BACK: u32 = 200;

/// An apply of the workspace that came to no good end, with none after it that did.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Its run.
    run: Run,
    /// What was recorded of its processes.
    steps: Vec<StepStart>,
    /// Whether its apply was started, as far as the record goes.
    journal: Kept,
    /// The state that it could not save, where one is kept.
    stranded: Option<PathBuf>,
}

impl Worker {
    /// The last apply of a run's workspace, where that came to no good end.
    pub(super) fn unfinished(&self, run: &Run) -> Result<Option<Unfinished>, StoreError> {
        let store = &self.fleet.store;
        let filter = RunFilter {
            repo: Some(run.what.repo.clone()),
            workspace: Some(run.what.workspace.clone()),
            purpose: Some(Purpose::Merge),
            limit: RUNS_BACK,
            ..RunFilter::default()
        };
        let before = store.run_facts(&filter)?;
        for facts in before.iter().rev().filter(|facts| facts.id != run.id) {
            match facts.state {
                State::Applied => break,
                State::Failed | State::Cancelled | State::Interrupted => {}
                _ => continue,
            }
            let began = |(_, event): &(_, Event)| *event == Event::ApplyStarted;
            if !store.events(facts.id)?.iter().any(began) {
                continue;
            }
            let rows = store.steps(facts.id)?;
            let journal = Kept::of(&rows);
            let steps: Vec<StepStart> = rows
                .into_iter()
                .filter_map(|row| start_of(row.start))
                .collect();
            let stranded = self.places.stranded(facts.id).or_else(|| {
                let apply = steps.iter().find(|start| start.step == Step::Apply)?;
                // What could not be copied when the apply ended, on a full disk, is still where it was.
                self.keep_stranded(facts.id, apply);
                let taken = self.places.stranded(facts.id);
                taken.or_else(|| engine::left_stranded(apply))
            });
            return Ok(Some(Unfinished {
                run: store.run(facts.id)?,
                journal,
                steps,
                stranded,
            }));
        }
        Ok(None)
    }

    /// Notes on the run what is known so far of an interrupted apply that it follows: it is told while
    /// the plan is made.
    pub(super) fn say_what_came_before(&self, ready: &Ready) -> Result<(), StoreError> {
        let before = ready.unfinished.as_ref().map(|before| &before.run);
        let Some(known) = before.and_then(|run| run.result.interruption.clone()) else {
            return Ok(());
        };
        if before.is_some_and(|run| run.id != known.run) {
            // That is what it followed itself.
            return Ok(());
        }
        let id = ready.run.id;
        self.fleet
            .store
            .amend(id, |result| result.interruption = Some(known))
    }

    /// Saves the state that an earlier apply could not save, before anything is planned without it.
    /// Gives what failed where it is not saved: nothing may be applied then.
    pub(super) async fn save_stranded(
        &self,
        ready: &Ready,
        observer: &Recorder<'_>,
    ) -> Result<Option<Failure>, StoreError> {
        let Some(before) = &ready.unfinished else {
            return Ok(None);
        };
        let Some(kept) = &before.stranded else {
            return Ok(None);
        };
        let id = ready.run.id;
        let commit = before.run.what.commit.short();
        let rescue = match ready.run.what.purpose {
            Purpose::Merge => self.rescue(ready, before, observer).await?,
            // It may write nothing.
            Purpose::Propose | Purpose::Drift => Rescue::NotTried,
        };
        let (first, file) = if is_sealed(kept) {
            let file = "errored.tfstate";
            let open = format!("mainstay unseal {} > {file} && ", kept.display());
            (open, file.to_owned())
        } else {
            (String::new(), kept.display().to_string())
        };
        let (why, command) = match (&rescue, &ready.job.state) {
            (Rescue::Saved, _) => {
                info!(run.id = %id, "The state that the apply of {commit} could not save is saved now, by `state push`");
                let said = format!(
                    "The state that the apply of `{commit}` could not save was pushed before this plan"
                );
                self.fleet
                    .store
                    .amend(id, |result| result.mended.push(said))?;
                return Ok(None);
            }
            (Rescue::Failed(reason), _) => (
                format!("`state push` failed: {}", ready.secrets.redact(reason)),
                format!("{first}terraform state push {file}"),
            ),
            (Rescue::NotTried, engine::State::Kept(_)) => (
                "it is put in place by hand only".to_owned(),
                format!(
                    "{first}mainstay state push {} {file}",
                    ready.run.what.workspace
                ),
            ),
            (Rescue::NotTried, _) => (
                "the next merge run pushes it".to_owned(),
                format!("{first}terraform state push {file}"),
            ),
        };
        Ok(Some(Failure {
            step: Step::StatePush.to_string(),
            summary: format!(
                "the state that the apply of {commit} could not save is still not saved, and without it what that apply \
                 created would be created again: {why}"
            ),
            advice: Some(format!(
                "nothing was planned; `mainstay apply` tries again, or save it by hand with `{command}` and then remove {}",
                kept.display()
            )),
            ..Failure::default()
        }))
    }

    /// Pushes a state that an earlier apply could not save, and forgets it. Where the lock is the one
    /// that the dead apply left, which could free it no more than save, that is released first.
    async fn rescue(
        &self,
        ready: &Ready,
        before: &Unfinished,
        observer: &Recorder<'_>,
    ) -> Result<Rescue, StoreError> {
        let store = &self.fleet.store;
        let of = format!("of the apply of run {}", before.run.id);
        store.is_mended(
            What::StateSaved,
            &ready.run,
            format!("the state {of}"),
            now(),
        )?;
        let mut rescue = self.push(ready, before.run.id, observer).await;
        if let Rescue::Failed(said) = &rescue
            && let Some(lock) = engine::lock_in_text(said)
            && let Some(lock) = before.own_lock(&lock)
        {
            info!(run.id = %ready.run.id, lock, "The lock {lock} is the one that the dead apply left, and is released");
            let reason = format!("the lock {lock} {of}");
            store.is_mended(What::LockReleased, &ready.run, reason, now())?;
            let cancel = CancelToken::new();
            match self
                .engine
                .release_lock(&ready.job, lock, observer, &cancel)
                .await
            {
                Ok(()) => rescue = self.push(ready, before.run.id, observer).await,
                Err(error) => {
                    warn!(run.id = %ready.run.id, "The lock {lock} could not be released: {}", chain(&error));
                }
            }
        }
        // An apply that was cut off while it pushed may have left it twice.
        while rescue == Rescue::Saved
            && let Some(left) = self.places.stranded(before.run.id)
        {
            if let Err(error) = remove(&left) {
                warn!(run.id = %ready.run.id, "{} is saved and cannot be removed: {error}", left.display());
                break;
            }
        }
        Ok(rescue)
    }

    /// Pushes the state that a run could not save, in the clear or sealed.
    async fn push(&self, ready: &Ready, run: RunId, observer: &Recorder<'_>) -> Rescue {
        // Asked for anew: it may have been sealed meanwhile.
        let Some(kept) = &self.places.stranded(run) else {
            return Rescue::Failed("it could not be taken out of the checkout".to_owned());
        };
        if !is_sealed(kept) {
            return self.engine.push_stranded(&ready.job, kept, observer).await;
        }
        // This folder goes when the run ends, however it ends.
        let opened = ready.job.tmp_dir.join("unsaved.tfstate");
        let wanted = Wanted {
            kind: Kind::Stranded,
            repository: ready.run.what.repo.to_string(),
            workspace: ready.run.what.workspace.to_string(),
        };
        if let Err(error) = self.keys.open(kept, &opened, &wanted) {
            return Rescue::Failed(chain(&error));
        }
        let rescue = self
            .engine
            .push_stranded(&ready.job, &opened, observer)
            .await;
        if let Err(error) = remove(&opened) {
            warn!(run.id = %ready.run.id, "{} cannot be removed: {error}", opened.display());
        }
        rescue
    }

    /// Makes the plan. A lock that is provably one of a dead apply of ours is released first;
    /// everybody else's is waited for.
    pub(super) async fn plan(
        &self,
        ready: &mut Ready,
        mode: PlanMode,
        observer: &Recorder<'_>,
        wishes: &Wishes,
    ) -> Result<Result<SavedPlan, EngineError>, StoreError> {
        let (Lock::Take { wait }, Some(before)) = (ready.job.lock, &ready.unfinished) else {
            return Ok(self
                .engine
                .plan(&ready.job, mode, observer, &wishes.plan)
                .await);
        };
        ready.job.lock = Lock::Take {
            wait: wait.min(FIRST_WAIT),
        };
        let planned = self
            .engine
            .plan(&ready.job, mode, observer, &wishes.plan)
            .await;
        ready.job.lock = Lock::Take { wait };
        let Err(EngineError::StateLocked { lock, .. }) = planned else {
            return Ok(planned);
        };
        if let Some(id) = before.own_lock(&lock) {
            let commit = before.run.what.commit.short();
            info!(run.id = %ready.run.id, lock = %id, "The lock {id} is the one that the dead apply of {commit} left, and is released");
            let reason = format!("the lock {id} of the apply of run {}", before.run.id);
            self.fleet
                .store
                .is_mended(What::LockReleased, &ready.run, reason, now())?;
            let released = self
                .engine
                .release_lock(&ready.job, id, observer, &wishes.plan)
                .await;
            match released {
                Ok(()) => {
                    let said = format!("The lock that the apply of `{commit}` left was released");
                    self.fleet
                        .store
                        .amend(ready.run.id, |result| result.mended.push(said))?;
                }
                Err(error) => {
                    warn!(run.id = %ready.run.id, "The lock {id} could not be released: {}", chain(&error));
                }
            }
        }
        Ok(self
            .engine
            .plan(&ready.job, mode, observer, &wishes.plan)
            .await)
    }

    /// Says how far the apply before came, now that there is a new plan. Gives the reason to wait
    /// for a person, where this plan would create again what that one created.
    pub(super) fn follow(
        &self,
        ready: &Ready,
        plan: &Plan,
        state: Option<&StateVersion>,
    ) -> Result<Option<String>, StoreError> {
        let Some(before) = &ready.unfinished else {
            return Ok(None);
        };
        let store = &self.fleet.store;
        let run = &before.run;
        let (Some(applied), parts) = (&run.result.plan, before.parts()) else {
            return Ok(None);
        };
        let again = unsaved(applied, &parts, plan);
        if run.state == State::Interrupted {
            let same_files = run.what.inputs == ready.run.what.inputs;
            let mut interruption = Evidence {
                plan: applied,
                journal: before.journal.with(&parts),
                before: run.result.state.as_ref(),
                now: state,
                next: same_files.then_some(plan),
            }
            .weigh(run.id, run.what.commit.clone());
            // What other files still create at that address is no less there.
            interruption.unsaved.clone_from(&again);
            info!(run.id = %ready.run.id, extent = ?interruption.extent, "Run {} follows run {}: {}", ready.run.id, run.id, interruption.how_far());
            store.amend(run.id, |result| {
                result.interruption = Some(interruption.clone());
            })?;
            store.amend(ready.run.id, |result| {
                result.interruption = Some(interruption);
            })?;
        }
        Ok((!again.is_empty()).then(|| would_repeat(&run.what.commit, &again)))
    }

    /// How far an apply came whose process is lost, as far as its record and its state tell it.
    pub(super) fn weigh_lost(
        &self,
        run: &Run,
        parts: &AppliedParts,
        now: Option<&StateVersion>,
    ) -> Result<Option<Interruption>, StoreError> {
        let Some(plan) = &run.result.plan else {
            return Ok(None);
        };
        let evidence = Evidence {
            plan,
            journal: Kept::of(&self.fleet.store.steps(run.id)?).with(parts),
            before: run.result.state.as_ref(),
            now,
            next: None,
        };
        Ok(Some(evidence.weigh(run.id, run.what.commit.clone())))
    }

    /// Keeps the state that an apply could not save from being swept away with its checkout.
    pub(super) fn keep_stranded(&self, id: RunId, apply: &StepStart) {
        match engine::take_stranded(apply, &self.places.run(id)) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                warn!(run.id = %id, "The state that run {id} could not save is kept in {}: the next run pushes it first", kept.display());
            }
            Err(error) => {
                warn!(run.id = %id, "The state that run {id} could not save stays in its checkout: {error}");
            }
        }
    }
}

/// What the record has kept of an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// It was never started.
    NeverRan,
    /// All that it said until it ended.
    All,
    /// Part of it, perhaps: the machine went down with it, or the record cannot be read.
    Part,
}

impl Kept {
    fn of(rows: &[StepRow]) -> Self {
        let apply = Step::Apply.to_string();
        match rows.iter().find(|row| row.step == apply) {
            None => Self::NeverRan,
            Some(row) => match start_of(row.start.clone()) {
                Some(start) if start.boot_id == engine::boot_id() => Self::All,
                _ => Self::Part,
            },
        }
    }

    fn with(self, parts: &AppliedParts) -> Journal<'_> {
        match self {
            Self::NeverRan => Journal::NeverRan,
            Self::All => Journal::Ran(parts),
            Self::Part => Journal::Cut(parts),
        }
    }
}

fn start_of(recorded: serde_json::Value) -> Option<StepStart> {
    serde_json::from_value(recorded).ok()
}

impl Unfinished {
    /// The apply itself; `None` where it was never started.
    fn apply(&self) -> Option<&StepStart> {
        self.steps.iter().find(|start| start.step == Step::Apply)
    }

    fn parts(&self) -> AppliedParts {
        self.run.result.applied.clone().unwrap_or_default()
    }

    /// The id of a lock that is provably the one that this apply left.
    fn own_lock<'l>(&self, lock: &'l LockInfo) -> Option<&'l str> {
        // While anything of it lives, the lock does its work.
        if self.steps.iter().any(StepStart::lives) {
            return None;
        }
        let apply = self.apply()?;
        let AppliedParts {
            done,
            failed,
            not_reached: _,
            unknown,
        } = self.parts();
        let held = !done.is_empty() || !failed.is_empty() || !unknown.is_empty();
        let own = OwnLock {
            id: self.run.result.lock_id.clone(),
            host: engine::host_name(),
            from: apply.at,
            until: apply.last_said().filter(|_| held),
        };
        own.is(lock).then_some(lock.id.as_deref()).flatten()
    }
}
