//! Waiting for a step to end, be it ours or one that an earlier daemon started.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;

use super::events::{ApplyOutcome, Record};
use super::process::{Delivery, descendants, session_of};
use super::step::Output;
use super::supervise::{Asked, Ended, Mercy, read_end, read_running};
use super::{CancelToken, Engine, Observer, Step, StepEnd, StepStart, Stop};
use crate::clock::{Timestamp, now};
use crate::plan::Diagnostic;

/// How often the output and the records are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a killed step may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How long interrupted tests may take to destroy what they created: killed, they leave it.
const AFTER_TEST: Duration = Duration::from_secs(60);

/// A step whose time ran out while no daemon ran is asked to stop this much later: it may be about to
/// end, or have been asked already.
const AFTER_ADOPTION: Duration = Duration::from_secs(5);

/// How waiting for a step ended.
#[derive(Debug)]
pub(super) struct Attended {
    pub(super) outcome: Outcome,
    /// Why it was asked to stop, where it was.
    pub(super) stop: Option<Stop>,
}

/// What became of a step.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ended, and the record says how.
    Ended(Ended),
    /// Nothing of it lives, and there is no record.
    Dead,
    /// It was asked to stop and did not in time.
    StillRunning,
}

/// How long a step is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// When it is asked to stop.
    pub(super) deadline: Option<Instant>,
    /// How long it then has.
    pub(super) patience: Duration,
}

/// Waits for the end of a step; asks it to stop when `cancel` or the deadline
/// says so, once. `child` is its supervisor where that is our own child.
/// `look` is called often, to read the output.
///
/// Nothing that goes wrong with the looking ends the waiting: what runs, runs.
pub(super) async fn attend(
    start: &StepStart,
    mut child: Option<Child>,
    limits: Limits,
    cancel: &CancelToken,
    look: &mut (dyn FnMut() + Send),
) -> Attended {
    let mut stop = None;
    let mut give_up = limits.deadline;
    let mut killed = false;
    loop {
        look();
        if let Some(ended) = end_of(start) {
            // The supervisor ends right after it wrote this.
            if let Some(mut child) = child.take() {
                let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            }
            return Attended {
                outcome: Outcome::Ended(ended),
                stop,
            };
        }
        if !start.lives() {
            // It may have written its record between the two looks.
            let outcome = end_of(start).map_or(Outcome::Dead, Outcome::Ended);
            return Attended { outcome, stop };
        }
        let now = Instant::now();
        let late = give_up.is_some_and(|at| now >= at);
        match stop {
            None if cancel.is_cancelled() || late => {
                stop = Some(if late {
                    Stop::TimedOut
                } else {
                    Stop::Cancelled
                });
                give_up = Some(now + limits.patience);
                told(start, "asked to stop", ask(start));
            }
            Some(_) if late && !killed && start.step.mercy() == Mercy::Expendable => {
                killed = true;
                give_up = Some(now + AFTER_KILL);
                told(start, "killed", kill(start));
            }
            Some(_) if late => {
                return Attended {
                    outcome: Outcome::StillRunning,
                    stop,
                };
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = cancel.cancelled(), if stop.is_none() => {}
            () = ended(&mut child), if child.is_some() => child = None,
        }
    }
}

async fn ended(child: &mut Option<Child>) {
    if let Some(child) = child {
        // Its own exit code says nothing; the record does.
        let _ = child.wait().await;
    }
}

/// How the step ended, where it did.
fn end_of(start: &StepStart) -> Option<Ended> {
    read_end(&start.dir).unwrap_or_else(|error| {
        let dir = start.dir.display();
        tracing::warn!(workspace = %start.workspace, %error, "The record in {dir} cannot be read");
        None
    })
}

fn told(start: &StepStart, what: &str, told: io::Result<()>) {
    if let Err(error) = told {
        let StepStart {
            workspace, step, ..
        } = start;
        tracing::warn!(%workspace, %step, %error, "`{step}` in {workspace} could not be {what}");
    }
}

/// Asks the step to stop, through its supervisor.
///
/// Where that is gone, nobody knows whether Terraform had its one signal, so
/// that an apply gets none. What may be killed will be.
fn ask(start: &StepStart) -> io::Result<()> {
    start.supervisor.signal(Signal::USR1).map(|_| ())
}

/// Kills a step that may be killed, with everything below it.
fn kill(start: &StepStart) -> io::Result<()> {
    if start.supervisor.signal(Signal::USR2)? == Delivery::Sent {
        return Ok(());
    }
    let mut left = session_of(start.supervisor)?;
    if let Some(running) = read_running(&start.dir)?
        && running.program.is_alive()
    {
        left.extend(descendants(running.program.pid)?);
    }
    for seen in left {
        seen.mark.signal(Signal::KILL)?;
    }
    Ok(())
}

/// What became of a step that an earlier daemon had started.
#[derive(Debug)]
pub enum Adopted {
    /// It ended, and its record says how.
    Ended(Box<AdoptedEnd>, Ended),
    /// Nothing of it lives, and nothing says how it ended: the machine went
    /// down, or it was killed with its supervisor. Its program may not even
    /// have started.
    Dead(Box<AdoptedEnd>),
    /// It was asked to stop, and did not in time.
    StillRunning(Box<AdoptedEnd>),
}

/// What an adopted step said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedEnd {
    /// Terraform's messages.
    pub diagnostics: Vec<Diagnostic>,
    /// The last lines of its output.
    pub tail: String,
    /// Of an apply, what became of each resource that was to change, by address.
    pub resources: Vec<(String, ApplyOutcome)>,
    /// The time that it had, where it took longer and was stopped for that.
    pub overran: Option<Duration>,
}

impl Engine {
    /// Waits for a step that an earlier daemon started, to its end.
    ///
    /// A cancelled `cancel` asks it to stop, and so does the end of the time that
    /// it was recorded to have: once, and a plan is killed after the engine's
    /// patience. It is safe to adopt a step again, and safe to
    /// adopt one that never started: that one is [`Adopted::Dead`].
    pub async fn adopt(
        &self,
        start: &StepStart,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Adopted {
        let limits = Limits {
            deadline: time_left(start, now()).and_then(|left| Instant::now().checked_add(left)),
            patience: self.patience_for(start.step),
        };
        let mut record = Record::of(start.step);
        let mut output = Output::open(start);
        let attended = attend(start, None, limits, cancel, &mut || {
            output.read(&mut record, watch);
        })
        .await;
        output.finish(&mut record, watch);
        let overran = match (&attended.outcome, attended.stop) {
            (_, Some(Stop::Cancelled)) | (Outcome::Dead | Outcome::StillRunning, _) => None,
            (Outcome::Ended(ended), _) => overran(start, ended),
        };
        let end = Box::new(AdoptedEnd {
            overran,
            resources: record.outcomes(),
            tail: record.tail.text(),
            diagnostics: record.diagnostics,
        });
        let adopted = match attended.outcome {
            Outcome::Ended(ended) => Adopted::Ended(end, ended),
            Outcome::Dead => Adopted::Dead(end),
            Outcome::StillRunning => Adopted::StillRunning(end),
        };
        let ended = match &adopted {
            Adopted::Ended(_, ended) => Some(ended.clone()),
            Adopted::Dead(_) => None,
            // It has not ended, and must not be recorded to have.
            Adopted::StillRunning(_) => return adopted,
        };
        watch.after(&StepEnd {
            workspace: start.workspace.clone(),
            step: start.step,
            dir: start.dir.clone(),
            took: (now() - start.at).to_std().unwrap_or_default(),
            ended,
        });
        adopted
    }

    pub(super) fn patience_for(&self, step: Step) -> Duration {
        match step.mercy() {
            Mercy::Expendable if step == Step::Test => self.patience.plan.max(AFTER_TEST),
            Mercy::Expendable => self.patience.plan,
            Mercy::Spared => self.patience.apply,
        }
    }
}

/// How long an adopted step still has before it is asked to stop; `None` where it is not asked.
fn time_left(start: &StepStart, now: Timestamp) -> Option<Duration> {
    let limit = start.limit?;
    // A clock that was set back gives it all its time again, and no more.
    let used = (now - start.at).to_std().unwrap_or_default();
    Some(limit.saturating_sub(used).max(AFTER_ADOPTION))
}

/// The time that a step had, where it was stopped after it: whichever daemon asked, the record says so.
fn overran(start: &StepStart, ended: &Ended) -> Option<Duration> {
    let took = (ended.at - start.at).to_std().unwrap_or_default();
    let asked = ended.asked != Asked::No && ended.limit.is_none();
    start.limit.filter(|limit| asked && took >= *limit)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::engine::process::{ProcessMark, boot_id};
    use crate::engine::supervise::Exit;

    fn began(limit: Option<u64>) -> StepStart {
        StepStart {
            workspace: "network".parse().unwrap(),
            step: Step::Apply,
            dir: "/nowhere".into(),
            cwd: None,
            supervisor: ProcessMark::of(std::process::id().cast_signed()).unwrap(),
            boot_id: boot_id(),
            at: Timestamp::UNIX_EPOCH,
            limit: limit.map(Duration::from_secs),
        }
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn ended(asked: Asked, at: i64) -> Ended {
        Ended {
            exit: Exit::Code(1),
            asked,
            limit: None,
            at: after(at),
        }
    }

    #[test]
    fn an_adopted_step_has_what_is_left_of_its_time_and_never_none() {
        let left = |now| time_left(&began(Some(600)), after(now)).unwrap().as_secs();
        assert_eq!([0, 100, 599, 7000].map(left), [600, 500, 5, 5]);
        // The clock was set back.
        assert_eq!(left(-100), 600);
    }

    #[test]
    fn a_step_recorded_without_its_time_is_waited_for_as_long_as_it_takes() {
        let mut record = serde_json::to_value(began(Some(600))).unwrap();
        record.as_object_mut().unwrap().remove("limit");
        let start: StepStart = serde_json::from_value(record).unwrap();
        assert_eq!(start, began(None));
        assert_eq!(time_left(&start, after(7000)), None);
        assert_eq!(overran(&start, &ended(Asked::Interrupted, 7000)), None);
    }

    #[test]
    fn a_step_overran_where_it_was_asked_to_stop_after_its_time() {
        let start = began(Some(600));
        let told = |asked, at| overran(&start, &ended(asked, at));
        assert_eq!(
            told(Asked::Interrupted, 700),
            Some(Duration::from_secs(600))
        );
        assert_eq!(told(Asked::No, 700), None);
        assert_eq!(told(Asked::Interrupted, 500), None);
    }
}
