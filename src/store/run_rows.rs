//! Which runs there are, as the record has them.

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError, from_json, from_text, to_text};
use crate::clock::Timestamp;
use crate::decide::{Found, RunFacts, Stopping};
use crate::id::{CommitSha, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::run::{NewRun, Purpose, Run, State};

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
    /// Only this one and those that came after it.
    pub from: Option<RunId>,
    /// At most so many, the newest; 0 for all.
    pub limit: u32,
}

/// A run that has not ended, without what came out of it so far, which may be large.
#[derive(Debug, Clone)]
pub struct OpenRun {
    /// Its number.
    pub id: RunId,
    /// What it shall do.
    pub what: NewRun,
    /// Where it stands.
    pub state: State,
    /// Whether it was asked to end.
    pub stopping: Stopping,
    /// The process that works on it.
    pub owner: Option<String>,
    /// Until when the lease of its workspace is held.
    pub lease_until: Option<Timestamp>,
}

/// The runs that have not ended. The same words as in the schema: only so does SQLite use the index.
pub(super) const OPEN: &str = "state IN ('queued', 'held', 'preparing', 'planning', 'applying')";

/// The runs that a process works on. With the words of [`OPEN`] before, these use its index too.
pub(super) const ACTIVE: &str = "state IN ('queued', 'held', 'preparing', 'planning', 'applying') \
     AND state IN ('preparing', 'planning', 'applying')";

const COLUMNS: &str = "id, what, state, result, created_at, changed_at, owner";

/// The columns of a run without what came out of it, which may be large.
const FACTS: &str = "id, what, state, created_at, changed_at, stopping, drift";

impl Store {
    /// One run.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is none of that number.
    pub fn run(&self, id: RunId) -> Result<Run, StoreError> {
        read(&self.lock(), id).map(|(run, _)| run)
    }

    /// Every run that a process works on.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn active_runs(&self) -> Result<Vec<OpenRun>, StoreError> {
        self.unended(ACTIVE)
    }

    /// Every run that has not ended, oldest first.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn open_runs(&self) -> Result<Vec<OpenRun>, StoreError> {
        self.unended(OPEN)
    }

    fn unended(&self, condition: &str) -> Result<Vec<OpenRun>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT id, what, state, stopping, owner, (SELECT expires_at FROM leases l \
             WHERE l.repo = runs.repo AND l.workspace = runs.workspace) \
             FROM runs WHERE {condition} ORDER BY id"
        ))?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(OpenRun {
                id: RunId(row.get(0)?),
                what: from_json("run", &row.get::<_, String>(1)?)?,
                state: from_text("run state", &row.get::<_, String>(2)?)?,
                stopping: if row.get(3)? {
                    Stopping::Yes
                } else {
                    Stopping::No
                },
                owner: row.get(4)?,
                lease_until: row.get(5)?,
            });
        }
        Ok(all)
    }

    /// Every run that ended and is not waited for any more, with the time, the oldest end first. Left
    /// out is an interrupted one until its workspace has a later run.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn ended_runs(&self) -> Result<Vec<(RunId, Timestamp)>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, changed_at FROM runs WHERE state IN \
             ('planned', 'applied', 'failed', 'superseded', 'cancelled', 'interrupted') \
             AND NOT (state = 'interrupted' AND id = (SELECT MAX(id) FROM runs r WHERE r.repo = runs.repo \
                      AND r.workspace = runs.workspace AND r.purpose = runs.purpose)) \
             ORDER BY changed_at, id",
        )?;
        let rows = statement.query_map([], |row| Ok((RunId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
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

    /// The commits of which a status may still have to be told, each with the first of its merge runs,
    /// oldest first: those that have none and a run that changed since `remembered`, and those
    /// whose status is not green, was not told, or is older than what became of their runs.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn commits_to_tell(
        &self,
        repo: &RepoName,
        context: &str,
        remembered: Timestamp,
    ) -> Result<Vec<(CommitSha, RunId)>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT r.commit_sha, r.first FROM \
             (SELECT commit_sha, MIN(id) AS first, MAX(changed_at) AS changed_at FROM runs \
              WHERE repo = ?1 AND purpose = 'merge' GROUP BY commit_sha) r \
             LEFT JOIN tellings t ON t.repo = ?1 AND t.target = 'status ' || r.commit_sha || ' ' || ?2 \
             WHERE CASE WHEN t.target IS NULL THEN r.changed_at >= ?3 \
                   ELSE t.told IS NOT t.digest OR r.changed_at > t.changed_at \
                        OR json_extract(t.wanted, '$.status.state') IS NOT 'success' END \
             ORDER BY r.first",
        )?;
        let mut rows = statement.query(params![repo.as_str(), context, remembered])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let commit = from_text("commit id", &row.get::<_, String>(0)?)?;
            all.push((commit, RunId(row.get(1)?)));
        }
        Ok(all)
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
        let mut conditions = vec!["?5 = ?5", "?6 IS ?6"];
        for (given, condition) in [
            (repo.is_some(), "repo = ?1"),
            (workspace.is_some(), "workspace = ?2"),
            (proposal.is_some(), "proposal = ?3"),
            (purpose.is_some(), "purpose = ?4"),
            (filter.from.is_some(), "id >= ?6"),
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
        let mut rows = statement.query(params![
            repo,
            workspace,
            proposal,
            purpose,
            limit,
            filter.from.map(|from| from.0)
        ])?;
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

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::clock::now;
    use crate::run::Trigger;
    use crate::store::Shown;

    fn order(repo: &RepoName, commit: char) -> NewRun {
        NewRun {
            repo: repo.clone(),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: commit.to_string().repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        }
    }

    #[test]
    fn a_commit_is_told_of_until_its_status_is_green_however_many_come_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let repo: RepoName = "acme/infra".parse().unwrap();
        let at = now();
        let later = at + TimeDelta::minutes(1);
        for commit in ['a', 'b', 'c', 'd'] {
            store
                .add_superseded(&order(&repo, commit), "eeeeeee", at)
                .unwrap();
        }
        let tell = |commit: char, state: &str| {
            let target = format!("status {} mainstay/apply", commit.to_string().repeat(40));
            let wanted = json!({ "show": "status", "status": { "state": state } });
            store.want(&repo, &target, &wanted, later).unwrap();
            let digest = store.telling(&repo, &target).unwrap().unwrap().digest;
            store
                .told(&repo, &target, &digest, &Shown::default(), None)
                .unwrap();
        };
        let open = |remembered: Timestamp| -> String {
            let open = store
                .commits_to_tell(&repo, "mainstay/apply", remembered)
                .unwrap();
            open.iter().map(|(sha, _)| &sha.as_str()[..1]).collect()
        };
        assert_eq!(open(at), "abcd");
        tell('a', "failure");
        tell('b', "pending");
        tell('c', "success");
        assert_eq!(open(at), "abd", "what is red or pending is never let be");
        assert_eq!(
            open(later),
            "ab",
            "what was told long ago need not be known for ever"
        );
        tell('a', "success");
        tell('b', "success");
        tell('d', "success");
        assert_eq!(open(at), "");
        // Something happened to the commit since.
        let again = NewRun {
            workspace: "dns".parse().unwrap(),
            ..order(&repo, 'c')
        };
        store
            .add_superseded(&again, "eeeeeee", later + TimeDelta::minutes(1))
            .unwrap();
        assert_eq!(open(at), "c");
    }
}
