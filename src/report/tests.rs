//! What readers see, as snapshots, and that nothing in it can be forged.

use insta::assert_snapshot;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::*;
use crate::plan::{Action, Change, Check as Condition, Counts, Line, OutputChange, Severity, Sign};
use crate::policy::{Effect, Finding, Override};

mod picture;
mod schema;
mod templates;

/// The comment by the built-in templates.
fn commented(report: &ProposalReport) -> Result<String, ReportError> {
    comment(report, &Templates::default())
}

/// The drift issue by the built-in templates.
fn drifted(report: &DriftReport) -> Result<String, ReportError> {
    drift_issue(report, &Templates::default())
}

/// The hold issue by the built-in templates.
fn held(report: &HoldReport) -> Result<String, ReportError> {
    hold_issue(report, &Templates::default())
}

/// The status by the built-in templates.
fn status_of(report: &ProposalReport) -> StatusText {
    plan_status(report, &Templates::default()).unwrap()
}

fn sha(digit: char) -> CommitSha {
    digit.to_string().repeat(40).parse().unwrap()
}

fn line(sign: Sign, depth: u8, text: &str) -> Line {
    Line {
        sign,
        depth,
        text: text.to_owned(),
    }
}

fn change(address: &str, action: Action, reason: Option<&str>, lines: Vec<Line>) -> Change {
    Change {
        address: address.to_owned(),
        previous_address: None,
        kind: address.split('.').next().unwrap().to_owned(),
        action,
        reason: reason.map(str::to_owned),
        import_id: None,
        lines,
        digest: String::new(),
    }
}

fn plan(changes: Vec<Change>) -> Plan {
    let count = |action: Action| changes.iter().filter(|c| c.action == action).count();
    Plan {
        terraform_version: "1.11.4".to_owned(),
        counts: Counts {
            create: count(Action::Create),
            update: count(Action::Update),
            replace: count(Action::Replace),
            destroy: count(Action::Destroy),
            forget: count(Action::Forget),
            ..Counts::default()
        },
        changes,
        complete: true,
        fingerprint: "f00d".to_owned(),
        ..Plan::default()
    }
}

fn workspace(name: &str, progress: Progress) -> WorkspaceReport {
    WorkspaceReport {
        name: name.parse().unwrap(),
        environment: Some("production".to_owned()),
        path: name.to_owned(),
        run: Some(RunId(12)),
        progress,
        warnings: Vec::new(),
        checks: Vec::new(),
        verdict: None,
        took: Duration::from_millis(4_100),
        since: None,
        on_merge: OnMerge::Apply,
        state_note: None,
        after_merge: None,
        reviewed: None,
        before: Vec::new(),
    }
}

fn planned(name: &str, plan: Plan) -> WorkspaceReport {
    workspace(name, Progress::Planned(Box::new(plan)))
}

fn report(workspaces: Vec<WorkspaceReport>) -> ProposalReport {
    ProposalReport {
        marker: "<!-- mainstay:proposal #7 -->".to_owned(),
        ..super::sample::report(workspaces)
    }
}

fn network() -> Plan {
    let mut plan = plan(vec![
        change(
            "aws_route.new",
            Action::Create,
            None,
            vec![
                line(Sign::Add, 0, "cidr = \"10.1.0.0/16\""),
                line(Sign::Add, 0, "id   = (known after apply)"),
            ],
        ),
        change(
            "aws_route.old",
            Action::Destroy,
            Some("no longer in the configuration"),
            vec![line(Sign::Remove, 0, "cidr = \"10.0.0.0/16\" -> null")],
        ),
        change(
            "aws_vpc.main",
            Action::Update,
            None,
            vec![
                line(Sign::Same, 0, "id   = \"vpc-1\""),
                line(Sign::Change, 0, "tags = {"),
                line(Sign::Change, 1, "Name = \"a\" -> \"b\""),
                line(Sign::Same, 0, "}"),
                line(Sign::Same, 0, "# (7 unchanged attributes hidden)"),
            ],
        ),
    ]);
    plan.outputs = vec![OutputChange {
        name: "vpc_id".to_owned(),
        action: Action::Update,
        lines: vec![line(Sign::Change, 0, "vpc_id = \"vpc-1\" -> \"vpc-2\"")],
    }];
    plan
}

fn database() -> Plan {
    plan(vec![change(
        "aws_db_instance.main",
        Action::Replace,
        Some("`engine_version` forces it"),
        vec![line(
            Sign::Change,
            0,
            "engine_version = \"13\" -> \"15\" # forces replacement",
        )],
    )])
}

/// Three workspaces: one with everything, one that replaces, one that stays.
fn mixed() -> ProposalReport {
    let mut database = planned("database", database());
    database.on_merge = OnMerge::HoldApproval;
    database.warnings = vec![Diagnostic {
        severity: Severity::Warning,
        summary: "Argument is deprecated".to_owned(),
        detail: "Use `engine_lifecycle_support` instead.".to_owned(),
        address: Some("aws_db_instance.main".to_owned()),
        file: Some("main.tf".to_owned()),
        line: Some(12),
        snippet: Some("legacy = true".to_owned()),
    }];
    report(vec![
        planned("network", network()),
        database,
        planned("dns", plan(Vec::new())),
    ])
}

fn failure() -> Failure {
    Failure {
        step: "plan".to_owned(),
        summary: "Unsupported argument".to_owned(),
        diagnostics: vec![Diagnostic {
            severity: Severity::Error,
            summary: "Unsupported argument".to_owned(),
            detail: "An argument named \"nope\" is not expected here.".to_owned(),
            address: None,
            file: Some("main.tf".to_owned()),
            line: Some(3),
            snippet: Some("nope = 1".to_owned()),
        }],
        tail: String::new(),
        advice: Some("Correct it and push; `mainstay plan` plans again.".to_owned()),
    }
}

fn failed_apply() -> AfterMerge {
    AfterMerge::Failed {
        failure: Failure {
            step: "apply".to_owned(),
            summary: "creating EC2 instance: quota exceeded".to_owned(),
            diagnostics: Vec::new(),
            tail: "aws_instance.b: Creating...\nError: quota exceeded".to_owned(),
            advice: Some("`mainstay apply network` plans and applies again.".to_owned()),
        },
        parts: AppliedParts {
            done: vec!["aws_instance.a".to_owned()],
            failed: vec!["aws_instance.b".to_owned()],
            not_reached: vec!["aws_instance.c".to_owned(), "aws_instance.d".to_owned()],
            unknown: Vec::new(),
        },
    }
}

fn merged(mut report: ProposalReport, outcomes: Vec<AfterMerge>) -> ProposalReport {
    report.standing = Standing::Merged { commit: sha('b') };
    for (workspace, outcome) in report.workspaces.iter_mut().zip(outcomes) {
        workspace.after_merge = Some(outcome);
    }
    report
}

#[test]
fn a_plan_that_only_creates() {
    let create = plan(vec![change(
        "aws_s3_bucket.logs",
        Action::Create,
        None,
        vec![line(Sign::Add, 0, "bucket = \"logs\"")],
    )]);
    assert_snapshot!(commented(&report(vec![planned("logs", create)])).unwrap());
}

#[test]
fn a_mixed_plan_shows_what_is_lost_outside_of_any_fold() {
    assert_snapshot!(commented(&mixed()).unwrap());
}

#[test]
fn a_failed_plan_is_never_zero_to_change() {
    let failed = workspace("network", Progress::Failed(failure()));
    let body = commented(&report(vec![failed, planned("dns", plan(Vec::new()))])).unwrap();
    assert_snapshot!(body);
    let half = Plan {
        errored: true,
        ..network()
    };
    let body = commented(&report(vec![planned("network", half)])).unwrap();
    assert!(body.contains("### Plan failed in `network`"), "{body}");
    assert!(
        !body.contains("No changes") && !body.contains("to create"),
        "{body}"
    );
}

#[test]
fn a_conflict_names_the_files() {
    let mut report = report(Vec::new());
    report.conflict = Some(vec!["network/main.tf".to_owned(), "a`b.tf".to_owned()]);
    assert_snapshot!(commented(&report).unwrap());
}

#[test]
fn a_part_without_changes_is_not_said_to_be_all() {
    let part = Plan {
        complete: false,
        ..plan(Vec::new())
    };
    let body = commented(&report(vec![planned("dns", part)])).unwrap();
    assert!(body.contains("### No changes in the part of the configuration that was planned"));
}

#[test]
fn nothing_changes() {
    assert_snapshot!(commented(&report(vec![planned("dns", plan(Vec::new()))])).unwrap());
}

#[test]
fn plans_that_are_still_made() {
    let mut fork = report(vec![workspace("network", Progress::NeedsPermission)]);
    fork.notes = vec!["A person who may write here can ask with `mainstay plan`".to_owned()];
    assert!(
        commented(&fork)
            .unwrap()
            .contains("### From a fork: planned when")
    );
    let mut waiting = report(vec![
        planned("network", network()),
        workspace("database", Progress::Waiting),
        workspace("dns", Progress::Running("init".to_owned())),
    ]);
    waiting.workspaces[1].took = Duration::ZERO;
    waiting.workspaces[2].took = Duration::ZERO;
    assert_snapshot!(commented(&waiting).unwrap());
}

#[test]
fn all_is_applied() {
    let applied = |plan: Plan| AfterMerge::Applied {
        plan: Box::new(plan),
        commit: sha('b'),
        took: Duration::from_secs(75),
    };
    let report = merged(
        mixed(),
        vec![
            applied(network()),
            applied(database()),
            AfterMerge::NothingToApply,
        ],
    );
    assert_snapshot!(commented(&report).unwrap());
}

#[test]
fn a_hold_says_why_and_what_lets_it_go() {
    let held = AfterMerge::Held {
        reason: "it destroys more than was reviewed".to_owned(),
        command: "mainstay apply network".to_owned(),
        plan: Some(Box::new(network())),
    };
    let report = merged(
        mixed(),
        vec![held, AfterMerge::Waiting, AfterMerge::NothingToApply],
    );
    assert_snapshot!(commented(&report).unwrap());
}

#[test]
fn an_apply_that_failed_half_way_says_how_far_it_came() {
    let report = merged(
        mixed(),
        vec![
            failed_apply(),
            AfterMerge::Running,
            AfterMerge::NothingToApply,
        ],
    );
    assert_snapshot!(commented(&report).unwrap());
}

#[test]
fn a_folder_that_is_gone_destroys_nothing_and_a_refusal_says_why() {
    let mut report = report(Vec::new());
    report.removed = vec!["old".parse().unwrap()];
    report.refusals = vec![Refusal {
        command: "mainstay apply `x`".to_owned(),
        by: "someone".to_owned(),
        reason: "only people who may write to the repository may ask for that".to_owned(),
    }];
    assert_snapshot!(commented(&report).unwrap());
}

#[test]
fn a_proposal_for_another_branch_says_that_it_is_no_longer_ours() {
    let mut report = mixed();
    report.standing = Standing::Elsewhere;
    let body = commented(&report).unwrap();
    assert!(body.contains("### No longer for `main`"), "{body}");
    assert!(!body.contains("On merge"), "{body}");
}

/// The hostile texts of every place that plan data can come from.
fn hostile(text: &str) -> ProposalReport {
    let text = text.to_owned();
    let mut plan = plan(vec![
        change(
            &text,
            Action::Destroy,
            Some(&text),
            vec![line(Sign::Remove, 0, &text)],
        ),
        change(
            &text,
            Action::Create,
            Some(&text),
            vec![line(Sign::Add, 1, &text)],
        ),
    ]);
    plan.resources_in_state = 9;
    for change in &mut plan.changes {
        change.kind = "aws_db_instance".to_owned();
    }
    plan.changes[0].previous_address = Some(text.clone());
    plan.changes[1].import_id = Some(text.clone());
    plan.outputs = vec![OutputChange {
        name: text.clone(),
        action: Action::Update,
        lines: vec![line(Sign::Change, 0, &text)],
    }];
    plan.checks = vec![Condition {
        address: text.clone(),
        status: "fail".to_owned(),
        messages: vec![text.clone()],
    }];
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        summary: text.clone(),
        detail: text.clone(),
        address: Some(text.clone()),
        file: Some(text.clone()),
        line: Some(1),
        snippet: Some(text.clone()),
    };
    let failure = Failure {
        step: text.clone(),
        summary: text.clone(),
        diagnostics: vec![diagnostic.clone()],
        tail: text.clone(),
        advice: Some(text.clone()),
    };
    let mut one = planned("network", plan);
    one.environment = Some(text.clone());
    one.path = text.clone();
    one.warnings = vec![diagnostic];
    one.state_note = Some(text.clone());
    let mut two = workspace("database", Progress::Running(text.clone()));
    two.after_merge = Some(AfterMerge::Held {
        reason: text.clone(),
        command: text.clone(),
        plan: None,
    });
    let finding = |effect: Effect| Finding {
        policy: text.clone(),
        title: text.clone(),
        effect,
        message: text.clone(),
        address: Some(text.clone()),
        remedy: Some(text.clone()),
        owners: vec![text.clone()],
        overridden: None,
    };
    let mut overridden = finding(Effect::Deny);
    overridden.overridden = Some(Override {
        by: text.clone(),
        reason: text.clone(),
    });
    one.verdict = Some(Verdict {
        evaluated: vec![text.clone()],
        findings: vec![
            finding(Effect::Deny),
            finding(Effect::Hold),
            finding(Effect::Require { approvals: 2 }),
            overridden,
            finding(Effect::Warn),
        ],
    });
    one.checks = [
        CheckOutcome::Failed,
        CheckOutcome::Warned,
        CheckOutcome::Skipped {
            reason: text.clone(),
        },
    ]
    .into_iter()
    .map(|outcome| Check {
        name: text.clone(),
        outcome,
        diagnostics: vec![one.warnings[0].clone()],
        tail: text.clone(),
        took: Duration::from_secs(1),
    })
    .collect();
    let turn = |before, now| Turn {
        address: text.clone(),
        before,
        now,
    };
    one.since = Some(Since {
        commit: sha('a'),
        sameness: Sameness::Differs,
        turns: vec![
            turn(None, Some(Action::Create)),
            turn(Some(Action::Create), None),
            turn(Some(Action::Update), Some(Action::Destroy)),
        ],
    });
    let three = workspace("dns", Progress::Failed(failure.clone()));
    let mut four = workspace("logs", Progress::Waiting);
    four.after_merge = Some(AfterMerge::Failed {
        failure,
        parts: AppliedParts {
            done: vec![text.clone()],
            failed: vec![text.clone()],
            not_reached: vec![text.clone()],
            unknown: vec![text.clone()],
        },
    });
    let mut five = workspace("audit", Progress::Waiting);
    five.after_merge = Some(AfterMerge::Cancelled {
        by: text.clone(),
        parts: AppliedParts::default(),
    });
    five.before = vec![text.clone()];
    let mut report = report(vec![one, two, three, four, five]);
    report.tool = text.clone();
    report.notes = vec![text.clone()];
    report.refusals = vec![Refusal {
        command: text.clone(),
        by: text.clone(),
        reason: text.clone(),
    }];
    report.conflict = Some(vec![text]);
    report
}

const NASTY: &str = "`x`\n```\n</details><!-- mainstay:x -->\n# Plan: 0 to add\n| a | b |\n@admin #1 \
     [l](http://evil) ![i](x) <img src=x> www.evil.example\u{202e} \\| ~~~~";

#[test]
fn hostile_text_stays_text() {
    assert_snapshot!(commented(&hostile(NASTY)).unwrap());
}

/// The structure of a comment and the text that stands outside of code; the contents of
/// code are left out.
fn structure(body: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut in_block = false;
    let mut seen: Vec<String> = Vec::new();
    for event in Parser::new_ext(body, options) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                in_block = true;
                seen.push("block".to_owned());
            }
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(_) if in_block => {}
            Event::Code(_) => seen.push("code".to_owned()),
            other => seen.push(format!("{other:?}")),
        }
    }
    seen
}

/// A word that is shown as code wherever it stands, as hostile text is.
const BENIGN: &str = "@x";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_plan_data_says_the_comment_has_the_same_structure(
        text in prop_oneof![
            "(?s)[@#`<>!|~*_\\\\\\[\\]()$&:/\n a-]{1,30}".prop_map(|tail| format!("@{tail}")),
            "(?s).{1,30}".prop_map(|tail| format!("@{tail}")),
        ],
    ) {
        // Without backticks in prose the number of code spans is the same too.
        let text = text.replace('`', "'");
        let mut benign = hostile(BENIGN);
        let mut nasty = hostile(&text);
        // Links are left out: whether a file name may be linked depends on its text.
        benign.web_url = None;
        nasty.web_url = None;
        prop_assert_eq!(structure(&commented(&nasty).unwrap()), structure(&commented(&benign).unwrap()));
    }

    #[test]
    fn nothing_of_plan_data_stands_outside_of_code(
        text in "(?s)[@#`<>!|~*_\\\\\\[\\]()$&:/\n a-]{1,30}",
    ) {
        let body = commented(&hostile(&text)).unwrap();
        for event in structure(&body) {
            // The one link that there may be leads to a file of the repository.
            let is_link = event.contains("Link {");
            prop_assert!(!is_link || event.contains("git.example/acme/infra/blob/"), "{event}");
            let is_safe = ["Image", "Inline", "Math", "Footnote", "@"].iter().all(|s| !event.contains(s));
            prop_assert!(is_link || is_safe, "{event}");
        }
        let headings = structure(&body).iter().filter(|e| e.starts_with("Start(Heading")).count();
        prop_assert_eq!(headings, 1);
    }
}

proptest! {
    // Each case renders a comment many times its limit.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_comment_always_fits(
        piece in prop_oneof![Just("ä|`"), Just("`"), Just("`a`<"), Just("x")],
        workspaces in 0..40_usize, changes in 0..60_usize, length in 0..3_000_usize,
        files in 0..400_usize,
    ) {
        let text = piece.repeat(length / piece.len() + 1);
        let mut report = hostile(&text);
        report.conflict = Some(vec![text.clone(); files]);
        for i in 0..workspaces {
            let changes = (0..changes).map(|n| {
                let action = if n % 2 == 0 { Action::Destroy } else { Action::Update };
                change(&text, action, Some(&text), vec![line(Sign::Change, 0, &text); 3])
            });
            report.workspaces.push(planned(&format!("w{i}"), plan(changes.collect())));
        }
        let body = commented(&report).unwrap();
        prop_assert!(body.encode_utf16().count() <= BODY_LIMIT);
    }
}

#[test]
fn a_line_of_a_megabyte_is_cut_wherever_it_stands() {
    let long = "x`@".repeat(350_000);
    let mut failed = failure();
    failed.tail = long.clone();
    failed.summary = long.clone();
    let mut report = mixed();
    report.workspaces[0].environment = Some(long.clone());
    report.workspaces[2].progress = Progress::Failed(failed);
    report.notes = vec![long];
    let body = commented(&report).unwrap();
    assert!(body.encode_utf16().count() <= BODY_LIMIT);
    assert!(status_of(&report).description.chars().count() <= 140);
    assert!(terminal(&report, Colour::No, 80).len() > 1_000);
}

#[test]
fn no_mention_stands_outside_of_code_in_comments_issues_and_statuses() {
    let report = hostile("@acme/everyone");
    let mut bodies = vec![commented(&report).unwrap()];
    let outcomes = report
        .workspaces
        .iter()
        .filter_map(|w| w.after_merge.clone());
    for outcome in outcomes {
        bodies.push(held(&hold(outcome)).unwrap());
    }
    let mut drifting = drift(report.workspaces[0].plan().unwrap().changes.clone());
    drifting.environment = Some("@acme/everyone".to_owned());
    bodies.push(drifted(&drifting).unwrap());
    for body in bodies {
        assert!(body.contains("@acme/everyone"), "the text is shown: {body}");
        let outside: Vec<String> = structure(&body);
        assert!(outside.iter().all(|e| !e.contains('@')), "{outside:?}");
    }
    assert!(!status_of(&report).description.contains('@'));
}

#[test]
fn what_denies_or_holds_stands_outside_of_any_fold_with_the_way_on() {
    let mut report = mixed();
    let finding = |policy: &str, title: &str, effect: Effect| Finding {
        policy: policy.to_owned(),
        title: title.to_owned(),
        effect,
        message: "aws_db_instance.main would be replaced".to_owned(),
        address: Some("aws_db_instance.main".to_owned()),
        remedy: Some("Take a snapshot first".to_owned()),
        owners: vec!["acme/dba".to_owned()],
        overridden: None,
    };
    let verdict = |findings: Vec<Finding>| {
        Some(Verdict {
            evaluated: vec!["data-stays".to_owned()],
            findings,
        })
    };
    let mut overridden = finding("ingress", "Nothing is open to all", Effect::Deny);
    overridden.overridden = Some(Override {
        by: "ana".to_owned(),
        reason: "an emergency".to_owned(),
    });
    report.workspaces[0].verdict = verdict(vec![
        finding("tags", "Resources are tagged", Effect::Warn),
        overridden,
    ]);
    report.workspaces[1].verdict = verdict(vec![
        finding("data-stays", "Data is not destroyed", Effect::Deny),
        finding(
            "review",
            "Two people look",
            Effect::Require { approvals: 2 },
        ),
    ]);
    report.workspaces[2].verdict = verdict(Vec::new());
    assert_snapshot!(commented(&report).unwrap());
    assert_eq!(status_of(&report).light, Light::Bad);
    let folds = commented(&report).unwrap();
    let (before, _) = folds.split_once("<details>").unwrap();
    assert!(
        before.contains("`mainstay override data-stays reason…`"),
        "{before}"
    );
    // A branch of a plain remote has no comments to answer with.
    report.proposal = Some("branch x".parse().unwrap());
    let plain = commented(&report).unwrap();
    assert!(!plain.contains("override data-stays reason"), "{plain}");
    assert!(!plain.contains("mainstay plan"), "{plain}");
}

#[test]
fn a_check_that_failed_stands_outside_of_any_fold_with_the_way_to_its_place() {
    let mut report = mixed();
    let check = |name: &str, outcome: CheckOutcome| Check {
        name: name.to_owned(),
        diagnostics: match outcome {
            CheckOutcome::Passed | CheckOutcome::Skipped { .. } => Vec::new(),
            _ => vec![failure().diagnostics[0].clone()],
        },
        outcome,
        tail: String::new(),
        took: Duration::from_millis(300),
    };
    report.workspaces[2].checks = vec![
        check("fmt", CheckOutcome::Passed),
        check("validate", CheckOutcome::Failed),
        check("tflint", CheckOutcome::Warned),
        check(
            "test",
            CheckOutcome::Skipped {
                reason: "the module has no tests".to_owned(),
            },
        ),
    ];
    assert_snapshot!(commented(&report).unwrap());
    assert_eq!(status_of(&report).light, Light::Bad);
}

#[test]
fn rare_counts_have_a_column_where_some_row_has_them() {
    let mut rare = network();
    (rare.counts.import, rare.counts.moved, rare.counts.forget) = (1, 2, 3);
    let body = commented(&report(vec![
        planned("network", rare),
        planned("dns", plan(Vec::new())),
    ]));
    let body = body.unwrap();
    assert!(
        body.contains("| workspace | environment | create | change | replace | destroy | import | move | forget | |"),
        "{body}"
    );
    assert!(
        body.contains("| `network` | `production` | 1 | 1 |  | 1 | 1 | 2 | 3 | 4.1 s |"),
        "{body}"
    );
}

#[test]
fn how_far_it_reaches_is_said_with_what_holds_data() {
    let mut data = database();
    data.resources_in_state = 7;
    let mut network = network();
    network.resources_in_state = 113;
    let mut both = report(vec![planned("network", network), planned("database", data)]);
    both.workspaces[1].environment = Some("staging".to_owned());
    let body = commented(&both).unwrap();
    let said = "Reaches 3 of 120 resources in the state, in `production`, `staging`. Of these hold data: `aws_db_instance.main`.";
    assert!(body.contains(said), "{body}");
    assert!(
        body.contains("`engine_version` forces it · **holds data**"),
        "{body}"
    );
    both.data_types = DataTypes::new(&["!*"]).unwrap();
    let body = commented(&both).unwrap();
    assert!(
        body.contains("; none of them is known to hold data."),
        "{body}"
    );
    assert!(!body.contains("**holds data**"), "{body}");
}

#[test]
fn what_changed_since_the_last_push_is_told() {
    let mut earlier = network();
    earlier.fingerprint = "earlier".to_owned();
    earlier.changes.remove(0);
    earlier.changes[0].action = Action::Update;
    earlier.changes[0].digest = "earlier".to_owned();
    let mut report = report(vec![planned("network", network())]);
    report.workspaces[0].since = Some(Since::between(sha('a'), &earlier, &network()));
    let body = commented(&report).unwrap();
    let said = "Since `aaaaaaa`: `aws_route.old` is now destroyed, `aws_route.new` joined.";
    assert!(body.contains(said), "{body}");
    report.workspaces[0].since = Some(Since::between(sha('a'), &network(), &network()));
    let body = commented(&report).unwrap();
    assert!(
        body.contains("Since `aaaaaaa`: the same plan as before."),
        "{body}"
    );
}

#[test]
fn ten_thousand_resources_fit_and_the_riskiest_stay() {
    let mut changes: Vec<Change> = (0..10_000)
        .map(|n| {
            let lines = vec![line(Sign::Add, 0, &format!("input = \"value {n}\"")); 5];
            change(
                &format!("terraform_data.many[{n}]"),
                Action::Create,
                None,
                lines,
            )
        })
        .collect();
    let reason = Some("no longer in the configuration");
    let lines = vec![line(Sign::Remove, 0, "input = \"precious\" -> null")];
    changes.push(change(
        "terraform_data.precious",
        Action::Destroy,
        reason,
        lines,
    ));
    let body = commented(&report(vec![planned("big", plan(changes))])).unwrap();
    assert!(body.encode_utf16().count() <= BODY_LIMIT);
    assert!(body.len() > BODY_LIMIT / 2, "the room is used");
    assert!(body.contains("`terraform_data.precious` destroyed: no longer"));
    assert!(body.contains("-   input = \"precious\" -> null"));
    let shown = body.matches("will be created").count();
    assert!(body.contains(&format!(
        "{} more resources are left out here.",
        10_000 - shown
    )));
    assert!(body.contains("`mainstay run 12` shows all"));
    let fences = body.lines().filter(|line| line.starts_with("```")).count();
    assert_eq!(fences, 2, "no fence is cut");
}

#[test]
fn a_thousand_workspaces_fit_and_the_failed_one_stays() {
    let mut all: Vec<WorkspaceReport> = (0..1_000)
        .map(|n| planned(&format!("stacks/team-{n}"), network()))
        .collect();
    all.push(workspace("broken", Progress::Failed(failure())));
    let body = commented(&report(all)).unwrap();
    assert!(body.encode_utf16().count() <= BODY_LIMIT);
    assert!(body.contains("| `broken` |"), "{}", &body[..2_000]);
    assert!(body.contains("more, less pressing"));
}

#[test]
fn a_marker_that_would_not_hide_is_refused() {
    for marker in [
        "mainstay",
        "<!-- mainstay:a --><b> -->",
        "<!-- mainstay:a\n -->",
        "<!-- other -->",
    ] {
        let mut report = report(Vec::new());
        report.marker = marker.to_owned();
        assert!(
            matches!(commented(&report), Err(ReportError::Marker { .. })),
            "{marker}"
        );
    }
}

fn drift(changes: Vec<Change>) -> DriftReport {
    DriftReport {
        marker: "<!-- mainstay:drift network -->".to_owned(),
        workspace: "network".parse().unwrap(),
        environment: Some("production".to_owned()),
        commit: sha('a'),
        branch: "main".parse().unwrap(),
        plan: Plan {
            drift: changes,
            ..plan(Vec::new())
        },
    }
}

#[test]
fn a_drift_issue_shows_what_the_world_changed() {
    let lines = vec![line(Sign::Change, 0, "size = 1 -> 2")];
    let gone = vec![line(Sign::Remove, 0, "id = \"i-1\" -> null")];
    assert_snapshot!(
        drifted(&drift(vec![
            change("aws_instance.a", Action::Update, None, lines),
            change("aws_instance.b", Action::Destroy, None, gone),
        ]))
        .unwrap()
    );
}

#[test]
fn a_drift_issue_says_when_the_drift_is_gone() {
    assert_snapshot!(drifted(&drift(Vec::new())).unwrap());
}

#[test]
fn a_drift_issue_always_fits() {
    let lines = vec![line(Sign::Change, 0, &"x".repeat(1_000))];
    let many = vec![change("aws_instance.a", Action::Update, None, lines); 500];
    let body = drifted(&drift(many)).unwrap();
    assert!(body.encode_utf16().count() <= BODY_LIMIT);
    assert!(body.contains("left out here"));
}

fn hold(outcome: AfterMerge) -> HoldReport {
    HoldReport {
        marker: "<!-- mainstay:hold network -->".to_owned(),
        workspace: "network".parse().unwrap(),
        environment: Some("production".to_owned()),
        commit: sha('a'),
        branch: "main".parse().unwrap(),
        outcome,
        before: Vec::new(),
        warnings: Vec::new(),
        data_types: DataTypes::default(),
    }
}

#[test]
fn a_hold_issue_shows_what_waits() {
    assert_snapshot!(
        held(&hold(AfterMerge::Held {
            reason: "nobody reviewed it, and it destroys".to_owned(),
            command: "mainstay apply network".to_owned(),
            plan: Some(Box::new(network())),
        }))
        .unwrap()
    );
}

#[test]
fn a_hold_issue_shows_what_failed() {
    assert_snapshot!(held(&hold(failed_apply())).unwrap());
}

#[test]
fn the_terminal_shows_the_same_in_the_same_order() {
    assert_snapshot!(terminal(&mixed(), Colour::No, 80));
    let mut failed = report(vec![workspace("network", Progress::Failed(failure()))]);
    failed.notes = vec!["Edits that are not committed are planned too".to_owned()];
    assert_snapshot!(terminal(&failed, Colour::No, 60));
}

#[test]
fn the_terminal_text_fits_its_width_and_has_no_escape_codes_of_others() {
    for width in [40, 80, 120] {
        let text = terminal(&hostile(&format!("{NASTY}\u{1b}[2J")), Colour::No, width);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn colours_are_written_only_where_they_are_wanted() {
    assert!(terminal(&mixed(), Colour::Yes, 80).contains("\u{1b}[32m+   cidr"));
    assert!(!terminal(&mixed(), Colour::No, 80).contains('\u{1b}'));
}

#[test]
fn json_for_programs() {
    let value = json(&merged(mixed(), vec![failed_apply()]));
    assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn a_plan_status_is_good_only_when_every_plan_is_made() {
    let status = status_of(&mixed());
    assert_eq!(status.light, Light::Good);
    assert_eq!(
        status.description,
        "2 of 3 workspaces change · 1 destroyed · 1 replaced"
    );
    let mut waiting = mixed();
    waiting.workspaces[0].progress = Progress::Waiting;
    assert_eq!(status_of(&waiting).light, Light::Pending);
    let mut failed = mixed();
    failed.workspaces[0].progress = Progress::Failed(failure());
    assert_eq!(status_of(&failed).light, Light::Bad);
    let half = Plan {
        errored: true,
        ..network()
    };
    assert_eq!(
        status_of(&report(vec![planned("network", half)])).light,
        Light::Bad
    );
    let mut conflict = report(Vec::new());
    conflict.conflict = Some(Vec::new());
    assert_eq!(status_of(&conflict).light, Light::Bad);
}

#[test]
fn a_status_fits_githubs_limit() {
    let mut report = report(Vec::new());
    report.base_branch = "b".repeat(250).parse().unwrap();
    report.standing = Standing::Elsewhere;
    assert_eq!(status_of(&report).description.chars().count(), 140);
}
