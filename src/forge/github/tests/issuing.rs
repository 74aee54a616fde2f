//! One issue per marker, open while it is needed.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::forge::{Forge, Issue, Urgency};
use crate::id::IssueNumber;

fn drift(text: &str) -> Issue {
    Issue {
        marker: "<!-- mainstay:drift network -->".to_owned(),
        title: "Drift in network".to_owned(),
        label: "drift report".to_owned(),
        body: format!("<!-- mainstay:drift network -->\n{text}"),
    }
}

fn wire(number: u64, login: &str, state: &str, body: &str) -> Value {
    json!({"number": number, "user": {"login": login}, "state": state, "body": body})
}

/// The issues of a repository, two on a page.
#[derive(Clone)]
struct Issues(Arc<Mutex<Vec<Value>>>);

impl Issues {
    fn new(all: Vec<Value>) -> Self {
        Self(Arc::new(Mutex::new(all)))
    }

    fn answer(&self, heard: &Heard) -> Reply {
        let mut all = self.0.lock().unwrap();
        let (path, query) = heard.path.split_once('?').unwrap_or((&heard.path, ""));
        match (heard.method.as_str(), path) {
            ("POST", "/repos/acme/infra/labels") => Reply::json(
                422,
                json!({"message": "Validation Failed", "errors": [{"code": "already_exists"}]}),
            ),
            ("GET", "/repos/acme/infra/issues") => {
                if !query.contains("page=2") {
                    assert!(
                        query.starts_with("state=all&creator=mainstay-bot&labels=drift%20report"),
                        "{query}"
                    );
                    let page: Vec<Value> = all.iter().take(2).cloned().collect();
                    return Reply::json(200, json!(page))
                        .with("link", "</repos/acme/infra/issues?page=2>; rel=\"next\"");
                }
                let page: Vec<Value> = all.iter().skip(2).cloned().collect();
                Reply::json(200, json!(page))
            }
            ("POST", "/repos/acme/infra/issues") => {
                let number = 10 + all.len() as u64;
                let posted = wire(
                    number,
                    "mainstay-bot",
                    "open",
                    heard.body["body"].as_str().unwrap(),
                );
                all.push(posted.clone());
                Reply::json(201, posted)
            }
            ("PATCH", path) => {
                let number: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
                let Some(issue) = all.iter_mut().find(|issue| issue["number"] == number) else {
                    return Reply::json(410, json!({"message": "This issue was deleted"}));
                };
                for (key, value) in heard.body.as_object().unwrap() {
                    issue[key] = value.clone();
                }
                Reply::json(200, issue.clone())
            }
            _ => not_found(),
        }
    }

    async fn stand(&self) -> Stand {
        let issues = self.clone();
        Stand::with(move |heard| user(heard).unwrap_or_else(|| issues.answer(heard))).await
    }

    fn states(&self) -> Vec<(u64, String)> {
        let all = self.0.lock().unwrap();
        let state = |issue: &Value| issue["state"].as_str().unwrap().to_owned();
        all.iter()
            .map(|issue| (issue["number"].as_u64().unwrap(), state(issue)))
            .collect()
    }
}

#[tokio::test]
async fn an_issue_is_opened_edited_closed_and_reopened() {
    let issues = Issues::new(vec![]);
    let stand = issues.stand().await;
    let github = github(&stand);
    let number = github
        .upsert_issue(&repo(), &drift("one"), None, Urgency::Now)
        .await
        .unwrap()
        .number;
    assert_eq!(number, IssueNumber(10));
    github
        .upsert_issue(&repo(), &drift("two"), Some(number), Urgency::Now)
        .await
        .unwrap();
    assert_eq!(issues.0.lock().unwrap()[0]["body"], drift("two").body);

    github
        .close_issue(&repo(), number, "gone", Urgency::Now)
        .await
        .unwrap();
    let closed = issues.0.lock().unwrap()[0].clone();
    assert_eq!(
        (&closed["state"], &closed["state_reason"]),
        (&json!("closed"), &json!("completed"))
    );
    assert_eq!(closed["body"], "gone");

    github
        .upsert_issue(&repo(), &drift("again"), Some(number), Urgency::Now)
        .await
        .unwrap();
    assert_eq!(issues.states(), [(10, "open".to_owned())]);
    let posts: Vec<String> = stand
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("POST"))
        .collect();
    assert_eq!(
        posts,
        [
            "POST /repos/acme/infra/labels",
            "POST /repos/acme/infra/issues"
        ]
    );
}

#[tokio::test]
async fn an_issue_is_found_by_its_marker_and_our_account_alone() {
    let body = drift("old").body;
    let mut pull = wire(3, "mainstay-bot", "open", &body);
    pull["pull_request"] = json!({"url": "x"});
    let issues = Issues::new(vec![
        wire(1, "eve", "open", &body),
        wire(2, "mainstay-bot", "open", "other"),
        pull,
        wire(4, "mainstay-bot", "closed", &body),
    ]);
    let stand = issues.stand().await;
    let number = github(&stand)
        .upsert_issue(&repo(), &drift("new"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(
        number.number,
        IssueNumber(4),
        "on the second page, and closed"
    );
    assert_eq!(issues.states()[3], (4, "open".to_owned()));
    assert_eq!(stand.count("POST"), 0);
}

#[tokio::test]
async fn of_two_open_issues_of_ours_one_is_closed() {
    let body = drift("old").body;
    let issues = Issues::new(vec![
        wire(9, "mainstay-bot", "open", &body),
        wire(6, "mainstay-bot", "open", &body),
        wire(5, "mainstay-bot", "closed", &body),
    ]);
    let stand = issues.stand().await;
    let number = github(&stand)
        .upsert_issue(&repo(), &drift("new"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(number.number, IssueNumber(6));
    let state = |text: &str| text.to_owned();
    assert_eq!(
        issues.states(),
        [
            (9, state("closed")),
            (6, state("open")),
            (5, state("closed"))
        ]
    );
}

#[tokio::test]
async fn a_deleted_issue_is_opened_anew() {
    let issues = Issues::new(vec![]);
    let stand = issues.stand().await;
    let known = Some(IssueNumber(77));
    let number = github(&stand)
        .upsert_issue(&repo(), &drift("one"), known, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(number.number, IssueNumber(10));
}
