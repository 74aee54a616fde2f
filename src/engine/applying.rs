//! Applying a saved plan, and saving the state it could not save.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{ApplyEnd, EngineError, FailedApply, LockInfo, Rescue, Stranded};
use super::events::from_text;
use super::planning::{digest, discard, flag, lock_in, lock_timeout, open_own, remove};
use super::step::{Call, Finished};
use super::{
    Applied, ApplyOutcome, CancelToken, Engine, Job, Lock, MadeFor, Observer, SavedPlan, State,
    Step, StepStart,
};
use crate::clock::now;
use crate::fault::chain;
use crate::plan::Severity;
use crate::seal::{PUSHED, STRANDED, sealed_name, write_whole};

/// How long the push of a stranded state may take before it is asked to stop.
const PUSH_LIMIT: Duration = Duration::from_secs(5 * 60);

impl Engine {
    /// Applies a saved plan, and nothing else.
    ///
    /// The plan is used up whatever happens; its files are removed. An apply
    /// is asked to stop when its time is up or `cancel` says so, once, and is
    /// never killed. Repeating it is never right: plan again.
    ///
    /// # Errors
    ///
    /// [`EngineError::ApplyFailed`] says what was changed until then. Where it
    /// is another error than that or [`EngineError::StillRunning`], nothing
    /// was changed.
    pub async fn apply(
        &self,
        job: &Job,
        plan: SavedPlan,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Applied, EngineError> {
        let applied = self.apply_file(job, &plan, watch, cancel).await;
        if !matches!(applied, Err(EngineError::StillRunning { .. })) {
            if let State::Kept(state) = &job.state
                && let Err(error) = state.settle(now().timestamp())
            {
                // It stays open, and is sealed when the workspace is worked on next.
                let workspace = &job.workspace;
                tracing::warn!(%workspace, "Could not seal the state after the apply of {workspace}: {}", chain(&error));
            }
            noting(job, "remove the plan", discard(&plan));
        }
        applied
    }

    async fn apply_file(
        &self,
        job: &Job,
        plan: &SavedPlan,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Applied, EngineError> {
        let tampered = |what: &str| EngineError::PlanTampered {
            workspace: job.workspace.clone(),
            what: what.to_owned(),
        };
        if plan.made_for != MadeFor::of(job) {
            return Err(tampered(
                "it was made for another workspace, folder or state",
            ));
        }
        job.prepare()?;
        let stranded = job.cwd().join(STRANDED);
        // A repository could commit one, and have it pushed over the real state.
        if fs::symlink_metadata(&stranded).is_ok() {
            return Err(EngineError::StrandedState {
                workspace: job.workspace.clone(),
                path: stranded,
            });
        }
        let first = self.keep_version(job)?;
        match digest(&plan.file) {
            Ok(digest) if digest == plan.sha256 => {}
            Ok(_) => return Err(tampered("its file is not the one that was made")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(tampered("its file is gone"));
            }
            Err(error) => {
                return Err(job.failing(|| format!("read {}", plan.file.display()))(
                    error,
                ));
            }
        }

        if let State::Kept(state) = &job.state {
            state.open().map_err(|source| job.at_rest(source))?;
        }
        let call = Call {
            step: Step::Apply,
            program: None,
            args: apply_arguments(job, &plan.file),
            terraform_workspace: job.terraform_workspace.clone(),
            result: None,
            deadline: Instant::now() + job.apply_timeout,
            limit: job.apply_timeout,
        };
        let finished = self.run_apply(job, call, watch, cancel).await?;
        if finished.code() == Some(0) {
            return Ok(Applied {
                resources: finished.record.outcomes(),
                warnings: finished
                    .record
                    .diagnostics
                    .into_iter()
                    .filter(|d| d.severity == Severity::Warning)
                    .collect(),
                took: vec![(Step::Apply, finished.took)],
            });
        }
        self.failed(job, finished, first, watch).await
    }

    async fn failed(
        &self,
        job: &Job,
        finished: Finished,
        first: First,
        watch: &dyn Observer,
    ) -> Result<Applied, EngineError> {
        let evidence = finished.evidence(job);
        let resources = finished.record.outcomes();
        let untouched = resources
            .iter()
            .all(|(_, o)| *o == ApplyOutcome::NotReached);
        if finished.code().is_some()
            && let (State::Kept(state), First::Yes) = (&job.state, first)
        {
            let path = &state.opened();
            // Terraform makes the file before it has a state, and leaves it
            // empty where it ended by itself before it wrote one.
            let empty = fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
            if empty && untouched {
                noting(job, "remove the empty state", remove(path));
            }
        }
        if untouched && let Some(lock) = lock_in(&evidence.diagnostics) {
            return Err(EngineError::StateLocked {
                evidence: Box::new(evidence),
                lock,
            });
        }
        let stranded = self.rescue_state(job, watch).await;
        let end = match (&finished.ended, finished.stop) {
            (Some(ended), _) if ended.limit.is_some() => {
                // Checked just now; the pattern cannot take it out of the option by itself.
                ended.limit.map_or(ApplyEnd::Lost, ApplyEnd::Limited)
            }
            (_, Some(stop)) => ApplyEnd::Stopped(stop),
            (Some(ended), None) => ApplyEnd::Exit(ended.exit.clone()),
            (None, None) => ApplyEnd::Lost,
        };
        Err(EngineError::ApplyFailed(Box::new(FailedApply {
            evidence,
            end,
            resources,
            stranded,
        })))
    }

    /// Looks for a state that an apply of this job could not save, keeps a
    /// copy of it in the work folder, and pushes it once where there is a
    /// backend. Called after every failed apply; call it too after an adopted
    /// one. The file is taken out of the checkout only when it was pushed.
    pub async fn rescue_state(&self, job: &Job, watch: &dyn Observer) -> Option<Stranded> {
        let stranded = job.cwd().join(STRANDED);
        if !is_stranded(&stranded) {
            return None;
        }
        let kept = match keep_stranded(&stranded, &job.work_dir) {
            Ok(kept) => kept,
            Err(error) => {
                let rescue = Rescue::Failed(format!("no copy could be made: {error}"));
                return Some(Stranded {
                    kept: stranded,
                    rescue,
                });
            }
        };
        let rescue = match job.state {
            State::Backend => self.push(job, &kept, watch).await,
            State::Kept(_) | State::Local(_) | State::InFolder => Rescue::NotTried,
        };
        if rescue == Rescue::Saved {
            noting(job, "remove the pushed state", remove(&stranded));
            // Under its own name it would be taken for one that is still to be pushed.
            let saved = job.work_dir.join(PUSHED);
            let renamed = fs::rename(&kept, &saved);
            let kept = if renamed.is_ok() { saved } else { kept };
            noting(job, "rename the pushed state", renamed);
            return Some(Stranded { kept, rescue });
        }
        Some(Stranded { kept, rescue })
    }

    /// Pushes a state that an earlier apply of the workspace could not save. Terraform refuses one of
    /// another lineage, and one that is older than what is there.
    ///
    /// `kept` stays as it is: call it again as often as it failed.
    pub async fn push_stranded(&self, job: &Job, kept: &Path, watch: &dyn Observer) -> Rescue {
        if job.state != State::Backend {
            return Rescue::NotTried;
        }
        // What runs in a sandbox may read it there; and under another name nobody takes it for one
        // that this run could not save.
        let copy = job.tmp_dir.join("pushing.tfstate");
        let copied = job
            .prepare()
            .map_err(|error| error.to_string())
            .and_then(|()| {
                copy_own(kept, &copy)
                    .map_err(|error| format!("{} could not be copied: {error}", kept.display()))
            });
        if let Err(reason) = copied {
            return Rescue::Failed(reason);
        }
        let rescue = self.push(job, &copy, watch).await;
        noting(job, "remove the copy of the unsaved state", remove(&copy));
        rescue
    }

    async fn push(&self, job: &Job, kept: &Path, watch: &dyn Observer) -> Rescue {
        let mut args: Vec<OsString> = ["state", "push"].map(Into::into).into();
        args.push(lock_timeout(job.lock_wait()));
        args.push(kept.into());
        let call = Call {
            step: Step::StatePush,
            program: None,
            args,
            terraform_workspace: job.terraform_workspace.clone(),
            result: None,
            deadline: Instant::now() + PUSH_LIMIT,
            limit: PUSH_LIMIT,
        };
        // Whoever cancelled the apply does not want its state lost.
        match self.run(job, call, watch, &CancelToken::new()).await {
            Ok(finished) if finished.code() == Some(0) => Rescue::Saved,
            Ok(finished) => Rescue::Failed(finished.record.tail.text()),
            Err(error) => Rescue::Failed(error.to_string()),
        }
    }

    /// Keeps the state that the apply will change, where Mainstay keeps it.
    fn keep_version(&self, job: &Job) -> Result<First, EngineError> {
        let serial = job.check_state(Step::Apply)?;
        match (&job.state, serial) {
            (State::Kept(state), Some(serial)) => {
                state
                    .keep(serial, now().timestamp())
                    .map_err(|source| job.at_rest(source))?;
                Ok(First::No)
            }
            _ => Ok(First::Yes),
        }
    }
}

/// Whether an apply is the first one to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Yes,
    No,
}

impl Job {
    fn lock_wait(&self) -> Duration {
        match self.lock {
            Lock::Take { wait } => wait,
            Lock::Skip => Lock::APPLY_WAIT,
        }
    }
}

fn apply_arguments(job: &Job, file: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["apply", "-json", "-input=false", "-no-color"]
        .map(Into::into)
        .into();
    args.push(lock_timeout(job.lock_wait()));
    if let State::Kept(state) = &job.state {
        args.push(flag("-state=", &state.opened()));
        // We keep versions ourselves.
        args.push("-backup=-".into());
    }
    args.push(file.into());
    args
}

/// Says in the log what went wrong after an apply: how the apply itself went
/// is worth more to the caller.
fn noting(job: &Job, what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        let workspace = &job.workspace;
        tracing::warn!(%workspace, %error, "Could not {what} after the apply of {workspace}");
    }
}

/// Keeps the state that an apply, which was started there, could not save: copies it into `folder`,
/// and takes it out of the checkout. `None` where it left none.
///
/// No such file was there when the apply began, or it would not have begun.
///
/// # Errors
///
/// Where no copy can be made; the file stays where it is then.
pub fn take_stranded(start: &StepStart, folder: &Path) -> io::Result<Option<PathBuf>> {
    let Some(cwd) = start.cwd.as_ref().filter(|_| start.step == Step::Apply) else {
        return Ok(None);
    };
    let stranded = cwd.join(STRANDED);
    if !is_stranded(&stranded) {
        return Ok(None);
    }
    let kept = keep_stranded(&stranded, folder)?;
    remove(&stranded)?;
    Ok(Some(kept))
}

/// The state that an apply, which was started there, could not save and that is still in its checkout.
pub fn left_stranded(start: &StepStart) -> Option<PathBuf> {
    let left = start.cwd.as_ref()?.join(STRANDED);
    is_stranded(&left).then_some(left)
}

/// The lock that a command says it could not have, by the text that it printed.
pub fn lock_in_text(text: &str) -> Option<LockInfo> {
    lock_in(&from_text(text))
}

/// The state that an apply could not save, where one is kept in this folder.
pub fn kept_stranded(folder: &Path) -> Option<PathBuf> {
    let kept = folder.join(STRANDED);
    // Sealed, once nobody works on the run any more.
    [sealed_name(&kept), kept]
        .into_iter()
        .find(|kept| is_stranded(kept))
}

/// Whether it is a file; a link is nothing that Terraform wrote.
fn is_stranded(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Copies a stranded state into the work folder, whole and for its owner alone.
fn keep_stranded(stranded: &Path, work_dir: &Path) -> io::Result<PathBuf> {
    let kept = work_dir.join(STRANDED);
    copy_own(stranded, &kept)?;
    Ok(kept)
}

/// Copies a file, and not what a link in its place leads to: all of it or nothing, for its owner alone.
fn copy_own(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = open_own(from)?;
    write_whole(to, |copy| io::copy(&mut source, copy).map(|_| ()))
}
