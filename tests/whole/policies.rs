//! The policies that come with Mainstay: their own tests, and what they say of a whole plan.

use std::path::Path;

use mainstay::policy::{Context, Effect, Input, Judgement, Policies, TestOutcome, test};
use mainstay::redact::Redactor;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))
}

#[test]
fn every_policy_passes_its_own_tests() {
    let report = test(folder());
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    for result in &report.tests {
        assert_eq!(
            result.outcome,
            TestOutcome::Passed,
            "{}:{}: {}",
            result.file,
            result.line,
            result.name
        );
    }
    for coverage in &report.coverage {
        assert!(coverage.percent() > 95.0, "{coverage:?}");
    }
}

#[test]
fn every_policy_is_tested_and_says_why_it_is_there_and_how_to_satisfy_it() {
    let (policies, problems) = Policies::load(folder());
    assert!(problems.is_empty(), "{problems:#?}");
    let report = test(folder());
    let mut count = 0;
    for policy in policies.list() {
        count += 1;
        assert_ne!(policy.title, policy.name, "a title");
        assert!(policy.description.is_some(), "{}: why", policy.name);
        assert!(!policy.owners.is_empty(), "{}: owners", policy.name);
        let tests = report.tests.iter().filter(|t| t.policy == policy.name);
        assert!(tests.count() >= 3, "{}: tests", policy.name);
        for file in policy.files {
            let text = std::fs::read_to_string(folder().join(file)).unwrap();
            assert!(text.contains("remedy:"), "{file}: how to satisfy it");
        }
    }
    assert!(count >= 10, "{count} policies");
}

/// What the policies say of the plan that they are given.
fn judged(names: &[&str], plan: &str, environment: &str) -> mainstay::policy::Verdict {
    let (policies, _) = Policies::load(folder());
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let context = Context {
        environment: Some(environment.to_owned()),
        ..Context::default()
    };
    let input = Input::parse(plan, &context).unwrap();
    policies.judge(&names, &input, &Redactor::default())
}

const REPLACED: &str = r#"{
  "format_version": "1.2",
  "resource_changes": [{
    "address": "aws_db_instance.main",
    "mode": "managed",
    "type": "aws_db_instance",
    "name": "main",
    "change": {
      "actions": ["delete", "create"],
      "before": { "storage_encrypted": true },
      "after": { "storage_encrypted": true },
      "after_unknown": { "id": true }
    }
  }]
}"#;

#[test]
fn a_database_that_is_replaced_in_production_is_denied_and_asks_for_two() {
    let names = ["keep-data", "production-destroys", "encryption"];
    let verdict = judged(&names, REPLACED, "production");
    assert_eq!(verdict.judgement(), Judgement::Deny);
    let effects: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| (f.policy.as_str(), f.effect))
        .collect();
    assert_eq!(
        effects,
        [
            ("keep-data", Effect::Deny),
            ("production-destroys", Effect::Require { approvals: 2 })
        ]
    );
    assert_eq!(verdict.findings[0].title, "Data is not destroyed");
    assert_eq!(
        judged(&["production-destroys"], REPLACED, "staging").judgement(),
        Judgement::Pass
    );
}

#[test]
fn a_large_plan_is_judged_in_a_moment() {
    let resources: Vec<String> = (0..2_000)
        .map(|n| {
            REPLACED
                .split_once('[')
                .and_then(|(_, rest)| rest.rsplit_once(']'))
                .map(|(one, _)| one.replace("main", &format!("main{n}")))
                .unwrap()
        })
        .collect();
    let plan = format!("{{\"resource_changes\": [{}]}}", resources.join(","));
    let began = std::time::Instant::now();
    let verdict = judged(&["keep-data", "required-tags"], &plan, "production");
    assert_eq!(verdict.judgement(), Judgement::Deny);
    // The last one counts those that nobody would read.
    assert_eq!(verdict.findings.len(), 201);
    let took = began.elapsed();
    assert!(took.as_secs() < 20, "{took:?}");
}
