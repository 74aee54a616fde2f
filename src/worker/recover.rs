//! Takes over a run whose process is gone.
//!
//! Terraform lives in a session of its own and may still be at it. It is waited for, and its
//! record says how it ended. Only where nothing says it is the run lost: a plan is queued
//! again, and an apply is never repeated blindly.

use tracing::{info, warn};

use super::{Owner, Recorder, Worker, failure};
use crate::clock::now;
use crate::engine::supervise::{Ended, Exit};
use crate::engine::{Adopted, AdoptedEnd, ApplyOutcome, CancelToken, Step, StepStart};
use crate::redact::Redactor;
use crate::run::{AppliedParts, Event, Failure, Run, State};
use crate::store::StoreError;

/// How a lost run was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It is recorded to stand here now.
    Now(State),
    /// Its Terraform was asked to stop and still runs: it is left as it is, and looked at again.
    StillRunning,
}

impl Worker {
    /// Takes over a run whose process is gone, and brings its record to where the world is.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read or written.
    pub async fn recover(&self, run: &Run, cancel: &CancelToken) -> Result<Recovered, StoreError> {
        let store = &self.fleet.store;
        let id = run.id;
        store.set_owner(id, &Owner::this_process().to_string())?;
        let observer = Recorder::silent(&self.fleet, id);
        let mut event = Event::WorkerLost;
        let mut parts = None;
        let mut failed = None;
        for step in store.steps(id)? {
            let Ok(start) = serde_json::from_value::<StepStart>(step.start) else {
                warn!(run.id = %id, "Run {id} has a step that this version cannot read: it counts as lost");
                continue;
            };
            // The end of an apply may be on record, and what it means for the run not yet.
            if step.ended_at.is_some() && start.step != Step::Apply {
                continue;
            }
            observer.resume(step.id);
            let wish = CancelToken::new();
            if start.step != Step::Apply {
                // What only plans is planned again, and need not be waited for.
                wish.cancel();
            }
            let token = if start.step == Step::Apply {
                cancel
            } else {
                &wish
            };
            info!(run.id = %id, step = %start.step, "Waiting for `{}` of run {id}, which an earlier process started", start.step);
            let adopted = self.engine.adopt(&start, &observer, token).await;
            if start.step != Step::Apply {
                continue;
            }
            match adopted {
                Adopted::StillRunning(_) => return Ok(Recovered::StillRunning),
                Adopted::Dead(end) => parts = Some(applied_parts(&end)),
                Adopted::Ended(
                    _,
                    Ended {
                        exit: Exit::Code(0),
                        ..
                    },
                ) => event = Event::ApplyDone,
                // Killed, with the daemon or after it: nobody saw why, and what it was at is open.
                Adopted::Ended(
                    end,
                    Ended {
                        exit: Exit::Signal(_),
                        ..
                    },
                ) => parts = Some(applied_parts(&end)),
                Adopted::Ended(end, ended) => {
                    parts = Some(applied_parts(&end));
                    let told = failure_of(&end, &ended);
                    event = Event::StepFailed {
                        summary: told.summary.clone(),
                    };
                    failed = Some(told);
                }
            }
        }
        let run = store.run(id)?;
        if let (Event::StepFailed { .. } | Event::WorkerLost, Some(wish)) =
            (&event, run.result.stop.clone())
            && matches!(wish, Event::Cancelled { .. })
        {
            event = wish;
        }
        let state = store.happened(id, &event, now(), |result| {
            result.applied = parts;
            result.failure = failed;
        })?;
        info!(run.id = %id, state = %state, "Run {id} was taken over and is {state}");
        Ok(Recovered::Now(state))
    }
}

fn applied_parts(end: &AdoptedEnd) -> AppliedParts {
    let with = |wanted: ApplyOutcome| {
        end.resources
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .map(|(address, _)| address.clone())
            .collect()
    };
    AppliedParts {
        done: with(ApplyOutcome::Done),
        failed: with(ApplyOutcome::Failed),
        not_reached: with(ApplyOutcome::NotReached),
        unknown: with(ApplyOutcome::Unknown),
    }
}

fn failure_of(end: &AdoptedEnd, ended: &Ended) -> Failure {
    let how = match &ended.exit {
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::NotStarted(reason) => format!("did not start: {reason}"),
    };
    // The values that the run knew as secret are not known any more: what the plan marked was
    // masked by Terraform, and the tail, which may hold more, stays in the log file.
    let redactor = Redactor::new([]);
    Failure {
        step: Step::Apply.to_string(),
        summary: format!("the apply {how}, while no daemon ran"),
        diagnostics: end
            .diagnostics
            .iter()
            .map(|d| d.redacted(&redactor))
            .collect(),
        tail: String::new(),
        advice: Some(failure::AFTER_APPLY.to_owned()),
    }
}
