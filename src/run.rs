//! The state machine of a run: one attempt to bring one workspace to one commit.
//!
//! [`State::after`] is the only function that says how a run goes on. The worker
//! records events through it, and recovery after a restart is the event
//! [`Event::WorkerLost`], through it as well.

mod interruption;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use interruption::{Evidence, Extent, Interruption, Journal, ToldBy, unsaved, would_repeat};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{CommitSha, ObjectId, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::plan::text::{cut, legible};
use crate::plan::{Diagnostic, Plan, StateVersion};
use crate::policy::Verdict;
use crate::redact::Redactor;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Plan what a proposal would change.
    Propose,
    /// Apply what was merged.
    Merge,
    /// Compare the world with the state at the applied commit.
    Drift,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Propose => "propose",
            Self::Merge => "merge",
            Self::Drift => "drift",
        })
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// Its files are being checked out.
    Preparing,
    /// Terraform plans (and initialises, where it must).
    Planning,
    /// The plan is made and nothing more is to be done. An end.
    Planned,
    /// The change waits for a person.
    Held,
    /// Terraform applies.
    Applying,
    /// The workspace is at the commit. An end.
    Applied,
    /// A step failed. An end.
    Failed,
    /// Something newer took its place. An end.
    Superseded,
    /// A person stopped it. An end.
    Cancelled,
    /// It was applying when its worker was lost, and how far it came is not known. An end.
    Interrupted,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A worker took it.
    Started,
    /// Its files are checked out.
    CheckedOut,
    /// The plan is made, and the run was for nothing more.
    PlanMade,
    /// The plan is made, and there is nothing to apply: the workspace is at the commit.
    NothingToApply,
    /// The plan is made, and the change must wait for a person.
    HeldBack {
        /// Why.
        reason: String,
    },
    /// A person let the hold go; the plan is made again and must be the one that was held.
    Released {
        /// Who.
        by: String,
    },
    /// Terraform is about to apply.
    ApplyStarted,
    /// Terraform applied all of the plan.
    ApplyDone,
    /// A step failed.
    StepFailed {
        /// What failed, in one line.
        summary: String,
    },
    /// Something newer took its place.
    Superseded {
        /// What.
        by: String,
    },
    /// A person stopped it.
    Cancelled {
        /// Who.
        by: String,
    },
    /// The process that worked on it is gone.
    WorkerLost,
}

/// An event that a run in this state cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {state} cannot have the event {event:?}")]
pub struct IllegalEvent {
    /// Where the run stands.
    pub state: State,
    /// What was to happen.
    pub event: Event,
}

impl State {
    /// Where a run stands after `event`.
    ///
    /// # Errors
    ///
    /// [`IllegalEvent`] where the event cannot happen in this state.
    pub fn after(self, event: &Event) -> Result<Self, IllegalEvent> {
        use Event as E;
        use State as S;
        match (self, event) {
            (S::Queued, E::Started) => Ok(S::Preparing),
            (S::Preparing, E::CheckedOut) => Ok(S::Planning),
            (S::Planning, E::PlanMade) => Ok(S::Planned),
            (S::Planning, E::NothingToApply) => Ok(S::Applied),
            (S::Planning, E::HeldBack { .. }) => Ok(S::Held),
            (S::Held, E::Released { .. }) => Ok(S::Queued),
            (S::Planning, E::ApplyStarted) => Ok(S::Applying),
            (S::Applying, E::ApplyDone) => Ok(S::Applied),
            (S::Queued | S::Preparing | S::Planning | S::Applying, E::StepFailed { .. }) => {
                Ok(S::Failed)
            }
            // What already changes the world is never taken back by something newer.
            (S::Queued | S::Preparing | S::Planning | S::Held, E::Superseded { .. }) => {
                Ok(S::Superseded)
            }
            (
                S::Queued | S::Preparing | S::Planning | S::Held | S::Applying,
                E::Cancelled { .. },
            ) => Ok(S::Cancelled),
            // Planning is safe to repeat; applying is not.
            (S::Queued | S::Preparing | S::Planning, E::WorkerLost) => Ok(S::Queued),
            (S::Applying, E::WorkerLost) => Ok(S::Interrupted),
            (state, event) => Err(IllegalEvent {
                state,
                event: event.clone(),
            }),
        }
    }

    /// Whether a worker is at it, and the workspace therefore taken.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Preparing | Self::Planning | Self::Applying)
    }

    /// Whether nothing happens to it any more.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Planned
                | Self::Applied
                | Self::Failed
                | Self::Superseded
                | Self::Cancelled
                | Self::Interrupted
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Planning => "planning",
            Self::Planned => "planned",
            Self::Held => "held",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        })
    }
}

/// What a run shall do: all that must be known to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRun {
    /// The repository.
    pub repo: RepoName,
    /// The workspace.
    pub workspace: WorkspaceName,
    /// What it is for.
    pub purpose: Purpose,
    /// The proposal: the one that is planned, or the one whose merge is applied.
    pub proposal: Option<ProposalKey>,
    /// The commit: a proposal's head, or a commit of the base branch.
    pub commit: CommitSha,
    /// The base that a proposal was merged into to be planned.
    pub base: Option<CommitSha>,
    /// The tree that is planned.
    pub tree: ObjectId,
    /// Digest of the files that concern the workspace in that tree.
    pub inputs: String,
    /// Why it was started.
    pub trigger: Trigger,
}

/// Why a run was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Trigger {
    /// A commit was seen whose files call for it.
    Commit,
    /// The schedule called for it.
    Schedule,
    /// A person asked for it.
    Person {
        /// Who.
        name: String,
    },
    /// Drift was found, and the workspace is brought back to the commit that it is at.
    Drift {
        /// The run that found it.
        run: RunId,
    },
    /// An apply came to a good end, and may have ended the drift that was found before.
    Applied {
        /// The run that applied.
        run: RunId,
    },
    /// An apply was interrupted, and the workspace is planned anew.
    Interrupted {
        /// The run that was interrupted.
        run: RunId,
    },
}

/// A run as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// What it shall do.
    pub what: NewRun,
    /// Where it stands.
    pub state: State,
    /// When it was recorded first.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// What came out of it so far.
    pub result: RunResult,
}

/// What came out of a run so far. Nothing secret is in it: it is stored and shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunResult {
    /// What Terraform says would change.
    pub plan: Option<Plan>,
    /// What made the plan: `Terraform 1.11.4`, say.
    pub tool: Option<String>,
    /// Warnings of the plan and the apply.
    pub warnings: Vec<Diagnostic>,
    /// What was checked before the plan, in the order it was done.
    pub checks: Vec<Check>,
    /// Which hosts it asked for and was kept from.
    pub refused: Refused,
    /// What the policies say of the plan; `None` where none was evaluated.
    pub verdict: Option<Verdict>,
    /// How long Terraform's steps took together.
    pub took: Duration,
    /// The keyed digest of the configuration and lock file in the plan; `None` where it is not known.
    pub configuration: Option<String>,
    /// The state that the plan was made on, where it is known.
    pub state: Option<StateVersion>,
    /// The SHA-256 of the plan's file, in hexadecimal: what is applied is this file.
    pub plan_sha256: Option<String>,
    /// How the plan of a merge compares with what reviewers saw.
    pub reviewed: Option<Reviewed>,
    /// Why the change is held.
    pub hold: Option<String>,
    /// The fingerprint of the plan that a person agreed to, and who did.
    pub approval: Option<Approval>,
    /// What failed.
    pub failure: Option<Failure>,
    /// What the apply did to each resource, where it did not do all.
    pub applied: Option<AppliedParts>,
    /// What took its place, or who stopped it.
    pub ended_by: Option<String>,
    /// How it shall end, while its worker has not ended it yet.
    pub stop: Option<Event>,
    /// The state after the apply, where Mainstay keeps it.
    pub state_after: Option<StateVersion>,
    /// How far an interrupted apply came: its own, or the one before that this run follows.
    pub interruption: Option<Interruption>,
    /// What was mended before the plan: a lock that was released, a state that was pushed. In
    /// sentences; names between backticks.
    pub mended: Vec<String>,
    /// The id of the lock that the apply held on its state, where it was seen.
    pub lock_id: Option<String>,
}

/// Hosts that a run asked for and that the settings do not allow. Secrets are masked already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// The first of them, each once.
    pub hosts: Vec<RefusedHost>,
    /// How many more there were.
    pub more: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedHost {
    /// The host and port as they were asked for, made legible.
    pub asked: String,
    /// Why not; `None` where it only is not on the list.
    pub why: Option<String>,
}

impl Refused {
    /// So many are named.
    const NAMED: usize = 20;

    /// Characters of a name that are kept.
    const LONGEST: usize = 120;

    /// What was asked for, and why it was refused, with the names cleaned: a stranger chose them.
    pub fn new(
        asked: impl IntoIterator<Item = (String, Option<String>)>,
        redactor: &Redactor,
    ) -> Self {
        let mut refused = Self::default();
        let mut seen = BTreeSet::new();
        // Many programs write the names of hosts in lower case.
        let redactor = redactor.folded();
        for (asked, why) in asked {
            if !seen.insert(asked.clone()) {
                continue;
            }
            if refused.hosts.len() == Self::NAMED {
                refused.more += 1;
                continue;
            }
            let clean = redactor.redact(&asked).replace('`', "'");
            refused.hosts.push(RefusedHost {
                asked: cut(&legible(&clean), Self::LONGEST),
                why,
            });
        }
        refused
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.hosts.len() + self.more
    }

    /// Takes note that there were so many, whatever was known of them.
    pub fn at_least(&mut self, count: usize) {
        self.more += count.saturating_sub(self.count());
    }
}

/// Something that was checked before the plan. Secrets are masked already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What: `fmt`, `validate`, `test`, or the name that the declaration gives it.
    pub name: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What it said with places.
    pub diagnostics: Vec<Diagnostic>,
    /// The end of its output, where the diagnostics do not say it.
    pub tail: String,
    /// How long it took.
    pub took: Duration,
}

impl Check {
    /// The check without what a plan that failed says as well: a file that does not parse fails
    /// every check, and is told of once.
    pub fn beside(&self, failure: &Failure) -> Self {
        let said = |d: &Diagnostic| {
            let same = |other: &Diagnostic| {
                other.summary == d.summary && (d.file.is_none() || other.file == d.file)
            };
            failure.diagnostics.iter().any(same)
        };
        if self.diagnostics.is_empty() || !self.diagnostics.iter().all(said) {
            return self.clone();
        }
        Self {
            outcome: CheckOutcome::Skipped {
                reason: "it says the same as the failed plan".to_owned(),
            },
            diagnostics: Vec::new(),
            tail: String::new(),
            ..self.clone()
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum CheckOutcome {
    /// Nothing is wrong.
    Passed,
    /// Something is wrong, and the plan's status fails with it.
    Failed,
    /// Something is wrong, and the declaration says that the reader is only told.
    Warned,
    /// It was not done.
    Skipped {
        /// Why; names between backticks.
        reason: String,
    },
}

impl Check {
    /// Masks secrets that became known after it was done.
    #[must_use]
    pub fn redacted(&self, redactor: &Redactor) -> Self {
        Self {
            name: self.name.clone(),
            outcome: self.outcome.clone(),
            diagnostics: self
                .diagnostics
                .iter()
                .map(|diagnostic| diagnostic.redacted(redactor))
                .collect(),
            tail: redactor.redact(&self.tail).into_owned(),
            took: self.took,
        }
    }
}

/// A person's agreement to one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// Who agreed.
    pub by: String,
}

/// How the plan of a merge compares with what reviewers saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reviewed {
    /// Changes, configuration and files are those that a proposal showed.
    Exactly,
    /// The changes are those that a proposal showed, made by other code.
    SameChanges,
    /// Each change was shown by a proposal, and no proposal showed them all.
    InParts,
    /// It differs from what was shown.
    Differs {
        /// Addresses of the resources that were not among what was shown.
        joined: Vec<String>,
        /// Addresses of the resources that were shown and change no more.
        left: Vec<String>,
        /// Addresses of the resources whose change is another than was shown.
        otherwise: Vec<String>,
    },
    /// No proposal showed it.
    Nobody,
}

/// What failed in a run, for people. Secrets are masked already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step: `checkout`, `init`, `plan`, `show`, `apply`.
    pub step: String,
    /// What failed, in one line.
    pub summary: String,
    /// What Terraform said, with places.
    pub diagnostics: Vec<Diagnostic>,
    /// The end of the output, where the diagnostics do not say it.
    pub tail: String,
    /// What to do next.
    pub advice: Option<String>,
}

/// How far an apply came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedParts {
    /// Addresses of the resources that were changed.
    pub done: Vec<String>,
    /// Addresses of the resources whose change failed.
    pub failed: Vec<String>,
    /// Addresses of the resources that were not reached.
    pub not_reached: Vec<String>,
    /// Addresses of the resources whose change was begun and whose end nobody saw.
    #[serde(default)]
    pub unknown: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 11] = [
        State::Queued,
        State::Preparing,
        State::Planning,
        State::Planned,
        State::Held,
        State::Applying,
        State::Applied,
        State::Failed,
        State::Superseded,
        State::Cancelled,
        State::Interrupted,
    ];

    fn events() -> Vec<Event> {
        vec![
            Event::Started,
            Event::CheckedOut,
            Event::PlanMade,
            Event::NothingToApply,
            Event::HeldBack { reason: "r".into() },
            Event::Released { by: "a".into() },
            Event::ApplyStarted,
            Event::ApplyDone,
            Event::StepFailed {
                summary: "s".into(),
            },
            Event::Superseded { by: "b".into() },
            Event::Cancelled { by: "c".into() },
            Event::WorkerLost,
        ]
    }

    #[test]
    fn what_the_plan_says_as_well_is_no_failed_check() {
        let says = |summary: &str| Diagnostic {
            severity: crate::plan::Severity::Error,
            summary: summary.to_owned(),
            detail: String::new(),
            address: None,
            file: Some("main.tf".to_owned()),
            line: Some(1),
            snippet: None,
        };
        let check = |summaries: &[&str]| Check {
            name: "validate".to_owned(),
            outcome: CheckOutcome::Failed,
            diagnostics: summaries.iter().map(|s| says(s)).collect(),
            tail: String::new(),
            took: Duration::ZERO,
        };
        let failure = Failure {
            diagnostics: vec![says("Unclosed configuration block")],
            ..Failure::default()
        };
        let echo = check(&["Unclosed configuration block"]).beside(&failure);
        assert!(matches!(echo.outcome, CheckOutcome::Skipped { .. }));
        let more = check(&["Unclosed configuration block", "Unsupported argument"]);
        assert_eq!(more.beside(&failure), more);
        assert_eq!(check(&[]).beside(&failure), check(&[]));
    }

    #[test]
    fn what_a_stranger_calls_a_host_is_cleaned_and_bounded() {
        let redactor = Redactor::new(["Hunter2-Secret".to_owned()]);
        let names = ["hunter2-secret.evil.example:443", "a`b\u{202e}\n### c:1"];
        let asked = names.iter().map(|name| ((*name).to_owned(), None));
        let refused = Refused::new(asked, &redactor);
        assert_eq!(refused.hosts[0].asked, "(sensitive).evil.example:443");
        assert_eq!(refused.hosts[1].asked, "a'b\\u202e\\n### c:1");
        let many = (0..50).map(|number| ("x".repeat(number + 500), None));
        let refused = Refused::new(many, &redactor);
        assert_eq!((refused.hosts.len(), refused.more), (20, 30));
        assert!(refused.hosts.iter().all(|host| host.asked.len() < 200));
    }

    #[test]
    fn a_lost_apply_is_never_queued_again() {
        assert_eq!(
            State::Applying.after(&Event::WorkerLost),
            Ok(State::Interrupted)
        );
    }

    #[test]
    fn a_lost_plan_is_queued_again() {
        assert_eq!(State::Planning.after(&Event::WorkerLost), Ok(State::Queued));
    }

    #[test]
    fn an_ended_run_takes_no_event() {
        for state in STATES.into_iter().filter(|s| s.is_end()) {
            for event in events() {
                assert!(state.after(&event).is_err(), "{state} took {event:?}");
            }
        }
    }

    #[test]
    fn a_running_apply_is_never_superseded() {
        assert!(
            State::Applying
                .after(&Event::Superseded { by: "x".into() })
                .is_err()
        );
    }

    #[test]
    fn nothing_is_applied_that_was_not_planned_before() {
        for state in STATES {
            let applies = state.after(&Event::ApplyStarted).is_ok();
            assert_eq!(applies, state == State::Planning, "{state}");
        }
    }

    #[test]
    fn every_state_that_is_no_end_has_a_way_on() {
        for state in STATES.into_iter().filter(|s| !s.is_end()) {
            assert!(events().iter().any(|e| state.after(e).is_ok()), "{state}");
        }
    }
}
