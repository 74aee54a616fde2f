//! The report for programs.

use serde_json::{Value, json};

use super::verdict::verdict;
use super::{
    AfterMerge, AppliedParts, Failure, OnMerge, Progress, ProposalReport, Standing, WorkspaceReport,
};
use crate::plan::{Check, Counts, Diagnostic, Plan};

/// The name of the form below. Within it names are added, and none changes its meaning.
const SCHEMA: &str = "mainstay.report/1";

/// Gives the report as JSON, in the form `mainstay.report/1`:
///
/// - `schema`, `repository`, `proposal` (`#12`, `branch x` or null), `standing` (`open`, `merged`,
///   `closed`, `elsewhere`), `head`, `base_branch`, `base`, `tool`, `verdict` (a line for people);
/// - `conflict`: null, or the files that conflict; `removed`: workspaces whose folder is gone;
///   `notes`; `refusals` of `{command, by, reason}`;
/// - `workspaces`, each `{name, environment, path, run, progress, took_ms, on_merge, state_note,
///   warnings, plan, failure, after_merge}`, where
///   - `progress` is `waiting`, `running`, `planned`, `failed`, `cancelled`, `superseded` or
///     `needs_permission`, and `step` says which step runs;
///   - `on_merge` is `apply`, `hold` or `never`, and null where no declaration says it;
///   - `plan` is null unless a whole plan is known. It has `has_changes`, `complete`, `counts`
///     `{create, update, replace, destroy, import, move, forget}`, `changes` of `{address,
///     previous_address, type, action, reason, import_id, lines}`, `outputs` of `{name, action,
///     lines}`, `checks` of `{address, status, messages}` and `fingerprint`; a line is `{sign,
///     depth, text}` with a sign of `add`, `remove`, `change` or `same`;
///   - `failure` is null or `{step, summary, diagnostics, tail, advice}`, a diagnostic being
///     `{severity, summary, detail, address, file, line, snippet}`;
///   - `after_merge` is null before the merge, else `{outcome, …}` with an outcome of `waiting`,
///     `running`, `applied` (`commit`, `took_ms`), `nothing_to_apply`, `held` (`reason`,
///     `command`), `failed` (`failure`, `applied`, `failed`, `not_reached`), `superseded` (`by`),
///     `cancelled` (`by`) or `interrupted` (`next`).
///
/// Texts are plain, with secrets masked; names in sentences stand between backticks.
pub fn json(report: &ProposalReport) -> Value {
    json!({
        "schema": SCHEMA,
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
        "conflict": report.conflict,
        "removed": report.removed,
        "notes": report.notes,
        "refusals": report.refusals.iter().map(|refusal| json!({
            "command": refusal.command, "by": refusal.by, "reason": refusal.reason,
        })).collect::<Vec<_>>(),
        "workspaces": report.workspaces.iter().map(workspace).collect::<Vec<_>>(),
    })
}

fn workspace(workspace: &WorkspaceReport) -> Value {
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
        "plan": workspace.plan().map(plan),
        "failure": failure_of_plan,
        "after_merge": workspace.after_merge.as_ref().map(after_merge),
    })
}

fn plan(plan: &Plan) -> Value {
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
            "lines": change.lines,
        })).collect::<Vec<_>>(),
        "outputs": plan.outputs,
        "checks": plan.checks.iter().map(check).collect::<Vec<_>>(),
        "fingerprint": plan.fingerprint,
    })
}

fn check(check: &Check) -> Value {
    json!({"address": check.address, "status": check.status, "messages": check.messages})
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
        AfterMerge::Interrupted { parts, next } => {
            with_parts(json!({"outcome": "interrupted", "next": next}), parts)
        }
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
