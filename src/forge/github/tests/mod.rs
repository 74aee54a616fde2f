//! GitHub as a scripted server plays it, one rule at a time.

mod apps;
mod checking;
mod commenting;
mod issuing;
mod limits;
mod looking;
mod reading;
mod server;

use std::time::Duration;

use serde_json::{Value, json};

use self::server::{Heard, Reply, Stand};
use super::{Auth, GitHub, Settings};
use crate::forge::{ForgeError, LookRequest};
use crate::id::RepoName;
use crate::redact::Secret;

const TOKEN: &str = "ghp_thisIsTheSecretToken";
const BASE: &str = "0123456789abcdef0123456789abcdef01234567";
const HEAD: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn repo() -> RepoName {
    "acme/infra".parse().unwrap()
}

fn look_at(repo: &str) -> LookRequest {
    LookRequest {
        repo: repo.parse().unwrap(),
        branch: "main".parse().unwrap(),
        proposals: Vec::new(),
    }
}

fn settings(stand: &Stand) -> Settings {
    Settings {
        mutation_pause: Duration::ZERO,
        request_timeout: Duration::from_secs(5),
        ..Settings::new(stand.url.clone(), Auth::Token(Secret::new(TOKEN)))
    }
}

fn github(stand: &Stand) -> GitHub {
    GitHub::new(settings(stand)).unwrap()
}

/// What the token's owner is asked for by nearly everything that writes.
fn user(heard: &Heard) -> Option<Reply> {
    heard
        .is("GET", "/user")
        .then(|| Reply::json(200, json!({"login": "mainstay-bot"})))
}

fn not_found() -> Reply {
    Reply::json(404, json!({"message": "Not Found"}))
}

fn text_of(error: &ForgeError) -> String {
    let mut text = format!("{error}\n{error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(&format!("\n{next}\n{next:?}"));
        cause = next.source();
    }
    text
}

fn comment(id: u64, login: &str, body: &str) -> Value {
    json!({
        "id": id,
        "body": body,
        "user": {"login": login},
        "issue_url": "https://api.github.com/repos/acme/infra/issues/3",
        "created_at": "2024-05-01T12:00:00Z",
        "updated_at": "2024-05-01T12:00:00Z",
    })
}
