//! One check run per name, and each annotation once, whatever fails.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use serde_json::json;

use super::apps::{Tokens, app};
use super::*;
use crate::forge::{
    Annotation, AnnotationLevel, CheckRun, CheckState, Forge, ShowsChecks, Urgency,
};

/// The check runs of one commit; an answer may be lost after the write took place.
#[derive(Clone, Default)]
struct Runs {
    all: Arc<Mutex<Vec<Value>>>,
    lose_next: Arc<Mutex<bool>>,
}

impl Runs {
    fn answer(&self, heard: &Heard) -> Reply {
        let mut all = self.all.lock().unwrap();
        let path = heard.path.split('?').next().unwrap();
        if heard.method == "GET" {
            assert!(path.ends_with(&format!("/commits/{HEAD}/check-runs")));
            return Reply::json(
                200,
                json!({"total_count": all.len(), "check_runs": all.clone()}),
            );
        }
        let sent = &heard.body["output"]["annotations"];
        let sent = sent.as_array().map_or(0, Vec::len);
        assert!(sent <= 50, "{sent} annotations at once");
        let at = match path.rsplit('/').next().unwrap().parse::<u64>() {
            Ok(id) => all.iter().position(|run| run["id"] == id).unwrap(),
            Err(_) => {
                let id = all.len() as u64 + 1;
                all.push(json!({"id": id, "app": {"id": 42}, "output": {"annotations_count": 0}}));
                all.len() - 1
            }
        };
        let run = &mut all[at];
        for field in ["name", "status", "conclusion", "external_id"] {
            run[field] = heard.body[field].clone();
        }
        let shown = run["output"]["annotations_count"].as_u64().unwrap();
        run["output"]["annotations_count"] = (shown + sent as u64).into();
        if std::mem::take(&mut *self.lose_next.lock().unwrap()) {
            return Reply::HangUp;
        }
        Reply::json(200, run.clone())
    }

    fn lose_the_next_answer(&self) {
        *self.lose_next.lock().unwrap() = true;
    }

    /// Name, status and number of annotations of each.
    fn seen(&self) -> Vec<(String, u64)> {
        let all = self.all.lock().unwrap();
        let one = |run: &Value| {
            (
                run["status"].as_str().unwrap().to_owned(),
                run["output"]["annotations_count"].as_u64().unwrap(),
            )
        };
        all.iter().map(one).collect()
    }
}

async fn stand(runs: &Runs) -> Stand {
    let (runs, mut tokens) = (runs.clone(), Tokens::good_for(TimeDelta::hours(1)));
    Stand::with(move |heard| tokens.answer(heard).unwrap_or_else(|| runs.answer(heard))).await
}

fn check(state: CheckState, annotations: usize) -> CheckRun {
    let annotation = |at| Annotation {
        path: "network/main.tf".to_owned(),
        line: u32::try_from(at).unwrap() + 1,
        level: AnnotationLevel::Failure,
        title: "Unsupported argument".to_owned(),
        message: "An argument named \"size\" is not expected here.".to_owned(),
    };
    CheckRun {
        name: "mainstay/plan: network".to_owned(),
        state,
        title: "Plan failed in network".to_owned(),
        summary: "network".to_owned(),
        text: String::new(),
        annotations: (0..annotations).map(annotation).collect(),
    }
}

async fn keep(github: &GitHub, check: &CheckRun) -> Result<u64, ForgeError> {
    let commit = HEAD.parse().unwrap();
    github
        .upsert_check(&repo(), &commit, check, Urgency::Now)
        .await
}

#[tokio::test]
async fn a_check_run_whose_answer_was_lost_is_found_and_not_made_twice() {
    let runs = Runs::default();
    let stand = stand(&runs).await;
    let github = app(&stand);
    assert_eq!(github.shows_checks(), ShowsChecks::Yes);
    runs.lose_the_next_answer();
    assert!(matches!(
        keep(&github, &check(CheckState::InProgress, 0)).await,
        Err(ForgeError::Transient { .. })
    ));
    keep(&github, &check(CheckState::InProgress, 0))
        .await
        .unwrap();
    keep(&github, &check(CheckState::Success, 0)).await.unwrap();
    assert_eq!(runs.seen(), [("completed".to_owned(), 0)]);
}

#[tokio::test]
async fn annotations_come_fifty_at_a_time_and_none_twice() {
    let runs = Runs::default();
    let stand = stand(&runs).await;
    let github = app(&stand);
    runs.lose_the_next_answer();
    let failed = check(CheckState::Failure, 120);
    assert!(keep(&github, &failed).await.is_err());
    assert_eq!(runs.seen(), [("completed".to_owned(), 50)]);
    keep(&github, &failed).await.unwrap();
    keep(&github, &failed).await.unwrap();
    assert_eq!(runs.seen(), [("completed".to_owned(), 120)]);
}

#[tokio::test]
async fn what_was_decided_is_not_reopened_and_other_annotations_get_a_check_run_of_their_own() {
    let runs = Runs::default();
    let stand = stand(&runs).await;
    let github = app(&stand);
    for (state, annotations) in [
        (CheckState::Failure, 2),
        (CheckState::Failure, 3),
        (CheckState::InProgress, 0),
        (CheckState::Success, 0),
    ] {
        keep(&github, &check(state, annotations)).await.unwrap();
    }
    let completed = |count| ("completed".to_owned(), count);
    assert_eq!(runs.seen(), [completed(2), completed(3), completed(0)]);
}

#[tokio::test]
async fn a_token_shows_no_check_runs() {
    let runs = Runs::default();
    let stand = stand(&runs).await;
    assert_eq!(github(&stand).shows_checks(), ShowsChecks::No);
}
