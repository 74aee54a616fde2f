//! What failed, in the record's words: secrets masked, with what to do next.

use crate::engine::{ApplyEnd, ApplyOutcome, EngineError};
use crate::fault::chain;
use crate::redact::Redactor;
use crate::run::{AppliedParts, Failure};

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

/// A plan that was made and could not be understood.
pub(super) fn of_reading(error: &str) -> Failure {
    Failure {
        step: "show".to_owned(),
        summary: error.to_owned(),
        advice: Some(
            "nothing was applied; check that the engine's version is one that Mainstay knows"
                .to_owned(),
        ),
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
