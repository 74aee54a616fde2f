//! What GitHub refuses of comments, issues, labels and statuses.

use std::time::Duration;

use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::bare::{ask, get, house};
use crate::github::log::Effect;

#[tokio::test]
async fn too_long_and_missing_fields_are_422() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let sha = repo.head("main").unwrap();
    let comments = format!("/repos/acme/infra/issues/{issue}/comments");
    let statuses = format!("/repos/acme/infra/statuses/{sha}");
    let issues = "/repos/acme/infra/issues".to_owned();
    let labels = "/repos/acme/infra/labels".to_owned();
    let long = "ä".repeat(65_537);
    let first_error = |path: &str, body: Value| -> (u16, String) {
        let answer = ask(&hub, "POST", path, Some(body));
        let error = &answer.body["errors"][0];
        let said = if error.is_null() {
            &answer.body["message"]
        } else {
            error
        };
        (answer.status, said.to_string())
    };
    for (path, body, words) in [
        (
            &comments,
            json!({ "body": long }),
            "Body is too long (maximum is 65536 characters)",
        ),
        (&comments, json!({ "body": "  " }), "Body cannot be blank"),
        (&comments, json!({}), "wasn't supplied"),
        (&comments, json!({ "body": 1 }), "is not a string"),
        (
            &issues,
            json!({ "title": "a", "body": long }),
            "body is too long",
        ),
        (
            &issues,
            json!({ "title": "a".repeat(257) }),
            "title is too long",
        ),
        (&issues, json!({ "title": " " }), "missing_field"),
        (&issues, json!({ "body": "a" }), "wasn't supplied"),
        (
            &issues,
            json!({ "title": "a", "labels": "drift" }),
            "an array of names",
        ),
        (&labels, json!({ "color": "ffffff" }), "wasn't supplied"),
        (&labels, json!({ "name": " " }), "missing_field"),
        (&labels, json!({ "name": "a", "color": "red" }), "invalid"),
        (
            &labels,
            json!({ "name": "a", "description": "b".repeat(101) }),
            "maximum is 100",
        ),
        (&statuses, json!({ "state": "green" }), "invalid"),
        (&statuses, json!({ "context": "a" }), "wasn't supplied"),
        (
            &statuses,
            json!({ "state": "success", "description": "a".repeat(141) }),
            "maximum is 140",
        ),
        (
            &statuses,
            json!({ "state": "success", "context": "a".repeat(256) }),
            "maximum is 255",
        ),
        (
            &statuses,
            json!({ "state": "success", "target_url": "ftp://a" }),
            "http(s)",
        ),
    ] {
        let (status, said) = first_error(path, body);
        assert_eq!(status, 422, "{path}: {said}");
        assert!(said.contains(words), "{path}: {said}");
    }
    let fits = ask(
        &hub,
        "POST",
        &comments,
        Some(json!({ "body": "ä".repeat(65_536) })),
    );
    assert_eq!(
        fits.status, 201,
        "the limit counts characters and not bytes"
    );
    let nowhere = format!("/repos/acme/infra/statuses/{}", "0".repeat(40));
    let answer = ask(&hub, "POST", &nowhere, Some(json!({ "state": "success" })));
    assert_eq!(
        (
            answer.status,
            answer.body["message"]
                .as_str()
                .unwrap()
                .starts_with("No commit found for SHA")
        ),
        (422, true)
    );
    assert_eq!(ask(&hub, "POST", &comments, None).status, 400);
    assert_eq!(ask(&hub, "POST", &comments, Some(json!([]))).status, 400);
}

#[tokio::test]
async fn a_label_is_made_once() {
    let (hub, _) = house().await;
    let label = json!({ "name": "drift", "color": "d73a4a" });
    assert_eq!(
        ask(
            &hub,
            "POST",
            "/repos/acme/infra/labels",
            Some(label.clone())
        )
        .status,
        201
    );
    let again = ask(&hub, "POST", "/repos/acme/infra/labels", Some(label));
    assert_eq!(
        (again.status, &again.body["errors"][0]["code"]),
        (422, &json!("already_exists"))
    );
    assert_eq!(
        get(&hub, "/repos/acme/infra/labels/Drift").body["name"],
        "drift"
    );
    assert!(hub.truth().iter().any(|t| t.effect
        == Effect::LabelCreated {
            name: "drift".into()
        }));
}

#[tokio::test]
async fn a_reaction_is_made_once_and_by_whom_it_is() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let id = repo.comment(issue, "alice", "mainstay plan");
    let path = format!("/repos/acme/infra/issues/comments/{id}/reactions");
    let eyes = Some(json!({ "content": "eyes" }));
    let first = ask(&hub, "POST", &path, eyes.clone());
    assert_eq!(first.status, 201);
    let again = ask(&hub, "POST", &path, eyes);
    assert_eq!((again.status, &again.body["id"]), (200, &first.body["id"]));
    assert_eq!(
        ask(&hub, "POST", &path, Some(json!({ "content": "👀" }))).status,
        422
    );
    assert_eq!(get(&hub, &format!("{path}?content=rocket")).body, json!([]));
    let comment = get(&hub, &format!("/repos/acme/infra/issues/comments/{id}")).body;
    assert_eq!(
        (
            &comment["reactions"]["eyes"],
            &comment["reactions"]["total_count"]
        ),
        (&json!(1), &json!(1))
    );
    let gone = ask(
        &hub,
        "DELETE",
        &format!("{path}/{}", first.body["id"]),
        None,
    );
    assert_eq!((gone.status, &gone.body), (204, &json!("")));
    assert_eq!(
        ask(
            &hub,
            "DELETE",
            &format!("{path}/{}", first.body["id"]),
            None
        )
        .status,
        404
    );
    let effects: Vec<_> = hub
        .truth()
        .into_iter()
        .rev()
        .take(2)
        .map(|truth| truth.effect)
        .collect();
    let content = "eyes".to_owned();
    assert_eq!(
        effects,
        [
            Effect::ReactionRemoved {
                comment: id,
                content: content.clone()
            },
            Effect::ReactionAdded {
                comment: id,
                content
            },
        ]
    );
}

#[tokio::test]
async fn since_holds_its_own_second_and_edits_count() {
    let (hub, repo) = house().await;
    let issue = repo.open_issue("alice", "Talk", "");
    let old = repo.comment(issue, "alice", "old");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let new = repo.comment(issue, "bob", "new");
    let at = repo.comments(issue)[1]
        .created_at
        .to_rfc3339_opts(SecondsFormat::Secs, true);
    let ids = |query: &str| -> Vec<u64> {
        let found = get(&hub, &format!("/repos/acme/infra/issues/comments?{query}")).body;
        found
            .as_array()
            .unwrap()
            .iter()
            .map(|comment| comment["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids(&format!("since={at}")), [new]);
    assert_eq!(ids("sort=created&direction=desc"), [new, old]);
    assert_eq!(
        ids("direction=desc"),
        [old, new],
        "a direction without a sort is ignored"
    );
    let before = repo.issues()[0].updated_at;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    repo.edit_comment(old, "alice", "edited");
    assert_eq!(ids(&format!("since={at}&sort=updated")), [new, old]);
    assert!(repo.issues()[0].updated_at > before);
    repo.delete_comment(new, "bob");
    assert_eq!(ids(""), [old]);
    assert_eq!(
        get(&hub, "/repos/acme/infra/issues/comments?since=yesterday").status,
        422
    );
    let effects: Vec<_> = hub.truth().into_iter().map(|truth| truth.effect).collect();
    assert!(effects.contains(&Effect::CommentEdited {
        issue,
        id: old,
        body: "edited".into()
    }));
    assert!(effects.contains(&Effect::CommentDeleted { issue, id: new }));
}

#[tokio::test]
async fn an_issue_is_edited_closed_and_reopened() {
    let (hub, repo) = house().await;
    let made = ask(
        &hub,
        "POST",
        "/repos/acme/infra/issues",
        Some(json!({ "title": "Drift" })),
    );
    let number = made.body["number"].as_u64().unwrap();
    let path = format!("/repos/acme/infra/issues/{number}");
    let edit = |body: Value| ask(&hub, "PATCH", &path, Some(body)).body;
    let closed = edit(json!({ "state": "closed", "body": "gone", "labels": ["drift"] }));
    assert_eq!(
        (&closed["state"], &closed["state_reason"]),
        (&json!("closed"), &json!("completed"))
    );
    assert_eq!(
        (&closed["closed_by"]["login"], &closed["labels"][0]["name"]),
        (&json!("mainstay-bot"), &json!("drift"))
    );
    assert_eq!(get(&hub, "/repos/acme/infra/issues").body, json!([]));
    let open = edit(json!({ "state": "open", "title": "Drift again" }));
    assert_eq!(
        (&open["state_reason"], &open["closed_at"]),
        (&json!("reopened"), &json!(null))
    );
    assert_eq!(
        ask(&hub, "PATCH", &path, Some(json!({ "state": "shut" }))).status,
        422
    );
    let truth = hub.truth().pop().unwrap().effect;
    let (title, body, state) = ("Drift again".into(), "gone".into(), "open".into());
    assert_eq!(
        truth,
        Effect::IssueEdited {
            number,
            title,
            body,
            state
        }
    );
    assert!(
        hub.truth()
            .iter()
            .any(|truth| truth.effect == Effect::IssueOpened { number })
    );
    let list = |query: &str| get(&hub, &format!("/repos/acme/infra/issues?{query}")).body;
    assert_eq!(
        list("creator=mainstay-bot&labels=drift&state=all")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(list("creator=alice"), json!([]));
    repo.commit("add", &[("a", "1")], "Add");
    repo.open_pull("Add", "add", "main", "alice");
    let all = list("sort=created&direction=asc");
    assert_eq!(
        (&all[0]["pull_request"], all[1]["pull_request"].is_object()),
        (&json!(null), true)
    );
    assert_ne!(
        all[1]["id"],
        get(&hub, "/repos/acme/infra/pulls/2").body["id"]
    );
}

#[tokio::test]
async fn locked_deleted_archived_and_switched_off_have_their_own_answers() {
    let (hub, repo) = house().await;
    hub.user("rita", &[(&repo, crate::github::world::Role::Read)]);
    hub.token("ghp_rita", "rita", &["repo"]);
    let issue = repo.open_issue("alice", "Talk", "");
    repo.lock_conversation(issue);
    let path = format!("/repos/acme/infra/issues/{issue}/comments");
    let url = format!("{}{path}", hub.api_url());
    let body = Some(json!({ "body": "hello" }));
    let locked = crate::bare::ask_as("ghp_rita", "POST", &url, &[], body.clone()).unwrap();
    assert_eq!(locked.status, 403);
    assert_eq!(
        locked.body["message"],
        "Unable to create comment because issue is locked."
    );
    assert_eq!(
        ask(&hub, "POST", &path, body.clone()).status,
        201,
        "who may push may comment"
    );
    repo.unlock_conversation(issue);
    let unlocked = crate::bare::ask_as("ghp_rita", "POST", &url, &[], body.clone()).unwrap();
    assert_eq!(unlocked.status, 201);
    repo.delete_issue(issue);
    assert_eq!(
        get(&hub, &format!("/repos/acme/infra/issues/{issue}")).status,
        410
    );
    assert_eq!(get(&hub, "/repos/acme/infra/issues/99").status, 404);
    let next = repo.open_issue("alice", "Next", "");
    assert_eq!(next, issue + 1, "numbers do not come again");
    repo.disable_issues();
    assert_eq!(
        ask(
            &hub,
            "POST",
            "/repos/acme/infra/issues",
            Some(json!({ "title": "a" }))
        )
        .status,
        410
    );
    repo.archive();
    let archived = ask(
        &hub,
        "POST",
        "/repos/acme/infra/labels",
        Some(json!({ "name": "a" })),
    );
    assert_eq!(
        (archived.status, &archived.body["message"]),
        (403, &json!("Repository was archived so is read-only."))
    );
    repo.unarchive();
    let path = "/repos/acme/infra/labels";
    let again = ask(&hub, "POST", path, Some(json!({ "name": "a" })));
    assert_eq!(again.status, 201);
}
