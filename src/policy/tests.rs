//! What policies do with plans, and what keeps them from failing open.

use std::fs;
use std::path::Path;

use super::*;

const CONTEXT: &str = "acme/infra";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let (_, problems) = Policies::load(folder.path());
    problems.iter().map(ToString::to_string).collect()
}

fn loaded(folder: &Path) -> Policies {
    let (policies, problems) = Policies::load(folder);
    assert!(problems.is_empty(), "{problems:?}");
    policies
}

fn judged(files: &[(&str, &str)], plan: &str) -> Verdict {
    judged_with(files, plan, &Redactor::default())
}

fn judged_with(files: &[(&str, &str)], plan: &str, redactor: &Redactor) -> Verdict {
    let folder = folder(files);
    let policies = loaded(folder.path());
    let names: Vec<String> = policies.list().map(|p| p.name.to_owned()).collect();
    let context = Context {
        repository: CONTEXT.to_owned(),
        environment: Some("production".to_owned()),
        ..Context::default()
    };
    let input = Input::parse(plan, &context).unwrap();
    policies.judge(&names, &input, redactor)
}

fn messages(verdict: &Verdict) -> Vec<(Effect, &str)> {
    let found = verdict.findings.iter();
    found.map(|f| (f.effect, f.message.as_str())).collect()
}

#[test]
fn the_rules_of_conftest_find_and_the_gravest_comes_first() {
    let policy = r#"package main

warn contains "look at it" if input.planned

deny_all contains {"msg": "no", "address": "a.b", "details": "at all"} if input.planned

violation contains {"msg": "never", "resource": "c.d"} if input.planned

deny if false
"#;
    let verdict = judged(&[("base.rego", policy)], r#"{"planned": true}"#);
    assert_eq!(
        messages(&verdict),
        [
            (Effect::Deny, "no: at all"),
            (Effect::Deny, "never"),
            (Effect::Warn, "look at it"),
        ]
    );
    assert_eq!(verdict.findings[0].address.as_deref(), Some("a.b"));
    assert_eq!(verdict.findings[1].address.as_deref(), Some("c.d"));
    assert_eq!(
        judged(&[("base.rego", policy)], "{}").judgement(),
        Judgement::Pass
    );
}

#[test]
fn the_old_form_of_the_language_is_read_as_well() {
    let policy = "package main\n\ndeny[msg] {\n  input.planned\n  msg := sprintf(\"%v is no\", [input.planned])\n}\n\n\
                  warn_map[k] = v { v := input.words[k] }\n";
    let verdict = judged(
        &[("old.rego", policy)],
        r#"{"planned": 3, "words": {"a": "x"}}"#,
    );
    assert_eq!(
        messages(&verdict),
        [(Effect::Deny, "3 is no"), (Effect::Warn, "x")]
    );
}

#[test]
fn holds_and_approvals_are_policies_too() {
    let policy = r#"package main

hold contains "a person" if input.planned

require contains {"msg": "two of you", "approvals": 2} if input.planned

require_many := 3 if input.planned

require_none contains {"msg": "none", "approvals": 0} if input.planned
"#;
    let verdict = judged(&[("ask.rego", policy)], r#"{"planned": true}"#);
    assert_eq!(verdict.judgement(), Judgement::Hold);
    assert_eq!(verdict.approvals(), Some(3));
    let effects: Vec<_> = verdict.findings.iter().map(|f| f.effect).collect();
    assert_eq!(
        effects,
        [
            Effect::Require { approvals: 3 },
            Effect::Require { approvals: 2 },
            Effect::Hold
        ]
    );
}

#[test]
fn approvals_that_cannot_be_counted_deny() {
    let policy =
        "package main\n\nrequire contains {\"msg\": \"m\", \"approvals\": \"two\"} if true\n";
    let verdict = judged(&[("ask.rego", policy)], "{}");
    assert_eq!(verdict.judgement(), Judgement::Deny);
}

#[test]
fn an_exception_is_for_the_rules_that_it_names() {
    let policy = r#"package main

deny contains "plain" if true

deny_size contains "size" if true

warn_size contains "small" if true

exception contains ["size"] if input.mainstay.environment == "production"
"#;
    assert_eq!(
        messages(&judged(&[("a.rego", policy)], "{}")),
        [(Effect::Deny, "plain")]
    );
    let plain = policy.replace("[\"size\"]", "[\"\"]");
    assert_eq!(
        messages(&judged(&[("a.rego", &plain)], "{}")),
        [(Effect::Deny, "size"), (Effect::Warn, "small")]
    );
    let old = "package main\n\ndeny_size[msg] { msg := \"size\" }\n\nexception[rules] { rules := [\"size\"] }\n";
    assert_eq!(
        judged(&[("a.rego", old)], "{}").judgement(),
        Judgement::Pass
    );
}

#[test]
fn annotations_say_who_may_override_and_how_to_satisfy() {
    let policy = r#"# METADATA
# title: Names are short
# custom:
#   remedy: Choose another.
#   owners: [ana]
package main

deny contains "long" if true

# METADATA
# title: Rather
# custom:
#   severity: warn
deny_soft contains "soft" if true
"#;
    let verdict = judged(&[("names/a.rego", policy)], "{}");
    let hard = &verdict.findings[0];
    assert_eq!(hard.title, "Names are short");
    assert_eq!(hard.policy, "names");
    assert_eq!(hard.owners, ["ana"]);
    assert_eq!(hard.remedy.as_deref(), Some("Choose another."));
    let soft = &verdict.findings[1];
    assert_eq!((soft.effect, soft.title.as_str()), (Effect::Warn, "Rather"));
    assert_eq!(soft.owners, ["ana"]);
}

#[test]
fn data_and_the_library_are_there_and_two_policies_may_have_one_package() {
    let verdict = judged(
        &[
            ("limits.yaml", "most: 2\n"),
            (
                "lib/plan.rego",
                "package lib.plan\n\nmany(n) if n > data.most\n",
            ),
            (
                "a.rego",
                "package main\n\nimport data.lib.plan\n\ndeny contains \"many\" if plan.many(input.n)\n",
            ),
            (
                "b/rules.rego",
                "package main\n\ndeny contains w if some w in data.words\n",
            ),
            ("b/words.json", "{\"words\": [\"x\"]}"),
        ],
        r#"{"n": 3}"#,
    );
    assert_eq!(
        messages(&verdict),
        [(Effect::Deny, "many"), (Effect::Deny, "x")]
    );
    assert_eq!(verdict.evaluated, ["a", "b"]);
}

#[test]
fn a_rule_that_cannot_be_evaluated_denies() {
    // Two values for one rule: nothing is wrong with it until the plan has both.
    let policy = "package main\n\nlevel := 1 if input.a\n\nlevel := 2 if input.b\n\ndeny contains \"high\" if level > 5\n";
    let verdict = judged(&[("a.rego", policy)], r#"{"a": true, "b": true}"#);
    assert_eq!(verdict.judgement(), Judgement::Deny);
    assert!(
        verdict.findings[0].message.contains("cannot be judged"),
        "{verdict:?}"
    );
    assert_eq!(
        judged(&[("a.rego", policy)], r#"{"a": true}"#).judgement(),
        Judgement::Pass
    );
}

#[test]
fn a_policy_that_is_not_there_denies() {
    let input = Input::parse("{}", &Context::default()).unwrap();
    let policies = Policies::default();
    let verdict = policies.judge(&["gone".to_owned()], &input, &Redactor::default());
    assert_eq!(verdict.judgement(), Judgement::Deny);
}

#[test]
fn a_finding_cannot_carry_a_secret_of_the_plan() {
    let policy = "package main\n\ndeny contains {\"msg\": sprintf(\"it is %s\", [input.password]), \"address\": input.password} if true\n";
    let redactor = Redactor::new(["hunter2-hunter2".to_owned()]);
    let verdict = judged_with(
        &[("a.rego", policy)],
        r#"{"password": "hunter2-hunter2"}"#,
        &redactor,
    );
    let shown = format!("{verdict:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("(sensitive)"), "{shown}");
}

#[test]
fn what_would_fail_open_is_found_when_it_is_loaded() {
    for (rule, says) in [
        (
            "deny contains \"x\" if {\n  [p, v] := walk(input)\n  v == 1\n}",
            "a.rego:4: `[path, value] := walk(x)` gives nothing",
        ),
        (
            "deny contains \"x\" if http.send({\"url\": \"x\"}).body",
            "a.rego:3: `http.send` is not there",
        ),
        (
            "deny contains m if m := sprintf(\"%s is %t\", [\"a\", true])",
            "a.rego:3: `%t` in `sprintf` prints nothing",
        ),
        (
            "deny contains \"x\" if {\n  input.never\n  crypto.sha256(input.x) == 1\n}",
            "a.rego:5: there is no function `crypto.sha256`",
        ),
        (
            "deny contains \"x\" if is_wrong(input.x)",
            "a.rego:3: there is no function `is_wrong`",
        ),
        (
            "denied contains \"x\" if true",
            "no rule that could find anything",
        ),
        ("deny contains \"x\" if {", "a.rego:"),
        (
            "level := 1\n\nlevel := 2\n\ndeny contains \"x\" if level == 3",
            "cannot be evaluated",
        ),
    ] {
        let found = problems(&[("a.rego", &format!("package main\n\n{rule}\n"))]);
        assert!(
            found.iter().any(|problem| problem.contains(says)),
            "{rule}: {found:?}"
        );
    }
}

#[test]
fn what_is_right_is_not_complained_of() {
    let policy = r#"package main

import data.lib.plan as p

small(n) := n < 3

deny contains m if {
  walk(input, [path, value])
  value == 1
  small(count(path))
  p.is_new(value)
  net.cidr_contains("10.0.0.0/8", "10.0.0.1")
  regex.match(`^a(b|c)$`, "ab")
  m := sprintf("%s: %d%% (%v)", ["a(b)", 3, true])
}
"#;
    let found = problems(&[
        ("a.rego", policy),
        ("lib/plan.rego", "package lib.plan\n\nis_new(x) if x == 1\n"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn files_that_make_no_policy_are_said() {
    let found = problems(&[
        ("a b.rego", "package main\n\ndeny contains \"x\" if true\n"),
        ("c_test.rego", "package main\n\ntest_x if true\n"),
        ("d.yaml", "- 1\n"),
        ("e.json", "{"),
    ]);
    for says in [
        "`a b` is no name of a policy",
        "no policy `c.rego` beside them",
        "data is a map",
        "this is no JSON",
    ] {
        assert!(found.iter().any(|p| p.contains(says)), "{says}: {found:?}");
    }
}

#[test]
fn an_unknown_name_gets_the_nearest() {
    let folder = folder(&[(
        "keep-data.rego",
        "package main\n\ndeny contains \"x\" if false\n",
    )]);
    let policies = loaded(folder.path());
    assert_eq!(
        policies.unknown("keep-date"),
        "there is no policy `keep-date`; did you mean `keep-data`?"
    );
    assert!(policies.has("keep-data"));
}

#[test]
fn more_findings_than_anybody_reads_are_counted() {
    let policy =
        "package main\n\ndeny contains sprintf(\"%d\", [n]) if some n in numbers.range(1, 1000)\n";
    let verdict = judged(&[("a.rego", policy)], "{}");
    assert_eq!(verdict.findings.len(), 201);
    assert!(verdict.findings.iter().any(|f| f.message == "and 800 more"));
}

#[test]
fn tests_of_policies_pass_fail_and_are_covered() {
    let folder = folder(&[
        (
            "a.rego",
            "package main\n\ndeny contains \"x\" if {\n  input.x\n}\n\ndeny contains \"y\" if {\n  input.y\n  input.z == 3\n}\n",
        ),
        (
            "a_test.rego",
            "package main\n\ntest_x_is_denied if {\n  print(\"here\")\n  count(deny) == 1 with input as {\"x\": true}\n}\n\n\
             test_wrong if count(deny) == 7\n\ntodo_test_later if false\n",
        ),
    ]);
    let report = test(folder.path());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let outcomes: Vec<_> = report
        .tests
        .iter()
        .map(|t| (t.name.as_str(), t.line, &t.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("test_x_is_denied", 3, &TestOutcome::Passed),
            (
                "test_wrong",
                8,
                &TestOutcome::Failed("one of its conditions does not hold".to_owned())
            ),
            ("todo_test_later", 10, &TestOutcome::Skipped),
        ]
    );
    assert!(report.tests[0].prints.iter().any(|p| p.contains("here")));
    let coverage = &report.coverage[0];
    assert_eq!(coverage.file, "a.rego");
    assert!(coverage.missed.contains(&9), "{coverage:?}");
    assert!((1.0..100.0).contains(&coverage.percent()), "{coverage:?}");
}
