//! One record of the audit log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{CommitSha, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::plan::{Counts, StateVersion};
use crate::policy::Verdict;
use crate::run::{
    AppliedParts, Approval, CheckOutcome, Event, Interruption, NewRun, Purpose, Reviewed,
    RunResult, State, Trigger,
};

/// What was done or seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A run was recorded; it waits for its turn.
    Queued,
    /// A process took a run.
    Started,
    /// A run's files were checked out.
    CheckedOut,
    /// A plan was made, for a proposal or to look for drift.
    Planned,
    /// A plan was made of what was merged, and there is nothing to apply.
    NothingToApply,
    /// A merged change waits for a person.
    Held,
    /// A person let a hold go.
    Released,
    /// An apply is about to start.
    ApplyStarted,
    /// An apply came to a good end.
    Applied,
    /// A step of a run failed.
    Failed,
    /// Something newer took the place of a run.
    Superseded,
    /// A person stopped a run.
    Cancelled,
    /// The process that worked on a run is gone.
    WorkerLost,
    /// Another process goes on with a run.
    TakenOver,
    /// A person's command was carried out.
    CommandTaken,
    /// A person's command was refused.
    CommandRefused,
    /// A person allowed the head of a fork to be planned.
    ForkPermitted,
    /// A proposal was merged.
    Merged,
    /// The base branch was force-pushed.
    BaseRewound,
    /// A person puts a state of a workspace in place by hand; recorded before it is done.
    StatePushed,
    /// A run pushes the state that an earlier apply could not save; recorded before it is done.
    StateSaved,
    /// A run releases the lock that a dead apply left; recorded before it is done.
    LockReleased,
    /// A process became the daemon of the record.
    DaemonStarted,
    /// At a start, the log was not as the file beside it tells.
    Gap,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::CheckedOut => "checked out",
            Self::Planned => "planned",
            Self::NothingToApply => "nothing to apply",
            Self::Held => "held",
            Self::Released => "let go",
            Self::ApplyStarted => "apply started",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::WorkerLost => "worker lost",
            Self::TakenOver => "taken over",
            Self::CommandTaken => "command taken",
            Self::CommandRefused => "command refused",
            Self::ForkPermitted => "fork permitted",
            Self::Merged => "merged",
            Self::BaseRewound => "base rewound",
            Self::StatePushed => "state pushed",
            Self::StateSaved => "unsaved state pushed",
            Self::LockReleased => "lock released",
            Self::DaemonStarted => "daemon started",
            Self::Gap => "gap",
        })
    }
}

impl From<&Event> for What {
    fn from(event: &Event) -> Self {
        match event {
            Event::Started => Self::Started,
            Event::CheckedOut => Self::CheckedOut,
            Event::PlanMade => Self::Planned,
            Event::NothingToApply => Self::NothingToApply,
            Event::HeldBack { .. } => Self::Held,
            Event::Released { .. } => Self::Released,
            Event::ApplyStarted => Self::ApplyStarted,
            Event::ApplyDone => Self::Applied,
            Event::StepFailed { .. } => Self::Failed,
            Event::Superseded { .. } => Self::Superseded,
            Event::Cancelled { .. } => Self::Cancelled,
            Event::WorkerLost => Self::WorkerLost,
        }
    }
}

/// One record. What is not known, or does not apply, is left out. No secret is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number: from 1, without a gap.
    pub number: u64,
    /// The hash of the record before it; 64 zeros for the first.
    pub previous: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// Who: a person's name on the forge or the machine, or the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepoName>,
    /// The workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceName>,
    /// The run's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What the run is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Why the run was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalKey>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitSha>,
    /// How the run stands after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why: of a hold, a failure, a refusal; or what took the run's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The plan's fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SHA-256 of the plan's file: what is applied is this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_sha256: Option<String>,
    /// How many resources the plan changes, by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What was checked before the plan, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<(String, CheckOutcome)>,
    /// What the policies say of the plan, with who overrode what and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The plan that a person agreed to, and who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How the plan of a merge compares with what reviewers saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Reviewed>,
    /// Addresses of the resources that differ from the state, found by a look for drift.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<String>,
    /// How far an apply came that did not do all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<AppliedParts>,
    /// The state that the plan was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<StateVersion>,
    /// The state after the apply, where Mainstay keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<StateVersion>,
    /// How far an interrupted apply came: the run's own, or the one before that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption: Option<Interruption>,
    /// What was mended before the plan: a lock that was released, a state that was pushed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<String>,
}

impl Record {
    /// A record of `what`; number and hash are given to it when it is written.
    pub fn new(what: What, at: Timestamp) -> Self {
        Self {
            number: 0,
            previous: String::new(),
            at,
            what,
            who: None,
            repository: None,
            workspace: None,
            run: None,
            purpose: None,
            trigger: None,
            proposal: None,
            commit: None,
            state: None,
            reason: None,
            command: None,
            fingerprint: None,
            plan_sha256: None,
            counts: None,
            checks: Vec::new(),
            verdict: None,
            approval: None,
            reviewed: None,
            drifted: Vec::new(),
            parts: None,
            state_before: None,
            state_after: None,
            interruption: None,
            mended: Vec::new(),
        }
    }

    /// A record of something that concerns a run.
    pub fn of_run(what: What, id: RunId, order: &NewRun, state: State, at: Timestamp) -> Self {
        let who = match &order.trigger {
            Trigger::Person { name } if what == What::Queued => Some(name.clone()),
            _ => None,
        };
        Self {
            who,
            repository: Some(order.repo.clone()),
            workspace: Some(order.workspace.clone()),
            run: Some(id),
            purpose: Some(order.purpose),
            trigger: Some(order.trigger.clone()),
            proposal: order.proposal.clone(),
            commit: Some(order.commit.clone()),
            state: Some(state),
            ..Self::new(what, at)
        }
    }

    /// A record of an event of a run, with what came out of the run so far.
    pub fn of_event(
        event: &Event,
        id: RunId,
        order: &NewRun,
        state: State,
        result: &RunResult,
        at: Timestamp,
    ) -> Self {
        let mut record = Self::of_run(event.into(), id, order, state, at);
        match event {
            Event::HeldBack { reason } => record.reason = Some(reason.clone()),
            Event::StepFailed { summary } => record.reason = Some(summary.clone()),
            Event::Superseded { by } => record.reason = Some(by.clone()),
            Event::Released { by } | Event::Cancelled { by } => record.who = Some(by.clone()),
            // Nothing is planned yet; what an earlier attempt came to was recorded with it.
            Event::Started | Event::CheckedOut => return record,
            Event::PlanMade
            | Event::NothingToApply
            | Event::ApplyStarted
            | Event::ApplyDone
            | Event::WorkerLost => {}
        }
        if let Some(plan) = &result.plan {
            record.fingerprint = Some(plan.fingerprint.clone());
            record.counts = Some(plan.counts);
            if order.purpose == Purpose::Drift {
                let resources = plan.drift.iter().map(|change| change.address.clone());
                let outputs = plan.outputs.iter().map(|o| format!("output.{}", o.name));
                let left_out = plan.left_out.drift + plan.left_out.outputs;
                let more = (left_out > 0).then(|| format!("and {left_out} more"));
                record.drifted = resources.chain(outputs).chain(more).collect();
            }
        }
        record.plan_sha256.clone_from(&result.plan_sha256);
        record.checks = result
            .checks
            .iter()
            .map(|check| (check.name.clone(), check.outcome.clone()))
            .collect();
        record.verdict = result.verdict.clone();
        record.approval = result.approval.clone();
        record.reviewed = result.reviewed.clone();
        record.parts = result.applied.clone();
        record.state_before = result.state.clone();
        record.state_after = result.state_after.clone();
        record.interruption = result.interruption.clone();
        record.mended.clone_from(&result.mended);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn a_record_of_an_event_says_who_and_why() {
        let order = NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        };
        let released = Event::Released { by: "alice".into() };
        let result = RunResult::default();
        let record = Record::of_event(&released, RunId(1), &order, State::Queued, &result, now());
        assert_eq!(record.who.as_deref(), Some("alice"));
        let held = Event::HeldBack {
            reason: "it destroys".into(),
        };
        let record = Record::of_event(&held, RunId(1), &order, State::Held, &result, now());
        assert_eq!(record.reason.as_deref(), Some("it destroys"));
        assert_eq!(record.what, What::Held);
    }
}
