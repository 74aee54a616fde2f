//! Has the policies judge a plan, and asks the forge for what they demand.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Ready, Worker};
use crate::decide::{Approvals, merged_since};
use crate::engine;
use crate::fault::chain;
use crate::fleet::Tracked;
use crate::forge::{ForgeError, Origin, Permission};
use crate::id::{IssueNumber, ObjectId, ProposalKey};
use crate::modules::Tree as _;
use crate::plan::Plan;
use crate::policy::{Backend, Context, Input, PullRequest, Verdict};
use crate::redact::Redactor;
use crate::run::{Purpose, Trigger};
use crate::source::{Mirror, SourceError};
use crate::store::StoreError;

impl Worker {
    /// What the workspace's policies say of a plan, with what people decided against them for this
    /// very plan; `None` where it names none. Whatever keeps them from judging denies.
    pub(super) async fn verdict(
        &self,
        ready: &Ready,
        json: &Path,
        plan: &Plan,
        redactor: &Redactor,
    ) -> Result<Option<Verdict>, StoreError> {
        let names = &ready.settings.policies;
        if names.is_empty() {
            return Ok(None);
        }
        let what = &ready.run.what;
        let mut verdict = match self.context(ready).await? {
            Ok(context) => self.evaluated(names, json, context, redactor).await,
            Err(reason) => Verdict::impossible(names, &redactor.redact(&reason)),
        };
        let overrides =
            self.fleet
                .store
                .overrides(&what.repo, &what.workspace, &plan.fingerprint)?;
        for (policy, by) in &overrides {
            verdict.override_policy(policy, by);
        }
        info!(run.id = %ready.run.id, policies = verdict.evaluated.len(), findings = verdict.findings.len(), "Policies judged run {}: {:?}", ready.run.id, verdict.judgement());
        Ok(Some(verdict))
    }

    /// Evaluates the policies, apart from the threads that everything else runs on.
    async fn evaluated(
        &self,
        names: &[String],
        json: &Path,
        context: Context,
        redactor: &Redactor,
    ) -> Verdict {
        let (policies, redactor) = (Arc::clone(&self.policies), redactor.clone());
        let (asked, json) = (names.to_vec(), json.to_owned());
        let judged = tokio::task::spawn_blocking(move || {
            Input::read(&json, &context).map(|input| policies.judge(&asked, &input, &redactor))
        });
        match judged.await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::impossible(names, &chain(&error)),
            Err(_) => Verdict::impossible(names, "the evaluation broke off"),
        }
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
    let tracked = Arc::clone(tracked);
    let found = tokio::task::spawn_blocking(move || {
        let mirror = Mirror::open(&tracked.mirror)?;
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
