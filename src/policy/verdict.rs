//! The verdict of the policies on one plan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// The findings on one plan take about this many bytes at most.
const ROOM: usize = 128 << 10;

/// What the policies say of one plan. Nothing secret is in it: it is stored and shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The names of the policies that were evaluated, sorted.
    pub evaluated: Vec<String>,
    /// What they found, the gravest first.
    pub findings: Vec<Finding>,
}

/// One thing that a policy found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The policy's name: what `mainstay override` takes.
    pub policy: String,
    /// The policy's title, in a few words.
    pub title: String,
    /// What follows from it.
    pub effect: Effect,
    /// What was found. It may quote the plan, and is hostile text like the plan.
    pub message: String,
    /// The resource that it is about, where it is about one.
    pub address: Option<String>,
    /// How to satisfy the policy.
    pub remedy: Option<String>,
    /// Who may override it, as the policy names them; nobody where it is empty.
    pub owners: Vec<String>,
    /// Who overrode it for this plan, and why.
    pub overridden: Option<Override>,
}

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Effect {
    /// The reader is told.
    Warn,
    /// The merged change waits for a person.
    Hold,
    /// The merged change waits until so many people approved the proposal.
    Require {
        /// How many.
        approvals: u32,
    },
    /// The plan is denied: it is not applied.
    Deny,
}

/// A person's decision to go on against a policy, valid for one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// What a verdict comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// Nothing was found.
    Pass,
    /// Something is said, and nothing follows from it.
    Warn,
    /// A person must agree.
    Hold,
    /// The plan is not applied.
    Deny,
}

impl Verdict {
    /// What it comes to, what was overridden left out.
    pub fn judgement(&self) -> Judgement {
        let standing = self.standing().map(|finding| match finding.effect {
            Effect::Warn => Judgement::Warn,
            Effect::Hold | Effect::Require { .. } => Judgement::Hold,
            Effect::Deny => Judgement::Deny,
        });
        standing.max().unwrap_or(Judgement::Pass)
    }

    /// The findings that nobody overrode.
    pub fn standing(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.overridden.is_none())
    }

    /// The findings that deny the plan and that nobody overrode.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.standing()
            .filter(|finding| finding.effect == Effect::Deny)
    }

    /// How many approvals the policies ask for, where they ask for any.
    pub fn approvals(&self) -> Option<u32> {
        self.standing()
            .filter_map(|finding| match finding.effect {
                Effect::Require { approvals } => Some(approvals),
                Effect::Warn | Effect::Hold | Effect::Deny => None,
            })
            .max()
    }

    /// Notes that a person overrode one policy, in all that it found.
    pub fn override_policy(&mut self, policy: &str, by: &Override) {
        for finding in &mut self.findings {
            if finding.policy == policy {
                finding.overridden = Some(by.clone());
            }
        }
    }

    /// The verdict with so many of its findings that it can be kept whatever the plan holds.
    ///
    /// Of each policy and effect the first finding stays, so that it judges as before; how many more
    /// there are is said.
    #[must_use]
    pub fn within(mut self) -> Self {
        let mut room = ROOM;
        let mut first = HashSet::new();
        let mut left_out: BTreeMap<(String, Effect), (Finding, usize)> = BTreeMap::new();
        self.findings.retain(|finding| {
            let size = finding.size();
            let fits = size <= room;
            // The gravest come first, and so the one that asks for the most approvals.
            let kind = std::mem::discriminant(&finding.effect);
            if first.insert((finding.policy.clone(), kind)) || fits {
                room = room.saturating_sub(size);
                return true;
            }
            let key = (finding.policy.clone(), finding.effect);
            left_out
                .entry(key)
                .or_insert_with(|| (finding.clone(), 0))
                .1 += 1;
            false
        });
        for (finding, count) in left_out.into_values() {
            self.findings.push(Finding {
                message: format!("and {count} more, left out since there are so many"),
                address: None,
                ..finding
            });
        }
        self.findings.sort_by_key(|finding| Reverse(finding.effect));
        self
    }

    /// A verdict that denies, for a plan that could not be judged.
    ///
    /// It names no owners: what was not judged was not understood either.
    pub fn impossible(policies: &[String], reason: &str) -> Self {
        let mut evaluated = policies.to_vec();
        evaluated.sort();
        let findings = evaluated
            .iter()
            .map(|policy| Finding::broken(policy, reason))
            .collect();
        Self {
            evaluated,
            findings,
        }
    }
}

impl Finding {
    /// About how many bytes it takes when it is written as JSON.
    fn size(&self) -> usize {
        let optional = [&self.address, &self.remedy].into_iter().flatten();
        let texts = optional.chain([&self.policy, &self.title, &self.message]);
        texts.chain(&self.owners).map(String::len).sum::<usize>() + 160
    }

    /// A policy that could not be evaluated denies.
    pub(super) fn broken(policy: &str, reason: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            title: format!("The policy {policy} could not be evaluated"),
            effect: Effect::Deny,
            message: format!("{reason}; a plan that cannot be judged is denied"),
            address: None,
            remedy: Some(
                "plan again; where it stays so, `mainstay check` on the daemon's machine says what is wrong with a policy"
                    .to_owned(),
            ),
            owners: Vec::new(),
            overridden: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(effect: Effect) -> Finding {
        Finding {
            policy: "baseline".to_owned(),
            title: "The base line".to_owned(),
            effect,
            message: "no".to_owned(),
            address: None,
            remedy: None,
            owners: Vec::new(),
            overridden: None,
        }
    }

    #[test]
    fn the_gravest_finding_decides() {
        let verdict = Verdict {
            evaluated: vec!["baseline".to_owned()],
            findings: vec![finding(Effect::Warn), finding(Effect::Deny)],
        };
        assert_eq!(verdict.judgement(), Judgement::Deny);
        assert_eq!(Verdict::default().judgement(), Judgement::Pass);
    }

    #[test]
    fn of_a_flood_of_findings_each_policy_keeps_its_say() {
        let mut findings: Vec<Finding> = (0..9_000).map(|_| finding(Effect::Deny)).collect();
        let mut asks = finding(Effect::Require { approvals: 2 });
        asks.policy = "other".to_owned();
        findings.push(asks.clone());
        let cut = Verdict {
            evaluated: vec!["baseline".to_owned(), "other".to_owned()],
            findings,
        }
        .within();
        assert!(cut.findings.len() < 1_500, "{}", cut.findings.len());
        assert!(cut.findings.contains(&asks));
        assert_eq!(
            (cut.judgement(), cut.approvals()),
            (Judgement::Deny, Some(2))
        );
        let more = 9_001 - (cut.findings.len() - 1);
        let said = format!("and {more} more, left out since there are so many");
        assert!(cut.findings.iter().any(|f| f.message == said), "{said}");
        assert_eq!(cut.clone().within().judgement(), Judgement::Deny);
    }

    #[test]
    fn what_was_overridden_no_longer_denies() {
        let mut denied = finding(Effect::Deny);
        denied.overridden = Some(Override {
            by: "ana".to_owned(),
            reason: "an emergency".to_owned(),
        });
        let verdict = Verdict {
            evaluated: Vec::new(),
            findings: vec![denied, finding(Effect::Hold)],
        };
        assert_eq!(verdict.judgement(), Judgement::Hold);
    }

    #[test]
    fn an_override_is_of_one_policy_and_all_that_it_found() {
        let mut other = finding(Effect::Deny);
        other.policy = "other".to_owned();
        let mut verdict = Verdict {
            evaluated: Vec::new(),
            findings: vec![finding(Effect::Deny), finding(Effect::Deny), other],
        };
        let by = Override {
            by: "ana".to_owned(),
            reason: "an emergency".to_owned(),
        };
        verdict.override_policy("baseline", &by);
        let denied: Vec<_> = verdict.denials().map(|f| f.policy.as_str()).collect();
        assert_eq!(denied, ["other"]);
    }

    #[test]
    fn a_plan_that_could_not_be_judged_is_denied() {
        let verdict = Verdict::impossible(&["baseline".to_owned()], "it is too large");
        assert_eq!(verdict.judgement(), Judgement::Deny);
        assert!(verdict.findings[0].owners.is_empty());
    }
}
