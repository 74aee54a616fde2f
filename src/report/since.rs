//! What changed in a plan since the last push.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::words::{cut_off, outcome_word};
use super::{ProposalReport, WorkspaceReport, diff};
use crate::id::CommitSha;
use crate::plan::{Action, Change, Plan};

/// How a plan differs from the one that was made for an earlier head of the same proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The head that the earlier plan was made for.
    pub commit: CommitSha,
    /// Whether the two do the same.
    pub sameness: Sameness,
    /// The resources that differ, the riskiest first.
    pub turns: Vec<Turn>,
}

/// Whether two plans do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// They do, to the last value.
    Same,
    /// They do not.
    Differs,
}

/// What became of one resource between two plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its address.
    pub address: String,
    /// What happened to it by the earlier plan; `None` where nothing did.
    pub before: Option<Action>,
    /// What happens to it now; `None` where nothing does.
    pub now: Option<Action>,
}

impl Since {
    /// Compares the plan that was made for `commit` with the one that is made now.
    pub fn between(commit: CommitSha, earlier: &Plan, now: &Plan) -> Self {
        if earlier.fingerprint == now.fingerprint {
            return Self {
                commit,
                sameness: Sameness::Same,
                turns: Vec::new(),
            };
        }
        let (before, after) = (by_address(earlier), by_address(now));
        let mut turns = Vec::new();
        // What a plan does not list may be in it all the same.
        let whole = |plan: &Plan| plan.left_out.is_nothing();
        for (key, change) in &after {
            let was = before.get(key);
            let differs = |was: &&Change| was.digest != change.digest;
            if was.map_or(whole(earlier), differs) {
                turns.push(Turn {
                    address: change.address.clone(),
                    before: was.map(|was| was.action),
                    now: Some(change.action),
                });
            }
        }
        for (key, change) in &before {
            if whole(now) && !after.contains_key(key) {
                turns.push(Turn {
                    address: change.address.clone(),
                    before: Some(change.action),
                    now: None,
                });
            }
        }
        turns.sort_by_key(Turn::weight);
        Self {
            commit,
            sameness: Sameness::Differs,
            turns,
        }
    }

    /// Says that a plan is the very one that was made for `commit`.
    pub fn unchanged(commit: CommitSha) -> Self {
        Self {
            commit,
            sameness: Sameness::Same,
            turns: Vec::new(),
        }
    }
}

impl Turn {
    /// The lower, the more it has to be seen: a new loss before all else.
    fn weight(&self) -> u8 {
        let changes_fate = self.before != self.now;
        match self.now {
            Some(action) if changes_fate => diff::rank(action),
            None => 10,
            Some(action) => 20 + diff::rank(action),
        }
    }

    /// What became of it, in words that follow its address.
    pub(super) fn words(&self) -> String {
        match (self.before, self.now) {
            (_, None) => "left".to_owned(),
            (None, Some(Action::Create | Action::Read | Action::NoOp)) => "joined".to_owned(),
            (Some(before), Some(now)) if before == now => {
                format!("is still {}, with other values", outcome_word(now))
            }
            (_, Some(now)) => format!("is now {}", outcome_word(now)),
        }
    }
}

/// The changes of a plan; objects of one address are told apart by their order.
fn by_address(plan: &Plan) -> BTreeMap<(&str, usize), &Change> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut all = BTreeMap::new();
    for change in &plan.changes {
        let count = seen.entry(&change.address).or_default();
        all.insert((change.address.as_str(), *count), change);
        *count += 1;
    }
    all
}

/// What changed since one earlier head, as the template shows it.
#[derive(Serialize)]
pub(super) struct SinceView {
    pub(super) commit: String,
    /// Whether all of it is the same.
    pub(super) same: bool,
    pub(super) parts: Vec<Part>,
    pub(super) parts_more: usize,
}

/// What changed in one workspace.
#[derive(Serialize)]
pub(super) struct Part {
    /// The workspace, where there are several.
    pub(super) workspace: Option<String>,
    pub(super) turns: Vec<TurnView>,
    pub(super) more: usize,
}

/// What became of a resource.
#[derive(Serialize)]
pub(super) struct TurnView {
    pub(super) address: String,
    pub(super) words: String,
}

/// What changed since the last push, by the head that it is compared with.
pub(super) fn since(report: &ProposalReport, limit: usize) -> Vec<SinceView> {
    let mut commits: Vec<&CommitSha> = Vec::new();
    for (_, since) in told(report) {
        if !commits.contains(&&since.commit) {
            commits.push(&since.commit);
        }
    }
    let named = report.workspaces.len() > 1;
    let views = commits.into_iter().map(|commit| {
        let differing: Vec<Part> = told(report)
            .filter(|(_, since)| &since.commit == commit && since.sameness == Sameness::Differs)
            .map(|(workspace, since)| part(workspace, since, named, limit))
            .collect();
        let (parts, parts_more) = cut_off(differing, limit);
        SinceView {
            commit: commit.short().to_owned(),
            same: parts.is_empty() && parts_more == 0,
            parts,
            parts_more,
        }
    });
    views.take(limit).collect()
}

fn told(report: &ProposalReport) -> impl Iterator<Item = (&WorkspaceReport, &Since)> {
    let open = report
        .workspaces
        .iter()
        .filter(|workspace| workspace.after_merge.is_none() && workspace.plan().is_some());
    open.filter_map(|workspace| Some((workspace, workspace.since.as_ref()?)))
}

fn part(workspace: &WorkspaceReport, since: &Since, named: bool, limit: usize) -> Part {
    let turns = since.turns.iter().take(limit);
    Part {
        workspace: named.then(|| workspace.name.to_string()),
        turns: turns
            .map(|turn| TurnView {
                address: turn.address.clone(),
                words: turn.words(),
            })
            .collect(),
        more: since.turns.len().saturating_sub(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Counts;

    fn change(address: &str, action: Action, digest: &str) -> Change {
        Change {
            address: address.to_owned(),
            previous_address: None,
            kind: "aws_x".to_owned(),
            action,
            reason: None,
            import_id: None,
            lines: Vec::new(),
            digest: digest.to_owned(),
        }
    }

    fn plan(fingerprint: &str, changes: Vec<Change>) -> Plan {
        Plan {
            fingerprint: fingerprint.to_owned(),
            changes,
            counts: Counts::default(),
            ..Plan::default()
        }
    }

    fn commit() -> CommitSha {
        "a".repeat(40).parse().unwrap()
    }

    #[test]
    fn a_resource_joins_leaves_or_changes_its_fate_and_losses_come_first() {
        let earlier = plan(
            "1",
            vec![
                change("a.stays", Action::Create, "s"),
                change("b.turns", Action::Update, "u"),
                change("c.leaves", Action::Create, "l"),
                change("d.values", Action::Update, "v1"),
            ],
        );
        let now = plan(
            "2",
            vec![
                change("a.joins", Action::Create, "j"),
                change("a.stays", Action::Create, "s"),
                change("b.turns", Action::Destroy, "d"),
                change("d.values", Action::Update, "v2"),
            ],
        );
        let since = Since::between(commit(), &earlier, &now);
        let told: Vec<String> = since
            .turns
            .iter()
            .map(|turn| format!("{} {}", turn.address, turn.words()))
            .collect();
        assert_eq!(
            told,
            [
                "b.turns is now destroyed",
                "a.joins joined",
                "c.leaves left",
                "d.values is still changed, with other values",
            ]
        );
    }

    #[test]
    fn equal_fingerprints_are_the_same_plan() {
        let one = plan("1", vec![change("a", Action::Create, "x")]);
        let since = Since::between(commit(), &one, &one.clone());
        assert_eq!(since, Since::unchanged(commit()));
    }

    #[test]
    fn two_objects_of_one_address_are_told_apart() {
        let earlier = plan("1", vec![change("a", Action::Replace, "x")]);
        let now = plan(
            "2",
            vec![
                change("a", Action::Replace, "x"),
                change("a", Action::Destroy, "left over"),
            ],
        );
        let since = Since::between(commit(), &earlier, &now);
        assert_eq!(since.turns.len(), 1);
        assert_eq!(since.turns[0].words(), "is now destroyed");
    }
}
