//! The report for programs.

use serde_json::{Value, json};

use super::blast::{blast, holds_data};
use super::verdict::verdict;
use super::{
    AfterMerge, AppliedParts, Check, CheckOutcome, Failure, OnMerge, Progress, ProposalReport,
    Sameness, Since, Standing, WorkspaceReport,
};
use crate::plan::{Check as Condition, Counts, DataTypes, Diagnostic, Plan};
use crate::policy::{Effect, Finding, Judgement, Verdict};

/// The JSON Schema of what [`json()`] gives, for programs that read it.
pub const SCHEMA: &str = include_str!("report.schema.json");

/// The name of the form.
const NAME: &str = "mainstay.report/1";

/// The version of the form. Within it names are added, and none goes or changes its meaning.
const VERSION: u32 = 1;

/// Gives the report as JSON, in the form that [`SCHEMA`] describes.
///
/// Texts are plain, with secrets masked; names in sentences stand between backticks.
pub fn json(report: &ProposalReport) -> Value {
    json!({
        "schema": NAME,
        "version": VERSION,
        "repository": report.repo,
        "proposal": report.proposal,
        "standing": match report.standing {
            Standing::Open => "open",
            Standing::Merged { .. } => "merged",
            Standing::Closed => "closed",
            Standing::Elsewhere => "elsewhere",
        },
        "head": report.head,
        "base_branch": report.base_branch,
        "base": report.base,
        "tool": report.tool,
        "verdict": verdict(report),
        "blast": blast(report, usize::MAX).map(|blast| json!({
            "touched": blast.touched,
            "in_state": blast.in_state,
            "environments": blast.environments,
            "data": blast.data,
        })),
        "conflict": report.conflict,
        "removed": report.removed,
        "notes": report.notes,
        "refusals": report.refusals.iter().map(|refusal| json!({
            "command": refusal.command, "by": refusal.by, "reason": refusal.reason,
        })).collect::<Vec<_>>(),
        "workspaces": report.workspaces.iter().map(|w| workspace(report, w)).collect::<Vec<_>>(),
    })
}

fn workspace(report: &ProposalReport, workspace: &WorkspaceReport) -> Value {
    let (progress, step, failure_of_plan) = match &workspace.progress {
        Progress::Waiting => ("waiting", None, None),
        Progress::Running(step) => ("running", Some(step), None),
        Progress::Planned(plan) if plan.errored => ("failed", None, None),
        Progress::Planned(_) => ("planned", None, None),
        Progress::Failed(why) => ("failed", None, Some(failure(why))),
        Progress::Cancelled => ("cancelled", None, None),
        Progress::Superseded => ("superseded", None, None),
        Progress::NeedsPermission => ("needs_permission", None, None),
    };
    json!({
        "name": workspace.name,
        "environment": workspace.environment,
        "path": workspace.path,
        "run": workspace.run,
        "progress": progress,
        "step": step,
        "took_ms": milliseconds(workspace.took),
        "on_merge": match workspace.on_merge {
            OnMerge::Apply => Some("apply"),
            OnMerge::HoldApproval => Some("hold"),
            OnMerge::Never => Some("never"),
            OnMerge::Undeclared => None,
        },
        "state_note": workspace.state_note,
        "warnings": diagnostics(&workspace.warnings),
        "checks": workspace.checks.iter().map(check).collect::<Vec<_>>(),
        "policies": workspace.verdict.as_ref().map(policies),
        "since": workspace.since.as_ref().map(since),
        "plan": workspace.plan().map(|plan| self::plan(plan, &report.data_types)),
        "failure": failure_of_plan,
        "after_merge": workspace.after_merge.as_ref().map(after_merge),
        "before": workspace.before,
    })
}

fn plan(plan: &Plan, types: &DataTypes) -> Value {
    let Counts {
        create,
        update,
        replace,
        destroy,
        import,
        moved,
        forget,
    } = plan.counts;
    json!({
        "has_changes": plan.has_changes(),
        "complete": plan.complete,
        "resources_in_state": plan.resources_in_state,
        "counts": {
            "create": create, "update": update, "replace": replace, "destroy": destroy,
            "import": import, "move": moved, "forget": forget,
        },
        "changes": plan.changes.iter().map(|change| json!({
            "address": change.address,
            "previous_address": change.previous_address,
            "type": change.kind,
            "action": change.action,
            "reason": change.reason,
            "import_id": change.import_id,
            "holds_data": holds_data(types, change),
            "lines": change.lines,
        })).collect::<Vec<_>>(),
        "changes_left_out": plan.left_out.changes,
        "outputs": plan.outputs,
        "checks": plan.checks.iter().map(condition).collect::<Vec<_>>(),
        "fingerprint": plan.fingerprint,
    })
}

fn condition(check: &Condition) -> Value {
    json!({"address": check.address, "status": check.status, "messages": check.messages})
}

fn check(check: &Check) -> Value {
    let (outcome, reason) = match &check.outcome {
        CheckOutcome::Passed => ("passed", None),
        CheckOutcome::Failed => ("failed", None),
        CheckOutcome::Warned => ("warned", None),
        CheckOutcome::Skipped { reason } => ("skipped", Some(reason)),
    };
    json!({
        "name": check.name,
        "outcome": outcome,
        "reason": reason,
        "diagnostics": diagnostics(&check.diagnostics),
        "tail": check.tail,
        "took_ms": milliseconds(check.took),
    })
}

fn policies(verdict: &Verdict) -> Value {
    json!({
        "judgement": match verdict.judgement() {
            Judgement::Pass => "pass",
            Judgement::Warn => "warn",
            Judgement::Hold => "hold",
            Judgement::Deny => "deny",
        },
        "evaluated": verdict.evaluated,
        "findings": verdict.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let (effect, approvals) = match finding.effect {
        Effect::Warn => ("warn", None),
        Effect::Hold => ("hold", None),
        Effect::Require { approvals } => ("require", Some(approvals)),
        Effect::Deny => ("deny", None),
    };
    json!({
        "policy": finding.policy,
        "title": finding.title,
        "effect": effect,
        "approvals": approvals,
        "message": finding.message,
        "address": finding.address,
        "remedy": finding.remedy,
        "owners": finding.owners,
        "overridden": finding.overridden.as_ref().map(|o| json!({
            "by": o.by, "reason": o.reason,
        })),
    })
}

fn since(since: &Since) -> Value {
    json!({
        "commit": since.commit,
        "same": since.sameness == Sameness::Same,
        "turns": since.turns.iter().map(|turn| json!({
            "address": turn.address, "before": turn.before, "now": turn.now,
        })).collect::<Vec<_>>(),
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "step": failure.step,
        "summary": failure.summary,
        "diagnostics": diagnostics(&failure.diagnostics),
        "tail": failure.tail,
        "advice": failure.advice,
    })
}

fn diagnostics(diagnostics: &[Diagnostic]) -> Vec<Value> {
    diagnostics
        .iter()
        .map(|diagnostic| json!(diagnostic))
        .collect()
}

fn after_merge(outcome: &AfterMerge) -> Value {
    match outcome {
        AfterMerge::Waiting => json!({"outcome": "waiting"}),
        AfterMerge::Running => json!({"outcome": "running"}),
        AfterMerge::Applied {
            plan: _,
            commit,
            took,
        } => {
            json!({"outcome": "applied", "commit": commit, "took_ms": milliseconds(*took)})
        }
        AfterMerge::NothingToApply => json!({"outcome": "nothing_to_apply"}),
        AfterMerge::Held {
            reason,
            command,
            plan: _,
        } => {
            json!({"outcome": "held", "reason": reason, "command": command})
        }
        AfterMerge::Failed {
            failure: why,
            parts,
        } => with_parts(json!({"outcome": "failed", "failure": failure(why)}), parts),
        AfterMerge::Superseded { by } => json!({"outcome": "superseded", "by": by}),
        AfterMerge::Cancelled { by, parts } => {
            with_parts(json!({"outcome": "cancelled", "by": by}), parts)
        }
        AfterMerge::Interrupted {
            parts,
            how_far,
            next,
        } => with_parts(
            json!({"outcome": "interrupted", "how_far": how_far, "next": next}),
            parts,
        ),
    }
}

/// Adds the addresses that an apply reached and those that it did not.
fn with_parts(mut outcome: Value, parts: &AppliedParts) -> Value {
    let AppliedParts {
        done,
        failed,
        not_reached,
        unknown,
    } = parts;
    outcome["applied"] = json!(done);
    outcome["failed"] = json!(failed);
    outcome["not_reached"] = json!(not_reached);
    outcome["unknown"] = json!(unknown);
    outcome
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
