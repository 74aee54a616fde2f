//! Records the processes of a run, each before it runs and after it ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// The records of the steps that run, by their folders.
    open: Mutex<HashMap<PathBuf, i64>>,
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

    /// Goes on with a step that is recorded already, in its folder.
    pub(super) fn resume(&self, step: i64, folder: &Path) {
        self.open().insert(folder.to_owned(), step);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PathBuf, i64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.open().insert(start.dir.clone(), id);
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        let Some(id) = self.open().remove(&end.dir) else {
            return;
        };
        if let Err(error) = self.fleet.store.step_ended(id, &outcome(end), now()) {
            warn!(run.id = %self.run, "Recording the end of a step of run {} failed: {}", self.run, chain(&error));
        }
    }

    fn progress(&self, progress: &Progress) {
        (self.progress)(progress);
    }

    fn lock_seen(&self, id: &str) {
        let noted = self
            .fleet
            .store
            .amend(self.run, |result| result.lock_id = Some(id.to_owned()));
        if let Err(error) = noted {
            warn!(run.id = %self.run, "The lock that run {} holds could not be noted: {}", self.run, chain(&error));
        }
    }
}
