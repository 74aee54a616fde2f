//! Looking: GraphQL, REST where it is refused, and what became of a pull request.

use serde_json::{Value, json};

use super::*;
use crate::forge::{Fate, Forge, Origin};
use crate::id::{IssueNumber, ProposalKey};

fn graph_pull(number: u64) -> Value {
    json!({
        "number": number,
        "title": "Add a subnet",
        "author": {"__typename": "User", "login": "ada"},
        "headRefOid": HEAD,
        "baseRefName": "main",
        "updatedAt": "2024-05-01T12:00:00Z",
        "isCrossRepository": false,
    })
}

fn graph_repo(pulls: Vec<Value>, next: Option<&str>) -> Value {
    json!({
        "base": {"target": {"oid": BASE}},
        "pullRequests": {"pageInfo": {"hasNextPage": next.is_some(), "endCursor": next}, "nodes": pulls},
    })
}

fn rest_pull(number: u64, head_repo: Value) -> Value {
    json!({
        "number": number,
        "title": "Add a subnet",
        "user": {"login": "ada"},
        "head": {"sha": HEAD, "repo": head_repo},
        "base": {"ref": "main", "repo": {"full_name": "acme/infra"}},
        "updated_at": "2024-05-01T12:00:00Z",
    })
}

fn own() -> Value {
    json!({"full_name": "acme/infra"})
}

fn numbers(look: &crate::forge::Look) -> Vec<String> {
    look.open
        .iter()
        .map(|proposal| proposal.key.to_string())
        .collect()
}

#[tokio::test]
async fn many_repositories_are_one_query_and_no_rest() {
    let stand = Stand::with(|heard| {
        assert!(heard.is("POST", "/graphql"), "{heard:?}");
        Reply::json(
            200,
            json!({"data": {
                "r0": graph_repo(vec![graph_pull(1)], None),
                "r1": graph_repo(vec![], None),
                "rateLimit": {"cost": 1, "remaining": 4999, "resetAt": "2024-05-01T13:00:00Z"},
            }}),
        )
    })
    .await;
    let github = github(&stand);
    let looks = github
        .look(&[look_at("acme/infra"), look_at("acme/dns")])
        .await;

    let look = looks[0].as_ref().unwrap();
    assert_eq!(look.base.as_ref().unwrap().as_str(), BASE);
    assert_eq!(look.open[0].head.as_str(), HEAD);
    assert_eq!(look.open[0].origin, Origin::Own);
    assert_eq!(numbers(look), ["#1"]);
    assert!(looks[1].as_ref().unwrap().open.is_empty());
    let counts = github.requests();
    assert_eq!(
        (counts.graphql, counts.rest, counts.rest_not_modified),
        (1, 0, 0)
    );

    let asked = &stand.heard()[0];
    assert_eq!(
        asked.header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    let query = asked.body["query"].as_str().unwrap();
    for name in ["acme", "infra", "dns", "heads"] {
        assert!(!query.contains(name), "{name} in {query}");
    }
    assert_eq!(asked.body["variables"]["n1"], "dns");
    assert_eq!(asked.body["variables"]["b0"], "refs/heads/main");
}

#[tokio::test]
async fn more_than_fifty_repositories_are_asked_for_in_batches() {
    let stand = Stand::with(|heard| {
        let mut data = serde_json::Map::new();
        for n in 0.. {
            if heard.body["variables"][format!("o{n}")].is_null() {
                break;
            }
            data.insert(format!("r{n}"), graph_repo(vec![], None));
        }
        Reply::json(200, json!({"data": data}))
    })
    .await;
    let requests: Vec<_> = (0..120).map(|n| look_at(&format!("acme/r{n}"))).collect();
    let looks = github(&stand).look(&requests).await;
    assert_eq!(looks.len(), 120);
    assert!(looks.iter().all(Result::is_ok));
    assert_eq!(stand.count("POST"), 3);
}

#[tokio::test]
async fn a_missing_repository_fails_alone() {
    let stand = Stand::with(|_| {
        Reply::json(
            200,
            json!({
                "data": {"r0": graph_repo(vec![], None), "r1": null, "r2": graph_repo(vec![graph_pull(7)], None)},
                "errors": [{"type": "NOT_FOUND", "path": ["r1"], "message": "Could not resolve to a Repository"}],
            }),
        )
    })
    .await;
    let looks = github(&stand)
        .look(&[look_at("acme/a"), look_at("acme/gone"), look_at("acme/c")])
        .await;
    assert!(looks[0].is_ok());
    let error = looks[1].as_ref().unwrap_err();
    assert!(
        matches!(error, ForgeError::NotFound { what } if what.contains("acme/gone")),
        "{error}"
    );
    assert_eq!(numbers(looks[2].as_ref().unwrap()), ["#7"]);
}

#[tokio::test]
async fn one_missing_repository_looked_at_alone_is_not_found() {
    let stand = Stand::with(|_| {
        Reply::json(
            200,
            json!({
                "data": {"r0": null},
                "errors": [{"type": "NOT_FOUND", "path": ["r0"], "message": "Could not resolve to a Repository"}],
            }),
        )
    })
    .await;
    let looks = github(&stand).look(&[look_at("acme/gone")]).await;
    assert!(
        matches!(looks[0], Err(ForgeError::NotFound { .. })),
        "{looks:?}"
    );
    assert_eq!(stand.lines(), ["POST /graphql"]);
}

#[tokio::test]
async fn an_error_inside_a_repository_is_no_empty_look() {
    let stand = Stand::with(|_| {
        Reply::json(
            200,
            json!({
                "data": {"r0": {
                    "base": {"target": {"oid": BASE}},
                    "pullRequests": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": [null]},
                }},
                "errors": [{"path": ["r0", "pullRequests", "nodes", 0], "message": "Something went wrong"}],
            }),
        )
    })
    .await;
    let looks = github(&stand).look(&[look_at("acme/infra")]).await;
    assert!(
        matches!(looks[0], Err(ForgeError::Transient { .. })),
        "{looks:?}"
    );
}

#[tokio::test]
async fn every_page_of_pull_requests_is_read() {
    let stand = Stand::with(|heard| {
        let repo = match heard.body["variables"]["c0"].as_str() {
            None => graph_repo((1..=50).map(graph_pull).collect(), Some("second")),
            // One moved from the first page to the second meanwhile.
            Some("second") => graph_repo(vec![graph_pull(50), graph_pull(51)], None),
            other => panic!("{other:?}"),
        };
        Reply::json(200, json!({"data": {"r0": repo}}))
    })
    .await;
    let looks = github(&stand).look(&[look_at("acme/infra")]).await;
    assert_eq!(looks[0].as_ref().unwrap().open.len(), 51);
}

#[tokio::test]
async fn the_entries_of_the_merge_queue_are_proposals_however_their_names_are_given() {
    let stand = Stand::with(|heard| {
        assert_eq!(
            heard.body["variables"]["q0"],
            "refs/heads/gh-readonly-queue/main/"
        );
        let mut repo = graph_repo(vec![graph_pull(1)], None);
        repo["queue"] = json!({"nodes": [
            {"prefix": "refs/heads/", "name": "gh-readonly-queue/main/pr-1-a", "target": {"oid": HEAD}},
            {"prefix": "refs/heads/gh-readonly-queue/main/", "name": "pr-2-b", "target": {"oid": BASE}},
        ]});
        Reply::json(200, json!({"data": {"r0": repo}}))
    })
    .await;
    let looks = github(&stand).look(&[look_at("acme/infra")]).await;
    let look = looks[0].as_ref().unwrap();
    assert_eq!(
        numbers(look),
        [
            "#1",
            "branch gh-readonly-queue/main/pr-1-a",
            "branch gh-readonly-queue/main/pr-2-b"
        ]
    );
    assert!(look.open.iter().all(|p| p.base_branch.as_str() == "main"));
}

#[tokio::test]
async fn odd_pull_requests_do_not_break_a_look() {
    let stand = Stand::with(|_| {
        let mut ghost = graph_pull(1);
        ghost["author"] = Value::Null;
        let mut fork = graph_pull(2);
        fork["isCrossRepository"] = json!(true);
        let mut bot = graph_pull(3);
        bot["author"] = json!({"__typename": "Bot", "login": "renovate"});
        let mut no_branch = graph_pull(4);
        no_branch["baseRefName"] = json!("-odd");
        let mut repo = graph_repo(vec![ghost, fork, bot, no_branch], None);
        repo["base"] = Value::Null;
        Reply::json(200, json!({"data": {"r0": repo}}))
    })
    .await;
    let looks = github(&stand).look(&[look_at("acme/infra")]).await;
    let look = looks[0].as_ref().unwrap();
    assert_eq!(look.base, None);
    assert_eq!(numbers(look), ["#1", "#2", "#3"]);
    assert_eq!(look.open[0].author, "ghost");
    assert_eq!(look.open[1].origin, Origin::Fork);
    assert_eq!(look.open[2].author, "renovate[bot]");
}

/// A REST-only server with ETags; GraphQL is refused.
fn rest_only(heard: &Heard) -> Reply {
    if heard.path == "/graphql" {
        return Reply::json(
            403,
            json!({"message": "Resource not accessible by personal access token"}),
        );
    }
    let (etag, body) = match heard.path.as_str() {
        "/repos/acme/infra/branches/main" => {
            ("\"b1\"", json!({"name": "main", "commit": {"sha": BASE}}))
        }
        "/repos/acme/infra/pulls?state=open&sort=updated&direction=desc&per_page=100" => (
            "\"p1\"",
            json!([rest_pull(1, own()), rest_pull(2, Value::Null)]),
        ),
        "/repositories/1/pulls?page=2" => (
            "\"p2\"",
            json!([rest_pull(3, json!({"full_name": "eve/infra"}))]),
        ),
        "/repos/acme/infra/git/matching-refs/heads/gh-readonly-queue/main/?per_page=100" => (
            "\"q1\"",
            json!([{"ref": "refs/heads/gh-readonly-queue/main/pr-2-b", "object": {"sha": HEAD}}]),
        ),
        _ => return not_found(),
    };
    if heard.header("if-none-match") == Some(etag) {
        return Reply::text(304, "").with("etag", etag);
    }
    let reply = Reply::json(200, body).with("etag", etag);
    if etag == "\"p1\"" {
        let link = "<https://elsewhere.test/repositories/1/pulls?page=2>; rel=\"next\", \
                    <https://elsewhere.test/repositories/1/pulls?page=2>; rel=\"last\"";
        return reply.with("link", link);
    }
    reply
}

#[tokio::test]
async fn where_graphql_is_refused_rest_looks_and_nothing_new_costs_nothing() {
    let stand = Stand::with(rest_only).await;
    let github = github(&stand);
    let request = [look_at("acme/infra")];
    let first = github.look(&request).await.remove(0).unwrap();
    assert_eq!(first.base.as_ref().unwrap().as_str(), BASE);
    assert_eq!(
        numbers(&first),
        ["#1", "#2", "#3", "branch gh-readonly-queue/main/pr-2-b"]
    );
    let origins: Vec<_> = first.open.iter().map(|proposal| proposal.origin).collect();
    assert_eq!(
        origins,
        [Origin::Own, Origin::Fork, Origin::Fork, Origin::Own]
    );
    let counts = github.requests();
    assert_eq!(
        (counts.graphql, counts.rest, counts.rest_not_modified),
        (1, 4, 0)
    );

    let second = github.look(&request).await.remove(0).unwrap();
    assert_eq!(first, second);
    let counts = github.requests();
    assert_eq!(
        (counts.graphql, counts.rest, counts.rest_not_modified),
        (1, 4, 4)
    );
    assert!(
        stand
            .heard()
            .iter()
            .all(|heard| heard.header("authorization").is_some())
    );
}

#[tokio::test]
async fn graphql_is_tried_again_after_an_hour() {
    let stand = Stand::with(rest_only).await;
    let github = github(&stand);
    let request = [look_at("acme/infra")];
    github.look(&request).await.remove(0).unwrap();
    let until = *github
        .graphql_refused
        .lock()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let wait = until - crate::clock::now();
    assert!((59..=60).contains(&wait.num_minutes()), "{wait}");
    github
        .graphql_refused
        .lock()
        .unwrap()
        .values_mut()
        .for_each(|until| *until -= wait);
    github.look(&request).await.remove(0).unwrap();
    assert_eq!(github.requests().graphql, 2);
}

#[tokio::test]
async fn a_token_that_sees_nothing_by_graphql_looks_by_rest() {
    let stand = Stand::with(|heard| match heard.path.as_str() {
        "/graphql" => Reply::json(
            200,
            json!({
                "data": {"r0": null},
                "errors": [{"type": "FORBIDDEN", "path": ["r0"], "message": "Resource not accessible"}],
            }),
        ),
        _ => rest_only(heard),
    })
    .await;
    let look = github(&stand)
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(look.open.len(), 4);
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_is_no_fault_of_graphql() {
    let stand = Stand::with(|_| Reply::json(401, json!({"message": "Bad credentials"}))).await;
    let github = github(&stand);
    let error = github
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap_err();
    assert!(error.to_string().contains("expired or revoked"), "{error}");
    assert!(matches!(error, ForgeError::Denied { .. }));
    assert!(github.graphql_refused.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_repository_without_the_branch_has_no_base() {
    let stand = Stand::with(|heard| match heard.path.as_str() {
        "/repos/acme/infra/branches/main" => {
            Reply::json(404, json!({"message": "Branch not found"}))
        }
        _ => rest_only(heard),
    })
    .await;
    let look = github(&stand)
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    assert_eq!((look.base.as_ref(), look.open.len()), (None, 4));
}

#[tokio::test]
async fn a_renamed_branch_is_not_followed() {
    let stand = Stand::with(|heard| match heard.path.as_str() {
        "/repos/acme/infra/branches/main" => {
            Reply::json(301, json!({})).with("location", "/repos/acme/infra/branches/trunk")
        }
        "/repos/acme/infra/branches/trunk" => {
            Reply::json(200, json!({"name": "trunk", "commit": {"sha": BASE}}))
        }
        _ => rest_only(heard),
    })
    .await;
    let look = github(&stand)
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(look.base, None);
}

#[tokio::test]
async fn by_rest_too_a_missing_repository_fails_alone() {
    let stand = Stand::with(rest_only).await;
    let looks = github(&stand)
        .look(&[look_at("acme/gone"), look_at("acme/infra")])
        .await;
    assert!(matches!(looks[0], Err(ForgeError::NotFound { .. })));
    assert!(looks[1].is_ok());
}

#[tokio::test]
async fn a_body_cut_off_is_transient_and_is_not_kept() {
    let mut pulls_asked = 0;
    let stand = Stand::with(move |heard| {
        let reply = rest_only(heard);
        if heard.path.contains("/infra/pulls") {
            pulls_asked += 1;
            if pulls_asked == 1 {
                return Reply::CutOff(Box::new(reply));
            }
            if pulls_asked == 2 {
                // Whole by its length, and no JSON.
                return Reply::text(200, "[{\"number\": 1,").with("etag", "\"p1\"");
            }
        }
        reply
    })
    .await;
    let github = github(&stand);
    let request = [look_at("acme/infra")];
    for _ in 0..2 {
        let error = github.look(&request).await.remove(0).unwrap_err();
        assert!(matches!(error, ForgeError::Transient { .. }), "{error:?}");
    }
    let look = github.look(&request).await.remove(0).unwrap();
    assert_eq!(look.open.len(), 4);
    let asked: Vec<_> = stand
        .heard()
        .into_iter()
        .filter(|heard| heard.path.contains("/infra/pulls"))
        .collect();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|heard| heard.header("if-none-match").is_none()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_body_cut_off_leaves_what_was_known_before() {
    let mut rounds = 0;
    let stand = Stand::with(move |heard| {
        if heard.path.contains("/infra/pulls") {
            rounds += 1;
            if rounds == 2 {
                return Reply::CutOff(Box::new(
                    Reply::json(200, json!([])).with("etag", "\"new\""),
                ));
            }
        }
        rest_only(heard)
    })
    .await;
    let github = github(&stand);
    let request = [look_at("acme/infra")];
    let first = github.look(&request).await.remove(0).unwrap();
    assert!(github.look(&request).await.remove(0).is_err());
    assert_eq!(github.look(&request).await.remove(0).unwrap(), first);
}

#[tokio::test]
async fn a_query_that_fails_as_a_whole_is_transient_for_all() {
    for reply in [
        Reply::text(502, "<html>Unicorn</html>"),
        Reply::json(
            200,
            json!({"data": null, "errors": [{"message": "Something went wrong"}]}),
        ),
        Reply::json(200, json!({"data": {}})),
        Reply::HangUp,
    ] {
        let stand = Stand::with(move |_| reply.clone()).await;
        let looks = github(&stand)
            .look(&[look_at("acme/a"), look_at("acme/b")])
            .await;
        assert_eq!(looks.len(), 2);
        for look in looks {
            assert!(
                matches!(look, Err(ForgeError::Transient { .. })),
                "{look:?}"
            );
        }
        assert_eq!(stand.lines(), ["POST /graphql"]);
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_never_sent() {
    let stand = Stand::with(|_| not_found()).await;
    let looks = github(&stand)
        .look(&[look_at("acme/../x"), look_at("https://x.test/a")])
        .await;
    assert!(
        looks
            .iter()
            .all(|look| matches!(look, Err(ForgeError::NotFound { .. })))
    );
    assert!(stand.heard().is_empty());
}

#[tokio::test]
async fn the_fate_of_a_pull_request_is_open_closed_or_merged() {
    let stand = Stand::with(|heard| {
        let (state, merged, commit) = match heard.path.as_str() {
            "/repos/acme/infra/pulls/1" => ("open", false, json!(HEAD)),
            "/repos/acme/infra/pulls/2" => ("closed", false, json!(HEAD)),
            "/repos/acme/infra/pulls/3" => ("closed", true, json!(BASE)),
            "/repos/acme/infra/pulls/4" => ("closed", true, Value::Null),
            _ => return not_found(),
        };
        Reply::json(
            200,
            json!({"state": state, "merged": merged, "merge_commit_sha": commit}),
        )
    })
    .await;
    let github = github(&stand);
    let request = look_at("acme/infra");
    let fate = async |number| {
        github
            .fate(&request, &ProposalKey::Pull(IssueNumber(number)))
            .await
    };
    assert_eq!(fate(1).await.unwrap(), Fate::Open);
    assert_eq!(fate(2).await.unwrap(), Fate::Closed);
    assert_eq!(fate(3).await.unwrap(), Fate::Merged(BASE.parse().unwrap()));
    assert!(matches!(fate(4).await, Err(ForgeError::Transient { .. })));
    assert!(matches!(fate(5).await, Err(ForgeError::NotFound { .. })));
}

#[tokio::test]
async fn an_enterprise_server_has_its_apis_side_by_side() {
    let stand = Stand::with(|heard| match heard.path.as_str() {
        "/api/graphql" => Reply::json(404, json!({"message": "Not Found"})),
        "/api/v3/repos/acme/infra/branches/main" => {
            Reply::json(200, json!({"name": "main", "commit": {"sha": BASE}}))
        }
        "/api/v3/repos/acme/infra/pulls?state=open&sort=updated&direction=desc&per_page=100" => {
            Reply::json(200, json!([rest_pull(1, own())])).with(
                "link",
                "<https://ghe.test/api/v3/repositories/1/pulls?page=2>; rel=\"next\"",
            )
        }
        "/api/v3/repositories/1/pulls?page=2" => Reply::json(200, json!([rest_pull(2, own())])),
        "/api/v3/repos/acme/infra/git/matching-refs/heads/gh-readonly-queue/main/?per_page=100" => {
            Reply::json(200, json!([]))
        }
        path => panic!("{path}"),
    })
    .await;
    let api_url = format!("{}/api/v3/", stand.url);
    let github = GitHub::new(Settings {
        api_url,
        ..settings(&stand)
    })
    .unwrap();
    let look = github
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(numbers(&look), ["#1", "#2"]);
}
