//! What an answer that is no success means.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::client::{Answer, Failure};
use crate::forge::ForgeError;

/// An answer that is none; the request's effect may have taken place.
///
/// It can be copied, since one answer may stand for many repositories.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum WireError {
    #[error("no answer within {} seconds", .after.as_secs_f32())]
    TimedOut { after: Duration },
    #[error("the connection failed")]
    Broken(#[source] Arc<octocrab::Error>),
    #[error("the answer was cut off")]
    CutOff(#[source] Arc<dyn Error + Send + Sync>),
    #[error("the answer is not what GitHub publishes")]
    NotUnderstood(#[source] Arc<serde_json::Error>),
    #[error("the answer has status {status} and is no JSON, so it is not GitHub's own")]
    NotGitHubs { status: u16 },
    #[error("the answer was {status}: {message}")]
    Status { status: u16, message: String },
    #[error("the answer lacks {what}")]
    Lacks { what: String },
    #[error("the list went on for more than {pages} pages")]
    Endless { pages: usize },
    #[error("it was redirected more than {hops} times")]
    Redirects { hops: usize },
}

/// Longer messages are cut: a proxy's page is no message.
const LONGEST_MESSAGE: usize = 500;

#[derive(Deserialize)]
struct Body {
    message: Option<String>,
    #[serde(default)]
    errors: Value,
}

/// What GitHub says in an answer's body.
pub(super) fn message(status: StatusCode, body: &[u8]) -> String {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return String::new();
    }
    let said = serde_json::from_slice::<Body>(body).ok().and_then(|body| {
        let details: Vec<&str> = match &body.errors {
            Value::Array(errors) => errors.iter().filter_map(detail).collect(),
            _ => Vec::new(),
        };
        let message = body.message?;
        Some(match details.as_slice() {
            [] => message,
            details => format!("{message} ({})", details.join("; ")),
        })
    });
    let said = said.unwrap_or_else(|| {
        status
            .canonical_reason()
            .unwrap_or("no message was given")
            .to_owned()
    });
    said.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_MESSAGE)
        .collect()
}

/// One of the `errors` of a refused write: a text, or an object with `message` or `code`.
fn detail(error: &Value) -> Option<&str> {
    error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| error.get("code")?.as_str())
}

/// Judges an answer that is neither a success nor about limits.
pub(super) fn of(service: &str, call: &Call, answer: &Answer, message: String) -> Failure {
    let service = service.to_owned();
    let action = call.action.clone();
    let status = answer.status.as_u16();
    let transient = |service, action, source| {
        Failure::Other(ForgeError::Transient {
            service,
            action,
            source: Box::new(source),
        })
    };
    // What is no JSON came from something between GitHub and us: it says nothing of the thing asked for.
    let foreign = !answer.body.is_empty()
        && serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_err();
    match status {
        401 => Failure::Unauthorized(ForgeError::Denied {
            service,
            action,
            message: format!(
                "{message}; the token (or the App's id or key) is wrong, expired or revoked: put a good one in its place"
            ),
        }),
        // GitHub's own words: "Repository was archived so is read-only."
        403 if message.contains("was archived so is read-only") => {
            Failure::Other(ForgeError::Archived { service, action })
        }
        // "Unable to create comment because issue is locked."
        403 if message.contains("is locked") => {
            Failure::Other(ForgeError::Locked { service, action })
        }
        403 => Failure::Other(ForgeError::Denied {
            service,
            action,
            message: format!("{message}; this needs {}", needs(call, answer)),
        }),
        _ if foreign => transient(service, action, WireError::NotGitHubs { status }),
        404 => Failure::Other(ForgeError::NotFound {
            what: call.what.clone(),
        }),
        400..=499 if status != 408 => Failure::Other(ForgeError::Refused {
            service,
            action,
            status,
            message,
        }),
        _ => transient(service, action, WireError::Status { status, message }),
    }
}

/// The permission that a request takes; GitHub's own word for it comes first.
fn needs(call: &Call, answer: &Answer) -> String {
    let told = answer.headers.get("x-accepted-github-permissions");
    match told
        .and_then(|told| told.to_str().ok())
        .filter(|told| !told.is_empty())
    {
        Some(told) => format!("{} (`{told}`)", call.needs),
        None => call.needs.to_string(),
    }
}

/// The same error once more, for another repository of the same request.
pub(super) fn copy_of(error: &ForgeError) -> ForgeError {
    match error {
        ForgeError::RateLimited { service, until } => ForgeError::RateLimited {
            service: service.clone(),
            until: *until,
        },
        ForgeError::Denied {
            service,
            action,
            message,
        } => ForgeError::Denied {
            service: service.clone(),
            action: action.clone(),
            message: message.clone(),
        },
        ForgeError::Locked { service, action } => ForgeError::Locked {
            service: service.clone(),
            action: action.clone(),
        },
        ForgeError::Archived { service, action } => ForgeError::Archived {
            service: service.clone(),
            action: action.clone(),
        },
        ForgeError::NotFound { what } => ForgeError::NotFound { what: what.clone() },
        ForgeError::Refused {
            service,
            action,
            status,
            message,
        } => ForgeError::Refused {
            service: service.clone(),
            action: action.clone(),
            status: *status,
            message: message.clone(),
        },
        ForgeError::Transient {
            service,
            action,
            source,
        } => ForgeError::Transient {
            service: service.clone(),
            action: action.clone(),
            source: match source.downcast_ref::<WireError>() {
                Some(wire) => Box::new(wire.clone()),
                None => source.to_string().into(),
            },
        },
    }
}
