//! One request: where it goes, what it does, and what to say when it is refused.

use std::fmt;

use http::Method;
use serde_json::Value;

use super::address::RepoPath;
use super::gate::Resource;
use crate::forge::Urgency;

/// A request as the callers word it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The route, without the base's prefix: `/repos/…`; for GraphQL it is not used.
    pub(super) route: String,
    pub(super) resource: Resource,
    pub(super) body: Option<Value>,
    pub(super) effect: Effect,
    /// Whose place it takes among those that wait for their turn, and which share of the budget.
    pub(super) urgency: Urgency,
    /// What is asked, in words: "comment on acme/infra#3".
    pub(super) action: String,
    /// What is missing where the answer is 404.
    pub(super) what: String,
    /// The permission that it takes.
    pub(super) needs: Right,
}

/// What a request does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Read,
    /// It makes or edits something that people see. GitHub counts these apart, and does not say
    /// whether edits are among them: they are counted as if they were.
    Create,
    /// It takes something away.
    Remove,
    /// It mints a token, which nobody sees and no limit on mutations counts.
    Mint,
}

/// A permission, as GitHub's settings for tokens and Apps name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    ReadMetadata,
    ReadContents,
    ReadPulls,
    ReadIssues,
    WriteIssues,
    WriteComments,
    WriteStatuses,
    WriteChecks,
    /// Nothing but a valid credential.
    Account,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadMetadata => "the permission `Metadata: read`",
            Self::ReadContents => "the permission `Contents: read`",
            Self::ReadPulls => "the permission `Pull requests: read`",
            Self::ReadIssues => "the permission `Issues: read`",
            Self::WriteIssues => "the permission `Issues: write`",
            Self::WriteComments => "the permissions `Issues: write` and `Pull requests: write`",
            Self::WriteStatuses => "the permission `Commit statuses: write`",
            Self::WriteChecks => "the App's permission `Checks: write`",
            Self::Account => "a valid token, or the App's own key",
        })
    }
}

impl Call {
    /// A reading request about `repo`.
    pub(super) fn get(repo: &RepoPath, rest: &str, action: String, needs: Right) -> Self {
        Self::read(
            repo.route(rest),
            action,
            format!("repository {repo}"),
            needs,
        )
    }

    /// A reading request of any route.
    pub(super) fn read(route: String, action: String, what: String, needs: Right) -> Self {
        Self {
            method: Method::GET,
            route,
            resource: Resource::Core,
            body: None,
            effect: Effect::Read,
            urgency: Urgency::default(),
            action,
            what,
            needs,
        }
    }

    /// A writing request about `repo`.
    pub(super) fn write(
        method: Method,
        repo: &RepoPath,
        rest: &str,
        body: Option<Value>,
        action: String,
        needs: Right,
    ) -> Self {
        let effect = if method == Method::DELETE {
            Effect::Remove
        } else {
            Effect::Create
        };
        Self {
            method,
            body,
            effect,
            ..Self::get(repo, rest, action, needs)
        }
    }

    /// The same request, so urgent.
    pub(super) fn so_urgent(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }

    /// The same request about something that is named in another way where it is missing.
    pub(super) fn about(self, what: String) -> Self {
        Self { what, ..self }
    }

    /// The same request for another route: the next page.
    pub(super) fn at(&self, route: String) -> Self {
        Self {
            route,
            ..self.clone()
        }
    }
}
