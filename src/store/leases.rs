//! Leases: the right to work on a workspace, and the right to be the daemon of the record.
//!
//! A lease is held until a time, and renewed. Each new holder gets a larger fencing number, and
//! whoever comes with a smaller one can record nothing more. A workspace has one run that works on it,
//! whether its lease ended or not: an apply whose process is lost is counted in until somebody has
//! taken the run over and seen what became of it.

use chrono::TimeDelta;
use rusqlite::{OptionalExtension, Transaction, params};

use super::audit::append;
use super::{Store, StoreError};
use crate::audit::{Record, What};
use crate::clock::Timestamp;
use crate::id::RunId;
use crate::run::NewRun;

/// How long a lease lasts when it is not renewed. A process that is stopped for longer than this
/// loses its runs to another one.
pub const LEASE: TimeDelta = TimeDelta::seconds(60);

/// The lease of the daemon stands among those of the workspaces, under no name.
const DAEMON: [&str; 2] = ["", ""];

/// What this process holds.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// The fencing number of the daemon's lease.
    daemon: Option<i64>,
    /// Those of the runs that it works on.
    runs: std::collections::HashMap<RunId, i64>,
}

/// What this process holds of a run, when it records an event of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    daemon: Option<i64>,
    run: Option<i64>,
}

/// What came of asking for the daemon's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonLease {
    /// This process has it now.
    Taken,
    /// Another has it.
    Held {
        /// The process.
        by: String,
        /// Until when, if it does not renew it.
        until: Timestamp,
    },
}

/// What came of renewing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// What this process holds it holds for longer.
    Renewed,
    /// Another process is the daemon now.
    Lost,
}

/// What came of taking over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// It is this process's.
    Taken,
    /// Another process was first, or the run is not under way any more.
    Gone,
}

impl Store {
    /// Asks for the daemon's lease. It is free where nobody has it, where it ended, or where `is_gone`
    /// says of its holder that it is.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn take_daemon_lease(
        &self,
        owner: &str,
        at: Timestamp,
        is_gone: impl FnOnce(&str) -> bool,
    ) -> Result<DaemonLease, StoreError> {
        let mut taken = None;
        let lease = self.write(|tx| {
            let known: Option<(Option<String>, Option<Timestamp>)> = tx
                .query_row(
                    "SELECT holder, expires_at FROM leases WHERE repo = ?1 AND workspace = ?2",
                    DAEMON,
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            if let Some((Some(by), Some(until))) = known
                && by != owner
                && until > at
                && !is_gone(&by)
            {
                return Ok(DaemonLease::Held { by, until });
            }
            taken = Some(grant(tx, DAEMON, owner, at)?);
            let mut record = Record::new(What::DaemonStarted, at);
            record.who = Some(format!("process {owner}"));
            append(tx, record)?;
            Ok(DaemonLease::Taken)
        })?;
        if let Some(fence) = taken {
            self.fences().daemon = Some(fence);
        }
        Ok(lease)
    }

    /// Renews the leases that `owner` holds.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written: the leases end then, unless a later try succeeds in time.
    pub fn renew_leases(&self, owner: &str, at: Timestamp) -> Result<Renewal, StoreError> {
        let daemon = self.fences().daemon;
        self.write(|tx| {
            if is_lost(tx, daemon)? {
                return Ok(Renewal::Lost);
            }
            let before = tx.total_changes();
            tx.execute(
                "UPDATE leases SET expires_at = ?2 WHERE holder = ?1",
                params![owner, at + LEASE],
            )?;
            // Nothing follows from it, so nobody need be woken.
            self.keep_quiet(tx.total_changes() - before);
            Ok(Renewal::Renewed)
        })
    }

    /// Gives the daemon's lease back, at the end of the daemon.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written: the lease ends by itself then.
    pub fn release_daemon_lease(&self, owner: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE leases SET holder = NULL, expires_at = NULL \
                 WHERE repo = ?1 AND workspace = ?2 AND holder = ?3",
                [DAEMON[0], DAEMON[1], owner],
            )?;
            Ok(())
        })?;
        self.fences().daemon = None;
        Ok(())
    }

    /// Who has the daemon's lease, and until when.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn daemon_lease(&self) -> Result<Option<(String, Timestamp)>, StoreError> {
        let connection = self.lock();
        let row: Option<(Option<String>, Option<Timestamp>)> = connection
            .query_row(
                "SELECT holder, expires_at FROM leases WHERE repo = ?1 AND workspace = ?2",
                DAEMON,
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        Ok(row.and_then(|(holder, until)| holder.zip(until)))
    }

    /// Takes over a run that `former` worked on: from now on only this process can record what
    /// becomes of it.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub fn take_over(
        &self,
        id: RunId,
        former: Option<&str>,
        owner: &str,
        at: Timestamp,
    ) -> Result<TakeOver, StoreError> {
        let daemon = self.fences().daemon;
        let taken = self.write(|tx| {
            if is_lost(tx, daemon)? {
                return Err(StoreError::LeaseLost { run: Some(id.0) });
            }
            let (run, owned) = super::run_rows::read(tx, id)?;
            if !run.state.is_active() || owned.as_deref() != former {
                return Ok(None);
            }
            let place = [run.what.repo.as_str(), run.what.workspace.as_str()];
            let fence = grant(tx, place, owner, at)?;
            tx.execute(
                "UPDATE runs SET owner = ?2, fence = ?3 WHERE id = ?1",
                params![id.0, owner, fence],
            )?;
            let mut record = Record::of_run(What::TakenOver, id, &run.what, run.state, at);
            record.who = Some(format!("process {owner}"));
            append(tx, record)?;
            Ok(Some(fence))
        })?;
        Ok(match taken {
            Some(fence) => {
                self.fences().runs.insert(id, fence);
                TakeOver::Taken
            }
            None => TakeOver::Gone,
        })
    }

    /// What this process holds of a run.
    pub(super) fn held(&self, id: RunId) -> Held {
        let fences = self.fences();
        Held {
            daemon: fences.daemon,
            run: fences.runs.get(&id).copied(),
        }
    }

    /// Remembers the fencing number of a run, or forgets it.
    pub(super) fn hold(&self, id: RunId, fence: Option<i64>) {
        let mut fences = self.fences();
        match fence {
            Some(fence) => fences.runs.insert(id, fence),
            None => fences.runs.remove(&id),
        };
    }
}

/// Gives a lease to a new holder. Returns its fencing number.
pub(super) fn grant(
    tx: &Transaction<'_>,
    place: [&str; 2],
    owner: &str,
    at: Timestamp,
) -> Result<i64, StoreError> {
    Ok(tx.query_row(
        "INSERT INTO leases (repo, workspace, fence, holder, expires_at) VALUES (?1, ?2, 1, ?3, ?4) \
         ON CONFLICT (repo, workspace) DO UPDATE SET fence = fence + 1, holder = ?3, expires_at = ?4 \
         RETURNING fence",
        params![place[0], place[1], owner, at + LEASE],
        |row| row.get(0),
    )?)
}

/// Gives back the lease of a run's workspace.
pub(super) fn release(tx: &Transaction<'_>, order: &NewRun) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE leases SET holder = NULL, expires_at = NULL WHERE repo = ?1 AND workspace = ?2",
        [order.repo.as_str(), order.workspace.as_str()],
    )?;
    Ok(())
}

/// Refuses what comes from a process that lost the run, or the whole record, to another.
pub(super) fn check(tx: &Transaction<'_>, held: Held, id: RunId) -> Result<(), StoreError> {
    let fence: Option<i64> =
        tx.query_row("SELECT fence FROM runs WHERE id = ?1", [id.0], |row| {
            row.get(0)
        })?;
    if fence != held.run || is_lost(tx, held.daemon)? {
        return Err(StoreError::LeaseLost { run: Some(id.0) });
    }
    Ok(())
}

/// Refuses what comes from a daemon that lost the record to another.
pub(super) fn check_daemon(tx: &Transaction<'_>, held: Held, id: RunId) -> Result<(), StoreError> {
    match is_lost(tx, held.daemon)? {
        true => Err(StoreError::LeaseLost { run: Some(id.0) }),
        false => Ok(()),
    }
}

/// Whether another process is the daemon, where this one was.
fn is_lost(tx: &Transaction<'_>, daemon: Option<i64>) -> Result<bool, StoreError> {
    let Some(ours) = daemon else { return Ok(false) };
    let fence: i64 = tx.query_row(
        "SELECT fence FROM leases WHERE repo = ?1 AND workspace = ?2",
        DAEMON,
        |row| row.get(0),
    )?;
    Ok(fence != ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::run::{Event, Purpose, State, Trigger};
    use crate::store::RunUpdate;

    fn order(purpose: Purpose) -> NewRun {
        NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            purpose,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        }
    }

    /// Two processes with one record.
    fn two() -> (tempfile::TempDir, Store, Store) {
        let folder = tempfile::tempdir().unwrap();
        let one = Store::open(folder.path()).unwrap();
        let two = Store::open(folder.path()).unwrap();
        (folder, one, two)
    }

    fn planning(store: &Store, owner: &str) -> RunId {
        let id = store.add_run(&order(Purpose::Merge), now()).unwrap();
        store.claim(id, owner, now()).unwrap();
        store
            .happened(id, &Event::CheckedOut, now(), |_| {})
            .unwrap();
        id
    }

    #[test]
    fn a_second_daemon_waits_until_the_lease_ends() {
        let (_folder, one, two) = two();
        let at = now();
        let alive = |_: &str| false;
        assert_eq!(
            one.take_daemon_lease("one", at, alive).unwrap(),
            DaemonLease::Taken
        );
        let held = two.take_daemon_lease("two", at, alive).unwrap();
        assert!(matches!(held, DaemonLease::Held { ref by, .. } if by == "one"));
        // Renewed, it lasts longer.
        let later = at + LEASE - TimeDelta::seconds(1);
        assert_eq!(one.renew_leases("one", later).unwrap(), Renewal::Renewed);
        let held = two.take_daemon_lease("two", at + LEASE, alive).unwrap();
        assert!(matches!(held, DaemonLease::Held { .. }));
        assert_eq!(
            two.take_daemon_lease("two", later + LEASE, alive).unwrap(),
            DaemonLease::Taken
        );
        assert_eq!(one.renew_leases("one", now()).unwrap(), Renewal::Lost);
    }

    #[test]
    fn the_lease_of_a_daemon_that_is_gone_is_free_at_once() {
        let (_folder, one, two) = two();
        one.take_daemon_lease("one", now(), |_| false).unwrap();
        let lease = two.take_daemon_lease("two", now(), |by| by == "one");
        assert_eq!(lease.unwrap(), DaemonLease::Taken);
    }

    #[test]
    fn a_daemon_that_ended_in_order_leaves_no_lease() {
        let (_folder, one, two) = two();
        one.take_daemon_lease("one", now(), |_| false).unwrap();
        one.release_daemon_lease("one").unwrap();
        assert_eq!(two.daemon_lease().unwrap(), None);
        let lease = two.take_daemon_lease("two", now(), |_| false);
        assert_eq!(lease.unwrap(), DaemonLease::Taken);
    }

    #[test]
    fn who_lost_a_run_records_nothing_more_of_it() {
        let (_folder, one, two) = two();
        let id = planning(&one, "one");
        assert_eq!(
            two.take_over(id, Some("one"), "two", now()).unwrap(),
            TakeOver::Taken
        );
        let lost = one.begin_apply(id, None, now()).unwrap_err();
        assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost}");
        let lost = one.happened(id, &Event::WorkerLost, now(), |_| {});
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        let lost = one.amend(id, |_| {});
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        let lost = one.step_starts(id, "apply", &serde_json::json!({}), now());
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        assert_eq!(two.run(id).unwrap().state, State::Planning);
        two.begin_apply(id, None, now()).unwrap();
    }

    #[test]
    fn a_daemon_that_lost_the_record_takes_and_applies_nothing_more() {
        let (_folder, one, two) = two();
        one.take_daemon_lease("one", now(), |_| false).unwrap();
        let id = planning(&one, "one");
        two.take_daemon_lease("two", now() + LEASE, |_| false)
            .unwrap();
        let lost = one.begin_apply(id, None, now());
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        let other = NewRun {
            workspace: "dns".parse().unwrap(),
            ..order(Purpose::Merge)
        };
        let next = two.add_run(&other, now()).unwrap();
        let lost = one.claim(next, "one", now());
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        assert_eq!(
            two.claim(next, "two", now()).unwrap(),
            RunUpdate::Now(State::Preparing)
        );
    }

    #[test]
    fn an_orphan_counts_when_its_lease_has_long_ended() {
        let (_folder, one, two) = two();
        let id = planning(&one, "one");
        one.begin_apply(id, None, now()).unwrap();
        let next = two.add_run(&order(Purpose::Propose), now()).unwrap();
        let years_later = now() + TimeDelta::days(1_000);
        assert_eq!(
            two.claim(next, "two", years_later).unwrap(),
            RunUpdate::Busy
        );
    }

    #[test]
    fn of_two_that_take_a_run_over_one_gets_it() {
        let (_folder, one, two) = two();
        let id = planning(&one, "gone");
        let mut outcomes = [
            one.take_over(id, Some("gone"), "one", now()).unwrap(),
            two.take_over(id, Some("gone"), "two", now()).unwrap(),
        ];
        outcomes.sort_by_key(|outcome| *outcome == TakeOver::Gone);
        assert_eq!(outcomes, [TakeOver::Taken, TakeOver::Gone]);
    }

    #[test]
    fn each_holder_has_a_larger_number_and_the_lease_ends_with_the_run() {
        let (_folder, one, two) = two();
        let number = |store: &Store| -> i64 {
            let connection = store.lock();
            connection
                .query_row(
                    "SELECT fence FROM leases WHERE workspace = 'network'",
                    [],
                    |row| row.get(0),
                )
                .unwrap()
        };
        let id = planning(&one, "one");
        let first = number(&one);
        assert!(one.active_runs().unwrap()[0].lease_until.is_some());
        two.take_over(id, Some("one"), "two", now()).unwrap();
        assert!(number(&one) > first);
        two.happened(id, &Event::NothingToApply, now(), |_| {})
            .unwrap();
        let next = one.add_run(&order(Purpose::Merge), now()).unwrap();
        let open = one.open_runs().unwrap();
        assert!(open[0].id == next && open[0].lease_until.is_none());
        let last = number(&one);
        one.claim(next, "one", now()).unwrap();
        assert!(number(&one) > last);
    }

    #[test]
    fn renewing_wakes_nobody() {
        let (_folder, one, _two) = two();
        planning(&one, "one");
        let before = one.version().unwrap();
        one.renew_leases("one", now()).unwrap();
        assert_eq!(one.version().unwrap(), before);
    }
}
