//! Workspaces in the record: the commit that each is at.

use rusqlite::Row;

use super::{Store, StoreError, from_text, opt_text};
use crate::clock::Timestamp;
use crate::decide::{AppliedAt, Settled};
use crate::id::{CommitSha, RepoName, WorkspaceName};

/// A workspace as it is recorded.
#[derive(Debug, Clone)]
pub struct WorkspaceRow {
    /// Its name.
    pub name: WorkspaceName,
    /// The commit that it is at.
    pub applied: Option<AppliedAt>,
    /// Whether the last apply that began came to a good end.
    pub settled: Settled,
    /// Why a person must agree to the next change: the base branch was force-pushed.
    pub rewound: Option<String>,
    /// When drift was looked for last.
    pub drift_at: Option<Timestamp>,
}

impl Store {
    /// The workspaces of a repository that are recorded, by name.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn workspaces(&self, repo: &RepoName) -> Result<Vec<WorkspaceRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT name, applied, applied_tree, applied_inputs, applied_at, unsettled, rewound, drift_at, \
             (SELECT MAX(seq) FROM base_log b WHERE b.repo = workspaces.repo AND b.sha = workspaces.applied) \
             FROM workspaces WHERE repo = ?1 ORDER BY name",
        )?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(workspace_row(row)?);
        }
        Ok(all)
    }

    /// One workspace.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn workspace(
        &self,
        repo: &RepoName,
        name: &WorkspaceName,
    ) -> Result<Option<WorkspaceRow>, StoreError> {
        Ok(self
            .workspaces(repo)?
            .into_iter()
            .find(|row| &row.name == name))
    }
}

fn workspace_row(row: &Row<'_>) -> Result<WorkspaceRow, StoreError> {
    let commit: Option<CommitSha> = opt_text("commit id", row.get(1)?)?;
    let tree = opt_text("tree id", row.get(2)?)?;
    let inputs: Option<String> = row.get(3)?;
    let at: Option<Timestamp> = row.get(4)?;
    let applied = match (commit, tree, inputs, at) {
        (Some(commit), Some(tree), Some(inputs), Some(at)) => Some(AppliedAt {
            commit,
            tree,
            inputs,
            at,
            position: row.get(8)?,
        }),
        _ => None,
    };
    Ok(WorkspaceRow {
        name: from_text("workspace name", &row.get::<_, String>(0)?)?,
        applied,
        settled: if row.get::<_, bool>(5)? {
            Settled::No
        } else {
            Settled::Yes
        },
        rewound: row.get(6)?,
        drift_at: row.get(7)?,
    })
}
