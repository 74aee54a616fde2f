//! What the comment's template is given: everything decided, nothing escaped.

use serde::Serialize;

use super::blast::{Blast, blast, holds_data};
use super::checks::{self, CheckView, WarningView};
use super::fit::{Budget, Picked};
use super::fold::{Fold, folds};
use super::outcome::{Outcome, outcomes};
use super::policies::{self, FindingView};
use super::since::{SinceView, since};
use super::table::{Columns, Row, rows};
use super::verdict::{on_merge, verdict};
use super::words::{Place, cut_off, listed, place_of, plural};
use super::{AfterMerge, Progress, ProposalReport, Standing, WorkspaceReport, diff};
use crate::id::{CommitSha, ProposalKey};
use crate::plan::Action;
use crate::run::Failure;

/// So many workspaces are named in a sentence.
const NAMES: usize = 8;

/// So many addresses are named of those that hold data.
const DATA_NAMED: usize = 5;

/// The variables of `comment.tera`; its head says what each is.
#[derive(Serialize)]
pub(super) struct View {
    heading: String,
    conflicts: Vec<String>,
    conflicts_more: usize,
    failures: Vec<FailureView>,
    failures_more: usize,
    losses: Vec<Loss>,
    losses_more: usize,
    findings: Vec<FindingView>,
    findings_more: usize,
    columns: Columns,
    rows: Vec<Row>,
    rows_more: usize,
    blast: Option<Blast>,
    since: Vec<SinceView>,
    outputs: String,
    outputs_more: usize,
    folds: Vec<Fold>,
    folds_more: usize,
    checks: Vec<CheckView>,
    checks_more: usize,
    warnings: Vec<WarningView>,
    warnings_more: usize,
    outcomes: Vec<Outcome>,
    outcomes_more: usize,
    on_merge: Option<String>,
    removed: Option<String>,
    notes: Vec<String>,
    refusals: Vec<RefusalView>,
    help: Vec<HelpView>,
    again: Option<String>,
    head: String,
    base_branch: String,
    base: String,
    tool: String,
}

#[derive(Serialize)]
struct HelpView {
    form: String,
    meaning: String,
}

#[derive(Serialize)]
struct FailureView {
    workspace: String,
    step: String,
    summary: String,
    place: Option<Place>,
    advice: Option<String>,
}

#[derive(Serialize)]
struct Loss {
    workspace: String,
    address: String,
    replaced: bool,
    to_come: bool,
    reason: Option<String>,
    holds_data: bool,
}

#[derive(Serialize)]
struct RefusalView {
    command: String,
    by: String,
    reason: String,
}

/// Decides what the comment shows within `budget`, with the changes in `picked`; `more_notes`
/// stand among those of the report.
pub(super) fn view(
    report: &ProposalReport,
    budget: &Budget,
    picked: &Picked,
    more_notes: &[String],
) -> View {
    let (failures, failures_more) = cut_off(failures(report), budget.list);
    let (losses, losses_more) = cut_off(losses(report), budget.losses);
    let losses_more = losses_more + losses_left_out(report);
    let (findings, findings_more) = cut_off(policies::grave(report), budget.list);
    let (rows, rows_more) = rows(report, budget.rows);
    let (outputs, outputs_more) = outputs(report, budget.output_lines);
    let (folds, folds_more) = folds(report, budget, picked);
    let (checks, checks_more) = cut_off(checks::failed(report), budget.list);
    let (warnings, warnings_more) = cut_off(checks::warnings(report), budget.list.min(WARNINGS));
    let (outcomes, outcomes_more) = cut_off(outcomes(report, budget.list), budget.rows);
    let conflicts = report.conflict.clone().unwrap_or_default();
    let (conflicts, conflicts_more) = cut_off(conflicts, budget.list);
    View {
        heading: verdict(report),
        conflicts,
        conflicts_more,
        failures,
        failures_more,
        losses,
        losses_more,
        findings,
        findings_more,
        columns: Columns::of(&rows),
        rows,
        rows_more,
        blast: blast(report, budget.list.min(DATA_NAMED)),
        since: since(report, budget.list.min(SINCE)),
        outputs,
        outputs_more,
        folds,
        folds_more,
        checks,
        checks_more,
        warnings,
        warnings_more,
        outcomes,
        outcomes_more,
        on_merge: on_merge(report, NAMES),
        removed: removed(report, NAMES),
        notes: notes(report, more_notes, budget.list),
        refusals: refusals(report, budget.list),
        help: report
            .help
            .iter()
            .map(|(form, meaning)| HelpView {
                form: form.clone(),
                meaning: meaning.clone(),
            })
            .collect(),
        again: again(report),
        head: report.head.short().to_owned(),
        base_branch: report.base_branch.to_string(),
        base: report.base.short().to_owned(),
        tool: report.tool.clone(),
    }
}

/// So many warnings are told outside of the folds, where all of them are.
const WARNINGS: usize = 5;

/// So many resources are named of those that changed since the last push.
const SINCE: usize = 10;

fn failures(report: &ProposalReport) -> Vec<FailureView> {
    let applied = match &report.standing {
        Standing::Merged { commit } => commit,
        Standing::Open | Standing::Closed | Standing::Elsewhere => &report.head,
    };
    let mut views = Vec::new();
    for workspace in &report.workspaces {
        let in_plan = match &workspace.progress {
            Progress::Failed(failure) => Some(failure),
            _ => None,
        };
        for failure in workspace.failures() {
            let commit = if in_plan == Some(failure) {
                &report.head
            } else {
                applied
            };
            views.push(failure_view(report, workspace, failure, commit));
        }
        if let Progress::Planned(plan) = &workspace.progress
            && plan.errored
        {
            views.push(FailureView {
                workspace: workspace.name.to_string(),
                step: "plan".to_owned(),
                summary: "Terraform stopped half way: what the plan would do is not known"
                    .to_owned(),
                place: None,
                advice: None,
            });
        }
    }
    views
}

fn failure_view(
    report: &ProposalReport,
    workspace: &WorkspaceReport,
    failure: &Failure,
    commit: &CommitSha,
) -> FailureView {
    let first = failure.diagnostics.first();
    FailureView {
        workspace: workspace.name.to_string(),
        step: failure.step.clone(),
        summary: failure.summary.clone(),
        place: first.and_then(|diagnostic| place_of(report, &workspace.path, commit, diagnostic)),
        advice: failure.advice.clone(),
    }
}

/// How many losses are not listed, since their plan is too large.
fn losses_left_out(report: &ProposalReport) -> usize {
    let plans = report.workspaces.iter().filter_map(WorkspaceReport::plan);
    plans.map(|plan| plan.left_out.losses()).sum()
}

fn losses(report: &ProposalReport) -> Vec<Loss> {
    let mut losses: Vec<((bool, u8), Loss)> = report
        .workspaces
        .iter()
        .filter_map(|workspace| Some((workspace, workspace.plan()?)))
        .flat_map(|(workspace, plan)| {
            plan.destroys().map(|change| {
                let loss = Loss {
                    workspace: workspace.name.to_string(),
                    address: change.address.clone(),
                    replaced: change.action == Action::Replace,
                    to_come: workspace.is_to_come(),
                    reason: change.reason.clone(),
                    holds_data: holds_data(&report.data_types, change),
                };
                ((!loss.holds_data, diff::rank(change.action)), loss)
            })
        })
        .collect();
    // What loses data comes first, then what is only destroyed, should the list be cut.
    losses.sort_by_key(|(weight, _)| *weight);
    losses.into_iter().map(|(_, loss)| loss).collect()
}

/// Outputs that change, as lines of a difference under a header for each workspace.
fn outputs(report: &ProposalReport, limit: usize) -> (String, usize) {
    let (mut text, mut lines, mut more) = (String::new(), 0, 0);
    for workspace in &report.workspaces {
        let Some(plan) = workspace.plan() else {
            continue;
        };
        let mut header = Some(format!("# {}\n", workspace.name));
        for output in &plan.outputs {
            if lines + output.lines.len() > limit {
                more += 1;
                continue;
            }
            text.push_str(&header.take().unwrap_or_default());
            lines += output.lines.len();
            for line in &output.lines {
                text.push_str(&diff::line(line));
                text.push('\n');
            }
        }
    }
    (text, more)
}

/// What to do about workspaces whose folder is gone.
pub(super) fn removed(report: &ProposalReport, limit: usize) -> Option<String> {
    if report.removed.is_empty() {
        return None;
    }
    let names: Vec<String> = report
        .removed
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    Some(format!(
        "The folder of {} is gone. Nothing is destroyed by that: what it manages stays in the world. \
         To destroy it, put the folder back with its resources taken out and merge that first; \
         to leave it, take the workspace out of the declarations.",
        listed(&names, limit)
    ))
}

fn notes(report: &ProposalReport, more_notes: &[String], limit: usize) -> Vec<String> {
    let of_workspaces = report.workspaces.iter().filter_map(|workspace| {
        workspace
            .state_note
            .as_ref()
            .map(|note| format!("`{}`: {note}", workspace.name))
    });
    let first = more_notes.iter().chain(&report.notes).cloned();
    let all: Vec<String> = first.chain(of_workspaces).collect();
    let (mut kept, more) = cut_off(all, limit);
    if more > 0 {
        kept.push(format!("{} left out", plural(more, "note")));
    }
    kept
}

fn refusals(report: &ProposalReport, limit: usize) -> Vec<RefusalView> {
    let skip = report.refusals.len().saturating_sub(limit);
    let newest = report.refusals.iter().skip(skip);
    newest
        .map(|refusal| RefusalView {
            command: refusal.command.clone(),
            by: refusal.by.clone(),
            reason: refusal.reason.clone(),
        })
        .collect()
}

/// The command to type next, where there is one.
fn again(report: &ProposalReport) -> Option<String> {
    let waits = report.workspaces.iter().any(|w| {
        matches!(
            w.after_merge,
            Some(AfterMerge::Held { .. } | AfterMerge::Failed { .. })
        )
    });
    let pull = match report.proposal {
        None => return None,
        Some(ProposalKey::Pull(_)) => true,
        Some(ProposalKey::Branch(_)) => false,
    };
    match report.standing {
        Standing::Open if pull => Some("Plan again: `mainstay plan`".to_owned()),
        Standing::Merged { .. } if waits && pull => Some("Apply: `mainstay apply`".to_owned()),
        // A branch has no comments: there only the command line is asked.
        Standing::Merged { .. } if waits => {
            Some("Apply, on the machine that Mainstay runs on: `mainstay apply`".to_owned())
        }
        Standing::Open | Standing::Merged { .. } | Standing::Closed | Standing::Elsewhere => None,
    }
}
