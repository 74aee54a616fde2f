//! What a merge did.

use serde::Serialize;

use super::words::{Tense, counted, cut_off, took};
use super::{AfterMerge, AppliedParts, ProposalReport, Reviewed, WorkspaceReport};

/// What the merge did, a sentence for each workspace.
pub(super) fn outcomes(report: &ProposalReport, limit: usize) -> Vec<Outcome> {
    let mut order: Vec<&WorkspaceReport> = report
        .workspaces
        .iter()
        .filter(|w| w.after_merge.is_some())
        .collect();
    order.sort_by_key(|w| matters(w.after_merge.as_ref()));
    order.into_iter().map(|w| outcome(w, limit)).collect()
}

/// The lower, the sooner a person has to do something.
fn matters(outcome: Option<&AfterMerge>) -> u8 {
    match outcome {
        Some(AfterMerge::Failed { .. }) => 0,
        Some(AfterMerge::Interrupted { .. }) => 1,
        Some(AfterMerge::Held { .. }) => 2,
        Some(AfterMerge::Cancelled { .. }) => 3,
        _ => 4,
    }
}

/// How the merge came out for a workspace.
#[derive(Serialize)]
pub(super) struct Outcome {
    /// In a sentence, names between backticks.
    pub(super) sentence: String,
    /// Which resources it reached and which not.
    pub(super) lists: Vec<Addresses>,
}

/// Addresses with what they have in common.
#[derive(Serialize)]
pub(super) struct Addresses {
    pub(super) word: &'static str,
    pub(super) names: Vec<String>,
    pub(super) more: usize,
}

pub(super) fn outcome(workspace: &WorkspaceReport, limit: usize) -> Outcome {
    let name = &workspace.name;
    let mut lists = Vec::new();
    let sentence = match &workspace.after_merge {
        None | Some(AfterMerge::Waiting) => format!("`{name}` waits for its turn"),
        Some(AfterMerge::Running) => format!("`{name}` is being planned again and applied"),
        Some(AfterMerge::Applied {
            plan,
            commit,
            took: time,
        }) => {
            let words = match counted(&plan.counts, Tense::Past) {
                words if words.is_empty() => "outputs only".to_owned(),
                words => words.join(", "),
            };
            format!(
                "`{name}` is applied at `{}` in {}: {words}",
                commit.short(),
                took(*time)
            )
        }
        Some(AfterMerge::NothingToApply) => format!("`{name}`: there was nothing to apply"),
        Some(AfterMerge::Held {
            reason, command, ..
        }) => {
            let reason = reason.trim_end_matches('.');
            format!(
                "`{name}` is held: {reason}. `{}` lets it go",
                command.replace('`', "")
            )
        }
        Some(AfterMerge::Failed { failure, parts }) => {
            lists = reached(parts, limit);
            format!("`{name}` failed: `{}`", failure.step.replace('`', "'"))
        }
        Some(AfterMerge::Superseded { by }) => format!("`{name}` is superseded by {by}"),
        Some(AfterMerge::Cancelled { by, parts }) => {
            lists = reached(parts, limit);
            format!("`{name}` was cancelled by `{}`", by.replace('`', "'"))
        }
        Some(AfterMerge::Interrupted {
            parts,
            how_far,
            next,
        }) => {
            lists = reached(parts, limit);
            format!("`{name}` was interrupted, and {how_far}: {next}")
        }
    };
    let sentence = workspace
        .before
        .iter()
        .fold(sentence, |all, before| format!("{all}. {before}"));
    let compared = match &workspace.after_merge {
        Some(AfterMerge::Applied { .. } | AfterMerge::Held { .. }) => workspace.reviewed.as_ref(),
        _ => None,
    };
    let Some(reviewed) = compared else {
        return Outcome { sentence, lists };
    };
    lists.extend(differences(reviewed, limit));
    Outcome {
        sentence: format!("{sentence}. {}", against_review(reviewed)),
        lists,
    }
}

/// How what was applied or is held compares with what reviewers saw, in a sentence.
fn against_review(reviewed: &Reviewed) -> &'static str {
    match reviewed {
        Reviewed::Exactly => "It is exactly as reviewed",
        Reviewed::SameChanges => "It is the same changes as reviewed, by other code",
        Reviewed::InParts => "Each change was reviewed, in plans of their own",
        Reviewed::Differs { .. } => "It differs from what was reviewed",
        Reviewed::Nobody => "No pull request showed it",
    }
}

/// Resource by resource, what differs from what reviewers saw.
fn differences(reviewed: &Reviewed, limit: usize) -> Vec<Addresses> {
    match reviewed {
        Reviewed::Differs {
            joined,
            left,
            otherwise,
        } => listed(
            [
                ("not among what was reviewed", joined),
                ("reviewed, and not changed any more", left),
                ("changed in another way than reviewed", otherwise),
            ],
            limit,
        ),
        Reviewed::Exactly | Reviewed::SameChanges | Reviewed::InParts | Reviewed::Nobody => {
            Vec::new()
        }
    }
}

/// How far an apply came that did not do all.
fn reached(parts: &AppliedParts, limit: usize) -> Vec<Addresses> {
    let AppliedParts {
        done,
        failed,
        not_reached,
        unknown,
    } = parts;
    listed(
        [
            ("applied before", done),
            ("failed", failed),
            ("begun, and not seen to end", unknown),
            ("not reached", not_reached),
        ],
        limit,
    )
}

/// The lists that are not empty, each up to a limit.
fn listed<const N: usize>(
    lists: [(&'static str, &Vec<String>); N],
    limit: usize,
) -> Vec<Addresses> {
    lists
        .into_iter()
        .filter(|(_, addresses)| !addresses.is_empty())
        .map(|(word, addresses)| {
            let (names, more) = cut_off(addresses.clone(), limit);
            Addresses { word, names, more }
        })
        .collect()
}
