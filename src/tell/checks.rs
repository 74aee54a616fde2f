//! The check runs of a proposal's head: one for each workspace that it touches.

use super::{TellError, Wanted};
use crate::fleet::{Fleet, Tracked};
use crate::forge::{Annotation, AnnotationLevel, CHECK_TEXT_LIMIT, CheckRun, CheckState};
use crate::id::CommitSha;
use crate::plan::{Diagnostic, Severity};
use crate::report::{self, Light, Progress, ProposalReport, Templates, WorkspaceReport};
use crate::run::CheckOutcome;
use crate::store::StoreError;

/// GitHub takes a title of at most so many characters on an annotation.
const TITLE_LIMIT: usize = 255;

/// GitHub takes a message of 64 KiB on an annotation; so many characters are enough for a reader.
const MESSAGE_LIMIT: usize = 4_000;

/// No check run has more annotations than this: what is wrong in a thousand places is one thing.
const ANNOTATIONS: usize = 200;

/// What the targets of the check runs of a commit begin with. They come after the status itself,
/// which people wait for.
fn beginning(commit: &CommitSha) -> String {
    format!("status {commit} {}", name(""))
}

/// The name of a workspace's check run.
fn name(workspace: &str) -> String {
    format!("{}: {workspace}", super::wanted::PLAN_STATUS)
}

/// The check runs that show a proposal's head as `report` has it, and those before that concern
/// nothing any more.
pub(super) fn of_head(
    fleet: &Fleet,
    tracked: &Tracked,
    report: &ProposalReport,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), TellError> {
    let commit = &report.head;
    let begun = all.len();
    for workspace in &report.workspaces {
        let target = format!("{}{}", beginning(commit), workspace.name);
        let planned_on = match workspace.run {
            Some(run) => fleet.store.run(run)?.what.base,
            None => None,
        };
        let base = planned_on.unwrap_or_else(|| report.base.clone());
        let check = check_run(report, base, workspace, &fleet.templates)?;
        let commit = commit.clone();
        all.push((target, Wanted::Check { commit, check }));
    }
    let shown: Vec<String> = all[begun..].iter().map(|(t, _)| t.clone()).collect();
    let over = "no longer touched by this pull request";
    ended(fleet, tracked, commit, over, &shown, all)?;
    Ok(())
}

/// Ends the check runs of a commit that were never decided, for a reason in a few words; `but`
/// are the targets of those that go on.
pub(super) fn ended(
    fleet: &Fleet,
    tracked: &Tracked,
    commit: &CommitSha,
    reason: &str,
    but: &[String],
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), StoreError> {
    for telling in fleet
        .store
        .tellings_below(tracked.repo(), &beginning(commit))?
    {
        let Ok(Wanted::Check { check, .. }) = serde_json::from_value(telling.wanted) else {
            continue;
        };
        if but.contains(&telling.target) {
            continue;
        }
        let check = match check.state {
            CheckState::InProgress | CheckState::ActionRequired => CheckRun {
                state: CheckState::Neutral,
                title: reason.to_owned(),
                ..check
            },
            // It stays wanted until it is told.
            CheckState::Neutral => check,
            CheckState::Success | CheckState::Failure => continue,
        };
        let commit = commit.clone();
        all.push((telling.target, Wanted::Check { commit, check }));
    }
    Ok(())
}

fn check_run(
    report: &ProposalReport,
    base: CommitSha,
    workspace: &WorkspaceReport,
    templates: &Templates,
) -> Result<CheckRun, report::ReportError> {
    // With the base that it was planned on, so that nothing is edited where another one changes nothing.
    let alone = only(report, workspace, base);
    let said = report::plan_status(&alone, templates)?;
    let state = match (said.light, &workspace.progress) {
        (_, Progress::NeedsPermission | Progress::Cancelled) => CheckState::ActionRequired,
        (Light::Pending, _) => CheckState::InProgress,
        (Light::Good, _) => CheckState::Success,
        (Light::Bad, _) => CheckState::Failure,
    };
    Ok(CheckRun {
        name: name(workspace.name.as_str()),
        state,
        title: said.description,
        summary: format!(
            "`{}` at `{}`, merged into `{}` at `{}`.",
            workspace.name,
            report.head.short(),
            report.base_branch,
            alone.base.short()
        ),
        text: match state {
            // What comes is shown when it is there: until then nothing need be written anew.
            CheckState::InProgress => String::new(),
            _ => cut(report::comment(&alone, templates)?.trim(), CHECK_TEXT_LIMIT),
        },
        annotations: annotations(workspace),
    })
}

/// The same report of one workspace alone.
fn only(report: &ProposalReport, workspace: &WorkspaceReport, base: CommitSha) -> ProposalReport {
    ProposalReport {
        marker: String::new(),
        repo: report.repo.clone(),
        web_url: report.web_url.clone(),
        proposal: report.proposal.clone(),
        head: report.head.clone(),
        base_branch: report.base_branch.clone(),
        base,
        tool: report.tool.clone(),
        workspaces: vec![workspace.clone()],
        conflict: report.conflict.clone(),
        removed: Vec::new(),
        notes: report.notes.clone(),
        refusals: Vec::new(),
        help: Vec::new(),
        standing: report.standing.clone(),
        data_types: report.data_types.clone(),
    }
}

/// What failed at a line of a file, of the checks and of the plan.
fn annotations(workspace: &WorkspaceReport) -> Vec<Annotation> {
    let decided = !matches!(
        workspace.progress,
        Progress::Waiting | Progress::Running(_) | Progress::Superseded
    );
    if !decided {
        // They cannot be taken back: only what is final is said.
        return Vec::new();
    }
    let failed = match &workspace.progress {
        Progress::Failed(failure) => failure.diagnostics.as_slice(),
        _ => &[],
    };
    let checked = workspace.checks.iter().flat_map(|check| {
        let grave = check.outcome == CheckOutcome::Failed;
        check.diagnostics.iter().map(move |d| (d, grave))
    });
    let mut all: Vec<Annotation> = Vec::new();
    for (diagnostic, grave) in failed.iter().map(|d| (d, true)).chain(checked) {
        let Some(annotation) = annotation(&workspace.path, diagnostic, grave) else {
            continue;
        };
        // `validate` and `plan` find the same errors.
        let known = all.iter().any(|other| {
            (&other.path, other.line, &other.title)
                == (&annotation.path, annotation.line, &annotation.title)
        });
        if !known && all.len() < ANNOTATIONS {
            all.push(annotation);
        }
    }
    all
}

fn annotation(folder: &str, diagnostic: &Diagnostic, grave: bool) -> Option<Annotation> {
    let detail = diagnostic.detail.trim();
    let message = if detail.is_empty() {
        &diagnostic.summary
    } else {
        detail
    };
    Some(Annotation {
        path: from_top(folder, diagnostic.file.as_deref()?)?,
        line: diagnostic.line.filter(|line| *line > 0)?,
        level: match diagnostic.severity {
            Severity::Error if grave => AnnotationLevel::Failure,
            Severity::Error | Severity::Warning => AnnotationLevel::Warning,
        },
        title: cut(&diagnostic.summary, TITLE_LIMIT),
        message: cut(message, MESSAGE_LIMIT),
    })
}

/// A file as Terraform names it in a workspace's folder, from the top of the repository; `None`
/// where it is outside, or somewhere in a downloaded module.
fn from_top(folder: &str, file: &str) -> Option<String> {
    if file.starts_with('/') {
        return None;
    }
    let mut path: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(file.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                path.pop()?;
            }
            part => path.push(part),
        }
    }
    (!path.is_empty()).then(|| path.join("/"))
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::{Check, Failure, OnMerge};

    fn diagnostic(file: &str, line: Option<u32>, summary: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            summary: summary.to_owned(),
            detail: String::new(),
            address: None,
            file: Some(file.to_owned()),
            line,
            snippet: None,
        }
    }

    fn check(outcome: CheckOutcome, diagnostics: Vec<Diagnostic>) -> Check {
        Check {
            name: "lint".to_owned(),
            outcome,
            diagnostics,
            tail: String::new(),
            took: Duration::ZERO,
        }
    }

    fn failed(diagnostics: Vec<Diagnostic>) -> Progress {
        Progress::Failed(Failure {
            diagnostics,
            ..Failure::default()
        })
    }

    fn workspace(progress: Progress, checks: Vec<Check>) -> WorkspaceReport {
        WorkspaceReport {
            name: "network".parse().unwrap(),
            environment: None,
            path: "stacks/network".to_owned(),
            run: None,
            progress,
            warnings: Vec::new(),
            checks,
            verdict: None,
            reviewed: None,
            before: Vec::new(),
            since: None,
            took: Duration::ZERO,
            on_merge: OnMerge::Apply,
            state_note: None,
            after_merge: None,
        }
    }

    #[test]
    fn a_place_is_told_from_the_top_of_the_repository_and_never_outside_of_it() {
        assert_eq!(from_top("", "main.tf").as_deref(), Some("main.tf"));
        assert_eq!(
            from_top("stacks/network", "./main.tf").as_deref(),
            Some("stacks/network/main.tf")
        );
        assert_eq!(
            from_top("stacks/network", "../../modules/host/main.tf").as_deref(),
            Some("modules/host/main.tf")
        );
        for outside in ["../../../main.tf", "/etc/passwd", "../.."] {
            assert_eq!(from_top("stacks/network", outside), None, "{outside}");
        }
    }

    #[test]
    fn what_two_checks_find_at_one_line_is_said_once_and_a_warning_is_none_of_the_failures() {
        let nope = || diagnostic("main.tf", Some(3), "Unsupported argument");
        let checks = vec![
            check(CheckOutcome::Failed, vec![nope()]),
            check(
                CheckOutcome::Warned,
                vec![
                    diagnostic("main.tf", Some(9), "no owner"),
                    diagnostic("main.tf", None, "somewhere"),
                ],
            ),
        ];
        let all = annotations(&workspace(failed(vec![nope()]), checks));
        let seen: Vec<_> = all
            .iter()
            .map(|a| (a.path.as_str(), a.line, a.level))
            .collect();
        let file = "stacks/network/main.tf";
        assert_eq!(
            seen,
            [
                (file, 3, AnnotationLevel::Failure),
                (file, 9, AnnotationLevel::Warning)
            ]
        );
    }

    #[test]
    fn nothing_is_annotated_before_all_is_known() {
        let checks = vec![check(
            CheckOutcome::Failed,
            vec![diagnostic("main.tf", Some(1), "x")],
        )];
        let running = Progress::Running("plan".to_owned());
        assert!(annotations(&workspace(running, checks)).is_empty());
    }

    #[test]
    fn there_is_a_bound_to_the_annotations() {
        let many = (1..=1_000)
            .map(|line| diagnostic("main.tf", Some(line), "x"))
            .collect();
        let all = annotations(&workspace(failed(many), Vec::new()));
        assert_eq!(all.len(), ANNOTATIONS);
    }
}
