//! The dry run: plans a checkout as it is, by the same parts that plan a pull request.
//!
//! It works on a copy in a temporary folder, so that no lock file, state or cache is left behind.

mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::subject::{Declared, Subject, find_subject};
use crate::config::Config;
use crate::engine::{
    self, CancelToken, Engine, Job, KeptState, Lock, Observer, ObserverRefused, PlanMode, Progress,
    StepEnd, StepStart, Tests,
};
use crate::fault::chain;
use crate::id::WorkspaceName;
use crate::machine::Machine;
use crate::modules::{Backend, ResolveError, Resolved};
use crate::plan::{self, FingerprintKey, Room};
use crate::policy::{self, Context, Judgement, Policies};
use crate::reading::{self, Judging, Order};
use crate::redact::Redactor;
use crate::report::{OnMerge, ProposalReport, Standing, WorkspaceReport};
use crate::run::Failure;
use crate::seal::{Keys, SealError};
use crate::source::SourceError;
use crate::trust::Refusal;
use crate::worker::{Places, failure_of, of_refusals};
use crate::workspace::{ApplyMode, Declaration, Workspace};

/// What to plan.
#[derive(Debug, Clone)]
pub struct Request {
    /// A folder of the checkout.
    pub dir: PathBuf,
    /// What to compare with, where it is not the default branch.
    pub base: Option<String>,
    /// The workspaces to plan, changed or not; none for those that differ from the base.
    pub workspaces: Vec<WorkspaceName>,
    /// The settings.
    pub config: Config,
    /// The policies of the settings' folder.
    pub policies: Arc<Policies>,
    /// The declarations that are known; the one of this checkout's repository is used.
    pub declarations: Vec<Declaration>,
}

/// Why nothing could be planned.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// The checkout cannot be read.
    #[error("the checkout cannot be read")]
    Source(#[from] SourceError),
    /// The files of the checkout cannot be read.
    #[error("the files of the checkout cannot be read")]
    Resolve(#[from] ResolveError),
    /// The files of the checkout cannot be read.
    #[error("the files of the checkout cannot be read")]
    Tree(#[from] crate::modules::TreeError),
    /// A workspace that was named is not there.
    #[error("there is no workspace `{wanted}` here; {}", hint(wanted, known))]
    NoWorkspace {
        /// The name.
        wanted: WorkspaceName,
        /// Those that there are.
        known: Vec<WorkspaceName>,
    },
    /// There is no Terraform configuration.
    #[error(
        "found no root module below {folder}: no folder there holds `.tf` files with a provider, a backend, resources or \
         modules; declare one in a file of `workspaces/`, or name another folder"
    )]
    NoModules {
        /// Where.
        folder: PathBuf,
    },
    /// The state that the daemon keeps cannot be read.
    #[error("the state that the daemon keeps cannot be read")]
    State(#[from] SealError),
    /// A temporary folder cannot be used.
    #[error("cannot use the folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A person stopped it.
    #[error("stopped: nothing was changed, and nothing is left behind")]
    Stopped,
    /// A part ended by a panic.
    #[error("planning was cut short")]
    CutShort(#[from] tokio::task::JoinError),
}

fn hint(wanted: &WorkspaceName, known: &[WorkspaceName]) -> String {
    /// Names that are less alike are no typing mistake.
    const ALIKE: f64 = 0.7;
    let likeness = |name: &WorkspaceName| strsim::jaro_winkler(wanted.as_str(), name.as_str());
    let near = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|name| likeness(name) > ALIKE);
    match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let all: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let are = if all.len() == 1 { "is" } else { "are" };
            format!("there {are} {}", all.join(", "))
        }
    }
}

/// Hears how the planning goes on.
pub trait Watcher: Send + Sync {
    /// So many workspaces will be planned.
    fn begins(&self, workspaces: &[WorkspaceName]);
    /// A workspace's Terraform goes on.
    fn progress(&self, workspace: &WorkspaceName, progress: &Progress);
    /// A workspace is planned, or failed.
    fn ended(&self, workspace: &WorkspaceName);
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// What the comment would say.
    pub report: ProposalReport,
    /// Whether the plan of every workspace was made.
    pub plans: Plans,
}

/// How the plans of a dry run came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// All were made, and nothing would change.
    Unchanged,
    /// All were made, and something would change.
    Changes,
    /// All were made, and a policy denies one.
    Denied,
    /// At least one failed, or a check before it did.
    Failed,
}

/// Plans a checkout.
///
/// # Errors
///
/// [`DryRunError`] where nothing could be planned at all; a plan that fails is an outcome.
pub async fn dry_run(
    request: Request,
    engine: Arc<Engine>,
    watcher: Arc<dyn Watcher>,
    cancel: &CancelToken,
) -> Result<Outcome, DryRunError> {
    let data_types = request.config.data_types.clone();
    let request = Arc::new(request);
    let found = Arc::clone(&request);
    let temporary = tempfile::Builder::new()
        .prefix("mst-")
        .tempdir()
        .map_err(|source| DryRunError::Folder {
            folder: std::env::temp_dir(),
            source,
        })?;
    let copy = temporary.path().join("checkout");
    let into = copy.clone();
    let subject = tokio::task::spawn_blocking(move || {
        let subject = find_subject(&found)?;
        if !subject.chosen.is_empty() {
            let folders: Vec<String> = subject
                .chosen
                .iter()
                .map(|r| r.workspace.path.clone())
                .collect();
            subject.tree.copy_to(&into, &folders)?;
        }
        Ok::<_, DryRunError>(subject)
    })
    .await??;
    let names: Vec<_> = subject
        .chosen
        .iter()
        .map(|r| r.workspace.name.clone())
        .collect();
    watcher.begins(&names);
    let places = Arc::new(Scratch {
        top: temporary.path().to_owned(),
        copy,
    });
    let free = Arc::new(Semaphore::new(
        request.config.at_once(&Machine::look()).get(),
    ));
    let mut tasks = JoinSet::new();
    for (index, resolved) in subject.chosen.iter().cloned().enumerate() {
        let (request, engine, watcher, places, free, cancel) = (
            Arc::clone(&request),
            Arc::clone(&engine),
            Arc::clone(&watcher),
            Arc::clone(&places),
            Arc::clone(&free),
            cancel.clone(),
        );
        let repo = subject.declaration.repo.clone();
        let declared = subject.declared;
        let refusals = subject.refusals.get(index).cloned().unwrap_or_default();
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _turn = free.acquire().await;
            let planned = plan_one(
                &request,
                &engine,
                watcher.as_ref(),
                &places,
                &repo,
                declared,
                index,
                &resolved,
                &refusals,
                &cancel,
            )
            .await;
            watcher.ended(&resolved.workspace.name);
            planned.map(|planned| (index, planned))
        });
    }
    let mut reports = Vec::new();
    let mut tool = String::new();
    while let Some(done) = tasks.join_next().await {
        let (index, (report, version)) = done??;
        tool = version.unwrap_or(tool);
        reports.push((index, report));
    }
    if cancel.is_cancelled() {
        return Err(DryRunError::Stopped);
    }
    reports.sort_by_key(|(index, _)| *index);
    let workspaces: Vec<WorkspaceReport> = reports.into_iter().map(|(_, report)| report).collect();
    let failed = |w: &WorkspaceReport| w.plan_failed() || w.checks_failed();
    let plans = if workspaces.iter().any(failed) {
        Plans::Failed
    } else if workspaces.iter().any(is_denied) {
        Plans::Denied
    } else if workspaces
        .iter()
        .any(|w| w.plan().is_some_and(plan::Plan::has_changes))
    {
        Plans::Changes
    } else {
        Plans::Unchanged
    };
    Ok(Outcome {
        report: report(subject, workspaces, tool, data_types),
        plans,
    })
}

fn is_denied(workspace: &WorkspaceReport) -> bool {
    let verdict = workspace.verdict.as_ref();
    verdict.is_some_and(|verdict| verdict.judgement() == Judgement::Deny)
}

fn report(
    subject: Subject,
    workspaces: Vec<WorkspaceReport>,
    tool: String,
    data_types: plan::DataTypes,
) -> ProposalReport {
    ProposalReport {
        marker: String::new(),
        repo: subject.declaration.repo,
        web_url: None,
        proposal: None,
        head: subject.head,
        base_branch: subject.declaration.branch,
        base: subject.base,
        tool,
        workspaces,
        conflict: None,
        removed: subject.removed,
        notes: subject.notes,
        refusals: Vec::new(),
        data_types,
        help: Vec::new(),
        standing: Standing::Open,
    }
}

/// The folders of one dry run.
struct Scratch {
    top: PathBuf,
    copy: PathBuf,
}

impl Scratch {
    fn folder(&self, kind: &str, index: usize) -> Result<PathBuf, DryRunError> {
        let folder = self.top.join(format!("{kind}{index}"));
        std::fs::create_dir_all(&folder).map_err(|source| DryRunError::Folder {
            folder: folder.clone(),
            source,
        })?;
        Ok(folder)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, and a struct would only rename the list"
)]
async fn plan_one(
    request: &Request,
    engine: &Engine,
    watcher: &dyn Watcher,
    scratch: &Scratch,
    repo: &crate::id::RepoName,
    declared: Declared,
    index: usize,
    resolved: &Resolved,
    refusals: &[Refusal],
    cancel: &CancelToken,
) -> Result<(WorkspaceReport, Option<String>), DryRunError> {
    let workspace = &resolved.workspace;
    let settings = &workspace.settings;
    let (state, state_note) = state_of(request, scratch, repo, index, resolved)?;
    let (env, secrets) = environment(request, &settings.env.plan);
    let job = Job {
        workspace: workspace.name.clone(),
        checkout: scratch.copy.clone(),
        folder: workspace.path.clone(),
        work_dir: scratch.folder("w", index)?,
        data_dir: scratch.folder("d", index)?,
        tmp_dir: scratch.folder("t", index)?,
        wrapper: Vec::new(),
        door: None,
        state,
        var_files: settings.var_files.clone(),
        terraform_workspace: settings.terraform_workspace.clone(),
        env,
        plan_timeout: settings.plan_timeout,
        apply_timeout: settings.apply_timeout,
        lock: Lock::Skip,
        required_version: resolved.required_version.clone(),
        limits: request.config.limits,
        trust: settings.trust.clone(),
        backend: resolved.backend.clone(),
    };
    let observer = Silent {
        workspace: &workspace.name,
        watcher,
    };
    let mut report = WorkspaceReport {
        name: workspace.name.clone(),
        environment: settings.environment.clone(),
        path: workspace.path.clone(),
        run: None,
        progress: crate::report::Progress::Waiting,
        warnings: Vec::new(),
        checks: Vec::new(),
        verdict: None,
        took: Duration::ZERO,
        since: None,
        on_merge: match (declared, settings.apply) {
            (Declared::No, _) => OnMerge::Undeclared,
            (Declared::Yes, ApplyMode::OnMerge) => OnMerge::Apply,
            (Declared::Yes, ApplyMode::OnApproval) => OnMerge::HoldApproval,
            (Declared::Yes, ApplyMode::Never) => OnMerge::Never,
        },
        state_note,
        after_merge: None,
        reviewed: None,
        before: Vec::new(),
    };
    if !refusals.is_empty() {
        report.progress = crate::report::Progress::Failed(of_refusals(&workspace.path, refusals));
        report.state_note = None;
        return Ok((report, None));
    }
    let tests = match declared {
        Declared::Yes => Tests::Run,
        // Nobody said that this checkout's tests may create things with these credentials.
        Declared::No => {
            Tests::Skip("tests may create real things, and nobody declared this module")
        }
    };
    let mut checks = Vec::new();
    let checked = engine
        .check(
            &job,
            &settings.checks,
            tests,
            &mut checks,
            &observer,
            cancel,
        )
        .await;
    report.checks = checks.iter().map(|c| c.redacted(&secrets)).collect();
    if let Err(error) = checked {
        report.progress = crate::report::Progress::Failed(failure_of(&error, &secrets));
        report.state_note = None;
        return Ok((report, None));
    }
    let saved = match engine.plan(&job, PlanMode::Normal, &observer, cancel).await {
        Ok(saved) => saved,
        Err(error) => {
            let failure = failure_of(&error, &secrets);
            report.checks = report.checks.iter().map(|c| c.beside(&failure)).collect();
            report.progress = crate::report::Progress::Failed(failure);
            // A word on what counts as new, where nothing was counted.
            report.state_note = None;
            return Ok((report, None));
        }
    };
    report.took = saved.took.iter().map(|(_, took)| *took).sum();
    let order = Order {
        json: saved.json.clone(),
        saved: None,
        // Nothing is compared with an earlier plan here: any key does.
        key: FingerprintKey::new([0; 32]),
        secrets: secrets.values().map(str::to_owned).collect(),
        warnings: saved.warnings.clone(),
        checks: report.checks.clone(),
        judging: judging(request, repo, workspace, &job),
        room: Room::ALL,
    };
    // This process is for this alone: it reads in itself what the daemon has read beside it.
    let read = tokio::task::spawn_blocking(move || reading::read(&order)).await;
    let summary = match read {
        Ok(Ok(answer)) => {
            report.warnings = answer.warnings;
            report.checks = answer.checks;
            report.verdict = answer.verdict;
            let tool = format!("{} {}", engine.flavour(), answer.plan.terraform_version);
            report.progress = crate::report::Progress::Planned(Box::new(answer.plan));
            return Ok((report, Some(tool)));
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => "the reading of the plan broke off".to_owned(),
    };
    report.progress = crate::report::Progress::Failed(Failure {
        step: "show".to_owned(),
        summary,
        ..Failure::default()
    });
    Ok((report, None))
}

/// What judges the plan: the policies of the settings' folder; `None` where the workspace names none.
fn judging(
    request: &Request,
    repo: &crate::id::RepoName,
    workspace: &Workspace,
    job: &Job,
) -> Option<Judging> {
    let names = workspace.settings.policies.clone();
    if names.is_empty() {
        return None;
    }
    let context = Context {
        repository: repo.to_string(),
        workspace: workspace.name.to_string(),
        environment: workspace.settings.environment.clone(),
        purpose: "dry-run".to_owned(),
        backend: match job.state {
            engine::State::Backend => engine::backend_record(&job.data_dir)
                .and_then(|record| policy::Backend::of_record(&record)),
            engine::State::Kept(_) | engine::State::Local(_) | engine::State::InFolder => None,
        },
        ..Context::default()
    };
    Some(Judging {
        sources: request.policies.sources(&names),
        names,
        context: Ok(context),
    })
}

/// The state to plan against, and a word on it. The daemon's own state is used through a copy.
fn state_of(
    request: &Request,
    scratch: &Scratch,
    repo: &crate::id::RepoName,
    index: usize,
    resolved: &Resolved,
) -> Result<(engine::State, Option<String>), DryRunError> {
    if resolved.backend != Backend::None {
        return Ok((engine::State::Backend, None));
    }
    let config = &request.config;
    let kept = KeptState {
        path: Places::new(&config.data_dir).state(repo, &resolved.workspace.name),
        keys: Keys::of(&config.data_dir, config.key_file.as_deref()),
        repo: repo.clone(),
        workspace: resolved.workspace.name.clone(),
        commit: None,
    };
    if kept.path.parent().is_some_and(std::path::Path::is_dir) {
        let copy = scratch.folder("s", index)?.join("terraform.tfstate");
        if kept.copy(&copy)?.is_some() {
            return Ok((engine::State::Local(copy), None));
        }
    }
    let here = scratch
        .copy
        .join(&resolved.workspace.path)
        .join("terraform.tfstate");
    let note = if here.is_file() {
        None
    } else {
        Some("it names no backend and has no state here, so everything counts as new".to_owned())
    };
    Ok((engine::State::InFolder, note))
}

/// The person's own environment, as Terraform would see it started by hand, less what would
/// change how Terraform is run; and what of it must not be shown.
fn environment(
    request: &Request,
    patterns: &[String],
) -> (Vec<(String, crate::redact::Secret)>, Redactor) {
    /// Names that say of themselves that their value is secret.
    const TELLING: [&str; 4] = ["TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];
    let never: Vec<String> = request
        .config
        .github
        .as_ref()
        .and_then(|g| g.token_variable().map(str::to_owned))
        .into_iter()
        .collect();
    let all: Vec<String> = ["*", "TF_VAR_*", "TF_TOKEN_*", "TF_ENCRYPTION"]
        .iter()
        .map(ToString::to_string)
        .collect();
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let env = engine::environment(&all, variables.iter().cloned(), &never);
    let declared = engine::environment(patterns, variables.iter().cloned(), &never);
    let harmless = engine::environment(&[], variables.iter().cloned(), &never);
    let secret = env.iter().filter(|(name, _)| {
        let injected =
            declared.iter().any(|(n, _)| n == name) && harmless.iter().all(|(n, _)| n != name);
        injected
            || TELLING
                .iter()
                .any(|word| name.to_ascii_uppercase().contains(word))
    });
    let redactor = Redactor::new(secret.map(|(_, value)| value.expose().to_owned()));
    (env, redactor)
}

/// Nothing is recorded: the checkout is a copy, and what only plans needs no record.
struct Silent<'w> {
    workspace: &'w WorkspaceName,
    watcher: &'w dyn Watcher,
}

impl Observer for Silent<'_> {
    fn before(&self, _start: &StepStart) -> Result<(), ObserverRefused> {
        Ok(())
    }

    fn after(&self, _end: &StepEnd) {}

    fn progress(&self, progress: &Progress) {
        self.watcher.progress(self.workspace, progress);
    }
}
