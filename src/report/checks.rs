//! What was checked before the plan, and what the plan's own checks say.

use serde::Serialize;

use super::words::{Place, diagnostic_text, indented, place_of, tail_text, took};
use super::{Check, CheckOutcome, ProposalReport, WorkspaceReport};
use crate::plan::Severity;
use crate::plan::text::legible;

/// A check that did not pass, as the template shows it.
#[derive(Serialize)]
pub(super) struct CheckView {
    pub(super) workspace: String,
    pub(super) name: String,
    /// `failed` or `warned`, or what Terraform says of a condition.
    pub(super) word: &'static str,
    pub(super) message: Option<String>,
    pub(super) place: Option<Place>,
    /// So much more it said.
    pub(super) more: usize,
}

/// A check in a few words, for the fold.
#[derive(Serialize)]
pub(super) struct CheckWord {
    pub(super) name: String,
    pub(super) word: String,
    pub(super) reason: Option<String>,
}

/// A warning in a line.
#[derive(Serialize)]
pub(super) struct WarningView {
    pub(super) workspace: String,
    pub(super) summary: String,
    pub(super) place: Option<Place>,
}

/// Everything that was checked and did not pass, failures first.
pub(super) fn failed(report: &ProposalReport) -> Vec<CheckView> {
    let mut all = Vec::new();
    for workspace in &report.workspaces {
        for check in &workspace.checks {
            match check.outcome {
                CheckOutcome::Failed => all.push((0, view(report, workspace, check, "failed"))),
                CheckOutcome::Warned => all.push((2, view(report, workspace, check, "warned"))),
                CheckOutcome::Passed | CheckOutcome::Skipped { .. } => {}
            }
        }
        let conditions = workspace.plan().into_iter().flat_map(|plan| &plan.checks);
        for condition in conditions.filter(|condition| condition.status != "unknown") {
            let view = CheckView {
                workspace: workspace.name.to_string(),
                name: condition.address.clone(),
                word: "failed",
                message: condition.messages.first().cloned(),
                place: None,
                more: condition.messages.len().saturating_sub(1),
            };
            all.push((1, view));
        }
    }
    all.sort_by_key(|(weight, _)| *weight);
    all.into_iter().map(|(_, view)| view).collect()
}

fn view(
    report: &ProposalReport,
    workspace: &WorkspaceReport,
    check: &Check,
    word: &'static str,
) -> CheckView {
    let first = check
        .diagnostics
        .iter()
        .find(|d| d.severity == Severity::Error)
        .or(check.diagnostics.first());
    let last_line = check
        .tail
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty());
    CheckView {
        workspace: workspace.name.to_string(),
        name: check.name.clone(),
        word,
        message: first
            .map(|d| d.summary.clone())
            .or(last_line.map(|line| line.trim().to_owned())),
        place: first.and_then(|d| place_of(report, &workspace.path, &report.head, d)),
        more: check.diagnostics.len().saturating_sub(1),
    }
}

/// How each check of a workspace went.
pub(super) fn words(workspace: &WorkspaceReport) -> Vec<CheckWord> {
    let checks = workspace.checks.iter();
    checks
        .map(|check| CheckWord {
            name: check.name.clone(),
            word: match &check.outcome {
                CheckOutcome::Passed => format!("passed in {}", took(check.took)),
                CheckOutcome::Failed => format!("failed in {}", took(check.took)),
                CheckOutcome::Warned => format!("warned in {}", took(check.took)),
                CheckOutcome::Skipped { .. } => "was skipped".to_owned(),
            },
            reason: match &check.outcome {
                CheckOutcome::Skipped { reason } => Some(reason.clone()),
                _ => None,
            },
        })
        .collect()
}

/// What a check that did not pass said, as a block of text. Set in, so that no line of it is
/// taken for one of ours.
pub(super) fn block(check: &Check) -> Option<String> {
    let word = match check.outcome {
        CheckOutcome::Failed => "failed",
        CheckOutcome::Warned => "warned",
        CheckOutcome::Passed | CheckOutcome::Skipped { .. } => return None,
    };
    let mut text = format!("Check {} {word}\n", legible(&check.name));
    for diagnostic in &check.diagnostics {
        text.push_str(&indented(&diagnostic_text(diagnostic)));
    }
    if !check.tail.trim().is_empty() {
        text.push_str(&indented(&tail_text(&check.tail)));
    }
    Some(text)
}

/// Terraform's warnings, in a line each.
pub(super) fn warnings(report: &ProposalReport) -> Vec<WarningView> {
    let of = |workspace: &WorkspaceReport| -> Vec<WarningView> {
        let warnings = workspace.warnings.iter();
        warnings
            .map(|warning| WarningView {
                workspace: workspace.name.to_string(),
                summary: warning.summary.clone(),
                place: place_of(report, &workspace.path, &report.head, warning),
            })
            .collect()
    };
    report.workspaces.iter().flat_map(of).collect()
}
