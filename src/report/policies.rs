//! What the policies say: a word in the table, and what denies or holds outside of every fold.

use serde::Serialize;

use super::words::plural;
use super::{ProposalReport, WorkspaceReport};
use crate::id::ProposalKey;
use crate::plan::text::cut;
use crate::policy::{Effect, Finding, Judgement, Verdict};

/// A title in the table is cut after this many characters.
const TITLE_LIMIT: usize = 60;

/// A finding as the template shows it.
#[derive(Serialize)]
pub(super) struct FindingView {
    pub(super) workspace: String,
    /// `denied`, `held`, `needs 2 approvals`, `overridden` or `warned`.
    pub(super) word: String,
    pub(super) policy: String,
    pub(super) title: String,
    pub(super) address: Option<String>,
    pub(super) message: String,
    pub(super) remedy: Option<String>,
    /// What overrides it, where that can be typed.
    pub(super) command: Option<String>,
    pub(super) owners: Vec<String>,
    pub(super) by: Option<String>,
    pub(super) because: Option<String>,
}

/// What the table says of a verdict.
pub(super) fn cell(verdict: &Verdict) -> String {
    let of = |wanted: fn(&Effect) -> bool| {
        let found: Vec<&Finding> = verdict.standing().filter(|f| wanted(&f.effect)).collect();
        let first = found.first().map_or(String::new(), |f| shown(&f.title));
        match found.len() {
            0 | 1 => first,
            more => format!("{first} and {} more", more - 1),
        }
    };
    let warnings = verdict
        .standing()
        .filter(|f| f.effect == Effect::Warn)
        .count();
    match verdict.judgement() {
        Judgement::Deny => format!("denied: {}", of(|e| *e == Effect::Deny)),
        Judgement::Hold => format!(
            "held: {}",
            of(|e| matches!(e, Effect::Hold | Effect::Require { .. }))
        ),
        Judgement::Warn => plural(warnings, "warning"),
        Judgement::Pass if verdict.findings.is_empty() => "pass".to_owned(),
        Judgement::Pass => "overridden".to_owned(),
    }
}

/// A title inside of a sentence of ours: backticks would pair with others.
fn shown(title: &str) -> String {
    cut(&title.replace('`', "'"), TITLE_LIMIT)
}

/// What denies, holds or was overridden, the gravest first.
pub(super) fn grave(report: &ProposalReport) -> Vec<FindingView> {
    let mut found: Vec<(u8, FindingView)> = findings(report)
        .filter(|(_, finding)| finding.effect != Effect::Warn)
        .map(|(workspace, finding)| (weight(finding), view(report, workspace, finding)))
        .collect();
    found.sort_by_key(|(weight, _)| *weight);
    found.into_iter().map(|(_, view)| view).collect()
}

/// What the policies only tell of one workspace.
pub(super) fn warnings(report: &ProposalReport, workspace: &WorkspaceReport) -> Vec<FindingView> {
    of(workspace)
        .filter(|finding| finding.effect == Effect::Warn)
        .map(|finding| view(report, workspace, finding))
        .collect()
}

fn findings(report: &ProposalReport) -> impl Iterator<Item = (&WorkspaceReport, &Finding)> {
    report
        .workspaces
        .iter()
        .flat_map(|workspace| of(workspace).map(move |finding| (workspace, finding)))
}

fn of(workspace: &WorkspaceReport) -> impl Iterator<Item = &Finding> {
    workspace.verdict.iter().flat_map(|v| &v.findings)
}

/// The lower, the more it has to be seen.
fn weight(finding: &Finding) -> u8 {
    match (&finding.overridden, finding.effect) {
        (Some(_), _) => 4,
        (None, Effect::Deny) => 0,
        (None, Effect::Hold) => 1,
        (None, Effect::Require { .. }) => 2,
        (None, Effect::Warn) => 3,
    }
}

fn view(report: &ProposalReport, workspace: &WorkspaceReport, finding: &Finding) -> FindingView {
    // Only where there are comments can a person answer with one.
    let answered = matches!(report.proposal, Some(ProposalKey::Pull(_)));
    let open = finding.overridden.is_none() && finding.effect == Effect::Deny;
    let command = (answered && open && !finding.owners.is_empty())
        .then(|| format!("mainstay override {} reason…", finding.policy));
    FindingView {
        workspace: workspace.name.to_string(),
        word: word(finding),
        policy: finding.policy.clone(),
        title: finding.title.clone(),
        address: finding.address.clone(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        command,
        owners: finding.owners.clone(),
        by: finding.overridden.as_ref().map(|o| o.by.clone()),
        because: finding.overridden.as_ref().map(|o| o.reason.clone()),
    }
}

fn word(finding: &Finding) -> String {
    if finding.overridden.is_some() {
        return "overridden".to_owned();
    }
    match finding.effect {
        Effect::Deny => "denied".to_owned(),
        Effect::Hold => "held".to_owned(),
        Effect::Require { approvals } => {
            let count = usize::try_from(approvals).unwrap_or(usize::MAX);
            format!("held until {}", plural(count, "approval"))
        }
        Effect::Warn => "warned".to_owned(),
    }
}
