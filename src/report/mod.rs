//! What a run came to, told to people and programs: comment, issue, terminal text, JSON.
//!
//! Everything here is pure. Plan data is hostile text, made one-lined and free of
//! secrets when the plan was read; here it is put into code spans and fenced blocks,
//! and stands nowhere else (see `markdown`).

use std::time::Duration;

use crate::id::{BranchName, CommitSha, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::plan::{DataTypes, Diagnostic, Plan};
use crate::policy::Verdict;
pub use crate::run::{AppliedParts, Check, CheckOutcome, Failure, Reviewed};

mod blast;
mod checks;
mod comment;
mod diff;
mod fit;
mod fold;
mod issue;
mod json;
mod markdown;
mod outcome;
mod policies;
mod refused;
mod sample;
mod since;
mod status;
mod table;
mod templates;
mod terminal;
mod verdict;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use comment::comment;
pub use issue::{DriftReport, HoldReport, drift_issue, hold_issue};
pub use json::{SCHEMA, json};
pub use refused::refused_note;
pub use sample::sample;
pub use since::{Sameness, Since, Turn};
pub use status::{ApplyWords, Light, StatusText, apply_status, plan_status};
pub use templates::{OwnTemplate, TEMPLATES, TemplateProblem, Templates};
pub use terminal::{Colour, terminal};

/// GitHub refuses a comment or issue body of more characters than this.
pub const BODY_LIMIT: usize = 65_536;

/// All that is to be said of one proposal, or of a checkout that was planned by hand.
#[derive(Debug, Clone)]
pub struct ProposalReport {
    /// The first line of the comment, `<!-- mainstay:… -->`; empty where there is no comment.
    pub marker: String,
    /// The repository.
    pub repo: RepoName,
    /// Where people look at the repository, for links to files at a commit.
    pub web_url: Option<String>,
    /// Which proposal; `None` for a checkout that was planned by hand.
    pub proposal: Option<ProposalKey>,
    /// The proposal's head.
    pub head: CommitSha,
    /// The branch that it is for.
    pub base_branch: BranchName,
    /// The commit of that branch that the head was merged into to be planned.
    pub base: CommitSha,
    /// What planned, `Terraform 1.11.4` say.
    pub tool: String,
    /// The workspaces that it touches, in the order to show them.
    pub workspaces: Vec<WorkspaceReport>,
    /// The files that conflict with the base, where they do; then nothing is planned.
    pub conflict: Option<Vec<String>>,
    /// Workspaces whose folder is gone. Nothing is destroyed by that.
    pub removed: Vec<WorkspaceName>,
    /// What else the reader should know; names between backticks.
    pub notes: Vec<String>,
    /// Commands that were refused.
    pub refusals: Vec<Refusal>,
    /// Which types of resources hold data.
    pub data_types: DataTypes,
    /// The commands with what each does, where a person asked for them.
    pub help: Vec<(String, String)>,
    /// How the proposal itself stands.
    pub standing: Standing,
}

/// How a proposal itself stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is open.
    Open,
    /// It is merged.
    Merged {
        /// The commit of the base branch that has it.
        commit: CommitSha,
    },
    /// It was closed without being merged.
    Closed,
    /// It is for another branch now, and of no concern here.
    Elsewhere,
}

/// A command that was not obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was written.
    pub command: String,
    /// Who wrote it.
    pub by: String,
    /// Why not; names between backticks.
    pub reason: String,
}

/// What is to be said of one workspace.
#[derive(Debug, Clone)]
pub struct WorkspaceReport {
    /// Its name.
    pub name: WorkspaceName,
    /// The environment that it belongs to.
    pub environment: Option<String>,
    /// Its folder in the repository, with `/`; empty for the top.
    pub path: String,
    /// The run that this is told of, where one is recorded.
    pub run: Option<RunId>,
    /// How far its plan is.
    pub progress: Progress,
    /// What Terraform warned of.
    pub warnings: Vec<Diagnostic>,
    /// What was checked before the plan.
    pub checks: Vec<Check>,
    /// What the policies say of the plan; `None` where none was evaluated.
    pub verdict: Option<Verdict>,
    /// How long Terraform's steps took.
    pub took: Duration,
    /// How its plan differs from the one for an earlier head, where there was one.
    pub since: Option<Since>,
    /// What a merge will do.
    pub on_merge: OnMerge,
    /// Where its state comes from, where that is worth a word; names between backticks.
    pub state_note: Option<String>,
    /// What the merge did, once there was one.
    pub after_merge: Option<AfterMerge>,
    /// How the merge's plan compares with what reviewers saw, where both are known.
    pub reviewed: Option<Reviewed>,
    /// What came before the merge's plan: an interrupted apply, a lock that was released. In
    /// sentences; names between backticks.
    pub before: Vec<String>,
}

/// How far the plan of a workspace is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// It waits for its turn.
    Waiting,
    /// This step runs.
    Running(String),
    /// The plan is made.
    Planned(Box<Plan>),
    /// A step failed.
    Failed(Failure),
    /// A person stopped it.
    Cancelled,
    /// Something newer takes its place.
    Superseded,
    /// It comes from a fork, and waits for the word of a person who may write.
    NeedsPermission,
}

/// What a merge will do with a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMerge {
    /// Apply it.
    Apply,
    /// Hold it until a person agrees.
    HoldApproval,
    /// Nothing: it is planned only.
    Never,
    /// Nobody declared what: the workspace was found in a checkout.
    Undeclared,
}

/// What the merge did with a workspace.
#[derive(Debug, Clone)]
pub enum AfterMerge {
    /// It waits for its turn.
    Waiting,
    /// It is being planned again and applied.
    Running,
    /// It is applied.
    Applied {
        /// What was applied.
        plan: Box<Plan>,
        /// The commit that the workspace is at.
        commit: CommitSha,
        /// How long it took.
        took: Duration,
    },
    /// The world was as the commit wants it.
    NothingToApply,
    /// It waits for a person.
    Held {
        /// Why; names between backticks.
        reason: String,
        /// What lets it go.
        command: String,
        /// What would be applied.
        plan: Option<Box<Plan>>,
    },
    /// It failed.
    Failed {
        /// What failed.
        failure: Failure,
        /// How far it came.
        parts: AppliedParts,
    },
    /// Something newer took its place.
    Superseded {
        /// What; names between backticks.
        by: String,
    },
    /// A person stopped it.
    Cancelled {
        /// Who.
        by: String,
        /// How far it came.
        parts: AppliedParts,
    },
    /// The process that applied was lost, and how far it came is not known.
    Interrupted {
        /// Which resources it was seen to reach.
        parts: AppliedParts,
        /// How far it came; names between backticks.
        how_far: String,
        /// What is done about it; names between backticks.
        next: String,
    },
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A template is broken: a fault of the program.
    #[error("the report's template `{template}` cannot be rendered")]
    Template {
        /// Which.
        template: &'static str,
        /// What the template engine says.
        #[source]
        source: Box<tera::Error>,
    },
    /// A template makes more than a body may hold, however little it is given.
    #[error("what the report's template `{template}` makes is too long for a comment")]
    TooLong {
        /// Which.
        template: &'static str,
    },
    /// The marker would not hide, or would not be found again.
    #[error(
        "`{marker}` is no marker: it is one line `<!-- mainstay:… -->` of at most 300 characters"
    )]
    Marker {
        /// What was given.
        marker: String,
    },
}

impl ProposalReport {
    /// Whether a run of it still goes on or waits for its turn.
    pub fn is_under_way(&self) -> bool {
        self.workspaces.iter().any(|w| match &w.after_merge {
            Some(after) => matches!(after, AfterMerge::Waiting | AfterMerge::Running),
            None => matches!(w.progress, Progress::Waiting | Progress::Running(_)),
        })
    }
}

impl WorkspaceReport {
    /// The plan to show: what was applied or is held, else what was planned.
    ///
    /// A plan that failed half way is none, since its counts say nothing, and neither is
    /// one that will not be applied any more.
    pub fn plan(&self) -> Option<&Plan> {
        let plan = match (&self.after_merge, &self.progress) {
            (
                Some(
                    AfterMerge::NothingToApply
                    | AfterMerge::Superseded { .. }
                    | AfterMerge::Cancelled { .. },
                ),
                _,
            ) => return None,
            (Some(AfterMerge::Applied { plan, .. }), _)
            | (
                Some(AfterMerge::Held {
                    plan: Some(plan), ..
                }),
                _,
            )
            | (_, Progress::Planned(plan)) => plan,
            _ => return None,
        };
        (!plan.errored).then_some(plan)
    }

    /// Whether a merge has begun what its plan says, and not ended it.
    fn is_to_come(&self) -> bool {
        !matches!(self.after_merge, None | Some(AfterMerge::Applied { .. }))
    }

    /// What failed, before the merge or after it.
    fn failures(&self) -> impl Iterator<Item = &Failure> {
        let before = match &self.progress {
            Progress::Failed(failure) => Some(failure),
            _ => None,
        };
        let after = match &self.after_merge {
            Some(AfterMerge::Failed { failure, .. }) => Some(failure),
            _ => None,
        };
        // A run that is shown alone has failed once, in whichever part it is told.
        let after = after.filter(|failure| before != Some(*failure));
        before.into_iter().chain(after)
    }

    /// Whether something is wrong that was checked before the plan, and the plan's status fails with it.
    pub fn checks_failed(&self) -> bool {
        let failed = |check: &Check| check.outcome == CheckOutcome::Failed;
        self.checks.iter().any(failed)
    }

    /// Whether its plan failed, be it by a failed step or half way.
    pub fn plan_failed(&self) -> bool {
        match &self.progress {
            Progress::Failed(_) => true,
            Progress::Planned(plan) => plan.errored,
            _ => false,
        }
    }
}
