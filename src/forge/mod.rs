//! Where pull requests live: the narrow trait, and what passes through it.

mod check;
pub mod github;
mod plain;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{BranchName, CommentId, CommitSha, IssueNumber, ProposalKey, RepoName};
use crate::redact::Secret;

pub use check::{Annotation, AnnotationLevel, CHECK_TEXT_LIMIT, CheckRun, CheckState, ShowsChecks};
pub use plain::{Plain, RemoteHeads};

/// What a look at one repository asks for.
#[derive(Debug, Clone)]
pub struct LookRequest {
    /// The repository.
    pub repo: RepoName,
    /// The base branch.
    pub branch: BranchName,
    /// Glob patterns of the branches that are proposals, on a plain remote.
    pub proposals: Vec<String>,
}

/// What a look at one repository found: the whole of what is, each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether anything can be written there.
    pub archived: Archived,
    /// The base branch's head; `None` where the branch is not there.
    pub base: Option<CommitSha>,
    /// Every open proposal, whatever branch it is for. What a merge queue would make of the base
    /// branch is one too, with the [branch](merge_queue) of the queue as its key.
    pub open: Vec<Proposal>,
}

/// Whether a repository is archived: it can be read, and nothing can be written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// A look does not tell: it is learnt from the first write that is refused.
    Untold,
}

/// How urgent a thing is that is told. What a forge lets create in an hour is kept by shares, so
/// that what is less urgent never takes the place of what is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// Somebody must know or act: how an apply came out, a hold, a refused command.
    Now,
    /// Somebody waits to go on: a plan, a status that a merge waits for.
    Soon,
    /// Nobody waits for it: progress, reactions, the end of an issue.
    #[default]
    Whenever,
}

/// A comment of ours as the forge has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptComment {
    /// The forge's id of it.
    pub id: CommentId,
    /// When it came to show this, by the forge's clock; `None` where the forge does not say.
    pub at: Option<Timestamp>,
    /// Its text, as the forge keeps it.
    pub body: String,
}

/// An issue of ours as the forge has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptIssue {
    /// Its number.
    pub number: IssueNumber,
    /// When it came to show this, by the forge's clock; `None` where the forge does not say.
    pub at: Option<Timestamp>,
}

/// What the names of the branches begin with that GitHub's merge queue makes for a base branch.
/// Each holds what that branch would become; its required checks let the queue go on.
pub fn merge_queue(branch: &BranchName) -> String {
    format!("gh-readonly-queue/{branch}/")
}

/// An open proposal as the forge shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which one.
    pub key: ProposalKey,
    /// Its title; on a plain remote the subject of its last commit, or empty.
    pub title: String,
    /// Who opened it.
    pub author: String,
    /// Its head commit.
    pub head: CommitSha,
    /// The branch that it is for.
    pub base_branch: BranchName,
    /// Whether its head is in another repository.
    pub origin: Origin,
    /// When anything about it changed last; comments too.
    pub updated_at: Timestamp,
}

/// Whose code a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A branch of the repository itself.
    Own,
    /// A fork: nobody with write permission vouched for it.
    Fork,
}

/// What became of a proposal that is no longer among the open ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is open after all.
    Open,
    /// It was closed without being merged.
    Closed,
    /// It was merged; the commit of the base branch that has it (merge commit, squash, or last rebased commit).
    Merged(CommitSha),
}

/// A comment on an issue or a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The forge's id of it.
    pub id: CommentId,
    /// The issue or pull request that it stands on.
    pub issue: IssueNumber,
    /// Who wrote it.
    pub author: String,
    /// Its text.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was edited last.
    pub updated_at: Timestamp,
}

/// A commit status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `mainstay/plan` or `mainstay/apply`.
    pub context: String,
    /// How it stands.
    pub state: StatusState,
    /// A short text, at most [`STATUS_DESCRIPTION_LIMIT`] characters.
    pub description: String,
}

/// How a commit status stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// Not decided yet.
    Pending,
    /// Good.
    Success,
    /// Decided, and not good: a hold, a denial, a failed plan.
    Failure,
    /// Something broke.
    Error,
}

/// GitHub refuses a status description of more characters than this.
pub const STATUS_DESCRIPTION_LIMIT: usize = 140;

/// GitHub refuses a comment or issue body of more characters than this.
pub const COMMENT_LIMIT: usize = 65_536;

/// A reaction to a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// 👀 seen.
    Eyes,
    /// 🚀 done.
    Rocket,
    /// 😕 refused.
    Confused,
}

/// An issue that is kept in line with the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// The marker in its body that it is found by: `<!-- mainstay:… -->`, on the first line.
    pub marker: String,
    /// Its title.
    pub title: String,
    /// Its label.
    pub label: String,
    /// Its body, the marker included.
    pub body: String,
}

/// How git reaches a repository. The URL holds no credentials.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The clone URL, or a path.
    pub url: String,
    /// User name and password for https, where there are any.
    pub login: Option<(String, Secret)>,
    /// The refs that hold the heads of proposals, as a refspec's source: `refs/pull/*/head`, or `refs/heads/*`.
    /// Those of a merge queue are branches in any case.
    pub proposal_refs: String,
}

/// Why a forge did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// Too many requests; nothing may be sent before then.
    #[error("{service} asks to wait until {until} before the next request")]
    RateLimited {
        /// Who says so.
        service: String,
        /// When to come back.
        until: Timestamp,
    },
    /// The credentials are missing, wrong or lack a right.
    #[error("{service} refused `{action}`: {message}")]
    Denied {
        /// Who refused.
        service: String,
        /// What was asked.
        action: String,
        /// What the forge said.
        message: String,
    },
    /// The conversation is locked, and only who may push can write there.
    #[error("{service} refused `{action}`: the conversation is locked")]
    Locked {
        /// Who refused.
        service: String,
        /// What was asked.
        action: String,
    },
    /// The repository is archived: it is read-only.
    #[error("{service} refused `{action}`: the repository is archived, and so it is read-only")]
    Archived {
        /// Who refused.
        service: String,
        /// What was asked.
        action: String,
    },
    /// The thing is not there, or may not be seen.
    #[error("{what} is not there, or may not be seen with these credentials")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The request was understood and refused, and would be again.
    #[error("{service} refused `{action}` with {status}: {message}")]
    Refused {
        /// Who refused.
        service: String,
        /// What was asked.
        action: String,
        /// The HTTP status.
        status: u16,
        /// What the forge said.
        message: String,
    },
    /// It may work next time: 5xx, a broken connection, an answer cut off. The effect may have taken place.
    #[error("{service} did not answer `{action}` properly")]
    Transient {
        /// Who did not answer.
        service: String,
        /// What was asked.
        action: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where pull requests live.
///
/// Calls are safe to repeat unless they say otherwise. No call waits for a rate
/// limit: it answers [`ForgeError::RateLimited`], and until that time every call
/// answers so without a request.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Whether it can show comments, statuses and issues. Where it cannot, the
    /// calls that write are not made, and what they would say stays in the store.
    fn speaks(&self) -> Speaks;

    /// Where people look at `repo`; `None` where nobody can, or it is not known. Asks nobody.
    fn web_url(&self, repo: &RepoName) -> Option<String>;

    /// Looks at repositories: one answer for each request, in their order.
    ///
    /// A look that finds nothing new costs nothing of the primary rate limit.
    async fn look(&self, requests: &[LookRequest]) -> Vec<Result<Arc<Look>, ForgeError>>;

    /// How far the forge's clock is ahead of ours, to the second, as its last answer told; zero
    /// where nothing tells it. Asks nobody.
    fn clock_ahead(&self) -> TimeDelta {
        TimeDelta::zero()
    }

    /// One pull request with what became of it, whether a look shows it or not; `None` where the
    /// number is an issue's, or nobody's.
    async fn pull(
        &self,
        repo: &RepoName,
        number: IssueNumber,
    ) -> Result<Option<(Proposal, Fate)>, ForgeError>;

    /// One comment; costs nothing of the primary rate limit where it is as it was when it was asked
    /// for last.
    async fn comment(&self, repo: &RepoName, id: CommentId) -> Result<Comment, ForgeError>;

    /// What became of a proposal that is not open any more.
    async fn fate(&self, request: &LookRequest, key: &ProposalKey) -> Result<Fate, ForgeError>;

    /// Comments on issues and pull requests of `repo` that were written or edited
    /// at `since` or later, oldest first.
    async fn comments(&self, repo: &RepoName, since: Timestamp)
    -> Result<Vec<Comment>, ForgeError>;

    /// Whether `user` may write to `repo`.
    async fn may_write(&self, repo: &RepoName, user: &str) -> Result<Permission, ForgeError>;

    /// The labels of a pull request, as they are now.
    async fn labels(&self, repo: &RepoName, pull: IssueNumber) -> Result<Vec<String>, ForgeError>;

    /// Who approves a pull request at `head`, each once: a later review of the same person that
    /// takes the approval back counts, and one of another head does not. Its author is left out.
    /// Whether they may write to the repository is not asked.
    async fn approvals(
        &self,
        repo: &RepoName,
        pull: IssueNumber,
        head: &CommitSha,
    ) -> Result<Vec<String>, ForgeError>;

    /// How git reaches `repo`, with credentials that are good for some minutes at least.
    async fn remote(&self, repo: &RepoName) -> Result<Remote, ForgeError>;

    /// Puts `body`, whose first line is `marker`, in our one comment with that marker, posting it
    /// where there is none. `known` is the comment's id where it is recorded.
    ///
    /// One `marker` never yields two comments, not even when an earlier call died
    /// between the write and our record of it. A marker counts only in a comment by our own account.
    async fn upsert_comment(
        &self,
        repo: &RepoName,
        issue: IssueNumber,
        marker: &str,
        body: &str,
        known: Option<CommentId>,
        urgency: Urgency,
    ) -> Result<KeptComment, ForgeError>;

    /// Sets a status of a commit.
    async fn set_status(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
        status: &Status,
        urgency: Urgency,
    ) -> Result<(), ForgeError>;

    /// Whether it shows check runs. Where it does not, [`Forge::upsert_check`] is not called.
    fn shows_checks(&self) -> ShowsChecks;

    /// Brings our check run of that name on a commit in line, making it where it is not there.
    /// Gives its id.
    ///
    /// Safe to repeat, also where an earlier call died between the write and our record of it:
    /// what is there is looked at first, and no annotation is added twice.
    async fn upsert_check(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
        check: &CheckRun,
        urgency: Urgency,
    ) -> Result<u64, ForgeError>;

    /// Makes `reactions` the only ones of ours on a comment.
    async fn react(
        &self,
        repo: &RepoName,
        comment: CommentId,
        reactions: &[Reaction],
        urgency: Urgency,
    ) -> Result<(), ForgeError>;

    /// Keeps one open issue with that marker by our own account: opens, edits or
    /// reopens it. `known` is its number where it is recorded.
    async fn upsert_issue(
        &self,
        repo: &RepoName,
        issue: &Issue,
        known: Option<IssueNumber>,
        urgency: Urgency,
    ) -> Result<KeptIssue, ForgeError>;

    /// Edits the issue's body one last time and closes it.
    async fn close_issue(
        &self,
        repo: &RepoName,
        number: IssueNumber,
        body: &str,
        urgency: Urgency,
    ) -> Result<(), ForgeError>;
}

/// Whether a forge can show what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// It has comments, statuses and issues.
    Yes,
    /// It is only git.
    No,
}

/// What a person may do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Change it: write, maintain or admin.
    Write,
    /// Read it at most.
    Less,
}
