//! Terraform and OpenTofu: the only module that starts them.
//!
//! What holds whatever happens: a step's start is recorded before the program
//! runs; the program outlives the daemon and its end is recorded by its
//! [supervisor](supervise); an apply gets at most one signal and is never
//! killed; nothing is left of a step that was killed; what is applied is the
//! very file that was planned.

mod advice;
mod applying;
mod attend;
mod cancel;
mod checking;
mod credentials;
mod data_dir;
mod environment;
mod error;
mod events;
mod installed;
mod job;
mod limits;
mod lines;
mod local_state;
mod locks;
mod outlet;
mod planning;
mod process;
mod reading;
mod step;
pub mod supervise;
mod version;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

pub use self::applying::{kept_stranded, left_stranded, lock_in_text, take_stranded};
pub use self::attend::{Adopted, AdoptedEnd};
pub use self::cancel::CancelToken;
pub use self::checking::Tests;
pub use self::credentials::{Credentials, would_end};
pub use self::data_dir::backend_record;
pub use self::environment::environment;
pub use self::error::{
    ApplyEnd, EngineError, Evidence, FailedApply, LockInfo, ObserverRefused, Remedy, Rescue,
    Stranded,
};
pub use self::events::ApplyOutcome;
pub use self::job::{Job, Lock, State};
pub use self::limits::{Limit, LimitHit};
pub use self::locks::{OwnLock, host_name};
pub use self::outlet::refused;
pub use self::planning::discard_plan;
pub use self::process::{ProcessMark, boot_id};
pub use self::reading::ReadingError;
pub use self::step::logs;
pub use self::version::{Fit, InvalidVersion, Version, fit};
use crate::clock::Timestamp;
use crate::id::WorkspaceName;
use crate::plan::Diagnostic;
pub use local_state::{
    Force, KeptState, PushError, is_whole_again, mark as state_mark, restored as restored_state,
};

/// How long `version` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// Which program is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// `terraform`, found in the `PATH`.
    Terraform,
    /// `tofu`, found in the `PATH`.
    Tofu,
    /// The program at this path.
    Path(PathBuf),
}

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Terraform.
    Terraform,
    /// OpenTofu.
    Tofu,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Terraform => "Terraform",
            Self::Tofu => "OpenTofu",
        })
    }
}

/// How long is waited for a step that was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After this a step that changes nothing is killed.
    pub plan: Duration,
    /// After this an apply is reported as [`EngineError::StillRunning`]; it is never killed.
    pub apply: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // A provider answers a cancelled plan within seconds. A resource on
        // its way (a database, a cluster) takes up to half an hour to finish.
        Self {
            plan: Duration::from_secs(10),
            apply: Duration::from_secs(30 * 60),
        }
    }
}

/// Terraform or OpenTofu on this machine.
#[derive(Debug)]
pub struct Engine {
    program: PathBuf,
    flavour: Flavour,
    supervisor: PathBuf,
    patience: Patience,
    version: OnceCell<Version>,
}

impl Engine {
    /// Finds the program. `supervisor` is our own executable, which is started
    /// again as the supervisor of every step; `/proc/self/exe` names it even
    /// after an upgrade replaced the file.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`] says what was looked for, and where.
    pub fn locate(program: &Program, supervisor: PathBuf) -> Result<Self, EngineError> {
        let (sought, flavour) = match program {
            Program::Terraform => (OsString::from("terraform"), Flavour::Terraform),
            Program::Tofu => (OsString::from("tofu"), Flavour::Tofu),
            Program::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let tofu = name.contains("tofu");
                (
                    path.clone().into_os_string(),
                    if tofu {
                        Flavour::Tofu
                    } else {
                        Flavour::Terraform
                    },
                )
            }
        };
        let found = which::which(&sought).map_err(|_| EngineError::NotFound {
            sought: Path::new(&sought).display().to_string(),
            looked_in: match program {
                Program::Path(path) => path
                    .parent()
                    .unwrap_or(Path::new("."))
                    .display()
                    .to_string(),
                Program::Terraform | Program::Tofu => match std::env::var_os("PATH") {
                    Some(path) if !path.is_empty() => {
                        format!("the PATH, {}", Path::new(&path).display())
                    }
                    Some(_) => "the PATH, which is empty".to_owned(),
                    None => "the PATH, which is not set".to_owned(),
                },
            },
        })?;
        // Steps run in folders of their own.
        let found = std::path::absolute(&found).unwrap_or(found);
        Ok(Self {
            program: found,
            flavour,
            supervisor,
            patience: Patience::default(),
            version: OnceCell::new(),
        })
    }

    /// The same engine with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Our own program, which is started again to supervise a step and to read a plan.
    pub fn own_program(&self) -> &Path {
        &self.supervisor
    }

    /// Which of the two it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The program's version, asked once.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoVersion`] where it tells none within 30 seconds.
    pub async fn version(&self) -> Result<Version, EngineError> {
        self.version
            .get_or_try_init(|| self.ask_version())
            .await
            .cloned()
    }

    async fn ask_version(&self) -> Result<Version, EngineError> {
        #[derive(Deserialize)]
        struct Told {
            // OpenTofu tells its own version under this name, too.
            terraform_version: String,
        }
        let refused = |said: String| EngineError::NoVersion {
            program: self.program.clone(),
            said,
        };
        // It touches no state and no configuration, and needs no supervisor.
        let asked = tokio::process::Command::new(&self.program)
            .args(["version", "-json"])
            .env_clear()
            .envs(
                ["PATH", "HOME"]
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("CHECKPOINT_DISABLE", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(VERSION_LIMIT, asked).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(format!("it could not be started: {error}"))),
            Err(_) => return Err(refused("it did not answer within 30 s".to_owned())),
        };
        serde_json::from_slice::<Told>(&output.stdout)
            .ok()
            .and_then(|told| told.terraform_version.parse().ok())
            .ok_or_else(|| {
                let said = if output.stdout.is_empty() {
                    output.stderr
                } else {
                    output.stdout
                };
                let said = String::from_utf8_lossy(&said);
                refused(said.chars().filter(|c| !c.is_control()).take(200).collect())
            })
    }
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanMode {
    /// To change the world to what the configuration says.
    Normal,
    /// To see what changed in the world: `-refresh-only`.
    RefreshOnly,
}

/// One start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `workspace list`.
    WorkspaceList,
    /// `init`.
    Init,
    /// `plan`.
    Plan,
    /// `show -json` of the plan.
    Show,
    /// `apply`.
    Apply,
    /// `state push` of a state that an apply could not save.
    StatePush,
    /// A try to take the state's lock, to see who holds it.
    LockLook,
    /// `force-unlock` of a lock that a dead apply of ours left.
    ForceUnlock,
    /// `fmt`, which only looks.
    Fmt,
    /// `validate`.
    Validate,
    /// `test`.
    Test,
    /// A command of the operator's own.
    Check,
    /// The command that prints credentials.
    Credentials,
}

impl Step {
    /// The name of the step's folder, after its number.
    fn slug(self) -> &'static str {
        match self {
            Self::WorkspaceList => "workspace-list",
            Self::Init => "init",
            Self::Plan => "plan",
            Self::Show => "show",
            Self::Apply => "apply",
            Self::StatePush => "state-push",
            Self::LockLook => "lock-look",
            Self::ForceUnlock => "force-unlock",
            Self::Fmt => "fmt",
            Self::Validate => "validate",
            Self::Test => "test",
            Self::Check => "check",
            Self::Credentials => "credentials",
        }
    }

    /// Whether the step may be killed.
    fn mercy(self) -> supervise::Mercy {
        match self {
            Self::WorkspaceList
            | Self::Init
            | Self::Plan
            | Self::Show
            | Self::LockLook
            | Self::ForceUnlock
            | Self::Fmt
            | Self::Validate
            | Self::Test
            | Self::Check
            | Self::Credentials => supervise::Mercy::Expendable,
            Self::Apply | Self::StatePush => supervise::Mercy::Spared,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorkspaceList => "workspace list",
            Self::Init => "init",
            Self::Plan => "plan",
            Self::Show => "show",
            Self::Apply => "apply",
            Self::StatePush => "state push",
            Self::LockLook => "untaint",
            Self::ForceUnlock => "force-unlock",
            Self::Fmt => "fmt",
            Self::Validate => "validate",
            Self::Test => "test",
            Self::Check => "check",
            Self::Credentials => "credentials",
        })
    }
}

/// Why a step was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

/// A step that is about to start; what must be recorded so that it can be adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStart {
    /// The workspace that it is for.
    pub workspace: WorkspaceName,
    /// The step.
    pub step: Step,
    /// Its folder, with its output and the records of its processes.
    pub dir: PathBuf,
    /// The folder that it runs in; `None` in records of before it was noted.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Its supervisor, which runs and waits.
    pub supervisor: ProcessMark,
    /// The kernel's run that the supervisor's number belongs to.
    pub boot_id: String,
    /// When.
    pub at: Timestamp,
    /// How long it may take before it is asked to stop; `None` in records of before it was noted.
    #[serde(default)]
    pub limit: Option<Duration>,
}

/// A step that ended, or that is no longer waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// The workspace that it was for.
    pub workspace: WorkspaceName,
    /// The step.
    pub step: Step,
    /// Its folder.
    pub dir: PathBuf,
    /// How long it took.
    pub took: Duration,
    /// How it ended; `None` where nothing says it.
    pub ended: Option<supervise::Ended>,
}

/// What moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step began.
    Started(Step),
    /// So many resources were looked at in the world.
    Refreshed(usize),
    /// So many changes are planned.
    Planned(usize),
    /// The change of this resource began.
    Applying(String),
    /// The change of this resource, or the first half of its replacement, is done.
    Applied(String),
    /// The change of this resource failed.
    Failed(String),
}

/// Who records steps, and watches them.
pub trait Observer: Send + Sync {
    /// Records that a step is about to start. The program starts only after
    /// this returned well, so that what runs is always on record; where it
    /// fails, nothing is started.
    ///
    /// # Errors
    ///
    /// The start could not be recorded.
    fn before(&self, start: &StepStart) -> Result<(), ObserverRefused>;

    /// Takes note that a step ended.
    fn after(&self, end: &StepEnd);

    /// Takes note that something moved. Called often; it should return at once.
    fn progress(&self, progress: &Progress);

    /// Takes note of the id of the lock that the apply under way holds on its state.
    fn lock_seen(&self, _id: &str) {}
}

/// Whether a plan would change anything, by its exit code.
///
/// A refresh-only plan may say that something changed right after a clean
/// apply: judge drift by the plan's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing would change.
    None,
    /// Something would.
    Some,
}

/// A plan on disk, made and not yet applied. Applying consumes it.
#[derive(Debug)]
pub struct SavedPlan {
    /// The plan's file; it holds secrets in clear.
    pub file: PathBuf,
    /// What `show -json` said of it, in a file; it holds secrets in clear.
    pub json: PathBuf,
    /// The plan file's SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Whether it changes anything.
    pub outcome: Changes,
    /// What Terraform warned of.
    pub warnings: Vec<Diagnostic>,
    /// Which steps were taken, and how long each took.
    pub took: Vec<(Step, Duration)>,
    /// What it was made for.
    made_for: MadeFor,
}

/// What a plan belongs to; it is applied to nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MadeFor {
    workspace: WorkspaceName,
    cwd: PathBuf,
    data_dir: PathBuf,
    state: State,
    terraform_workspace: Option<String>,
}

impl MadeFor {
    fn of(job: &Job) -> Self {
        Self {
            workspace: job.workspace.clone(),
            cwd: job.cwd(),
            data_dir: job.data_dir.clone(),
            state: job.state.clone(),
            terraform_workspace: job.terraform_workspace.clone(),
        }
    }
}

/// An apply that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What Terraform warned of.
    pub warnings: Vec<Diagnostic>,
    /// Which steps were taken, and how long each took.
    pub took: Vec<(Step, Duration)>,
    /// What became of each resource that was to change, by address. Moves,
    /// imports and removals from the state send no events and are not here.
    pub resources: Vec<(String, ApplyOutcome)>,
}
