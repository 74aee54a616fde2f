//! HTTP without a client library's opinions, and the house that most tests begin with.

use serde_json::Value;

use crate::github::GitHub;
use crate::github::repository::Repository;
use crate::github::world::Role;

/// The token of `mainstay-bot`, who may write.
pub(crate) const TOKEN: &str = "ghp_test";

/// A GitHub with `acme/infra`, one commit on `main`, and `mainstay-bot`.
pub(crate) async fn house() -> (GitHub, Repository) {
    let hub = GitHub::start().await;
    let repo = hub.create_repository("acme/infra");
    repo.commit("main", &[("network/main.tf", "# empty\n")], "Begin");
    hub.user("mainstay-bot", &[(&repo, Role::Write)]);
    hub.token(TOKEN, "mainstay-bot", &["repo"]);
    (hub, repo)
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// A header; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A request with a token, or without where it is empty.
pub(crate) fn ask_as(
    token: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .user_agent("github-model-test")
        .build()
        .into();
    let mut request = http::Request::builder().method(method).uri(url);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let mut response = agent.run(request.body(body)?)?;
    let text = response.body_mut().read_to_string()?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    })
}

/// A `GET` by `mainstay-bot`.
pub(crate) fn get(hub: &GitHub, path: &str) -> Answer {
    ask(hub, "GET", path, None)
}

/// A request by `mainstay-bot`, whose connection holds.
pub(crate) fn ask(hub: &GitHub, method: &str, path: &str, body: Option<Value>) -> Answer {
    ask_as(
        TOKEN,
        method,
        &format!("{}{path}", hub.api_url()),
        &[],
        body,
    )
    .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}
