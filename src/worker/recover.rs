//! Takes over a run whose process is gone.
//!
//! Terraform lives in a session of its own and may still be at it. It is waited for, and its
//! record says how it ended. Only where nothing says it is the run lost: a plan is queued
//! again, and an apply is never repeated blindly.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::{Owner, Recorder, Worker, failure};
use crate::clock::{human_duration, now};
use crate::engine::supervise::{Ended, Exit};
use crate::engine::{self, Adopted, AdoptedEnd, ApplyOutcome, CancelToken, Step, StepStart};
use crate::plan::Diagnostic;
use crate::redact::Redactor;
use crate::run::{AppliedParts, Event, Failure, Purpose, Refused, Run, State};
use crate::seal::{STRANDED, sealed_name};
use crate::store::{StoreError, TakeOver};

/// A proposal's plan whose process is lost more often than this is not tried again by itself: it may
/// be what ends the process. A daemon that is killed now and then never comes so far.
const WORKERS_LOST: usize = 20;

/// How many folders below each other are looked into for a state: a tree has at most 100, and a few
/// are around it.
const DEEPEST: usize = 110;

/// How a lost run was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It is recorded to stand here now.
    Now(State),
    /// Its Terraform was asked to stop and still runs: it is left as it is, and looked at again.
    StillRunning,
}

impl Worker {
    /// Takes over a run whose process `former` is gone, and brings its record to where the world is.
    /// Where another process was first, nothing is done.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read or written.
    pub async fn recover(
        &self,
        run: &Run,
        former: Option<&str>,
        cancel: &CancelToken,
    ) -> Result<Recovered, StoreError> {
        let store = &self.fleet.store;
        let id = run.id;
        let ours = Owner::this_process().to_string();
        if store.take_over(id, former, &ours, now())? == TakeOver::Gone {
            return Ok(Recovered::Now(store.run(id)?.state));
        }
        let observer = Recorder::silent(&self.fleet, id);
        let mut event = Event::WorkerLost;
        let mut parts = None;
        let mut failed = None;
        let mut apply = None;
        for step in store.steps(id)? {
            let Ok(start) = serde_json::from_value::<StepStart>(step.start) else {
                warn!(run.id = %id, "Run {id} has a step that this version cannot read: it counts as lost");
                continue;
            };
            // That an apply ended may be on record while what it came to is not.
            let applied = run.state == State::Applying && start.step == Step::Apply;
            if step.ended_at.is_some() && !applied {
                continue;
            }
            if step.ended_at.is_none() {
                observer.resume(step.id, &start.dir);
            }
            let token = match start.step {
                Step::Apply | Step::StatePush => cancel.clone(),
                // What only plans is planned again, and need not be waited for.
                Step::Plan
                | Step::Init
                | Step::Show
                | Step::WorkspaceList
                | Step::LockLook
                | Step::ForceUnlock
                | Step::Fmt
                | Step::Validate
                | Step::Test
                | Step::Check
                | Step::Credentials => {
                    let wish = CancelToken::new();
                    wish.cancel();
                    wish
                }
            };
            info!(run.id = %id, step = %start.step, "Waiting for `{}` of run {id}, which an earlier process started", start.step);
            let adopted = self.engine.adopt(&start, &observer, &token).await;
            if start.step != Step::Apply {
                continue;
            }
            apply = Some(start);
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
        if event != Event::ApplyDone
            && let Some(apply) = &apply
        {
            self.keep_stranded(id, apply);
        }
        let lost = store
            .events(id)?
            .iter()
            .filter(|(_, e)| *e == Event::WorkerLost)
            .count();
        if event == Event::WorkerLost
            && run.what.purpose == Purpose::Propose
            && lost >= WORKERS_LOST
        {
            let told = Failure {
                step: "plan".to_owned(),
                summary: format!("the process that planned it was lost {} times", lost + 1),
                advice: Some(
                    "look at the machine's memory and at the daemon's log, then plan again"
                        .to_owned(),
                ),
                ..Failure::default()
            };
            event = Event::StepFailed {
                summary: told.summary.clone(),
            };
            failed = Some(told);
        }
        self.discard_plans(id);
        let run = store.run(id)?;
        if let (Event::StepFailed { .. } | Event::WorkerLost, Some(wish)) =
            (&event, run.result.stop.clone())
            && matches!(wish, Event::Cancelled { .. })
        {
            event = wish;
        }
        self.settle_state(&run);
        // Only these: as soon as it is on record, the next attempt may begin.
        let attempts = self.places.attempts(id);
        let kept = self.places.state(&run.what.repo, &run.what.workspace);
        // What a host's name may hide is not known any more: they are only counted.
        let attempt = self.places.attempts(id).pop();
        let asked = attempt.map(|folder| engine::refused(&folder));
        let asked = asked.unwrap_or_default().into_iter();
        let refused = Refused::new(asked.map(|r| (r.asked, r.why)), &Redactor::default()).count();
        // A backend may keep it now, and a state of ours be left from before.
        let line = run
            .result
            .state
            .as_ref()
            .map(|state| state.lineage.as_str());
        let after = engine::state_mark(&kept)
            .filter(|after| line == Some("") || line == Some(after.lineage.as_str()));
        let lost = run.state == State::Applying && event == Event::WorkerLost;
        let interruption = match lost {
            true => self.weigh_lost(&run, &parts.clone().unwrap_or_default(), after.as_ref())?,
            false => None,
        };
        if let Some(interruption) = &interruption {
            warn!(run.id = %id, extent = ?interruption.extent, "The apply of run {id} was interrupted: {}", interruption.how_far());
        }
        let state = store.happened(id, &event, now(), |result| {
            result.state_after = after;
            result.interruption = interruption;
            result.refused.at_least(refused);
            result.applied = parts;
            result.failure = failed;
        })?;
        self.put_to_rest(id, attempts);
        info!(run.id = %id, state = %state, "Run {id} was taken over and is {state}");
        Ok(Recovered::Now(state))
    }
}

/// The `errored.tfstate` that Terraform left below a folder.
///
/// Folders deeper than a tree of git may have are not looked into: what runs can make thousands of
/// them, and no configuration is there. One folder is open at a time.
pub fn stranded_state(folder: &Path) -> Option<PathBuf> {
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == STRANDED || Path::new(&name) == sealed_name(Path::new(STRANDED)) {
                return Some(entry.path());
            }
            // Links lead out of the checkout; what Terraform wrote is in it.
            if depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    None
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
    let how = match (ended.limit, end.overran) {
        (Some(hit), _) => format!("{hit} and was stopped"),
        (None, Some(limit)) => {
            format!("took longer than {} and was stopped", human_duration(limit))
        }
        (None, None) => how,
    };
    // The values that the run knew as secret are not known any more: where a message could hold
    // one, it stays in the log file.
    Failure {
        step: Step::Apply.to_string(),
        summary: format!("the apply {how}, while no daemon ran"),
        diagnostics: end
            .diagnostics
            .iter()
            .map(|diagnostic| Diagnostic {
                detail: String::new(),
                snippet: None,
                ..diagnostic.clone()
            })
            .collect(),
        tail: String::new(),
        advice: Some(failure::AFTER_APPLY.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranded_state_is_not_looked_for_deeper_than_a_tree_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let below = |depth: usize| folder.path().join(vec!["d"; depth].join("/"));
        std::fs::create_dir_all(below(300)).unwrap();
        std::fs::write(below(200).join(STRANDED), "{}").unwrap();
        assert_eq!(stranded_state(folder.path()), None);
        for name in [STRANDED.into(), sealed_name(Path::new(STRANDED))] {
            let state = below(101).join(name);
            std::fs::write(&state, "{}").unwrap();
            assert_eq!(stranded_state(folder.path()), Some(state.clone()));
            std::fs::remove_file(state).unwrap();
        }
    }
}
