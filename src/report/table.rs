//! The table: a row for each workspace.

use serde::Serialize;

use super::fit::urgency;
use super::words::{plural, took};
use super::{AfterMerge, Progress, ProposalReport, WorkspaceReport, policies};
use crate::plan::{Counts, Plan};

/// A row of the table.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) workspace: String,
    pub(super) environment: Option<String>,
    pub(super) create: usize,
    pub(super) change: usize,
    pub(super) replace: usize,
    pub(super) destroy: usize,
    pub(super) import: usize,
    pub(super) moved: usize,
    pub(super) forget: usize,
    pub(super) policies: Option<String>,
    pub(super) note: String,
}

/// Which of the rarer columns have something in them.
#[derive(Serialize)]
pub(super) struct Columns {
    pub(super) environment: bool,
    pub(super) import: bool,
    pub(super) moved: bool,
    pub(super) forget: bool,
    pub(super) policies: bool,
}

impl Columns {
    /// The columns that some row has something in.
    pub(super) fn of(rows: &[Row]) -> Self {
        let any = |test: fn(&Row) -> bool| rows.iter().any(test);
        Self {
            environment: any(|row| row.environment.is_some()),
            import: any(|row| row.import > 0),
            moved: any(|row| row.moved > 0),
            forget: any(|row| row.forget > 0),
            policies: any(|row| row.policies.is_some()),
        }
    }
}

/// The rows, the most urgent ones where there are too many, and how many are left out.
pub(super) fn rows(report: &ProposalReport, limit: usize) -> (Vec<Row>, usize) {
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
        import: counts.import,
        moved: counts.moved,
        forget: counts.forget,
        policies: workspace.verdict.as_ref().map(policies::cell),
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
    let mut parts = Vec::new();
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
