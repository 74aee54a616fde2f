//! Commit statuses: a light and a few words.

use serde::Serialize;

use super::templates::Templates;
use super::verdict::verdict;
use super::{Progress, ProposalReport, ReportError, WorkspaceReport};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// Not decided yet.
    Pending,
    /// Good.
    Good,
    /// Decided, and not good.
    Bad,
}

/// What is to be said of a commit's applies: the variables of `apply-status.tera`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplyWords {
    /// The light.
    pub light: Light,
    /// The workspaces whose apply failed or was cancelled.
    pub not_applied: Vec<String>,
    /// Those that are applied, or wait for it.
    pub applying: Vec<String>,
    /// Those that wait for a person.
    pub held: Vec<String>,
    /// Those whose change was reverted before it was applied.
    pub superseded: Vec<String>,
    /// Those that are at the commit.
    pub applied: Vec<String>,
    /// Later commits that they were brought to, in short.
    pub with: Vec<String>,
}

/// The variables of `plan-status.tera`.
#[derive(Serialize)]
pub(super) struct PlanWords {
    light: Light,
    verdict: String,
    workspaces: usize,
}

/// The status of a proposal's plan. It is good only where every workspace is planned to the end,
/// no check failed and no policy denies.
///
/// # Errors
///
/// [`ReportError::Template`] where a built-in template is broken.
pub fn plan_status(
    report: &ProposalReport,
    templates: &Templates,
) -> Result<StatusText, ReportError> {
    let words = plan_words(report);
    let text = templates.render(|set| set.render("plan-status", &words))?;
    Ok(StatusText {
        light: words.light,
        description: shortened(&text),
    })
}

/// The status of a commit's applies.
///
/// # Errors
///
/// [`ReportError::Template`] where a built-in template is broken.
pub fn apply_status(words: &ApplyWords, templates: &Templates) -> Result<StatusText, ReportError> {
    let text = templates.render(|set| set.render("apply-status", words))?;
    Ok(StatusText {
        light: words.light,
        description: shortened(&text),
    })
}

pub(super) fn plan_words(report: &ProposalReport) -> PlanWords {
    PlanWords {
        light: light(report),
        // A status is plain text: backticks would show.
        verdict: verdict(report).replace('`', ""),
        workspaces: report.workspaces.len(),
    }
}

fn light(report: &ProposalReport) -> Light {
    let lights = || report.workspaces.iter().map(light_of);
    if report.conflict.is_some() || lights().any(|light| light == Light::Bad) {
        Light::Bad
    } else if lights().all(|light| light == Light::Good) {
        Light::Good
    } else {
        Light::Pending
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

/// One line within the limit.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = legible(&line);
    if line.chars().count() <= DESCRIPTION_LIMIT {
        return line.into_owned();
    }
    let kept: String = line.chars().take(DESCRIPTION_LIMIT - 1).collect();
    format!("{kept}…")
}
