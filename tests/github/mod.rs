//! A model of GitHub behind a real HTTP server, with real git repositories on disk.
//!
//! It follows what GitHub publishes of its REST and GraphQL interfaces (names of
//! fields, statuses, headers), so that it shows whether the client, which is
//! written from the same pages, agrees. What a test does to it (pushes, merges,
//! comments by people) goes through [`GitHub`] and [`Repository`]; what a client
//! does goes over HTTP alone. It writes down every request and, apart from
//! that, everything that truly happened.
//!
//! A test crate takes it in at its root, where it uses a part only so:
//! `#[expect(dead_code, reason = "…")] mod github;`.
//!
//! The server has a thread of its own, so that a test may wait for a blocking
//! program, and ends when [`GitHub`] is dropped.

mod app;
mod auth;
pub(crate) mod fault;
pub(crate) mod git;
mod graphql;
pub(crate) mod limit;
mod line;
pub(crate) mod log;
mod render;
mod reply;
pub(crate) mod repository;
mod rest;
mod server;
mod smart_http;
mod sync;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use app::{App, Installation};
use fault::Fault;
use limit::Resource;
use log::{LoggedRequest, Patience, Route, Truth};
use repository::Repository;
use server::Shared;
use world::{AccountKind, Grant, Repo, Role, Switch, TokenKind, World, this_second};

/// A GitHub of its own.
pub(crate) struct GitHub {
    shared: Arc<Shared>,
    origin: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Holds the repositories; deleted last.
    root: TempDir,
}

impl GitHub {
    /// Starts a server on a free port of 127.0.0.1, with nobody and nothing in it.
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = root.path().to_path_buf();
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port of 127.0.0.1 is free");
                let address = listener.local_addr().expect("a listener has an address");
                let origin = format!("http://{address}");
                let shared = Arc::new(Shared::new(World::new(folder, origin.clone())));
                if ready.send((shared.clone(), origin)).is_ok() {
                    server::serve(listener, shared, stopped).await;
                }
            });
        });
        let (shared, origin) = started.await.expect("the model's server starts");
        Self {
            shared,
            origin,
            stop: Some(stop),
            thread: Some(thread),
            root,
        }
    }

    /// What `https://api.github.com` is to the real one.
    pub(crate) fn api_url(&self) -> String {
        self.origin.clone()
    }

    /// The same API where GitHub Enterprise Server has it.
    pub(crate) fn enterprise_api_url(&self) -> String {
        format!("{}/api/v3", self.origin)
    }

    /// What `https://github.com` is to the real one; clone URLs are below it.
    pub(crate) fn web_url(&self) -> String {
        self.origin.clone()
    }

    /// The folder that holds the repositories.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.path().to_path_buf()
    }

    /// Makes `owner/name`: private, empty, its default branch `main`.
    pub(crate) fn create_repository(&self, full_name: &str) -> Repository {
        let mut world = self.shared.world();
        let key = new_repository(&mut world, full_name, None);
        Repository::new(self.shared.clone(), key)
    }

    /// A repository that is there already.
    pub(crate) fn repository(&self, full_name: &str) -> Repository {
        Repository::new(self.shared.clone(), full_name.to_lowercase())
    }

    /// Deletes a repository, and what is on disk of it.
    pub(crate) fn remove_repository(&self, full_name: &str) {
        let mut world = self.shared.world();
        if let Some(repo) = world.repos.remove(&full_name.to_lowercase()) {
            std::fs::remove_dir_all(&repo.dir).expect("a repository can be deleted");
        }
    }

    /// Renames a repository; its old name leads to the new one.
    pub(crate) fn rename_repository(&self, old: &str, new: &str) -> Repository {
        let mut world = self.shared.world();
        let mut repo = world
            .repos
            .remove(&old.to_lowercase())
            .expect("the repository is there");
        let (owner, name) = new.split_once('/').expect("a full name is `owner/name`");
        (repo.owner, repo.name) = (owner.to_owned(), name.to_owned());
        world.renamed.insert(old.to_lowercase(), repo.id);
        let key = new.to_lowercase();
        for other in world.repos.values_mut().chain([&mut repo]) {
            for issue in other.issues.values_mut() {
                if let Some(pull) = issue
                    .pull
                    .as_mut()
                    .filter(|p| p.head_repo == old.to_lowercase())
                {
                    pull.head_repo.clone_from(&key);
                }
            }
        }
        world.repos.insert(key.clone(), repo);
        Repository::new(self.shared.clone(), key)
    }

    /// Makes a person's account, and gives them roles in repositories.
    pub(crate) fn user(&self, login: &str, roles: &[(&Repository, Role)]) {
        self.shared.world().account(login, AccountKind::User);
        for (repository, role) in roles {
            repository.grant(login, *role);
        }
    }

    /// Lets a personal access token (classic) of `login` in, with these scopes.
    pub(crate) fn token(&self, token: &str, login: &str, scopes: &[&str]) {
        let mut world = self.shared.world();
        world.account(login, AccountKind::User);
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let kind = TokenKind::Classic {
            login: login.to_owned(),
            scopes,
        };
        world.tokens.insert(token.to_owned(), kind);
    }

    /// Lets a fine-grained personal access token of `login` in.
    pub(crate) fn fine_grained_token(
        &self,
        token: &str,
        login: &str,
        repositories: &[&Repository],
        permissions: &[(&str, &str)],
    ) {
        let repositories = repositories
            .iter()
            .map(|repository| repository.id())
            .collect();
        let mut world = self.shared.world();
        world.account(login, AccountKind::User);
        let grant = Grant {
            repositories,
            permissions: owned(permissions),
        };
        let kind = TokenKind::FineGrained {
            login: login.to_owned(),
            grant,
        };
        world.tokens.insert(token.to_owned(), kind);
    }

    /// No longer lets a token in, of whatever kind.
    pub(crate) fn revoke_token(&self, token: &str) {
        self.shared.world().tokens.remove(token);
    }

    /// Registers an App, and gives its private key (PEM, PKCS #1).
    pub(crate) fn app(&self, id: u64, slug: &str, owner: &str) -> String {
        let mut world = self.shared.world();
        world.account(owner, AccountKind::Organization);
        world.account(&format!("{slug}[bot]"), AccountKind::Bot);
        let app = App::new(id, slug, owner);
        let key = app.private_key_pem().to_owned();
        world.apps.insert(id, app);
        key
    }

    /// Installs an App in repositories of one owner, with the permissions that it
    /// asks for, and gives the installation's id.
    pub(crate) fn install(&self, app: u64, repositories: &[&Repository]) -> u64 {
        let ids: Vec<u64> = repositories
            .iter()
            .map(|repository| repository.id())
            .collect();
        let mut world = self.shared.world();
        let owner = world.repos.values().find(|repo| ids.contains(&repo.id));
        let account = owner.map(|repo| repo.owner.clone()).unwrap_or_default();
        let id = world.next_small_id();
        let app = world.apps.get_mut(&app).expect("the App is registered");
        let permissions = app.permissions.clone();
        let created_at = this_second();
        app.installations.push(Installation {
            id,
            account,
            repositories: ids,
            permissions,
            created_at,
        });
        id
    }

    /// Changes what an installation may, such as `("statuses", "read")`; tokens that
    /// are out lose it too. A level of `none` takes the permission away.
    pub(crate) fn set_permission(&self, installation: u64, name: &str, level: &str) {
        let mut world = self.shared.world();
        let World { apps, tokens, .. } = &mut *world;
        let installed = apps
            .values_mut()
            .flat_map(|app| app.installations.iter_mut())
            .filter(|known| known.id == installation)
            .map(|known| &mut known.permissions);
        let granted = tokens.values_mut().filter_map(|token| match token {
            TokenKind::Installation {
                installation: of,
                grant,
                ..
            } if *of == installation => Some(&mut grant.permissions),
            _ => None,
        });
        for permissions in installed.chain(granted) {
            match level {
                "none" => permissions.remove(name),
                _ => permissions.insert(name.to_owned(), level.to_owned()),
            };
        }
    }

    /// Takes an App's installation away; its tokens are no good from now on.
    pub(crate) fn uninstall(&self, installation: u64) {
        let mut world = self.shared.world();
        for app in world.apps.values_mut() {
            app.installations.retain(|known| known.id != installation);
        }
        world.tokens.retain(|_, token| {
            !matches!(token, TokenKind::Installation { installation: of, .. } if *of == installation)
        });
    }

    /// How long an App's installation tokens live from now on.
    pub(crate) fn set_token_lifetime(&self, app: u64, lifetime: Duration) {
        let mut world = self.shared.world();
        world
            .apps
            .get_mut(&app)
            .expect("the App is registered")
            .token_lifetime = lifetime;
    }

    /// Answers GraphQL with this status from now on; `None` switches it on again.
    pub(crate) fn refuse_graphql(&self, status: Option<u16>) {
        self.shared.world().graphql_refusal = status;
    }

    /// Gives every caller this much in each window, beginning anew.
    pub(crate) fn set_rate_limit(&self, resource: Resource, limit: u64, window: Duration) {
        self.shared.world().limits.resize(resource, limit, window);
    }

    /// Sets its clock so far ahead of the machine's; behind, where it is negative.
    pub(crate) fn set_clock_ahead(&self, ahead: chrono::TimeDelta) {
        self.shared.world().ahead = ahead;
    }

    /// Refuses what creates more content than GitHub lets a caller create, from now on.
    pub(crate) fn keep_creation_limits(&self) {
        self.shared.world().limits.keep_creations();
    }

    /// How many requests with a token of this account created content so far.
    pub(crate) fn creations(&self, login: &str) -> usize {
        let who = format!("user {}", login.to_lowercase());
        self.shared.world().limits.creations(&who)
    }

    /// Lets requests pass that come so soon after their sender was told to wait: it may do several
    /// things at once, and cannot take back what it has sent.
    pub(crate) fn allow_on_its_way(&self, time: Duration) {
        let time = chrono::TimeDelta::from_std(time).expect("it is short");
        self.shared.world().limits.allow_on_its_way(time);
    }

    /// Lets something go wrong with requests to come.
    pub(crate) fn fault(&self, fault: Fault) {
        self.shared.world().faults.push(fault);
    }

    /// Faults that no request has met yet, as text.
    pub(crate) fn faults_left(&self) -> Vec<String> {
        let world = self.shared.world();
        world
            .faults
            .iter()
            .filter(|f| f.left() > 0)
            .map(|f| format!("{f:?}"))
            .collect()
    }

    /// Forgets faults that no request has met yet.
    pub(crate) fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.world().requests.clone()
    }

    /// Everything that truly happened so far.
    pub(crate) fn truth(&self) -> Vec<Truth> {
        sync::sync_all(&mut self.shared.world());
        self.shared.world().truth.clone()
    }

    /// Lets somebody see each effect in the instant that it happens: before whoever caused it
    /// hears of it, and before anything else happens here.
    pub(crate) fn witness(&self, witness: impl Fn(&Truth) + Send + 'static) {
        self.shared.world().witness = Some(Box::new(witness));
    }

    /// Requests that came although the client had been told to wait.
    pub(crate) fn impatient(&self) -> Vec<LoggedRequest> {
        self.requests()
            .into_iter()
            .filter(|r| r.patience == Patience::Lost)
            .collect()
    }

    /// Requests that the model does not know; a test that has some tests nothing.
    pub(crate) fn unmodelled(&self) -> Vec<LoggedRequest> {
        self.requests()
            .into_iter()
            .filter(|r| r.route == Route::Unknown)
            .collect()
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and failed the request that caused it.
            let _ = thread.join();
        }
    }
}

fn owned(permissions: &[(&str, &str)]) -> BTreeMap<String, String> {
    permissions
        .iter()
        .map(|(name, level)| ((*name).to_owned(), (*level).to_owned()))
        .collect()
}

/// Makes a repository and gives its key.
fn new_repository(world: &mut World, full_name: &str, fork_of: Option<String>) -> String {
    let (owner, name) = full_name
        .split_once('/')
        .expect("a full name is `owner/name`");
    let key = full_name.to_lowercase();
    assert!(
        !world.repos.contains_key(&key),
        "{full_name} is there already"
    );
    let kind = if fork_of.is_some() {
        AccountKind::User
    } else {
        AccountKind::Organization
    };
    world.account(owner, kind);
    world.renamed.remove(&key);
    let dir = world.root.join(owner).join(format!("{name}.git"));
    std::fs::create_dir_all(&dir).expect("a folder can be made");
    git::init(&dir).expect("a repository can be made");
    let now = this_second();
    let repo = Repo {
        id: world.next_small_id(),
        owner: owner.to_owned(),
        name: name.to_owned(),
        dir,
        private: Switch::On,
        archived: Switch::Off,
        issues_enabled: Switch::On,
        default_branch: "main".to_owned(),
        fork_of,
        collaborators: BTreeMap::new(),
        heads: BTreeMap::new(),
        issues: BTreeMap::new(),
        last_number: 0,
        labels: Vec::new(),
        statuses: Vec::new(),
        check_runs: Vec::new(),
        created_at: now,
        updated_at: now,
        pushed_at: now,
        before: None,
    };
    world.repos.insert(key.clone(), repo);
    key
}
