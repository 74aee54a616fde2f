//! Commit statuses: a light and a few words.

use super::verdict::verdict;
use super::{Progress, ProposalReport, WorkspaceReport};
use crate::plan::text::legible;
use crate::policy::Judgement;

/// GitHub refuses a status description of more characters than this.
const DESCRIPTION_LIMIT: usize = 140;

/// What a status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusText {
    /// Its light.
    pub light: Light,
    /// What it says, in at most 140 characters on one line.
    pub description: String,
}

/// The light of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// Not decided yet.
    Pending,
    /// Good.
    Good,
    /// Decided, and not good.
    Bad,
}

/// The status of a proposal's plan. It is good only where every workspace is planned to the end and
/// no policy denies it.
pub fn plan_status(report: &ProposalReport) -> StatusText {
    let lights = || report.workspaces.iter().map(light_of);
    let light = if report.conflict.is_some() || lights().any(|light| light == Light::Bad) {
        Light::Bad
    } else if lights().all(|light| light == Light::Good) {
        Light::Good
    } else {
        Light::Pending
    };
    // A status is plain text: backticks would show.
    let text = verdict(report).replace('`', "");
    StatusText {
        light,
        description: shortened(&legible(&text)),
    }
}

/// The light of one workspace's plan: good where it is planned to the end, no check of it failed and
/// no policy denies it.
fn light_of(workspace: &WorkspaceReport) -> Light {
    let stopped = matches!(workspace.progress, Progress::Cancelled);
    let planned = matches!(&workspace.progress, Progress::Planned(plan) if !plan.errored);
    let denied = workspace
        .verdict
        .as_ref()
        .is_some_and(|verdict| verdict.judgement() == Judgement::Deny);
    if workspace.plan_failed() || stopped || (planned && (denied || workspace.checks_failed())) {
        Light::Bad
    } else if planned {
        Light::Good
    } else {
        Light::Pending
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DESCRIPTION_LIMIT {
        return text.to_owned();
    }
    let kept: String = text.chars().take(DESCRIPTION_LIMIT - 1).collect();
    format!("{kept}…")
}
