//! Everything that can go wrong does so when asked to.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bare::{Answer, TOKEN, ask, ask_as, get, house};
use crate::github::GitHub;
use crate::github::fault::{Fault, FaultKind, When};
use crate::github::log::{Effect, Patience};

const COMMENTS: &str = "/repos/*/*/issues/*/comments";

fn comment(hub: &GitHub, issue: u64) -> Result<Answer, ureq::Error> {
    let url = format!("{}/repos/acme/infra/issues/{issue}/comments", hub.api_url());
    ask_as(TOKEN, "POST", &url, &[], Some(json!({ "body": "hello" })))
}

fn once(method: &'static str, path: &'static str, kind: FaultKind) -> Fault {
    Fault::new(When::Call(method, path), 1, kind)
}

#[tokio::test]
async fn a_status_comes_before_any_effect_and_only_as_often_as_asked() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    hub.fault(Fault::new(
        When::Call("POST", COMMENTS),
        2,
        FaultKind::Status(502),
    ));
    assert_eq!(comment(&hub, issue).unwrap().status, 502);
    assert_eq!(hub.faults_left(), ["Status(502), 1 times more"]);
    assert_eq!(comment(&hub, issue).unwrap().status, 502);
    assert!(repo.comments(issue).is_empty());
    assert_eq!(comment(&hub, issue).unwrap().status, 201);
    assert!(hub.faults_left().is_empty());
}

#[tokio::test]
async fn a_503_is_a_page_and_no_json() {
    let (hub, _) = house().await;
    hub.fault(once("GET", "/user", FaultKind::Status(503)));
    let answer = get(&hub, "/user");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (503, "text/html")
    );
}

#[tokio::test]
async fn a_status_can_hide_an_effect() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    hub.fault(once("POST", COMMENTS, FaultKind::StatusAfterEffect(502)));
    assert_eq!(comment(&hub, issue).unwrap().status, 502);
    let [known] = repo.comments(issue).try_into().unwrap();
    assert_eq!(
        (known.author.as_str(), known.body.as_str()),
        ("mainstay-bot", "hello")
    );
    assert_eq!(known.created_at, known.updated_at);
    let truth = hub.truth().pop().unwrap();
    assert_eq!(
        (truth.by.as_str(), truth.repo.as_str()),
        ("mainstay-bot", "acme/infra")
    );
    assert_eq!(
        truth.effect,
        Effect::CommentCreated {
            issue,
            id: known.id,
            body: "hello".into()
        }
    );
    assert!(truth.at >= known.created_at);
}

#[tokio::test]
async fn a_reset_leaves_no_answer_with_or_without_an_effect() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    for (kind, comments) in [
        (FaultKind::ResetBefore, 0),
        (FaultKind::ResetAfterEffect, 1),
    ] {
        hub.fault(once("POST", COMMENTS, kind.clone()));
        assert!(comment(&hub, issue).is_err(), "{kind:?}");
        assert_eq!(repo.comments(issue).len(), comments, "{kind:?}");
        let logged = hub.requests().pop().unwrap();
        assert_eq!((logged.status, logged.fault), (None, Some(kind)));
    }
}

#[tokio::test]
async fn a_body_can_end_in_the_middle() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    hub.fault(once("POST", COMMENTS, FaultKind::CutOffBody));
    let error = comment(&hub, issue).err().expect("the body is not whole");
    assert!(
        matches!(error, ureq::Error::Io(_)),
        "the headers came, the body did not: {error:?}"
    );
    assert_eq!(repo.comments(issue).len(), 1);
}

#[tokio::test]
async fn an_answer_can_take_its_time() {
    let (hub, _) = house().await;
    hub.fault(once(
        "GET",
        "/user",
        FaultKind::Stall(Duration::from_millis(300)),
    ));
    let start = Instant::now();
    assert_eq!(get(&hub, "/user").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_primary_limit_says_when_it_ends() {
    let (hub, _) = house().await;
    hub.allow_on_its_way(Duration::ZERO);
    let kind = FaultKind::PrimaryLimit {
        reset_in: Duration::from_secs(30),
    };
    hub.fault(once("GET", "/user", kind));
    let answer = get(&hub, "/user");
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-remaining")),
        (403, "0")
    );
    let reset: i64 = answer.header("x-ratelimit-reset").parse().unwrap();
    assert!((25..=31).contains(&(reset - chrono::Utc::now().timestamp())));
    assert_eq!(get(&hub, "/user").status, 200);
    assert_eq!(hub.requests().pop().unwrap().patience, Patience::Lost);
}

#[tokio::test]
async fn the_primary_limit_of_graphql_is_a_200() {
    let (hub, _) = house().await;
    let kind = FaultKind::PrimaryLimit {
        reset_in: Duration::from_secs(30),
    };
    hub.fault(once("POST", "/graphql", kind));
    let query = Some(json!({ "query": "{ viewer { login } }" }));
    let answer = ask(&hub, "POST", "/graphql", query);
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["type"]),
        (200, &json!("RATE_LIMIT"))
    );
    assert_eq!(answer.header("x-ratelimit-resource"), "graphql");
    assert_eq!(get(&hub, "/user").status, 200);
    assert!(
        hub.impatient().is_empty(),
        "the other budget is not touched"
    );
}

#[tokio::test]
async fn a_secondary_limit_may_say_when_to_come_back() {
    let (hub, _) = house().await;
    hub.allow_on_its_way(Duration::ZERO);
    for retry_after in [Some(7), None] {
        hub.fault(once(
            "GET",
            "/user",
            FaultKind::SecondaryLimit { retry_after },
        ));
        let answer = get(&hub, "/user");
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.header("retry-after"),
            retry_after.map_or("", |_| "7")
        );
        assert_ne!(answer.header("x-ratelimit-remaining"), "0");
        assert!(
            answer.body["message"]
                .as_str()
                .unwrap()
                .contains("secondary rate limit")
        );
    }
    assert_eq!(hub.impatient().len(), 1);
}

#[tokio::test]
async fn a_secondary_limit_may_be_a_429() {
    let (hub, _) = house().await;
    let kind = FaultKind::TooMany {
        retry_after: Some(3),
    };
    hub.fault(once("GET", "/user", kind));
    let answer = get(&hub, "/user");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "3"));
}

#[tokio::test]
async fn an_answer_may_come_late_though_the_thing_is_done_and_a_witness_sees_it_then() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let (seen, sees) = std::sync::mpsc::channel();
    hub.witness(move |truth| {
        if let Effect::CommentCreated { .. } = truth.effect {
            let _ = seen.send(Instant::now());
        }
    });
    let late = Duration::from_millis(300);
    hub.fault(once("POST", COMMENTS, FaultKind::StallAfterEffect(late)));
    assert_eq!(comment(&hub, issue).unwrap().status, 201);
    let done = sees.try_recv().unwrap();
    assert!(done.elapsed() >= late);
    assert_eq!(repo.comments(issue).len(), 1);
}

#[tokio::test]
async fn a_stale_answer_shows_what_was_before_the_last_change() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    comment(&hub, issue).unwrap();
    let path = format!("/repos/acme/infra/issues/{issue}/comments");
    hub.fault(once("GET", COMMENTS, FaultKind::Stale));
    assert_eq!(get(&hub, &path).body, json!([]));
    assert_eq!(get(&hub, &path).body.as_array().unwrap().len(), 1);

    let old = repo.head("main").unwrap();
    let new = repo.commit("main", &[("a", "1")], "Add");
    hub.fault(once(
        "GET",
        "/repos/acme/infra/git/ref/heads/main",
        FaultKind::Stale,
    ));
    for sha in [old, new] {
        let found = get(&hub, "/repos/acme/infra/git/ref/heads/main");
        assert_eq!(found.body["object"]["sha"], sha.as_str());
    }
}

#[tokio::test]
async fn a_request_can_take_effect_twice() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    hub.fault(once("POST", COMMENTS, FaultKind::Duplicate));
    let answer = comment(&hub, issue).unwrap();
    let ids: Vec<_> = repo
        .comments(issue)
        .iter()
        .map(|comment| comment.id)
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(answer.body["id"], ids[1]);
}

#[tokio::test]
async fn a_fault_can_look_at_the_body_and_be_forgotten() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let when = When::matches_if(|method, _, body| method == "POST" && body.ends_with(b"world\"}"));
    hub.fault(Fault::new(when, 1, FaultKind::Status(500)));
    hub.fault(once("*", "/repos/**", FaultKind::Status(500)));
    hub.clear_faults();
    let when = When::matches_if(|method, _, body| method == "POST" && body.ends_with(b"world\"}"));
    hub.fault(Fault::new(when, 1, FaultKind::Status(500)));
    assert_eq!(comment(&hub, issue).unwrap().status, 201);
    let path = format!("/repos/acme/infra/issues/{issue}/comments");
    assert_eq!(
        ask(&hub, "POST", &path, Some(json!({ "body": "world" }))).status,
        500
    );
}

#[tokio::test]
async fn a_star_stands_for_one_segment_and_two_for_the_rest() {
    let (hub, _) = house().await;
    for (pattern, path, status) in [
        ("/repos/*/*/pulls", "/repos/acme/infra/pulls", 500),
        ("/repos/*/*/pulls", "/api/v3/repos/acme/infra/pulls", 500),
        ("/repos/*/*/pulls", "/repos/acme/infra/pulls/1", 404),
        ("/repos/*/pulls", "/repos/acme/infra/pulls", 200),
        ("/repos/**", "/repos/acme/infra/pulls/1", 500),
    ] {
        hub.clear_faults();
        hub.fault(once("GET", pattern, FaultKind::Status(500)));
        assert_eq!(get(&hub, path).status, status, "{pattern} {path}");
    }
    let times: Vec<_> = hub
        .requests()
        .into_iter()
        .map(|request| request.at)
        .collect();
    assert!(times.is_sorted());
}

#[tokio::test]
async fn the_eighty_first_creation_of_a_minute_is_refused_and_reads_are_not_counted() {
    let (hub, _repo) = crate::bare::house().await;
    hub.keep_creation_limits();
    let path = "/repos/acme/infra/issues";
    let open = || {
        let body = serde_json::json!({ "title": "one of many" });
        crate::bare::ask(&hub, "POST", path, Some(body))
    };
    for _ in 0..80 {
        assert_eq!(open().status, 201);
        assert_eq!(crate::bare::get(&hub, path).status, 200);
    }
    let refused = open();
    assert_eq!(refused.status, 403);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
    assert_eq!(hub.creations("mainstay-bot"), 80);
}

#[tokio::test]
async fn its_clock_may_be_another_than_ours() {
    let (hub, repo) = crate::bare::house().await;
    for minutes in [10, -10] {
        hub.set_clock_ahead(chrono::TimeDelta::minutes(minutes));
        let issue = repo.open_issue("alice", "Late", "");
        let answer = crate::bare::get(&hub, &format!("/repos/acme/infra/issues/{issue}"));
        let shown: chrono::DateTime<chrono::Utc> =
            answer.body["created_at"].as_str().unwrap().parse().unwrap();
        let dated = chrono::DateTime::parse_from_rfc2822(answer.header("date")).unwrap();
        for at in [shown, dated.to_utc()] {
            let ahead = at - chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
            assert!(ahead.abs() < chrono::TimeDelta::seconds(20), "{ahead}");
        }
    }
}
