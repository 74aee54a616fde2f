//! What failed, in the record's words: secrets masked, with what to do next.

use crate::engine::{ApplyEnd, ApplyOutcome, EngineError, ReadingError};
use crate::fault::chain;
use crate::plan::{Diagnostic, Severity};
use crate::redact::Redactor;
use crate::run::{AppliedParts, Failure};
use crate::trust::Refusal;

/// What to do after an apply that did not succeed.
pub(super) const AFTER_APPLY: &str =
    "what was changed stands; `mainstay apply` plans again and applies what is left";

/// A checkout that failed.
pub(super) fn of_checkout(error: &str) -> Failure {
    Failure {
        step: "checkout".to_owned(),
        summary: error.to_owned(),
        advice: Some("nothing was planned; the next commit is tried anew".to_owned()),
        ..Failure::default()
    }
}

/// Code that asks for what nobody allowed.
///
/// `folder` is the workspace's: as Terraform does, a diagnostic names a file by the way from there.
pub fn of_refusals(folder: &str, refusals: &[Refusal]) -> Failure {
    /// More of them say nothing new.
    const SHOWN: usize = 20;
    let diagnostics = refusals.iter().take(SHOWN).map(|refusal| Diagnostic {
        severity: Severity::Error,
        summary: format!("Refused by the rule `{}`", refusal.rule),
        detail: format!("{}.\nTo do: {}.", refusal.what, refusal.advice()),
        address: None,
        file: Some(from(folder, &refusal.file)),
        line: refusal.line.and_then(|line| line.try_into().ok()),
        snippet: None,
    });
    let more = match refusals.len().checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!(" ({more} more are not shown)"),
    };
    Failure {
        step: "trust".to_owned(),
        summary: format!("the code asks for what nobody allowed, and was not run{more}"),
        diagnostics: diagnostics.collect(),
        advice: Some(
            "each refusal says what to change; where it is meant to be so, who runs Mainstay loosens the rule for this workspace"
                .to_owned(),
        ),
        ..Failure::default()
    }
}

/// The way from a folder of the repository to a file of it.
fn from(folder: &str, file: &str) -> String {
    let parts = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.map(str::to_owned).collect()
    };
    let (folder, file) = (parts(folder), parts(file));
    let common = folder.iter().zip(&file).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", folder.len() - common);
    let down = file[common..].iter().map(String::as_str);
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// A plan that was made and could not be read.
pub(super) fn of_reading(error: &ReadingError) -> Failure {
    Failure {
        step: "show".to_owned(),
        summary: chain(error),
        advice: Some(error.advice()),
        ..Failure::default()
    }
}

/// A plan that says of itself that it failed half way.
pub(super) fn of_errored_plan() -> Failure {
    Failure {
        step: "plan".to_owned(),
        summary: "the plan says that it failed half way, so its counts mean nothing".to_owned(),
        ..Failure::default()
    }
}

/// What the engine says failed, with what `redactor` knows as secret masked.
pub fn of_engine(error: &EngineError, redactor: &Redactor) -> Failure {
    Failure {
        step: error
            .step()
            .map_or_else(|| "plan".to_owned(), |step| step.to_string()),
        summary: redactor.redact(&chain(error)).into_owned(),
        diagnostics: error
            .diagnostics()
            .iter()
            .map(|d| d.redacted(redactor))
            .collect(),
        // The diagnostics say it better than the end of the output, which repeats them.
        tail: match error.diagnostics() {
            [] => redactor.redact(error.tail()).into_owned(),
            _ => String::new(),
        },
        advice: Some(redactor.redact(&error.advice()).into_owned()).filter(|a| !a.is_empty()),
    }
}

/// How far an apply came that did not succeed.
pub(super) fn parts(error: &EngineError) -> Option<AppliedParts> {
    let EngineError::ApplyFailed(failed) = error else {
        return None;
    };
    let with = |outcome| failed.with(outcome).map(str::to_owned).collect::<Vec<_>>();
    Some(AppliedParts {
        done: with(ApplyOutcome::Done),
        failed: with(ApplyOutcome::Failed),
        not_reached: with(ApplyOutcome::NotReached),
        unknown: with(ApplyOutcome::Unknown),
    })
}

/// Whether nothing says how far an apply came.
pub(super) fn is_lost(error: &EngineError) -> bool {
    matches!(error, EngineError::ApplyFailed(failed) if failed.end == ApplyEnd::Lost)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use insta::assert_snapshot;

    use super::*;
    use crate::engine::{Evidence, LockInfo, Step};
    use crate::report::{Progress, Templates, comment, sample};

    #[test]
    fn a_refused_file_is_named_from_the_workspaces_folder_as_terraform_names_files() {
        assert_eq!(from("net", "net/main.tf"), "main.tf");
        assert_eq!(from("", "net/main.tf"), "net/main.tf");
        assert_eq!(
            from("live/net", "modules/a/main.tf"),
            "../../modules/a/main.tf"
        );
        assert_eq!(from("live/net", "live/dns/x.tf"), "../dns/x.tf");
    }

    fn evidence(step: Step, summary: &str, detail: &str) -> Box<Evidence> {
        Box::new(Evidence {
            workspace: "network".parse().unwrap(),
            step,
            diagnostics: vec![Diagnostic {
                severity: Severity::Error,
                summary: summary.to_owned(),
                detail: detail.to_owned(),
                address: None,
                file: Some("main.tf".to_owned()),
                line: Some(4),
                snippet: None,
            }],
            tail: String::new(),
        })
    }

    /// What a reviewer reads of an error: the comment without its details.
    fn told(error: &EngineError) -> String {
        let mut report = sample();
        report.workspaces.truncate(1);
        let workspace = &mut report.workspaces[0];
        workspace.progress = Progress::Failed(of_engine(error, &Redactor::default()));
        workspace.verdict = None;
        workspace.checks = Vec::new();
        let body = comment(&report, &Templates::default()).unwrap();
        let (head, _) = body.split_once("\n| workspace").unwrap();
        head.to_owned()
    }

    #[test]
    fn each_kind_of_error_says_what_failed_where_and_what_to_do() {
        let said = [
            EngineError::InitFailed(evidence(
                Step::Init,
                "Failed to query available provider packages",
                "dial tcp: lookup registry.example: no such host",
            )),
            EngineError::InitFailed(evidence(
                Step::Init,
                "Inconsistent dependency lock file",
                "provider x: required by this configuration but no version is selected",
            )),
            EngineError::PlanFailed(evidence(
                Step::Plan,
                "No valid credential sources found",
                "Please see the provider's documentation.",
            )),
            EngineError::PlanFailed(evidence(
                Step::Plan,
                "Unsupported argument",
                "An argument named \"nope\" is not expected here.",
            )),
            EngineError::StateLocked {
                evidence: evidence(Step::Plan, "Error acquiring the state lock", ""),
                lock: LockInfo {
                    id: Some("18a8".to_owned()),
                    who: Some("ana@laptop".to_owned()),
                    created: Some("2026-11-21 09:10:23 UTC".to_owned()),
                    operation: Some("OperationTypeApply".to_owned()),
                },
            },
            EngineError::WrongVersion {
                workspace: "network".parse().unwrap(),
                wanted: ">= 2.0".to_owned(),
                have: "1.11.4".parse().unwrap(),
                program: PathBuf::from("/usr/bin/terraform"),
            },
        ]
        .iter()
        .map(told)
        .collect::<Vec<_>>()
        .join("\n\n");
        assert_snapshot!(said);
    }
}
