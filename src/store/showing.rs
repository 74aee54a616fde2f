//! What stands outside of what was told: since when people can read it, and what others made of it.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tellings::Telling;
use super::{Store, StoreError, to_json};
use crate::clock::Timestamp;
use crate::id::{RepoName, RunId};

/// What somebody else did to a thing that we told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meddling {
    /// Its text is another one.
    Edited,
    /// It is gone.
    Deleted,
}

/// What somebody else did to a thing that we told, since its text changed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meddled {
    /// What was done last.
    pub how: Meddling,
    /// When that was noticed.
    pub at: Timestamp,
    /// How often it was brought back since. It is not brought back without end: who does it again
    /// and again means it, or is a program like this one.
    pub brought_back: u32,
    /// Whether it is left as it is until the text changes.
    pub left: bool,
}

/// What a text is told apart by. The forge's own line ends and blank ends are no difference.
pub fn text_digest(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    hex::encode(Sha256::digest(lines.join("\n")))
}

/// A text that somebody edited is brought back so often; one that was deleted is posted anew once.
const BROUGHT_BACK: u32 = 3;

impl Store {
    /// Records that somebody else did something to what was told, and makes it due again, unless
    /// that was done too often already.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn meddled(
        &self,
        telling: &Telling,
        how: Meddling,
        at: Timestamp,
    ) -> Result<Meddled, StoreError> {
        let before = telling.meddled.as_ref();
        let brought_back = before.map_or(0, |m| m.brought_back);
        let most = match how {
            Meddling::Edited => BROUGHT_BACK,
            // A text that is posted anew calls everybody who reads along.
            Meddling::Deleted => 1,
        };
        let left = brought_back >= most;
        let meddled = Meddled {
            how,
            at,
            brought_back: if left { brought_back } else { brought_back + 1 },
            left,
        };
        self.write(|tx| {
            tx.execute(
                "UPDATE tellings SET meddled = ?3, told = CASE WHEN ?4 THEN told END, \
                 retry_at = NULL, calm_until = NULL WHERE repo = ?1 AND target = ?2 AND digest = ?5",
                params![
                    telling.repo.as_str(),
                    telling.target,
                    to_json(&meddled),
                    left,
                    telling.digest
                ],
            )?;
            Ok(())
        })?;
        Ok(meddled)
    }

    /// Records that what was told was compared with what stands there, when the forge dated the
    /// proposal so.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn compared(
        &self,
        repo: &RepoName,
        target: &str,
        dated: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_quietly(|tx| {
            tx.execute(
                "UPDATE tellings SET compared_at = ?3 WHERE repo = ?1 AND target = ?2",
                params![repo.as_str(), target, dated],
            )?;
            Ok(())
        })
    }

    /// Records from when on people could read what runs came to, by the forge's clock; each with the
    /// time, by ours, when it came to that. What is recorded already stays.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn shown_runs(&self, runs: &[(RunId, Timestamp)], at: Timestamp) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        self.write_quietly(|tx| {
            for (run, since) in runs {
                tx.execute(
                    "INSERT INTO shown (run, since, at) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (run) DO UPDATE SET since = ?2, at = ?3 WHERE since <> ?2",
                    params![run.0, since, at],
                )?;
            }
            Ok(())
        })
    }

    /// From when on people could read what a run came to at `since`, by the forge's clock.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn run_shown_at(
        &self,
        run: RunId,
        since: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT at FROM shown WHERE run = ?1 AND since = ?2")?;
        Ok(statement
            .query_row(params![run.0, since], |row| row.get(0))
            .optional()?)
    }

    /// What somebody else changed or deleted since its text changed last.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn meddled_tellings(&self, repo: &RepoName) -> Result<Vec<Telling>, StoreError> {
        self.tellings(repo, "meddled IS NOT NULL")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::now;
    use crate::store::Shown;

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
    fn what_was_deleted_is_posted_anew_once_until_its_text_changes() {
        let (_folder, store, repo) = store();
        let target = "comment #1";
        let tell = |text: &str| {
            store
                .want(&repo, target, &json!({ "body": text }), now())
                .unwrap();
            for telling in store.untold(&repo).unwrap() {
                store
                    .told(&repo, target, &telling.digest, &shown(7), None)
                    .unwrap();
            }
        };
        let meddle = |how| {
            let telling = store.telling(&repo, target).unwrap().unwrap();
            store.meddled(&telling, how, now()).unwrap();
            store.untold(&repo).unwrap().len()
        };
        tell("a");
        assert_eq!(meddle(Meddling::Deleted), 1);
        tell("a");
        assert_eq!(
            meddle(Meddling::Deleted),
            0,
            "who deletes it twice means it"
        );
        tell("b");
        for _ in 0..3 {
            assert_eq!(meddle(Meddling::Edited), 1);
            tell("b");
        }
        assert_eq!(meddle(Meddling::Edited), 0);
        assert!(
            store
                .telling(&repo, target)
                .unwrap()
                .unwrap()
                .meddled
                .unwrap()
                .left
        );
    }

    #[test]
    fn a_run_is_dated_by_the_first_time_it_is_shown_and_anew_when_it_waits_anew() {
        let (_folder, store, _) = store();
        let order = crate::store::tests::order("network");
        let run = store.add_run(&order, now()).unwrap();
        let (since, at) = (now(), now());
        let minute = chrono::TimeDelta::minutes(1);
        store.shown_runs(&[(run, since)], at).unwrap();
        store.shown_runs(&[(run, since)], at + minute).unwrap();
        assert_eq!(store.run_shown_at(run, since).unwrap(), Some(at));
        let anew = since + minute;
        assert_eq!(store.run_shown_at(run, anew).unwrap(), None);
        store.shown_runs(&[(run, anew)], at + minute).unwrap();
        assert_eq!(store.run_shown_at(run, anew).unwrap(), Some(at + minute));
    }

    #[test]
    fn line_ends_and_blanks_are_no_other_text() {
        assert_eq!(text_digest("a \r\nb\n\n"), text_digest("a\nb"));
        assert_ne!(text_digest("a\nb"), text_digest("a b"));
    }
}
