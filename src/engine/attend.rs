//! Waiting for a step to end, be it ours or one that an earlier daemon started.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;

use super::events::{ApplyOutcome, Record};
use super::process::{Delivery, boot_id, descendants, session_of};
use super::step::Output;
use super::supervise::{Ended, Mercy, read_end, read_running};
use super::{CancelToken, Engine, EngineError, Observer, StepEnd, StepStart, Stop};
use crate::plan::Diagnostic;

/// How often the output and the records are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a killed step may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(10);

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
pub(super) async fn attend(
    start: &StepStart,
    mut child: Option<Child>,
    limits: Limits,
    cancel: &CancelToken,
    look: &mut (dyn FnMut() -> io::Result<()> + Send),
) -> io::Result<Attended> {
    let mut stop = None;
    let mut give_up = limits.deadline;
    let mut killed = false;
    loop {
        look()?;
        if let Some(ended) = read_end(&start.dir)? {
            // The supervisor ends right after it wrote this.
            if let Some(mut child) = child.take() {
                let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            }
            return Ok(Attended {
                outcome: Outcome::Ended(ended),
                stop,
            });
        }
        if !is_alive(start)? {
            // It may have written its record between the two looks.
            let outcome = read_end(&start.dir)?.map_or(Outcome::Dead, Outcome::Ended);
            return Ok(Attended { outcome, stop });
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
                ask(start)?;
            }
            Some(_) if late && !killed && start.step.mercy() == Mercy::Expendable => {
                killed = true;
                give_up = Some(now + AFTER_KILL);
                kill(start)?;
            }
            Some(_) if late => {
                return Ok(Attended {
                    outcome: Outcome::StillRunning,
                    stop,
                });
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

/// Whether anything of the step still lives.
fn is_alive(start: &StepStart) -> io::Result<bool> {
    if start.boot_id != boot_id() {
        return Ok(false);
    }
    Ok(start.supervisor.is_alive() || !session_of(start.supervisor)?.is_empty())
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
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`] where its records cannot be read.
    pub async fn adopt(
        &self,
        start: &StepStart,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Adopted, EngineError> {
        let failed = |source| EngineError::Io {
            workspace: start.workspace.clone(),
            what: format!("wait for the step in {}", start.dir.display()),
            source,
        };
        let limits = Limits {
            deadline: None,
            patience: self.patience_for(start.step),
        };
        let mut record = Record::default();
        // The output may not be there where the step never came to start.
        let mut output = Output::open(start).ok();
        let attended = attend(start, None, limits, cancel, &mut || {
            output
                .as_mut()
                .map_or(Ok(()), |output| output.read(&mut record, watch))
        })
        .await
        .map_err(failed)?;
        if let Some(output) = output {
            output.finish(&mut record, watch).map_err(failed)?;
        }
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
        watch.after(&StepEnd {
            workspace: start.workspace.clone(),
            step: start.step,
            dir: start.dir.clone(),
            took: (crate::clock::now() - start.at)
                .to_std()
                .unwrap_or_default(),
            ended: match &adopted {
                Adopted::Ended(_, ended) => Some(ended.clone()),
                Adopted::Dead(_) | Adopted::StillRunning(_) => None,
            },
        });
        Ok(adopted)
    }

    pub(super) fn patience_for(&self, step: super::Step) -> Duration {
        match step.mercy() {
            Mercy::Expendable => self.patience.plan,
            Mercy::Spared => self.patience.apply,
        }
    }
}
