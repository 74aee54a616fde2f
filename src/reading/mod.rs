//! Reads a plan that was made, and has the policies judge it, in a process of its own.
//!
//! How large a plan is, and what is in it, is its author's choice. So the daemon does not read it:
//! this same program, started again, does ([`main`]). It is given an [`Order`] and gives an
//! [`Answer`] of which every part has a bound. Should it come to a limit, or break, only that run
//! fails.

mod life;
mod masks;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::life::{COMMAND, Reply, Sent, main};
pub use self::masks::Masks;
use crate::fault::chain;
use crate::plan::{self, Carried, Diagnostic, FingerprintKey, Plan, PlanError, Room};
use crate::policy::{Context, Input, Policies, Sources, Verdict};
use crate::redact::Redactor;
use crate::run::Check;

/// No answer is longer than this many bytes: who asked holds it in memory.
pub const ANSWER_LIMIT: u64 = 4 << 20;

/// What is to be read, and what is known beside it. No `Debug`: it holds secrets in clear.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// What `show -json` said of the plan.
    pub json: PathBuf,
    /// The plan's own file, to look into what it was made of.
    pub saved: Option<PathBuf>,
    /// What digests are keyed with.
    pub key: FingerprintKey,
    /// Values that are secret besides those that the plan marks.
    pub secrets: Vec<String>,
    /// What Terraform warned of, to be masked.
    pub warnings: Vec<Diagnostic>,
    /// What was checked before, to be masked.
    pub checks: Vec<Check>,
    /// What judges the plan; `None` where nothing does.
    pub judging: Option<Judging>,
    /// How much of the plan is kept.
    pub room: Room,
}

/// What judges a plan.
#[derive(Clone, Serialize, Deserialize)]
pub struct Judging {
    /// The names of the policies.
    pub names: Vec<String>,
    /// What they are compiled from.
    pub sources: Sources,
    /// What is known beside the plan; else why it could not be found out.
    pub context: Result<Context, String>,
}

/// What came of reading a plan. Nothing secret is in it but the masks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// What it would change.
    pub plan: Plan,
    /// What it was made of; else why that is not known.
    pub carried: Result<Carried, String>,
    /// The warnings, masked.
    pub warnings: Vec<Diagnostic>,
    /// The checks, masked.
    pub checks: Vec<Check>,
    /// What the policies say, before anybody overrode it.
    pub verdict: Option<Verdict>,
    /// What must be masked in all else that comes of the run.
    pub masks: Masks,
}

/// Reads a plan as `order` says. Blocks, and takes many times the plan's size of memory.
///
/// # Errors
///
/// [`PlanError`] where the plan's JSON cannot be read. What cannot be judged is denied, and no error.
pub fn read(order: &Order) -> Result<Answer, PlanError> {
    let known = Redactor::new(order.secrets.iter().cloned());
    let (plan, redactor) = plan::read_file(&order.json, &order.key, &known)?;
    let verdict = order
        .judging
        .as_ref()
        // One that failed half way is not judged: it is no plan.
        .filter(|_| !plan.errored)
        .map(|judging| judging.judge(order, &redactor).within());
    let carried = match &order.saved {
        Some(saved) => plan::look_into(saved, &order.key).map_err(|error| chain(&error)),
        None => Err("it was not looked into".to_owned()),
    };
    let warnings = order.warnings.iter().map(|w| w.redacted(&redactor));
    let checks = order.checks.iter().map(|c| c.redacted(&redactor));
    Ok(Answer {
        plan: plan.within(&order.room),
        carried,
        warnings: warnings.collect(),
        checks: checks.collect(),
        verdict,
        masks: Masks::of(&redactor),
    })
}

impl Judging {
    fn judge(&self, order: &Order, redactor: &Redactor) -> Verdict {
        let context = match &self.context {
            Ok(context) => context,
            Err(reason) => return Verdict::impossible(&self.names, &redactor.redact(reason)),
        };
        let policies = Policies::compile(self.sources.clone());
        match Input::read(&order.json, context) {
            Ok(input) => policies.judge(&self.names, &input, redactor),
            Err(error) => Verdict::impossible(&self.names, &chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(plan: &serde_json::Value) -> (tempfile::TempDir, Order) {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("plan.json");
        std::fs::write(&json, plan.to_string()).unwrap();
        let order = Order {
            json,
            saved: None,
            key: FingerprintKey::new([7; 32]),
            secrets: vec!["of-the-environment".to_owned()],
            warnings: Vec::new(),
            checks: Vec::new(),
            judging: None,
            room: Room::RECORD,
        };
        (folder, order)
    }

    fn plan(count: usize) -> serde_json::Value {
        let changes: Vec<_> = (0..count)
            .map(|number| {
                json!({
                    "address": format!("terraform_data.a[{number}]"),
                    "type": "terraform_data",
                    "change": {
                        "actions": ["create"],
                        "after": {"input": format!("value {number}"), "s": "hunter2hunter2"},
                        "after_sensitive": {"s": true},
                    },
                })
            })
            .collect();
        json!({"format_version": "1.2", "terraform_version": "1.11.4", "resource_changes": changes})
    }

    #[test]
    fn the_answer_to_any_plan_is_bounded_and_its_fingerprint_is_of_the_whole() {
        let (_one, small) = order(&plan(3));
        let (_two, large) = order(&plan(9_000));
        let (_three, other) = order(&plan(9_001));
        let small = read(&small).unwrap();
        assert!(small.plan.left_out.is_nothing());
        let (large, other) = (read(&large).unwrap(), read(&other).unwrap());
        assert_eq!(large.plan.counts.create, 9_000);
        assert!(large.plan.left_out.changes > 1_000);
        assert_ne!(large.plan.fingerprint, other.plan.fingerprint);
        let written = serde_json::to_vec(&large).unwrap().len();
        assert!(written < 2 << 20, "{written}");
    }

    #[test]
    fn secrets_of_the_plan_and_of_the_environment_are_masked_afterwards() {
        let (_folder, order) = order(&plan(1));
        let masks = read(&order).unwrap().masks;
        let redactor = masks.redactor();
        let said = redactor.redact("hunter2hunter2 of-the-environment");
        assert_eq!(said, "(sensitive) (sensitive)");
    }

    #[test]
    fn what_is_not_known_beside_the_plan_denies_it() {
        let (_folder, order) = order(&plan(1));
        let judging = Judging {
            names: vec!["baseline".to_owned()],
            sources: Sources::default(),
            context: Err("the labels could not be read".to_owned()),
        };
        let order = Order {
            judging: Some(judging),
            ..order
        };
        let verdict = read(&order).unwrap().verdict.unwrap();
        assert!(verdict.denials().next().is_some());
    }
}
