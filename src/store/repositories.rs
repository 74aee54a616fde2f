//! Repositories and their base branch's history in the record.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::audit::append;
use super::proposals::{record_fate, record_open};
use super::{ProposalState, Store, StoreError, from_json, from_text, opt_text, to_json, to_text};
use crate::audit::{Record, What};
use crate::clock::Timestamp;
use crate::decide::View;
use crate::forge::{Archived, Fate, Look};
use crate::id::{BranchName, CommitSha, ProposalKey, RepoName};

/// A repository as it is recorded.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its name.
    pub repo: RepoName,
    /// The base branch.
    pub branch: BranchName,
    /// The base branch's head, as seen last.
    pub base: Option<CommitSha>,
    /// When it was looked at last with success.
    pub looked_at: Option<Timestamp>,
    /// Comments that are older were read.
    pub comments_at: Option<Timestamp>,
    /// Why the last look failed, and since when.
    pub error: Option<(String, Timestamp)>,
    /// Since when it is archived, and nothing can be written to it.
    pub archived_at: Option<Timestamp>,
    /// What `view` was made from.
    pub view_key: Option<String>,
    /// The workspaces at the base branch's head.
    pub view: Option<View>,
}

/// How the base branch moved between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseMove {
    /// It did not.
    Same,
    /// It is seen for the first time.
    First,
    /// It went on; the new commits of its first-parent line, oldest first, the head last.
    Forward(Vec<CommitSha>),
    /// It was force-pushed: its head does not descend from the one before.
    Rewound {
        /// The head before.
        from: CommitSha,
    },
}

impl Store {
    /// Makes sure that the repository is recorded, with that base branch.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn ensure_repository(
        &self,
        repo: &RepoName,
        branch: &BranchName,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let known: Option<String> = tx
                .query_row("SELECT branch FROM repositories WHERE repo = ?1", [repo.as_str()], |r| r.get(0))
                .optional()?;
            match known {
                Some(known) if known == branch.as_str() => {}
                Some(_) => {
                    // Another branch is kept from now on: its history starts anew.
                    tx.execute("DELETE FROM base_log WHERE repo = ?1", [repo.as_str()])?;
                    tx.execute(
                        "UPDATE repositories SET branch = ?2, base = NULL, view_key = NULL, view = NULL WHERE repo = ?1",
                        params![repo.as_str(), branch.as_str()],
                    )?;
                }
                None => {
                    tx.execute(
                        "INSERT INTO repositories (repo, branch) VALUES (?1, ?2)",
                        params![repo.as_str(), branch.as_str()],
                    )?;
                }
            }
            Ok(())
        })
    }

    /// The repository, where it is recorded.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn repository(&self, repo: &RepoName) -> Result<Option<Repository>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT repo, branch, base, looked_at, comments_at, error, error_at, view_key, view, archived_at \
             FROM repositories WHERE repo = ?1",
        )?;
        let mut rows = statement.query([repo.as_str()])?;
        rows.next()?.map(repository).transpose()
    }

    /// Every repository that is recorded, by name.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn repositories(&self) -> Result<Vec<Repository>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT repo, branch, base, looked_at, comments_at, error, error_at, view_key, view, archived_at \
             FROM repositories ORDER BY repo",
        )?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(repository(row)?);
        }
        Ok(all)
    }

    /// Records that a look failed; what was seen before stays.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn look_failed(
        &self,
        repo: &RepoName,
        error: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE repositories SET error_at = CASE WHEN error = ?2 THEN error_at ELSE ?3 END, error = ?2 \
                 WHERE repo = ?1",
                params![repo.as_str(), error, at],
            )?;
            Ok(())
        })
    }

    /// Records what a look found: the head, how it moved, the open proposals, and what became of the others.
    /// After a look that failed, what could not be told is due at once.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written; then nothing of the look is.
    pub fn looked(
        &self,
        repo: &RepoName,
        look: &Look,
        base_move: &BaseMove,
        fates: &[(ProposalKey, Fate)],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            // What the forge did not take while it could not be looked at either need not wait any longer.
            tx.execute(
                "UPDATE tellings SET retry_at = NULL WHERE repo = ?1 AND error IS NOT NULL \
                 AND EXISTS (SELECT 1 FROM repositories WHERE repo = ?1 AND error IS NOT NULL)",
                [repo.as_str()],
            )?;
            tx.execute(
                "UPDATE repositories SET base = ?2, looked_at = ?3, error = NULL, error_at = NULL WHERE repo = ?1",
                params![repo.as_str(), look.base.as_ref().map(CommitSha::as_str), at],
            )?;
            match look.archived {
                Archived::Yes => {
                    tx.execute(
                        "UPDATE repositories SET archived_at = ?2 WHERE repo = ?1 AND archived_at IS NULL",
                        params![repo.as_str(), at],
                    )?;
                }
                Archived::No => {
                    tx.execute("UPDATE repositories SET archived_at = NULL WHERE repo = ?1", [repo.as_str()])?;
                    tx.execute(
                        "UPDATE tellings SET retry_at = NULL WHERE repo = ?1 AND ground = 'archived'",
                        [repo.as_str()],
                    )?;
                }
                // What a refused write told stays until one succeeds.
                Archived::Untold => {}
            }
            extend_base_log(tx, repo, look, base_move, at)?;
            for proposal in &look.open {
                record_open(tx, repo, proposal, at)?;
            }
            for (key, fate) in fates {
                record_fate(tx, repo, key, fate, at)?;
            }
            Ok(())
        })
    }

    /// Records that a look found nothing new, unless one is recorded since `unless_since`.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn looked_again(
        &self,
        repo: &RepoName,
        at: Timestamp,
        unless_since: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE repositories SET looked_at = ?2 WHERE repo = ?1 AND looked_at < ?3",
                params![repo.as_str(), at, unless_since],
            )?;
            Ok(())
        })
    }

    /// Records up to when comments were read, and for which heads of the open proposals.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn comments_read(&self, repo: &RepoName, until: Timestamp) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE repositories SET comments_at = ?2 WHERE repo = ?1 AND comments_at IS NOT ?2",
                params![repo.as_str(), until],
            )?;
            tx.execute(
                "UPDATE proposals SET previous = json_extract(proposal, '$.head') WHERE repo = ?1 AND state = ?2 \
                 AND previous IS NOT json_extract(proposal, '$.head')",
                params![repo.as_str(), to_text(&ProposalState::Open)],
            )?;
            Ok(())
        })
    }

    /// Records the workspaces at the base branch's head.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn set_view(&self, repo: &RepoName, key: &str, view: &View) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE repositories SET view_key = ?2, view = ?3 WHERE repo = ?1",
                params![repo.as_str(), key, to_json(view)],
            )?;
            for workspace in &view.workspaces {
                // What is first seen in the force-pushed head itself waits like the rest of it.
                tx.execute(
                    "INSERT OR IGNORE INTO workspaces (repo, name, rewound, rewound_seq) \
                     SELECT repo, ?2, rewound, rewound_seq FROM repositories WHERE repo = ?1 AND rewound_seq = \
                     (SELECT MAX(seq) FROM base_log WHERE repo = ?1)",
                    params![repo.as_str(), workspace.name.as_str()],
                )?;
                tx.execute(
                    "INSERT OR IGNORE INTO workspaces (repo, name) VALUES (?1, ?2)",
                    params![repo.as_str(), workspace.name.as_str()],
                )?;
                // Where none of its files changed, a workspace is at this commit without an apply, and
                // what was merged on the way there is over.
                tx.execute(
                    "UPDATE workspaces SET applied = ?3, applied_tree = ?4, rewound = NULL \
                     WHERE repo = ?1 AND name = ?2 AND unsettled = 0 AND applied_inputs = ?5",
                    params![
                        repo.as_str(),
                        workspace.name.as_str(),
                        view.commit.as_str(),
                        view.tree.as_str(),
                        workspace.inputs
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Where a commit stands in the base branch's recorded history; later is larger.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn base_position(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
    ) -> Result<Option<i64>, StoreError> {
        Ok(self.lock().query_row(
            "SELECT MAX(seq) FROM base_log WHERE repo = ?1 AND sha = ?2",
            params![repo.as_str(), commit.as_str()],
            |row| row.get(0),
        )?)
    }

    /// Where the base branch was force-pushed last in its recorded history.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn rewound_at(&self, repo: &RepoName) -> Result<Option<i64>, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT rewound_seq FROM repositories WHERE repo = ?1")?;
        let found = statement
            .query_row([repo.as_str()], |row| row.get(0))
            .optional()?;
        Ok(found.flatten())
    }
}

fn extend_base_log(
    tx: &Transaction<'_>,
    repo: &RepoName,
    look: &Look,
    base_move: &BaseMove,
    at: Timestamp,
) -> Result<(), StoreError> {
    let head = look.base.iter().cloned().collect::<Vec<_>>();
    let commits = match base_move {
        BaseMove::Same => &[][..],
        BaseMove::First => &head,
        BaseMove::Forward(commits) => commits,
        BaseMove::Rewound { from } => {
            let reason = format!(
                "the base branch was force-pushed: {} does not descend from {}, which was seen before",
                look.base.as_ref().map_or("its head", CommitSha::short),
                from.short()
            );
            let mut record = Record::new(What::BaseRewound, at);
            record.repository = Some(repo.clone());
            record.commit.clone_from(&look.base);
            record.reason = Some(reason.clone());
            append(tx, record)?;
            for table in ["repositories", "workspaces"] {
                tx.execute(
                    &format!(
                        "UPDATE {table} SET rewound = ?2, rewound_seq = \
                         1 + (SELECT COALESCE(MAX(seq), 0) FROM base_log WHERE repo = ?1) WHERE repo = ?1"
                    ),
                    params![repo.as_str(), reason],
                )?;
            }
            &head
        }
    };
    for commit in commits {
        tx.execute(
            "INSERT INTO base_log (repo, seq, sha, seen_at) \
             VALUES (?1, 1 + (SELECT COALESCE(MAX(seq), 0) FROM base_log WHERE repo = ?1), ?2, ?3)",
            params![repo.as_str(), commit.as_str(), at],
        )?;
    }
    Ok(())
}

fn repository(row: &Row<'_>) -> Result<Repository, StoreError> {
    let error: Option<String> = row.get(5)?;
    let error_at: Option<Timestamp> = row.get(6)?;
    let view: Option<String> = row.get(8)?;
    Ok(Repository {
        repo: from_text("repository", &row.get::<_, String>(0)?)?,
        branch: from_text("branch name", &row.get::<_, String>(1)?)?,
        base: opt_text("commit id", row.get(2)?)?,
        looked_at: row.get(3)?,
        comments_at: row.get(4)?,
        error: error.zip(error_at),
        archived_at: row.get(9)?,
        view_key: row.get(7)?,
        view: view.map(|text| from_json("view", &text)).transpose()?,
    })
}
