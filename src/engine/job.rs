//! What is to be run, and the folders and the state that belong to it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Step;
use super::error::{EngineError, Evidence};
use super::local_state::{self, Condition, KeptState};
use crate::config::Limits;
use crate::id::WorkspaceName;
use crate::modules::Backend;
use crate::network::HostPattern;
use crate::redact::Secret;
use crate::seal::{STRANDED, SealError};
use crate::workspace::Trust;

/// The folder in a job's folder that Terraform itself writes to.
pub(super) const OUT_DIR: &str = "out";

/// The folder in a job's folder with the state that a plan reads.
pub(super) const STATE_COPY: &str = "state";

/// What is to be run, where, and with what.
#[derive(Debug, Clone)]
pub struct Job {
    /// The workspace.
    pub workspace: WorkspaceName,
    /// The checkout of the repository, an absolute path.
    pub checkout: PathBuf,
    /// The root module's folder in it, with `/`; empty for the top.
    pub folder: String,
    /// A folder of this run's own for logs and the plan, absolute; a folder for each step is made
    /// in it. Its plans and logs may hold secrets: it is the caller's to remove.
    pub work_dir: PathBuf,
    /// Terraform's data folder, absolute, outside of the checkout and kept between runs. What a
    /// stranger's plan may have written to must not be used for a merge.
    pub data_dir: PathBuf,
    /// The folder for temporary files, absolute, made where it is not there and
    /// the caller's to remove once no step runs. Providers put sockets in it,
    /// so the path is at most [`Job::TMP_DIR_LIMIT`] bytes long.
    pub tmp_dir: PathBuf,
    /// A program with its arguments that Terraform's command is put behind: a sandbox. Empty for none.
    pub wrapper: Vec<OsString>,
    /// The hosts that are let through by the one way out of the sandbox, where the `wrapper` leaves
    /// no other; `None` where it makes none.
    pub door: Option<Vec<HostPattern>>,
    /// Where the state is.
    pub state: State,
    /// Variable files, relative to the folder.
    pub var_files: Vec<String>,
    /// Terraform's own workspace to select, where it is not `default`.
    pub terraform_workspace: Option<String>,
    /// What Terraform sees of the environment, as [`super::environment()`] chose it.
    pub env: Vec<(String, Secret)>,
    /// How long a plan may take, init and all.
    pub plan_timeout: Duration,
    /// How long an apply may take before it is asked to stop.
    pub apply_timeout: Duration,
    /// Whether a plan takes the state's lock. An apply always does.
    pub lock: Lock,
    /// What each step may use.
    pub limits: Limits,
    /// What its code may ask for.
    pub trust: Trust,
    /// Where its configuration says that the state is.
    pub backend: Backend,
    /// The `required_version` constraints of the root module.
    pub required_version: Vec<String>,
}

impl Job {
    /// A socket's path holds 107 bytes on Linux; a provider's name in the folder takes up to 27.
    pub const TMP_DIR_LIMIT: usize = 80;

    /// The folder in `work_dir` that Terraform itself writes to: the plan is in it. All else in
    /// `work_dir` is ours, and what runs must not be able to write it.
    pub fn out_dir(&self) -> PathBuf {
        self.work_dir.join(OUT_DIR)
    }

    /// The file in `work_dir` with a state that an apply could not save, which is read to push it.
    pub fn stranded_state(&self) -> PathBuf {
        self.work_dir.join(STRANDED)
    }

    /// The folders that are the run's own and that Terraform writes to.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        vec![
            self.checkout.clone(),
            self.data_dir.clone(),
            self.tmp_dir.clone(),
            self.out_dir(),
        ]
    }

    /// The folder that Terraform runs in.
    pub fn cwd(&self) -> PathBuf {
        if self.folder.is_empty() {
            self.checkout.clone()
        } else {
            self.checkout.join(&self.folder)
        }
    }
}

/// Where a workspace's state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Where the configuration's `backend` or `cloud` block says.
    Backend,
    /// Kept by Mainstay, sealed, with the versions before it.
    Kept(KeptState),
    /// In this file in the clear, which is somebody else's to look after: for plans only.
    Local(PathBuf),
    /// In the folder itself, as Terraform does without a backend.
    InFolder,
}

/// Whether a plan takes the state's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It does, and waits this long for whoever holds it.
    Take {
        /// How long.
        wait: Duration,
    },
    /// It reads the state without: for plans that are only shown.
    Skip,
}

impl Lock {
    /// How long an apply waits for the lock where its job does not say.
    pub(super) const APPLY_WAIT: Duration = Duration::from_secs(60);
}

impl Job {
    /// The whole environment of a step: the job's, and over it what the engine sets.
    pub(super) fn environment(
        &self,
        terraform_workspace: Option<&str>,
    ) -> io::Result<Vec<(OsString, OsString)>> {
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        let mut set = |name: &str, value: &OsStr| {
            env.retain(|(known, _)| known != name);
            env.push((name.into(), value.to_owned()));
        };
        for (name, value) in &self.env {
            if name == "TF_CLI_CONFIG_FILE" {
                // Terraform runs in another folder, and warns of a missing file each time.
                let path = std::path::absolute(value.expose())?;
                if path.is_file() {
                    set(name, path.as_os_str());
                }
            } else {
                set(name, OsStr::new(value.expose()));
            }
        }
        set("TF_DATA_DIR", self.data_dir.as_os_str());
        set("TF_IN_AUTOMATION", OsStr::new("1"));
        set("TF_INPUT", OsStr::new("0"));
        set("CHECKPOINT_DISABLE", OsStr::new("1"));
        set("TMPDIR", self.tmp_dir.as_os_str());
        if let Some(selected) = terraform_workspace {
            set("TF_WORKSPACE", OsStr::new(selected));
        }
        Ok(env)
    }

    /// Names what was being done when an I/O error came.
    pub(super) fn failing(
        &self,
        what: impl FnOnce() -> String,
    ) -> impl FnOnce(io::Error) -> EngineError {
        let workspace = self.workspace.clone();
        move |source| EngineError::Io {
            workspace,
            what: what(),
            source,
        }
    }

    /// Makes the run's folders, for their owner alone.
    pub(super) fn prepare(&self) -> Result<(), EngineError> {
        if self.tmp_dir.as_os_str().as_bytes().len() > Self::TMP_DIR_LIMIT {
            let source = io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!(
                    "it is longer than {} bytes, too long for sockets",
                    Self::TMP_DIR_LIMIT
                ),
            );
            return Err(self.failing(|| {
                format!("use {} for temporary files", self.tmp_dir.display())
            })(source));
        }
        for path in [
            &self.checkout,
            &self.work_dir,
            &self.data_dir,
            &self.tmp_dir,
        ] {
            if !path.is_absolute() {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no absolute path");
                return Err(self.failing(|| format!("use {}", path.display()))(source));
            }
        }
        for dir in [&self.work_dir, &self.tmp_dir, &self.out_dir()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(self.failing(|| format!("make {}", dir.display())))?;
        }
        Ok(())
    }

    /// Where a plan finds the state that Mainstay keeps: in the clear, in a folder of the run's own.
    pub fn state_copy(&self) -> PathBuf {
        self.work_dir.join(STATE_COPY).join("terraform.tfstate")
    }

    /// Names the workspace where something sealed could not be used.
    pub(super) fn at_rest(&self, source: SealError) -> EngineError {
        EngineError::AtRest {
            workspace: self.workspace.clone(),
            source,
        }
    }

    /// Looks at a state that Mainstay keeps, before anything is done with it, and copies it in the
    /// clear for a plan. Returns its serial number, where there is a state.
    pub(super) fn check_state(&self, step: Step) -> Result<Option<u64>, EngineError> {
        let State::Kept(state) = &self.state else {
            return Ok(None);
        };
        state
            .prepare()
            .map_err(self.failing(|| format!("protect {}", state.path.display())))?;
        let copy = self.state_copy();
        let folder = self.work_dir.join(STATE_COPY);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(self.failing(|| format!("make {}", folder.display())))?;
        let sealed = |source| self.at_rest(source);
        let unix = crate::clock::now().timestamp();
        let condition = match self.lock {
            Lock::Take { .. } if state.is_being_written().map_err(sealed)? => {
                Condition::BeingWritten
            }
            Lock::Take { .. } => {
                state.settle(unix).map_err(sealed)?;
                state.look(&copy).map_err(sealed)?
            }
            Lock::Skip => {
                state.settle_former().map_err(sealed)?;
                state.look(&copy).map_err(sealed)?
            }
        };
        match condition {
            Condition::Absent => Ok(None),
            Condition::Sound(serial) => Ok(Some(serial)),
            Condition::BeingWritten => Err(EngineError::StateLocked {
                evidence: Box::new(Evidence {
                    workspace: self.workspace.clone(),
                    step,
                    diagnostics: Vec::new(),
                    tail: String::new(),
                }),
                lock: state.holder(),
            }),
            Condition::Corrupt => {
                let shown = state.standing();
                let versions = local_state::versions(&state.path)
                    .map_err(self.failing(|| format!("read the state {}", shown.display())))?;
                // Whoever has no lock may have looked in the middle of another one's write.
                if let (Lock::Take { .. }, Some(newest)) = (&self.lock, versions.first()) {
                    tracing::warn!(workspace = %self.workspace, "The state {} is empty or damaged: {} is put in its place", shown.display(), newest.display());
                    state.restore(newest, unix).map_err(sealed)?;
                    if let Condition::Sound(serial) = state.look(&copy).map_err(sealed)? {
                        return Ok(Some(serial));
                    }
                }
                Err(EngineError::CorruptState {
                    workspace: self.workspace.clone(),
                    path: shown,
                    versions,
                })
            }
        }
    }
}
