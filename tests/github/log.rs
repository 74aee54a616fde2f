//! What the model writes down: every request, and every effect.

use super::fault::FaultKind;
use super::world::Time;

/// Who a request said it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthKind {
    /// It said nothing.
    Anonymous,
    /// A personal access token of this login.
    Person(String),
    /// A token of an installation of the App with this slug.
    Installation(String),
    /// A JSON web token of the App with this id.
    App(u64),
    /// Credentials that are not good.
    Bad,
}

/// What a request was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Nothing: a 304, git, `/rate_limit`, or a fault.
    Free,
    /// One request of the REST budget.
    Core,
    /// This many points of the GraphQL budget.
    Graphql(u64),
}

/// Whether a client kept away when it had been told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Kept,
    /// The request came before the time that an earlier answer had named.
    Lost,
}

/// Whether the model has what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Known,
    /// The model has no such endpoint; GitHub may have.
    Unknown,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct LoggedRequest {
    /// When it had been read.
    pub(crate) at: Time,
    pub(crate) method: String,
    /// The path as it was sent, without the query.
    pub(crate) path: String,
    /// The query as it was sent; empty where there was none.
    pub(crate) query: String,
    pub(crate) auth: AuthKind,
    /// `None` where the connection was broken instead of an answer.
    pub(crate) status: Option<u16>,
    pub(crate) budget: Budget,
    pub(crate) fault: Option<FaultKind>,
    pub(crate) patience: Patience,
    pub(crate) route: Route,
}

/// Something that truly happened, whatever the client was told.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) at: Time,
    /// Who did it; `git` for what was seen on disk.
    pub(crate) by: String,
    /// `owner/name`, in lower case.
    pub(crate) repo: String,
    pub(crate) effect: Effect,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A branch moved; `None` is a branch that is not there.
    Pushed {
        branch: String,
        from: Option<String>,
        to: Option<String>,
    },
    PullOpened {
        number: u64,
    },
    PullMerged {
        number: u64,
        sha: String,
    },
    PullClosed {
        number: u64,
    },
    PullReopened {
        number: u64,
    },
    PullRetargeted {
        number: u64,
        base: String,
    },
    Reviewed {
        number: u64,
        state: String,
    },
    IssueOpened {
        number: u64,
    },
    /// Title, body, labels or state; how it stands now.
    IssueEdited {
        number: u64,
        title: String,
        body: String,
        state: String,
    },
    CommentCreated {
        issue: u64,
        id: u64,
        body: String,
    },
    CommentEdited {
        issue: u64,
        id: u64,
        body: String,
    },
    CommentDeleted {
        issue: u64,
        id: u64,
    },
    ReactionAdded {
        comment: u64,
        content: String,
    },
    ReactionRemoved {
        comment: u64,
        content: String,
    },
    StatusSet {
        sha: String,
        context: String,
        state: String,
        description: String,
    },
    CheckRunMade {
        id: u64,
        sha: String,
        name: String,
    },
    CheckRunChanged {
        id: u64,
        status: String,
        conclusion: Option<String>,
    },
    LabelCreated {
        name: String,
    },
    TokenIssued {
        app: u64,
    },
}
