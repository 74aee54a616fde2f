//! Waiting for a step to end, be it ours or one that an earlier daemon started.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;

use super::events::{ApplyOutcome, Record};
use super::process::{Delivery, descendants, session_of};
use super::step::Output;
use super::supervise::{Ended, Mercy, read_end, read_running};
use super::{CancelToken, Engine, Observer, Step, StepEnd, StepStart, Stop};
use crate::plan::Diagnostic;

/// How often the output and the records are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a killed step may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How long interrupted tests may take to destroy what they created: killed, they leave it.
const AFTER_TEST: Duration = Duration::from_secs(60);

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
}

impl Engine {
    /// Waits for a step that an earlier daemon started, to its end.
    ///
    /// A cancelled `cancel` asks it to stop: once, and a plan is killed after
    /// the engine's patience. It is safe to adopt a step again, and safe to
    /// adopt one that never started: that one is [`Adopted::Dead`].
    pub async fn adopt(
        &self,
        start: &StepStart,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Adopted {
        let limits = Limits {
            deadline: None,
            patience: self.patience_for(start.step),
        };
        let mut record = Record::of(start.step);
        let mut output = Output::open(start);
        let attended = attend(start, None, limits, cancel, &mut || {
            output.read(&mut record, watch);
        })
        .await;
        output.finish(&mut record, watch);
        let end = Box::new(AdoptedEnd {
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
            took: (crate::clock::now() - start.at)
                .to_std()
                .unwrap_or_default(),
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
