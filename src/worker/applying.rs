//! Applies a plan that may be applied.

use std::time::Duration;

use tempfile::TempDir;
use tracing::warn;

use super::recorder::Recorder;
use super::{Leave, Outcome, Ready, Wishes, Worker, stranded_state};
use crate::clock::now;
use crate::engine::{self, EngineError, Job, SavedPlan};
use crate::fleet::Came;
use crate::plan::StateVersion;
use crate::redact::Redactor;
use crate::run::{Event, Run};
use crate::store::{Begin, StoreError};

/// Whether the base branch still wants of a workspace what a run brings.
#[derive(Debug, PartialEq, Eq)]
enum Base {
    /// It does.
    Stands,
    /// It wants something else by now.
    Moved,
}

impl Worker {
    /// Forgets that a version of the state was put back, now that the state is what is there.
    pub(super) fn state_is_whole(&self, ready: &Ready) {
        if let engine::State::Kept(kept) = &ready.job.state
            && let Err(error) = engine::is_whole_again(&kept.path)
        {
            warn!(run.id = %ready.run.id, "The note beside {} cannot be removed: {error}", kept.path.display());
        }
    }

    /// Applies a plan that may be, where the base branch still wants it.
    pub(super) async fn apply(
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
            masks,
            took: planned_for,
            rewound,
        } = leave;
        let masks = match self.lend_again(ready, observer, wishes, masks).await {
            Ok(masks) => masks,
            Err(outcome) => return Ok(outcome),
        };
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
                if stranded_state(folder).is_some() {
                    warn!(run.id = %id, "{} stays: it holds a state that is saved nowhere else", folder.display());
                    continue;
                }
                if let Err(error) = std::fs::remove_dir_all(folder) {
                    warn!(run.id = %id, "{} cannot be removed: {error}", folder.display());
                }
            }
        }
        let after = kept_state(&ready.job);
        self.keep_refused(ready, || masks.redactor())?;
        match applied {
            Ok(applied) => {
                let took: Duration = applied.took.iter().map(|(_, took)| *took).sum();
                // What masks takes memory, and there is seldom anything to mask.
                let redactor = match applied.warnings.as_slice() {
                    [] => Redactor::default(),
                    _ => masks.redactor(),
                };
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
                Ok(self.failed(ready, &error, &masks.redactor()))
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
}

/// Which state a workspace has, where it is kept by us.
fn kept_state(job: &Job) -> Option<StateVersion> {
    match &job.state {
        engine::State::Kept(kept) => engine::state_mark(&kept.path),
        engine::State::Local(_) | engine::State::Backend | engine::State::InFolder => None,
    }
}
