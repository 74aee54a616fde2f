//! What the comment's template is given: everything decided, nothing escaped.

use serde::Serialize;

use super::fit::{Budget, Picked};
use super::markdown::file_url;
use super::verdict::{on_merge, verdict};
use super::words::{Tense, counted, diagnostic_text, listed, place, plural, took};
use super::{
    AfterMerge, Failure, OnMerge, Progress, ProposalReport, Standing, WorkspaceReport, diff,
};
use crate::plan::text::cut;
use crate::plan::{Action, Check, Counts, Plan};

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
struct Fold {
    workspace: String,
    summary: String,
    messages: String,
    messages_more: usize,
    diff: String,
    left_out: usize,
    rest: String,
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

fn cut_off<T>(mut items: Vec<T>, limit: usize) -> (Vec<T>, usize) {
    let more = items.len().saturating_sub(limit);
    items.truncate(limit);
    (items, more)
}

fn failures(report: &ProposalReport) -> Vec<FailureView> {
    let mut views = Vec::new();
    for workspace in &report.workspaces {
        for failure in failures_of(workspace) {
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

/// What failed in a workspace, before the merge or after it.
pub(super) fn failures_of(workspace: &WorkspaceReport) -> impl Iterator<Item = &Failure> {
    let before = match &workspace.progress {
        Progress::Failed(failure) => Some(failure),
        _ => None,
    };
    let after = match &workspace.after_merge {
        Some(AfterMerge::Failed { failure, .. }) => Some(failure),
        _ => None,
    };
    before.into_iter().chain(after)
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

/// The lower, the more a workspace has to be seen.
pub(super) fn urgency(workspace: &WorkspaceReport) -> u8 {
    if failures_of(workspace).next().is_some() || workspace.plan_failed() {
        return 0;
    }
    match workspace.plan() {
        Some(plan) if plan.destroys().next().is_some() => 1,
        Some(plan) if plan.has_changes() => 2,
        Some(_) => 4,
        None => 3,
    }
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

fn folds(report: &ProposalReport, budget: &Budget, picked: &Picked) -> (Vec<Fold>, usize) {
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
            .map(|i| fold(&report.workspaces[i], i, budget, picked))
            .collect(),
        more,
    )
}

fn has_details(workspace: &WorkspaceReport) -> bool {
    let plan_speaks = workspace
        .plan()
        .is_some_and(|plan| !plan.changes.is_empty() || !plan.checks.is_empty());
    plan_speaks || !workspace.warnings.is_empty() || failures_of(workspace).next().is_some()
}

fn fold(workspace: &WorkspaceReport, index: usize, budget: &Budget, picked: &Picked) -> Fold {
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
        messages,
        messages_more,
        left_out: changes.len() - shown.len(),
        diff: shown.join("\n"),
        rest: rest(workspace),
    }
}

/// The line that a fold shows while it is shut.
pub(super) fn summary(workspace: &WorkspaceReport) -> String {
    if failures_of(workspace).next().is_some() || workspace.plan_failed() {
        return "what Terraform said".to_owned();
    }
    let tense = match workspace.after_merge {
        Some(AfterMerge::Applied { .. }) => Tense::Past,
        _ => Tense::Future,
    };
    match workspace.plan() {
        Some(plan) if plan.counts != Counts::default() => counted(&plan.counts, tense).join(", "),
        Some(plan) if plan.has_changes() => "only outputs change".to_owned(),
        Some(plan) if !plan.checks.is_empty() => "no changes, with checks".to_owned(),
        _ => "what Terraform said".to_owned(),
    }
}

/// The way to what a comment has no room for.
fn rest(workspace: &WorkspaceReport) -> String {
    match workspace.run {
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
    for failure in failures_of(workspace) {
        blocks.extend(failure.diagnostics.iter().map(diagnostic_text));
        if !failure.tail.trim().is_empty() {
            blocks.push(format!("{}\n", failure.tail.trim_end()));
        }
    }
    if let Some(plan) = workspace.plan() {
        blocks.extend(plan.checks.iter().map(check_text));
    }
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
    let mut text = format!("Check: {} {status}\n", check.address);
    for line in check.messages.iter().flat_map(|message| message.lines()) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// What the merge did, a sentence for each workspace.
fn outcomes(report: &ProposalReport, limit: usize) -> Vec<Outcome> {
    let mut order: Vec<&WorkspaceReport> = report
        .workspaces
        .iter()
        .filter(|w| w.after_merge.is_some())
        .collect();
    order.sort_by_key(|w| matters(w.after_merge.as_ref()));
    order.into_iter().map(|w| outcome(w, limit)).collect()
}

/// The lower, the sooner a person has to do something.
fn matters(outcome: Option<&AfterMerge>) -> u8 {
    match outcome {
        Some(AfterMerge::Failed { .. }) => 0,
        Some(AfterMerge::Interrupted { .. }) => 1,
        Some(AfterMerge::Held { .. }) => 2,
        Some(AfterMerge::Cancelled { .. }) => 3,
        _ => 4,
    }
}

/// How the merge came out for a workspace.
#[derive(Serialize)]
pub(super) struct Outcome {
    /// In a sentence, names between backticks.
    pub(super) sentence: String,
    /// Which resources it reached and which not.
    pub(super) lists: Vec<Addresses>,
}

/// Addresses with what they have in common.
#[derive(Serialize)]
pub(super) struct Addresses {
    pub(super) word: &'static str,
    pub(super) names: Vec<String>,
    pub(super) more: usize,
}

pub(super) fn outcome(workspace: &WorkspaceReport, limit: usize) -> Outcome {
    let name = &workspace.name;
    let mut lists = Vec::new();
    let sentence = match &workspace.after_merge {
        None | Some(AfterMerge::Waiting) => format!("`{name}` waits for its turn"),
        Some(AfterMerge::Running) => format!("`{name}` is being planned again and applied"),
        Some(AfterMerge::Applied {
            plan,
            commit,
            took: time,
        }) => {
            let words = match counted(&plan.counts, Tense::Past) {
                words if words.is_empty() => "outputs only".to_owned(),
                words => words.join(", "),
            };
            format!(
                "`{name}` is applied at `{}` in {}: {words}",
                commit.short(),
                took(*time)
            )
        }
        Some(AfterMerge::NothingToApply) => format!("`{name}`: there was nothing to apply"),
        Some(AfterMerge::Held {
            reason, command, ..
        }) => {
            let reason = reason.trim_end_matches('.');
            format!(
                "`{name}` is held: {reason}. `{}` lets it go",
                command.replace('`', "")
            )
        }
        Some(AfterMerge::Failed {
            failure,
            applied,
            failed,
            not_reached,
        }) => {
            for (word, addresses) in [
                ("applied before", applied),
                ("failed", failed),
                ("not reached", not_reached),
            ] {
                if !addresses.is_empty() {
                    let (names, more) = cut_off(addresses.clone(), limit);
                    lists.push(Addresses { word, names, more });
                }
            }
            format!("`{name}` failed: `{}`", failure.step.replace('`', "'"))
        }
        Some(AfterMerge::Superseded { by }) => format!("`{name}` is superseded by {by}"),
        Some(AfterMerge::Cancelled { by }) => {
            format!("`{name}` was cancelled by `{}`", by.replace('`', "'"))
        }
        Some(AfterMerge::Interrupted { next }) => {
            format!("`{name}` was interrupted, and how far it came is not known: {next}")
        }
    };
    Outcome { sentence, lists }
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
        w.on_merge == OnMerge::HoldApproval
            || matches!(
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
