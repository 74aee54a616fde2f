//! Whether a merged change is applied at once or waits for a person.

use super::reviewed::Review;
use crate::plan::{Action, Change, Plan};
use crate::policy::{Effect, Finding, Verdict};
use crate::run::Approval;
use crate::workspace::{ApplyMode, Settings, Unreviewed};

/// What follows a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// There is nothing to apply.
    Nothing,
    /// It is applied.
    Apply,
    /// It waits for a person, for this reason.
    Hold(String),
}

/// What the policies say of a merged change, and who approved it.
#[derive(Debug, Clone, Default)]
pub struct Ruling {
    /// What they say; `None` where the workspace names none.
    pub verdict: Option<Verdict>,
    /// Who approved the merged heads.
    pub approvals: Approvals,
}

/// Who approved a merged change.
#[derive(Debug, Clone, Default)]
pub enum Approvals {
    /// No policy asks.
    #[default]
    NotAsked,
    /// These, each of whom may write to the repository.
    By(Vec<String>),
    /// It could not be asked, for this reason.
    Unknown(String),
}

/// Decides on the plan of a merged commit.
///
/// `rewound` is the reason to wait where the base branch was force-pushed. An
/// approval counts for the plan that it was given for and for no other. What a policy
/// denies is not applied, whoever agreed to it: only its owners may override it.
pub fn after_plan(
    plan: &Plan,
    settings: &Settings,
    review: &Review,
    approval: Option<&Approval>,
    rewound: Option<&str>,
    ruling: &Ruling,
) -> Next {
    if !plan.has_changes() {
        return Next::Nothing;
    }
    if settings.apply == ApplyMode::Never {
        return Next::Hold("this workspace is never applied".to_owned());
    }
    if let Some(reason) = ruling.forbids() {
        return Next::Hold(reason);
    }
    if let Some(approval) = approval {
        return if approval.fingerprint == plan.fingerprint {
            Next::Apply
        } else {
            Next::Hold(format!(
                "the plan is no longer the one that {} agreed to: read it again",
                approval.by
            ))
        };
    }
    if let Some(reason) = rewound {
        return Next::Hold(reason.to_owned());
    }
    if let Some(reason) = ruling.asks_for_a_person() {
        return Next::Hold(reason);
    }
    if settings.apply != ApplyMode::OnMerge {
        return Next::Hold("a person must agree to every change of this workspace".to_owned());
    }
    if review.covers_plan(&plan.fingerprint) {
        return Next::Apply;
    }
    let beyond: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Read && !review.covers(&c.address, &c.digest))
        .collect();
    // What is not listed, since the plan is too large, was not compared with anything.
    let destroys = beyond.iter().filter(|c| c.action.destroys()).count() + plan.left_out.losses();
    let beyond = beyond.len() + plan.left_out.changes;
    match settings.unreviewed {
        Unreviewed::HoldDestroys if destroys > 0 => Next::Hold(format!(
            "it destroys or replaces {} that no reviewer saw",
            resources(destroys)
        )),
        Unreviewed::Hold if beyond > 0 => Next::Hold(format!(
            "it changes {} that no reviewer saw",
            resources(beyond)
        )),
        Unreviewed::Hold if !plan.outputs.is_empty() || plan.left_out.outputs > 0 => {
            Next::Hold("it changes outputs that no reviewer saw".to_owned())
        }
        _ => Next::Apply,
    }
}

impl Ruling {
    /// Why the change is not applied even where a person agreed to the plan.
    fn forbids(&self) -> Option<String> {
        let verdict = self.verdict.as_ref()?;
        if let Some(denial) = verdict.denials().next() {
            return Some(denied(verdict, denial));
        }
        let wanted = verdict.approvals()?;
        let asking = verdict
            .standing()
            .find(|f| f.effect == Effect::Require { approvals: wanted })
            .map(|f| f.policy.as_str())
            .unwrap_or_default();
        let have = match &self.approvals {
            Approvals::By(people) => people,
            Approvals::NotAsked => &Vec::new(),
            Approvals::Unknown(reason) => {
                return Some(format!(
                    "the policy `{asking}` asks for {}, and they could not be counted: {reason}; \
                     `mainstay apply` counts them again",
                    approvals(wanted)
                ));
            }
        };
        if have.len() >= usize::try_from(wanted).unwrap_or(usize::MAX) {
            return None;
        }
        let by = match have.as_slice() {
            [] => "none".to_owned(),
            people => people
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        Some(format!(
            "the policy `{asking}` asks for {} of the merged head by people who may write, and there is {by}: \
             approve the pull request, then `mainstay apply` counts again",
            approvals(wanted)
        ))
    }

    /// Why a person must agree to the plan.
    fn asks_for_a_person(&self) -> Option<String> {
        let verdict = self.verdict.as_ref()?;
        let hold = verdict.standing().find(|f| f.effect == Effect::Hold)?;
        Some(format!("the policy `{}` asks for a person", hold.policy))
    }
}

/// Why a denial holds a change, with what may be done about it. What the policy found is said in
/// the report: it quotes the plan, and a reason is plain words and names that we know.
fn denied(verdict: &Verdict, first: &Finding) -> String {
    let mut names: Vec<&str> = verdict.denials().map(|f| f.policy.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let (policies, deny) = match all.len() {
        1 => ("the policy", "denies"),
        _ => ("the policies", "deny"),
    };
    let way = match first.owners.as_slice() {
        [] => format!(
            "mend the change or the policy; nobody may override it but who has the daemon's machine, by \
             `mainstay override {} REASON…`",
            first.policy
        ),
        [all] if all == "*" => format!(
            "who may write to the repository overrides it by `mainstay override {} REASON…`",
            first.policy
        ),
        owners => format!(
            "its owners ({}) override it by `mainstay override {} REASON…`",
            owners.join(", "),
            first.policy
        ),
    };
    format!("{policies} {} {deny} it: {way}", all.join(", "))
}

fn approvals(count: u32) -> String {
    match count {
        1 => "1 approval".to_owned(),
        n => format!("{n} approvals"),
    }
}

fn resources(count: usize) -> String {
    match count {
        1 => "1 resource".to_owned(),
        n => format!("{n} resources"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Counts;

    fn change(address: &str, action: Action) -> Change {
        Change {
            address: address.into(),
            previous_address: None,
            kind: "terraform_data".into(),
            action,
            reason: None,
            import_id: None,
            lines: Vec::new(),
            digest: format!("{address} {action:?}"),
        }
    }

    fn plan(changes: Vec<Change>) -> Plan {
        let changes_fingerprint = changes.iter().map(|c| c.digest.as_str()).collect();
        Plan {
            counts: Counts {
                update: changes.len(),
                ..Counts::default()
            },
            changes,
            fingerprint: changes_fingerprint,
            complete: true,
            ..Plan::default()
        }
    }

    fn seen(plan: &Plan) -> Review {
        let mut review = Review::default();
        review.add(plan, None, String::new());
        review
    }

    fn settings(unreviewed: Unreviewed) -> Settings {
        Settings {
            unreviewed,
            ..Settings::default()
        }
    }

    #[test]
    fn what_a_large_plan_does_not_list_was_not_reviewed() {
        let mut shown = plan(vec![change("a", Action::Update)]);
        shown.left_out.changes = 9;
        let mut merged = shown.clone();
        let next = |merged: &Plan, rule| {
            after_plan(
                merged,
                &settings(rule),
                &seen(&shown),
                None,
                None,
                &Ruling::default(),
            )
        };
        // The fingerprint is of the whole plan.
        assert_eq!(next(&merged, Unreviewed::Hold), Next::Apply);
        merged.fingerprint = "another".to_owned();
        assert_eq!(next(&merged, Unreviewed::HoldDestroys), Next::Apply);
        let held = next(&merged, Unreviewed::Hold);
        let said = "it changes 9 resources that no reviewer saw";
        assert_eq!(held, Next::Hold(said.to_owned()));
        merged.left_out.destroyed = 2;
        let held = next(&merged, Unreviewed::HoldDestroys);
        let said = "it destroys or replaces 2 resources that no reviewer saw";
        assert_eq!(held, Next::Hold(said.to_owned()));
    }

    #[test]
    fn what_was_reviewed_is_applied() {
        let plan = plan(vec![
            change("a", Action::Destroy),
            change("b", Action::Update),
        ]);
        for rule in [
            Unreviewed::HoldDestroys,
            Unreviewed::Hold,
            Unreviewed::Apply,
        ] {
            assert_eq!(
                after_plan(
                    &plan,
                    &settings(rule),
                    &seen(&plan),
                    None,
                    None,
                    &Ruling::default()
                ),
                Next::Apply
            );
        }
    }

    #[test]
    fn a_destroy_that_nobody_saw_waits() {
        let shown = plan(vec![change("b", Action::Update)]);
        let made = plan(vec![
            change("b", Action::Update),
            change("a", Action::Destroy),
        ]);
        let next = after_plan(
            &made,
            &settings(Unreviewed::HoldDestroys),
            &seen(&shown),
            None,
            None,
            &Ruling::default(),
        );
        assert!(matches!(next, Next::Hold(reason) if reason.contains("1 resource")));
    }

    #[test]
    fn an_update_that_was_shown_does_not_cover_a_replacement_of_the_same_resource() {
        let shown = plan(vec![change("a", Action::Update)]);
        let made = plan(vec![change("a", Action::Replace)]);
        let next = after_plan(
            &made,
            &settings(Unreviewed::HoldDestroys),
            &seen(&shown),
            None,
            None,
            &Ruling::default(),
        );
        assert!(matches!(next, Next::Hold(_)));
    }

    #[test]
    fn an_approval_counts_for_its_plan_only() {
        let made = plan(vec![change("a", Action::Destroy)]);
        let approval = |fingerprint: &str| Approval {
            fingerprint: fingerprint.into(),
            by: "alice".into(),
        };
        let rule = settings(Unreviewed::Hold);
        let none = Review::default();
        assert_eq!(
            after_plan(
                &made,
                &rule,
                &none,
                Some(&approval(&made.fingerprint)),
                None,
                &Ruling::default()
            ),
            Next::Apply
        );
        assert!(matches!(
            after_plan(
                &made,
                &rule,
                &none,
                Some(&approval("another")),
                None,
                &Ruling::default()
            ),
            Next::Hold(_)
        ));
    }

    #[test]
    fn a_force_pushed_base_waits_even_for_what_was_reviewed() {
        let made = plan(vec![change("a", Action::Update)]);
        let next = after_plan(
            &made,
            &settings(Unreviewed::Apply),
            &seen(&made),
            None,
            Some("force-pushed"),
            &Ruling::default(),
        );
        assert_eq!(next, Next::Hold("force-pushed".into()));
    }

    #[test]
    fn nothing_to_change_never_waits() {
        let made = plan(vec![]);
        let rule = Settings {
            apply: ApplyMode::OnApproval,
            ..Settings::default()
        };
        assert_eq!(
            after_plan(
                &made,
                &rule,
                &Review::default(),
                None,
                Some("x"),
                &Ruling::default()
            ),
            Next::Nothing
        );
    }

    fn found(policy: &str, effect: Effect, owners: &[&str]) -> Finding {
        Finding {
            policy: policy.into(),
            title: policy.into(),
            effect,
            message: "no".into(),
            address: None,
            remedy: None,
            owners: owners.iter().map(ToString::to_string).collect(),
            overridden: None,
        }
    }

    /// What follows a plan that was reviewed and agreed to, under this ruling.
    fn ruled(findings: Vec<Finding>, approvals: Approvals, approval: Option<&Approval>) -> Next {
        let made = plan(vec![change("a", Action::Update)]);
        let ruling = Ruling {
            verdict: Some(Verdict {
                evaluated: Vec::new(),
                findings,
            }),
            approvals,
        };
        let rule = settings(Unreviewed::Apply);
        after_plan(&made, &rule, &seen(&made), approval, None, &ruling)
    }

    fn agreed() -> Approval {
        Approval {
            fingerprint: plan(vec![change("a", Action::Update)]).fingerprint,
            by: "alice".into(),
        }
    }

    #[test]
    fn what_a_policy_denies_is_not_applied_whoever_agreed() {
        let next = ruled(
            vec![found("keep-data", Effect::Deny, &["ana"])],
            Approvals::NotAsked,
            Some(&agreed()),
        );
        let Next::Hold(reason) = next else {
            panic!("{next:?}")
        };
        assert!(reason.contains("`keep-data` denies it"), "{reason}");
        assert!(reason.contains("mainstay override keep-data"), "{reason}");
        assert!(reason.contains("ana"), "{reason}");
    }

    #[test]
    fn what_was_overridden_goes_on() {
        let mut denial = found("keep-data", Effect::Deny, &["ana"]);
        denial.overridden = Some(crate::policy::Override {
            by: "ana".into(),
            reason: "an emergency".into(),
        });
        let next = ruled(vec![denial], Approvals::NotAsked, None);
        assert_eq!(next, Next::Apply);
    }

    #[test]
    fn a_policy_that_holds_waits_for_a_person_and_no_longer() {
        let hold = || vec![found("production", Effect::Hold, &[])];
        let next = ruled(hold(), Approvals::NotAsked, None);
        assert!(matches!(next, Next::Hold(reason) if reason.contains("`production`")));
        assert_eq!(
            ruled(hold(), Approvals::NotAsked, Some(&agreed())),
            Next::Apply
        );
    }

    #[test]
    fn approvals_are_counted_and_a_person_who_agrees_is_none_of_them() {
        let require = || vec![found("two", Effect::Require { approvals: 2 }, &[])];
        let people =
            |names: &[&str]| Approvals::By(names.iter().map(ToString::to_string).collect());
        for (given, applied) in [
            (people(&[]), false),
            (people(&["ana"]), false),
            (people(&["ana", "bob"]), true),
            (Approvals::NotAsked, false),
            (Approvals::Unknown("GitHub is down".into()), false),
        ] {
            let next = ruled(require(), given.clone(), Some(&agreed()));
            assert_eq!(next == Next::Apply, applied, "{given:?}: {next:?}");
        }
    }

    #[test]
    fn a_warning_stops_nothing() {
        let next = ruled(
            vec![found("tags", Effect::Warn, &[])],
            Approvals::NotAsked,
            None,
        );
        assert_eq!(next, Next::Apply);
    }
}
