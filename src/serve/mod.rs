//! The daemon: puts the parts together, keeps them going, ends in order.

mod lock;
mod scheduler;
mod sweep;
mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

pub use lock::LockError;
pub use turn::{DaemonSeen, Renewer, keep_leases};

use self::scheduler::Scheduler;
use self::turn::Turn;
use crate::clock::now;
use crate::config::{Config, Engine as EngineSetting, GithubCredential};
use crate::engine::{CancelToken, Engine, EngineError, Program};
use crate::fault::chain;
use crate::fleet::{Fleet, Looks, Pulse, Tracked};
use crate::forge::github::{Auth, GitHub, Settings as GitHubSettings, SetupError};
use crate::forge::{Forge, Plain, RemoteHeads};
use crate::id::{CommitSha, RepoName};
use crate::plan::FingerprintKey;
use crate::policy::Policies;
use crate::sandbox::{self, Level, NotAvailable, Sandbox};
use crate::seal::Keys;
use crate::source::{Mirror, RemoteAddress};
use crate::store::{Store, StoreError};
use crate::tell;
use crate::watch::Watch;
use crate::worker::{Places, Worker};
use crate::workspace::{Declaration, RepoAddress};

/// How often the daemon looks at its own record when nothing wakes it: what other processes
/// (`mainstay apply`, `mainstay drift`) wrote is seen this soon.
const RECORD_LOOK: Duration = Duration::from_secs(1);

/// When the record is looked at again after that failed: the disk is full, say.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(5);

/// How long an apply may go on after the daemon was asked to end; then it is left to the next one.
const APPLY_GRACE: Duration = Duration::from_secs(600);

/// How long a plan gets to end after it was asked to.
const PLAN_GRACE: Duration = Duration::from_secs(20);

/// How long the outside may take to be told of the last things before the end.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The record cannot be opened.
    #[error("the record cannot be opened")]
    Store(#[from] StoreError),
    /// Terraform is not there.
    #[error("Terraform cannot be used")]
    Engine(#[from] EngineError),
    /// The data folder cannot be locked.
    #[error("the data folder cannot be used")]
    Lock(#[from] LockError),
    /// The credentials for GitHub cannot be read.
    #[error("the credentials for GitHub cannot be read")]
    Credential(#[from] crate::config::CredentialError),
    /// The GitHub client cannot be made.
    #[error("the client for GitHub cannot be made")]
    GitHub(#[from] SetupError),
    /// The key of the data folder cannot be read or made.
    #[error("the key {file} cannot be read or made")]
    Key {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The keys that states are sealed with cannot be used.
    #[error("what is kept cannot be opened or sealed")]
    AtRest(#[from] crate::seal::SealError),
    /// Our own executable is not known.
    #[error("the path of this program is not known")]
    Executable(#[source] std::io::Error),
    /// The sandbox that is asked for does not work here.
    #[error(transparent)]
    Sandbox(#[from] NotAvailable),
    /// The policies cannot be used.
    #[error("the policies cannot be used, and nothing is let through without them:\n{0}")]
    Policies(String),
}

/// Asks plain git remotes through the repositories' mirrors.
struct MirrorHeads {
    mirrors: PathBuf,
}

impl RemoteHeads for MirrorHeads {
    fn heads(
        &self,
        repo: &RepoName,
        url: &str,
    ) -> Result<Vec<(String, CommitSha)>, Box<dyn std::error::Error + Send + Sync>> {
        let mirror = Mirror::open(&self.mirrors.join(crate::fleet::folder_name(repo.as_str())))?;
        Ok(mirror.heads(&RemoteAddress {
            url: url.to_owned(),
            login: None,
        })?)
    }
}

/// The forges of the declared repositories.
pub struct Forges {
    /// Plain git remotes.
    pub plain: Arc<dyn Forge>,
    /// GitHub, where it is configured.
    pub github: Option<Arc<GitHub>>,
}

impl Forges {
    /// For commands that ask no forge anything.
    pub fn offline(config: &Config, declarations: &[Declaration]) -> Self {
        Self {
            plain: Arc::new(plain(config, declarations)),
            github: None,
        }
    }

    /// Makes the clients that the declarations need.
    ///
    /// # Errors
    ///
    /// Where credentials are missing.
    pub fn new(config: &Config, declarations: &[Declaration]) -> Result<Self, StartError> {
        let on_github = declarations
            .iter()
            .any(|d| matches!(d.address, RepoAddress::GitHub { .. }));
        let github = match &config.github {
            Some(settings) if on_github => {
                let auth = match settings.read_credential()? {
                    GithubCredential::Token(token) => Auth::Token(token),
                    GithubCredential::App { id, private_key } => Auth::App {
                        id,
                        private_key_pem: private_key,
                    },
                };
                let mut settings = GitHubSettings::new(settings.api_url.clone(), auth);
                if is_loopback(&settings.api_url) {
                    // GitHub asks for a second between writes; nothing on this machine does.
                    settings.mutation_pause = Duration::ZERO;
                }
                Some(Arc::new(GitHub::new(settings)?))
            }
            _ => None,
        };
        Ok(Self {
            plain: Arc::new(plain(config, declarations)),
            github,
        })
    }

    /// The forge of a repository with that address.
    pub fn of(&self, address: &RepoAddress) -> Arc<dyn Forge> {
        match (address, &self.github) {
            (RepoAddress::GitHub { .. }, Some(github)) => Arc::clone(github) as Arc<dyn Forge>,
            // A GitHub repository without a client cannot come here: `new` makes one for it.
            _ => Arc::clone(&self.plain),
        }
    }
}

/// Whether an API is on this very machine.
fn is_loopback(api_url: &str) -> bool {
    ["http://127.", "http://[::1]", "http://localhost"]
        .iter()
        .any(|start| api_url.starts_with(start))
}

fn plain(config: &Config, declarations: &[Declaration]) -> Plain {
    let urls = declarations.iter().filter_map(|d| match &d.address {
        RepoAddress::Git(url) => Some((d.repo.clone(), url.clone())),
        RepoAddress::GitHub { .. } => None,
    });
    let mirrors = Places::new(&config.data_dir).mirrors();
    Plain::new(Arc::new(MirrorHeads { mirrors }), urls)
}

/// Opens the record and joins the declarations with their forges.
///
/// # Errors
///
/// Where the record or a credential cannot be read.
pub fn open_fleet(
    config: Config,
    declarations: Vec<Declaration>,
    forges: &Forges,
) -> Result<Arc<Fleet>, StartError> {
    let store = Arc::new(Store::open(&config.data_dir)?);
    let key = load_key(&config)?;
    Keys::of(&config.data_dir, config.key_file.as_deref()).ready()?;
    let mirrors = Places::new(&config.data_dir).mirrors();
    let mut repositories = BTreeMap::new();
    for declaration in declarations {
        let forge = forges.of(&declaration.address);
        let tracked = Tracked::new(declaration, forge, &mirrors);
        repositories.insert(tracked.repo().clone(), Arc::new(tracked));
    }
    let (templates, problems) = crate::fleet::templates(&config);
    for problem in problems {
        warn!(template = %problem.file, "A template of your own is not used, and the built-in one stands in its place: {problem}");
    }
    Ok(Arc::new(Fleet {
        config,
        store,
        repositories,
        key,
        pulse: Pulse::new(now()),
        templates,
        looks: Looks::default(),
    }))
}

/// The key that digests of plans are made with: made at the first start, for this data folder only.
fn load_key(config: &Config) -> Result<FingerprintKey, StartError> {
    let file = config.data_dir.join("fingerprint.key");
    lock::read_or_make_key(&file)
        .map(FingerprintKey::new)
        .map_err(|source| StartError::Key { file, source })
}

/// Finds the engine that the settings name.
///
/// # Errors
///
/// Where it is not there.
pub fn find_engine(config: &Config) -> Result<Arc<Engine>, StartError> {
    let program = match &config.engine {
        EngineSetting::Terraform => Program::Terraform,
        EngineSetting::Tofu => Program::Tofu,
        EngineSetting::Path(path) => Program::Path(path.clone()),
    };
    let supervisor = std::env::current_exe().map_err(StartError::Executable)?;
    Ok(Arc::new(Engine::locate(&program, supervisor)?))
}

/// Finds the sandbox that the settings ask for, and tries it.
///
/// # Errors
///
/// Where a certain one is demanded and does not work here.
pub fn find_sandbox(config: &Config) -> Result<Sandbox, StartError> {
    let helper = std::env::current_exe().map_err(StartError::Executable)?;
    Ok(sandbox::find(config.sandbox.level, &helper)?.with_network(&config.sandbox.network)?)
}

/// Says in the log which sandbox runs are in, and what it does not hold.
pub fn say_sandbox(sandbox: &Sandbox) {
    let level = sandbox.level();
    match (level, sandbox.weakness()) {
        (Level::None, _) => warn!(
            "Runs are in no sandbox: a plan runs the code of the pull request with the daemon's rights"
        ),
        (_, Some(weakness)) => {
            warn!(sandbox = %level, "Runs are in the sandbox {level}; {weakness}")
        }
        (_, None) => info!(sandbox = %level, "Runs are in the sandbox {level}"),
    }
}

/// Reads the policies, and holds that every name that a declaration gives is one.
///
/// # Errors
///
/// [`StartError::Policies`] with all that is wrong: a plan must not be let through because a
/// policy is broken or was misspelt.
pub fn load_policies<'d>(
    config: &Config,
    declarations: impl IntoIterator<Item = &'d Declaration>,
) -> Result<Policies, StartError> {
    let (policies, problems) = Policies::load(&config.policies);
    let mut wrong: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {problem}", config.policies.display()))
        .collect();
    for declaration in declarations {
        wrong.extend(unknown_policies(&policies, declaration));
    }
    if wrong.is_empty() {
        Ok(policies)
    } else {
        Err(StartError::Policies(wrong.join("\n")))
    }
}

/// What to say of the names in a declaration that no policy has, each once.
pub fn unknown_policies(policies: &Policies, declaration: &Declaration) -> Vec<String> {
    let named: BTreeSet<&String> = declaration
        .workspaces
        .iter()
        .map(|w| &w.settings)
        .chain(declaration.discover.iter().map(|d| &d.settings))
        .flat_map(|settings| &settings.policies)
        .collect();
    named
        .into_iter()
        .filter(|name| !policies.has(name))
        .map(|name| {
            format!(
                "{}: `policies`: {}",
                declaration.file.display(),
                policies.unknown(name)
            )
        })
        .collect()
}

/// The environment of this process, as far as it is text.
pub fn own_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The daemon, put together.
pub struct Daemon {
    fleet: Arc<Fleet>,
    engine: Arc<Engine>,
    sandbox: Sandbox,
    policies: Arc<Policies>,
    environment: Vec<(String, String)>,
    /// Held for as long as the daemon lives.
    turn: Turn,
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked to.
    InOrder,
    /// At once, since another daemon took over: it has done nothing for too long.
    TakenOver,
}

impl Daemon {
    /// Puts the daemon together; nothing runs yet. While another daemon works with the record, it
    /// waits for that one's end; `None` where `end` comes first.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is missing.
    pub async fn new(
        fleet: Arc<Fleet>,
        engine: Arc<Engine>,
        sandbox: Sandbox,
        policies: Policies,
        environment: Vec<(String, String)>,
        end: &CancelToken,
    ) -> Result<Option<Self>, StartError> {
        let Some(turn) = Turn::wait(&fleet.store, &fleet.config.data_dir, end).await? else {
            return Ok(None);
        };
        for tracked in fleet.repositories.values() {
            // Only who has the folder may say which branch is kept.
            fleet
                .store
                .ensure_repository(tracked.repo(), &tracked.declaration.branch)?;
        }
        let version = engine.version().await?;
        info!(engine = %version, repositories = fleet.repositories.len(), data_dir = %fleet.config.data_dir.display(), "Mainstay {} starts with {} {version}", env!("CARGO_PKG_VERSION"), engine.flavour());
        Ok(Some(Self {
            fleet,
            engine,
            sandbox,
            policies: Arc::new(policies),
            environment,
            turn,
        }))
    }

    /// The repositories that are kept, and their record.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Runs until `end` is cancelled, then ends in order: no new work, plans are dropped, applies
    /// get a grace and are then left to the next daemon, which takes them over. Where another daemon
    /// took over meanwhile, it ends at once.
    pub async fn run(self, end: CancelToken) -> Ended {
        let worker = Arc::new(Worker::new(
            Arc::clone(&self.fleet),
            Arc::clone(&self.engine),
            self.sandbox.clone(),
            Arc::clone(&self.policies),
            self.environment.clone(),
        ));
        let sweeper = self.spawn_sweeper(worker.places());
        let wake = Arc::new(Notify::new());
        let last_call = CancelToken::new();
        let tellers = self.spawn_tellers(&last_call);
        let watch = Arc::new(Watch::new(Arc::clone(&self.fleet)));
        let watcher = tokio::spawn(watch.run(self.fleet.config.poll_every, Arc::clone(&wake)));
        let (ended, mut endings) = mpsc::unbounded_channel();
        let mut scheduler = Scheduler::new(Arc::clone(&self.fleet), worker, ended);
        let mut told = None;
        let lost = self.turn.lost.clone();
        while !end.is_cancelled() && !lost.is_cancelled() {
            // Read before the look: what is written meanwhile is looked at once more.
            let version = self.fleet.store.version().ok();
            let mut failed = false;
            let next = match scheduler.tick() {
                Ok(next) => {
                    self.fleet.pulse.beat(now());
                    next
                }
                Err(error) => {
                    error!(
                        "Looking at the record failed and is tried again: {}",
                        chain(&error)
                    );
                    failed = true;
                    Some(now() + AFTER_FAILURE)
                }
            };
            if version.is_none() || version != told {
                told = version;
                tellers.values().for_each(|teller| teller.wake.notify_one());
            }
            // What this process does wakes it by itself; what others write shows in the record.
            loop {
                tokio::select! {
                    () = end.cancelled() => break,
                    () = lost.cancelled() => break,
                    () = wake.notified() => break,
                    Some(_) = endings.recv() => break,
                    () = tokio::time::sleep(RECORD_LOOK) => {
                        if !failed {
                            self.fleet.pulse.beat(now());
                        }
                        let due = next.is_some_and(|at| at <= now());
                        let now = self.fleet.store.version().ok();
                        if due || now.is_none() || now != version {
                            break;
                        }
                    }
                }
            }
        }
        watcher.abort();
        sweeper.abort();
        if lost.is_cancelled() {
            // Everything is the other one's, and nothing that is done here is recorded any more.
            tellers.values().for_each(|teller| teller.task.abort());
            return Ended::TakenOver;
        }
        self.wind_down(&mut scheduler, &mut endings).await;
        // What is known by now is told; what cannot be is told by the next daemon.
        last_call.cancel();
        let deadline = Instant::now() + LAST_WORDS;
        for (repo, teller) in tellers {
            if tokio::time::timeout_at(deadline, teller.task)
                .await
                .is_err()
            {
                warn!(repo = %repo, "{repo} could not be told of everything before the end");
            }
        }
        self.turn.release();
        info!("Mainstay has ended");
        Ended::InOrder
    }

    /// Removes what is old, at the start and from time to time.
    fn spawn_sweeper(&self, places: &Places) -> JoinHandle<()> {
        let (fleet, places) = (Arc::clone(&self.fleet), places.clone());
        tokio::spawn(async move {
            loop {
                let (fleet, places) = (Arc::clone(&fleet), places.clone());
                let swept = tokio::task::spawn_blocking(move || {
                    sweep::sweep(&fleet.store, &places, &fleet.config);
                });
                if let Err(error) = swept.await {
                    error!("Sweeping was cut short: {error}");
                }
                tokio::time::sleep(sweep::SWEEP_EVERY).await;
            }
        })
    }

    async fn wind_down(
        &self,
        scheduler: &mut Scheduler,
        endings: &mut mpsc::UnboundedReceiver<crate::id::RunId>,
    ) {
        let began = Instant::now();
        loop {
            let applying = match scheduler.wind_down() {
                Ok(applying) => applying,
                Err(error) => {
                    error!("Looking at the record failed: {}", chain(&error));
                    return;
                }
            };
            if scheduler.under_way() == 0 {
                return;
            }
            let grace = if applying > 0 {
                APPLY_GRACE
            } else {
                PLAN_GRACE
            };
            let left = grace.saturating_sub(began.elapsed());
            if left.is_zero() {
                warn!(
                    applying,
                    "{applying} applies go on without this daemon; the next one takes them over"
                );
                return;
            }
            info!(
                applying,
                "Ending: {} runs are still under way, {applying} of them apply",
                scheduler.under_way()
            );
            let _ = tokio::time::timeout(left.min(PLAN_GRACE), endings.recv()).await;
        }
    }

    /// One task for each repository keeps the outside in line, so that a slow forge holds up nobody
    /// else and nothing is told twice at once. On `last_call` each tells once more and ends.
    fn spawn_tellers(&self, last_call: &CancelToken) -> HashMap<RepoName, Teller> {
        let mut tellers = HashMap::new();
        for (repo, tracked) in &self.fleet.repositories {
            let wake = Arc::new(Notify::new());
            let (fleet, tracked) = (Arc::clone(&self.fleet), Arc::clone(tracked));
            let (waking, last_call) = (Arc::clone(&wake), last_call.clone());
            let task = tokio::spawn(async move {
                loop {
                    let last = last_call.is_cancelled();
                    let pause = match tell::tell(&fleet, &tracked).await {
                        Ok(None) => None,
                        Ok(Some(at)) => Some((at - now()).to_std().unwrap_or_default()),
                        Err(error) => {
                            error!(repo = %tracked.repo(), "Telling {} failed: {}", tracked.repo(), chain(&error));
                            Some(RECORD_LOOK)
                        }
                    };
                    if last {
                        return;
                    }
                    let sleep = async {
                        match pause {
                            Some(pause) => tokio::time::sleep(pause).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = waking.notified() => {}
                        () = sleep => {}
                        () = last_call.cancelled() => {}
                    }
                }
            });
            tellers.insert(repo.clone(), Teller { wake, task });
        }
        tellers
    }
}

/// The task that tells of one repository.
struct Teller {
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}
