//! GitHub, on github.com and on Enterprise: pull requests by GraphQL or REST, comments, statuses, issues.
//!
//! Nothing here waits for a limit and nothing is repeated: a call says what went
//! wrong, and whoever called looks again later. The one short wait is the pause
//! between two mutations.

mod access;
mod address;
mod cache;
mod call;
mod checks;
mod client;
mod comments;
mod doctor;
mod gate;
mod graphql;
mod issues;
mod look;
mod reactions;
mod refusal;
mod reviews;
mod session;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::TimeDelta;
use http::Method;
use octocrab::auth::{AppAuth, EncodingKey};
use octocrab::models::AppId;
use serde_json::json;

use self::address::{ApiBase, RepoPath};
use self::call::{Call, Right};
use self::client::Client;
pub use self::doctor::{Finding, Level};
use self::session::{Credential, Session, SessionKey, Sessions};
use super::{
    CheckRun, Comment, Fate, Forge, ForgeError, Issue, KeptComment, KeptIssue, Look, LookRequest,
    Permission, Proposal, Reaction, Remote, STATUS_DESCRIPTION_LIMIT, ShowsChecks, Speaks, Status,
    StatusState, Urgency,
};
use crate::clock::Timestamp;
use crate::id::{CommentId, CommitSha, IssueNumber, ProposalKey, RepoName};
use crate::redact::Secret;

/// How GitHub is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API's base: `https://api.github.com`, or `https://HOST/api/v3` of an Enterprise Server.
    pub api_url: String,
    /// Who we are.
    pub auth: Auth,
    /// The least time between two mutations; GitHub asks for one second.
    pub mutation_pause: Duration,
    /// How long one request may take, answer included.
    pub request_timeout: Duration,
}

/// Who we are to GitHub.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A personal access token, classic or fine-grained, or the token of an Actions job.
    Token(Secret),
    /// A GitHub App, installed on the repositories.
    App {
        /// The App's number, from its settings page.
        id: u64,
        /// Its private key, as GitHub gives it out: RSA in PEM.
        private_key_pem: Secret,
    },
}

impl Settings {
    /// Settings with GitHub's advice for the pause (1 second), and requests of 30 seconds at most.
    pub fn new(api_url: impl Into<String>, auth: Auth) -> Self {
        Self {
            api_url: api_url.into(),
            auth,
            mutation_pause: Duration::from_secs(1),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Why GitHub cannot be talked to with these settings at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL is none that a token may be sent to.
    #[error(
        "`api_url` is `{given}`; write `https://api.github.com`, `https://HOST/api/v3` \
         for an Enterprise Server, or plain http to this machine itself in tests"
    )]
    ApiUrl {
        /// What was given.
        given: String,
    },
    /// The App's key is no key.
    #[error(
        "the App's private key is no RSA key in PEM; \
         take the file that GitHub gave when the key was made, whole"
    )]
    PrivateKey,
    /// The token cannot be one.
    #[error(
        "the GitHub token is empty or has characters that no token has; is it the whole token, and nothing else?"
    )]
    Token,
    /// The HTTP client could not be made: no root certificates, most likely.
    #[error(
        "the HTTP client could not be made; are the system's root certificates installed (`ca-certificates`)?"
    )]
    Client(#[source] octocrab::Error),
}

/// How many requests were sent since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// REST requests that count against the primary limit.
    pub rest: u64,
    /// REST requests answered 304, which do not.
    pub rest_not_modified: u64,
    /// GraphQL queries, which have a budget of their own.
    pub graphql: u64,
}

/// GitHub, as one account of ours sees it.
pub struct GitHub {
    client: Client,
    sessions: Sessions,
    /// Until when GraphQL is left alone, by credential.
    graphql_refused: Mutex<HashMap<SessionKey, Timestamp>>,
    permissions: Mutex<HashMap<(RepoPath, String), (Instant, Permission)>>,
    /// Labels that are known to be there.
    labels: Mutex<HashSet<(RepoPath, String)>>,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub")
            .field("api", &self.client.api.origin())
            .finish_non_exhaustive()
    }
}

impl GitHub {
    /// Makes the client; nothing is sent yet. It must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says which setting is wrong.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let api = ApiBase::parse(&settings.api_url).ok_or_else(|| SetupError::ApiUrl {
            given: settings.api_url.clone(),
        })?;
        let root = match &settings.auth {
            Auth::Token(token) => {
                let text = token.expose();
                if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(SetupError::Token);
                }
                Session::new(SessionKey::Token, Credential::Token(token.clone()))
            }
            Auth::App {
                id,
                private_key_pem,
            } => {
                // The parser's own words could quote the key.
                let key = EncodingKey::from_rsa_pem(private_key_pem.expose().as_bytes())
                    .map_err(|_| SetupError::PrivateKey)?;
                let app = AppAuth {
                    app_id: AppId(*id),
                    key,
                };
                Session::new(SessionKey::App, Credential::App(app))
            }
        };
        Ok(Self {
            client: Client::new(&settings, api)?,
            sessions: Sessions::new(root),
            graphql_refused: Mutex::default(),
            permissions: Mutex::default(),
            labels: Mutex::default(),
        })
    }

    /// How many requests were sent so far.
    pub fn requests(&self) -> RequestCounts {
        self.client.counts()
    }
}

/// Where something is written: the credential, the repository, and how urgent it is.
struct Desk {
    session: Arc<Session>,
    repo: RepoPath,
    urgency: Urgency,
}

impl GitHub {
    /// Where something so urgent is written about a repository.
    async fn desk(&self, repo: &RepoName, urgency: Urgency) -> Result<Desk, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        Ok(Desk {
            session,
            repo,
            urgency,
        })
    }
}

/// A status description as GitHub takes it: longer ones are cut, with `…` for what is missing.
fn cut_description(text: &str) -> String {
    if text.chars().count() <= STATUS_DESCRIPTION_LIMIT {
        return text.to_owned();
    }
    let kept = text.chars().take(STATUS_DESCRIPTION_LIMIT - 1);
    kept.chain(['…']).collect()
}

#[async_trait]
impl Forge for GitHub {
    fn speaks(&self) -> Speaks {
        Speaks::Yes
    }

    fn web_url(&self, repo: &RepoName) -> Option<String> {
        Some(format!("{}/{repo}", self.client.api.web()))
    }

    async fn look(&self, requests: &[LookRequest]) -> Vec<Result<Arc<Look>, ForgeError>> {
        self.look_at(requests).await
    }

    fn clock_ahead(&self) -> TimeDelta {
        self.client.clock_ahead()
    }

    async fn pull(
        &self,
        repo: &RepoName,
        number: IssueNumber,
    ) -> Result<Option<(Proposal, Fate)>, ForgeError> {
        self.pull_of(repo, number).await
    }

    async fn comment(&self, repo: &RepoName, id: CommentId) -> Result<Comment, ForgeError> {
        self.comment_of(repo, id).await
    }

    async fn fate(&self, request: &LookRequest, key: &ProposalKey) -> Result<Fate, ForgeError> {
        self.fate_of(&request.repo, key).await
    }

    async fn comments(
        &self,
        repo: &RepoName,
        since: Timestamp,
    ) -> Result<Vec<Comment>, ForgeError> {
        self.comments_since(repo, since).await
    }

    async fn may_write(&self, repo: &RepoName, user: &str) -> Result<Permission, ForgeError> {
        self.permission_of(repo, user).await
    }

    async fn labels(&self, repo: &RepoName, pull: IssueNumber) -> Result<Vec<String>, ForgeError> {
        self.labels_of(repo, pull).await
    }

    async fn approvals(
        &self,
        repo: &RepoName,
        pull: IssueNumber,
        head: &CommitSha,
    ) -> Result<Vec<String>, ForgeError> {
        self.approvals_of(repo, pull, head).await
    }

    async fn remote(&self, repo: &RepoName) -> Result<Remote, ForgeError> {
        self.remote_of(repo).await
    }

    async fn upsert_comment(
        &self,
        repo: &RepoName,
        issue: IssueNumber,
        marker: &str,
        body: &str,
        known: Option<CommentId>,
        urgency: Urgency,
    ) -> Result<KeptComment, ForgeError> {
        self.keep_comment(repo, issue, marker, body, known, urgency)
            .await
    }

    async fn set_status(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
        status: &Status,
        urgency: Urgency,
    ) -> Result<(), ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let state = match status.state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Error => "error",
        };
        let body = json!({
            "state": state,
            "context": status.context,
            "description": cut_description(&status.description),
        });
        let call = Call::write(
            Method::POST,
            &repo,
            &format!("/statuses/{commit}"),
            Some(body),
            format!(
                "set the status `{}` of {repo} at {}",
                status.context,
                commit.short()
            ),
            Right::WriteStatuses,
        )
        .about(format!("commit {} of {repo}", commit.short()))
        .so_urgent(urgency);
        self.client.done(&session, &call).await
    }

    fn shows_checks(&self) -> ShowsChecks {
        match self.sessions.root().credential {
            Credential::Token(_) => ShowsChecks::No,
            Credential::App(_) | Credential::Installation { .. } => ShowsChecks::Yes,
        }
    }

    async fn upsert_check(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
        check: &CheckRun,
        urgency: Urgency,
    ) -> Result<u64, ForgeError> {
        self.keep_check_run(repo, commit, check, urgency).await
    }

    async fn react(
        &self,
        repo: &RepoName,
        comment: CommentId,
        reactions: &[Reaction],
        urgency: Urgency,
    ) -> Result<(), ForgeError> {
        self.keep_reactions(repo, comment, reactions, urgency).await
    }

    async fn upsert_issue(
        &self,
        repo: &RepoName,
        issue: &Issue,
        known: Option<IssueNumber>,
        urgency: Urgency,
    ) -> Result<KeptIssue, ForgeError> {
        self.keep_issue(repo, issue, known, urgency).await
    }

    async fn close_issue(
        &self,
        repo: &RepoName,
        number: IssueNumber,
        body: &str,
        urgency: Urgency,
    ) -> Result<(), ForgeError> {
        self.finish_issue(repo, number, body, urgency).await
    }
}
