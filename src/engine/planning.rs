//! Making a plan: plan at once, init where Terraform asks for it, show.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::advice::lock_info;
use super::error::{EngineError, Evidence, LockInfo};
use super::events::from_text;
use super::job::{OUT_DIR, STATE_COPY};
use super::limits::{Limit, LimitHit};
use super::step::{Call, Finished};
use super::version::{Fit, Version, fit};
use super::{
    CancelToken, Changes, Engine, Flavour, Job, Lock, MadeFor, Observer, PlanMode, SavedPlan,
    State, Step, Stop, data_dir, installed,
};
use crate::plan::{Diagnostic, Severity};

/// The saved plan, in the folder that Terraform writes to.
const PLAN: &str = "plan";

/// The saved plan as JSON, in a job's folder.
const PLAN_JSON: &str = "plan.json";

/// No list of Terraform's workspaces that is longer, in bytes, is read to its end.
const LIST_LIMIT: u64 = 1 << 20;

/// A plugin cache that several runs share breaks where two inits fill it at
/// once ("text file busy"), so that one init runs at a time in this process.
static INIT: Mutex<()> = Mutex::const_new(());

/// How `validate` says, for each provider by name, that it must be installed first; `plan` says
/// it under a heading of its own.
const LACKS_PROVIDER: [&str; 2] = [": there is no package for ", ": the cached package for "];

/// Beginnings of the summaries by which Terraform asks for an init.
const ASKS_FOR_INIT: [&str; 8] = [
    // Only `validate` and `test` say it so.
    "Missing required provider",
    "Module not installed",
    "Module source has changed",
    "Module version requirements have changed",
    "Inconsistent dependency lock file",
    "Required plugins are not installed",
    "Could not load plugin",
    "Provider requirements cannot be satisfied by locked dependencies",
];

/// What the summary says where the backend was not initialised, or was changed:
/// `Backend initialization required`, `Terraform Cloud initialization required`.
const ASKS_FOR_BACKEND: &str = "nitialization required";

/// Which init is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Modules or providers are missing.
    Init,
    /// The backend is another than the one that was initialised.
    Backend,
}

/// What has been decided for the steps of one plan.
pub(super) struct Course {
    pub(super) deadline: Instant,
    /// Terraform's workspace, once it is known to exist.
    selected: Option<String>,
    pub(super) initialised: bool,
    took: Vec<(Step, Duration)>,
    /// What init warned of.
    warnings: Vec<Diagnostic>,
}

impl Engine {
    /// Makes a plan and saves it.
    ///
    /// Init is run where Terraform asks for it, and once at most. Nothing in
    /// the world changes, and repeating it is safe.
    ///
    /// # Errors
    ///
    /// Each kind says what to do by [`EngineError::remedy`]; where a plan
    /// failed, no plan file is left.
    pub async fn plan(
        &self,
        job: &Job,
        mode: PlanMode,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<SavedPlan, EngineError> {
        let mut course = Course::new(job);
        self.check_version(job).await?;
        job.prepare()?;
        data_dir::prepare(&job.data_dir)
            .map_err(job.failing(|| format!("make ready {}", job.data_dir.display())))?;
        installed::forget(job)
            .map_err(job.failing(|| format!("make ready {}", job.data_dir.display())))?;
        job.check_state(Step::Plan)?;
        if let Some(wanted) = &job.terraform_workspace {
            self.select(job, wanted, &mut course, watch, cancel).await?;
        }

        let file = job.out_dir().join(PLAN);
        let json = job.work_dir.join(PLAN_JSON);
        let made = self
            .plan_and_show(job, mode, (&file, &json), &mut course, watch, cancel)
            .await;
        match made {
            Ok((outcome, sha256)) => Ok(SavedPlan {
                file,
                json,
                sha256,
                outcome,
                warnings: course.warnings,
                took: course.took,
                made_for: MadeFor::of(job),
            }),
            Err(error) => {
                // A plan that failed is written all the same, and must not be applied.
                let cleaned = remove(&file).and(remove(&json));
                cleaned.map_err(job.failing(|| format!("remove {}", file.display())))?;
                Err(error)
            }
        }
    }

    async fn plan_and_show(
        &self,
        job: &Job,
        mode: PlanMode,
        (file, json): (&Path, &Path),
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(Changes, String), EngineError> {
        let outcome = loop {
            for old in [file, json] {
                remove(old).map_err(job.failing(|| format!("remove {}", old.display())))?;
            }
            let call = course.call(job, Step::Plan, plan_arguments(job, mode, file));
            let finished = self.run(job, call, watch, cancel).await?;
            course.took.push((Step::Plan, finished.took));
            match finished.code() {
                _ if finished.was_ended() => return Err(failure(job, &finished)),
                Some(0) => break (Changes::None, finished),
                Some(2) => break (Changes::Some, finished),
                _ => {}
            }
            match wanted(&finished.record.diagnostics) {
                Some(wanted) if !course.initialised => {
                    self.init(job, wanted, course, watch, cancel).await?;
                }
                _ => return Err(failure(job, &finished)),
            }
        };
        let (changes, finished) = outcome;
        course
            .warnings
            .extend(warnings(&finished.record.diagnostics));
        if fs::symlink_metadata(file).is_ok_and(|plan| plan.len() > job.limits.plan) {
            return Err(EngineError::LimitHit {
                evidence: Box::new(finished.evidence(job)),
                hit: LimitHit {
                    limit: Limit::Plan,
                    allowed: job.limits.plan,
                },
            });
        }
        restrict(file).map_err(job.failing(|| format!("protect {}", file.display())))?;

        let mut call = course.call(job, Step::Show, vec!["show".into(), "-json".into()]);
        call.args.push("-no-color".into());
        call.args.push(file.into());
        call.result = Some(json.to_owned());
        let shown = self.run(job, call, watch, cancel).await?;
        course.took.push((Step::Show, shown.took));
        if shown.code() != Some(0) || shown.was_ended() {
            return Err(failure(job, &shown));
        }
        let sha256 =
            digest(file).map_err(job.failing(|| format!("read the plan {}", file.display())))?;
        Ok((changes, sha256))
    }

    pub(super) async fn check_version(&self, job: &Job) -> Result<(), EngineError> {
        if job.required_version.is_empty() {
            return Ok(());
        }
        let have = self.version().await?;
        match job
            .required_version
            .iter()
            .find(|wanted| fit(&have, wanted) == Fit::Refused)
        {
            Some(wanted) => Err(EngineError::WrongVersion {
                workspace: job.workspace.clone(),
                wanted: wanted.clone(),
                have,
                program: self.program.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Makes sure that Terraform's workspace exists before it is named:
    /// `TF_WORKSPACE` with a typo makes a new one without a word, and plans
    /// against its empty state.
    async fn select(
        &self,
        job: &Job,
        name: &str,
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        loop {
            let list = job.work_dir.join("workspaces");
            remove(&list).map_err(job.failing(|| format!("remove {}", list.display())))?;
            let args = vec!["workspace".into(), "list".into(), "-no-color".into()];
            let mut call = course.call(job, Step::WorkspaceList, args);
            call.result = Some(list.clone());
            let mut finished = self.run(job, call, watch, cancel).await?;
            course.took.push((Step::WorkspaceList, finished.took));
            if finished.code() == Some(0) && !finished.was_ended() {
                let mut text = String::new();
                fs::File::open(&list)
                    .and_then(|file| file.take(LIST_LIMIT).read_to_string(&mut text))
                    .map_err(job.failing(|| format!("read {}", list.display())))?;
                let existing: Vec<String> = text
                    .lines()
                    .map(|line| line.trim_start_matches(['*', ' ']).trim().to_owned())
                    .filter(|line| !line.is_empty())
                    .collect();
                if !existing.iter().any(|one| one == name) {
                    return Err(EngineError::NoSuchTerraformWorkspace {
                        workspace: job.workspace.clone(),
                        wanted: name.to_owned(),
                        existing,
                    });
                }
                course.selected = Some(name.to_owned());
                return Ok(());
            }
            // This command has no JSON.
            finished.record.diagnostics = from_text(&finished.record.tail.text());
            match wanted(&finished.record.diagnostics) {
                Some(wanted) if !course.initialised && !finished.was_ended() => {
                    self.init(job, wanted, course, watch, cancel).await?;
                }
                _ => return Err(failure(job, &finished)),
            }
        }
    }

    pub(super) async fn init(
        &self,
        job: &Job,
        wanted: Wanted,
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        course.initialised = true;
        let json = self.init_has_json().await?;
        let mut args: Vec<OsString> = vec!["init".into(), "-input=false".into()];
        args.push("-no-color".into());
        if json {
            args.push("-json".into());
        }
        if wanted == Wanted::Backend {
            data_dir::forget_backend(&job.data_dir)
                .map_err(job.failing(|| format!("empty {}", job.data_dir.display())))?;
            args.push("-reconfigure".into());
        }
        // A committed lock file is the law, as in anybody's CI: a provider
        // that it does not name is an error for the author to mend, not a
        // reason to take the newest one here and perhaps another one at the
        // merge. Checksums that only this platform lacks do not fail (tried
        // with 1.11.4: it warns, installs and plans).
        if job.cwd().join(".terraform.lock.hcl").exists() {
            args.push("-lockfile=readonly".into());
        }
        let call = course.call(job, Step::Init, args);
        let cancelled = |stop: Stop| {
            let evidence = Evidence {
                workspace: job.workspace.clone(),
                step: Step::Init,
                diagnostics: Vec::new(),
                tail: String::new(),
            };
            stopped(job, stop, evidence)
        };
        let _turn = tokio::select! {
            turn = INIT.lock() => turn,
            () = cancel.cancelled() => return Err(cancelled(Stop::Cancelled)),
            () = tokio::time::sleep_until(course.deadline) => return Err(cancelled(Stop::TimedOut)),
        };
        let mut finished = self.run(job, call, watch, cancel).await?;
        course.took.push((Step::Init, finished.took));
        if !json || finished.record.diagnostics.is_empty() {
            finished
                .record
                .diagnostics
                .extend(from_text(&finished.record.tail.text()));
        }
        if finished.code() != Some(0) || finished.was_ended() {
            return Err(failure(job, &finished));
        }
        let refused = installed::refused(job)
            .map_err(job.failing(|| "read what `init` made ready".to_owned()))?;
        if let Some(evidence) = refused {
            return Err(EngineError::Untrusted(Box::new(evidence)));
        }
        course
            .warnings
            .extend(warnings(&finished.record.diagnostics));
        Ok(())
    }

    /// Whether `init` knows `-json`: Terraform since 1.9, OpenTofu since 1.8 (their changelogs).
    async fn init_has_json(&self) -> Result<bool, EngineError> {
        let since = match self.flavour {
            Flavour::Terraform => Version::new(1, 9, 0),
            Flavour::Tofu => Version::new(1, 8, 0),
        };
        Ok(self.version().await?.is_at_least(&since))
    }
}

impl Course {
    /// Nothing is done yet, and the time of the plan begins.
    pub(super) fn new(job: &Job) -> Self {
        Self {
            deadline: Instant::now() + job.plan_timeout,
            selected: None,
            initialised: false,
            took: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn call(&self, job: &Job, step: Step, args: Vec<OsString>) -> Call {
        Call {
            step,
            program: None,
            args,
            terraform_workspace: self.selected.clone(),
            result: None,
            deadline: self.deadline,
            limit: job.plan_timeout,
        }
    }
}

fn plan_arguments(job: &Job, mode: PlanMode, file: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "plan",
        "-json",
        "-input=false",
        "-no-color",
        "-detailed-exitcode",
    ]
    .map(Into::into)
    .into();
    args.push(flag("-out=", file));
    if mode == PlanMode::RefreshOnly {
        args.push("-refresh-only".into());
    }
    match job.lock {
        Lock::Take { wait } => args.push(lock_timeout(wait)),
        Lock::Skip => args.push("-lock=false".into()),
    }
    args.extend(
        job.var_files
            .iter()
            .map(|file| OsString::from(format!("-var-file={file}"))),
    );
    match &job.state {
        State::Kept(_) => args.push(flag("-state=", &job.state_copy())),
        State::Local(state) => args.push(flag("-state=", state)),
        State::Backend | State::InFolder => {}
    }
    args
}

/// A flag with a path.
pub(super) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// The flag that says how long the lock is waited for.
pub(super) fn lock_timeout(wait: Duration) -> OsString {
    format!("-lock-timeout={}ms", wait.as_millis()).into()
}

/// Which init Terraform asks for, if it does.
pub(super) fn wanted(diagnostics: &[Diagnostic]) -> Option<Wanted> {
    let errors = || diagnostics.iter().filter(|d| d.severity == Severity::Error);
    if errors().any(|error| error.summary.contains(ASKS_FOR_BACKEND)) {
        Some(Wanted::Backend)
    } else if errors().any(|e| {
        ASKS_FOR_INIT.iter().any(|asks| e.summary.starts_with(asks))
            || LACKS_PROVIDER.iter().any(|lacks| e.summary.contains(lacks))
    }) {
        Some(Wanted::Init)
    } else {
        None
    }
}

fn warnings(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Warning)
        .cloned()
        .collect()
}

/// The error that a step of planning ended with.
pub(super) fn failure(job: &Job, finished: &Finished) -> EngineError {
    let evidence = finished.evidence(job);
    if let Some(hit) = finished.limit(job) {
        return EngineError::LimitHit {
            evidence: Box::new(evidence),
            hit,
        };
    }
    if let Some(stop) = finished.stop {
        return stopped(job, stop, evidence);
    }
    if finished.ended.is_none() {
        return EngineError::Lost(Box::new(evidence));
    }
    if let Some(lock) = lock_in(&evidence.diagnostics) {
        return EngineError::StateLocked {
            evidence: Box::new(evidence),
            lock,
        };
    }
    match finished.step {
        Step::Init => EngineError::InitFailed(Box::new(evidence)),
        Step::Show => EngineError::ShowFailed(Box::new(evidence)),
        Step::WorkspaceList
        | Step::Plan
        | Step::Apply
        | Step::StatePush
        | Step::LockLook
        | Step::ForceUnlock
        | Step::Fmt
        | Step::Validate
        | Step::Test
        | Step::Check
        | Step::Credentials => EngineError::PlanFailed(Box::new(evidence)),
    }
}

fn stopped(job: &Job, stop: Stop, evidence: Evidence) -> EngineError {
    let evidence = Box::new(evidence);
    match stop {
        Stop::Cancelled => EngineError::Cancelled(evidence),
        Stop::TimedOut => EngineError::TimedOut {
            evidence,
            limit: job.plan_timeout,
        },
    }
}

/// Who holds the lock, where that is what went wrong.
pub(super) fn lock_in(diagnostics: &[Diagnostic]) -> Option<LockInfo> {
    diagnostics
        .iter()
        .find(|d| d.summary.starts_with("Error acquiring the state lock"))
        .map(|found| lock_info(&found.detail))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn digest(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut open_own(file)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// Removes a file, if it is there.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file its owner's alone.
pub(super) fn restrict(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    open_own(file)?.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Opens a file that Terraform made, or what it ran: a link in its place could lead to any file
/// of ours, and a pipe would never end.
pub(super) fn open_own(file: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::File::from(rustix::fs::open(file, flags, Mode::empty())?);
    if opened.metadata()?.is_file() {
        Ok(opened)
    } else {
        Err(io::Error::other("it is no ordinary file"))
    }
}

/// The files of a plan, which hold secrets, removed.
pub(super) fn discard(plan: &SavedPlan) -> io::Result<()> {
    let files: [&PathBuf; 2] = [&plan.file, &plan.json];
    files.into_iter().try_for_each(|file| remove(file))
}

/// Removes the plan that a job left in its folder, and the state that it was made with, if they are
/// there: they hold every secret of the workspace in clear.
///
/// # Errors
///
/// Where a file is there and cannot be removed.
pub fn discard_plan(work_dir: &Path) -> io::Result<()> {
    for folder in [OUT_DIR, STATE_COPY] {
        // What a plan ran may have written more into it.
        match fs::remove_dir_all(work_dir.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove(&work_dir.join(PLAN_JSON))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(summary: &str) -> Diagnostic {
        from_text(&format!("Error: {summary}")).remove(0)
    }

    #[test]
    fn terraform_asks_for_init_in_known_words() {
        for summary in ASKS_FOR_INIT {
            assert_eq!(wanted(&[error(summary)]), Some(Wanted::Init), "{summary}");
        }
        for summary in [
            "Backend initialization required, please run \"terraform init\"",
            "Backend initialization required: please run \"terraform init\"",
            "Terraform Cloud initialization required: please run \"terraform init\"",
        ] {
            assert_eq!(
                wanted(&[error(summary)]),
                Some(Wanted::Backend),
                "{summary}"
            );
        }
    }

    #[test]
    fn a_provider_that_validate_does_not_find_asks_for_init() {
        for summary in [
            "example.com/a/b: there is no package for example.com/a/b 0.1.0 cached in /data/providers",
            "example.com/a/b: the cached package for example.com/a/b 0.1.0 (in /data/providers) does not match any of the \
             checksums recorded in the dependency lock file",
        ] {
            assert_eq!(wanted(&[error(summary)]), Some(Wanted::Init), "{summary}");
        }
    }

    #[test]
    fn other_errors_ask_for_no_init() {
        for summary in [
            "Invalid expression",
            "Resource precondition failed",
            "Reference to a module not installed",
        ] {
            assert_eq!(wanted(&[error(summary)]), None, "{summary}");
        }
        let warning = Diagnostic {
            severity: Severity::Warning,
            ..error("Module not installed")
        };
        assert_eq!(wanted(&[warning]), None);
    }
}
