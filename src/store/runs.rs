//! Runs, their events and their steps in the record.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, from_json, from_text, to_json, to_text};
use crate::clock::Timestamp;
use crate::decide::{Found, RunFacts, Stopping};
use crate::id::{ProposalKey, RepoName, RunId, WorkspaceName};
use crate::run::{Event, NewRun, Purpose, Run, RunResult, State};

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this repository.
    pub repo: Option<RepoName>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceName>,
    /// Only of this proposal.
    pub proposal: Option<ProposalKey>,
    /// Only for this purpose.
    pub purpose: Option<Purpose>,
    /// At most so many, the newest; 0 for all.
    pub limit: u32,
}

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

/// A process that a run started.
#[derive(Debug, Clone)]
pub struct StepRow {
    /// Its number in the record.
    pub id: i64,
    /// The step's name.
    pub step: String,
    /// Folder, process and its start time, as JSON.
    pub start: serde_json::Value,
    /// When it was about to start.
    pub started_at: Timestamp,
    /// When it had ended, where that was seen.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<String>,
}

const COLUMNS: &str = "id, what, state, result, created_at, changed_at, owner";

/// The columns of a run without what came out of it, which may be large.
const FACTS: &str = "id, what, state, created_at, changed_at, stopping, drift";

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
                add_event(tx, id, &Event::Superseded { by: by.to_owned() }, at)?;
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
        self.write(|tx| {
            let (run, _) = read(tx, id)?;
            match run.state {
                State::Queued | State::Held => {
                    record(tx, id, event, None, at, |_| {})?;
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
        })
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
        self.write(|tx| {
            let (run, _) = read(tx, id)?;
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
            record(tx, id, &Event::ApplyStarted, None, at, |_| {})?;
            Ok(Begin::Begun)
        })
    }

    /// Takes a queued run for the process `owner`, unless its workspace is taken.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] where the run is no longer queued.
    pub fn claim(&self, id: RunId, owner: &str, at: Timestamp) -> Result<RunUpdate, StoreError> {
        self.record(id, &Event::Started, Some(owner), at, |_| {})
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
        match self.record(id, event, None, at, change)? {
            RunUpdate::Now(state) => Ok(state),
            RunUpdate::Busy => unreachable!("only a claim makes a run active"),
        }
    }

    fn record(
        &self,
        id: RunId,
        event: &Event,
        owner: Option<&str>,
        at: Timestamp,
        change: impl FnOnce(&mut RunResult),
    ) -> Result<RunUpdate, StoreError> {
        match self.write(|tx| record(tx, id, event, owner, at, change)) {
            Ok(state) => Ok(RunUpdate::Now(state)),
            Err(StoreError::Sqlite { source, .. }) if is_taken(&source) => Ok(RunUpdate::Busy),
            Err(error) => Err(error),
        }
    }

    /// Records that another process works on a run that is under way.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn set_owner(&self, id: RunId, owner: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE runs SET owner = ?2 WHERE id = ?1 AND state IN ('preparing', 'planning', 'applying')",
                params![id.0, owner],
            )?;
            Ok(())
        })
    }

    /// Changes what came out of a run, without an event: a note, say.
    ///
    /// # Errors
    ///
    /// Where the run is not there or cannot be written.
    pub fn amend(&self, id: RunId, change: impl FnOnce(&mut RunResult)) -> Result<(), StoreError> {
        self.write(|tx| {
            let (run, _) = read(tx, id)?;
            let mut result = run.result;
            change(&mut result);
            set_result(tx, id, &run.what, &result)
        })
    }

    /// One run.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is none of that number.
    pub fn run(&self, id: RunId) -> Result<Run, StoreError> {
        read(&self.lock(), id).map(|(run, _)| run)
    }

    /// Every run that a process works on, with the process.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn active_runs(&self) -> Result<Vec<(Run, Option<String>)>, StoreError> {
        self.select(
            "state IN ('preparing', 'planning', 'applying') ORDER BY repo, workspace",
            &[],
        )
    }

    /// Every run that has not ended, oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn open_runs(&self) -> Result<Vec<Run>, StoreError> {
        let rows = self.select(
            "state IN ('queued', 'held', 'preparing', 'planning', 'applying') ORDER BY id",
            &[],
        )?;
        Ok(rows.into_iter().map(|(run, _)| run).collect())
    }

    /// What is known of runs without what came out of them, oldest first: the newest `limit`
    /// that `filter` lets through.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn run_facts(&self, filter: &RunFilter) -> Result<Vec<RunFacts>, StoreError> {
        let mut facts = self.filtered(FACTS, filter, run_fact)?;
        facts.reverse();
        Ok(facts)
    }

    /// The latest run that looked for drift and made a plan, of each workspace.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn drift_found(&self, repo: &RepoName) -> Result<Vec<Run>, StoreError> {
        let rows = self.select(
            "id IN (SELECT MAX(id) FROM runs WHERE repo = ?1 AND purpose = 'drift' AND state = 'planned' \
             GROUP BY workspace) ORDER BY workspace",
            &[&repo.as_str()],
        )?;
        Ok(rows.into_iter().map(|(run, _)| run).collect())
    }

    /// The latest merge run of each workspace.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn latest_merges(&self, repo: &RepoName) -> Result<Vec<Run>, StoreError> {
        let rows = self.select(
            "id IN (SELECT MAX(id) FROM runs WHERE repo = ?1 AND purpose = 'merge' GROUP BY workspace) \
             ORDER BY workspace",
            &[&repo.as_str()],
        )?;
        Ok(rows.into_iter().map(|(run, _)| run).collect())
    }

    /// What a decision about a repository reads: every run that has not ended, and for each
    /// workspace, purpose and proposal the latest; oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn deciding_runs(&self, repo: &RepoName) -> Result<Vec<RunFacts>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {FACTS} FROM runs WHERE repo = ?1 AND \
             (state IN ('queued', 'held', 'preparing', 'planning', 'applying') \
             OR id IN (SELECT MAX(id) FROM runs WHERE repo = ?1 \
                       GROUP BY purpose, workspace, CASE purpose WHEN 'propose' THEN proposal END)) \
             ORDER BY id"
        ))?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(run_fact(row)?);
        }
        Ok(all)
    }

    /// Runs, newest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.filtered(COLUMNS, filter, |row| run(row).map(|(run, _)| run))
    }

    fn filtered<T>(
        &self,
        columns: &str,
        filter: &RunFilter,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let repo = filter.repo.as_ref().map(RepoName::as_str);
        let workspace = filter.workspace.as_ref().map(WorkspaceName::as_str);
        let proposal = filter.proposal.as_ref().map(ToString::to_string);
        let purpose = filter.purpose.as_ref().map(to_text);
        let limit = if filter.limit == 0 {
            -1
        } else {
            i64::from(filter.limit)
        };
        // Only what is asked for stands in the condition: `?1 IS NULL OR …` would use no index.
        let mut conditions = vec!["?5 = ?5"];
        for (given, condition) in [
            (repo.is_some(), "repo = ?1"),
            (workspace.is_some(), "workspace = ?2"),
            (proposal.is_some(), "proposal = ?3"),
            (purpose.is_some(), "purpose = ?4"),
        ] {
            if given {
                conditions.push(condition);
            }
        }
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {columns} FROM runs WHERE {} ORDER BY id DESC LIMIT ?5",
            conditions.join(" AND ")
        ))?;
        let mut rows = statement.query(params![repo, workspace, proposal, purpose, limit])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    fn select(
        &self,
        condition: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<(Run, Option<String>)>, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE {condition}"))?;
        let mut rows = statement.query(values)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(run(row)?);
        }
        Ok(all)
    }

    /// What happened to a run, oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn events(&self, id: RunId) -> Result<Vec<(Timestamp, Event)>, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT at, event FROM events WHERE run = ?1 ORDER BY id")?;
        let mut rows = statement.query([id.0])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((row.get(0)?, from_json("event", &row.get::<_, String>(1)?)?));
        }
        Ok(all)
    }

    /// Records that a process is about to start for a run.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written: the process must not start then.
    pub fn step_starts(
        &self,
        run: RunId,
        step: &str,
        start: &serde_json::Value,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO steps (run, step, start, started_at) VALUES (?1, ?2, ?3, ?4)",
                params![run.0, step, start.to_string(), at],
            )?;
            Ok(tx.last_insert_rowid())
        })
    }

    /// Records that a process of a run has ended.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn step_ended(&self, id: i64, outcome: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE steps SET ended_at = ?2, outcome = ?3 WHERE id = ?1",
                params![id, at, outcome],
            )?;
            Ok(())
        })
    }

    /// The processes that a run started, oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, step, start, started_at, ended_at, outcome FROM steps WHERE run = ?1 ORDER BY id",
        )?;
        let mut rows = statement.query([run.0])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(StepRow {
                id: row.get(0)?,
                step: row.get(1)?,
                start: from_json("step", &row.get::<_, String>(2)?)?,
                started_at: row.get(3)?,
                ended_at: row.get(4)?,
                outcome: row.get(5)?,
            });
        }
        Ok(all)
    }
}

/// Records an event with all that it means.
pub(super) fn record(
    tx: &Transaction<'_>,
    id: RunId,
    event: &Event,
    owner: Option<&str>,
    at: Timestamp,
    change: impl FnOnce(&mut RunResult),
) -> Result<State, StoreError> {
    let (run, _) = read(tx, id)?;
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
        "UPDATE runs SET state = ?2, changed_at = ?3, \
         owner = CASE WHEN ?5 THEN COALESCE(?4, owner) ELSE NULL END WHERE id = ?1",
        params![id.0, to_text(&state), at, owner, state.is_active()],
    )?;
    set_result(tx, id, &run.what, &result)?;
    add_event(tx, id, event, at)?;
    settle(tx, &run.what, event, at)?;
    Ok(state)
}

fn insert(
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
    Ok(RunId(tx.last_insert_rowid()))
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

fn run_fact(row: &Row<'_>) -> Result<RunFacts, StoreError> {
    let what: NewRun = from_json("run", &row.get::<_, String>(1)?)?;
    let state: State = from_text("run state", &row.get::<_, String>(2)?)?;
    let found = row.get::<_, bool>(6)? && state == State::Planned;
    Ok(RunFacts {
        id: RunId(row.get(0)?),
        workspace: what.workspace,
        purpose: what.purpose,
        proposal: what.proposal,
        commit: what.commit,
        inputs: what.inputs,
        trigger: what.trigger,
        state,
        created_at: row.get(3)?,
        changed_at: row.get(4)?,
        stopping: if row.get(5)? {
            Stopping::Yes
        } else {
            Stopping::No
        },
        drift: if found { Found::Yes } else { Found::No },
    })
}

pub(super) fn read(
    connection: &rusqlite::Connection,
    id: RunId,
) -> Result<(Run, Option<String>), StoreError> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"),
            [id.0],
            |row| Ok(run(row)),
        )
        .optional()?
        .ok_or_else(|| StoreError::NotFound {
            what: "run",
            key: id.to_string(),
        })?
}

fn run(row: &Row<'_>) -> Result<(Run, Option<String>), StoreError> {
    let run = Run {
        id: RunId(row.get(0)?),
        what: from_json("run", &row.get::<_, String>(1)?)?,
        state: from_text("run state", &row.get::<_, String>(2)?)?,
        result: from_json("run result", &row.get::<_, String>(3)?)?,
        created_at: row.get(4)?,
        changed_at: row.get(5)?,
    };
    Ok((run, row.get(6)?))
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
        assert_eq!(store.active_runs().unwrap()[0].1.as_deref(), Some("me"));
        step(&store, id, &[Event::WorkerLost]);
        assert!(store.active_runs().unwrap().is_empty());
        assert_eq!(store.run(id).unwrap().state, State::Queued);
    }
}
