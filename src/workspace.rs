//! Workspaces as the daemon's declarations give them.

mod trust;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Schedule;
use crate::id::{BranchName, RepoName, WorkspaceName};

pub use trust::{InvalidPattern, ModulePattern, ModuleSource, ProviderAddress, ProviderPattern};
pub use trust::{Rule, Trust};

/// One file of `workspaces/`: a repository and what is kept of it.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The file that says so.
    pub file: PathBuf,
    /// The repository's name, as the file writes it.
    pub repo: RepoName,
    /// Where the repository is.
    pub address: RepoAddress,
    /// The branch that is kept true: the base of proposals.
    pub branch: BranchName,
    /// On a plain git remote, the glob patterns of branches that are proposals.
    pub proposals: Vec<String>,
    /// Where it is written what became of each commit of the branch.
    pub recorded: Recorded,
    /// The workspaces that are named one by one.
    pub workspaces: Vec<Workspace>,
    /// Where root modules are looked for besides.
    pub discover: Option<Discover>,
}

impl Declaration {
    /// How a workspace is run: declared by name, or found.
    pub fn settings(&self, name: &WorkspaceName) -> Option<&Settings> {
        self.workspaces
            .iter()
            .find(|w| &w.name == name)
            .map(|w| &w.settings)
            .or_else(|| self.discover.as_ref().map(|d| &d.settings))
    }
}

/// Where it is written what became of each commit of the base branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recorded {
    /// In the daemon's record alone.
    #[default]
    Here,
    /// In the repository as well, as git notes.
    InGit,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoAddress {
    /// On GitHub (or GitHub Enterprise).
    GitHub {
        /// The account that owns it.
        owner: String,
        /// Its name.
        name: String,
    },
    /// A plain git remote: a URL that git understands, or an absolute path.
    Git(String),
}

/// A root module with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its name, unique in the repository.
    pub name: WorkspaceName,
    /// The folder of the root module, relative to the repository with `/`; empty for the top.
    pub path: String,
    /// How it is run.
    pub settings: Settings,
}

/// How a workspace is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The environment that it belongs to.
    pub environment: Option<String>,
    /// Variable files, relative to the workspace's folder.
    pub var_files: Vec<String>,
    /// Glob patterns, relative to the repository, of more files that concern it.
    pub watch: Vec<String>,
    /// What happens when a change is merged.
    pub apply: ApplyMode,
    /// Whether and when drift is looked for.
    pub drift: Option<DriftSettings>,
    /// What is checked before the plan of a proposal.
    pub checks: Checks,
    /// Names of the policies that judge its plans.
    pub policies: Vec<String>,
    /// What of the daemon's environment its runs may see.
    pub env: EnvSettings,
    /// The commands that print credentials for its runs.
    pub credentials: CredentialSettings,
    /// Terraform's own workspace to select, where it is not `default`.
    pub terraform_workspace: Option<String>,
    /// What happens to a change that no reviewer saw.
    pub unreviewed: Unreviewed,
    /// What its code may ask for.
    pub trust: Trust,
    /// How long a plan may take, init included.
    pub plan_timeout: Duration,
    /// How long an apply may take before it is asked to stop.
    pub apply_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            environment: None,
            var_files: Vec::new(),
            watch: Vec::new(),
            apply: ApplyMode::OnMerge,
            drift: None,
            checks: Checks::default(),
            policies: Vec::new(),
            env: EnvSettings::default(),
            credentials: CredentialSettings::default(),
            terraform_workspace: None,
            unreviewed: Unreviewed::HoldDestroys,
            trust: Trust::default(),
            plan_timeout: Duration::from_secs(30 * 60),
            apply_timeout: Duration::from_secs(2 * 60 * 60),
        }
    }
}

/// What happens when a change is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyMode {
    /// It is applied.
    OnMerge,
    /// It is held until a person agrees.
    OnApproval,
    /// It is planned on proposals and never applied.
    Never,
}

/// What happens to a change that no reviewer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreviewed {
    /// Applied, unless it destroys or replaces.
    HoldDestroys,
    /// Held.
    Hold,
    /// Applied.
    Apply,
}

/// Whether and when drift is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftSettings {
    /// When it is looked for.
    pub every: Schedule,
    /// What is done about it.
    pub action: DriftAction,
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftAction {
    /// It is told in an issue.
    Report,
    /// The applied commit is applied again.
    Apply,
}

/// What is checked before the plan of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// Whether the files are formatted.
    pub fmt: CheckMode,
    /// Whether the configuration is valid.
    pub validate: CheckMode,
    /// The tests of the module, where it has any. They may create real things for a while.
    pub test: CheckMode,
    /// Commands of the operator's own, in their order.
    pub run: Vec<OwnCheck>,
}

impl Checks {
    /// No check at all.
    pub const OFF: Self = Self {
        fmt: CheckMode::Off,
        validate: CheckMode::Off,
        test: CheckMode::Off,
        run: Vec::new(),
    };
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            // Spaces in the wrong place are no reason to stop a change.
            fmt: CheckMode::Warn,
            validate: CheckMode::Fail,
            test: CheckMode::Fail,
            run: Vec::new(),
        }
    }
}

/// What follows where a check finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMode {
    /// The plan's status fails.
    Fail,
    /// The reader is told.
    Warn,
    /// It is not done.
    Off,
}

/// A command of the operator's own that checks a workspace's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCheck {
    /// The name that the report gives it.
    pub name: String,
    /// The program, by its name in the `PATH` or its absolute path.
    pub program: String,
    /// Its arguments, as they are: no shell reads them.
    pub arguments: Vec<String>,
    /// What follows where it does not end with 0.
    pub on_failure: CheckMode,
    /// How long it may take.
    pub timeout: Duration,
}

/// Patterns (`AWS_*`) of environment variables that steps may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvSettings {
    /// For init, plan and show.
    pub plan: Vec<String>,
    /// For the runs that apply: their init, plan and show as well.
    pub apply: Vec<String>,
    /// For plans of a fork's code that a person let in: nothing that is secret.
    pub fork: Vec<String>,
}

/// The commands that print credentials, of the operator's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSettings {
    /// Asked before runs that only plan.
    pub plan: Option<CredentialCommand>,
    /// Asked before runs that apply.
    pub apply: Option<CredentialCommand>,
}

/// A command that prints credentials as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialCommand {
    /// The program, by its name in the `PATH` or its absolute path.
    pub program: String,
    /// Its arguments, as they are: no shell reads them.
    pub arguments: Vec<String>,
    /// Patterns of variables of the daemon's environment that it may see.
    pub env: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Where root modules are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discover {
    /// Glob patterns of folders, relative to the repository; each root module at or below one counts.
    pub paths: Vec<String>,
    /// Glob patterns of folders that do not count.
    pub exclude: Vec<String>,
    /// How what was found is run.
    pub settings: Settings,
}
