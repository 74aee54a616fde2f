//! Who may see and do what.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::bare::{Answer, TOKEN, ask, ask_as, get, house};
use crate::github::GitHub;
use crate::github::log::AuthKind;
use crate::github::world::Role;

fn as_token(hub: &GitHub, token: &str, method: &str, path: &str) -> Answer {
    let body = (method != "GET").then(|| json!({ "body": "x", "state": "success", "name": "x" }));
    ask_as(
        token,
        method,
        &format!("{}{path}", hub.api_url()),
        &[],
        body,
    )
    .unwrap()
}

#[tokio::test]
async fn credentials_are_asked_for_and_checked() {
    let (hub, _) = house().await;
    let nobody = as_token(&hub, "", "GET", "/user");
    assert_eq!(
        (nobody.status, &nobody.body["message"]),
        (401, &json!("Requires authentication"))
    );
    let bad = as_token(&hub, "ghp_wrong", "GET", "/user");
    assert_eq!(
        (bad.status, &bad.body["message"]),
        (401, &json!("Bad credentials"))
    );
    let auth: Vec<_> = hub
        .requests()
        .into_iter()
        .map(|request| request.auth)
        .collect();
    assert_eq!(auth, [AuthKind::Anonymous, AuthKind::Bad]);
    hub.revoke_token(TOKEN);
    assert_eq!(get(&hub, "/user").status, 401);
}

#[tokio::test]
async fn a_private_repository_is_not_even_there_for_others() {
    let (hub, repo) = house().await;
    hub.token("ghp_eve", "eve", &["repo"]);
    hub.token("ghp_noscope", "mainstay-bot", &[]);
    for token in ["", "ghp_eve", "ghp_noscope"] {
        assert_eq!(
            as_token(&hub, token, "GET", "/repos/acme/infra").status,
            404,
            "{token:?}"
        );
    }
    repo.publish();
    for token in ["", "ghp_eve", "ghp_noscope"] {
        assert_eq!(
            as_token(&hub, token, "GET", "/repos/acme/infra").status,
            200,
            "{token:?}"
        );
    }
    let issue = repo.open_issue("alice", "Talk", "");
    let comments = format!("/repos/acme/infra/issues/{issue}/comments");
    assert_eq!(as_token(&hub, "", "POST", &comments).status, 401);
    assert_eq!(as_token(&hub, "ghp_noscope", "POST", &comments).status, 404);
    assert_eq!(as_token(&hub, "ghp_eve", "POST", &comments).status, 201);
}

#[tokio::test]
async fn a_reader_comments_and_does_nothing_else() {
    let (hub, repo) = house().await;
    hub.user("rita", &[(&repo, Role::Read)]);
    hub.token("ghp_rita", "rita", &["repo"]);
    let issue = repo.open_issue("alice", "Talk", "");
    let other = repo.comment(issue, "alice", "hers");
    let sha = repo.head("main").unwrap();
    let status = |method: &str, path: &str| {
        as_token(
            &hub,
            "ghp_rita",
            method,
            &format!("/repos/acme/infra{path}"),
        )
        .status
    };
    assert_eq!(status("POST", &format!("/issues/{issue}/comments")), 201);
    assert_eq!(status("PATCH", &format!("/issues/comments/{other}")), 403);
    assert_eq!(status("DELETE", &format!("/issues/comments/{other}")), 403);
    assert_eq!(status("PATCH", &format!("/issues/{issue}")), 403);
    assert_eq!(status("POST", &format!("/statuses/{sha}")), 404);
    assert_eq!(status("POST", "/labels"), 404);
    assert_eq!(status("GET", "/collaborators/alice/permission"), 403);
    let labelled = json!({ "title": "Mine", "labels": ["bug"] });
    let url = format!("{}/repos/acme/infra/issues", hub.api_url());
    let made = ask_as("ghp_rita", "POST", &url, &[], Some(labelled)).unwrap();
    assert_eq!(
        (made.status, &made.body["labels"]),
        (201, &json!([])),
        "labels are dropped silently"
    );
}

#[tokio::test]
async fn a_writer_edits_what_others_wrote() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let other = repo.comment(issue, "alice", "hers");
    let path = format!("/repos/acme/infra/issues/comments/{other}");
    assert_eq!(
        ask(&hub, "PATCH", &path, Some(json!({ "body": "mine" }))).body["body"],
        "mine"
    );
    assert_eq!(ask(&hub, "DELETE", &path, None).status, 204);
    assert_eq!(get(&hub, &path).status, 404);
}

#[tokio::test]
async fn single_permissions_are_named_where_they_lack() {
    let (hub, repo) = house().await;
    let sha = repo.head("main").unwrap();
    let given = [
        ("metadata", "read"),
        ("statuses", "read"),
        ("issues", "read"),
    ];
    hub.fine_grained_token("github_pat_1", "mainstay-bot", &[&repo], &given);
    let statuses = format!("/repos/acme/infra/statuses/{sha}");
    let refused = as_token(&hub, "github_pat_1", "POST", &statuses);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body["message"],
        "Resource not accessible by personal access token"
    );
    assert_eq!(
        refused.header("x-accepted-github-permissions"),
        "statuses=write"
    );
    let other = hub.create_repository("acme/other");
    other.grant("mainstay-bot", Role::Admin);
    assert_eq!(
        as_token(&hub, "github_pat_1", "GET", "/repos/acme/other").status,
        404
    );

    let key = hub.app(1, "mainstay", "acme");
    let id = hub.install(1, &[&repo]);
    let token = installation_token(&hub, &key, id);
    assert_eq!(as_token(&hub, &token, "POST", &statuses).status, 201);
    hub.set_permission(id, "statuses", "read");
    let refused = as_token(&hub, &token, "POST", &statuses);
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (403, &json!("Resource not accessible by integration"))
    );
    hub.set_permission(id, "contents", "none");
    assert_eq!(
        as_token(&hub, &token, "GET", "/repos/acme/infra/branches/main").status,
        403
    );
}

fn installation_token(hub: &GitHub, key: &str, id: u64) -> String {
    let key = octocrab::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let jwt = octocrab::auth::create_jwt(octocrab::models::AppId(1), &key).unwrap();
    let url = format!("{}/app/installations/{id}/access_tokens", hub.api_url());
    let given = ask_as(&jwt, "POST", &url, &[], None).unwrap();
    given.body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_without_a_user_agent_is_turned_away() {
    let (hub, _) = house().await;
    let address = hub.api_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!(
        "GET /user HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn only_versions_that_exist_can_be_asked_for() {
    let (hub, _) = house().await;
    let url = format!("{}/user", hub.api_url());
    for (version, status) in [("2022-11-28", 200), ("2022-11-29", 400)] {
        let headers = [("x-github-api-version", version)];
        assert_eq!(
            ask_as(TOKEN, "GET", &url, &headers, None).unwrap().status,
            status,
            "{version}"
        );
    }
}

#[tokio::test]
async fn a_renamed_repository_leads_to_its_new_name() {
    let (hub, repo) = house().await;
    let renamed = hub.rename_repository("acme/infra", "acme/platform");
    let answer = get(&hub, "/repos/acme/infra/pulls");
    assert_eq!(answer.status, 301);
    let url = format!("{}/repositories/{}/pulls", hub.api_url(), renamed.id());
    assert_eq!(answer.header("location"), url);
    assert_eq!(ask_as(TOKEN, "GET", &url, &[], None).unwrap().status, 200);
    let posted = ask(
        &hub,
        "POST",
        "/repos/acme/infra/issues",
        Some(json!({ "title": "a" })),
    );
    assert_eq!(posted.status, 307);
    assert_eq!(
        get(&hub, "/repos/acme/platform").body["full_name"],
        "acme/platform"
    );
    drop(repo);
}

#[tokio::test]
async fn what_the_model_does_not_know_is_written_down() {
    let (hub, _) = house().await;
    assert_eq!(get(&hub, "/repos/acme/infra/topics?page=1").status, 404);
    let [unknown] = hub.unmodelled().try_into().unwrap();
    assert_eq!(
        (unknown.method.as_str(), unknown.path.as_str()),
        ("GET", "/repos/acme/infra/topics")
    );
    assert_eq!(
        (unknown.query.as_str(), unknown.status),
        ("page=1", Some(404))
    );
    get(&hub, "/repos/acme/nothing");
    assert_eq!(
        hub.unmodelled().len(),
        1,
        "a known endpoint that finds nothing is known"
    );
}
