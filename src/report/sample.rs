//! Reports that have everything: what templates of the operator's own are tried on, and what the
//! pictures of the documents show.

use std::time::Duration;

use tera::Context;

use super::fit::{BUDGETS, Picked};
use super::issue::{drift_view, hold_view};
use super::status::plan_words;
use super::view::view;
use super::{
    AfterMerge, AppliedParts, ApplyWords, Check, CheckOutcome, DriftReport, Failure, HoldReport,
    Light, OnMerge, Progress, ProposalReport, Refusal, Since, Standing, WorkspaceReport,
};
use crate::id::CommitSha;
use crate::plan::{
    Action, Change, Check as Condition, Counts, DataTypes, Diagnostic, Line, OutputChange, Plan,
    Severity, Sign,
};
use crate::policy::{Effect, Finding, Override, Verdict};

/// What is kept free for diffs in a sample.
const ROOM: usize = 4_000;

/// A proposal of three workspaces: one with all kinds of changes, one that replaces a database
/// and waits for a person, one that stays as it is.
pub fn sample() -> ProposalReport {
    let mut network = workspace(
        "network",
        "production",
        Progress::Planned(Box::new(mixed())),
    );
    network.took = Duration::from_millis(4_100);
    network.checks = vec![check("fmt", CheckOutcome::Passed)];
    network.verdict = Some(Verdict {
        evaluated: vec!["tags".to_owned()],
        findings: vec![finding("tags", "Resources are tagged", Effect::Warn)],
    });
    network.since = Some(Since::between(sha('a'), &before(), &mixed()));
    let mut database = workspace(
        "database",
        "production",
        Progress::Planned(Box::new(replaced())),
    );
    database.took = Duration::from_secs(6);
    database.on_merge = OnMerge::HoldApproval;
    database.warnings = vec![diagnostic(Severity::Warning, "Argument is deprecated")];
    database.verdict = Some(Verdict {
        evaluated: vec!["production".to_owned(), "tags".to_owned()],
        findings: vec![finding("production", "a person must agree", Effect::Hold)],
    });
    let mut dns = workspace("dns", "staging", Progress::Planned(Box::new(unchanged())));
    dns.took = Duration::from_millis(2_200);
    dns.verdict = Some(Verdict {
        evaluated: vec!["tags".to_owned()],
        findings: Vec::new(),
    });
    report(vec![network, database, dns])
}

/// The contexts that a template is tried with, each variable in at least one of them; `None` for a
/// name that no template has.
pub(super) fn contexts(template: &str) -> Option<Vec<Context>> {
    let notes = ["a note".to_owned()];
    let contexts = match template {
        "comment" | "changes" => proposals()
            .iter()
            .flat_map(|report| {
                let all = Picked::within(report, ROOM);
                [
                    view(report, &BUDGETS[0], &all, &notes),
                    view(report, &BUDGETS[4], &Picked::default(), &[]),
                ]
            })
            .map(|view| Context::from_serialize(&view))
            .collect::<Result<_, _>>(),
        "drift" => [drifted(), settled()]
            .iter()
            .map(|report| Context::from_serialize(&drift_view(report, ROOM, &notes)))
            .collect(),
        "hold" => outcomes()
            .into_iter()
            .flat_map(|outcome| {
                let report = held(outcome);
                [hold_view(&report, ROOM, &notes), hold_view(&report, 0, &[])]
            })
            .map(|view| Context::from_serialize(&view))
            .collect(),
        "plan-status" => proposals()
            .iter()
            .map(|report| Context::from_serialize(&plan_words(report)))
            .collect(),
        "apply-status" => apply_words().iter().map(Context::from_serialize).collect(),
        _ => return None,
    };
    Some(contexts.expect("the variables of templates have names"))
}

/// Proposals in every state.
fn proposals() -> Vec<ProposalReport> {
    let mut broken = workspace("broken", "staging", Progress::Failed(failure()));
    broken.checks = vec![
        check("validate", CheckOutcome::Failed),
        check("tflint", CheckOutcome::Warned),
        check(
            "test",
            CheckOutcome::Skipped {
                reason: "the module has no tests".to_owned(),
            },
        ),
    ];
    let mut denied = finding("data-stays", "Data is not destroyed", Effect::Deny);
    denied.address = Some("aws_db_instance.main".to_owned());
    let mut overridden = finding("ingress", "Nothing is open to all", Effect::Deny);
    overridden.overridden = Some(Override {
        by: "ana".to_owned(),
        reason: "an emergency".to_owned(),
    });
    let mut all = sample();
    all.workspaces[0].verdict = Some(Verdict {
        evaluated: vec!["data-stays".to_owned(), "ingress".to_owned()],
        findings: vec![
            denied,
            overridden,
            finding(
                "review",
                "Two people look",
                Effect::Require { approvals: 2 },
            ),
        ],
    });
    all.workspaces.push(broken);
    all.workspaces
        .push(workspace("late", "staging", Progress::Waiting));
    all.removed = vec![name("old")];
    all.refusals = vec![Refusal {
        command: "mainstay apply".to_owned(),
        by: "someone".to_owned(),
        reason: "only people who may write to the repository may ask for that".to_owned(),
    }];
    all.help = vec![("mainstay plan".to_owned(), "plans again".to_owned())];
    let mut conflict = report(Vec::new());
    conflict.conflict = Some(vec!["network/main.tf".to_owned()]);
    let mut merged = report(
        outcomes()
            .into_iter()
            .map(|outcome| {
                let mut one = workspace("network", "production", Progress::Waiting);
                one.after_merge = Some(outcome);
                one
            })
            .collect(),
    );
    merged.standing = Standing::Merged { commit: sha('b') };
    let mut same = sample();
    same.workspaces[0].since = Some(Since::unchanged(sha('a')));
    vec![all, conflict, merged, same]
}

/// What a merge can come to.
fn outcomes() -> Vec<AfterMerge> {
    let parts = AppliedParts {
        done: vec!["aws_instance.a".to_owned()],
        failed: vec!["aws_instance.b".to_owned()],
        not_reached: vec!["aws_instance.c".to_owned()],
        unknown: vec!["aws_instance.d".to_owned()],
    };
    vec![
        AfterMerge::Held {
            reason: "it destroys more than was reviewed".to_owned(),
            command: "mainstay apply network".to_owned(),
            plan: Some(Box::new(mixed())),
        },
        AfterMerge::Failed {
            failure: failure(),
            parts: parts.clone(),
        },
        AfterMerge::Applied {
            plan: Box::new(mixed()),
            commit: sha('b'),
            took: Duration::from_secs(75),
        },
        AfterMerge::Interrupted {
            parts,
            how_far: "how far it came is not known".to_owned(),
            next: "the workspace is planned again".to_owned(),
        },
        AfterMerge::Waiting,
    ]
}

fn apply_words() -> Vec<ApplyWords> {
    let words = |light: Light, place: usize| {
        let named = |at: usize| {
            if at == place {
                vec!["network".to_owned(), "dns".to_owned()]
            } else {
                Vec::new()
            }
        };
        ApplyWords {
            light,
            not_applied: named(0),
            applying: named(1),
            held: named(2),
            superseded: named(3),
            applied: named(4),
            with: if place == 4 {
                vec!["bbbbbbb".to_owned()]
            } else {
                Vec::new()
            },
        }
    };
    vec![
        words(Light::Bad, 0),
        words(Light::Pending, 1),
        words(Light::Pending, 2),
        words(Light::Bad, 3),
        words(Light::Good, 4),
    ]
}

fn drifted() -> DriftReport {
    DriftReport {
        marker: String::new(),
        workspace: name("network"),
        environment: Some("production".to_owned()),
        commit: sha('b'),
        branch: "main".parse().expect("a valid branch name"),
        plan: Plan {
            drift: mixed().changes,
            outputs: mixed().outputs,
            ..unchanged()
        },
    }
}

fn settled() -> DriftReport {
    DriftReport {
        plan: unchanged(),
        ..drifted()
    }
}

fn held(outcome: AfterMerge) -> HoldReport {
    HoldReport {
        marker: String::new(),
        workspace: name("network"),
        environment: Some("production".to_owned()),
        commit: sha('b'),
        branch: "main".parse().expect("a valid branch name"),
        outcome,
        before: Vec::new(),
        warnings: vec![diagnostic(Severity::Warning, "Argument is deprecated")],
        data_types: DataTypes::default(),
    }
}

pub(super) fn report(workspaces: Vec<WorkspaceReport>) -> ProposalReport {
    ProposalReport {
        marker: String::new(),
        repo: "acme/infra".parse().expect("a valid name"),
        web_url: Some("https://git.example/acme/infra".to_owned()),
        proposal: Some("#7".parse().expect("a valid key")),
        head: sha('e'),
        base_branch: "main".parse().expect("a valid branch name"),
        base: sha('0'),
        tool: "Terraform 1.11.4".to_owned(),
        workspaces,
        conflict: None,
        removed: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        data_types: DataTypes::default(),
        help: Vec::new(),
        standing: Standing::Open,
    }
}

fn workspace(called: &str, environment: &str, progress: Progress) -> WorkspaceReport {
    WorkspaceReport {
        name: name(called),
        environment: Some(environment.to_owned()),
        path: called.to_owned(),
        run: None,
        progress,
        warnings: Vec::new(),
        checks: Vec::new(),
        verdict: None,
        took: Duration::ZERO,
        since: None,
        reviewed: None,
        before: Vec::new(),
        on_merge: OnMerge::Apply,
        state_note: None,
        after_merge: None,
    }
}

/// A plan with changes of many kinds.
fn mixed() -> Plan {
    let mut plan = plan(
        "mixed",
        vec![
            change(
                "aws_route.new",
                Action::Create,
                None,
                &[
                    (Sign::Add, 0, "cidr = \"10.1.0.0/16\""),
                    (Sign::Add, 0, "id   = (known after apply)"),
                ],
            ),
            change(
                "aws_route.old",
                Action::Destroy,
                Some("no longer in the configuration"),
                &[(Sign::Remove, 0, "cidr = \"10.0.0.0/16\" -> null")],
            ),
            change(
                "aws_subnet.b",
                Action::Create,
                None,
                &[(Sign::Add, 0, "cidr_block = \"10.1.1.0/24\"")],
            ),
            change(
                "aws_vpc.main",
                Action::Update,
                None,
                &[
                    (Sign::Same, 0, "id   = \"vpc-1\""),
                    (Sign::Change, 0, "tags = {"),
                    (Sign::Change, 1, "Name = \"a\" -> \"b\""),
                    (Sign::Same, 0, "}"),
                    (Sign::Same, 0, "# (7 unchanged attributes hidden)"),
                ],
            ),
        ],
    );
    plan.outputs = vec![OutputChange {
        name: "vpc_id".to_owned(),
        action: Action::Update,
        lines: vec![Line {
            sign: Sign::Change,
            depth: 0,
            text: "vpc_id = \"vpc-1\" -> (known after apply)".to_owned(),
        }],
    }];
    plan.checks = vec![Condition {
        address: "check.reachable".to_owned(),
        status: "fail".to_owned(),
        messages: vec!["The gateway does not answer.".to_owned()],
    }];
    plan.resources_in_state = 118;
    plan
}

/// What `mixed` was one push before.
fn before() -> Plan {
    let mut plan = mixed();
    plan.fingerprint = "before".to_owned();
    plan.changes.retain(|c| c.address != "aws_subnet.b");
    for change in &mut plan.changes {
        if change.action == Action::Destroy {
            change.action = Action::Update;
            change.digest = "before".to_owned();
        }
    }
    plan
}

fn replaced() -> Plan {
    let mut plan = plan(
        "replaced",
        vec![change(
            "aws_db_instance.main",
            Action::Replace,
            Some("`engine_version` forces it"),
            &[(
                Sign::Change,
                0,
                "engine_version = \"13\" -> \"15\" # forces replacement",
            )],
        )],
    );
    plan.resources_in_state = 2;
    plan
}

fn unchanged() -> Plan {
    let mut plan = plan("unchanged", Vec::new());
    plan.resources_in_state = 31;
    plan
}

fn plan(fingerprint: &str, changes: Vec<Change>) -> Plan {
    let count = |action: Action| changes.iter().filter(|c| c.action == action).count();
    Plan {
        terraform_version: "1.11.4".to_owned(),
        counts: Counts {
            create: count(Action::Create),
            update: count(Action::Update),
            replace: count(Action::Replace),
            destroy: count(Action::Destroy),
            ..Counts::default()
        },
        complete: true,
        fingerprint: fingerprint.to_owned(),
        changes,
        ..Plan::default()
    }
}

fn change(
    address: &str,
    action: Action,
    reason: Option<&str>,
    lines: &[(Sign, u8, &str)],
) -> Change {
    let kind = address.split('.').next().unwrap_or(address);
    Change {
        address: address.to_owned(),
        previous_address: None,
        kind: kind.to_owned(),
        action,
        reason: reason.map(str::to_owned),
        import_id: None,
        lines: lines
            .iter()
            .map(|(sign, depth, text)| Line {
                sign: *sign,
                depth: *depth,
                text: (*text).to_owned(),
            })
            .collect(),
        digest: String::new(),
    }
}

fn failure() -> Failure {
    Failure {
        step: "plan".to_owned(),
        summary: "Unsupported argument".to_owned(),
        diagnostics: vec![diagnostic(Severity::Error, "Unsupported argument")],
        tail: "the end".to_owned(),
        advice: Some("Correct the configuration.".to_owned()),
    }
}

fn check(called: &str, outcome: CheckOutcome) -> Check {
    let diagnostics = match outcome {
        CheckOutcome::Failed | CheckOutcome::Warned => {
            vec![
                diagnostic(Severity::Error, "An argument is missing"),
                diagnostic(Severity::Error, "Another is missing too"),
            ]
        }
        CheckOutcome::Passed | CheckOutcome::Skipped { .. } => Vec::new(),
    };
    Check {
        name: called.to_owned(),
        outcome,
        diagnostics,
        tail: String::new(),
        took: Duration::from_millis(240),
    }
}

fn finding(policy: &str, title: &str, effect: Effect) -> Finding {
    Finding {
        policy: policy.to_owned(),
        title: title.to_owned(),
        effect,
        message: "it is in production".to_owned(),
        address: None,
        remedy: Some("Have it looked at first".to_owned()),
        owners: vec!["acme/dba".to_owned(), "ana".to_owned()],
        overridden: None,
    }
}

fn diagnostic(severity: Severity, summary: &str) -> Diagnostic {
    Diagnostic {
        severity,
        summary: summary.to_owned(),
        detail: "It is not expected here.".to_owned(),
        address: Some("aws_vpc.main".to_owned()),
        file: Some("main.tf".to_owned()),
        line: Some(3),
        snippet: Some("nope = 1".to_owned()),
    }
}

fn sha(digit: char) -> CommitSha {
    let digits = digit.to_string().repeat(40);
    digits.parse().expect("forty digits are a commit")
}

fn name(text: &str) -> crate::id::WorkspaceName {
    text.parse().expect("a valid name")
}
