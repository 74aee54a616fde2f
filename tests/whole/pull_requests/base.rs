//! The base branch that is force-pushed or deleted, and repositories beside each other.

use super::stage::{NETWORK, short, subnet};
use crate::github::repository::Repository;
use crate::scenario::{Scenario, one_file};

/// A scenario whose main was at 10.0.0.0/16 and was force-pushed back to 10.0.0.0/24; the
/// commit that it is at now, whose change is held.
async fn force_pushed() -> (Scenario, String) {
    let mut s = Scenario::with_network().await;
    let first = s.repo.head("main").unwrap();
    let second = s.applied(&[(NETWORK, &subnet("10.0.0.0/16"))]).await;
    let rewritten = s.repo.force_push(
        "main",
        &first,
        &[(NETWORK, &subnet("10.0.0.0/8"))],
        "Another history",
    );
    s.run_is("merge", "network", "held").await;
    s.settles().await;
    let (state, said) = s.status(&rewritten, "mainstay/apply").unwrap();
    assert_eq!(state, "pending");
    assert!(said.contains("held"), "{said}");
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    let held = s.status_of("acme/infra")["workspaces"][0]["hold"].to_string();
    assert!(held.contains("force-pushed"), "{held}");
    assert!(held.contains(short(&second)), "{held}");
    (s, rewritten)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_pushed_base_is_held_until_a_person_agrees_on_the_issue() {
    let (mut s, rewritten) = force_pushed().await;
    let issue = s
        .wait("an issue that says so", |s| {
            let issues = s.repo.issues();
            issues.into_iter().find(|i| i.state == "open")
        })
        .await;
    assert!(issue.body.contains("force-pushed"), "{}", issue.body);
    s.repo.comment(issue.number, "alice", "mainstay apply");
    s.status_is(&rewritten, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/8"));
    s.wait("the issue to be closed", |s| {
        s.repo
            .issues()
            .iter()
            .all(|i| i.state == "closed")
            .then_some(())
    })
    .await;

    // What follows on the new history is applied as ever.
    s.applied(&[(NETWORK, &subnet("10.0.0.0/28"))]).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/28"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_pushed_base_is_let_go_on_the_machine_too() {
    let (mut s, rewritten) = force_pushed().await;
    let ran = s.run(&["apply", "network"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    s.status_is(&rewritten, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/8"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_branch_that_is_deleted_is_said_and_comes_back_when_it_is_pushed_again() {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    let main = s.repo.head("main").unwrap();
    s.repo.delete_branch("main");
    s.look_fails("acme/infra", "the branch `main` is not in the repository")
        .await;
    let status = s.status_of("acme/infra");
    assert_eq!(status["workspaces"][0]["applied"], main.as_str());
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    s.repo.branch("main", &main);
    s.look_succeeds("acme/infra").await;
    // GitHub closed the pull request together with the branch that it was for.
    s.comment_with(pull, "### Closed").await;
    s.repo.reopen(pull, "alice");
    s.comment_with(pull, "### `network` changes").await;
    s.applied(&[(NETWORK, &subnet("10.0.0.0/28"))]).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/28"));
    s.end().await;
}

/// A scenario with a second repository beside the first, both applied.
async fn two_repositories() -> (Scenario, Repository) {
    let mut s = Scenario::new().await;
    // Its workspace has the same name as the other's.
    let apps = s.another("acme/apps");
    let files = [(NETWORK, &*one_file("shop", "open"))];
    let commit = apps.commit("main", &files, "The shop");
    s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
    s.wait("the other repository to be applied", |_| {
        let status = apps.status(&commit, "mainstay/apply")?;
        (status.state == "success").then_some(())
    })
    .await;
    assert_eq!(s.in_world("shop.txt").as_deref(), Some("open"));
    (s, apps)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repositories_are_served_and_never_mistaken_for_each_other() {
    let (mut s, apps) = two_repositories().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    let other_head = apps.commit("shut", &[(NETWORK, &one_file("shop", "shut"))], "Shut");
    let other = apps.open_pull("Shut", "shut", "main", "alice");
    assert_eq!(pull, other, "the same number in both");
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    let theirs = s
        .wait("the other comment", |_| {
            let status = apps.status(&other_head, "mainstay/plan")?;
            let comments = apps.comments(other);
            (status.state == "success" && comments.len() == 1).then(|| comments[0].body.clone())
        })
        .await;
    assert!(
        theirs.contains("shut") && !theirs.contains("10.0.0.0"),
        "{theirs}"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_vanishes_is_said_and_disturbs_no_other() {
    let (mut s, _) = two_repositories().await;
    s.hub.remove_repository("acme/apps");
    s.look_fails("acme/apps", "acme/apps").await;
    let shown = s.run(&["status"]).stdout;
    assert!(shown.contains("cannot be looked at"), "{shown}");
    assert!(s.status_of("acme/infra")["error"].is_null());

    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    assert_eq!(s.in_world("shop.txt").as_deref(), Some("open"));
    s.end().await;
}
