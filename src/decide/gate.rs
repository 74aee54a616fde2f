//! Whether a merged change is applied at once or waits for a person.

use super::reviewed::Review;
use crate::plan::{Action, Change, Plan};
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

/// Decides on the plan of a merged commit.
///
/// `rewound` is the reason to wait where the base branch was force-pushed. An
/// approval counts for the plan that it was given for and for no other.
pub fn after_plan(
    plan: &Plan,
    settings: &Settings,
    review: &Review,
    approval: Option<&Approval>,
    rewound: Option<&str>,
) -> Next {
    if !plan.has_changes() {
        return Next::Nothing;
    }
    if settings.apply == ApplyMode::Never {
        return Next::Hold("this workspace is never applied".to_owned());
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
    let destroys = beyond.iter().filter(|c| c.action.destroys()).count();
    match settings.unreviewed {
        Unreviewed::HoldDestroys if destroys > 0 => Next::Hold(format!(
            "it destroys or replaces {} that no reviewer saw",
            resources(destroys)
        )),
        Unreviewed::Hold if !beyond.is_empty() => Next::Hold(format!(
            "it changes {} that no reviewer saw",
            resources(beyond.len())
        )),
        Unreviewed::Hold if !plan.outputs.is_empty() => {
            Next::Hold("it changes outputs that no reviewer saw".to_owned())
        }
        _ => Next::Apply,
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
                after_plan(&plan, &settings(rule), &seen(&plan), None, None),
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
                None
            ),
            Next::Apply
        );
        assert!(matches!(
            after_plan(&made, &rule, &none, Some(&approval("another")), None),
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
            after_plan(&made, &rule, &Review::default(), None, Some("x")),
            Next::Nothing
        );
    }
}
