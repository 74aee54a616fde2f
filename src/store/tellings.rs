//! What the outside shall show, and what it shows as far as we know, in the record.

use rusqlite::{Row, params};

use super::{Store, StoreError, from_json};
use crate::clock::Timestamp;
use crate::id::RepoName;

/// One thing that the outside shall show.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// The repository.
    pub repo: RepoName,
    /// Where it is shown: `comment #12`, `status <commit> mainstay/plan`, `issue drift network`.
    pub target: String,
    /// What it shall show.
    pub wanted: serde_json::Value,
    /// Digest of what was told last.
    pub told: Option<String>,
    /// The forge's id of it.
    pub remote_id: Option<u64>,
    /// Why it could not be told.
    pub error: Option<String>,
    /// How often it failed since it was told last.
    pub attempts: u32,
    /// Not to be tried again before.
    pub retry_at: Option<Timestamp>,
    /// What is still under way is not told anew before.
    pub calm_until: Option<Timestamp>,
}

const COLUMNS: &str =
    "repo, target, wanted, told, remote_id, error, attempts, retry_at, calm_until";

impl Store {
    /// Records what shall be shown. A change makes it due at once.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn want(
        &self,
        repo: &RepoName,
        target: &str,
        wanted: &serde_json::Value,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO tellings (repo, target, wanted, changed_at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (repo, target) DO UPDATE SET wanted = ?3, changed_at = ?4, retry_at = NULL WHERE wanted <> ?3",
                params![repo.as_str(), target, wanted.to_string(), at],
            )?;
            Ok(())
        })
    }

    /// Records that the outside shows it. What was under way is not told anew before `calm_until`.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn told(
        &self,
        repo: &RepoName,
        target: &str,
        digest: &str,
        remote_id: Option<u64>,
        calm_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE tellings SET told = ?3, remote_id = COALESCE(?4, remote_id), error = NULL, attempts = 0, \
                 retry_at = NULL, calm_until = ?5 WHERE repo = ?1 AND target = ?2",
                params![repo.as_str(), target, digest, remote_id.map(u64::cast_signed), calm_until],
            )?;
            Ok(())
        })
    }

    /// Records that it could not be shown, and when to try again.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn telling_failed(
        &self,
        repo: &RepoName,
        target: &str,
        error: &str,
        retry_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE tellings SET error = ?3, attempts = attempts + 1, retry_at = ?4 WHERE repo = ?1 AND target = ?2",
                params![repo.as_str(), target, error, retry_at],
            )?;
            Ok(())
        })
    }

    /// All that shall be shown of a repository, the newest change last.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn tellings(&self, repo: &RepoName) -> Result<Vec<Telling>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tellings WHERE repo = ?1 ORDER BY changed_at, target"
        ))?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(telling(repo, row)?);
        }
        Ok(all)
    }

    /// One thing that shall be shown.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn telling(&self, repo: &RepoName, target: &str) -> Result<Option<Telling>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tellings WHERE repo = ?1 AND target = ?2"
        ))?;
        let mut rows = statement.query([repo.as_str(), target])?;
        rows.next()?.map(|row| telling(repo, row)).transpose()
    }
}

fn telling(repo: &RepoName, row: &Row<'_>) -> Result<Telling, StoreError> {
    Ok(Telling {
        repo: repo.clone(),
        target: row.get(1)?,
        wanted: from_json("telling", &row.get::<_, String>(2)?)?,
        told: row.get(3)?,
        remote_id: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
        error: row.get(5)?,
        attempts: row.get(6)?,
        retry_at: row.get(7)?,
        calm_until: row.get(8)?,
    })
}
