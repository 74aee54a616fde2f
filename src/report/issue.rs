//! The bodies of the issues: drift of a workspace, and a hold without a pull request.

use serde::Serialize;

use super::blast::holds_data;
use super::comment::{marked, room_beside};
use super::fit::length;
use super::outcome::{Outcome, outcome};
use super::templates::{Set, Templates};
use super::words::{Tense, counted, diagnostic_text, plural, tail_text};
use super::{AfterMerge, OnMerge, Progress, ReportError, WorkspaceReport, diff};
use crate::id::{BranchName, CommitSha, WorkspaceName};
use crate::plan::{Action, Change, DataTypes, Diagnostic, Plan};

/// What is to be said of a workspace that drifted, or drifts no longer.
#[derive(Debug, Clone)]
pub struct DriftReport {
    /// The first line of the issue.
    pub marker: String,
    /// The workspace.
    pub workspace: WorkspaceName,
    /// The environment that it belongs to.
    pub environment: Option<String>,
    /// The commit that is applied.
    pub commit: CommitSha,
    /// The branch that is kept true.
    pub branch: BranchName,
    /// A refresh-only plan at that commit.
    pub plan: Plan,
}

/// What is to be said of a change that waits for a person and has no pull request.
#[derive(Debug, Clone)]
pub struct HoldReport {
    /// The first line of the issue.
    pub marker: String,
    /// The workspace.
    pub workspace: WorkspaceName,
    /// The environment that it belongs to.
    pub environment: Option<String>,
    /// The commit that is to be applied.
    pub commit: CommitSha,
    /// The branch that is kept true.
    pub branch: BranchName,
    /// How it stands.
    pub outcome: AfterMerge,
    /// What came before its plan, in sentences; names between backticks.
    pub before: Vec<String>,
    /// What Terraform warned of.
    pub warnings: Vec<Diagnostic>,
    /// Which types of resources hold data.
    pub data_types: DataTypes,
}

/// The sizes that are tried for the diff and the messages of an issue, in characters.
const SIZES: [usize; 5] = [55_000, 40_000, 20_000, 5_000, 0];

/// So many destroyed or replaced resources are listed in an issue.
const LOSSES: usize = 50;

/// So many addresses are listed of those that were applied, failed or not reached.
const ADDRESSES: usize = 30;

/// The variables of `drift.tera` and `hold.tera`; their heads say what each is.
#[derive(Serialize)]
pub(super) struct View {
    workspace: String,
    environment: Option<String>,
    commit: String,
    branch: String,
    drifts: bool,
    outcome: Option<Outcome>,
    failed: Option<String>,
    advice: Option<String>,
    summary: String,
    losses: Vec<Loss>,
    losses_more: usize,
    outputs: String,
    outputs_more: usize,
    messages: String,
    messages_more: usize,
    diff: String,
    left_out: usize,
    command: String,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Loss {
    address: String,
    replaced: bool,
    reason: Option<String>,
    holds_data: bool,
}

/// Renders the body of a drift issue, in Markdown, of at most [`super::BODY_LIMIT`] characters.
///
/// # Errors
///
/// As [`super::comment`].
pub fn drift_issue(report: &DriftReport, templates: &Templates) -> Result<String, ReportError> {
    render("drift", &report.marker, templates, |size, notes| {
        drift_view(report, size, notes)
    })
}

/// The variables of a drift issue with at most `size` characters in each of its parts.
pub(super) fn drift_view(report: &DriftReport, size: usize, notes: &[String]) -> View {
    let changes = report.plan.drift.as_slice();
    let (diff, left_out) = blocks(changes.iter().map(diff::drift_block), size);
    let left_out = left_out + report.plan.left_out.drift;
    let (outputs, outputs_more) = outputs(&report.plan, size);
    View {
        workspace: report.workspace.to_string(),
        environment: report.environment.clone(),
        commit: report.commit.short().to_owned(),
        branch: report.branch.to_string(),
        drifts: report.plan.has_drift(),
        outcome: None,
        failed: None,
        advice: None,
        summary: drift_summary(&report.plan),
        losses: Vec::new(),
        losses_more: 0,
        outputs,
        outputs_more,
        messages: String::new(),
        messages_more: 0,
        diff,
        left_out,
        command: format!("mainstay apply {}", report.workspace),
        notes: notes.to_vec(),
    }
}

/// Renders the body of a hold issue, in Markdown, of at most [`super::BODY_LIMIT`] characters.
///
/// # Errors
///
/// As [`super::comment`].
pub fn hold_issue(report: &HoldReport, templates: &Templates) -> Result<String, ReportError> {
    render("hold", &report.marker, templates, |size, notes| {
        hold_view(report, size, notes)
    })
}

/// The variables of a hold issue with at most `size` characters in each of its parts.
pub(super) fn hold_view(report: &HoldReport, size: usize, notes: &[String]) -> View {
    let workspace = as_workspace(report);
    let plan = workspace.plan();
    let failed = match &report.outcome {
        AfterMerge::Failed { failure, .. } => Some(failure),
        _ => None,
    };
    let mut losses: Vec<&Change> = plan.into_iter().flat_map(Plan::destroys).collect();
    losses.sort_by_key(|change| diff::rank(change.action));
    let mut changes: Vec<&Change> = plan.into_iter().flat_map(|p| &p.changes).collect();
    changes.sort_by_key(|change| diff::rank(change.action));
    let (diff, left_out) = blocks(changes.into_iter().map(diff::block), size / 2);
    let left_out = left_out + plan.map_or(0, |plan| plan.left_out.changes);
    let said = failed
        .into_iter()
        .flat_map(|f| &f.diagnostics)
        .chain(&report.warnings);
    let tail = failed
        .filter(|f| !f.tail.trim().is_empty())
        .map(|f| tail_text(&f.tail));
    let texts = said.map(diagnostic_text).chain(tail);
    let (messages, messages_more) = blocks(texts, size / 4);
    let (outputs, outputs_more) = plan.map(|plan| outputs(plan, size / 4)).unwrap_or_default();
    View {
        workspace: report.workspace.to_string(),
        environment: report.environment.clone(),
        commit: report.commit.short().to_owned(),
        branch: report.branch.to_string(),
        drifts: false,
        outcome: Some(outcome(&workspace, size.min(ADDRESSES))),
        failed: failed.map(|failure| failure.summary.clone()),
        advice: failed.and_then(|failure| failure.advice.clone()),
        summary: plan
            .map(|p| counted(&p.counts, Tense::Future).join(", "))
            .unwrap_or_default(),
        losses: losses
            .iter()
            .take(LOSSES)
            .map(|change| Loss {
                address: change.address.clone(),
                replaced: change.action == Action::Replace,
                reason: change.reason.clone(),
                holds_data: holds_data(&report.data_types, change),
            })
            .collect(),
        losses_more: losses.len().saturating_sub(LOSSES)
            + plan.map_or(0, |plan| plan.left_out.losses()),
        outputs,
        outputs_more,
        messages,
        messages_more,
        diff,
        left_out,
        command: format!("mainstay apply {}", report.workspace),
        notes: notes.to_vec(),
    }
}

/// The hold as a comment would know it, for the words that both share.
fn as_workspace(report: &HoldReport) -> WorkspaceReport {
    WorkspaceReport {
        name: report.workspace.clone(),
        environment: report.environment.clone(),
        path: String::new(),
        run: None,
        progress: Progress::Waiting,
        warnings: Vec::new(),
        checks: Vec::new(),
        verdict: None,
        took: std::time::Duration::ZERO,
        on_merge: OnMerge::HoldApproval,
        state_note: None,
        since: None,
        after_merge: Some(report.outcome.clone()),
        reviewed: None,
        before: report.before.clone(),
    }
}

fn drift_summary(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if plan.drifted() > 0 {
        let verb = if plan.drifted() == 1 {
            "differs"
        } else {
            "differ"
        };
        parts.push(format!("{} {verb}", plural(plan.drifted(), "resource")));
    }
    if !plan.outputs.is_empty() {
        parts.push(format!(
            "{} would change",
            plural(plan.outputs.len(), "output")
        ));
    }
    parts.join(" · ")
}

fn outputs(plan: &Plan, size: usize) -> (String, usize) {
    let texts = plan.outputs.iter().map(|output| {
        output
            .lines
            .iter()
            .map(|line| format!("{}\n", diff::line(line)))
            .collect()
    });
    let (text, more) = blocks(texts, size);
    (text.replace("\n\n", "\n"), more)
}

/// Whole blocks of text up to a size, an empty line between two, and how many are left out.
fn blocks(texts: impl Iterator<Item = String>, size: usize) -> (String, usize) {
    let (mut all, mut used, mut left_out) = (String::new(), 0, 0);
    for text in texts {
        let length = length(&text) + 1;
        if used + length > size {
            left_out += 1;
            continue;
        }
        used += length;
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&text);
    }
    (all, left_out)
}

fn render(
    template: &'static str,
    marker: &str,
    templates: &Templates,
    view: impl Fn(usize, &[String]) -> View,
) -> Result<String, ReportError> {
    let limit = room_beside(marker)?;
    let body = templates.render(|set: &Set<'_>| {
        for size in SIZES {
            let body = set.render(template, &view(size, &set.notes))?;
            if length(&body) <= limit {
                return Ok(body);
            }
        }
        Err(ReportError::TooLong { template })
    })?;
    Ok(marked(marker, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_left_out_whole() {
        let texts = ["aaaa\n", "bbbbbbbbbbbb\n", "cc\n"].map(str::to_owned);
        let (text, left_out) = blocks(texts.into_iter(), 12);
        assert_eq!((text.as_str(), left_out), ("aaaa\n\ncc\n", 1));
    }
}
