//! Whether what is about to be applied is what reviewers saw.

use std::collections::{BTreeMap, HashMap};

use crate::plan::{Action, Plan};
use crate::run::Reviewed;

/// What reviewers saw of a merged change: the plans of the proposals that were merged.
#[derive(Debug, Clone, Default)]
pub struct Review {
    shown: Vec<Shown>,
    /// Digests of the changes that were shown, by address.
    changes: HashMap<String, Vec<(String, Action)>>,
    /// How many changes were shown by plans that are too large to be listed here.
    left_out: usize,
}

/// The three parts of a plan's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    /// The digest of the changes.
    fingerprint: String,
    /// The digest of the configuration and lock file in the plan; `None` where it is not known.
    configuration: Option<String>,
    /// The digest of the files of the repository that concern the workspace.
    inputs: String,
}

impl Review {
    /// Adds a plan that a proposal showed.
    pub fn add(&mut self, plan: &Plan, configuration: Option<String>, inputs: String) {
        self.shown.push(Shown {
            fingerprint: plan.fingerprint.clone(),
            configuration,
            inputs,
        });
        self.left_out += plan.left_out.changes;
        for change in &plan.changes {
            let seen = self.changes.entry(change.address.clone()).or_default();
            seen.push((change.digest.clone(), change.action));
        }
    }

    /// Whether a change was shown as it is.
    pub fn covers(&self, address: &str, digest: &str) -> bool {
        self.changes
            .get(address)
            .is_some_and(|seen| seen.iter().any(|(other, _)| other == digest))
    }

    /// Whether a plan with these changes was shown as a whole.
    pub fn covers_plan(&self, fingerprint: &str) -> bool {
        self.shown.iter().any(|s| s.fingerprint == fingerprint)
    }

    /// Compares what was shown with what is about to be applied.
    ///
    /// An unknown configuration never counts as an equal one.
    pub fn compare(&self, plan: &Plan, configuration: Option<&str>, inputs: &str) -> Reviewed {
        if self.shown.is_empty() {
            return Reviewed::Nobody;
        }
        let same = || {
            self.shown
                .iter()
                .filter(|shown| shown.fingerprint == plan.fingerprint)
        };
        if same().any(|shown| {
            shown.inputs == inputs
                && configuration.is_some()
                && shown.configuration.as_deref() == configuration
        }) {
            return Reviewed::Exactly;
        }
        if same().next().is_some() {
            return Reviewed::SameChanges;
        }
        self.difference(plan)
    }

    /// Resource by resource, as far as both are listed, what joined, left, or changed its fate since it was shown.
    fn difference(&self, plan: &Plan) -> Reviewed {
        let now: BTreeMap<&str, &crate::plan::Change> = plan
            .changes
            .iter()
            .filter(|change| change.action != Action::Read)
            .map(|change| (change.address.as_str(), change))
            .collect();
        let (mut joined, mut otherwise) = (Vec::new(), Vec::new());
        for (address, change) in &now {
            match self.changes.get(*address) {
                // It may be among what was shown and is not listed.
                None if self.left_out > 0 => {}
                None => joined.push((*address).to_owned()),
                Some(seen) if seen.iter().all(|(digest, _)| *digest != change.digest) => {
                    otherwise.push((*address).to_owned());
                }
                Some(_) => {}
            }
        }
        let mut left: Vec<String> = self
            .changes
            .iter()
            .filter(|(address, seen)| {
                plan.left_out.changes == 0
                    && seen.iter().any(|(_, action)| *action != Action::Read)
                    && !now.contains_key(address.as_str())
            })
            .map(|(address, _)| address.clone())
            .collect();
        left.sort();
        let listed = self.left_out == 0 && plan.left_out.changes == 0;
        if listed && joined.is_empty() && left.is_empty() && otherwise.is_empty() {
            // Several proposals showed it in parts, or an output differs.
            return Reviewed::InParts;
        }
        Reviewed::Differs {
            joined,
            left,
            otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, Counts};

    fn change(address: &str, digest: &str) -> Change {
        Change {
            address: address.into(),
            previous_address: None,
            kind: "terraform_data".into(),
            action: Action::Update,
            reason: None,
            import_id: None,
            lines: Vec::new(),
            digest: digest.into(),
        }
    }

    fn plan(changes: &[(&str, &str)]) -> Plan {
        Plan {
            counts: Counts {
                update: changes.len(),
                ..Counts::default()
            },
            changes: changes.iter().map(|(a, d)| change(a, d)).collect(),
            fingerprint: format!("{changes:?}"),
            ..Plan::default()
        }
    }

    fn review(plans: &[&Plan]) -> Review {
        let mut review = Review::default();
        for plan in plans {
            review.add(plan, Some("code".into()), "tree".into());
        }
        review
    }

    #[test]
    fn all_three_parts_equal_is_exactly_what_was_reviewed() {
        let made = plan(&[("a", "1")]);
        let review = review(&[&made]);
        assert_eq!(
            review.compare(&made, Some("code"), "tree"),
            Reviewed::Exactly
        );
    }

    #[test]
    fn the_same_changes_by_other_code_are_told_apart() {
        let made = plan(&[("a", "1")]);
        let review = review(&[&made]);
        for (configuration, tree) in [
            (Some("other"), "tree"),
            (Some("code"), "other"),
            (None, "tree"),
        ] {
            assert_eq!(
                review.compare(&made, configuration, tree),
                Reviewed::SameChanges
            );
        }
    }

    #[test]
    fn a_difference_names_each_resource() {
        let shown = plan(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let made = plan(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(
            review(&[&shown]).compare(&made, Some("code"), "tree"),
            Reviewed::Differs {
                joined: vec!["d".into()],
                left: vec!["c".into()],
                otherwise: vec!["b".into()],
            }
        );
    }

    #[test]
    fn what_two_proposals_showed_in_parts_is_no_difference() {
        let (one, two) = (plan(&[("a", "1")]), plan(&[("b", "1")]));
        let made = plan(&[("a", "1"), ("b", "1")]);
        assert_eq!(
            review(&[&one, &two]).compare(&made, Some("code"), "tree"),
            Reviewed::InParts
        );
    }

    #[test]
    fn what_nobody_proposed_nobody_saw() {
        let made = plan(&[("a", "1")]);
        assert_eq!(
            Review::default().compare(&made, None, "tree"),
            Reviewed::Nobody
        );
    }

    #[test]
    fn of_what_a_large_plan_does_not_list_nothing_is_claimed() {
        let (shown, mut now) = (
            plan(&[("a", "1"), ("b", "1")]),
            plan(&[("b", "2"), ("c", "1")]),
        );
        let mut cut = shown.clone();
        cut.left_out.changes = 5;
        now.left_out.changes = 5;
        let compared = review(&[&cut]).compare(&now, None, "");
        let differs = Reviewed::Differs {
            joined: Vec::new(),
            left: Vec::new(),
            otherwise: vec!["b".to_owned()],
        };
        assert_eq!(compared, differs);
        let mut same = shown.clone();
        same.fingerprint = "another".to_owned();
        let compared = review(&[&cut]).compare(&same, None, "");
        assert!(matches!(compared, Reviewed::Differs { .. }), "{compared:?}");
    }
}
