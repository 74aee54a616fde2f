//! What is known, as the decisions read it.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{CommitSha, ObjectId, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::run::{Purpose, State, Trigger};
use crate::workspace::Settings;

/// The workspaces of a tree: the base branch's head, mostly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The commit.
    pub commit: CommitSha,
    /// Its tree.
    pub tree: ObjectId,
    /// The workspaces that are declared or found there.
    pub workspaces: Vec<ViewedWorkspace>,
}

impl View {
    /// The workspace of that name.
    pub fn workspace(&self, name: &WorkspaceName) -> Option<&ViewedWorkspace> {
        self.workspaces.iter().find(|w| &w.name == name)
    }
}

/// A workspace in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewedWorkspace {
    /// Its name.
    pub name: WorkspaceName,
    /// Its folder.
    pub path: String,
    /// Digest of the files that concern it.
    pub inputs: String,
    /// Whether its root module is there.
    pub presence: Presence,
}

/// Whether a root module is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It has configuration.
    Present,
    /// Its folder holds no configuration.
    Absent,
}

/// What came of looking at a proposal's merge with its base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Consideration {
    /// It merges.
    Merges {
        /// The base that it was merged into.
        base: CommitSha,
        /// The merged tree.
        tree: ObjectId,
        /// The workspaces whose files differ from the base.
        touched: Vec<Touched>,
        /// Whether the base has all of it already.
        contained: Contained,
    },
    /// It does not merge.
    Conflicts {
        /// The base that it conflicts with.
        base: CommitSha,
        /// The paths in conflict.
        paths: Vec<String>,
        /// The workspaces whose files it changes on its own side.
        touched: Vec<Touched>,
    },
    /// It cannot be looked at.
    Impossible {
        /// Why not, for people.
        reason: String,
    },
}

/// Whether the base has all of a proposal already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contained {
    /// Merging it changes nothing.
    Yes,
    /// Merging it changes something.
    No,
}

/// A workspace that a proposal touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Its name.
    pub name: WorkspaceName,
    /// Its folder.
    pub path: String,
    /// Digest of the files that concern it in the merged tree.
    pub inputs: String,
    /// What happens to the root module.
    pub change: ModuleChange,
}

/// What a proposal does to a root module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleChange {
    /// It is new.
    Added,
    /// It is changed.
    Changed,
    /// It is gone: there is nothing left to plan.
    Removed,
}

/// All that is known of one repository.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The repository.
    pub repo: RepoName,
    /// The workspaces at the base branch's head; `None` before the first good look.
    pub view: Option<View>,
    /// What is known of each workspace, beside the view.
    pub workspaces: Vec<WorkspaceFacts>,
    /// The open proposals for the base branch, and those that are gone and still have runs.
    pub proposals: Vec<ProposalFacts>,
    /// The proposals that were merged lately, in the order of their merges.
    pub merged: Vec<MergedFacts>,
    /// Every run that has not ended, and for each workspace, purpose and proposal the latest that has.
    pub runs: Vec<RunFacts>,
}

/// What is known of one workspace.
#[derive(Debug, Clone)]
pub struct WorkspaceFacts {
    /// Its name.
    pub name: WorkspaceName,
    /// How it is run.
    pub settings: Settings,
    /// The commit that it is at, with tree, inputs, and since when.
    pub applied: Option<AppliedAt>,
    /// Whether the last apply that began came to a good end.
    pub settled: Settled,
    /// When drift was looked for last.
    pub drift_at: Option<Timestamp>,
}

/// The commit that a workspace is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedAt {
    /// The commit.
    pub commit: CommitSha,
    /// Its tree.
    pub tree: ObjectId,
    /// Digest of the files that concern the workspace there.
    pub inputs: String,
    /// Since when.
    pub at: Timestamp,
    /// Where the commit stands in the base branch's history, as far as that is recorded.
    pub position: Option<i64>,
}

/// Whether the last apply that began came to a good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did, or none began.
    Yes,
    /// It did not: the world may be between two commits.
    No,
}

/// What is known of one proposal.
#[derive(Debug, Clone)]
pub struct ProposalFacts {
    /// Which one.
    pub key: ProposalKey,
    /// Its head.
    pub head: CommitSha,
    /// Whether its code may be run.
    pub trust: Trust,
    /// How it stands.
    pub standing: Standing,
    /// What its merge with the present base gives; `None` before it was looked at.
    pub consideration: Option<Consideration>,
}

/// A proposal that was merged.
#[derive(Debug, Clone)]
pub struct MergedFacts {
    /// Which one.
    pub key: ProposalKey,
    /// Where its merge stands in the base branch's history; later is larger.
    pub position: i64,
    /// The workspaces that it touched.
    pub touched: Vec<WorkspaceName>,
}

/// How a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Open, and for the base branch.
    Open,
    /// Closed, merged, or for another branch.
    Gone,
}

/// Whether a proposal's code may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It may.
    May,
    /// It comes from a fork, and nobody with write permission asked for this head.
    NeedsPermission,
}

/// What is known of one run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Its number.
    pub id: RunId,
    /// The workspace.
    pub workspace: WorkspaceName,
    /// What it is for.
    pub purpose: Purpose,
    /// The proposal that it plans, or whose merge it applies.
    pub proposal: Option<ProposalKey>,
    /// The commit.
    pub commit: CommitSha,
    /// Digest of the files that concern the workspace.
    pub inputs: String,
    /// Why it was started.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: State,
    /// When it was recorded first.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// Whether it was asked to end.
    pub stopping: Stopping,
    /// Whether it found drift.
    pub drift: Found,
}

/// Whether something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It was.
    Yes,
    /// It was not, or was not looked for.
    No,
}

/// Whether a run was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// It was, and its worker has not ended it yet.
    Yes,
    /// It goes on.
    No,
}
