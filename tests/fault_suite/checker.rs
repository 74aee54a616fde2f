//! What must hold afterwards, whatever went wrong: judged from outside.
//!
//! Each function reads what people did, the shim's log, the model's log of what truly happened
//! or the files of the world, and gives what it finds wrong in words. What the daemon says of
//! itself is no evidence.

use std::collections::{BTreeMap, BTreeSet};

use crate::github::git;
use crate::github::log::{Effect, Truth};
use crate::scenario::BOT;
use crate::shim::{Beside, Start};
use crate::stage::{Consent, Forge, Ledger, Stage, effects, in_world};

/// Everything that is wrong; empty where all is well. The world must be at rest.
pub(crate) fn complaints(stage: &Stage) -> Vec<String> {
    let starts = stage.shim.starts();
    let truth = stage.s.hub.truth();
    let ledger = stage.ledger();
    let needed: Vec<&str> = stage
        .places
        .iter()
        .filter(|place| place.consent == Consent::Needed)
        .map(|place| place.key.as_str())
        .collect();
    let mut all = nothing_beside(&starts);
    all.extend(only_main_is_applied(&starts, &ledger));
    all.extend(nothing_twice(&starts, &ledger));
    all.extend(nothing_unasked(&starts, &ledger, &needed));
    all.extend(green_is_true(&ledger));
    all.extend(green_stays(&truth, &ledger));
    drop(ledger);
    all.extend(every_commit_is_told(stage, &truth));
    all.extend(only_main_is_told_of(stage, &truth));
    all.extend(one_comment(stage, &truth));
    all.extend(the_world_is_main(stage));
    all.extend(the_world_was_changed_once(stage, &starts));
    all
}

/// Nothing starts in a workspace while an apply in it lives, and no apply while anything does:
/// orphans of killed daemons counted in, since the kernel says it.
fn nothing_beside(starts: &[Start]) -> Vec<String> {
    let beside = starts.iter().filter(|s| s.beside == Beside::Somebody);
    beside
        .map(|start| format!("something lived in the workspace when this began: {start:?}"))
        .collect()
}

/// What is applied was main's, and a place never goes back.
fn only_main_is_applied(starts: &[Start], ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for start in starts.iter().filter(|start| start.applies()) {
        let is_mains = ledger.brought.iter().any(|brought| {
            let mut revisions = brought.revisions.iter();
            revisions.any(|(key, revision)| (key, *revision) == (&start.place, start.revision))
        });
        if !is_mains {
            wrong.push(format!("this was never on main: {start:?}"));
        }
        let before = newest.entry(start.place.as_str()).or_default();
        if start.revision < *before {
            wrong.push(format!("{before} was applied before this: {start:?}"));
        }
        *before = start.revision.max(*before);
    }
    wrong
}

/// No revision is applied to a place a second time, unless the first time was cut short by a
/// kill or a person asked for it.
fn nothing_twice(starts: &[Start], ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<(&str, u64), &Start> = BTreeMap::new();
    for start in starts.iter().filter(|start| start.applies()) {
        let Some(first) = last.insert((start.place.as_str(), start.revision), start) else {
            continue;
        };
        let between = first.at..=start.at;
        let killed = ledger.killed.iter().any(|killed| {
            between.contains(&killed.at)
                && (&killed.key, killed.revision) == (&start.place, start.revision)
        });
        let asked = ledger
            .asked
            .iter()
            .any(|asked| between.contains(&asked.at) && asked.key == start.place);
        if !killed && !asked {
            wrong.push(format!("applied twice: {first:?} and {start:?}"));
        }
    }
    wrong
}

/// Where a person must agree, each apply has an agreement of its own.
fn nothing_unasked(starts: &[Start], ledger: &Ledger, needed: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut since: BTreeMap<&str, u64> = BTreeMap::new();
    let of_needed = |start: &&Start| start.applies() && needed.contains(&start.place.as_str());
    for start in starts.iter().filter(of_needed) {
        let from = since.insert(&start.place, start.at).unwrap_or(0);
        let asked = ledger
            .asked
            .iter()
            .any(|asked| asked.key == start.place && (from..=start.at).contains(&asked.at));
        if !asked {
            wrong.push(format!("nobody agreed to this: {start:?}"));
        }
    }
    wrong
}

/// When a commit's apply was called good, the world had what the commit brought, or something
/// newer, and no apply of it was still under way.
fn green_is_true(ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    for green in &ledger.greens {
        let brought: Vec<_> = ledger
            .brought
            .iter()
            .filter(|brought| brought.sha == green.sha)
            .collect();
        for (key, revision) in brought.iter().flat_map(|brought| &brought.revisions) {
            // Something newer may be half way there, and the two files differ then.
            let newer = |applying: &(String, u64)| &applying.0 == key && applying.1 > *revision;
            let there = match green.world[key] {
                Some(now) => now >= *revision,
                None => green.applying.iter().any(newer),
            };
            if !there {
                wrong.push(format!("green before {key} was at {revision}: {green:?}"));
            }
            if green.applying.contains(&(key.clone(), *revision)) {
                wrong.push(format!("green while {key} was being applied: {green:?}"));
            }
        }
    }
    wrong
}

/// A status as it was set.
struct Set<'t> {
    /// Its number in the log.
    at: usize,
    context: &'t str,
    state: &'t str,
    description: &'t str,
}

/// The statuses of a commit, oldest first.
fn statuses<'t>(truth: &'t [Truth], sha: &'t str) -> impl Iterator<Item = Set<'t>> {
    truth
        .iter()
        .enumerate()
        .filter_map(move |(at, truth)| match &truth.effect {
            Effect::StatusSet {
                sha: of,
                context,
                state,
                description,
            } if of == sha => Some(Set {
                at,
                context,
                state,
                description,
            }),
            _ => None,
        })
}

/// A green apply stays green for what the commit brought: another workspace may come to be planned
/// at it, after a kill or a command. A green plan becomes red only after somebody did something.
fn green_stays(truth: &[Truth], ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let shas: BTreeSet<&str> = truth
        .iter()
        .filter_map(|truth| match &truth.effect {
            Effect::StatusSet { sha, .. } => Some(sha.as_str()),
            _ => None,
        })
        .collect();
    for sha in shas {
        let mut green: BTreeMap<&str, usize> = BTreeMap::new();
        for set in statuses(truth, sha) {
            if set.state == "success" {
                green.insert(set.context, set.at);
                continue;
            }
            let Some(before) = green.get(set.context) else {
                continue;
            };
            let mut between = truth[*before..set.at].iter();
            let excused = match set.context {
                "mainstay/apply" => !is_about(set.description, sha, ledger),
                // That main moved on is no effect of the API: it shows in what is said.
                _ => {
                    set.state == "pending"
                        || set.description.starts_with("Conflicts with")
                        || between.any(|truth| truth.by != BOT)
                }
            };
            if !excused {
                let Set {
                    context,
                    state,
                    description,
                    ..
                } = set;
                wrong.push(format!(
                    "{context} of {sha} became {state} ({description}) after it was green"
                ));
            }
        }
    }
    wrong
}

/// Whether a status names a workspace that its commit brought something to.
fn is_about(description: &str, sha: &str, ledger: &Ledger) -> bool {
    let (_, named) = description.split_once(": ").unwrap_or_default();
    let brought = ledger.brought.iter().filter(|brought| brought.sha == sha);
    brought
        .flat_map(|brought| &brought.revisions)
        .filter_map(|(key, _)| key.split_once('-'))
        .any(|(_, workspace)| named.split(", ").any(|name| name == workspace))
}

/// `mainstay/apply` stands on commits of main and nowhere else. A rebase brings several at once, of
/// which only the last was ever its head.
fn only_main_is_told_of(stage: &Stage, truth: &[Truth]) -> Vec<String> {
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    for truth in truth {
        if let Effect::StatusSet { sha, context, .. } = &truth.effect
            && context == "mainstay/apply"
        {
            told.insert((&truth.repo, sha));
        }
    }
    let is_mains = |(repo, sha): &(&str, &str)| {
        let home = stage.repos.iter().find(|r| r.full_name() == *repo);
        home.is_some_and(|home| {
            let main = home.head("main").expect("main is there");
            git::is_behind(&home.dir(), sha, &main)
        })
    };
    told.into_iter()
        .filter(|told| !is_mains(told))
        .map(|(repo, sha)| format!("{sha} of {repo} was told of, which main never had"))
        .collect()
}

/// Each commit that was main's head has its final status.
fn every_commit_is_told(stage: &Stage, truth: &[Truth]) -> Vec<String> {
    let mut wrong = Vec::new();
    let brought = stage.ledger().brought.clone();
    for brought in &brought {
        let last = statuses(truth, &brought.sha)
            .filter(|set| set.context == "mainstay/apply")
            .last()
            .map(|set| set.state);
        match last {
            Some("success" | "failure" | "error") => {}
            found => wrong.push(format!(
                "a commit of main has no final status but {found:?}: {brought:?}"
            )),
        }
    }
    wrong
}

/// No pull request has two comments of ours, and each was posted once, but where the forge did
/// it twice or did not show what was done.
fn one_comment(stage: &Stage, truth: &[Truth]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut posts: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for truth in truth.iter().filter(|truth| truth.by == BOT) {
        if let Effect::CommentCreated { issue, .. } = &truth.effect {
            *posts.entry((truth.repo.as_str(), *issue)).or_default() += 1;
        }
    }
    for ((repo, number), posted) in posts {
        let home = stage.repos.iter().find(|r| r.full_name() == repo);
        let comments = home.map(|r| r.comments(number)).unwrap_or_default();
        let live = comments.iter().filter(|c| c.author == BOT).count();
        if live > 1 {
            wrong.push(format!("{live} comments of ours on #{number} of {repo}"));
        }
        if posted > 1 && stage.forge == Forge::Honest {
            wrong.push(format!(
                "#{number} of {repo} was commented on {posted} times"
            ));
        }
    }
    wrong
}

/// Every place is in the world as main has it.
fn the_world_is_main(stage: &Stage) -> Vec<String> {
    let mut wrong = Vec::new();
    for place in &stage.places {
        let head = stage.repos[place.repo].file("main", &format!("{}/main.tf", place.workspace));
        let head = head.unwrap_or_default();
        let first = head.lines().next().unwrap_or_default();
        let world = in_world(&stage.s.world(), &place.key);
        let wanted = world.map(|revision| format!("# {revision} {}", place.key));
        if wanted.as_deref() != Some(first) {
            wrong.push(format!("main has `{first}`, and the world {world:?}"));
        }
    }
    wrong
}

/// Each change of the world has an apply of its own, and no apply that was killed comes back after
/// a newer one.
fn the_world_was_changed_once(stage: &Stage, starts: &[Start]) -> Vec<String> {
    let mut wrong = Vec::new();
    for place in &stage.places {
        for file in [place.key.clone(), format!("{}-last", place.key)] {
            let effects = effects(&stage.s.world(), &file);
            if !effects.is_sorted() {
                wrong.push(format!("{file} went back: {effects:?}"));
            }
            for revision in &effects {
                let changed = effects.iter().filter(|other| *other == revision).count();
                let of_it = |start: &&Start| {
                    start.applies() && (&start.place, start.revision) == (&place.key, *revision)
                };
                let applied = starts.iter().filter(of_it).count();
                if changed > applied {
                    wrong.push(format!(
                        "{file} was changed to {revision} {changed} times by {applied} applies"
                    ));
                }
            }
        }
    }
    wrong
}
