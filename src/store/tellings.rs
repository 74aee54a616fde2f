//! What the outside shall show, and what it shows as far as we know, in the record.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::showing::Meddled;
use super::{Store, StoreError, from_json, opt_text, to_text};
use crate::clock::Timestamp;
use crate::id::{IssueNumber, RepoName};

/// One thing that the outside shall show.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// The repository.
    pub repo: RepoName,
    /// Where it is shown: `comment #12`, `status <commit> mainstay/plan`, `issue drift network`.
    pub target: String,
    /// What it shall show.
    pub wanted: serde_json::Value,
    /// Digest of what it shall show.
    pub digest: String,
    /// Digest of what was told last.
    pub told: Option<String>,
    /// The forge's id of it.
    pub remote_id: Option<u64>,
    /// Why it could not be told.
    pub error: Option<String>,
    /// The same as a word, for what follows from it.
    pub ground: Option<Ground>,
    /// Since when it fails.
    pub failed_at: Option<Timestamp>,
    /// How often it failed since it was told last.
    pub attempts: u32,
    /// Not to be tried again before.
    pub retry_at: Option<Timestamp>,
    /// What is still under way is not told anew before.
    pub calm_until: Option<Timestamp>,
    /// Digest of the text that was told last, as the forge answered it.
    pub shown: Option<String>,
    /// When it came to show that, by the forge's clock.
    pub shown_at: Option<Timestamp>,
    /// The forge's time of the proposal at which it was last compared with what stands there.
    pub compared_at: Option<Timestamp>,
    /// What somebody else did to it since its text changed last.
    pub meddled: Option<Meddled>,
}

/// Why a thing could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// The credentials lack a right, or are no good.
    Denied,
    /// What it belongs to is not there, or may not be seen.
    Missing,
    /// The conversation is locked.
    Locked,
    /// The repository is archived.
    Archived,
    /// The forge asks to wait, or the budget does.
    Limited,
    /// There was no answer, or none that could be understood.
    Unanswered,
    /// The forge understood and refused.
    Refused,
}

/// What the forge answered when something was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its id of it.
    pub remote_id: Option<u64>,
    /// When it came to show it, by the forge's clock.
    pub at: Option<Timestamp>,
    /// Digest of the text as the forge keeps it.
    pub text: Option<String>,
}

const COLUMNS: &str = "digest, target, wanted, told, remote_id, error, attempts, retry_at, calm_until, ground, failed_at, \
     shown, shown_at, compared_at, meddled";

impl Store {
    /// Records what shall be shown. A change makes it due at once, unless the forge refused it for a
    /// reason that another text does not mend.
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
        let wanted = wanted.to_string();
        let digest = hex::encode(Sha256::digest(&wanted));
        self.write_quietly(|tx| {
            tx.execute(
                "INSERT INTO tellings (repo, target, wanted, digest, changed_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (repo, target) DO UPDATE SET wanted = ?3, digest = ?4, changed_at = ?5, meddled = NULL, \
                 retry_at = CASE WHEN ground IN ('denied', 'locked', 'archived') THEN retry_at END \
                 WHERE digest <> ?4",
                params![repo.as_str(), target, wanted, digest, at],
            )?;
            Ok(())
        })
    }

    /// Records that the outside shows it. What was under way is not told anew before `calm_until`.
    /// What was refused for want of the same right need not wait any longer.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn told(
        &self,
        repo: &RepoName,
        target: &str,
        digest: &str,
        shown: &Shown,
        calm_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.write_quietly(|tx| {
            tx.execute(
                "UPDATE tellings SET retry_at = NULL WHERE repo = ?1 AND target <> ?2 AND ground = 'denied' \
                 AND json_extract(wanted, '$.show') = \
                 (SELECT json_extract(wanted, '$.show') FROM tellings WHERE repo = ?1 AND target = ?2 AND ground = 'denied')",
                params![repo.as_str(), target],
            )?;
            // Somebody could write there.
            tx.execute(
                "UPDATE tellings SET retry_at = NULL WHERE repo = ?1 AND ground = 'archived'",
                [repo.as_str()],
            )?;
            tx.execute(
                "UPDATE repositories SET archived_at = NULL WHERE repo = ?1 AND archived_at IS NOT NULL",
                [repo.as_str()],
            )?;
            tx.execute(
                "UPDATE tellings SET told = ?3, remote_id = COALESCE(?4, remote_id), error = NULL, ground = NULL, \
                 failed_at = NULL, attempts = 0, retry_at = NULL, calm_until = ?5, shown = ?6, shown_at = ?7 \
                 WHERE repo = ?1 AND target = ?2",
                params![
                    repo.as_str(),
                    target,
                    digest,
                    shown.remote_id.map(u64::cast_signed),
                    calm_until,
                    shown.text,
                    shown.at
                ],
            )?;
            Ok(())
        })
    }

    /// Records that it could not be shown at `at`, why, and when to try again.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn telling_failed(
        &self,
        repo: &RepoName,
        target: &str,
        (ground, error): (Ground, &str),
        at: Timestamp,
        retry_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_quietly(|tx| {
            tx.execute(
                "UPDATE tellings SET error = ?3, ground = ?4, failed_at = COALESCE(failed_at, ?5), \
                 attempts = attempts + 1, retry_at = ?6 WHERE repo = ?1 AND target = ?2",
                params![repo.as_str(), target, error, to_text(&ground), at, retry_at],
            )?;
            if ground == Ground::Archived {
                tx.execute(
                    "UPDATE repositories SET archived_at = ?2 WHERE repo = ?1 AND archived_at IS NULL",
                    params![repo.as_str(), at],
                )?;
            }
            Ok(())
        })
    }

    /// Forgets that something could not be told which nobody wants any more.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn let_be(&self, repo: &RepoName, target: &str) -> Result<(), StoreError> {
        self.write_quietly(|tx| {
            tx.execute(
                "UPDATE tellings SET error = NULL, ground = NULL, failed_at = NULL, attempts = 0, retry_at = NULL \
                 WHERE repo = ?1 AND target = ?2",
                params![repo.as_str(), target],
            )?;
            Ok(())
        })
    }

    /// Writes what nothing follows from but what this process does next by itself.
    pub(super) fn write_quietly<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write(|tx| {
            let before = tx.total_changes();
            let done = work(tx)?;
            self.keep_quiet(tx.total_changes() - before);
            Ok(done)
        })
    }

    /// What shall be shown of a repository and is not, as far as we know, the newest change last.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn untold(&self, repo: &RepoName) -> Result<Vec<Telling>, StoreError> {
        self.tellings(repo, "told IS NOT digest")
    }

    /// The issues of a repository that shall be open.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn open_issues(&self, repo: &RepoName) -> Result<Vec<Telling>, StoreError> {
        self.tellings(
            repo,
            "target >= 'issue ' AND target < 'issue!' AND json_extract(wanted, '$.open')",
        )
    }

    /// Whether an issue of a repository shall be open.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn has_open_issue(&self, repo: &RepoName) -> Result<bool, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM tellings WHERE repo = ?1 AND target >= 'issue ' AND target < 'issue!' \
             AND json_extract(wanted, '$.open')",
        )?;
        Ok(statement.exists([repo.as_str()])?)
    }

    /// What is told in an issue of ours: `issue drift network`.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn issue_target(
        &self,
        repo: &RepoName,
        issue: IssueNumber,
    ) -> Result<Option<String>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT target FROM tellings WHERE repo = ?1 AND target >= 'issue ' AND target < 'issue!' \
             AND remote_id = ?2",
        )?;
        Ok(statement
            .query_row(params![repo.as_str(), issue.0.cast_signed()], |row| {
                row.get(0)
            })
            .optional()?)
    }

    /// Forgets statuses and reactions that nobody wants any more and that did not change since
    /// `before`: those of heads that were replaced, and of commands that were answered long ago.
    /// Comments and issues stay, since they are edited where they are. Gives how many it forgot.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn forget_tellings(
        &self,
        repo: &RepoName,
        wanted: &BTreeSet<String>,
        before: Timestamp,
    ) -> Result<usize, StoreError> {
        let stale: Vec<String> = {
            let connection = self.lock();
            let mut statement = connection.prepare_cached(
                "SELECT target FROM tellings WHERE repo = ?1 AND changed_at < ?2 \
                 AND (target GLOB 'status *' OR target GLOB 'reactions *')",
            )?;
            let rows = statement.query_map(params![repo.as_str(), before], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let stale: Vec<String> = stale.into_iter().filter(|t| !wanted.contains(t)).collect();
        if stale.is_empty() {
            return Ok(0);
        }
        self.write(|tx| {
            for target in &stale {
                tx.execute(
                    "DELETE FROM tellings WHERE repo = ?1 AND target = ?2 AND changed_at < ?3",
                    params![repo.as_str(), target, before],
                )?;
            }
            Ok(stale.len())
        })
    }

    pub(super) fn tellings(
        &self,
        repo: &RepoName,
        condition: &str,
    ) -> Result<Vec<Telling>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tellings WHERE repo = ?1 AND {condition} ORDER BY changed_at, target"
        ))?;
        let mut rows = statement.query([repo.as_str()])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(telling(repo, row)?);
        }
        Ok(all)
    }

    /// All that shall be shown of a repository whose target begins so.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn tellings_below(
        &self,
        repo: &RepoName,
        beginning: &str,
    ) -> Result<Vec<Telling>, StoreError> {
        let connection = self.lock();
        // No character comes after the last one of Unicode, so that the index finds them.
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tellings WHERE repo = ?1 AND target >= ?2 AND target < ?2 || char(1114111) ORDER BY target"
        ))?;
        let mut rows = statement.query([repo.as_str(), beginning])?;
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
        digest: row.get(0)?,
        target: row.get(1)?,
        wanted: from_json("telling", &row.get::<_, String>(2)?)?,
        told: row.get(3)?,
        remote_id: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
        error: row.get(5)?,
        attempts: row.get(6)?,
        retry_at: row.get(7)?,
        calm_until: row.get(8)?,
        ground: opt_text("reason", row.get(9)?)?,
        failed_at: row.get(10)?,
        shown: row.get(11)?,
        shown_at: row.get(12)?,
        compared_at: row.get(13)?,
        meddled: row
            .get::<_, Option<String>>(14)?
            .map(|text| from_json("meddling", &text))
            .transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::clock::now;

    fn store() -> (tempfile::TempDir, Store, RepoName) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store, "acme/infra".parse().unwrap())
    }

    fn shown(id: u64) -> Shown {
        Shown {
            remote_id: Some(id),
            ..Shown::default()
        }
    }

    #[test]
    fn what_is_told_is_not_read_again_until_it_changes() {
        let (_folder, store, repo) = store();
        store
            .want(&repo, "comment #1", &json!({"body": "a"}), now())
            .unwrap();
        let untold = store.untold(&repo).unwrap();
        store
            .told(&repo, "comment #1", &untold[0].digest, &shown(7), None)
            .unwrap();
        assert!(store.untold(&repo).unwrap().is_empty());
        store
            .want(&repo, "comment #1", &json!({"body": "a"}), now())
            .unwrap();
        assert!(store.untold(&repo).unwrap().is_empty());
        store
            .want(&repo, "comment #1", &json!({"body": "b"}), now())
            .unwrap();
        assert_eq!(store.untold(&repo).unwrap()[0].remote_id, Some(7));
    }

    #[test]
    fn what_nobody_wants_any_more_is_forgotten_after_a_while_and_comments_never() {
        let (_folder, store, repo) = store();
        let at = now();
        for target in [
            "status aaaa mainstay/plan",
            "status bbbb mainstay/plan",
            "comment #1",
        ] {
            store.want(&repo, target, &json!({}), at).unwrap();
        }
        let wanted = BTreeSet::from(["status bbbb mainstay/plan".to_owned()]);
        let hour = TimeDelta::hours(1);
        assert_eq!(store.forget_tellings(&repo, &wanted, at - hour).unwrap(), 0);
        assert_eq!(store.forget_tellings(&repo, &wanted, at + hour).unwrap(), 1);
        let left: Vec<_> = store
            .untold(&repo)
            .unwrap()
            .into_iter()
            .map(|t| t.target)
            .collect();
        assert_eq!(left, ["comment #1", "status bbbb mainstay/plan"]);
    }

    #[test]
    fn an_issue_is_found_by_its_number_and_counts_while_it_shall_be_open() {
        let (_folder, store, repo) = store();
        let target = "issue drift network";
        store
            .want(&repo, target, &json!({"open": true}), now())
            .unwrap();
        store.told(&repo, target, "d", &shown(9), None).unwrap();
        assert!(store.has_open_issue(&repo).unwrap());
        assert_eq!(store.open_issues(&repo).unwrap().len(), 1);
        let found = store.issue_target(&repo, IssueNumber(9)).unwrap();
        assert_eq!(found.as_deref(), Some(target));
        assert_eq!(store.issue_target(&repo, IssueNumber(8)).unwrap(), None);
        store
            .want(&repo, target, &json!({"open": false}), now())
            .unwrap();
        assert!(!store.has_open_issue(&repo).unwrap());
    }

    #[test]
    fn a_right_that_is_back_makes_all_due_that_waited_for_it() {
        let (_folder, store, repo) = store();
        let later = now() + TimeDelta::hours(1);
        for (target, show) in [
            ("comment #1", "comment"),
            ("comment #2", "comment"),
            ("status a", "status"),
        ] {
            store
                .want(&repo, target, &json!({ "show": show }), now())
                .unwrap();
            store
                .telling_failed(&repo, target, (Ground::Denied, "no"), now(), later)
                .unwrap();
        }
        store
            .told(&repo, "comment #1", "d", &shown(1), None)
            .unwrap();
        let retry = |target: &str| store.telling(&repo, target).unwrap().unwrap().retry_at;
        assert_eq!(retry("comment #2"), None);
        assert_eq!(retry("status a"), Some(later), "that is another right");
        // Another text does not mend it either.
        store
            .want(
                &repo,
                "status a",
                &json!({ "show": "status", "n": 1 }),
                now(),
            )
            .unwrap();
        assert_eq!(retry("status a"), Some(later));
    }

    #[test]
    fn a_failure_is_dated_by_its_first_time() {
        let (_folder, store, repo) = store();
        let at = now();
        store.want(&repo, "comment #1", &json!({}), at).unwrap();
        for minutes in 0..3 {
            let at = at + TimeDelta::minutes(minutes);
            store
                .telling_failed(&repo, "comment #1", (Ground::Locked, "locked"), at, at)
                .unwrap();
        }
        let telling = store.telling(&repo, "comment #1").unwrap().unwrap();
        assert_eq!((telling.failed_at, telling.attempts), (Some(at), 3));
    }
}
