//! The verdict: how things stand, in one line. It never says more than is known.

use super::words::{Tense, counted, plural};
use super::{
    AfterMerge, CheckOutcome, OnMerge, Progress, ProposalReport, Standing, WorkspaceReport,
};
use crate::plan::{Action, Counts, LeftOut};
use crate::policy::{Effect, Judgement};

/// The heading of a report; names between backticks.
pub(super) fn verdict(report: &ProposalReport) -> String {
    let branch = &report.base_branch;
    match report.standing {
        Standing::Elsewhere => {
            return format!("No longer for `{branch}`: nothing of it is applied");
        }
        Standing::Closed => {
            return "Closed without being merged: nothing of it is applied".to_owned();
        }
        Standing::Open | Standing::Merged { .. } => {}
    }
    if report.workspaces.iter().any(|w| w.after_merge.is_some()) {
        return after_merge(report);
    }
    if report.conflict.is_some() {
        return format!("Conflicts with `{branch}`: there is nothing to plan until it is resolved");
    }
    if report.workspaces.is_empty() {
        return match report.removed.len() {
            0 => "No workspace is touched".to_owned(),
            gone => format!("No workspace is planned: {} gone", plural(gone, "folder")),
        };
    }
    before_merge(report)
}

fn before_merge(report: &ProposalReport) -> String {
    let mut text = how_planned(report);
    for (count, words) in objections(report) {
        if count > 0 {
            text.push_str(&format!(" · {words}"));
        }
    }
    text
}

/// What speaks against the plans, though they were made.
fn objections(report: &ProposalReport) -> [(usize, String); 3] {
    let policies = |wanted: fn(&Effect) -> bool| {
        let findings = report.workspaces.iter().filter_map(|w| w.verdict.as_ref());
        let standing = findings.flat_map(|verdict| verdict.standing());
        let names: std::collections::BTreeSet<&str> = standing
            .filter(|finding| wanted(&finding.effect))
            .map(|finding| finding.policy.as_str())
            .collect();
        names.len()
    };
    let checks = report.workspaces.iter().flat_map(|w| &w.checks);
    let failed = checks.filter(|c| c.outcome == CheckOutcome::Failed).count();
    let denied = policies(|effect| *effect == Effect::Deny);
    let held = policies(|effect| matches!(effect, Effect::Hold | Effect::Require { .. }));
    [
        (denied, format!("denied by {}", policies_named(denied))),
        (held, format!("held by {}", policies_named(held))),
        (failed, format!("{} failed", plural(failed, "check"))),
    ]
}

fn policies_named(count: usize) -> String {
    if count == 1 {
        "1 policy".to_owned()
    } else {
        format!("{count} policies")
    }
}

fn how_planned(report: &ProposalReport) -> String {
    let all = report.workspaces.len();
    let count =
        |test: fn(&WorkspaceReport) -> bool| report.workspaces.iter().filter(|w| test(w)).count();
    let failed = count(WorkspaceReport::plan_failed);
    let under_way = count(|w| matches!(w.progress, Progress::Waiting | Progress::Running(_)));
    let forks = count(|w| matches!(w.progress, Progress::NeedsPermission));
    let stopped = count(|w| matches!(w.progress, Progress::Cancelled | Progress::Superseded));
    let changing = count(|w| w.plan().is_some_and(|plan| plan.has_changes()));
    let losses = losses(report);
    if failed > 0 {
        return with(
            format!("Plan failed in {}", of(failed, all, report)),
            losses,
        );
    }
    if forks > 0 {
        return "From a fork: planned when a person who may write here asks for it".to_owned();
    }
    if under_way > 0 {
        let done = all - under_way;
        return with(
            format!("Planning: {done} of {} done", plural(all, "workspace")),
            losses,
        );
    }
    if stopped > 0 {
        return with(
            format!(
                "Not planned to the end: {} stopped",
                of(stopped, all, report)
            ),
            losses,
        );
    }
    if changing == 0 && count(|w| w.plan().is_some_and(|plan| !plan.complete)) > 0 {
        return "No changes in the part of the configuration that was planned".to_owned();
    }
    if changing == 0 {
        return "No changes: the infrastructure matches the configuration".to_owned();
    }
    let verb = if changing == 1 { "changes" } else { "change" };
    with(format!("{} {verb}", of(changing, all, report)), losses)
}

fn after_merge(report: &ProposalReport) -> String {
    let outcomes: Vec<&AfterMerge> = report
        .workspaces
        .iter()
        .filter_map(|w| w.after_merge.as_ref())
        .collect();
    let count = |test: fn(&AfterMerge) -> bool| outcomes.iter().filter(|o| test(o)).count();
    let parts: Vec<String> = [
        (count(|o| matches!(o, AfterMerge::Failed { .. })), "failed"),
        (
            count(|o| matches!(o, AfterMerge::Interrupted { .. })),
            "interrupted",
        ),
        (count(|o| matches!(o, AfterMerge::Held { .. })), "held"),
        (
            count(|o| matches!(o, AfterMerge::Cancelled { .. })),
            "cancelled",
        ),
        (
            count(|o| matches!(o, AfterMerge::Waiting | AfterMerge::Running)),
            "under way",
        ),
        (
            count(|o| matches!(o, AfterMerge::Superseded { .. })),
            "superseded",
        ),
        (
            count(|o| matches!(o, AfterMerge::Applied { .. })),
            "applied",
        ),
        (
            count(|o| matches!(o, AfterMerge::NothingToApply)),
            "with nothing to apply",
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let is_done =
        |o: &&AfterMerge| matches!(o, AfterMerge::Applied { .. } | AfterMerge::NothingToApply);
    if !outcomes.iter().all(is_done) {
        return format!("Merged: {}", parts.join(" · "));
    }
    let counts = applied_counts(&outcomes);
    if outcomes
        .iter()
        .all(|o| matches!(o, AfterMerge::NothingToApply))
    {
        return "Merged: there was nothing to apply".to_owned();
    }
    match counted(&counts, Tense::Past) {
        words if words.is_empty() => "Applied".to_owned(),
        words => format!("Applied: {}", words.join(" · ")),
    }
}

fn applied_counts(outcomes: &[&AfterMerge]) -> Counts {
    let mut total = Counts::default();
    for outcome in outcomes {
        if let AfterMerge::Applied { plan, .. } = outcome {
            let Counts {
                create,
                update,
                replace,
                destroy,
                import,
                moved,
                forget,
            } = plan.counts;
            total.create += create;
            total.update += update;
            total.replace += replace;
            total.destroy += destroy;
            total.import += import;
            total.moved += moved;
            total.forget += forget;
        }
    }
    total
}

/// `2 of 3 workspaces`, or the name of the only one.
fn of(some: usize, all: usize, report: &ProposalReport) -> String {
    match report.workspaces.as_slice() {
        [only] => format!("`{}`", only.name),
        _ => format!("{some} of {}", plural(all, "workspace")),
    }
}

/// How much is destroyed and replaced, of what is known.
fn losses(report: &ProposalReport) -> [(usize, &'static str); 2] {
    let plans = || report.workspaces.iter().filter_map(WorkspaceReport::plan);
    let count = |action: Action| {
        plans()
            .flat_map(|plan| &plan.changes)
            .filter(|change| change.action == action)
            .count()
    };
    let left_out =
        |of: fn(&LeftOut) -> usize| plans().map(|plan| of(&plan.left_out)).sum::<usize>();
    [
        (
            count(Action::Destroy) + left_out(|left| left.destroyed),
            "destroyed",
        ),
        (
            count(Action::Replace) + left_out(|left| left.replaced),
            "replaced",
        ),
    ]
}

fn with(mut text: String, losses: [(usize, &'static str); 2]) -> String {
    for (count, word) in losses.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(" · {count} {word}"));
    }
    text
}

/// What becomes of a workspace when its proposal is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Applied,
    Held,
    Denied,
    LeftAlone,
    NotKnown,
}

fn fate(workspace: &WorkspaceReport) -> Fate {
    let judgement = workspace.verdict.as_ref().map(|v| v.judgement());
    match (workspace.on_merge, judgement) {
        (OnMerge::Undeclared, _) => Fate::NotKnown,
        (OnMerge::Never, _) => Fate::LeftAlone,
        (_, Some(Judgement::Deny)) => Fate::Denied,
        (OnMerge::HoldApproval, _) | (_, Some(Judgement::Hold)) => Fate::Held,
        (OnMerge::Apply, _) => Fate::Applied,
    }
}

/// What a merge will do, in a sentence; `None` where there is nothing to say.
pub(super) fn on_merge(report: &ProposalReport, limit: usize) -> Option<String> {
    if report.standing != Standing::Open || report.conflict.is_some() {
        return None;
    }
    let changing = |wanted: Fate| -> Vec<String> {
        let changing = report
            .workspaces
            .iter()
            .filter(|w| fate(w) == wanted && w.plan().is_some_and(|plan| plan.has_changes()));
        changing.map(|w| format!("`{}`", w.name)).collect()
    };
    let be = |names: &[String]| if names.len() == 1 { "is" } else { "are" };
    let list = |names: &[String]| super::words::listed(names, limit);
    let mut parts = Vec::new();
    let applied = changing(Fate::Applied);
    if !applied.is_empty() {
        parts.push(format!("{} {} applied", list(&applied), be(&applied)));
    }
    let held = changing(Fate::Held);
    if !held.is_empty() {
        let verb = if held.len() == 1 { "waits" } else { "wait" };
        let command = match held.as_slice() {
            [only] => format!("`mainstay apply {}`", only.trim_matches('`')),
            _ => "`mainstay apply`".to_owned(),
        };
        parts.push(format!("{} {verb} for {command}", list(&held)));
    }
    let denied = changing(Fate::Denied);
    if !denied.is_empty() {
        let verb = be(&denied);
        parts.push(format!("{} {verb} denied and not applied", list(&denied)));
    }
    let never = changing(Fate::LeftAlone);
    if !never.is_empty() {
        parts.push(format!("{} {} left alone", list(&never), be(&never)));
    }
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}
