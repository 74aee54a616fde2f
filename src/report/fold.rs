//! The folds of a comment: what Terraform said, and every change with its lines.

use serde::Serialize;

use super::checks::{self, CheckWord};
use super::fit::{Budget, Picked, urgency};
use super::policies::{self, FindingView};
use super::words::{Place, Tense, counted, cut_off, diagnostic_text, place_of, tail_text};
use super::{AfterMerge, CheckOutcome, ProposalReport, WorkspaceReport, diff};
use crate::plan::text::{cut, legible};
use crate::plan::{Check, Counts};

/// What stands in the fold of one workspace.
#[derive(Serialize)]
pub(super) struct Fold {
    workspace: String,
    summary: String,
    checks: Vec<CheckWord>,
    policies: Vec<FindingView>,
    places: Vec<Place>,
    messages: String,
    messages_more: usize,
    diff: String,
    left_out: usize,
    rest: String,
}

/// The folds, the most urgent ones where there are too many, and how many are left out.
pub(super) fn folds(
    report: &ProposalReport,
    budget: &Budget,
    picked: &Picked,
) -> (Vec<Fold>, usize) {
    let mut order: Vec<usize> = (0..report.workspaces.len())
        .filter(|&i| has_details(&report.workspaces[i]))
        .collect();
    let more = order.len().saturating_sub(budget.folds);
    if more > 0 {
        order.sort_by_key(|&i| urgency(&report.workspaces[i]));
        order.truncate(budget.folds);
        order.sort_unstable();
    }
    (
        order
            .into_iter()
            .map(|i| fold(report, i, budget, picked))
            .collect(),
        more,
    )
}

fn has_details(workspace: &WorkspaceReport) -> bool {
    let plan_speaks = workspace
        .plan()
        .is_some_and(|plan| !plan.changes.is_empty() || !plan.checks.is_empty());
    let check_speaks = workspace
        .checks
        .iter()
        .any(|check| !matches!(check.outcome, CheckOutcome::Passed));
    let policy_speaks = workspace
        .verdict
        .as_ref()
        .is_some_and(|verdict| !verdict.findings.is_empty());
    plan_speaks
        || check_speaks
        || policy_speaks
        || !workspace.warnings.is_empty()
        || workspace.failures().next().is_some()
}

fn fold(report: &ProposalReport, index: usize, budget: &Budget, picked: &Picked) -> Fold {
    let workspace = &report.workspaces[index];
    let (messages, messages_more) = messages(workspace, budget.message_chars);
    let changes = workspace
        .plan()
        .map(|plan| plan.changes.as_slice())
        .unwrap_or_default();
    let shown: Vec<String> = changes
        .iter()
        .enumerate()
        .filter(|(i, _)| picked.has(index, *i))
        .map(|(_, change)| diff::block(change))
        .collect();
    Fold {
        workspace: workspace.name.to_string(),
        summary: summary(workspace),
        checks: cut_off(checks::words(workspace), budget.list).0,
        policies: cut_off(policies::warnings(report, workspace), budget.list).0,
        places: places(report, workspace, budget.list),
        messages,
        messages_more,
        left_out: changes.len() - shown.len()
            + workspace.plan().map_or(0, |plan| plan.left_out.changes),
        diff: shown.join("\n"),
        rest: rest(workspace),
    }
}

/// The line that a fold shows while it is shut.
pub(super) fn summary(workspace: &WorkspaceReport) -> String {
    if workspace.failures().next().is_some() || workspace.plan_failed() {
        return "what Terraform said".to_owned();
    }
    let failed = workspace
        .checks
        .iter()
        .any(|c| c.outcome == CheckOutcome::Failed);
    let tense = match workspace.after_merge {
        Some(AfterMerge::Applied { .. }) => Tense::Past,
        _ => Tense::Future,
    };
    match workspace.plan() {
        Some(plan) if plan.counts != Counts::default() => counted(&plan.counts, tense).join(", "),
        Some(plan) if plan.has_changes() => "only outputs change".to_owned(),
        Some(plan) if failed || !plan.checks.is_empty() => "no changes, with checks".to_owned(),
        None if failed => "what the checks said".to_owned(),
        _ => "what Terraform said".to_owned(),
    }
}

/// The places in the workspace's files that its messages are about, where they can be linked.
fn places(report: &ProposalReport, workspace: &WorkspaceReport, limit: usize) -> Vec<Place> {
    let of_failures = workspace.failures().flat_map(|f| &f.diagnostics);
    let of_checks = workspace.checks.iter().flat_map(|c| &c.diagnostics);
    let mut places: Vec<Place> = Vec::new();
    for diagnostic in of_failures.chain(of_checks).chain(&workspace.warnings) {
        if places.len() == limit {
            break;
        }
        let place = place_of(report, &workspace.path, &report.head, diagnostic);
        let new = place.filter(|p| p.url.is_some() && places.iter().all(|q| q.url != p.url));
        places.extend(new);
    }
    places
}

/// The way to what a comment has no room for.
fn rest(workspace: &WorkspaceReport) -> String {
    let kept = workspace
        .plan()
        .is_none_or(|plan| plan.left_out.is_nothing());
    match workspace.run {
        Some(run) if !kept => format!(
            "The plan is too large to be kept as a whole: `mainstay run {run}` shows what is kept, on the machine that Mainstay runs on."
        ),
        Some(run) => {
            format!("`mainstay run {run}` shows all, on the machine that Mainstay runs on.")
        }
        None => format!(
            "`mainstay dry-run --workspace {}` shows all.",
            workspace.name
        ),
    }
}

/// Errors, failed checks, warnings and the end of the output, whole messages up to a size.
fn messages(workspace: &WorkspaceReport, limit: usize) -> (String, usize) {
    let mut blocks: Vec<String> = Vec::new();
    for failure in workspace.failures() {
        blocks.extend(failure.diagnostics.iter().map(diagnostic_text));
        if !failure.tail.trim().is_empty() {
            blocks.push(tail_text(&failure.tail));
        }
    }
    if let Some(plan) = workspace.plan() {
        blocks.extend(plan.checks.iter().map(check_text));
    }
    blocks.extend(workspace.checks.iter().filter_map(checks::block));
    blocks.extend(workspace.warnings.iter().map(diagnostic_text));
    let (mut text, mut more) = (String::new(), 0);
    for block in blocks {
        let room = limit.saturating_sub(text.chars().count());
        if block.chars().count() <= room {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&block);
        } else if text.is_empty() && room > 0 {
            // One message alone is longer: its beginning is better than nothing.
            text = cut(&block, room);
        } else {
            more += 1;
        }
    }
    (text, more)
}

/// A failed check as a block of text.
pub(super) fn check_text(check: &Check) -> String {
    let status = match check.status.as_str() {
        "fail" => "failed",
        "error" => "could not be evaluated",
        "unknown" => "is known only after the apply",
        other => other,
    };
    let mut text = format!("Check: {} {}\n", legible(&check.address), legible(status));
    for line in check.messages.iter().flat_map(|message| message.lines()) {
        text.push_str(&format!("  {}\n", legible(line)));
    }
    text
}
