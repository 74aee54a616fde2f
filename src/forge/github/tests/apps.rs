//! A GitHub App: installations, their tokens, and its own account.

use std::sync::LazyLock;

use base64::Engine;
use chrono::TimeDelta;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use super::super::Level;
use super::*;
use crate::clock;
use crate::forge::{Forge, Urgency};
use crate::id::{CommentId, IssueNumber};

/// A key that only these tests know; making one takes a while.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let der = KeyPair::generate_for(&PKCS_RSA_SHA256)
        .unwrap()
        .serialize_der();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
});

pub(super) fn app(stand: &Stand) -> GitHub {
    let auth = Auth::App {
        id: 42,
        private_key_pem: Secret::new(KEY.clone()),
    };
    GitHub::new(Settings {
        auth,
        ..settings(stand)
    })
    .unwrap()
}

/// Two installations: `acme` has 1, `umbra` has 2. Tokens are numbered as they are minted.
pub(super) struct Tokens {
    minted: u32,
    good_for: TimeDelta,
}

impl Tokens {
    pub(super) fn good_for(good_for: TimeDelta) -> Self {
        Self {
            minted: 0,
            good_for,
        }
    }

    pub(super) fn answer(&mut self, heard: &Heard) -> Option<Reply> {
        let sent = heard.header("authorization").unwrap();
        let as_app = || assert!(sent.starts_with("Bearer eyJ"), "{sent} for {}", heard.path);
        Some(match (heard.method.as_str(), heard.path.as_str()) {
            ("GET", "/repos/acme/infra/installation" | "/repos/acme/dns/installation") => {
                as_app();
                Reply::json(
                    200,
                    json!({"id": 1, "permissions": {
                        "metadata": "read", "contents": "read", "pull_requests": "write", "issues": "write",
                    }}),
                )
            }
            ("GET", "/repos/umbra/net/installation") => {
                as_app();
                Reply::json(200, json!({"id": 2}))
            }
            ("GET", "/app") => {
                as_app();
                Reply::json(200, json!({"slug": "mainstay"}))
            }
            ("POST", path) if path.ends_with("/access_tokens") => {
                as_app();
                self.minted += 1;
                let installation = path.split('/').nth(3).unwrap();
                let token = format!("ghs_{installation}_{}", self.minted);
                Reply::json(
                    201,
                    json!({"token": token, "expires_at": clock::now() + self.good_for}),
                )
            }
            (_, path) if path.ends_with("/installation") => not_found(),
            _ => return None,
        })
    }
}

fn repository() -> Reply {
    Reply::json(200, json!({"clone_url": "http://127.0.0.1:9/x.git"}))
}

async fn password(github: &GitHub, repo: &str) -> String {
    let remote = github.remote(&repo.parse().unwrap()).await.unwrap();
    remote.login.unwrap().1.expose().to_owned()
}

#[tokio::test]
async fn each_installation_is_served_by_its_own_token() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| tokens.answer(heard).unwrap_or_else(repository)).await;
    let github = app(&stand);
    assert_eq!(password(&github, "acme/infra").await, "ghs_1_1");
    assert_eq!(password(&github, "acme/dns").await, "ghs_1_1");
    assert_eq!(password(&github, "umbra/net").await, "ghs_2_2");
    assert_eq!(password(&github, "acme/infra").await, "ghs_1_1");
    let lookups = stand
        .lines()
        .iter()
        .filter(|line| line.ends_with("/installation"))
        .count();
    assert_eq!(lookups, 3, "an installation is looked up once");
}

#[tokio::test]
async fn repositories_are_looked_at_with_their_installations_token() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        tokens.answer(heard).unwrap_or_else(|| {
            let repo = json!({"base": null, "pullRequests": {
                "pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": [],
            }});
            Reply::json(200, json!({"data": {"r0": repo, "r1": repo}}))
        })
    })
    .await;
    let requests = ["acme/infra", "umbra/net", "other/none", "acme/dns"].map(look_at);
    let looks = app(&stand).look(&requests).await;
    assert!(
        looks[0].is_ok() && looks[1].is_ok() && looks[3].is_ok(),
        "{looks:?}"
    );
    assert!(
        matches!(&looks[2], Err(ForgeError::NotFound { what }) if what.contains("installation"))
    );
    let queries: Vec<_> = stand
        .heard()
        .into_iter()
        .filter(|heard| heard.path == "/graphql")
        .collect();
    assert_eq!(queries.len(), 2);
    assert_eq!(queries[0].header("authorization"), Some("Bearer ghs_1_1"));
    assert_eq!(queries[0].body["variables"]["n1"], "dns");
    assert_eq!(queries[1].header("authorization"), Some("Bearer ghs_2_2"));
}

#[tokio::test]
async fn a_repository_without_an_installation_is_not_asked_for_each_time() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| tokens.answer(heard).unwrap_or_else(repository)).await;
    let github = app(&stand);
    for _ in 0..3 {
        assert!(github.remote(&"other/none".parse().unwrap()).await.is_err());
    }
    assert_eq!(stand.heard().len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_five_minutes_before_it_expires() {
    for (good_for, minted) in [
        (TimeDelta::minutes(6), "ghs_1_1"),
        (TimeDelta::minutes(4), "ghs_1_3"),
    ] {
        let mut tokens = Tokens::good_for(good_for);
        let stand = Stand::with(move |heard| tokens.answer(heard).unwrap_or_else(repository)).await;
        let github = app(&stand);
        password(&github, "acme/infra").await;
        github.may_write(&repo(), "ada").await.unwrap_err();
        let heard = stand.heard();
        let last = heard.last().unwrap();
        assert_eq!(
            last.header("authorization"),
            Some(format!("Bearer {minted}").as_str()),
            "{good_for}"
        );
    }
}

#[tokio::test]
async fn a_revoked_token_is_renewed_once() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        tokens
            .answer(heard)
            .unwrap_or_else(|| match heard.header("authorization").unwrap() {
                "Bearer ghs_1_1" => Reply::json(401, json!({"message": "Bad credentials"})),
                _ => repository(),
            })
    })
    .await;
    let github = app(&stand);
    assert_eq!(password(&github, "acme/infra").await, "ghs_1_2");
}

#[tokio::test]
async fn a_token_that_is_refused_twice_is_denied() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        let refused = || Reply::json(401, json!({"message": "Bad credentials"}));
        tokens.answer(heard).unwrap_or_else(refused)
    })
    .await;
    let error = app(&stand).remote(&repo()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Denied { .. }));
    assert_eq!(
        stand
            .lines()
            .iter()
            .filter(|line| line.ends_with("/access_tokens"))
            .count(),
        2
    );
}

#[tokio::test]
async fn an_installation_that_is_gone_is_looked_up_anew() {
    let mut asked = 0;
    let stand = Stand::with(move |heard| match heard.path.as_str() {
        "/repos/acme/infra/installation" => {
            asked += 1;
            Reply::json(200, json!({"id": asked}))
        }
        "/app/installations/1/access_tokens" => not_found(),
        "/app/installations/2/access_tokens" => Reply::json(
            201,
            json!({"token": "ghs_new", "expires_at": clock::now() + TimeDelta::hours(1)}),
        ),
        _ => repository(),
    })
    .await;
    let github = app(&stand);
    assert!(matches!(
        github.remote(&repo()).await,
        Err(ForgeError::NotFound { .. })
    ));
    assert_eq!(password(&github, "acme/infra").await, "ghs_new");
}

#[tokio::test]
async fn the_app_finds_its_comments_by_its_bot_account() {
    let marker = "<!-- mainstay:pull -->";
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        tokens
            .answer(heard)
            .unwrap_or_else(|| match heard.method.as_str() {
                "GET" => Reply::json(
                    200,
                    json!([
                        comment(1, "mainstay", marker),
                        comment(2, "mainstay[bot]", marker)
                    ]),
                ),
                "PATCH" => Reply::json(200, comment(2, "mainstay[bot]", marker)),
                _ => not_found(),
            })
    })
    .await;
    let body = format!("{marker}\nnew");
    let id = app(&stand)
        .upsert_comment(&repo(), IssueNumber(3), marker, &body, None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(id.id, CommentId(2));
}

#[tokio::test]
async fn no_key_and_no_minted_token_is_in_what_is_printed() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        tokens.answer(heard).unwrap_or_else(|| {
            let echo = heard.header("authorization").unwrap().to_owned();
            Reply::json(403, json!({"message": echo}))
        })
    })
    .await;
    let github = app(&stand);
    let error = github.remote(&repo()).await.unwrap_err();
    let printed = format!("{} {github:?}", text_of(&error));
    assert!(!printed.contains("ghs_1_1"), "{printed}");
    assert!(
        !format!(
            "{:?}",
            Auth::App {
                id: 1,
                private_key_pem: Secret::new(KEY.clone())
            }
        )
        .contains("BEGIN")
    );
}

#[tokio::test]
async fn the_doctor_names_the_permission_that_the_app_lacks() {
    let mut tokens = Tokens::good_for(TimeDelta::hours(1));
    let stand = Stand::with(move |heard| {
        tokens
            .answer(heard)
            .unwrap_or_else(|| match heard.path.as_str() {
                "/graphql" => {
                    Reply::json(200, json!({"data": {"viewer": {"login": "mainstay[bot]"}}}))
                }
                _ => repository(),
            })
    })
    .await;
    let findings = app(&stand).doctor(&repo()).await;
    let errors: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(errors.len(), 1, "{findings:#?}");
    assert!(errors[0].contains("`statuses: write`"), "{errors:?}");
}
