//! Credentials in use: a token, the App itself, or one installation of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use octocrab::auth::AppAuth;
use serde::Deserialize;
use tracing::{info, warn};

use super::GitHub;
use super::address::RepoPath;
use super::call::{Call, Right};
use super::client::Failure;
use super::gate::Gate;
use crate::clock::{self, Timestamp};
use crate::forge::ForgeError;
use crate::redact::Secret;

/// Which credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SessionKey {
    /// The one token there is.
    Token,
    /// The App itself, by its key.
    App,
    /// An installation of the App.
    Installation(u64),
}

/// A credential with the limits that GitHub keeps for it.
pub(super) struct Session {
    pub(super) key: SessionKey,
    pub(super) credential: Credential,
    gate: Mutex<Gate>,
    gone: AtomicBool,
}

/// What a credential is made of.
pub(super) enum Credential {
    /// A token that somebody made and that stays as it is.
    Token(Secret),
    /// The App's key, which signs a short-lived JWT for each request.
    App(AppAuth),
    /// A token that the App mints, good for an hour.
    Installation {
        /// GitHub's number of the installation.
        id: u64,
        /// The App's key, which mints it.
        key: AppAuth,
        /// The App's own session, with its own limits.
        app: Arc<Session>,
        /// The one in use; held while a new one is fetched, so that only one is.
        minted: tokio::sync::Mutex<Option<Minted>>,
    },
}

/// An installation's token.
pub(super) struct Minted {
    pub(super) token: Secret,
    pub(super) expires_at: Timestamp,
}

impl Minted {
    /// Whether it is good for five minutes more: what is begun with it can be finished.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at - now >= TimeDelta::minutes(5)
    }
}

impl Session {
    pub(super) fn new(key: SessionKey, credential: Credential) -> Arc<Self> {
        Arc::new(Self {
            key,
            credential,
            gate: Mutex::new(Gate::default()),
            gone: AtomicBool::new(false),
        })
    }

    /// Its limits.
    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the installation gives no tokens any more.
    pub(super) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Which credential serves which repository.
pub(super) struct Sessions {
    /// The token, or the App.
    root: Arc<Session>,
    installations: Mutex<Installations>,
    account: tokio::sync::Mutex<Account>,
}

#[derive(Default)]
struct Installations {
    by_repo: HashMap<RepoPath, Installation>,
    sessions: HashMap<u64, Arc<Session>>,
}

#[derive(Clone, Copy)]
enum Installation {
    Is(u64),
    /// The App was not installed there a moment ago.
    NotThere {
        ask_again: Timestamp,
    },
}

/// The account that our comments are written by.
enum Account {
    Unasked,
    Is(String),
    /// The forge does not say; it is learnt from the first thing we write.
    Untold {
        ask_again: Timestamp,
    },
}

#[derive(Deserialize)]
struct InstallationId {
    id: u64,
}

#[derive(Deserialize)]
struct Login {
    login: String,
}

#[derive(Deserialize)]
struct App {
    slug: String,
}

impl Sessions {
    pub(super) fn new(root: Arc<Session>) -> Self {
        Self {
            root,
            installations: Mutex::default(),
            account: tokio::sync::Mutex::new(Account::Unasked),
        }
    }

    /// The token, or the App.
    pub(super) fn root(&self) -> &Arc<Session> {
        &self.root
    }

    fn installations(&self) -> MutexGuard<'_, Installations> {
        self.installations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a repository's installation, where it is known and still there.
    fn recall(&self, repo: &RepoPath, now: Timestamp) -> Option<Result<Arc<Session>, ForgeError>> {
        let mut known = self.installations();
        match *known.by_repo.get(repo)? {
            Installation::NotThere { ask_again } => {
                (ask_again > now).then(|| Err(not_installed(repo)))
            }
            Installation::Is(id) => {
                let session = known.sessions.get(&id)?.clone();
                if session.gone.load(Ordering::Relaxed) {
                    known.sessions.remove(&id);
                    known
                        .by_repo
                        .retain(|_, at| !matches!(at, Installation::Is(other) if *other == id));
                    return None;
                }
                Some(Ok(session))
            }
        }
    }

    fn remember(&self, repo: &RepoPath, id: u64, key: &AppAuth) -> Arc<Session> {
        let mut known = self.installations();
        known.by_repo.insert(repo.clone(), Installation::Is(id));
        let credential = || Credential::Installation {
            id,
            key: key.clone(),
            app: self.root.clone(),
            minted: tokio::sync::Mutex::new(None),
        };
        known
            .sessions
            .entry(id)
            .or_insert_with(|| Session::new(SessionKey::Installation(id), credential()))
            .clone()
    }

    fn remember_not_there(&self, repo: &RepoPath, ask_again: Timestamp) {
        self.installations()
            .by_repo
            .insert(repo.clone(), Installation::NotThere { ask_again });
    }
}

fn not_installed(repo: &RepoPath) -> ForgeError {
    ForgeError::NotFound {
        what: format!("an installation of the App on {repo}"),
    }
}

impl GitHub {
    /// The credential for a repository.
    pub(super) async fn session(&self, repo: &RepoPath) -> Result<Arc<Session>, ForgeError> {
        let root = self.sessions.root();
        let Credential::App(key) = &root.credential else {
            return Ok(root.clone());
        };
        let now = clock::now();
        if let Some(known) = self.sessions.recall(repo, now) {
            return known;
        }
        let call = Call::get(
            repo,
            "/installation",
            format!("find the App's installation on {repo}"),
            Right::Account,
        );
        match self.client.json::<InstallationId>(root, &call).await {
            Ok(found) => Ok(self.sessions.remember(repo, found.id, key)),
            Err(ForgeError::NotFound { .. }) => {
                self.sessions
                    .remember_not_there(repo, now + TimeDelta::minutes(5));
                Err(not_installed(repo))
            }
            Err(error) => Err(error),
        }
    }

    /// The account that our comments are written by, where the forge tells it.
    ///
    /// An Actions token may not ask `GET /user`; GraphQL's `viewer` tells it. Where
    /// both are refused it is `None`, until [`GitHub::learn_account`] hears of it.
    pub(super) async fn own_account(
        &self,
        session: &Session,
    ) -> Result<Option<String>, ForgeError> {
        let mut account = self.sessions.account.lock().await;
        let now = clock::now();
        match &*account {
            Account::Is(login) => return Ok(Some(login.clone())),
            Account::Untold { ask_again } if *ask_again > now => return Ok(None),
            Account::Untold { .. } | Account::Unasked => {}
        }
        let asked = match &self.sessions.root().credential {
            Credential::App(_) => {
                let call = Call::read(
                    "/app".to_owned(),
                    "ask which App this is".to_owned(),
                    "the App".to_owned(),
                    Right::Account,
                );
                let app: App = self.client.json(self.sessions.root(), &call).await?;
                Some(format!("{}[bot]", app.slug))
            }
            Credential::Token(_) | Credential::Installation { .. } => {
                self.ask_user(session).await?
            }
        };
        match &asked {
            Some(login) => {
                info!(account = %login, "GitHub knows us as {login}");
                *account = Account::Is(login.clone());
            }
            None => {
                warn!(
                    "GitHub does not tell whose token this is; \
                     our account is learnt from the first comment that we write"
                );
                *account = Account::Untold {
                    ask_again: now + TimeDelta::hours(1),
                };
            }
        }
        Ok(asked)
    }

    async fn ask_user(&self, session: &Session) -> Result<Option<String>, ForgeError> {
        let call = Call::read(
            "/user".to_owned(),
            "ask whose token this is".to_owned(),
            "the token's account".to_owned(),
            Right::Account,
        );
        let refused = |error: &ForgeError| {
            matches!(
                error,
                ForgeError::Denied { .. } | ForgeError::NotFound { .. }
            )
        };
        match self.client.attempt(session, &call, None).await {
            Ok(answer) => {
                return self
                    .client
                    .understood::<Login>(&call, &answer)
                    .map(|user| Some(user.login));
            }
            // A wrong token is refused everywhere, and there is nothing to learn.
            Err(Failure::Unauthorized(error)) => return Err(error),
            Err(Failure::Other(error)) if refused(&error) => {}
            Err(Failure::Other(error)) => return Err(error),
        }
        match self.ask_viewer(session).await {
            Ok(login) => Ok(login),
            Err(error) if refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes note of who wrote what we just wrote.
    pub(super) async fn learn_account(&self, login: &str) {
        let mut account = self.sessions.account.lock().await;
        if !matches!(*account, Account::Is(_)) {
            info!(account = %login, "GitHub shows what we write as written by {login}");
            *account = Account::Is(login.to_owned());
        }
    }
}
