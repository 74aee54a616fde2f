//! Pull requests from forks: their code is run for nobody but a person who may write here.

use super::stage::{NETWORK, short, subnet};
use crate::github::repository::Repository;
use crate::scenario::Scenario;

/// A pull request of mallory, from a fork of hers; the fork, its number and its head.
async fn proposed(s: &mut Scenario) -> (Repository, u64, String) {
    let fork = s.repo.fork("mallory");
    let head = fork.commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Wider");
    let pull = s.repo.open_fork_pull("Wider", &fork, "wider", "main");
    (fork, pull, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_of_a_fork_waits_for_a_person_and_starts_nothing() {
    let mut s = Scenario::with_network().await;
    let (_, pull, head) = proposed(&mut s).await;
    let comment = s.comment_with(pull, "### From a fork").await;
    assert!(comment.contains("`mainstay plan`"), "{comment}");
    let said = s.status_is(&head, "mainstay/plan", "pending").await;
    assert!(said.contains("From a fork"), "{said}");
    s.settles().await;
    assert!(s.runs_for("propose", "network").is_empty());
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_may_write_has_that_head_of_a_fork_planned_and_no_other() {
    let mut s = Scenario::with_network().await;
    let (fork, pull, first) = proposed(&mut s).await;
    s.comment_with(pull, "### From a fork").await;
    let id = s.comment_id(pull);
    let asked = s.repo.comment(pull, "alice", "mainstay plan");
    let comment = s.planned(pull, &first).await;
    assert!(comment.contains("1 to change"), "{comment}");
    s.reacted(pull, asked, &["eyes", "rocket"]).await;

    let second = fork.commit("wider", &[(NETWORK, &subnet("10.0.0.0/8"))], "Wider yet");
    let comment = s.comment_with(pull, "### From a fork").await;
    assert!(!comment.contains("10.0.0.0/8"), "{comment}");
    s.status_is(&second, "mainstay/plan", "pending").await;
    s.settles().await;
    assert_eq!(s.states_of("propose", "network"), ["planned"]);

    s.repo.comment(pull, "alice", "mainstay plan network");
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("10.0.0.0/8"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_beside_the_command_of_a_person_is_not_planned_by_it() {
    let mut s = Scenario::with_network().await;
    let (fork, pull, _) = proposed(&mut s).await;
    s.comment_with(pull, "### From a fork").await;
    s.settles().await;
    s.between_two_looks().await;
    let asked = s.repo.comment(pull, "alice", "mainstay plan");
    let second = fork.commit("wider", &[(NETWORK, &subnet("10.0.0.0/8"))], "Wider yet");
    s.reacted(pull, asked, &["confused"]).await;
    let comment = s.comment_with(pull, "**Refused**").await;
    assert!(
        comment.contains(&format!("the head moved to `{}`", short(&second))),
        "{comment}"
    );
    s.settles().await;
    assert!(s.runs_for("propose", "network").is_empty());
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_may_only_read_is_refused() {
    let mut s = Scenario::with_network().await;
    let (_, pull, head) = proposed(&mut s).await;
    s.comment_with(pull, "### From a fork").await;
    let asked = s.repo.comment(pull, "mallory", "mainstay plan");
    s.reacted(pull, asked, &["confused"]).await;
    let comment = s.comment_with(pull, "**Refused**").await;
    assert!(comment.contains("`mallory`"), "{comment}");
    s.settles().await;
    assert!(s.runs_for("propose", "network").is_empty());
    let (state, _) = s.status(&head, "mainstay/plan").unwrap();
    assert_eq!(state, "pending");
    s.end().await;
}
