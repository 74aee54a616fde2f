//! Has a plan read and judged by the policies, and asks the forge for what they demand.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Ready, Worker};
use crate::decide::{Approvals, merged_since};
use crate::engine::{self, CancelToken, ReadingError, SavedPlan};
use crate::fault::chain;
use crate::fleet::Tracked;
use crate::forge::{ForgeError, Origin, Permission};
use crate::id::{IssueNumber, ObjectId, ProposalKey};
use crate::modules::Tree as _;
use crate::plan::{Plan, Room};
use crate::policy::{Backend, Context, PullRequest, Verdict};
use crate::reading::{Answer, Judging, Order};
use crate::run::{Purpose, Trigger};
use crate::sandbox::{Confinement, Lifetime, Network};
use crate::source::{Mirror, SourceError};
use crate::store::StoreError;

impl Worker {
    /// Has a plan read in a process of its own, in the sandbox of its purpose, and judged by the
    /// workspace's policies where there is something to judge.
    pub(super) async fn read(
        &self,
        ready: &Ready,
        saved: &SavedPlan,
        cancel: &CancelToken,
    ) -> Result<Result<Answer, ReadingError>, StoreError> {
        let order = Order {
            json: saved.json.clone(),
            saved: Some(saved.file.clone()),
            key: self.fleet.key.clone(),
            secrets: ready.secrets.values().map(str::to_owned).collect(),
            warnings: saved.warnings.clone(),
            checks: ready.checks.clone(),
            judging: self.judging(ready).await?,
            room: Room::RECORD,
        };
        let program = self.engine.own_program();
        let confinement = Confinement {
            cwd: ready.job.tmp_dir.clone(),
            tmp_dir: ready.job.tmp_dir.clone(),
            read: vec![saved.json.clone(), saved.file.clone()],
            write: Vec::new(),
            // It ends with its input.
            lifetime: Lifetime::OnItsOwn,
            network: Network::Nothing,
        };
        let behind = self
            .sandbox_of(ready.run.what.purpose)
            .wrapper(program, &confinement);
        let read = self
            .engine
            .read_plan(&ready.job, &behind, &order, cancel)
            .await;
        if let Ok(Answer {
            verdict: Some(verdict),
            ..
        }) = &read
        {
            info!(run.id = %ready.run.id, policies = verdict.evaluated.len(), findings = verdict.findings.len(), "Policies judged run {}: {:?}", ready.run.id, verdict.judgement());
        }
        Ok(read)
    }

    /// What judges the plan of a run; `None` where nothing does. Whatever keeps policies from judging
    /// denies.
    async fn judging(&self, ready: &Ready) -> Result<Option<Judging>, StoreError> {
        let names = &ready.settings.policies;
        // A look for drift changes nothing, and what repairs it is judged by itself.
        if names.is_empty() || ready.run.what.purpose == Purpose::Drift {
            return Ok(None);
        }
        Ok(Some(Judging {
            names: names.clone(),
            sources: self.policies.sources(names),
            context: self.context(ready).await?,
        }))
    }

    /// A verdict with what people decided against it for this very plan.
    pub(super) fn overridden(
        &self,
        ready: &Ready,
        plan: &Plan,
        mut verdict: Verdict,
    ) -> Result<Verdict, StoreError> {
        let what = &ready.run.what;
        let overrides =
            self.fleet
                .store
                .overrides(&what.repo, &what.workspace, &plan.fingerprint)?;
        for (policy, by) in &overrides {
            verdict.override_policy(policy, by);
        }
        Ok(verdict)
    }

    /// What Mainstay knows beside the plan; the inner error says what could not be found out.
    async fn context(&self, ready: &Ready) -> Result<Result<Context, String>, StoreError> {
        let what = &ready.run.what;
        let names = &ready.settings.policies;
        let Some(tracked) = self.fleet.tracked(&what.repo) else {
            return Ok(Err("the repository is no longer declared".to_owned()));
        };
        let row = match &what.proposal {
            Some(key) => self.fleet.store.proposal(&what.repo, key)?,
            None => None,
        };
        let mut labels = Vec::new();
        if let Some(ProposalKey::Pull(number)) = &what.proposal
            && self.policies.read_labels(names)
        {
            match tracked.forge.labels(&what.repo, *number).await {
                Ok(found) => labels = found,
                Err(error) => {
                    return Ok(Err(format!(
                        "the labels of the pull request could not be read: {}",
                        chain(&error)
                    )));
                }
            }
        }
        let mut files = Vec::new();
        if self.policies.read_files(names) {
            let applied = self
                .fleet
                .store
                .workspace(&what.repo, &what.workspace)?
                .and_then(|row| row.applied)
                .map(|applied| applied.tree);
            match changed_files(tracked, ready, applied).await {
                Ok(found) => files = found,
                Err(reason) => {
                    return Ok(Err(format!(
                        "the files that change could not be found out: {reason}"
                    )));
                }
            }
        }
        let author = row.as_ref().map(|row| row.proposal.author.clone());
        Ok(Ok(Context {
            repository: what.repo.to_string(),
            workspace: what.workspace.to_string(),
            environment: ready.settings.environment.clone(),
            purpose: match (what.purpose, &what.trigger) {
                (_, Trigger::Drift { .. }) => "drift".to_owned(),
                (purpose, _) => purpose.to_string(),
            },
            commit: what.commit.to_string(),
            branch: tracked.declaration.branch.to_string(),
            backend: match ready.job.state {
                engine::State::Backend => engine::backend_record(&ready.job.data_dir)
                    .and_then(|record| Backend::of_record(&record)),
                engine::State::Kept(_) | engine::State::Local(_) | engine::State::InFolder => None,
            },
            author: author.filter(|author| !author.is_empty()),
            labels: labels.clone(),
            files,
            pull_request: row.map(|row| PullRequest {
                number: match &row.proposal.key {
                    ProposalKey::Pull(number) => Some(number.0),
                    ProposalKey::Branch(_) => None,
                },
                title: row.proposal.title,
                author: row.proposal.author,
                labels,
                head: row.proposal.head.to_string(),
                base: row.proposal.base_branch.to_string(),
                fork: row.proposal.origin == Origin::Fork,
            }),
        }))
    }

    /// Who approved the merged heads, where a policy asks for approvals.
    pub(super) async fn approvals(
        &self,
        ready: &Ready,
        verdict: Option<&Verdict>,
    ) -> Result<Approvals, StoreError> {
        if verdict.and_then(Verdict::approvals).is_none() {
            return Ok(Approvals::NotAsked);
        }
        let what = &ready.run.what;
        let Some(tracked) = self.fleet.tracked(&what.repo) else {
            return Ok(Approvals::By(Vec::new()));
        };
        let facts = self.fleet.facts(tracked)?;
        let mut pulls = Vec::new();
        for merged in merged_since(&facts, &what.workspace) {
            if let ProposalKey::Pull(number) = &merged.key
                && let Some(row) = self.fleet.store.proposal(&what.repo, &merged.key)?
            {
                pulls.push((*number, row.proposal.head));
            }
        }
        let mut common: Option<BTreeSet<String>> = None;
        for (number, head) in pulls {
            match approved(tracked, number, &head).await {
                // Who approved one of two proposals did not approve both.
                Ok(people) => {
                    common = Some(match common {
                        None => people,
                        Some(before) => before.intersection(&people).cloned().collect(),
                    });
                }
                Err(error) => {
                    warn!(run.id = %ready.run.id, "The approvals of #{number} could not be read: {}", chain(&error));
                    return Ok(Approvals::Unknown("the forge did not say".to_owned()));
                }
            }
        }
        Ok(Approvals::By(common.into_iter().flatten().collect()))
    }
}

/// Who approves a pull request at a head and may write to the repository.
async fn approved(
    tracked: &Tracked,
    number: IssueNumber,
    head: &crate::id::CommitSha,
) -> Result<BTreeSet<String>, ForgeError> {
    let mut people = BTreeSet::new();
    for login in tracked
        .forge
        .approvals(tracked.repo(), number, head)
        .await?
    {
        if tracked.forge.may_write(tracked.repo(), &login).await? == Permission::Write {
            people.insert(login);
        }
    }
    Ok(people)
}

/// The paths that differ from what a proposal is for, or from what the workspace is at.
async fn changed_files(
    tracked: &Arc<Tracked>,
    ready: &Ready,
    applied: Option<ObjectId>,
) -> Result<Vec<String>, String> {
    let what = ready.run.what.clone();
    let (tracked, limits) = (Arc::clone(tracked), ready.job.limits);
    let found = tokio::task::spawn_blocking(move || {
        let mirror = Mirror::open(&tracked.mirror)?.with_limits(limits);
        let before = match (what.purpose, &what.base) {
            (Purpose::Propose, Some(base)) => Some(mirror.tree_of(base)?),
            _ => applied,
        };
        let after = mirror.tree(&what.tree)?;
        let Some(before) = before else {
            return Ok(after.files().keys().cloned().collect());
        };
        let before = mirror.tree(&before)?;
        let (old, new) = (before.files(), after.files());
        let mut paths: BTreeSet<String> = new
            .iter()
            .filter(|(path, entry)| old.get(*path) != Some(*entry))
            .map(|(path, _)| path.clone())
            .collect();
        paths.extend(old.keys().filter(|path| !new.contains_key(*path)).cloned());
        Ok::<_, SourceError>(paths.into_iter().collect())
    });
    match found.await {
        Ok(Ok(paths)) => Ok(paths),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("the comparison broke off".to_owned()),
    }
}
