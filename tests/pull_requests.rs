//! Pull requests, from the push that opens them to the apply of their merge.

#[expect(dead_code, reason = "each test crate uses a part of the model")]
mod github;
mod localfs;
#[expect(dead_code, reason = "each test crate uses a part of the harness")]
mod scenario;

use github::git::Method;
use scenario::{Scenario, one_file};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pull_request_gets_a_plan_and_its_merge_is_applied() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    let main = s.repo.head("main").unwrap();
    s.repo.branch("wider", &main);
    let head = s.repo.commit(
        "wider",
        &[("network/main.tf", &one_file("subnet", "10.0.0.0/16"))],
        "Widen",
    );
    let pull = s
        .repo
        .open_pull("Widen the subnet", "wider", "main", "alice");
    let comment = s.comment_with(pull, "1 to change").await;
    assert!(comment.starts_with("<!-- mainstay:"), "{comment}");
    s.status_is(&head, "mainstay/plan", "success").await;
    assert_eq!(
        s.in_world("subnet.txt").as_deref(),
        Some("10.0.0.0/24"),
        "a plan changes nothing"
    );

    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    s.comment_with(pull, "applied").await;
    s.end().await;
}
