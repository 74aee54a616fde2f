//! The repositories that are kept, each with its declaration, its forge and its mirror, and
//! the record they share: what `watch`, `worker` and `tell` work on.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::decide::{Facts, MergedFacts, ProposalFacts, Settled, Standing, Trust, WorkspaceFacts};
use crate::forge::{Forge, LookRequest, Origin};
use crate::id::{RepoName, WorkspaceName};
use crate::plan::FingerprintKey;
use crate::store::{ProposalRow, ProposalState, Store, StoreError};
use crate::workspace::{Declaration, Settings};

pub use looks::{Came, Looks};

/// A repository that is kept.
pub struct Tracked {
    /// What is declared of it.
    pub declaration: Declaration,
    /// Where its proposals live.
    pub forge: Arc<dyn Forge>,
    /// The bare mirror of it.
    pub mirror: PathBuf,
    /// Digest of the declaration: what was concluded under another one is concluded anew.
    digest: String,
}

impl Tracked {
    /// Joins a declaration with its forge; `mirrors` is the folder of the mirrors.
    pub fn new(declaration: Declaration, forge: Arc<dyn Forge>, mirrors: &Path) -> Self {
        let digest = hex::encode(&Sha256::digest(format!("{declaration:?}"))[..8]);
        let mirror = mirrors.join(folder_name(declaration.repo.as_str()));
        Self {
            declaration,
            forge,
            mirror,
            digest,
        }
    }

    /// The repository's name.
    pub fn repo(&self) -> &RepoName {
        &self.declaration.repo
    }

    /// What a look asks for.
    pub fn request(&self) -> LookRequest {
        LookRequest {
            repo: self.declaration.repo.clone(),
            branch: self.declaration.branch.clone(),
            proposals: self.declaration.proposals.clone(),
        }
    }

    /// What a conclusion from `parts` under the present declaration is kept by.
    pub fn conclusion_key(&self, parts: &[&str]) -> String {
        let mut key = parts.join(" ");
        key.push(' ');
        key.push_str(&self.digest);
        key
    }

    /// How a workspace is run: declared by name, or found.
    pub fn settings(&self, name: &WorkspaceName) -> Option<&Settings> {
        self.declaration.settings(name)
    }
}

/// A folder name for a repository: readable, and unique by a digest.
pub fn folder_name(repo: &str) -> String {
    let readable: String = repo
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let readable = readable.trim_matches(['_', '.']);
    let start = readable.len().saturating_sub(60);
    format!(
        "{}-{}",
        &readable[start..],
        hex::encode(&Sha256::digest(repo)[..4])
    )
}

/// All that the parts of the daemon share.
pub struct Fleet {
    /// The settings.
    pub config: Config,
    /// The record.
    pub store: Arc<Store>,
    /// The repositories, by name.
    pub repositories: BTreeMap<RepoName, Arc<Tracked>>,
    /// The key that plans are told apart by.
    pub key: FingerprintKey,
    /// Looks that somebody waits for.
    pub looks: Looks,
}

impl Fleet {
    /// The repository of that name.
    pub fn tracked(&self, repo: &RepoName) -> Option<&Arc<Tracked>> {
        self.repositories.get(repo)
    }

    /// All that is known of a repository, for a decision.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn facts(&self, tracked: &Tracked) -> Result<Facts, StoreError> {
        let repo = tracked.repo();
        let recorded = self.store.repository(repo)?;
        let view = recorded.as_ref().and_then(|r| r.view.clone());
        let base = recorded.as_ref().and_then(|r| r.base.clone());
        let runs = self.store.deciding_runs(repo)?;
        let mut proposals = Vec::new();
        let mut merged = Vec::new();
        for row in self.store.proposals(repo)? {
            if row.state == ProposalState::Merged
                && let Some(facts) = self.merged(tracked, &row)?
            {
                merged.push(facts);
            }
            proposals.push(proposal_facts(
                tracked,
                base.as_ref().map(|b| b.as_str()),
                row,
            ));
        }
        merged.sort_by_key(|m| m.position);
        // The gone ones matter only while something of theirs is under way.
        let under_way: BTreeSet<_> = runs
            .iter()
            .filter(|r| !r.state.is_end())
            .filter_map(|r| r.proposal.clone())
            .collect();
        proposals.retain(|p| p.standing == Standing::Open || under_way.contains(&p.key));
        let rows = self.store.workspaces(repo)?;
        let workspaces = view
            .iter()
            .flat_map(|v| &v.workspaces)
            .filter_map(|viewed| {
                let row = rows.iter().find(|row| row.name == viewed.name);
                Some(WorkspaceFacts {
                    name: viewed.name.clone(),
                    settings: tracked.settings(&viewed.name)?.clone(),
                    applied: row.and_then(|r| r.applied.clone()),
                    settled: row.map_or(Settled::Yes, |r| r.settled),
                    drift_at: row.and_then(|r| r.drift_at),
                })
            })
            .collect();
        Ok(Facts {
            repo: repo.clone(),
            view,
            workspaces,
            proposals,
            merged,
            runs,
        })
    }

    /// What is known of a merged proposal, where its merge is in the recorded history.
    ///
    /// # Errors
    ///
    /// Where the record cannot be read.
    pub fn merged(
        &self,
        tracked: &Tracked,
        row: &ProposalRow,
    ) -> Result<Option<MergedFacts>, StoreError> {
        let Some(commit) = &row.merged_as else {
            return Ok(None);
        };
        let Some(position) = self.store.base_position(tracked.repo(), commit)? else {
            return Ok(None);
        };
        Ok(Some(MergedFacts {
            key: row.proposal.key.clone(),
            position,
            touched: row.touched().iter().map(|t| t.name.clone()).collect(),
        }))
    }
}

/// What is known of a proposal, as a decision reads it.
pub fn proposal_facts(tracked: &Tracked, base: Option<&str>, row: ProposalRow) -> ProposalFacts {
    let open =
        row.state == ProposalState::Open && row.proposal.base_branch == tracked.declaration.branch;
    let trusted =
        row.proposal.origin == Origin::Own || row.permitted.as_ref() == Some(&row.proposal.head);
    let key = base.map(|base| tracked.conclusion_key(&[row.proposal.head.as_str(), base]));
    ProposalFacts {
        key: row.proposal.key.clone(),
        trust: if trusted {
            Trust::May
        } else {
            Trust::NeedsPermission
        },
        standing: if open { Standing::Open } else { Standing::Gone },
        consideration: row
            .consideration
            .filter(|_| key.is_some() && row.considered == key),
        head: row.proposal.head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_repositories_never_share_a_folder() {
        assert_ne!(folder_name("acme/infra"), folder_name("acme_infra"));
        assert!(folder_name("../../etc").starts_with("etc-"));
        assert!(folder_name("https://host/ä/ö.git").is_ascii());
    }
}
