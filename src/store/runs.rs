//! Runs in the record: each event with all that it means, in one transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::audit::append;
use super::leases::{self, Held};
use super::run_rows::read;
use super::{Store, StoreError, to_json, to_text};
use crate::audit::{Record, What};
use crate::clock::Timestamp;
use crate::id::RunId;
use crate::run::{Event, NewRun, Purpose, RunResult, State};

/// What became of the attempt to record an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunUpdate {
    /// It is recorded, and the run stands here now.
    Now(State),
    /// The workspace is taken by another run; nothing was recorded.
    Busy,
}

/// Whether an apply may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// It is recorded to.
    Begun,
    /// The run was asked to end; nothing was recorded.
    StopWished,
    /// The base branch was force-pushed since the plan was judged; nothing was recorded.
    Rewound(String),
}

impl Store {
    /// Records a new run, queued.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn add_run(&self, what: &NewRun, at: Timestamp) -> Result<RunId, StoreError> {
        self.write(|tx| insert(tx, what, State::Queued, &RunResult::default(), at))
    }

    /// Records a commit that was passed over for a newer one before it had a run of its own, once.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn add_superseded(&self, what: &NewRun, by: &str, at: Timestamp) -> Result<(), StoreError> {
        let result = RunResult {
            ended_by: Some(by.to_owned()),
            ..RunResult::default()
        };
        self.write(|tx| {
            let known = tx
                .query_row(
                    "SELECT id FROM runs WHERE repo = ?1 AND workspace = ?2 AND purpose = ?3 AND commit_sha = ?4",
                    params![
                        what.repo.as_str(),
                        what.workspace.as_str(),
                        to_text(&what.purpose),
                        what.commit.as_str()
                    ],
                    |_| Ok(()),
                )
                .optional()?;
            if known.is_none() {
                let id = insert(tx, what, State::Superseded, &result, at)?;
                let event = Event::Superseded { by: by.to_owned() };
                add_event(tx, id, &event, at)?;
                append(
                    tx,
                    Record::of_event(&event, id, what, State::Superseded, &result, at),
                )?;
            }
            Ok(())
        })
    }

    /// Ends a run that waits, or asks its worker to end it: nothing is let go while a process of it
    /// lives. What applies is ended by a person only.
    ///
    /// Safe to repeat; the first wish counts.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn stop(&self, id: RunId, event: &Event, at: Timestamp) -> Result<(), StoreError> {
        let held = self.held(id);
        self.write(|tx| stop(tx, held, id, event, at))
    }

    /// Records that Terraform is about to apply, unless the run was asked to end meanwhile or the
    /// base branch was force-pushed since `rewound` was read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] where the run is not planning; nothing is recorded then.
    pub fn begin_apply(
        &self,
        id: RunId,
        rewound: Option<&str>,
        at: Timestamp,
    ) -> Result<Begin, StoreError> {
        let held = self.held(id);
        self.write(|tx| {
            let (run, _) = read(tx, id)?;
            leases::check(tx, held, id)?;
            if run.result.stop.is_some() {
                return Ok(Begin::StopWished);
            }
            let now: Option<String> = tx.query_row(
                "SELECT rewound FROM workspaces WHERE repo = ?1 AND name = ?2",
                [run.what.repo.as_str(), run.what.workspace.as_str()],
                |row| row.get(0),
            )?;
            if let Some(reason) = now.filter(|now| Some(now.as_str()) != rewound) {
                return Ok(Begin::Rewound(reason));
            }
            record(tx, held, id, &Event::ApplyStarted, at, |_| {})?;
            Ok(Begin::Begun)
        })
    }

    /// Takes a queued run for the process `owner`, unless its workspace is taken.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] where the run is no longer queued.
    pub fn claim(&self, id: RunId, owner: &str, at: Timestamp) -> Result<RunUpdate, StoreError> {
        let held = self.held(id);
        let claimed = self.write(|tx| {
            leases::check_daemon(tx, held, id)?;
            let (run, _) = read(tx, id)?;
            // One that somebody else took first is not lost: it was never ours.
            run.state
                .after(&Event::Started)
                .map_err(|source| StoreError::Illegal { run: id.0, source })?;
            let state = record(tx, held, id, &Event::Started, at, |_| {})?;
            let place = [run.what.repo.as_str(), run.what.workspace.as_str()];
            let fence = leases::grant(tx, place, owner, at)?;
            tx.execute(
                "UPDATE runs SET owner = ?2, fence = ?3 WHERE id = ?1",
                params![id.0, owner, fence],
            )?;
            Ok((state, fence))
        });
        match claimed {
            Ok((state, fence)) => {
                self.hold(id, Some(fence));
                Ok(RunUpdate::Now(state))
            }
            Err(StoreError::Sqlite { source, .. }) if is_taken(&source) => Ok(RunUpdate::Busy),
            Err(error) => Err(error),
        }
    }

    /// Records what happened to a run, and with it, in the same transaction, what that means for its workspace.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] where the run cannot take the event; nothing is recorded then.
    pub fn happened(
        &self,
        id: RunId,
        event: &Event,
        at: Timestamp,
        change: impl FnOnce(&mut RunResult),
    ) -> Result<State, StoreError> {
        let held = self.held(id);
        let state = self.write(|tx| record(tx, held, id, event, at, change))?;
        if !state.is_active() {
            self.hold(id, None);
        }
        Ok(state)
    }

    /// Changes what came out of a run, without an event: a note, say.
    ///
    /// # Errors
    ///
    /// Where the run is not there or cannot be written.
    pub fn amend(&self, id: RunId, change: impl FnOnce(&mut RunResult)) -> Result<(), StoreError> {
        let held = self.held(id);
        self.write(|tx| {
            let (run, _) = read(tx, id)?;
            if run.state.is_active() {
                leases::check(tx, held, id)?;
            }
            let mut result = run.result;
            change(&mut result);
            set_result(tx, id, &run.what, &result)
        })
    }
}

/// Records an event with all that it means.
///
/// Of a run that is under way, only who holds its lease can record anything.
pub(super) fn record(
    tx: &Transaction<'_>,
    held: Held,
    id: RunId,
    event: &Event,
    at: Timestamp,
    change: impl FnOnce(&mut RunResult),
) -> Result<State, StoreError> {
    let (run, _) = read(tx, id)?;
    if run.state.is_active() {
        leases::check(tx, held, id)?;
    }
    let state = run
        .state
        .after(event)
        .map_err(|source| StoreError::Illegal { run: id.0, source })?;
    let mut result = run.result.clone();
    change(&mut result);
    if state.is_end() {
        result.stop = None;
    }
    if let Event::Superseded { by } | Event::Cancelled { by } = event {
        result.ended_by = Some(by.clone());
    }
    tx.execute(
        "UPDATE runs SET state = ?2, changed_at = ?3, owner = CASE WHEN ?4 THEN owner END, \
         fence = CASE WHEN ?4 THEN fence END WHERE id = ?1",
        params![id.0, to_text(&state), at, state.is_active()],
    )?;
    if run.state.is_active() && !state.is_active() {
        leases::release(tx, &run.what)?;
    }
    set_result(tx, id, &run.what, &result)?;
    add_event(tx, id, event, at)?;
    settle(tx, &run.what, event, at)?;
    append(
        tx,
        Record::of_event(event, id, &run.what, state, &result, at),
    )?;
    Ok(state)
}

/// Ends a run that waits, or notes for its worker that it shall end.
pub(super) fn stop(
    tx: &Transaction<'_>,
    held: Held,
    id: RunId,
    event: &Event,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (run, _) = read(tx, id)?;
    match run.state {
        State::Queued | State::Held => {
            record(tx, held, id, event, at, |_| {})?;
        }
        State::Applying if !matches!(event, Event::Cancelled { .. }) => {}
        state if state.is_end() => {}
        _ => {
            let mut result = run.result;
            result.stop.get_or_insert_with(|| event.clone());
            set_result(tx, id, &run.what, &result)?;
        }
    }
    Ok(())
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    what: &NewRun,
    state: State,
    result: &RunResult,
    at: Timestamp,
) -> Result<RunId, StoreError> {
    tx.execute(
        "INSERT INTO runs (repo, workspace, purpose, proposal, commit_sha, inputs, what, state, result, created_at, changed_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
        params![
            what.repo.as_str(),
            what.workspace.as_str(),
            to_text(&what.purpose),
            what.proposal.as_ref().map(ToString::to_string),
            what.commit.as_str(),
            what.inputs,
            to_json(what),
            to_text(&state),
            to_json(result),
            at
        ],
    )?;
    let id = RunId(tx.last_insert_rowid());
    if state == State::Queued {
        append(tx, Record::of_run(What::Queued, id, what, state, at))?;
    }
    Ok(id)
}

fn add_event(
    tx: &Transaction<'_>,
    run: RunId,
    event: &Event,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO events (run, at, event) VALUES (?1, ?2, ?3)",
        params![run.0, at, to_json(event)],
    )?;
    Ok(())
}

/// What an event of a run means for its workspace.
fn settle(
    tx: &Transaction<'_>,
    what: &NewRun,
    event: &Event,
    at: Timestamp,
) -> Result<(), StoreError> {
    let repo = what.repo.as_str();
    let name = what.workspace.as_str();
    tx.execute(
        "INSERT OR IGNORE INTO workspaces (repo, name) VALUES (?1, ?2)",
        [repo, name],
    )?;
    match (what.purpose, event) {
        (_, Event::ApplyStarted) => {
            tx.execute(
                "UPDATE workspaces SET unsettled = 1 WHERE repo = ?1 AND name = ?2",
                [repo, name],
            )?;
        }
        (Purpose::Merge, Event::ApplyDone | Event::NothingToApply) => {
            // Where nothing was applied, plans that were made before are as good as they were. And a
            // force-push is settled only by what came with it or after it.
            let moved = matches!(event, Event::ApplyDone);
            tx.execute(
                "UPDATE workspaces SET applied = ?3, applied_tree = ?4, applied_inputs = ?5, \
                 applied_at = CASE WHEN ?7 THEN ?6 ELSE COALESCE(applied_at, ?6) END, unsettled = 0, \
                 rewound = CASE WHEN (SELECT MAX(seq) FROM base_log WHERE repo = ?1 AND sha = ?3) \
                                     < rewound_seq THEN rewound END \
                 WHERE repo = ?1 AND name = ?2",
                params![
                    repo,
                    name,
                    what.commit.as_str(),
                    what.tree.as_str(),
                    what.inputs,
                    at,
                    moved
                ],
            )?;
        }
        (Purpose::Drift, Event::PlanMade | Event::StepFailed { .. } | Event::Cancelled { .. }) => {
            tx.execute(
                "UPDATE workspaces SET drift_at = ?3 WHERE repo = ?1 AND name = ?2",
                params![repo, name, at],
            )?;
        }
        _ => {}
    }
    Ok(())
}

/// Writes what came out of a run, and beside it what decisions read without it.
pub(super) fn set_result(
    tx: &Transaction<'_>,
    id: RunId,
    what: &NewRun,
    result: &RunResult,
) -> Result<(), StoreError> {
    let drift = what.purpose == Purpose::Drift
        && result
            .plan
            .as_ref()
            .is_some_and(crate::plan::Plan::has_drift);
    tx.execute(
        "UPDATE runs SET result = ?2, stopping = ?3, drift = ?4 WHERE id = ?1",
        params![id.0, to_json(result), result.stop.is_some(), drift],
    )?;
    Ok(())
}

/// Whether the unique index on active runs refused the write.
fn is_taken(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::run::Trigger;

    fn order(workspace: &str, purpose: Purpose) -> NewRun {
        NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: workspace.parse().unwrap(),
            purpose,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn step(store: &Store, id: RunId, events: &[Event]) {
        for event in events {
            store.happened(id, event, now(), |_| {}).unwrap();
        }
    }

    #[test]
    fn one_workspace_is_never_taken_twice() {
        let (_folder, store) = store();
        let first = store
            .add_run(&order("network", Purpose::Propose), now())
            .unwrap();
        let second = store
            .add_run(&order("network", Purpose::Merge), now())
            .unwrap();
        let other = store.add_run(&order("dns", Purpose::Merge), now()).unwrap();
        assert_eq!(
            store.claim(first, "me", now()).unwrap(),
            RunUpdate::Now(State::Preparing)
        );
        assert_eq!(store.claim(second, "me", now()).unwrap(), RunUpdate::Busy);
        assert_eq!(
            store.claim(other, "me", now()).unwrap(),
            RunUpdate::Now(State::Preparing)
        );
        step(&store, first, &[Event::CheckedOut, Event::PlanMade]);
        assert_eq!(
            store.claim(second, "me", now()).unwrap(),
            RunUpdate::Now(State::Preparing)
        );
    }

    #[test]
    fn a_run_that_another_process_took_first_is_theirs_and_not_lost() {
        let (folder, store) = store();
        let id = store
            .add_run(&order("network", Purpose::Drift), now())
            .unwrap();
        let other = Store::open(folder.path()).unwrap();
        store.claim(id, "me", now()).unwrap();
        assert!(matches!(
            other.claim(id, "they", now()),
            Err(StoreError::Illegal { .. })
        ));
        step(&store, id, &[Event::CheckedOut, Event::PlanMade]);
    }

    #[test]
    fn a_workspace_is_unsettled_from_the_start_of_an_apply_to_its_good_end() {
        let (_folder, store) = store();
        let what = order("network", Purpose::Merge);
        let settled = || {
            store
                .workspace(&what.repo, &what.workspace)
                .unwrap()
                .unwrap()
                .settled
        };
        let id = store.add_run(&what, now()).unwrap();
        store.claim(id, "me", now()).unwrap();
        step(&store, id, &[Event::CheckedOut]);
        assert_eq!(settled(), crate::decide::Settled::Yes);
        step(&store, id, &[Event::ApplyStarted]);
        assert_eq!(settled(), crate::decide::Settled::No);
        step(
            &store,
            id,
            &[Event::StepFailed {
                summary: "x".into(),
            }],
        );
        assert_eq!(settled(), crate::decide::Settled::No);
        let id = store.add_run(&what, now()).unwrap();
        store.claim(id, "me", now()).unwrap();
        step(
            &store,
            id,
            &[Event::CheckedOut, Event::ApplyStarted, Event::ApplyDone],
        );
        assert_eq!(settled(), crate::decide::Settled::Yes);
    }

    #[test]
    fn an_event_out_of_turn_changes_nothing() {
        let (_folder, store) = store();
        let id = store
            .add_run(&order("network", Purpose::Merge), now())
            .unwrap();
        let error = store
            .happened(id, &Event::ApplyDone, now(), |_| {})
            .unwrap_err();
        assert!(matches!(error, StoreError::Illegal { .. }), "{error}");
        assert_eq!(store.run(id).unwrap().state, State::Queued);
        assert!(store.events(id).unwrap().is_empty());
    }

    #[test]
    fn a_run_forgets_its_process_when_it_ends() {
        let (_folder, store) = store();
        let id = store
            .add_run(&order("network", Purpose::Propose), now())
            .unwrap();
        store.claim(id, "me", now()).unwrap();
        assert_eq!(store.active_runs().unwrap()[0].owner.as_deref(), Some("me"));
        step(&store, id, &[Event::WorkerLost]);
        assert!(store.active_runs().unwrap().is_empty());
        assert_eq!(store.run(id).unwrap().state, State::Queued);
    }
}
