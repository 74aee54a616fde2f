//! Makes a run's files ready: the checkout, the environment, the order for Terraform.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::lending::{Author, patterns_of};
use super::{Places, Ready, Worker, operator, places};
use crate::config::Limits;
use crate::engine::{self, Job, Lock, environment};
use crate::fleet::Tracked;
use crate::id::CommitSha;
use crate::modules::{Backend, ModuleProblem, Presence, ResolveError, Resolved};
use crate::plan::{Diagnostic, Severity};
use crate::redact::Redactor;
use crate::run::{Purpose, Run};
use crate::source::{Links, Mirror, SourceError};
use crate::store::StoreError;
use crate::trust::{self, Refusal};
use crate::workspace::Rule;

/// How long a plan that is to be applied waits for somebody else's lock of the state.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Why the files of a run could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("the repository `{0}` is no longer declared")]
    Undeclared(String),
    #[error("the workspace is not in this commit")]
    NoWorkspace,
    #[error("the folder `{folder}` holds no Terraform configuration in this commit")]
    NoConfiguration { folder: String },
    #[error("the code asks for what nobody allowed")]
    Refused {
        folder: String,
        refusals: Vec<Refusal>,
    },
    #[error("the commit could not be checked out")]
    Source(#[from] SourceError),
    #[error("the files of the commit could not be read")]
    Tree(#[from] ResolveError),
    #[error("cannot make the folder {folder}")]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the record could not be read")]
    Store(#[from] StoreError),
    #[error("the checkout was cut short")]
    CutShort(#[from] tokio::task::JoinError),
}

impl Worker {
    /// Makes a run's files ready.
    pub(super) async fn prepare(&self, run: Run) -> Result<Ready, PrepareError> {
        let what = &run.what;
        let undeclared = || PrepareError::Undeclared(what.repo.to_string());
        let tracked = Arc::clone(self.fleet.tracked(&what.repo).ok_or_else(undeclared)?);
        let settings = tracked
            .settings(&what.workspace)
            .ok_or_else(undeclared)?
            .clone();
        let folder = self.places.checkouts();
        let (name, tree) = (what.workspace.clone(), what.tree.clone());
        let base = match what.purpose {
            Purpose::Propose => what.base.clone(),
            // What is on the base branch is not held against it.
            Purpose::Merge | Purpose::Drift => None,
        };
        let prefix = self.places.checkout(run.id);
        let limits = self.fleet.config.limits;
        let (resolved, checkout) = tokio::task::spawn_blocking(move || {
            let make = |source| PrepareError::Folder {
                folder: folder.clone(),
                source,
            };
            std::fs::create_dir_all(&folder).map_err(make)?;
            let checkout = tempfile::Builder::new()
                .prefix(&prefix)
                .tempdir_in(&folder)
                .map_err(make)?;
            let resolved = check_out(
                &tracked,
                &name,
                &tree,
                base.as_ref(),
                limits,
                checkout.path(),
            )?;
            Ok::<_, PrepareError>((resolved, checkout))
        })
        .await??;
        let author = self.author(what)?;
        let (data_dir, strange) =
            data_folder(&self.places, &run, author).map_err(|source| PrepareError::Folder {
                folder: self.places.checkouts(),
                source,
            })?;
        let work_dir = self
            .places
            .next_attempt(run.id)
            .map_err(|source| PrepareError::Folder {
                folder: self.places.run(run.id),
                source,
            })?;
        let patterns = patterns_of(&settings, what.purpose, author);
        let choose = |patterns: &[String]| {
            environment(patterns, self.environment.iter().cloned(), &self.never)
        };
        let mut env = choose(patterns);
        let harmless = choose(&[]);
        // What a declaration lets in is secret; what every run sees (PATH, HOME) is not.
        let secrets = env
            .iter()
            .filter(|(name, _)| harmless.iter().all(|(other, _)| other != name))
            .map(|(_, value)| value.expose().to_owned())
            // Some of what every run sees holds secrets.
            .chain(operator::secrets(&env));
        let secrets = Redactor::new(secrets);
        let tmp_dir = tempfile::Builder::new()
            .prefix(&self.places.temporary(run.id))
            .tempdir()
            .map_err(|source| PrepareError::Folder {
                folder: std::env::temp_dir(),
                source,
            })?;
        if author == Author::Stranger {
            operator::withhold(&mut env, tmp_dir.path()).map_err(|source| {
                PrepareError::Folder {
                    folder: tmp_dir.path().to_owned(),
                    source,
                }
            })?;
        }
        let state = match &resolved.backend {
            Backend::None => engine::State::Kept(self.kept_state(what)),
            Backend::Named(_) | Backend::Cloud => engine::State::Backend,
        };
        let mut job = Job {
            workspace: what.workspace.clone(),
            checkout: checkout.path().to_owned(),
            folder: resolved.workspace.path.clone(),
            work_dir,
            data_dir,
            tmp_dir: tmp_dir.path().to_owned(),
            wrapper: Vec::new(),
            door: None,
            state,
            var_files: settings.var_files.clone(),
            terraform_workspace: settings.terraform_workspace.clone(),
            env,
            plan_timeout: settings.plan_timeout,
            apply_timeout: settings.apply_timeout,
            lock: match what.purpose {
                Purpose::Merge => Lock::Take { wait: LOCK_WAIT },
                // A plan that is only shown writes nothing: it leaves no lock behind when it is killed.
                Purpose::Propose | Purpose::Drift => Lock::Skip,
            },
            required_version: resolved.required_version.clone(),
            limits: self.fleet.config.limits,
            trust: settings.trust.clone(),
            backend: resolved.backend.clone(),
        };
        self.shut_in(&mut job, what.purpose)
            .map_err(|source| PrepareError::Folder {
                folder: job.data_dir.clone(),
                source,
            })?;
        Ok(Ready {
            settings,
            job,
            problems: resolved.problems,
            secrets,
            author,
            lent_until: None,
            notes: Vec::new(),
            checks: Vec::new(),
            unfinished: None,
            run,
            folders: [Some(checkout), Some(tmp_dir), strange],
        })
    }
}

/// Terraform's data folder for a run: the modules and providers that it holds, and the record of the
/// backend, are what the next plan there runs with its own credentials. So a stranger's is of its run
/// alone, with its plugin cache beside it, and is removed with the second of what this gives.
fn data_folder(
    places: &Places,
    run: &Run,
    author: Author,
) -> std::io::Result<(PathBuf, Option<TempDir>)> {
    let what = &run.what;
    let trust = match (author, what.purpose) {
        (Author::Stranger, _) => {
            let folder = places.checkouts();
            std::fs::create_dir_all(&folder)?;
            let own = tempfile::Builder::new()
                .prefix(&places.strange(run.id))
                .tempdir_in(&folder)?;
            return Ok((own.path().join("terraform"), Some(own)));
        }
        (Author::Own, Purpose::Propose) => places::Trust::Proposed,
        (Author::Own, Purpose::Merge | Purpose::Drift) => places::Trust::Merged,
    };
    let kept = places.terraform(&what.repo, &what.workspace, trust);
    Ok((kept, None))
}

/// Checks out the files that concern a workspace, if nothing in them is refused. `base` is what a
/// proposal is held against.
fn check_out(
    tracked: &Tracked,
    name: &crate::id::WorkspaceName,
    tree: &crate::id::ObjectId,
    base: Option<&CommitSha>,
    limits: Limits,
    into: &Path,
) -> Result<Resolved, PrepareError> {
    let mirror = Mirror::open(&tracked.mirror)?.with_limits(limits);
    let files = mirror.tree(tree)?;
    let resolved = crate::modules::resolve(&files, &tracked.declaration)?
        .into_iter()
        .find(|r| &r.workspace.name == name)
        .ok_or(PrepareError::NoWorkspace)?;
    if resolved.presence == Presence::Absent {
        return Err(PrepareError::NoConfiguration {
            folder: resolved.workspace.path,
        });
    }
    let base = match base {
        Some(commit) => Some(mirror.tree(&mirror.tree_of(commit)?)?),
        None => None,
    };
    let base = match &base {
        Some(tree) => trust::Base::Tree(tree),
        None => trust::Base::Itself,
    };
    let refusals = trust::refusals(&files, &resolved, base).map_err(ResolveError::from)?;
    if !refusals.is_empty() {
        let folder = resolved.workspace.path;
        return Err(PrepareError::Refused { folder, refusals });
    }
    let links = match resolved.workspace.settings.trust.holds(Rule::Symlinks) {
        true => Links::Within,
        false => Links::Anywhere,
    };
    mirror.checkout(tree, Some(&resolved.files), into, links)?;
    Ok(resolved)
}

/// What is wrong with a module, as a warning on the plan.
pub(super) fn problem_warning(problem: &ModuleProblem) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        summary: problem.message.clone(),
        detail: String::new(),
        address: None,
        file: Some(problem.file.clone()),
        line: problem.line.and_then(|line| line.try_into().ok()),
        snippet: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::run::{NewRun, Trigger};
    use crate::store::Store;

    /// Two runs of a purpose for the same workspace, the second after the first ended.
    fn runs(folder: &Path, purpose: Purpose) -> [Run; 2] {
        let store = Store::open(folder).unwrap();
        let order = NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            purpose,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: Trigger::Commit,
        };
        [(); 2].map(|()| {
            let id = store.add_run(&order, now()).unwrap();
            store.run(id).unwrap()
        })
    }

    #[test]
    fn what_a_forks_plan_wrote_is_used_by_no_other_plan() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path());
        let [first, second] = runs(folder.path(), Purpose::Propose);
        let (strange, guard) = data_folder(&places, &first, Author::Stranger).unwrap();
        let (other, _other) = data_folder(&places, &second, Author::Stranger).unwrap();
        let (own, none) = data_folder(&places, &second, Author::Own).unwrap();
        assert!(none.is_none(), "what own branches plan with is kept");
        let plugins = strange.with_extension("plugins");
        for shared in [&other, &own] {
            assert!(!strange.starts_with(shared) && !shared.starts_with(&strange));
            assert_ne!(&plugins, &shared.with_extension("plugins"));
        }
        for written in [&strange, &plugins] {
            std::fs::create_dir_all(written.join("modules")).unwrap();
        }
        drop(guard);
        assert!(!strange.exists() && !plugins.exists());
    }
}
