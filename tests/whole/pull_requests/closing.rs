//! Pull requests that are closed, reopened, retargeted, or lose their branch.

use super::stage::{NETWORK, resource, subnet};
use crate::scenario::{Scenario, declaration, one_file, root, workspace};

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_the_plans_that_run_and_wait_and_the_status_that_waits_for_them() {
    let mut s = Scenario::new().await;
    s.set("LOCALFS_HONOUR_STOP", "1");
    s.configure("parallel = 1");
    let both = workspace("network", "") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.applied(&[
        (NETWORK, &subnet("10.0.0.0/24")),
        ("dns/main.tf", &one_file("zone", "example")),
    ])
    .await;
    let endless = |name| root(&[&resource(name, "\"other\"", "delay_plan_ms = 600000")]);
    let (pull, closed) = s.opens(
        "wider",
        &[
            (NETWORK, &endless("subnet")),
            ("dns/main.tf", &endless("zone")),
        ],
    );
    s.wait("one plan that runs and one that waits", |s| {
        let mut states = s.states_of("propose", "network");
        states.extend(s.states_of("propose", "dns"));
        states.sort();
        (states == ["planning", "queued"]).then_some(())
    })
    .await;

    s.repo.close(pull, "alice");
    s.run_is("propose", "network", "superseded").await;
    s.run_is("propose", "dns", "superseded").await;
    let said = s.status_is(&closed, "mainstay/plan", "error").await;
    assert_eq!(said, "closed before it was planned");
    let written = s.written();
    s.settles().await;
    assert_eq!(s.comment(pull), None);
    assert_eq!(s.written(), written);
    assert_eq!(s.states_of("propose", "network"), ["superseded"]);

    let files = [
        (NETWORK, &*subnet("10.0.0.0/16")),
        ("dns/main.tf", &one_file("zone", "example")),
    ];
    let head = s.repo.commit("wider", &files, "Wider");
    s.repo.reopen(pull, "alice");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to change"), "{comment}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comment_says_that_it_was_closed_and_has_its_plan_again_when_reopened() {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    let id = s.comment_id(pull);

    s.repo.close(pull, "alice");
    let comment = s
        .comment_with(pull, "### Closed without being merged")
        .await;
    assert!(!comment.contains("On merge"), "{comment}");
    s.repo.reopen(pull, "alice");
    let comment = s.comment_with(pull, "### `network` changes").await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    s.settles().await;
    assert_eq!(
        s.states_of("propose", "network"),
        ["planned"],
        "the plan still holds"
    );
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_moves_to_another_branch_is_not_planned_until_it_comes_back() {
    let mut s = Scenario::with_network().await;
    let main = s.repo.head("main").unwrap();
    s.repo.branch("release", &main);
    let (pull, first) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/20"))]);
    s.planned(pull, &first).await;
    let id = s.comment_id(pull);

    s.repo.retarget(pull, "release");
    s.comment_with(pull, "### No longer for `main`").await;
    let second = s
        .repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Wider");
    s.settles().await;
    assert_eq!(s.states_of("propose", "network"), ["planned"]);
    assert_eq!(s.repo.statuses(&second), []);

    s.repo.retarget(pull, "main");
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_of_a_pull_request_for_another_branch_until_it_is_for_ours() {
    let mut s = Scenario::with_network().await;
    let main = s.repo.head("main").unwrap();
    s.repo.branch("release", &main);
    let head = s
        .repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Wider");
    let pull = s.repo.open_pull("Wider", "wider", "release", "alice");
    let written = s.written();
    s.settles().await;
    assert_eq!(s.written(), written);
    assert!(s.runs_for("propose", "network").is_empty());

    s.repo.retarget(pull, "main");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("1 to change"), "{comment}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_whose_branch_is_deleted_counts_as_closed() {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    s.repo.delete_branch("wider");
    assert_eq!(s.repo.pull(pull).state, "closed");
    s.comment_with(pull, "### Closed without being merged")
        .await;
    s.settles().await;
    assert!(s.status_of("acme/infra")["error"].is_null());
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    let (next, head) = s.opens("narrower", &[(NETWORK, &subnet("10.0.0.0/28"))]);
    s.planned(next, &head).await;
    s.end().await;
}
