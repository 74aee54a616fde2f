//! What happened to runs, and the processes that they started, in the record.

use rusqlite::params;

use super::{Store, StoreError, from_json, leases};
use crate::clock::Timestamp;
use crate::id::RunId;
use crate::run::Event;

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

impl Store {
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
        let held = self.held(run);
        self.write(|tx| {
            leases::check(tx, held, run)?;
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
