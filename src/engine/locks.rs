//! Locks that a dead apply of ours left on a state: telling them apart from everybody else's, and
//! releasing them.
//!
//! A lock is released only where it is proven to be ours, in one of two ways. Either its id is the
//! one that was seen while our apply held it: backends that do not tell who holds a lock are asked
//! for it then. Or the backend names this machine and an apply, and the lock was made in the time
//! from the start of our apply to the last thing that it said: it held the lock in that time, and a
//! lock has one holder.

use std::ffi::OsString;
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{EngineError, LockInfo};
use super::events::{ApplyOutcome, Record, from_text};
use super::planning::{failure, lock_in};
use super::process::{boot_id, session_of};
use super::step::{Call, Finished, Output, STDOUT};
use super::{
    CancelToken, Engine, Job, Observer, ObserverRefused, Progress, State, Step, StepEnd, StepStart,
    backend_record,
};
use crate::clock::Timestamp;
use crate::seal::sealed_name;

/// How long a look at a lock, or its release, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The address that is given to `untaint`, which takes the lock first: there is no such type of
/// resource, so that it changes nothing should it get the lock.
const NO_RESOURCE: &str = "mainstay_none.none";

/// The variable that names the address for locks where the configuration does not.
const LOCK_ADDRESS: &str = "TF_HTTP_LOCK_ADDRESS";

/// No backend's lock has a longer id.
const LONGEST_ID: usize = 200;

/// What is known of the lock that a dead apply of ours held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLock {
    /// Its id, where it was seen while the apply ran.
    pub id: Option<String>,
    /// The name of this machine.
    pub host: String,
    /// When the apply was started.
    pub from: Timestamp,
    /// When it last said that it had begun or ended something, which it does only while it holds
    /// the lock; `None` where it never did.
    pub until: Option<Timestamp>,
}

impl OwnLock {
    /// Whether a lock is this one, for sure. What cannot be told is somebody else's.
    pub fn is(&self, lock: &LockInfo) -> bool {
        let Some(id) = lock.id.as_deref().filter(|id| is_id(id)) else {
            return false;
        };
        if self.id.is_some() {
            return self.id.as_deref() == Some(id);
        }
        let host = lock.who.as_deref().and_then(|who| who.rsplit_once('@'));
        let here = !self.host.is_empty() && host.is_some_and(|(_, host)| host == self.host);
        let applies = lock.operation.as_deref() == Some("OperationTypeApply");
        let made = lock.created.as_deref().and_then(read_time);
        let then = made
            .is_some_and(|made| self.from <= made && self.until.is_some_and(|until| made <= until));
        here && applies && then
    }
}

/// Whether a text can be the id of a lock, and no flag of a command.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= LONGEST_ID
        && !id.starts_with('-')
        && id.chars().all(|c| c.is_ascii_graphic())
}

/// Reads a time as Terraform writes it: `2026-11-21 15:34:35.620823064 +0000 UTC`.
fn read_time(text: &str) -> Option<Timestamp> {
    let mut parts = text.split_whitespace();
    let text = format!("{} {} {}", parts.next()?, parts.next()?, parts.next()?);
    let time = chrono::DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f %z").ok()?;
    Some(time.to_utc())
}

/// The name of this machine, as Terraform writes it into a lock; empty where it has none.
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

impl StepStart {
    /// Whether anything of the step still lives; what cannot be told lives.
    pub fn lives(&self) -> bool {
        self.boot_id == boot_id()
            && (self.supervisor.is_alive()
                || session_of(self.supervisor).map_or(true, |members| !members.is_empty()))
    }

    /// When the step's program wrote its last output; `None` where it wrote none.
    pub fn last_said(&self) -> Option<Timestamp> {
        let plain = self.dir.join(STDOUT);
        // A log that rests is sealed, and keeps its time; an empty one is not.
        let output = fs::metadata(&plain)
            .or_else(|_| fs::metadata(sealed_name(&plain)))
            .ok()?;
        let written = output.modified().ok()?;
        (output.len() > 0).then(|| written.into())
    }
}

/// Passes on what it is told, and notes when the first change of an apply begins.
struct Herald<'w> {
    watch: &'w dyn Observer,
    /// The apply's own step.
    apply: OnceLock<StepStart>,
    begun: watch::Sender<bool>,
}

impl Observer for Herald<'_> {
    fn before(&self, start: &StepStart) -> Result<(), ObserverRefused> {
        self.watch.before(start)?;
        self.apply.get_or_init(|| start.clone());
        Ok(())
    }

    fn after(&self, end: &StepEnd) {
        self.watch.after(end);
    }

    fn progress(&self, progress: &Progress) {
        if matches!(progress, Progress::Applying(_)) {
            self.begun.send_replace(true);
        }
        self.watch.progress(progress);
    }
}

impl Engine {
    /// Runs an apply, and asks its backend for the id of its lock where no other message would tell
    /// whose that lock is. What comes of the asking changes nothing for the apply.
    pub(super) async fn run_apply(
        &self,
        job: &Job,
        call: Call,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Finished, EngineError> {
        if !hides_holder(job) {
            return self.run(job, call, watch, cancel).await;
        }
        let herald = Herald {
            watch,
            apply: OnceLock::new(),
            begun: watch::Sender::new(false),
        };
        let mut begun = herald.begun.subscribe();
        let mut apply = std::pin::pin!(self.run(job, call, &herald, cancel));
        let mut look = std::pin::pin!(async {
            if begun.wait_for(|begun| *begun).await.is_ok()
                && let Some(id) = self.look_at_lock(job, watch).await
                && herald.apply.get().is_some_and(is_changing)
            {
                watch.lock_seen(&id);
            }
        });
        tokio::select! {
            finished = &mut apply => {
                if *herald.begun.borrow() {
                    // A step that runs is not left behind; it ends at once.
                    look.await;
                }
                finished
            }
            () = &mut look => apply.await,
        }
    }

    /// The id of the lock on a job's state, asked for by trying to take it; `None` where nobody
    /// holds it, or where that cannot be told.
    async fn look_at_lock(&self, job: &Job, watch: &dyn Observer) -> Option<String> {
        let args = [
            "untaint",
            "-allow-missing",
            "-no-color",
            "-lock-timeout=0s",
            NO_RESOURCE,
        ];
        let call = call(job, Step::LockLook, args.map(OsString::from).into());
        let looked = self.run(job, call, watch, &CancelToken::new()).await.ok()?;
        let said = from_text(&looked.record.tail.text());
        lock_in(&said)?.id.filter(|id| is_id(id))
    }

    /// Releases the lock with this id on a job's state. Only ever called for a lock that
    /// [is our own](OwnLock::is), and that nobody holds any more.
    ///
    /// # Errors
    ///
    /// Where the backend refuses, or the step could not be run.
    pub async fn release_lock(
        &self,
        job: &Job,
        id: &str,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        job.prepare()?;
        let args = ["force-unlock", "-force", id].map(OsString::from).into();
        let call = call(job, Step::ForceUnlock, args);
        let finished = self.run(job, call, watch, cancel).await?;
        if finished.code() == Some(0) {
            return Ok(());
        }
        Err(failure(job, &finished))
    }
}

/// Whether a change that the apply began has not ended, by all that it has written until now: then
/// it has had the lock all the time. What frees the lock comes after the last change.
fn is_changing(apply: &StepStart) -> bool {
    struct Nobody;
    impl Observer for Nobody {
        fn before(&self, _: &StepStart) -> Result<(), ObserverRefused> {
            Ok(())
        }
        fn after(&self, _: &StepEnd) {}
        fn progress(&self, _: &Progress) {}
    }
    let mut record = Record::of(Step::Apply);
    Output::open(apply).finish(&mut record, &Nobody);
    let mut outcomes = record.outcomes().into_iter();
    outcomes.any(|(_, outcome)| outcome == ApplyOutcome::Unknown)
}

fn call(job: &Job, step: Step, args: Vec<OsString>) -> Call {
    Call {
        step,
        program: None,
        args,
        terraform_workspace: job.terraform_workspace.clone(),
        result: None,
        deadline: Instant::now() + LIMIT,
        limit: LIMIT,
    }
}

/// Whether the job's backend does not say who holds a lock: `http` names its id alone. Without an
/// address for it there is no lock.
fn hides_holder(job: &Job) -> bool {
    if job.state != State::Backend {
        return false;
    }
    let Some(record) = backend_record(&job.data_dir) else {
        return false;
    };
    let named = !record["backend"]["config"]["lock_address"].is_null()
        || job.env.iter().any(|(name, _)| name == LOCK_ADDRESS);
    record["backend"]["type"] == "http" && named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    /// What is known of an apply that ran from 10:00 to 10:05, without its lock having been seen.
    fn own() -> OwnLock {
        OwnLock {
            id: None,
            host: "runner-1".to_owned(),
            from: at("2026-11-21T10:00:00Z"),
            until: Some(at("2026-11-21T10:05:00Z")),
        }
    }

    /// The lock that this apply made, as a backend tells it.
    fn lock() -> LockInfo {
        LockInfo {
            id: Some("18a8".to_owned()),
            who: Some("root@runner-1".to_owned()),
            created: Some("2026-11-21 10:00:01.5 +0000 UTC".to_owned()),
            operation: Some("OperationTypeApply".to_owned()),
        }
    }

    #[test]
    fn a_lock_that_this_machine_made_in_the_time_of_the_dead_apply_is_ours() {
        assert!(own().is(&lock()));
        let elsewhere = LockInfo {
            created: Some("2026-11-21 12:00:01 +0200 CEST".to_owned()),
            ..lock()
        };
        assert!(own().is(&elsewhere), "the same instant in another zone");
    }

    #[test]
    fn a_lock_that_cannot_be_told_to_be_ours_is_somebody_elses() {
        let other = |change: fn(&mut LockInfo)| {
            let mut lock = lock();
            change(&mut lock);
            lock
        };
        let table = [
            ("no id", other(|l| l.id = None)),
            (
                "another machine",
                other(|l| l.who = Some("root@laptop".into())),
            ),
            ("nobody is named", other(|l| l.who = None)),
            (
                "a plan",
                other(|l| l.operation = Some("OperationTypePlan".into())),
            ),
            (
                "before our apply",
                other(|l| l.created = Some("2026-11-21 09:59:59 +0000 UTC".into())),
            ),
            (
                "after its last word",
                other(|l| l.created = Some("2026-11-21 10:05:01 +0000 UTC".into())),
            ),
            ("no time", other(|l| l.created = Some("yesterday".into()))),
            ("a flag for an id", other(|l| l.id = Some("-force".into()))),
        ];
        for (what, lock) in table {
            assert!(!own().is(&lock), "{what}");
        }
        let silent = OwnLock {
            until: None,
            ..own()
        };
        assert!(
            !silent.is(&lock()),
            "an apply that said nothing may never have had it"
        );
        let nameless = OwnLock {
            host: String::new(),
            ..own()
        };
        let lock = other(|l| l.who = Some("root@".into()));
        assert!(!nameless.is(&lock), "a machine without a name");
    }

    #[test]
    fn a_lock_that_was_seen_is_ours_by_its_id_alone() {
        let seen = OwnLock {
            id: Some("18a8".to_owned()),
            ..own()
        };
        let only = |id: &str| LockInfo {
            id: Some(id.to_owned()),
            ..LockInfo::default()
        };
        assert!(seen.is(&only("18a8")));
        assert!(!seen.is(&only("77ff")));
        // Whoever made another one on this machine since then made it after ours was taken away.
        let another = LockInfo {
            id: Some("77ff".to_owned()),
            ..lock()
        };
        assert!(!seen.is(&another));
    }
}
