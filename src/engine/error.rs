//! What can go wrong with Terraform, and what is to be done about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::advice::{Symptom, symptom};
use super::events::ApplyOutcome;
use super::limits::LimitHit;
use super::supervise::Exit;
use super::version::Version;
use super::{Step, Stop};
use crate::clock::Timestamp;
use crate::id::WorkspaceName;
use crate::plan::{Diagnostic, Severity};
use crate::seal::SealError;

/// What a step left behind that says why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The workspace that it ran for.
    pub workspace: WorkspaceName,
    /// The step.
    pub step: Step,
    /// What Terraform said, in its order. Its texts may come from a stranger's code.
    pub diagnostics: Vec<Diagnostic>,
    /// The last lines of its output, at most 40 and 8 KiB.
    pub tail: String,
}

impl Evidence {
    /// The first error in a few words, on one line.
    fn reason(&self) -> String {
        let mut errors = self
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return match self.tail.lines().last() {
                Some(last) => plain(last),
                None => "it said nothing".to_owned(),
            };
        };
        let mut reason = plain(&first.summary);
        match (&first.file, first.line) {
            (Some(file), Some(line)) => reason.push_str(&format!(" ({}:{line})", plain(file))),
            (Some(file), None) => reason.push_str(&format!(" ({})", plain(file))),
            (None, _) => {}
        }
        match errors.count() {
            0 => {}
            more => reason.push_str(&format!(", and {more} more")),
        }
        reason
    }
}

/// A text without control characters and not longer than a line: it stands
/// inside a sentence of ours and may have been written by anybody.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

/// Who holds a state's lock, as far as Terraform says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockInfo {
    /// The lock's id, for `force-unlock`.
    pub id: Option<String>,
    /// Who took it, `user@host`.
    pub who: Option<String>,
    /// When, as Terraform writes it.
    pub created: Option<String>,
    /// What for: `OperationTypeApply`, say.
    pub operation: Option<String>,
}

impl fmt::Display for LockInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            who,
            created,
            operation,
        } = self;
        write!(f, "{}", who.as_deref().map_or("somebody".to_owned(), plain))?;
        if let Some(operation) = operation {
            write!(
                f,
                ", {}",
                plain(operation.trim_start_matches("OperationType")).to_lowercase()
            )?;
        }
        if let Some(created) = created {
            write!(f, ", since {}", plain(created))?;
        }
        id.as_deref()
            .map_or(Ok(()), |id| write!(f, ", lock {}", plain(id)))
    }
}

/// What became of a state that Terraform could not save where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    /// The copy that was kept of it.
    pub kept: PathBuf,
    /// Whether it could be saved after all.
    pub rescue: Rescue,
}

/// Whether a stranded state could be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// `state push` saved it.
    Saved,
    /// `state push` failed with this reason.
    Failed(String),
    /// There is no backend to push it to.
    NotTried,
}

/// How an apply ended that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyEnd {
    /// By itself, or by a signal of others.
    Exit(Exit),
    /// It was asked to stop, for this reason, and stopped.
    Stopped(Stop),
    /// It came to this limit, was asked to stop and stopped.
    Limited(LimitHit),
    /// Nothing says how it ended: its supervisor was killed too.
    Lost,
}

/// An apply that did not succeed: what it had done until then stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedApply {
    /// What it said.
    pub evidence: Evidence,
    /// How it ended.
    pub end: ApplyEnd,
    /// What became of each resource that was to change, by address.
    pub resources: Vec<(String, ApplyOutcome)>,
    /// The state that could not be saved, where that happened.
    pub stranded: Option<Stranded>,
}

impl FailedApply {
    /// The addresses of the resources with this outcome.
    pub fn with(&self, outcome: ApplyOutcome) -> impl Iterator<Item = &str> {
        self.resources
            .iter()
            .filter(move |(_, o)| *o == outcome)
            .map(|(address, _)| &**address)
    }

    /// Whether Terraform refused the plan because the state had moved on.
    fn was_stale(&self) -> bool {
        self.resources.is_empty()
            && self.stranded.is_none()
            && matches!(self.end, ApplyEnd::Exit(Exit::Code(_)))
            && symptom(&self.evidence.diagnostics, &self.evidence.tail) == Symptom::StalePlan
    }

    /// How the resources fared, in numbers.
    fn score(&self) -> String {
        let count = |outcome| self.with(outcome).count();
        let mut score = format!(
            "{} changed, {} failed, {} not reached",
            count(ApplyOutcome::Done),
            count(ApplyOutcome::Failed),
            count(ApplyOutcome::NotReached)
        );
        match count(ApplyOutcome::Unknown) {
            0 => {}
            unknown => score.push_str(&format!(", {unknown} begun with an unknown end")),
        }
        score
    }
}

/// An observer would not have a step start.
#[derive(Debug, thiserror::Error)]
#[error("the start was not recorded")]
pub struct ObserverRefused(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What can go wrong with Terraform.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program is not on this machine.
    #[error(
        "found no program `{sought}` (looked in {looked_in}): install it, or set `engine` to \
         \"terraform\", \"tofu\" or the path of either"
    )]
    NotFound {
        /// What was looked for.
        sought: String,
        /// Where: the `PATH`, or the folder that was named.
        looked_in: String,
    },
    /// The program does not tell its version.
    #[error("`{} version -json` told no version: {said}", program.display())]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// What it told instead.
        said: String,
    },
    /// The configuration asks for another version.
    #[error(
        "the configuration of {workspace} asks for version `{wanted}`, and {} is {have}",
        program.display()
    )]
    WrongVersion {
        /// The workspace.
        workspace: WorkspaceName,
        /// Its `required_version`.
        wanted: String,
        /// What this machine has.
        have: Version,
        /// Where.
        program: PathBuf,
    },
    /// Modules, providers or the backend could not be made ready.
    #[error("`init` failed in {}: {}", .0.workspace, .0.reason())]
    InitFailed(Box<Evidence>),
    /// What `init` made ready is not what is allowed; nothing of it was run.
    #[error("`init` in {} made ready what nobody allowed: {}", .0.workspace, .0.reason())]
    Untrusted(Box<Evidence>),
    /// There is no plan.
    #[error("`{}` failed in {}: {}", .0.step, .0.workspace, .0.reason())]
    PlanFailed(Box<Evidence>),
    /// A plan was made and could not be read.
    #[error("the plan of {} could not be read: {}", .0.workspace, .0.reason())]
    ShowFailed(Box<Evidence>),
    /// An apply did not succeed.
    #[error("{} ({})", describe(.0), .0.score())]
    ApplyFailed(Box<FailedApply>),
    /// A step that changes nothing took longer than it may, and was ended.
    #[error("`{}` in {} took longer than {} s and was ended", .evidence.step, .evidence.workspace, limit.as_secs())]
    TimedOut {
        /// What it had said.
        evidence: Box<Evidence>,
        /// How long plan or apply may take altogether.
        limit: Duration,
    },
    /// A step that changes nothing came to a limit, and was ended.
    #[error("`{}` in {} {hit}, and was ended", .evidence.step, .evidence.workspace)]
    LimitHit {
        /// What it had said.
        evidence: Box<Evidence>,
        /// The limit.
        hit: LimitHit,
    },
    /// The work was cancelled before it changed anything.
    #[error("`{}` in {} was cancelled", .0.step, .0.workspace)]
    Cancelled(Box<Evidence>),
    /// Somebody else holds the state's lock.
    #[error("the state of {} is locked by {lock}", .evidence.workspace)]
    StateLocked {
        /// What was said.
        evidence: Box<Evidence>,
        /// Who holds it.
        lock: LockInfo,
    },
    /// The state that Mainstay keeps is empty or cut.
    #[error(
        "the state of {workspace} in {} is empty or damaged; {}",
        path.display(),
        kept(versions)
    )]
    CorruptState {
        /// The workspace.
        workspace: WorkspaceName,
        /// The state's file.
        path: PathBuf,
        /// The earlier versions that are kept, newest first.
        versions: Vec<PathBuf>,
    },
    /// The command that prints credentials gave none.
    #[error("no credentials for {workspace}: `{program}` was asked for them, and {reason}")]
    Credentials {
        /// The workspace.
        workspace: WorkspaceName,
        /// The command's program.
        program: String,
        /// What went wrong, without anything that it printed.
        reason: String,
    },
    /// What Mainstay keeps sealed could not be opened or sealed.
    #[error("what is kept of {workspace} cannot be opened or sealed")]
    AtRest {
        /// The workspace.
        workspace: WorkspaceName,
        /// Why not.
        #[source]
        source: SealError,
    },
    /// There is an unsaved state of an earlier apply where this one would write its own.
    #[error("{} is in the way of applying {workspace}: it is the state of an apply that could not save it", path.display())]
    StrandedState {
        /// The workspace.
        workspace: WorkspaceName,
        /// The file.
        path: PathBuf,
    },
    /// The plan is not the one that was made, or not made for this.
    #[error("the saved plan of {workspace} was not applied: {what}")]
    PlanTampered {
        /// The workspace.
        workspace: WorkspaceName,
        /// What differs.
        what: String,
    },
    /// Terraform has no workspace of this name. It would have made one.
    #[error(
        "{workspace} selects the Terraform workspace `{wanted}`, which does not exist; there is {}",
        list(existing)
    )]
    NoSuchTerraformWorkspace {
        /// The workspace.
        workspace: WorkspaceName,
        /// The name that was to be selected.
        wanted: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// The start of a step was not recorded, so nothing was started.
    #[error("`{step}` was not started in {workspace}")]
    Refused {
        /// The workspace.
        workspace: WorkspaceName,
        /// The step.
        step: Step,
        /// Why not.
        #[source]
        source: ObserverRefused,
    },
    /// A step could not be started.
    #[error("`{step}` could not be started in {workspace}: {reason}")]
    NotStarted {
        /// The workspace.
        workspace: WorkspaceName,
        /// The step.
        step: Step,
        /// Why not.
        reason: String,
    },
    /// Nothing says how a step that changes nothing ended.
    #[error("`{}` in {} ended without a record: its supervisor was killed", .0.step, .0.workspace)]
    Lost(Box<Evidence>),
    /// A step was asked to end, and has not.
    #[error(
        "`{}` in {} was asked to stop and still runs, since {since} (its files are in {})",
        .evidence.step, .evidence.workspace, dir.display()
    )]
    StillRunning {
        /// What it said so far.
        evidence: Box<Evidence>,
        /// The step's folder.
        dir: PathBuf,
        /// When it was started.
        since: Timestamp,
    },
    /// The disk or the system refused something.
    #[error("could not {what} for {workspace}")]
    Io {
        /// The workspace.
        workspace: WorkspaceName,
        /// What was being done, with the path it was done to.
        what: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

fn describe(failed: &FailedApply) -> String {
    let workspace = &failed.evidence.workspace;
    match &failed.end {
        ApplyEnd::Exit(Exit::Signal(signal)) => {
            format!("the apply of {workspace} was ended by signal {signal}")
        }
        ApplyEnd::Exit(Exit::Code(_) | Exit::NotStarted(_)) => {
            format!(
                "the apply of {workspace} failed: {}",
                failed.evidence.reason()
            )
        }
        ApplyEnd::Stopped(Stop::TimedOut) => {
            format!("the apply of {workspace} took too long and was stopped")
        }
        ApplyEnd::Limited(hit) => format!(
            "the apply of {workspace} {hit} and was stopped (`{}` in `[limits]` of mainstay.toml raises that)",
            hit.key()
        ),
        ApplyEnd::Stopped(Stop::Cancelled) => format!("the apply of {workspace} was stopped"),
        ApplyEnd::Lost => format!("nothing says how the apply of {workspace} ended"),
    }
}

fn kept(versions: &[PathBuf]) -> String {
    match versions {
        [] => "no earlier version is kept".to_owned(),
        [newest, ..] => {
            format!(
                "{} earlier versions are kept, the newest is {}",
                versions.len(),
                newest.display()
            )
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{}`", plain(name)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Trying again may help, after a while.
    Retry,
    /// The repository's code, or the workspace's declaration, has to change.
    FixConfiguration,
    /// The machine or the daemon's settings have to change.
    FixMachine,
    /// A person has to look at the world, the state and the record.
    AskHuman,
}

impl EngineError {
    /// What is to be done. Nothing that may have changed the world is ever [`Remedy::Retry`].
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NotFound { .. } | Self::NoVersion { .. } | Self::WrongVersion { .. } => {
                Remedy::FixMachine
            }
            Self::InitFailed(evidence) | Self::PlanFailed(evidence) => {
                match symptom(&evidence.diagnostics, &evidence.tail) {
                    Symptom::Unreachable | Symptom::StalePlan => Remedy::Retry,
                    Symptom::Credentials | Symptom::Version | Symptom::Backend => {
                        Remedy::FixMachine
                    }
                    Symptom::LockFile | Symptom::Variable | Symptom::Other => {
                        Remedy::FixConfiguration
                    }
                }
            }
            // Nothing was changed by these.
            Self::ShowFailed(_)
            | Self::TimedOut { .. }
            | Self::Cancelled(_)
            | Self::StateLocked { .. }
            | Self::Refused { .. }
            | Self::Lost(_) => Remedy::Retry,
            Self::NoSuchTerraformWorkspace { .. } | Self::LimitHit { .. } | Self::Untrusted(_) => {
                Remedy::FixConfiguration
            }
            Self::NotStarted { .. } | Self::Io { .. } | Self::Credentials { .. } => {
                Remedy::FixMachine
            }
            // The state was another one, and nothing was begun.
            Self::ApplyFailed(failed) if failed.was_stale() => Remedy::Retry,
            // An apply is never repeated blindly.
            Self::ApplyFailed(_)
            | Self::CorruptState { .. }
            | Self::AtRest { .. }
            | Self::StrandedState { .. }
            | Self::PlanTampered { .. }
            | Self::StillRunning { .. } => Remedy::AskHuman,
        }
    }

    /// What Terraform said; empty where it said nothing or never ran.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        self.evidence()
            .map_or(&[], |evidence| &evidence.diagnostics)
    }

    /// The last lines of the step's output; empty where it never ran.
    pub fn tail(&self) -> &str {
        self.evidence().map_or("", |evidence| &evidence.tail)
    }

    /// The step that failed, where one ran or was to run.
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::Refused { step, .. } | Self::NotStarted { step, .. } => Some(*step),
            Self::Credentials { .. } => Some(Step::Credentials),
            _ => self.evidence().map(|evidence| evidence.step),
        }
    }

    /// The workspace that it is about, where it is about one.
    pub fn workspace(&self) -> Option<&WorkspaceName> {
        match self {
            Self::NotFound { .. } | Self::NoVersion { .. } => None,
            Self::WrongVersion { workspace, .. }
            | Self::CorruptState { workspace, .. }
            | Self::AtRest { workspace, .. }
            | Self::Credentials { workspace, .. }
            | Self::StrandedState { workspace, .. }
            | Self::PlanTampered { workspace, .. }
            | Self::NoSuchTerraformWorkspace { workspace, .. }
            | Self::Refused { workspace, .. }
            | Self::NotStarted { workspace, .. }
            | Self::Io { workspace, .. } => Some(workspace),
            _ => self.evidence().map(|evidence| &evidence.workspace),
        }
    }

    pub(super) fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::InitFailed(evidence)
            | Self::Untrusted(evidence)
            | Self::PlanFailed(evidence)
            | Self::ShowFailed(evidence)
            | Self::Cancelled(evidence)
            | Self::Lost(evidence)
            | Self::TimedOut { evidence, .. }
            | Self::LimitHit { evidence, .. }
            | Self::StateLocked { evidence, .. }
            | Self::StillRunning { evidence, .. } => Some(evidence),
            Self::ApplyFailed(failed) => Some(&failed.evidence),
            Self::NotFound { .. }
            | Self::NoVersion { .. }
            | Self::WrongVersion { .. }
            | Self::CorruptState { .. }
            | Self::AtRest { .. }
            | Self::Credentials { .. }
            | Self::StrandedState { .. }
            | Self::PlanTampered { .. }
            | Self::NoSuchTerraformWorkspace { .. }
            | Self::Refused { .. }
            | Self::NotStarted { .. }
            | Self::Io { .. } => None,
        }
    }
}
