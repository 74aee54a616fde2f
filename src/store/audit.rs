//! The audit log in the record: written in the transaction of what it describes, never changed.
//!
//! How far it has come is kept beside the database as well, in the file [`HEAD_FILE`], so that an end
//! that was cut off shows. The file is written after the transaction: after a crash in between it is
//! behind the log, which is no fault, and never ahead of it.

use std::io::Write as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use tracing::warn;

use super::{Store, StoreError, from_json};
use crate::audit::{Chained, Findings, Head, Record, Verifier, What, seal};
use crate::clock::Timestamp;
use crate::id::{RepoName, WorkspaceName};
use crate::plan::StateVersion;
use crate::run::{Run, State};

/// The file beside the database that says how far the log has come.
pub const HEAD_FILE: &str = "audit.head";

impl Store {
    /// Calls `take` with every record of the audit log, oldest first.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read, or `take` fails.
    pub fn audit_each(
        &self,
        mut take: impl FnMut(Chained) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT number, record, hash FROM audit ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(chained(row)?)?;
        }
        Ok(())
    }

    /// Records that a person is about to put a state in place by hand: `before` makes way for `after`.
    ///
    /// # Errors
    ///
    /// Where the log cannot be written; the state is then to stay as it is.
    pub fn state_is_pushed(
        &self,
        (repo, workspace): (&RepoName, &WorkspaceName),
        by: &str,
        (before, after): (Option<StateVersion>, Option<StateVersion>),
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut record = Record::new(What::StatePushed, at);
        record.who = Some(by.to_owned());
        record.repository = Some(repo.clone());
        record.workspace = Some(workspace.clone());
        record.state_before = before;
        record.state_after = after;
        self.write(|tx| append(tx, record))
    }

    /// Notes on the audit log that a run is about to mend what an earlier apply left.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn is_mended(
        &self,
        what: What,
        run: &Run,
        reason: String,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut record = Record::of_run(what, run.id, &run.what, State::Planning, at);
        record.reason = Some(reason);
        self.write(|tx| append(tx, record))
    }

    /// Every record of the audit log, oldest first.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read, or holds what is no record of this version.
    pub fn audit_records(&self) -> Result<Vec<Record>, StoreError> {
        let mut all = Vec::new();
        self.audit_each(|row| {
            all.push(from_json("audit record", &row.text)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Looks through the audit log for records that were changed, dropped or cut off. It is held
    /// against the file beside it and against `noted`, heads that somebody kept elsewhere.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read.
    pub fn audit_verify(&self, noted: &[Head]) -> Result<Findings, StoreError> {
        // First the file: what is written meanwhile only makes the log longer.
        let beside = read_head(self.file());
        let mut heads = noted.to_vec();
        heads.extend(beside.clone());
        let mut verifier = Verifier::new(heads);
        self.audit_each(|row| {
            verifier.take(&row);
            Ok(())
        })?;
        let mut findings = verifier.finish();
        if beside.is_none() && findings.head.count > 0 {
            findings.faults.push(crate::audit::Fault::NoHead);
        }
        Ok(findings)
    }

    /// Holds the log against the file beside it at the start of a writer. Where they differ, that is
    /// noted in the log, since the file will follow the log from then on.
    pub(super) fn audit_reconcile(&self, at: Timestamp) -> Result<(), StoreError> {
        let beside = read_head(self.file());
        self.write(|tx| {
            let head = head(tx)?;
            let reason = match &beside {
                None if head.count == 0 => None,
                None => Some(format!(
                    "the file `{HEAD_FILE}` was missing or could not be read; there were {} records",
                    head.count
                )),
                Some(told) if told.count > head.count => Some(format!(
                    "there were {} records, and `{HEAD_FILE}` told of {}: the end was cut off, or an older database was \
                     put in the place of this one",
                    head.count, told.count
                )),
                Some(told) => {
                    let hash: Option<String> = tx
                        .query_row(
                            "SELECT hash FROM audit WHERE number = ?1",
                            [told.count.cast_signed()],
                            |row| row.get(0),
                        )
                        .optional()?;
                    (told.count > 0 && hash.as_ref() != Some(&told.hash)).then(|| {
                        format!(
                            "record {} is not the one that `{HEAD_FILE}` tells of",
                            told.count
                        )
                    })
                }
            };
            if let Some(reason) = reason {
                warn!("The audit log is not as it was left: {reason}");
                let mut record = Record::new(What::Gap, at);
                record.reason = Some(reason);
                append(tx, record)?;
            }
            Ok(())
        })
    }
}

/// Adds a record at the end of the log.
pub(super) fn append(tx: &Transaction<'_>, record: Record) -> Result<(), StoreError> {
    let row = seal(&head(tx)?, record);
    tx.execute(
        "INSERT INTO audit (number, record, hash) VALUES (?1, ?2, ?3)",
        params![row.number.cast_signed(), row.text, row.hash],
    )?;
    Ok(())
}

/// How far the log has come.
pub(super) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
    let head = statement
        .query_row([], |row| {
            Ok(Head {
                count: row.get::<_, i64>(0)?.cast_unsigned(),
                hash: row.get(1)?,
            })
        })
        .optional()?;
    Ok(head.unwrap_or_else(Head::beginning))
}

/// What the file beside the database says; `None` where it is missing or says nothing.
pub(super) fn read_head(database: &Path) -> Option<Head> {
    let text = std::fs::read_to_string(database.with_file_name(HEAD_FILE)).ok()?;
    text.parse().ok()
}

/// Writes the file beside the database: whole or not at all.
pub(super) fn write_head(database: &Path, head: &Head) -> std::io::Result<()> {
    let folder = database.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new()
        .prefix(".audit")
        .tempfile_in(folder)?;
    writeln!(aside, "{head}")?;
    aside.as_file().sync_data()?;
    aside
        .persist(database.with_file_name(HEAD_FILE))
        .map_err(|error| error.error)?;
    Ok(())
}

fn chained(row: &Row<'_>) -> Result<Chained, StoreError> {
    Ok(Chained {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        text: row.get(1)?,
        hash: row.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fault;
    use crate::clock::now;
    use crate::run::{Event, NewRun, Purpose, Trigger};
    use crate::store::FILE_NAME;

    fn order() -> NewRun {
        NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        }
    }

    /// A record with a run that was applied: queued, started, checked out, apply started, applied.
    fn applied() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = store.add_run(&order(), now()).unwrap();
        store.claim(id, "me", now()).unwrap();
        store
            .happened(id, &Event::CheckedOut, now(), |_| {})
            .unwrap();
        store.begin_apply(id, None, now()).unwrap();
        store
            .happened(id, &Event::ApplyDone, now(), |_| {})
            .unwrap();
        (folder, store)
    }

    /// What somebody does who can write to the file: the guards go first.
    fn tamper(folder: &Path, sql: &str) {
        let raw = Connection::open(folder.join(FILE_NAME)).unwrap();
        let guards: Vec<String> = raw
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(guards.len(), 3);
        for guard in guards {
            raw.execute_batch(&format!("DROP TRIGGER {guard}")).unwrap();
        }
        raw.execute_batch(sql).unwrap();
    }

    #[test]
    fn each_event_of_a_run_is_in_the_audit_log() {
        let (_folder, store) = applied();
        let what: Vec<What> = store
            .audit_records()
            .unwrap()
            .into_iter()
            .map(|r| r.what)
            .collect();
        assert_eq!(
            what,
            [
                What::Queued,
                What::Started,
                What::CheckedOut,
                What::ApplyStarted,
                What::Applied
            ]
        );
        assert_eq!(store.audit_verify(&[]).unwrap().faults, []);
    }

    #[test]
    fn an_event_that_is_not_recorded_is_not_in_the_audit_log() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = store.add_run(&order(), now()).unwrap();
        store
            .happened(id, &Event::ApplyDone, now(), |_| {})
            .unwrap_err();
        assert_eq!(store.audit_records().unwrap().len(), 1);
    }

    #[test]
    fn the_audit_log_refuses_to_be_changed() {
        let (folder, store) = applied();
        let raw = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        for sql in [
            "UPDATE audit SET record = '{}' WHERE number = 2",
            "DELETE FROM audit WHERE number = 5",
            "INSERT OR REPLACE INTO audit VALUES (5, '{}', 'x')",
            "INSERT INTO audit VALUES (9, '{}', 'x')",
        ] {
            assert!(raw.execute_batch(sql).is_err(), "{sql}");
        }
        assert_eq!(store.audit_verify(&[]).unwrap().faults, []);
    }

    #[test]
    fn a_changed_audit_record_is_found() {
        let (folder, store) = applied();
        tamper(
            folder.path(),
            "UPDATE audit SET record = replace(record, 'checked_out', 'planned') WHERE number = 3",
        );
        let findings = store.audit_verify(&[]).unwrap();
        assert_eq!(findings.faults, [Fault::Changed { number: 3 }]);
    }

    #[test]
    fn a_dropped_audit_record_is_found() {
        let (folder, store) = applied();
        tamper(folder.path(), "DELETE FROM audit WHERE number = 2");
        let findings = store.audit_verify(&[]).unwrap();
        assert_eq!(findings.faults, [Fault::Dropped { first: 2, last: 2 }]);
    }

    #[test]
    fn a_cut_end_of_the_audit_log_is_found_and_stays_on_record() {
        let (folder, store) = applied();
        tamper(folder.path(), "DELETE FROM audit WHERE number > 3");
        let findings = store.audit_verify(&[]).unwrap();
        assert_eq!(findings.faults, [Fault::Cut { have: 3, had: 5 }]);
        drop(store);
        // The next daemon writes on, and the file follows: what it found is in the log itself.
        let store = Store::open(folder.path()).unwrap();
        store.add_run(&order(), now()).unwrap();
        let findings = store.audit_verify(&[]).unwrap();
        assert!(
            matches!(&findings.faults[..], [Fault::Noted { number: 4, reason }] if reason.contains("told of 5")),
            "{findings:?}"
        );
    }

    #[test]
    fn without_the_file_beside_it_a_log_is_not_called_whole() {
        let (folder, store) = applied();
        std::fs::remove_file(folder.path().join(HEAD_FILE)).unwrap();
        let findings = store.audit_verify(&[]).unwrap();
        assert_eq!(findings.faults, [Fault::NoHead]);
    }

    #[test]
    fn a_head_that_was_kept_elsewhere_shows_a_log_and_its_file_cut_together() {
        let (folder, store) = applied();
        let kept = store.audit_verify(&[]).unwrap().head;
        tamper(folder.path(), "DELETE FROM audit WHERE number > 3");
        let shorter = {
            let connection = store.lock();
            head(&connection).unwrap()
        };
        write_head(store.file(), &shorter).unwrap();
        assert_eq!(store.audit_verify(&[]).unwrap().faults, []);
        let findings = store.audit_verify(&[kept]).unwrap();
        assert_eq!(findings.faults, [Fault::Cut { have: 3, had: 5 }]);
    }
}
