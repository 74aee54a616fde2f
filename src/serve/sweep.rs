//! Removes what runs left and nobody needs: old plans and logs, checkouts and temporary folders of
//! processes that are gone. What happened stays in the record.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use tracing::{info, warn};

use crate::clock::{Timestamp, now};
use crate::config::{Config, KeepSettings};
use crate::fault::chain;
use crate::id::RunId;
use crate::store::{Store, StoreError};
use crate::worker::{Places, put_to_rest, stranded_state};

/// How often the daemon sweeps, besides at its start.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Sweeps all of it. What cannot be removed is said and stays.
pub(super) fn sweep(store: &Store, places: &Places, config: &Config) {
    if let Err(error) = rest(store, places, config) {
        warn!("Old runs could not be looked through: {}", chain(&error));
    }
    if let Err(error) = sweep_folders(store, places, &std::env::temp_dir()) {
        warn!(
            "Old checkouts could not be looked through: {}",
            chain(&error)
        );
    }
    match sweep_runs(store, &places.runs(), &config.keep, now()) {
        Ok(0) => {}
        Ok(removed) => info!("Removed the plans and logs of {removed} runs that ended long ago"),
        Err(error) => warn!(
            "Old plans and logs could not be looked through: {}",
            chain(&error)
        ),
    }
}

/// Removes the plans of runs that nobody works on, and seals their logs, where a kill came before
/// that was done.
fn rest(store: &Store, places: &Places, config: &Config) -> Result<(), StoreError> {
    for id in entries(&places.runs()).iter().filter_map(|p| number(p)) {
        // One that may begin again puts all of its own to rest when it has ended.
        match store.run(id) {
            Ok(run) if run.state.is_end() => put_to_rest(places, config, &run, places.attempts(id)),
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The run that a folder is of.
fn number(folder: &Path) -> Option<RunId> {
    folder.file_name()?.to_str()?.parse().ok().map(RunId)
}

/// Removes the plans and logs of runs that ended before what `keep` says, and then, where those of
/// the others are larger than it says, of the ones that ended first. Gives how many.
fn sweep_runs(
    store: &Store,
    folder: &Path,
    keep: &KeepSettings,
    at: Timestamp,
) -> Result<usize, StoreError> {
    let mut folders: HashMap<RunId, (PathBuf, u64)> = entries(folder)
        .into_iter()
        .filter_map(|path| {
            let id = path.file_name()?.to_str()?.parse().ok()?;
            let size = size(&path);
            Some((RunId(id), (path, size)))
        })
        .collect();
    let mut total: u64 = folders.values().map(|(_, size)| size).sum();
    let age = TimeDelta::from_std(keep.runs).unwrap_or(TimeDelta::MAX);
    let mut removed = 0;
    for (id, ended_at) in store.ended_runs()? {
        let old = at.signed_duration_since(ended_at) > age;
        if !old && total <= keep.size {
            // Those that follow ended later, and there is room for them.
            break;
        }
        let Some((path, size)) = folders.remove(&id) else {
            continue;
        };
        // It is the only record of what that apply made.
        if stranded_state(&path).is_some() {
            continue;
        }
        if remove(&path) {
            total = total.saturating_sub(size);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes checkouts, strangers' data folders and temporary folders of runs that nobody works on.
fn sweep_folders(store: &Store, places: &Places, temporary: &Path) -> Result<(), StoreError> {
    let beginning = places.temporaries();
    let of_run = |path: &Path, beginning: &str| -> Option<RunId> {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let (id, _) = name.strip_prefix(beginning)?.split_once('-')?;
        id.parse().ok().map(RunId)
    };
    let mut found: Vec<(PathBuf, RunId)> = Vec::new();
    for path in entries(&places.checkouts()) {
        found.extend(of_run(&path, "run-").map(|id| (path.clone(), id)));
    }
    for path in entries(temporary) {
        found.extend(of_run(&path, &beginning).map(|id| (path.clone(), id)));
    }
    // After the folders: one that is made meanwhile belongs to a run that is under way.
    let active = store.active_runs()?;
    for (path, id) in found {
        if active.iter().all(|run| run.id != id) && stranded_state(&path).is_none() {
            remove(&path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// How many bytes the files below a folder have. Links are not followed.
fn size(folder: &Path) -> u64 {
    entries(folder)
        .into_iter()
        .map(|path| match path.symlink_metadata() {
            Ok(data) if data.is_dir() => size(&path),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Brings all folders below one to its top, so that removing it needs few open files and short paths
/// however deep a run made them. What cannot be moved stays where it is.
fn flatten(top: &Path) {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).collect()
    };
    let mut open = folders(top);
    while let Some(folder) = open.pop() {
        for inner in folders(&folder) {
            // A new folder: what ran here cannot have foreseen its name. What is empty is replaced.
            let place = tempfile::Builder::new().prefix("swept-").tempdir_in(top);
            let Ok(place) = place.map(tempfile::TempDir::keep) else {
                return;
            };
            if std::fs::rename(&inner, &place).is_ok() {
                open.push(place);
            }
        }
    }
}

fn remove(path: &Path) -> bool {
    flatten(path);
    match std::fs::remove_dir_all(path) {
        Ok(()) => true,
        // Its run ended meanwhile and removed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            warn!("{} cannot be removed: {error}", path.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Event, NewRun, Purpose, Trigger};

    struct Rig {
        folder: tempfile::TempDir,
        store: Store,
        places: Places,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let places = Places::new(folder.path());
            Self {
                folder,
                store,
                places,
            }
        }

        /// A run with a folder of so many bytes.
        fn run(&self, workspace: &str, bytes: usize) -> RunId {
            let order = NewRun {
                repo: "acme/infra".parse().unwrap(),
                workspace: workspace.parse().unwrap(),
                purpose: Purpose::Merge,
                proposal: None,
                commit: "1".repeat(40).parse().unwrap(),
                base: None,
                tree: "2".repeat(40).parse().unwrap(),
                inputs: "in".into(),
                trigger: Trigger::Commit,
            };
            let id = self.store.add_run(&order, now()).unwrap();
            let attempt = self.places.next_attempt(id).unwrap();
            std::fs::write(attempt.join("stdout"), vec![b'x'; bytes]).unwrap();
            id
        }

        fn ended(&self, workspace: &str, bytes: usize) -> RunId {
            let id = self.run(workspace, bytes);
            let by = "newer".to_owned();
            self.store
                .happened(id, &Event::Superseded { by }, now(), |_| {})
                .unwrap();
            id
        }

        fn sweep(&self, keep: &KeepSettings, days_later: i64) -> usize {
            let at = now() + TimeDelta::days(days_later);
            sweep_runs(&self.store, &self.places.runs(), keep, at).unwrap()
        }

        fn has(&self, id: RunId) -> bool {
            self.places.run(id).exists()
        }
    }

    #[test]
    fn plans_and_logs_go_when_their_run_ended_long_ago_and_no_earlier() {
        let rig = Rig::new();
        let id = rig.ended("network", 10);
        assert_eq!(rig.sweep(&KeepSettings::default(), 29), 0);
        assert!(rig.has(id));
        assert_eq!(rig.sweep(&KeepSettings::default(), 31), 1);
        assert!(!rig.has(id));
        assert!(rig.store.run(id).is_ok(), "the record stays");
    }

    #[test]
    fn where_there_is_too_much_the_oldest_goes_first() {
        let rig = Rig::new();
        let ids = [
            rig.ended("network", 1_000),
            rig.ended("network", 1_000),
            rig.ended("network", 1_000),
        ];
        let keep = KeepSettings {
            size: 2_500,
            ..KeepSettings::default()
        };
        assert_eq!(rig.sweep(&keep, 0), 1);
        assert_eq!(ids.map(|id| rig.has(id)), [false, true, true]);
    }

    #[test]
    fn nothing_of_a_run_that_has_not_ended_is_removed() {
        let rig = Rig::new();
        let queued = rig.run("network", 1_000);
        let active = rig.run("dns", 1_000);
        rig.store.claim(active, "me", now()).unwrap();
        let keep = KeepSettings {
            size: 0,
            ..KeepSettings::default()
        };
        assert_eq!(rig.sweep(&keep, 1_000), 0);
        assert!(rig.has(queued) && rig.has(active));
    }

    #[test]
    fn an_interrupted_run_is_kept_until_its_workspace_is_planned_anew() {
        let rig = Rig::new();
        let id = rig.run("network", 10);
        rig.store.claim(id, "me", now()).unwrap();
        for event in [Event::CheckedOut, Event::ApplyStarted, Event::WorkerLost] {
            rig.store.happened(id, &event, now(), |_| {}).unwrap();
        }
        assert_eq!(rig.sweep(&KeepSettings::default(), 1_000), 0);
        rig.run("network", 10);
        assert_eq!(rig.sweep(&KeepSettings::default(), 1_000), 1);
    }

    #[test]
    fn a_state_that_could_not_be_saved_is_never_removed() {
        let rig = Rig::new();
        let id = rig.ended("network", 10);
        let state = rig.places.run(id).join("errored.tfstate");
        std::fs::write(&state, "{}").unwrap();
        assert_eq!(rig.sweep(&KeepSettings::default(), 1_000), 0);
        assert!(state.exists());
    }

    #[test]
    fn folders_of_runs_that_nobody_works_on_go_and_those_of_others_stay() {
        let rig = Rig::new();
        let active = rig.run("network", 10);
        rig.store.claim(active, "me", now()).unwrap();
        let temporary = rig.folder.path().join("tmp");
        let make = |path: PathBuf| {
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let ours = |id: RunId| temporary.join(format!("{}abc", rig.places.temporary(id)));
        let strange = |id: RunId| {
            let name = format!("{}abc", rig.places.strange(id));
            rig.places.checkouts().join(name).join("terraform")
        };
        let gone = [
            make(ours(RunId(4711))),
            make(rig.places.checkouts().join("run-4711-abc")),
            make(strange(RunId(4711))),
        ];
        let stay = [
            make(ours(active)),
            make(rig.places.checkouts().join(format!("run-{active}-abc"))),
            make(strange(active)),
            // Another daemon's, and somebody else's.
            make(temporary.join("mst-00000000-4711-abc")),
            make(temporary.join("anything")),
        ];
        sweep_folders(&rig.store, &rig.places, &temporary).unwrap();
        assert!(gone.iter().all(|path| !path.exists()), "{gone:?}");
        assert!(stay.iter().all(|path| path.exists()), "{stay:?}");
    }

    #[test]
    fn folders_are_removed_however_deep_a_run_made_them() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("checkout");
        let part = vec!["d"; 1_000].join("/");
        std::fs::create_dir_all(top.join(&part)).unwrap();
        std::fs::write(top.join(&part).join("file"), "x").unwrap();
        // Deeper than a path can say.
        for _ in 0..2 {
            std::fs::create_dir_all(folder.path().join("outer").join(&part)).unwrap();
            std::fs::rename(&top, folder.path().join("outer").join(&part).join("d")).unwrap();
            std::fs::rename(folder.path().join("outer"), &top).unwrap();
        }
        flatten(&top);
        let deep = |path: PathBuf| entries(&path).iter().any(|inner| inner.is_dir());
        assert!(entries(&top).into_iter().all(|path| !deep(path)));
        assert!(remove(&top) && !top.exists());
    }
}
