//! One comment per marker, whatever fails; reactions; statuses.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::forge::{Forge, Reaction, Status, StatusState, Urgency};
use crate::id::{CommentId, IssueNumber};

const MARKER: &str = "<!-- mainstay:pull -->";
const ISSUE: IssueNumber = IssueNumber(3);

fn body(text: &str) -> String {
    format!("{MARKER}\n{text}")
}

/// What happens to the answer of a write that took place.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Given,
    Lost,
    CutOff,
    BadGateway,
}

/// Comments on one issue, two on a page.
#[derive(Clone)]
struct Comments {
    all: Arc<Mutex<Vec<Value>>>,
    answer_to_post: Arc<Mutex<Answer>>,
}

impl Comments {
    fn new(all: Vec<Value>) -> Self {
        Self {
            all: Arc::new(Mutex::new(all)),
            answer_to_post: Arc::new(Mutex::new(Answer::Given)),
        }
    }

    fn answer(&self, heard: &Heard) -> Reply {
        let mut all = self.all.lock().unwrap();
        let path = heard.path.split('?').next().unwrap();
        let id = path.rsplit('/').next().unwrap().parse::<u64>().ok();
        let place = id.and_then(|id| all.iter().position(|comment| comment["id"] == id));
        match (heard.method.as_str(), path) {
            ("GET", "/repos/acme/infra/issues/3/comments") => {
                let first = if heard.path.ends_with("page=2") { 2 } else { 0 };
                let page: Vec<Value> = all.iter().skip(first).take(2).cloned().collect();
                let reply = Reply::json(200, json!(page));
                if first == 0 && all.len() > 2 {
                    let next = "/repos/acme/infra/issues/3/comments?per_page=100&page=2";
                    return reply.with(
                        "link",
                        format!("<https://api.github.com{next}>; rel=\"next\""),
                    );
                }
                reply
            }
            ("POST", "/repos/acme/infra/issues/3/comments") => {
                let id = 100 + all.len() as u64;
                let posted = comment(id, "mainstay-bot", heard.body["body"].as_str().unwrap());
                all.push(posted.clone());
                match *self.answer_to_post.lock().unwrap() {
                    Answer::Given => Reply::json(201, posted),
                    Answer::Lost => Reply::HangUp,
                    Answer::CutOff => Reply::CutOff(Box::new(Reply::json(201, posted))),
                    Answer::BadGateway => Reply::text(502, "<html>Unicorn</html>"),
                }
            }
            ("PATCH", _) => match place {
                Some(place) => {
                    all[place]["body"] = heard.body["body"].clone();
                    Reply::json(200, all[place].clone())
                }
                None => not_found(),
            },
            ("DELETE", _) => match place {
                Some(place) => {
                    all.remove(place);
                    Reply::text(204, "")
                }
                None => not_found(),
            },
            _ => not_found(),
        }
    }

    async fn stand(&self) -> Stand {
        let comments = self.clone();
        Stand::with(move |heard| user(heard).unwrap_or_else(|| comments.answer(heard))).await
    }

    fn bodies(&self) -> Vec<String> {
        let all = self.all.lock().unwrap();
        all.iter()
            .map(|comment| comment["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn a_comment_is_posted_once_and_edited_from_then_on() {
    let comments = Comments::new(vec![]);
    let stand = comments.stand().await;
    let github = github(&stand);
    let id = github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("one"), None, Urgency::Now)
        .await
        .unwrap()
        .id;
    let again = github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("two"), Some(id), Urgency::Now)
        .await
        .unwrap()
        .id;
    let unknown = github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("three"), None, Urgency::Now)
        .await
        .unwrap()
        .id;
    assert_eq!((id, id), (again, unknown));
    assert_eq!(comments.bodies(), [body("three")]);
    assert_eq!((stand.count("POST"), stand.count("PATCH")), (1, 2));
}

#[tokio::test]
async fn after_a_lost_answer_the_next_call_finds_the_one_comment() {
    for lost in [Answer::Lost, Answer::CutOff, Answer::BadGateway] {
        let comments = Comments::new(vec![]);
        *comments.answer_to_post.lock().unwrap() = lost;
        let stand = comments.stand().await;
        let github = github(&stand);
        let error = github
            .upsert_comment(&repo(), ISSUE, MARKER, &body("one"), None, Urgency::Now)
            .await
            .unwrap_err();
        assert!(matches!(error, ForgeError::Transient { .. }), "{error:?}");
        assert_eq!(stand.count("POST"), 1, "nothing is repeated inside");
        let id = github
            .upsert_comment(&repo(), ISSUE, MARKER, &body("one"), None, Urgency::Now)
            .await
            .unwrap()
            .id;
        assert_eq!(id, CommentId(100));
        assert_eq!(comments.bodies(), [body("one")]);
        assert_eq!(stand.count("POST"), 1);
    }
}

#[tokio::test]
async fn a_marker_in_somebody_elses_comment_is_ignored() {
    let comments = Comments::new(vec![comment(1, "eve", &body("forged"))]);
    let stand = comments.stand().await;
    let id = github(&stand)
        .upsert_comment(&repo(), ISSUE, MARKER, &body("mine"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(id.id, CommentId(101));
    assert_eq!(comments.bodies(), [body("forged"), body("mine")]);
    assert_eq!(stand.count("PATCH") + stand.count("DELETE"), 0);
}

#[tokio::test]
async fn a_marker_that_we_only_quote_is_ignored() {
    let quote = format!("The marker is {MARKER}");
    let comments = Comments::new(vec![comment(1, "mainstay-bot", &quote)]);
    let stand = comments.stand().await;
    github(&stand)
        .upsert_comment(&repo(), ISSUE, MARKER, &body("mine"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(comments.bodies(), [quote, body("mine")]);
}

#[tokio::test]
async fn ours_is_found_on_the_second_page() {
    let others = [comment(1, "ada", "a"), comment(2, "ada", "b")];
    let mut all = others.to_vec();
    all.push(comment(3, "Mainstay-Bot", &body("old")));
    let comments = Comments::new(all);
    let stand = comments.stand().await;
    let id = github(&stand)
        .upsert_comment(&repo(), ISSUE, MARKER, &body("new"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(id.id, CommentId(3));
    assert_eq!(comments.bodies()[2], body("new"));
}

#[tokio::test]
async fn of_two_of_ours_the_oldest_stays() {
    let comments = Comments::new(vec![
        comment(8, "mainstay-bot", &body("later")),
        comment(5, "mainstay-bot", &body("first")),
        comment(9, "eve", &body("forged")),
    ]);
    let stand = comments.stand().await;
    let id = github(&stand)
        .upsert_comment(&repo(), ISSUE, MARKER, &body("new"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(id.id, CommentId(5));
    assert_eq!(comments.bodies(), [body("new"), body("forged")]);
}

#[tokio::test]
async fn a_deleted_comment_is_posted_again() {
    let comments = Comments::new(vec![]);
    let stand = comments.stand().await;
    let github = github(&stand);
    let known = Some(CommentId(77));
    let id = github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("one"), known, Urgency::Now)
        .await
        .unwrap()
        .id;
    assert_eq!(id, CommentId(100));
    assert_eq!(comments.bodies(), [body("one")]);
}

#[tokio::test]
async fn an_account_that_is_not_told_is_learnt_from_what_we_write() {
    let comments = Comments::new(vec![comment(
        1,
        "mainstay-bot",
        &body("before the restart"),
    )]);
    let script = comments.clone();
    let stand = Stand::with(move |heard| match heard.path.as_str() {
        "/user" | "/graphql" => Reply::json(
            403,
            json!({"message": "Resource not accessible by integration"}),
        ),
        _ => script.answer(heard),
    })
    .await;
    let github = github(&stand);
    let id = github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("new"), None, Urgency::Now)
        .await
        .unwrap()
        .id;
    assert_eq!(
        id,
        CommentId(1),
        "the one of before is found as soon as it is known to be ours"
    );
    assert_eq!(comments.bodies(), [body("new")]);
    github
        .upsert_comment(&repo(), ISSUE, MARKER, &body("newer"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(
        stand.count("POST"),
        2,
        "one comment, and one question to GraphQL"
    );
}

#[tokio::test]
async fn an_actions_token_learns_its_account_from_graphql() {
    let comments = Comments::new(vec![comment(1, "github-actions[bot]", &body("old"))]);
    let script = comments.clone();
    let stand = Stand::with(move |heard| match heard.path.as_str() {
        "/user" => Reply::json(
            403,
            json!({"message": "Resource not accessible by integration"}),
        ),
        "/graphql" => Reply::json(
            200,
            json!({"data": {"viewer": {"login": "github-actions[bot]"}}}),
        ),
        _ => script.answer(heard),
    })
    .await;
    let id = github(&stand)
        .upsert_comment(&repo(), ISSUE, MARKER, &body("new"), None, Urgency::Now)
        .await
        .unwrap();
    assert_eq!(id.id, CommentId(1));
    assert_eq!(comments.bodies(), [body("new")]);
}

#[tokio::test]
async fn a_status_description_is_cut_at_a_character() {
    let stand = Stand::with(|_| Reply::json(201, json!({"id": 1}))).await;
    let github = github(&stand);
    for (length, expected) in [
        (140, "ä".repeat(140)),
        (141, format!("{}…", "ä".repeat(139))),
    ] {
        let status = Status {
            context: "mainstay/plan".to_owned(),
            state: StatusState::Failure,
            description: "ä".repeat(length),
        };
        github
            .set_status(&repo(), &BASE.parse().unwrap(), &status, Urgency::Now)
            .await
            .unwrap();
        let sent = stand.heard().pop().unwrap();
        assert!(
            sent.is("POST", &format!("/repos/acme/infra/statuses/{BASE}")),
            "{sent:?}"
        );
        assert_eq!(sent.body["description"], json!(expected));
        assert_eq!(
            (sent.body["state"].as_str(), sent.body["context"].as_str()),
            (Some("failure"), Some("mainstay/plan"))
        );
    }
}

#[tokio::test]
async fn a_status_without_a_proper_answer_is_not_taken_as_set() {
    let stand = Stand::with(|_| Reply::text(201, "<html>log in</html>")).await;
    let status = Status {
        context: "mainstay/apply".to_owned(),
        state: StatusState::Success,
        description: String::new(),
    };
    let outcome = github(&stand)
        .set_status(&repo(), &BASE.parse().unwrap(), &status, Urgency::Now)
        .await;
    assert!(matches!(outcome, Err(ForgeError::Transient { .. })));
}

#[tokio::test]
async fn our_reaction_is_changed_and_others_are_left_alone() {
    let stand = Stand::with(|heard| {
        if let Some(reply) = user(heard) {
            return reply;
        }
        let reaction = |id: u64, login: &str, content: &str| {
            json!({"id": id, "content": content, "user": {"login": login}})
        };
        match (heard.method.as_str(), heard.path.as_str()) {
            ("GET", "/repos/acme/infra/issues/comments/9/reactions?per_page=100") => {
                Reply::json(200, json!([reaction(1, "ada", "eyes")])).with(
                    "link",
                    "</repos/acme/infra/issues/comments/9/reactions?page=2>; rel=\"next\"",
                )
            }
            ("GET", "/repos/acme/infra/issues/comments/9/reactions?page=2") => {
                Reply::json(200, json!([reaction(2, "mainstay-bot", "eyes")]))
            }
            ("POST", "/repos/acme/infra/issues/comments/9/reactions") => {
                let content = heard.body["content"].as_str().unwrap();
                Reply::json(201, reaction(3, "mainstay-bot", content))
            }
            ("DELETE", _) => Reply::text(204, ""),
            _ => not_found(),
        }
    })
    .await;
    let github = github(&stand);
    github
        .react(&repo(), CommentId(9), &[Reaction::Rocket], Urgency::Now)
        .await
        .unwrap();
    let writes: Vec<String> = stand
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("GET"))
        .collect();
    assert_eq!(
        writes,
        [
            "POST /repos/acme/infra/issues/comments/9/reactions",
            "DELETE /repos/acme/infra/issues/comments/9/reactions/2",
        ]
    );
    github
        .react(&repo(), CommentId(9), &[Reaction::Eyes], Urgency::Now)
        .await
        .unwrap();
    assert_eq!(
        stand.count("POST") + stand.count("DELETE"),
        2,
        "what is there is not sent again"
    );
}

#[tokio::test]
async fn a_locked_conversation_and_an_archived_repository_are_no_missing_rights() {
    for (message, locked) in [
        ("Unable to create comment because issue is locked.", true),
        ("Repository was archived so is read-only.", false),
    ] {
        let stand = Stand::with(move |heard| match heard.method.as_str() {
            "GET" => user(heard).unwrap_or_else(|| Reply::json(200, json!([]))),
            _ => Reply::json(403, json!({ "message": message })),
        })
        .await;
        let github = github(&stand);
        let error = github
            .upsert_comment(&repo(), ISSUE, MARKER, &body("one"), None, Urgency::Now)
            .await
            .unwrap_err();
        match locked {
            true => assert!(matches!(error, ForgeError::Locked { .. }), "{error}"),
            false => assert!(matches!(error, ForgeError::Archived { .. }), "{error}"),
        }
        assert!(!error.to_string().contains("permission"), "{error}");
    }
}

#[tokio::test]
async fn what_github_keeps_of_a_comment_is_known_with_its_time() {
    let comments = Comments::new(vec![]);
    let stand = comments.stand().await;
    let github = github(&stand);
    let mut known = None;
    // Posted, found again, edited.
    for (text, id) in [("one", None), ("one", None), ("two", Some(CommentId(100)))] {
        let kept = github
            .upsert_comment(&repo(), ISSUE, MARKER, &body(text), id, Urgency::Now)
            .await
            .unwrap();
        assert_eq!(kept.body, body(text));
        assert_eq!(kept.at, "2024-05-01T12:00:00Z".parse().ok());
        assert_eq!(*known.get_or_insert(kept.id), kept.id);
    }
}
