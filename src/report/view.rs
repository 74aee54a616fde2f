//! What the comment's template is given: everything decided, nothing escaped.

use serde::Serialize;

use super::fit::{Budget, Picked, urgency};
use super::fold::{Fold, folds};
use super::markdown::file_url;
use super::outcome::{Outcome, outcomes};
use super::verdict::{on_merge, verdict};
use super::words::{Tense, counted, cut_off, listed, place, plural, took};
use super::{AfterMerge, Progress, ProposalReport, Standing, WorkspaceReport, diff};
use crate::plan::{Action, Counts, Plan};

/// So many workspaces are named in a sentence.
const NAMES: usize = 8;

/// The variables of `comment.tera`; its head says what each is.
#[derive(Serialize)]
pub(super) struct View {
    marker: String,
    heading: String,
    conflicts: Vec<String>,
    conflicts_more: usize,
    failures: Vec<FailureView>,
    failures_more: usize,
    losses: Vec<Loss>,
    losses_more: usize,
    rows: Vec<Row>,
    rows_more: usize,
    outputs: String,
    outputs_more: usize,
    folds: Vec<Fold>,
    folds_more: usize,
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
struct Place {
    text: String,
    url: Option<String>,
}

#[derive(Serialize)]
struct Loss {
    workspace: String,
    address: String,
    replaced: bool,
    to_come: bool,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Row {
    workspace: String,
    environment: Option<String>,
    create: usize,
    change: usize,
    replace: usize,
    destroy: usize,
    note: String,
}

#[derive(Serialize)]
struct RefusalView {
    command: String,
    by: String,
    reason: String,
}

/// Decides what the comment shows within `budget`, with the changes in `picked`.
pub(super) fn view(report: &ProposalReport, budget: &Budget, picked: &Picked) -> View {
    let (failures, failures_more) = cut_off(failures(report), budget.list);
    let (losses, losses_more) = cut_off(losses(report), budget.losses);
    let (rows, rows_more) = rows(report, budget.rows);
    let (outputs, outputs_more) = outputs(report, budget.output_lines);
    let (folds, folds_more) = folds(report, budget, picked);
    let (outcomes, outcomes_more) = cut_off(outcomes(report, budget.list), budget.rows);
    let conflicts = report.conflict.clone().unwrap_or_default();
    let (conflicts, conflicts_more) = cut_off(conflicts, budget.list);
    View {
        marker: report.marker.clone(),
        heading: verdict(report),
        conflicts,
        conflicts_more,
        failures,
        failures_more,
        losses,
        losses_more,
        rows,
        rows_more,
        outputs,
        outputs_more,
        folds,
        folds_more,
        outcomes,
        outcomes_more,
        on_merge: on_merge(report, NAMES),
        removed: removed(report, NAMES),
        notes: notes(report, budget.list),
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

fn failures(report: &ProposalReport) -> Vec<FailureView> {
    let mut views = Vec::new();
    for workspace in &report.workspaces {
        for failure in workspace.failures() {
            let first = failure.diagnostics.first();
            views.push(FailureView {
                workspace: workspace.name.to_string(),
                step: failure.step.clone(),
                summary: failure.summary.clone(),
                place: first.and_then(|diagnostic| {
                    let file = in_repository(&workspace.path, diagnostic.file.as_ref()?);
                    let head = report.head.as_str();
                    Some(Place {
                        text: place(diagnostic)?,
                        url: report
                            .web_url
                            .as_ref()
                            .and_then(|url| file_url(url, head, &file, diagnostic.line)),
                    })
                }),
                advice: failure.advice.clone(),
            });
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

/// A file that Terraform names is relative to the folder that it ran in.
fn in_repository(path: &str, file: &str) -> String {
    match path.trim_matches('/') {
        "" => file.to_owned(),
        path => format!("{path}/{file}"),
    }
}

fn losses(report: &ProposalReport) -> Vec<Loss> {
    let mut losses: Vec<(u8, Loss)> = report
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
                };
                (diff::rank(change.action), loss)
            })
        })
        .collect();
    // What is only destroyed comes first, should the list be cut.
    losses.sort_by_key(|(rank, _)| *rank);
    losses.into_iter().map(|(_, loss)| loss).collect()
}

fn rows(report: &ProposalReport, limit: usize) -> (Vec<Row>, usize) {
    let mut order: Vec<usize> = (0..report.workspaces.len()).collect();
    let more = order.len().saturating_sub(limit);
    if more > 0 {
        order.sort_by_key(|&i| urgency(&report.workspaces[i]));
        order.truncate(limit);
        order.sort_unstable();
    }
    (
        order
            .into_iter()
            .map(|i| row(&report.workspaces[i]))
            .collect(),
        more,
    )
}

fn row(workspace: &WorkspaceReport) -> Row {
    let counts = workspace.plan().map(|plan| plan.counts).unwrap_or_default();
    Row {
        workspace: workspace.name.to_string(),
        environment: workspace.environment.clone(),
        create: counts.create,
        change: counts.update,
        replace: counts.replace,
        destroy: counts.destroy,
        note: note(workspace),
    }
}

/// The last column of a row: what the counts do not say.
pub(super) fn note(workspace: &WorkspaceReport) -> String {
    let mut parts = Vec::new();
    match &workspace.after_merge {
        Some(AfterMerge::Waiting) => parts.push("waits to be applied".to_owned()),
        Some(AfterMerge::Running) => parts.push("is being applied".to_owned()),
        Some(AfterMerge::Applied { .. }) => parts.push("applied".to_owned()),
        Some(AfterMerge::NothingToApply) => parts.push("nothing to apply".to_owned()),
        Some(AfterMerge::Held { .. }) => parts.push("held".to_owned()),
        Some(AfterMerge::Failed { .. }) => parts.push("apply failed".to_owned()),
        Some(AfterMerge::Superseded { .. }) => parts.push("superseded".to_owned()),
        Some(AfterMerge::Cancelled { .. }) => parts.push("cancelled".to_owned()),
        Some(AfterMerge::Interrupted { .. }) => parts.push("interrupted".to_owned()),
        None => match &workspace.progress {
            Progress::Waiting => parts.push("waiting".to_owned()),
            Progress::Running(step) => parts.push(format!("running: {step}")),
            Progress::Planned(plan) if plan.errored => parts.push("plan failed".to_owned()),
            Progress::Planned(plan) => parts.extend(plan_notes(plan)),
            Progress::Failed(failure) => parts.push(format!("{} failed", failure.step)),
            Progress::Cancelled => parts.push("cancelled".to_owned()),
            Progress::Superseded => parts.push("superseded".to_owned()),
            Progress::NeedsPermission => parts.push("waits for permission".to_owned()),
        },
    }
    if !workspace.took.is_zero() {
        parts.push(took(workspace.took));
    }
    parts.join(" · ")
}

fn plan_notes(plan: &Plan) -> Vec<String> {
    let Counts {
        import,
        moved,
        forget,
        ..
    } = plan.counts;
    let rare = Counts {
        import,
        moved,
        forget,
        ..Counts::default()
    };
    let mut parts = counted(&rare, Tense::Future);
    if !plan.has_changes() {
        parts.push("no changes".to_owned());
    } else if plan.counts == Counts::default() {
        parts.push("outputs only".to_owned());
    }
    let failing = plan
        .checks
        .iter()
        .filter(|check| check.status != "unknown")
        .count();
    if failing > 0 {
        let verb = if failing == 1 { "fails" } else { "fail" };
        parts.push(format!("{} {verb}", plural(failing, "check")));
    }
    if !plan.complete {
        parts.push("only a part of the configuration".to_owned());
    }
    parts
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

fn notes(report: &ProposalReport, limit: usize) -> Vec<String> {
    let of_workspaces = report.workspaces.iter().filter_map(|workspace| {
        workspace
            .state_note
            .as_ref()
            .map(|note| format!("`{}`: {note}", workspace.name))
    });
    let all: Vec<String> = report.notes.iter().cloned().chain(of_workspaces).collect();
    let more = all.len().saturating_sub(limit);
    let mut kept: Vec<String> = all.into_iter().take(limit).collect();
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

/// The command to type next.
fn again(report: &ProposalReport) -> Option<String> {
    let held = report.workspaces.iter().any(|w| {
        matches!(
            w.after_merge,
            Some(AfterMerge::Held { .. } | AfterMerge::Failed { .. })
        )
    });
    match report.standing {
        _ if report.proposal.is_none() => None,
        Standing::Open => Some("Plan again: `mainstay plan`".to_owned()),
        Standing::Merged { .. } if held => Some("Apply: `mainstay apply`".to_owned()),
        Standing::Merged { .. } | Standing::Closed | Standing::Elsewhere => None,
    }
}
