//! What git says of a look: how the base moved, what proposals come to, which workspaces they touch.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::{WatchError, touched_names};
use crate::clock::Timestamp;
use crate::decide::{
    Consideration, Contained, ModuleChange, Presence, Touched, View, ViewedWorkspace,
};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked};
use crate::forge::{Look, Speaks};
use crate::id::{CommitSha, ObjectId, ProposalKey, WorkspaceName};
use crate::modules::{self, Resolved};
use crate::run::{NewRun, Purpose, Trigger};
use crate::source::{Ancestry, Heads, Merge, Mirror, Remedy, RemoteAddress, SourceError};
use crate::store::{BaseMove, ProposalState};
use crate::workspace::{ApplyMode, Declaration};

/// So many commits between two looks get a record of their own each.
const INTERMEDIATE_COMMITS: usize = 50;

/// Fetches where a head of the look is not in the mirror.
pub(super) fn fetch_missing(
    mirror: &Mirror,
    tracked: &Tracked,
    address: &RemoteAddress,
    proposal_refs: &str,
    look: &Look,
) -> Result<(), SourceError> {
    let branch = &tracked.declaration.branch;
    let mut heads: BTreeMap<String, &CommitSha> = BTreeMap::new();
    for proposal in look.open.iter().filter(|p| &p.base_branch == branch) {
        // What was too large is not fetched again at each look.
        if mirror.refused(&proposal.head)?.is_some() {
            continue;
        }
        let name = match &proposal.key {
            ProposalKey::Pull(number) => number.to_string(),
            // Beside pull requests it is a branch of the merge queue.
            ProposalKey::Branch(branch) if tracked.forge.speaks() == Speaks::Yes => {
                format!("refs/heads/{branch}")
            }
            ProposalKey::Branch(branch) => branch.to_string(),
        };
        heads.insert(name, &proposal.head);
    }
    if look
        .base
        .iter()
        .chain(heads.values().copied())
        .all(|commit| mirror.has(commit))
    {
        return Ok(());
    }
    let names: BTreeSet<String> = heads.keys().cloned().collect();
    let fetch =
        |names: &BTreeSet<String>| mirror.fetch(address, branch, proposal_refs, Heads::Only(names));
    match fetch(&names) {
        Err(SourceError::PackTooLarge { .. }) if !names.is_empty() => {}
        fetched => return fetched.map(drop),
    }
    // One proposal that is too large keeps none of the others waiting.
    let mut good = BTreeSet::new();
    fetch(&good)?;
    for (name, head) in heads {
        let mut with = good.clone();
        with.insert(name.clone());
        match fetch(&with) {
            Ok(_) => good = with,
            Err(SourceError::PackTooLarge { limit, .. }) => {
                warn!(repo = %tracked.repo(), proposal = %name, head = %head, "The proposal {name} of {} is larger than {limit} and is not looked at", tracked.repo());
                mirror.refuse(head)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How the base branch moved.
pub(super) fn base_move(
    mirror: &Mirror,
    before: Option<&CommitSha>,
    head: &CommitSha,
) -> Result<BaseMove, SourceError> {
    let Some(before) = before else {
        return Ok(BaseMove::First);
    };
    if before == head {
        return Ok(BaseMove::Same);
    }
    // What the mirror does not have any more cannot be an ancestor of what it has.
    if !mirror.has(before) || mirror.ancestry(before, head)? == Ancestry::Apart {
        return Ok(BaseMove::Rewound {
            from: before.clone(),
        });
    }
    let mut commits: Vec<CommitSha> = mirror
        .commits_between(before, head)?
        .into_iter()
        .map(|c| c.sha)
        .collect();
    if commits.last() != Some(head) {
        commits.push(head.clone());
    }
    Ok(BaseMove::Forward(commits))
}

/// Whether git itself has the base branch at that commit.
pub(super) fn is_head(
    mirror: &Mirror,
    tracked: &Tracked,
    address: &RemoteAddress,
    commit: &CommitSha,
) -> Result<bool, SourceError> {
    let name = format!("refs/heads/{}", tracked.declaration.branch);
    let heads = mirror.heads(address)?;
    Ok(heads.iter().any(|(at, head)| *at == name && head == commit))
}

/// On a plain remote, the branches that the base has all of, with the commit that brought them.
pub(super) fn contained(
    mirror: &Mirror,
    tracked: &Tracked,
    heads: &BTreeMap<ProposalKey, CommitSha>,
    base_move: &BaseMove,
    head: &CommitSha,
) -> Result<BTreeMap<ProposalKey, CommitSha>, SourceError> {
    let mut contained = BTreeMap::new();
    if tracked.forge.speaks() == Speaks::Yes {
        return Ok(contained);
    }
    let new: &[CommitSha] = match base_move {
        BaseMove::Forward(commits) => commits,
        _ => std::slice::from_ref(head),
    };
    for (key, proposed) in heads.iter().filter(|(_, proposed)| mirror.has(proposed)) {
        for commit in new.iter().rev().take(INTERMEDIATE_COMMITS).rev() {
            if is_contained(mirror, commit, proposed)? {
                contained.insert(key.clone(), commit.clone());
                break;
            }
        }
    }
    Ok(contained)
}

/// Whether merging `head` into `base` changes nothing: it is an ancestor, or was squashed or rebased.
fn is_contained(mirror: &Mirror, base: &CommitSha, head: &CommitSha) -> Result<bool, SourceError> {
    if mirror.ancestry(head, base)? != Ancestry::Apart {
        return Ok(true);
    }
    match mirror.merge(base, head) {
        Ok(Merge::Clean(tree)) => Ok(tree == mirror.tree_of(base)?),
        Ok(Merge::Conflict(_)) | Err(SourceError::Unrelated { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Records the workspaces at the base's head, and what each open proposal comes to.
pub(super) fn conclude(
    fleet: &Fleet,
    tracked: &Tracked,
    mirror: &Mirror,
    base: &CommitSha,
    at: Timestamp,
) -> Result<(), WatchError> {
    let repo = tracked.repo();
    let recorded = fleet.store.repository(repo)?;
    let base_tree = mirror.tree_of(base)?;
    let at_base = modules::resolve(&mirror.tree(&base_tree)?, &tracked.declaration)?;
    let key = tracked.conclusion_key(&[base.as_str()]);
    if recorded.as_ref().and_then(|r| r.view_key.as_deref()) != Some(&key) {
        // From the last view on, and not from the last look: that may have ended half way.
        let since = recorded
            .as_ref()
            .and_then(|r| r.view.as_ref())
            .map(|v| &v.commit);
        if let BaseMove::Forward(commits) = base_move(mirror, since, base)? {
            pass_over(fleet, tracked, mirror, &commits, at)?;
        }
        let view = View {
            commit: base.clone(),
            tree: base_tree.clone(),
            workspaces: viewed(&at_base),
        };
        fleet.store.set_view(repo, &key, &view)?;
    }
    let mut failed = None;
    for row in fleet.store.proposals(repo)? {
        let proposal = &row.proposal;
        if row.state != ProposalState::Open || proposal.base_branch != tracked.declaration.branch {
            continue;
        }
        let too_large = mirror.refused(&proposal.head)?;
        // More is allowed by now, and it was fetched.
        let was_too_large = too_large.is_none() && mirror.is_marked(&proposal.head);
        let key = tracked.conclusion_key(&[proposal.head.as_str(), base.as_str()]);
        if row.considered.as_deref() == Some(&key) && !was_too_large {
            continue;
        }
        let considered = match too_large {
            None => consider(mirror, tracked, base, &base_tree, &at_base, &proposal.head),
            Some(limit) => Ok(Consideration::Impossible {
                reason: format!(
                    "what it brings is larger than {limit} and was not fetched; \
                     make it smaller, or raise `pack` in `[limits]` where it is meant to be so large"
                ),
            }),
        };
        let consideration = match considered {
            Ok(consideration) => consideration,
            Err(error) => {
                // One head that cannot be looked at yet keeps none of the others waiting.
                failed.get_or_insert(error);
                continue;
            }
        };
        let contained = matches!(
            &consideration,
            Consideration::Merges {
                contained: Contained::Yes,
                ..
            }
        );
        if contained && !row.touched().is_empty() {
            // The base has it, and the forge does not say so yet: what it touched is still wanted then.
            continue;
        }
        info!(
            repo = %repo, proposal = %proposal.key, head = %proposal.head,
            "{} of {repo} at {} touches {}", proposal.key, proposal.head.short(), touched_names(&consideration)
        );
        fleet
            .store
            .set_consideration(repo, &proposal.key, &key, &consideration)?;
        if was_too_large {
            mirror.forgive(&proposal.head)?;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What merging `head` into the base comes to.
fn consider(
    mirror: &Mirror,
    tracked: &Tracked,
    base: &CommitSha,
    base_tree: &ObjectId,
    at_base: &[Resolved],
    head: &CommitSha,
) -> Result<Consideration, WatchError> {
    let tree = match mirror.merge(base, head) {
        Ok(Merge::Clean(tree)) => tree,
        Ok(Merge::Conflict(paths)) => {
            // What it would touch cannot be seen in a merge that is none: its own side tells.
            let side = |commit: &CommitSha| -> Result<_, WatchError> {
                let tree = mirror.tree_of(commit)?;
                Ok(modules::resolve(
                    &mirror.tree(&tree)?,
                    &tracked.declaration,
                )?)
            };
            let touched = match mirror.merge_base(base, head)? {
                Some(fork_point) => touched(&side(&fork_point)?, &side(head)?),
                None => touched(at_base, &side(head)?),
            };
            return Ok(Consideration::Conflicts {
                base: base.clone(),
                paths,
                touched,
            });
        }
        Err(error) => return hostile(error),
    };
    if &tree == base_tree {
        let contained = Contained::Yes;
        return Ok(Consideration::Merges {
            base: base.clone(),
            tree,
            touched: Vec::new(),
            contained,
        });
    }
    let files = match mirror.tree(&tree) {
        Ok(files) => files,
        Err(error) => return hostile(error),
    };
    let merged = match modules::resolve(&files, &tracked.declaration) {
        Ok(merged) => merged,
        Err(error) => {
            return Ok(Consideration::Impossible {
                reason: chain(&error),
            });
        }
    };
    Ok(Consideration::Merges {
        base: base.clone(),
        tree,
        touched: touched(at_base, &merged),
        contained: Contained::No,
    })
}

/// What a merge brought to the base branch: the workspaces whose files differ from those of the
/// commit before it. Of a pull request that was rebased this is its last commit.
pub(super) fn of_merge(
    mirror: &Mirror,
    declaration: &Declaration,
    commit: &CommitSha,
) -> Result<Consideration, WatchError> {
    let tree = mirror.tree_of(commit)?;
    let Some(before) = mirror.info(commit)?.parents.first().cloned() else {
        return Ok(Consideration::Impossible {
            reason: "it begins the history of the base branch".to_owned(),
        });
    };
    let old = mirror.tree_of(&before)?;
    let at = |tree: &ObjectId| -> Result<_, WatchError> {
        Ok(modules::resolve(&mirror.tree(tree)?, declaration)?)
    };
    let touched = touched(&at(&old)?, &at(&tree)?);
    Ok(Consideration::Merges {
        base: before,
        tree,
        touched,
        contained: Contained::Yes,
    })
}

/// What a hostile commit does fails its own proposal and nothing else.
fn hostile(error: SourceError) -> Result<Consideration, WatchError> {
    match error.remedy() {
        Remedy::ChangeCommit => Ok(Consideration::Impossible {
            reason: chain(&error),
        }),
        Remedy::Retry | Remedy::AskHuman | Remedy::Renew => Err(error.into()),
    }
}

/// The workspaces whose files differ between two trees.
pub fn touched(before: &[Resolved], after: &[Resolved]) -> Vec<Touched> {
    let find = |side: &[Resolved], name: &WorkspaceName| {
        side.iter()
            .find(|r| &r.workspace.name == name && r.presence == modules::Presence::Present)
            .map(|r| (r.workspace.path.clone(), r.inputs.clone()))
    };
    let names: BTreeSet<_> = before
        .iter()
        .chain(after)
        .map(|r| r.workspace.name.clone())
        .collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (path, inputs, change) = match (find(before, &name), find(after, &name)) {
                (None, Some((path, inputs))) => (path, inputs, ModuleChange::Added),
                (Some((path, _)), None) => (path, String::new(), ModuleChange::Removed),
                (Some((_, old)), Some((path, new))) if old != new => {
                    (path, new, ModuleChange::Changed)
                }
                _ => return None,
            };
            Some(Touched {
                name,
                path,
                inputs,
                change,
            })
        })
        .collect()
}

fn viewed(resolved: &[Resolved]) -> Vec<ViewedWorkspace> {
    resolved
        .iter()
        .map(|r| ViewedWorkspace {
            name: r.workspace.name.clone(),
            path: r.workspace.path.clone(),
            inputs: r.inputs.clone(),
            presence: match r.presence {
                modules::Presence::Present => Presence::Present,
                modules::Presence::Absent => Presence::Absent,
            },
        })
        .collect()
}

/// Records the commits between two looks that changed a workspace and get no run of their own.
fn pass_over(
    fleet: &Fleet,
    tracked: &Tracked,
    mirror: &Mirror,
    commits: &[CommitSha],
    at: Timestamp,
) -> Result<(), WatchError> {
    let Some((head, between)) = commits.split_last() else {
        return Ok(());
    };
    let recent = between.len().saturating_sub(INTERMEDIATE_COMMITS);
    let Some(first) = between.get(recent) else {
        return Ok(());
    };
    let Some(before) = mirror.info(first)?.parents.first().cloned() else {
        return Ok(());
    };
    let resolve = |commit: &CommitSha| -> Result<_, WatchError> {
        let tree = mirror.tree_of(commit)?;
        Ok((
            modules::resolve(&mirror.tree(&tree)?, &tracked.declaration)?,
            tree,
        ))
    };
    let (mut last, _) = resolve(&before)?;
    for commit in &between[recent..] {
        let (now, tree) = resolve(commit)?;
        for touch in touched(&last, &now) {
            let settings = tracked.settings(&touch.name);
            if touch.change == ModuleChange::Removed
                || settings.is_none_or(|s| s.apply == ApplyMode::Never)
            {
                continue;
            }
            let order = NewRun {
                repo: tracked.repo().clone(),
                workspace: touch.name,
                purpose: Purpose::Merge,
                proposal: None,
                commit: commit.clone(),
                base: None,
                tree: tree.clone(),
                inputs: touch.inputs,
                trigger: Trigger::Commit,
            };
            fleet.store.add_superseded(&order, head.short(), at)?;
        }
        last = now;
    }
    Ok(())
}
