//! Records the processes of a run, each before it runs and after it ended.

use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::clock::now;
use crate::engine::supervise::Exit;
use crate::engine::{Observer, ObserverRefused, Progress, StepEnd, StepStart};
use crate::fault::chain;
use crate::fleet::Fleet;
use crate::id::RunId;

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
pub(super) struct Recorder<'w> {
    fleet: &'w Fleet,
    run: RunId,
    /// The record of the step that runs.
    open: Mutex<Option<i64>>,
    progress: &'w (dyn Fn(&Progress) + Send + Sync),
}

impl<'w> Recorder<'w> {
    /// One that `progress` watches.
    pub(super) fn new(
        fleet: &'w Fleet,
        run: RunId,
        progress: &'w (dyn Fn(&Progress) + Send + Sync),
    ) -> Self {
        Self {
            fleet,
            run,
            open: Mutex::default(),
            progress,
        }
    }

    /// One that nobody watches.
    pub(super) fn silent(fleet: &'w Fleet, run: RunId) -> Self {
        Self {
            fleet,
            run,
            open: Mutex::default(),
            progress: &|_| {},
        }
    }

    /// Goes on with a step that is recorded already.
    pub(super) fn resume(&self, step: i64) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
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
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        let open = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
