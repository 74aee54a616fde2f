//! GitHub's limits are obeyed without sending.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::clock;
use crate::forge::{Forge, Status, StatusState, Urgency};

fn status() -> Status {
    Status {
        context: "mainstay/plan".to_owned(),
        state: StatusState::Pending,
        description: String::new(),
    }
}

async fn set_status(github: &GitHub) -> Result<(), ForgeError> {
    github
        .set_status(&repo(), &BASE.parse().unwrap(), &status(), Urgency::Now)
        .await
}

fn seconds_left(error: &ForgeError) -> i64 {
    match error {
        ForgeError::RateLimited { until, .. } => (*until - clock::now()).num_seconds(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_retry_after_nothing_is_sent_at_all() {
    let stand = Stand::with(|_| {
        Reply::json(
            403,
            json!({"message": "You have exceeded a secondary rate limit"}),
        )
        .with("retry-after", 90)
    })
    .await;
    let github = github(&stand);
    let error = set_status(&github).await.unwrap_err();
    assert!((88..=90).contains(&seconds_left(&error)), "{error}");
    for _ in 0..3 {
        let error = github.remote(&repo()).await.unwrap_err();
        assert!((88..=90).contains(&seconds_left(&error)));
        let error = github
            .look(&[look_at("acme/infra")])
            .await
            .remove(0)
            .unwrap_err();
        assert!((88..=90).contains(&seconds_left(&error)));
    }
    assert_eq!(stand.heard().len(), 1);
}

#[tokio::test]
async fn what_was_refused_works_again_after_the_wait() {
    let mut asked = 0;
    let stand = Stand::with(move |_| {
        asked += 1;
        match asked {
            1 => Reply::json(429, json!({"message": "slow down"})).with("retry-after", 1),
            _ => Reply::json(201, json!({})),
        }
    })
    .await;
    let github = github(&stand);
    assert!(set_status(&github).await.is_err());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    set_status(&github).await.unwrap();
}

#[tokio::test]
async fn an_exhausted_rest_budget_leaves_graphql_open() {
    let reset = (clock::now() + Duration::from_secs(600)).timestamp();
    let stand = Stand::with(move |heard| match heard.path.as_str() {
        "/graphql" => Reply::json(
            200,
            json!({"data": {"r0": {
                "base": null,
                "pullRequests": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": []},
            }}}),
        ),
        _ => Reply::json(403, json!({"message": "API rate limit exceeded"}))
            .with("x-ratelimit-remaining", 0)
            .with("x-ratelimit-reset", reset),
    })
    .await;
    let github = github(&stand);
    let error = github.remote(&repo()).await.unwrap_err();
    assert!((598..=600).contains(&seconds_left(&error)));
    github.remote(&repo()).await.unwrap_err();
    github
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(stand.lines(), ["GET /repos/acme/infra", "POST /graphql"]);
}

#[tokio::test]
async fn graphql_may_refuse_inside_an_answer_of_status_200() {
    let stand = Stand::with(|_| {
        Reply::json(
            200,
            json!({"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user"}]}),
        )
        .with("x-ratelimit-remaining", 0)
        .with("x-ratelimit-reset", (clock::now() + Duration::from_secs(300)).timestamp())
    })
    .await;
    let github = github(&stand);
    for _ in 0..2 {
        let error = github
            .look(&[look_at("acme/infra")])
            .await
            .remove(0)
            .unwrap_err();
        assert!((298..=300).contains(&seconds_left(&error)), "{error}");
    }
    assert_eq!(
        stand.lines(),
        ["POST /graphql"],
        "neither again nor by REST"
    );
}

#[tokio::test]
async fn the_last_point_of_graphql_closes_it() {
    let reset = clock::now() + Duration::from_secs(300);
    let stand = Stand::with(move |_| {
        Reply::json(
            200,
            json!({"data": {
                "r0": {"base": null, "pullRequests": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": []}},
                "rateLimit": {"cost": 1, "remaining": 0, "resetAt": reset},
            }}),
        )
    })
    .await;
    let github = github(&stand);
    github
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap();
    let error = github
        .look(&[look_at("acme/infra")])
        .await
        .remove(0)
        .unwrap_err();
    assert!((298..=300).contains(&seconds_left(&error)));
    assert_eq!(stand.heard().len(), 1);
}

#[tokio::test]
async fn mutations_keep_their_distance() {
    let stand = Stand::with(|_| Reply::json(201, json!({}))).await;
    let spaced = Settings {
        mutation_pause: Duration::from_millis(150),
        ..settings(&stand)
    };
    let github = GitHub::new(spaced).unwrap();
    let begun = Instant::now();
    let (one, two, three) = tokio::join!(
        set_status(&github),
        set_status(&github),
        set_status(&github)
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_mutation_that_waited_while_another_was_refused_is_not_sent() {
    let stand = Stand::with(|_| {
        Reply::json(
            403,
            json!({"message": "You have exceeded a secondary rate limit"}),
        )
    })
    .await;
    let github = github(&stand);
    let (one, two) = tokio::join!(set_status(&github), set_status(&github));
    assert!((58..=60).contains(&seconds_left(&one.unwrap_err())));
    assert!((58..=60).contains(&seconds_left(&two.unwrap_err())));
    assert_eq!(stand.heard().len(), 1);
}

#[tokio::test]
async fn the_eighty_first_creation_of_a_minute_is_not_sent() {
    let stand = Stand::with(|_| Reply::json(201, json!({}))).await;
    let github = github(&stand);
    for _ in 0..80 {
        set_status(&github).await.unwrap();
    }
    let error = set_status(&github).await.unwrap_err();
    assert!((1..=60).contains(&seconds_left(&error)), "{error}");
    assert_eq!(stand.heard().len(), 80);
}
