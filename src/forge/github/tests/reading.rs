//! Reading comments, permissions and clone URLs; redirects; and what errors say.

use serde_json::json;

use super::super::{Level, SetupError};
use super::*;
use crate::clock::Timestamp;
use crate::forge::{Forge, Permission, Urgency};

fn at(second: u32) -> Timestamp {
    format!("2024-05-01T12:00:{second:02}Z").parse().unwrap()
}

fn comment_at(id: u64, second: u32) -> Value {
    let mut wire = comment(id, "ada", "mainstay plan");
    wire["updated_at"] = json!(at(second));
    wire
}

#[tokio::test]
async fn comments_are_read_over_all_pages_and_for_nothing_the_second_time() {
    let stand = Stand::with(|heard| {
        let (etag, page, next) = match heard.path.as_str() {
            path if path.contains("since=2024-05-01T12:00:09Z") => {
                // Comment 1 is older than what was asked for.
                (
                    "\"1\"",
                    json!([comment_at(1, 9), comment_at(2, 10), comment_at(3, 20)]),
                    true,
                )
            }
            path if path.contains("since=2024-05-01T12:00:19Z") => (
                "\"2\"",
                json!([comment_at(3, 20), comment_at(4, 30)]),
                false,
            ),
            path => panic!("{path}"),
        };
        if heard.header("if-none-match") == Some(etag) {
            return Reply::text(304, "");
        }
        let reply = Reply::json(200, page).with("etag", etag);
        if next {
            reply.with("link", "</x?page=2>; rel=\"next\"")
        } else {
            reply
        }
    })
    .await;
    let github = github(&stand);
    let first = github.comments(&repo(), at(10)).await.unwrap();
    let ids: Vec<u64> = first.iter().map(|comment| comment.id.0).collect();
    assert_eq!(ids, [2, 3, 4]);
    assert_eq!((first[0].issue.0, first[0].author.as_str()), (3, "ada"));
    assert_eq!(github.comments(&repo(), at(10)).await.unwrap(), first);
    assert_eq!(
        (github.requests().rest, github.requests().rest_not_modified),
        (2, 2)
    );
}

#[tokio::test]
async fn a_page_of_comments_of_one_second_is_followed_by_its_link() {
    let stand = Stand::with(|heard| {
        if heard.path == "/repositories/1/issues/comments?page=2" {
            return Reply::json(200, json!([comment_at(2, 10)]));
        }
        Reply::json(200, json!([comment_at(1, 10)])).with(
            "link",
            "<http://x.test/repositories/1/issues/comments?page=2>; rel=\"next\"",
        )
    })
    .await;
    let comments = github(&stand).comments(&repo(), at(10)).await.unwrap();
    assert_eq!(comments.len(), 2);
}

#[tokio::test]
async fn a_comment_of_a_deleted_account_is_by_a_ghost() {
    let stand = Stand::with(|_| {
        let mut wire = comment_at(1, 10);
        wire["user"] = Value::Null;
        wire["body"] = Value::Null;
        Reply::json(200, json!([wire]))
    })
    .await;
    let comments = github(&stand).comments(&repo(), at(10)).await.unwrap();
    assert_eq!(
        (comments[0].author.as_str(), comments[0].body.as_str()),
        ("ghost", "")
    );
}

#[tokio::test]
async fn write_maintain_and_admin_may_write_and_nobody_else() {
    let stand = Stand::with(|heard| {
        let (permission, role) = match heard.path.as_str() {
            "/repos/acme/infra/collaborators/admin/permission" => ("admin", "admin"),
            "/repos/acme/infra/collaborators/writer/permission" => ("write", "write"),
            "/repos/acme/infra/collaborators/maintainer/permission" => ("write", "maintain"),
            "/repos/acme/infra/collaborators/reader/permission" => ("read", "triage"),
            "/repos/acme/infra/collaborators/x%5Bbot%5D/permission" => ("none", "none"),
            _ => return not_found(),
        };
        Reply::json(200, json!({"permission": permission, "role_name": role}))
    })
    .await;
    let github = github(&stand);
    for (user, expected) in [
        ("admin", Permission::Write),
        ("writer", Permission::Write),
        ("maintainer", Permission::Write),
        ("reader", Permission::Less),
        ("x[bot]", Permission::Less),
        ("stranger", Permission::Less),
    ] {
        assert_eq!(
            github.may_write(&repo(), user).await.unwrap(),
            expected,
            "{user}"
        );
    }
}

#[tokio::test]
async fn a_permission_is_remembered_for_a_minute_at_most() {
    let stand =
        Stand::with(|_| Reply::json(200, json!({"permission": "write", "role_name": "write"})))
            .await;
    let github = github(&stand);
    for _ in 0..3 {
        github.may_write(&repo(), "ada").await.unwrap();
    }
    assert_eq!(stand.count("GET"), 1);
    for (asked_at, _) in github.permissions.lock().unwrap().values_mut() {
        *asked_at -= Duration::from_secs(60);
    }
    github.may_write(&repo(), "ada").await.unwrap();
    assert_eq!(stand.count("GET"), 2);
}

#[tokio::test]
async fn a_permission_that_cannot_be_asked_is_no_permission() {
    let stand =
        Stand::with(|_| Reply::json(403, json!({"message": "Must have push access"}))).await;
    let error = github(&stand).may_write(&repo(), "ada").await.unwrap_err();
    assert!(error.to_string().contains("Metadata: read"), "{error}");
}

#[tokio::test]
async fn git_gets_the_clone_url_that_the_forge_gives_and_the_token_beside_it() {
    let stand = Stand::with(|_| {
        Reply::json(
            200,
            json!({"clone_url": "http://127.0.0.1:9/acme/infra.git"}),
        )
        .with("etag", "\"1\"")
    })
    .await;
    let remote = github(&stand).remote(&repo()).await.unwrap();
    assert_eq!(remote.url, "http://127.0.0.1:9/acme/infra.git");
    let (user, password) = remote.login.clone().unwrap();
    assert_eq!(
        (user.as_str(), password.expose()),
        ("x-access-token", TOKEN)
    );
    assert_eq!(remote.proposal_refs, "refs/pull/*/head");
    assert!(!format!("{remote:?}").contains(TOKEN));
}

#[tokio::test]
async fn the_token_stays_at_home_and_is_never_sent_in_clear() {
    let stand = Stand::with(|heard| {
        let url = match heard.path.as_str() {
            "/repos/acme/foreign" => "https://git.elsewhere.test/x.git",
            _ => "http://git.elsewhere.test/x.git",
        };
        Reply::json(200, json!({"clone_url": url}))
    })
    .await;
    let github = github(&stand);
    let foreign = github
        .remote(&"acme/foreign".parse().unwrap())
        .await
        .unwrap();
    assert!(foreign.login.is_none());
    let clear = github
        .remote(&"acme/clear".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(clear, ForgeError::Denied { .. }), "{clear}");
}

#[tokio::test]
async fn a_moved_repository_is_followed_within_the_api_and_not_out_of_it() {
    let stand = Stand::with(|heard| match heard.path.as_str() {
        "/repos/acme/infra" => Reply::json(301, json!({})).with("location", "/repositories/1"),
        "/repositories/1" => {
            Reply::json(200, json!({"clone_url": "https://127.0.0.1/acme/new.git"}))
        }
        _ => Reply::json(301, json!({})).with("location", "http://192.0.2.1/repositories/2"),
    })
    .await;
    let github = github(&stand);
    assert!(
        github
            .remote(&repo())
            .await
            .unwrap()
            .url
            .ends_with("new.git")
    );
    let error = github
        .remote(&"acme/out".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ForgeError::Refused { status: 301, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn redirects_end() {
    let stand =
        Stand::with(|_| Reply::json(301, json!({})).with("location", "/repos/acme/infra")).await;
    let error = github(&stand).remote(&repo()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Transient { .. }), "{error}");
    assert_eq!(stand.count("GET"), 6);
}

#[tokio::test]
async fn each_refusal_is_the_error_that_says_what_to_do() {
    let cases = [
        (
            Reply::json(401, json!({"message": "Bad credentials"})),
            "Denied",
        ),
        (
            Reply::json(403, json!({"message": "Resource not accessible"})),
            "Denied",
        ),
        (not_found(), "NotFound"),
        (Reply::text(404, ""), "NotFound"),
        (Reply::text(404, "<html>no such site</html>"), "Transient"),
        (Reply::json(410, json!({"message": "Gone"})), "Refused"),
        (
            Reply::json(422, json!({"message": "Validation Failed"})),
            "Refused",
        ),
        (
            Reply::json(500, json!({"message": "Server Error"})),
            "Transient",
        ),
        (Reply::text(502, "<html>Unicorn</html>"), "Transient"),
        (Reply::text(200, "<html>log in</html>"), "Transient"),
        (
            Reply::CutOff(Box::new(Reply::json(200, json!({"clone_url": "x"})))),
            "Transient",
        ),
        (Reply::CutOff(Box::new(not_found())), "Transient"),
        (Reply::HangUp, "Transient"),
        (Reply::Silence, "Transient"),
    ];
    for (reply, expected) in cases {
        let label = format!("{reply:?}");
        let stand = Stand::with(move |_| reply.clone()).await;
        let quick = Settings {
            request_timeout: Duration::from_millis(500),
            ..settings(&stand)
        };
        let error = GitHub::new(quick)
            .unwrap()
            .remote(&repo())
            .await
            .unwrap_err();
        assert!(
            format!("{error:?}").starts_with(expected),
            "{label}: {error:?}"
        );
        assert_eq!(stand.count("GET"), 1, "{label}: nothing is repeated inside");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient() {
    let url = Stand::with(|_| not_found()).await.url.clone();
    let settings = Settings::new(url, Auth::Token(Secret::new(TOKEN)));
    let error = GitHub::new(settings)
        .unwrap()
        .remote(&repo())
        .await
        .unwrap_err();
    assert!(matches!(error, ForgeError::Transient { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_permission_and_quotes_github() {
    let stand = Stand::with(|heard| {
        user(heard).unwrap_or_else(|| {
            Reply::json(
                403,
                json!({"message": "Resource not accessible by integration", "errors": [{"code": "custom"}]}),
            )
            .with("x-accepted-github-permissions", "statuses=write")
        })
    })
    .await;
    let status = crate::forge::Status {
        context: "mainstay/plan".to_owned(),
        state: crate::forge::StatusState::Pending,
        description: String::new(),
    };
    let error = github(&stand)
        .set_status(&repo(), &BASE.parse().unwrap(), &status, Urgency::Now)
        .await
        .unwrap_err();
    insta::assert_snapshot!(
        error.to_string().replace(&stand.url, "URL"),
        @"GitHub at 127.0.0.1 refused `set the status `mainstay/plan` of acme/infra at 0123456`: Resource not accessible by integration (custom); this needs the permission `Commit statuses: write` (`statuses=write`)"
    );
}

#[tokio::test]
async fn no_secret_is_in_what_is_printed() {
    let stand = Stand::with(|heard| {
        let echo = heard.header("authorization").unwrap().to_owned();
        Reply::json(403, json!({"message": format!("I was sent {echo}")}))
    })
    .await;
    let settings = settings(&stand);
    assert!(!format!("{settings:?}").contains(TOKEN));
    let github = GitHub::new(settings).unwrap();
    assert!(!format!("{github:?}").contains(TOKEN));
    let error = github.remote(&repo()).await.unwrap_err();
    assert!(error.to_string().contains("I was sent"), "{error}");
    assert!(!text_of(&error).contains(TOKEN), "{}", text_of(&error));

    for reply in [
        Reply::HangUp,
        Reply::text(200, "no"),
        Reply::text(500, "no"),
    ] {
        let stand = Stand::with(move |_| reply.clone()).await;
        let error = super::github(&stand).remote(&repo()).await.unwrap_err();
        assert!(!text_of(&error).contains(TOKEN), "{}", text_of(&error));
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_without_quoting_secrets() {
    let token = |text: &str| Auth::Token(Secret::new(text));
    let url = GitHub::new(Settings::new("http://api.github.com", token("x"))).unwrap_err();
    assert!(matches!(url, SetupError::ApiUrl { .. }));
    let empty = GitHub::new(Settings::new("https://api.github.com", token(""))).unwrap_err();
    assert!(matches!(empty, SetupError::Token));
    let broken = GitHub::new(Settings::new(
        "https://api.github.com",
        token("a secret\nline"),
    ))
    .unwrap_err();
    assert!(!format!("{broken:?} {broken}").contains("secret"));
    let key = Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----");
    let auth = Auth::App {
        id: 1,
        private_key_pem: key,
    };
    let no_key = GitHub::new(Settings::new("https://api.github.com", auth)).unwrap_err();
    assert!(!format!("{no_key:?} {no_key}").contains("hunter2"));
}

#[tokio::test]
async fn the_doctor_says_of_a_token_what_it_may_do() {
    let stand = Stand::with(|heard| {
        if let Some(reply) = user(heard) {
            return reply;
        }
        match heard.path.as_str() {
            "/repos/acme/infra" => Reply::json(
                200,
                json!({
                    "clone_url": "http://127.0.0.1:9/x.git",
                    "permissions": {"push": true, "pull": true},
                    "has_issues": false,
                }),
            )
            .with("x-oauth-scopes", "public_repo, read:org"),
            _ => not_found(),
        }
    })
    .await;
    let findings = github(&stand).doctor(&repo()).await;
    let said: Vec<String> = findings
        .iter()
        .map(|finding| format!("{:?}: {}", finding.level, finding.text))
        .collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    Ok: GitHub accepts the credentials, as mainstay-bot.
    Ok: The repository acme/infra is visible.
    Warn: Issues are switched off in acme/infra, so drift cannot be reported there; switch them on in its settings.
    Ok: The token's account may write to acme/infra: statuses and comments go through.
    Ok: Git fetches http://127.0.0.1:9/x.git with the same credentials.
    Warn: The token has the scope `public_repo`: private repositories need `repo`.
    Warn: GraphQL is of no use here (GitHub's GraphQL API is not there, or may not be seen with these credentials); each repository is looked at by REST with ETags.
    ");
    assert_eq!(stand.count("PATCH") + stand.count("DELETE"), 0);
}

#[tokio::test]
async fn the_doctor_says_that_a_token_is_wrong_and_stops() {
    let stand = Stand::with(|_| Reply::json(401, json!({"message": "Bad credentials"}))).await;
    let findings = github(&stand).doctor(&repo()).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].level, Level::Error);
}
