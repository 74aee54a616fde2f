//! Looks into the daemon's record from beside it: where a run stands when a kill comes.
//!
//! Nothing is judged by it. It says which instants a run of the suite has met, and it is closed
//! again before the kill, so that the next daemon finds what a crash leaves and no more.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest as _, Sha256};

/// The record, open for reading.
pub(crate) struct Record(Connection);

impl Record {
    /// Opens the record below a data folder; `None` while there is none.
    pub(crate) fn open(data_dir: &Path) -> Option<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(data_dir.join("mainstay.db"), flags)
            .ok()
            .map(Self)
    }

    /// A number that grows with each event and each process.
    pub(crate) fn progress(&self) -> i64 {
        self.number(
            "SELECT (SELECT COUNT(*) FROM events) + (SELECT COUNT(*) FROM steps)",
            &[],
        )
    }

    /// The number of the newest run.
    pub(crate) fn newest_run(&self) -> i64 {
        self.number("SELECT COALESCE(MAX(id), 0) FROM runs", &[])
    }

    /// Where every run stands that has not ended, each kind once: `merge applying`, say.
    pub(crate) fn standing(&self) -> Vec<String> {
        let asked = "SELECT DISTINCT purpose || ' ' || state FROM runs \
                     WHERE state IN ('queued', 'preparing', 'planning', 'applying') ORDER BY 1";
        let read = || {
            let mut statement = self.0.prepare_cached(asked)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        read().unwrap_or_else(|_| vec!["the record being opened".to_owned()])
    }

    /// Whether something is told that the outside does not show yet, as far as is known.
    pub(crate) fn tells(&self) -> bool {
        let read = || {
            let mut statement = self.0.prepare_cached("SELECT wanted, told FROM tellings")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (wanted, told): (String, Option<String>) = (row.get(0)?, row.get(1)?);
                if told != Some(digest(&wanted)) {
                    return Ok(true);
                }
            }
            Ok::<_, rusqlite::Error>(false)
        };
        read().unwrap_or(false)
    }

    /// Whether a run after `newest` for this purpose had this event.
    pub(crate) fn happened(&self, newest: i64, purpose: &str, event: &str) -> bool {
        self.number(
            "SELECT COUNT(*) FROM events JOIN runs ON runs.id = events.run WHERE runs.id > ?1 \
             AND purpose = ?2 AND json_extract(event, '$.event') = ?3",
            params![newest, purpose, event],
        ) > 0
    }

    /// Whether a run after `newest` for this purpose is there.
    pub(crate) fn queued(&self, newest: i64, purpose: &str) -> bool {
        self.number(
            "SELECT COUNT(*) FROM runs WHERE id > ?1 AND purpose = ?2",
            params![newest, purpose],
        ) > 0
    }

    /// Whether a process for this step of a run after `newest` was begun.
    pub(crate) fn step_began(&self, newest: i64, purpose: &str, step: &str) -> bool {
        self.number(
            "SELECT COUNT(*) FROM steps JOIN runs ON runs.id = steps.run WHERE runs.id > ?1 \
             AND purpose = ?2 AND step = ?3",
            params![newest, purpose, step],
        ) > 0
    }

    /// Whether a process for this step of a run after `newest` has ended.
    pub(crate) fn step_ended(&self, newest: i64, purpose: &str, step: &str) -> bool {
        self.number(
            "SELECT COUNT(*) FROM steps JOIN runs ON runs.id = steps.run WHERE runs.id > ?1 \
             AND purpose = ?2 AND step = ?3 AND ended_at IS NOT NULL",
            params![newest, purpose, step],
        ) > 0
    }

    /// What shall be shown at a target, and whether it is known to be shown.
    pub(crate) fn telling(&self, repo: &str, target: &str) -> Option<(String, bool)> {
        let asked = "SELECT wanted, told FROM tellings WHERE repo = ?1 AND target = ?2";
        let read = |row: &rusqlite::Row<'_>| {
            let (wanted, told): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let shown = told == Some(digest(&wanted));
            Ok((wanted, shown))
        };
        self.0.query_row(asked, [repo, target], read).ok()
    }

    /// Whether the head of the base branch was seen to be this commit.
    pub(crate) fn base_is(&self, repo: &str, commit: &str) -> bool {
        let asked = "SELECT COUNT(*) FROM repositories WHERE repo = ?1 AND base = ?2";
        self.number(asked, params![repo, commit]) > 0
    }

    /// Whether a proposal was seen.
    pub(crate) fn proposed(&self, repo: &str, key: &str) -> bool {
        let asked = "SELECT COUNT(*) FROM proposals WHERE repo = ?1 AND key = ?2";
        self.number(asked, params![repo, key]) > 0
    }

    fn number(&self, asked: &str, values: &[&dyn rusqlite::ToSql]) -> i64 {
        // A record that is being opened or made says nothing yet.
        let read = |statement: &mut rusqlite::CachedStatement<'_>| {
            statement.query_row(values, |row| row.get(0))
        };
        let prepared = self.0.prepare_cached(asked);
        prepared.and_then(|mut s| read(&mut s)).unwrap_or(0)
    }
}

fn digest(wanted: &str) -> String {
    hex::encode(Sha256::digest(wanted))
}
