//! What of a run rests on the disk when nobody works on it: sealed, or gone.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use tracing::warn;

use super::{Places, Worker};
use crate::clock::now;
use crate::config::Config;
use crate::engine::{self, KeptState};
use crate::fault::chain;
use crate::id::RunId;
use crate::run::{NewRun, Run};
use crate::seal::{Keys, Kind, Label, PUSHED, STRANDED, remove, sealed_name};

/// Two that put one run to rest at once, as a taking-over and a sweep may, would meet in one file.
static RESTING: Mutex<()> = Mutex::new(());

impl Worker {
    /// The state that Mainstay keeps of what a run works on.
    pub(super) fn kept_state(&self, what: &NewRun) -> KeptState {
        KeptState {
            path: self.places.state(&what.repo, &what.workspace),
            keys: self.keys.clone(),
            repo: what.repo.clone(),
            workspace: what.workspace.clone(),
            commit: Some(what.commit.to_string()),
        }
    }

    /// Seals the state that a lost apply left in the clear. Its Terraform must have ended.
    pub(super) fn settle_state(&self, run: &Run) {
        let kept = self.kept_state(&run.what);
        if let Err(error) = kept.settle(now().timestamp()) {
            warn!(run.id = %run.id, "The state of {} cannot be sealed: {}", run.what.workspace, chain(&error));
        }
    }

    /// Puts what attempts at a run left to rest: their plans are removed, and their logs sealed.
    /// Nobody may work on these any more; the next attempt, in a folder of its own, may be under way.
    /// What cannot be done is said, and done at the next sweep.
    pub(super) fn put_to_rest(&self, id: RunId, attempts: Vec<PathBuf>) {
        match self.fleet.store.run(id) {
            Ok(run) => put_to_rest(&self.places, &self.fleet.config, &run, attempts),
            Err(error) => warn!(run.id = %id, "Run {id} cannot be read: {}", chain(&error)),
        }
    }
}

/// Removes the plans that attempts at a run left, and seals their logs, until when the settings keep
/// them. It may be killed at any instant and be repeated.
pub fn put_to_rest(places: &Places, config: &Config, run: &Run, attempts: Vec<PathBuf>) {
    let _alone = RESTING.lock().unwrap_or_else(PoisonError::into_inner);
    let keys = Keys::of(&config.data_dir, config.key_file.as_deref());
    let label = Label {
        kind: Kind::Log,
        repository: run.what.repo.to_string(),
        workspace: run.what.workspace.to_string(),
        commit: Some(run.what.commit.to_string()),
        run: Some(run.id.0),
        lineage: None,
        serial: None,
        expires_at: TimeDelta::from_std(config.keep.runs)
            .ok()
            .and_then(|keep| now().checked_add_signed(keep)),
    };
    let failed = |path: &Path, error: String| {
        warn!(run.id = %run.id, "{} cannot be put to rest: {error}", path.display());
    };
    let seal = |path: &Path, label: &Label| {
        let written = std::fs::metadata(path).and_then(|file| file.modified());
        let done = keys.seal(path, &sealed_name(path), label);
        // When its program wrote last is told by the time of the file.
        if let (Ok(()), Ok(written), Ok(sealed)) =
            (&done, written, std::fs::File::open(sealed_name(path)))
            && let Err(error) = sealed.set_modified(written)
        {
            failed(path, error.to_string());
        }
        let done = done.map_err(|error| chain(&error));
        if let Err(error) = done.and_then(|()| remove(path).map_err(|error| error.to_string())) {
            failed(path, error);
        }
    };
    // The only record of what an apply made has no end.
    let stranded = Label {
        kind: Kind::Stranded,
        expires_at: None,
        ..label.clone()
    };
    let mut folders = attempts;
    for attempt in &folders {
        if let Err(error) = engine::discard_plan(attempt) {
            failed(attempt, error.to_string());
        }
        for log in engine::logs(attempt) {
            seal(&log, &label);
        }
    }
    folders.push(places.run(run.id));
    for folder in &folders {
        for (name, label) in [(STRANDED, &stranded), (PUSHED, &label)] {
            let state = folder.join(name);
            if state.is_file() {
                seal(&state, label);
            }
        }
    }
}
