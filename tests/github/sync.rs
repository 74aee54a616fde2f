//! Brings what the model knows in line with the repositories on disk: a push by
//! whatever way moves the pull requests that it touches.

use super::git;
use super::log::Effect;
use super::world::{Merged, Open, Repo, TestMerge, World, this_second};

/// Whether the state before is kept for stale answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshot {
    Take,
    /// The caller took it before it changed more than refs.
    Taken,
}

/// Looks at every repository.
pub(crate) fn sync_all(world: &mut World) {
    let keys: Vec<String> = world.repos.keys().cloned().collect();
    // Heads first: a pull request's head may be in another repository.
    let moved: Vec<Moved> = keys
        .iter()
        .filter_map(|key| read_heads(world, key, Snapshot::Take))
        .collect();
    for moved in moved {
        follow(world, &moved);
    }
}

/// Looks at one repository, and at the pull requests that its branches are heads of.
pub(crate) fn sync(world: &mut World, key: &str, snapshot: Snapshot) {
    if let Some(moved) = read_heads(world, key, snapshot) {
        follow(world, &moved);
    }
}

/// A repository whose branches moved.
struct Moved {
    key: String,
    snapshot: Snapshot,
    branches: Vec<(String, Option<String>, Option<String>)>,
}

fn read_heads(world: &mut World, key: &str, snapshot: Snapshot) -> Option<Moved> {
    let repo = world.repo_mut(key);
    let heads = git::heads(&repo.dir).unwrap_or_default();
    if heads == repo.heads {
        return None;
    }
    if snapshot == Snapshot::Take {
        repo.remember();
    }
    let old = std::mem::replace(&mut repo.heads, heads);
    repo.pushed_at = this_second();
    repo.updated_at = repo.pushed_at;
    let mut names: Vec<String> = old.keys().chain(repo.heads.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let branches: Vec<_> = names
        .into_iter()
        .map(|name| {
            (
                old.get(&name).cloned(),
                repo.heads.get(&name).cloned(),
                name,
            )
        })
        .filter(|(from, to, _)| from != to)
        .map(|(from, to, name)| (name, from, to))
        .collect();
    for (branch, from, to) in branches.clone() {
        world.note("git", key, Effect::Pushed { branch, from, to });
    }
    Some(Moved {
        key: key.to_owned(),
        snapshot,
        branches,
    })
}

fn follow(world: &mut World, moved: &Moved) {
    let bases: Vec<String> = world
        .repos
        .iter()
        .filter(|(key, repo)| {
            **key == moved.key
                || repo.issues.values().any(|issue| {
                    issue
                        .pull
                        .as_ref()
                        .is_some_and(|pull| pull.head_repo == moved.key)
                })
        })
        .map(|(key, _)| key.clone())
        .collect();
    for base in bases {
        let open: Vec<u64> = world
            .repo(&base)
            .issues
            .values()
            .filter(|issue| issue.open == Open::Yes && issue.pull.is_some())
            .map(|issue| issue.number)
            .collect();
        if base != moved.key && moved.snapshot == Snapshot::Take {
            world.repo_mut(&base).remember();
        }
        for number in open {
            for (branch, from, to) in &moved.branches {
                follow_branch(
                    world,
                    &base,
                    number,
                    &moved.key,
                    branch,
                    from.as_deref(),
                    to.as_deref(),
                );
            }
        }
    }
}

fn follow_branch(
    world: &mut World,
    base: &str,
    number: u64,
    moved: &str,
    branch: &str,
    from: Option<&str>,
    to: Option<&str>,
) {
    let repo = world.repo(base);
    let Some(pull) = repo
        .issues
        .get(&number)
        .and_then(|issue| issue.pull.as_ref())
    else {
        return;
    };
    let is_head = pull.head_repo == moved && pull.head_ref == branch;
    let is_base = base == moved && pull.base_ref == branch;
    match to {
        None if is_head || is_base => close(world, base, number, "git"),
        Some(to) if is_head => move_head(world, base, number, to),
        Some(to) if is_base && git::is_behind(&repo.dir, &pull.head_sha, to) => {
            let sha = git::brought_in_by(&repo.dir, from, to, &pull.head_sha);
            mark_merged(world, base, number, "git", &sha);
        }
        _ => {}
    }
}

/// Puts a pull request's head at a commit, and its ref with it.
pub(crate) fn move_head(world: &mut World, base: &str, number: u64, sha: &str) {
    let head_repo = world.repo(base).issues[&number]
        .pull
        .as_ref()
        .map(|pull| pull.head_repo.clone());
    let from = head_repo
        .filter(|key| key != base)
        .and_then(|key| world.repos.get(&key));
    let from = from.map(|repo| repo.dir.clone());
    let repo = world.repo_mut(base);
    if let Some(from) = from {
        git::fetch(&repo.dir, &from, sha).expect("a fork's commits can be fetched");
    }
    git::update_ref(&repo.dir, &format!("refs/pull/{number}/head"), sha)
        .expect("a pull request's ref can be set");
    let heads = repo.heads.clone();
    let Some(issue) = repo.issues.get_mut(&number) else {
        return;
    };
    issue.updated_at = this_second();
    if let Some(pull) = &mut issue.pull {
        sha.clone_into(&mut pull.head_sha);
        pull.test_merge = TestMerge::Unknown;
        if let Some(base_sha) = heads.get(&pull.base_ref) {
            pull.base_sha.clone_from(base_sha);
        }
    }
}

/// Closes an issue or a pull request without merging it.
pub(crate) fn close(world: &mut World, key: &str, number: u64, by: &str) {
    let Some(issue) = world.repo_mut(key).issues.get_mut(&number) else {
        return;
    };
    if issue.open == Open::No {
        return;
    }
    let now = this_second();
    issue.open = Open::No;
    issue.closed_at = Some(now);
    issue.closed_by = Some(by.to_owned());
    issue.updated_at = now;
    if issue.pull.is_some() {
        world.note(by, key, Effect::PullClosed { number });
    }
}

/// Writes down that a pull request was merged, as this commit of its base branch.
pub(crate) fn mark_merged(world: &mut World, key: &str, number: u64, by: &str, sha: &str) {
    let Some(issue) = world.repo_mut(key).issues.get_mut(&number) else {
        return;
    };
    let now = this_second();
    issue.open = Open::No;
    issue.closed_at = Some(now);
    issue.closed_by = Some(by.to_owned());
    issue.updated_at = now;
    if let Some(pull) = &mut issue.pull {
        pull.merged = Some(Merged {
            at: now,
            by: by.to_owned(),
            sha: sha.to_owned(),
        });
    }
    world.note(
        by,
        key,
        Effect::PullMerged {
            number,
            sha: sha.to_owned(),
        },
    );
}

/// Tries the merge of an open pull request, as GitHub does some time after
/// somebody looked at it.
pub(crate) fn try_merge(repo: &mut Repo, number: u64) {
    let Some(issue) = repo
        .issues
        .get_mut(&number)
        .filter(|issue| issue.open == Open::Yes)
    else {
        return;
    };
    let title = issue.title.clone();
    let Some(pull) = issue
        .pull
        .as_mut()
        .filter(|pull| pull.test_merge == TestMerge::Unknown)
    else {
        return;
    };
    let Some(base) = repo.heads.get(&pull.base_ref) else {
        return;
    };
    let request = git::MergeRequest {
        base,
        head: &pull.head_sha,
        title: &title,
        number,
        from: &pull.head_ref,
    };
    pull.test_merge = match git::merge(&repo.dir, &request, git::Method::Merge) {
        Ok(sha) => {
            git::update_ref(&repo.dir, &format!("refs/pull/{number}/merge"), &sha)
                .expect("a pull request's ref can be set");
            TestMerge::Clean(sha)
        }
        Err(_) => TestMerge::Conflict,
    };
}
