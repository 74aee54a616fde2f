//! Answers: statuses, error bodies, pages and entity tags, as GitHub gives them.

use http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::log::Route;

/// An answer before it goes out.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// `None` is no body at all.
    pub(crate) body: Option<Value>,
    pub(crate) route: Route,
}

/// What a handler gives: both sides are answers.
pub(crate) type Answer = Result<Reply, Reply>;

impl Reply {
    /// 200 with a body.
    pub(crate) fn ok(body: Value) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Some(body),
            route: Route::Known,
        }
    }

    /// 201 with a body and where it is found.
    pub(crate) fn created(body: Value) -> Self {
        let location = body["url"].as_str().unwrap_or_default().to_owned();
        Self {
            status: 201,
            ..Self::ok(body)
        }
        .with("location", location)
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: None,
            route: Route::Known,
        }
    }

    /// An error in GitHub's form.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": status.to_string(),
        });
        Self {
            status,
            ..Self::ok(body)
        }
    }

    /// 401 for credentials that are not good.
    pub(crate) fn bad_credentials() -> Self {
        Self::error(401, "Bad credentials")
    }

    /// 404 for what is not there or may not be seen.
    pub(crate) fn not_found() -> Self {
        Self::error(404, "Not Found")
    }

    /// 404 for what the model does not have; the log shows it.
    pub(crate) fn not_modelled() -> Self {
        Self {
            route: Route::Unknown,
            ..Self::not_found()
        }
    }

    /// 403 with the permissions that would do.
    pub(crate) fn lacks_permission(message: &str, names: &[&str], level: &str) -> Self {
        let wanted: Vec<String> = names.iter().map(|name| format!("{name}={level}")).collect();
        Self::error(403, message).with("x-accepted-github-permissions", wanted.join("; "))
    }

    /// 422 for one field.
    pub(crate) fn invalid(resource: &str, field: &str, code: &str, message: Option<&str>) -> Self {
        let mut error = json!({ "resource": resource, "field": field, "code": code });
        if let Some(message) = message {
            error["message"] = message.into();
        }
        let mut reply = Self::error(422, "Validation Failed");
        if let Some(body) = &mut reply.body {
            body["errors"] = json!([error]);
        }
        reply
    }

    /// 422 for a field that is missing.
    pub(crate) fn not_supplied(field: &str) -> Self {
        Self::error(
            422,
            &format!("Invalid request.\n\n\"{field}\" wasn't supplied."),
        )
    }

    /// 422 for a field of the wrong type.
    pub(crate) fn wrong_type(field: &str, given: &Value, wanted: &str) -> Self {
        Self::error(
            422,
            &format!("Invalid request.\n\nFor 'properties/{field}', {given} is not {wanted}."),
        )
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Turns a 200 into a 304 where the client has it already. The tag is a hash of
/// the body and the caller: what another caller got is not the same thing.
pub(crate) fn conditional(reply: Reply, headers: &HeaderMap, who: &str) -> Reply {
    let Some(body) = reply.body.as_ref().filter(|_| reply.status == 200) else {
        return reply;
    };
    let digest = Sha256::new()
        .chain_update(who)
        .chain_update(body.to_string())
        .finalize();
    let tag = format!("W/\"{}\"", hex::encode(digest));
    let known = headers
        .get_all("if-none-match")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"));
    let mut reply = reply
        .with("etag", tag)
        .with("cache-control", "private, max-age=60, s-maxage=60");
    if known {
        reply.status = 304;
        reply.body = None;
    }
    reply
}

/// The page that was asked for, with a `Link` header to the others.
///
/// The links are absolute and name the repository by its id where there is one,
/// as GitHub's do.
pub(crate) fn page(items: Vec<Value>, query: &[(String, String)], url: &str) -> Reply {
    let number = |name: &str| {
        let value = query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value);
        value
            .and_then(|value| value.parse::<usize>().ok())
            .filter(|n| *n > 0)
    };
    let per_page = number("per_page").unwrap_or(30).min(100);
    let current = number("page").unwrap_or(1);
    let last = items.len().div_ceil(per_page).max(1);
    let link = |page: usize, rel: &str| {
        let mut pairs: Vec<String> = query
            .iter()
            .filter(|(key, _)| key != "page")
            .map(|(key, value)| format!("{key}={}", escape(value)))
            .collect();
        pairs.push(format!("page={page}"));
        format!("<{url}?{}>; rel=\"{rel}\"", pairs.join("&"))
    };
    let mut links = Vec::new();
    if current > 1 {
        links.push(link((current - 1).min(last), "prev"));
    }
    if current < last {
        links.push(link(current + 1, "next"));
        links.push(link(last, "last"));
    }
    if current > 1 {
        links.push(link(1, "first"));
    }
    let shown = items
        .into_iter()
        .skip((current - 1) * per_page)
        .take(per_page)
        .collect();
    let reply = Reply::ok(Value::Array(shown));
    if links.is_empty() {
        reply
    } else {
        reply.with("link", links.join(", "))
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
