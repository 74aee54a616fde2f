//! Apps: JSON web tokens, installations, and tokens that run out.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use octocrab::models::{AppId, InstallationId};
use octocrab::{EncodingKey, Octocrab, jsonwebtoken};
use serde_json::{Value, json};

use crate::bare::{TOKEN, ask_as, house};
use crate::github::GitHub;
use crate::github::log::{AuthKind, Effect};
use crate::typed::client;

const APP: u64 = 4711;

fn app_client(hub: &GitHub, key: &str) -> Octocrab {
    let key = EncodingKey::from_rsa_pem(key.as_bytes()).expect("the key is PEM");
    client(&hub.api_url())
        .app(AppId(APP), key)
        .build()
        .expect("a client can be made")
}

fn jwt(key: &str, claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(key.as_bytes()).expect("the key is PEM");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    jsonwebtoken::encode(&header, claims, &key).expect("claims can be signed")
}

#[tokio::test]
async fn an_installation_comments_as_the_apps_bot() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let key = hub.app(APP, "mainstay", "acme");
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let id = hub.install(APP, &[&repo]);
    let crab = app_client(&hub, &key);
    assert_eq!(
        crab.apps().get().await.unwrap().slug.as_deref(),
        Some("mainstay")
    );
    let installation = crab.repos("acme", "infra").installation().await.unwrap();
    assert_eq!(installation.id, InstallationId(id));
    assert_eq!(
        crab.apps()
            .installations()
            .send()
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        crab.apps()
            .installation(InstallationId(id))
            .await
            .unwrap()
            .account
            .login,
        "acme"
    );

    let installed = crab.installation(InstallationId(id)).unwrap();
    let comment = installed
        .issues("acme", "infra")
        .create_comment(issue, "hello")
        .await
        .unwrap();
    assert_eq!(
        (comment.user.login.as_str(), comment.user.r#type.as_str()),
        ("mainstay[bot]", "Bot")
    );
    let repositories = installed
        .apps()
        .installation_repositories()
        .send()
        .await
        .unwrap();
    assert_eq!(repositories.repositories.len(), 1);
    let last = hub.requests().pop().unwrap();
    assert_eq!(last.auth, AuthKind::Installation("mainstay".to_owned()));
    assert!(
        hub.truth()
            .iter()
            .any(|truth| truth.effect == Effect::TokenIssued { app: APP })
    );
    assert!(
        hub.requests()
            .iter()
            .any(|request| request.auth == AuthKind::App(APP))
    );
}

#[tokio::test]
async fn an_app_makes_check_runs_and_a_token_makes_none() {
    let (hub, repo) = house().await;
    let key = hub.app(APP, "mainstay", "acme");
    let id = hub.install(APP, &[&repo]);
    let now = Utc::now().timestamp();
    let jwt = jwt(&key, &json!({ "iss": APP, "iat": now, "exp": now + 540 }));
    let minting = format!("{}/app/installations/{id}/access_tokens", hub.api_url());
    let token = ask_as(&jwt, "POST", &minting, &[], None).unwrap().body["token"].clone();
    let token = token.as_str().unwrap();
    let head = repo.head("main").unwrap();
    let ask = |token: &str, method: &str, path: &str, body: Option<Value>| {
        let url = format!("{}/repos/acme/infra{path}", hub.api_url());
        ask_as(token, method, &url, &[], body).unwrap()
    };
    let annotation = json!({
        "path": "a.tf", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "no",
    });
    let output = |count| json!({ "title": "t", "summary": "s", "annotations": vec![annotation.clone(); count] });
    let run =
        json!({ "name": "plan", "head_sha": head, "status": "in_progress", "output": output(0) });
    let refused = ask(TOKEN, "POST", "/check-runs", Some(run.clone()));
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (403, &json!("You must authenticate via a GitHub App."))
    );
    let made = ask(token, "POST", "/check-runs", Some(run));
    assert_eq!(made.status, 201);
    let path = format!("/check-runs/{}", made.body["id"]);
    for wrong in [
        json!({ "status": "completed" }),
        json!({ "conclusion": "fine" }),
        json!({ "output": output(51) }),
        json!({ "output": { "title": "t", "summary": "x".repeat(65_536) } }),
    ] {
        assert_eq!(ask(token, "PATCH", &path, Some(wrong)).status, 422);
    }
    for _ in 0..2 {
        let body = json!({ "conclusion": "failure", "output": output(50) });
        assert_eq!(ask(token, "PATCH", &path, Some(body)).status, 200);
    }
    let seen = repo.check_runs(&head);
    let [run] = &seen[..] else {
        panic!("one check run: {seen:?}");
    };
    assert_eq!(
        (run.status.as_str(), run.annotations.len()),
        ("completed", 100)
    );
    let listed = ask(
        token,
        "GET",
        &format!("/commits/{head}/check-runs?check_name=plan"),
        None,
    );
    assert_eq!(listed.body["total_count"], 1);
    assert_eq!(listed.body["check_runs"][0]["conclusion"], "failure");
    hub.set_permission(id, "checks", "read");
    let body = json!({ "conclusion": "success" });
    assert_eq!(ask(token, "PATCH", &path, Some(body)).status, 403);
}

#[tokio::test]
async fn an_installation_token_runs_out() {
    let (hub, repo) = house().await;
    let key = hub.app(APP, "mainstay", "acme");
    let id = hub.install(APP, &[&repo]);
    hub.set_token_lifetime(APP, Duration::from_secs(2));
    let now = Utc::now().timestamp();
    let jwt = jwt(
        &key,
        &json!({ "iss": APP.to_string(), "iat": now - 60, "exp": now + 540 }),
    );
    let url = format!("{}/app/installations/{id}/access_tokens", hub.api_url());
    let given = ask_as(&jwt, "POST", &url, &[], None).unwrap();
    assert_eq!(given.status, 201);
    let token = given.body["token"].as_str().unwrap();
    let url = format!("{}/repos/acme/infra", hub.api_url());
    assert_eq!(ask_as(token, "GET", &url, &[], None).unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let late = ask_as(token, "GET", &url, &[], None).unwrap();
    assert_eq!(
        (late.status, &late.body["message"]),
        (401, &json!("Bad credentials"))
    );
    assert_eq!(hub.requests().pop().unwrap().auth, AuthKind::Bad);
}

#[tokio::test]
async fn a_jwt_is_checked_for_issuer_times_and_signature() {
    let (hub, _) = house().await;
    let key = hub.app(APP, "mainstay", "acme");
    let now = Utc::now().timestamp();
    let url = format!("{}/app", hub.api_url());
    let ask = |jwt: &str| ask_as(jwt, "GET", &url, &[], None).unwrap();
    let claims =
        |iss: u64, iat: i64, exp: i64| json!({ "iss": iss, "iat": now + iat, "exp": now + exp });
    let good = jwt(&key, &claims(APP, -60, 540));
    assert_eq!(ask(&good).status, 200);
    for (claims, reason) in [
        (claims(APP, -60, 700), "too far in the future"),
        (
            claims(APP, -60, -1),
            "must be a numeric value representing the future time",
        ),
        (claims(APP, 100, 540), "'Issued at' claim ('iat')"),
        (claims(1, -60, 540), "Integration not found"),
    ] {
        let answer = ask(&jwt(&key, &claims));
        assert_eq!(answer.status, 401);
        assert!(
            answer.body["message"].as_str().unwrap().contains(reason),
            "{}",
            answer.body
        );
    }
    let [header, _, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(claims(APP, -30, 540).to_string());
    let answer = ask(&format!("{header}.{forged}.{signature}"));
    assert_eq!(
        (answer.status, &answer.body["message"]),
        (401, &json!("A JSON web token could not be decoded"))
    );
}

#[tokio::test]
async fn a_token_can_be_narrowed_and_an_installation_taken_away() {
    let (hub, repo) = house().await;
    let other = hub.create_repository("acme/other");
    other.commit("main", &[("a", "1")], "Begin");
    let key = hub.app(APP, "mainstay", "acme");
    let id = hub.install(APP, &[&repo, &other]);
    let now = Utc::now().timestamp();
    let jwt = jwt(&key, &json!({ "iss": APP, "iat": now, "exp": now + 540 }));
    let url = format!("{}/app/installations/{id}/access_tokens", hub.api_url());
    let wanted = json!({ "repositories": ["infra"], "permissions": { "contents": "read" } });
    let given = ask_as(&jwt, "POST", &url, &[], Some(wanted)).unwrap();
    assert_eq!(given.body["repositories"][0]["full_name"], "acme/infra");
    let token = given.body["token"].as_str().unwrap();
    let status = |path: &str| {
        let url = format!("{}{path}", hub.api_url());
        let answer = ask_as(token, "GET", &url, &[], None).unwrap();
        (
            answer.status,
            answer.header("x-accepted-github-permissions").to_owned(),
        )
    };
    assert_eq!(status("/repos/acme/infra/branches/main").0, 200);
    assert_eq!(status("/repos/acme/other").0, 404);
    assert_eq!(
        status("/repos/acme/infra/pulls"),
        (403, "pull_requests=read".to_owned())
    );
    assert_eq!(status("/user").0, 403);
    for too_much in [
        json!({ "repositories": ["nothing"] }),
        json!({ "permissions": { "administration": "write" } }),
    ] {
        assert_eq!(
            ask_as(&jwt, "POST", &url, &[], Some(too_much))
                .unwrap()
                .status,
            422
        );
    }
    hub.uninstall(id);
    assert_eq!(status("/repos/acme/infra/branches/main").0, 401);
}
