//! Pushes to a pull request, force-pushes, and conflicts.

use super::stage::{NETWORK, resource, short, subnet};
use crate::scenario::{Scenario, root};

/// No test waits as long as this plan takes.
const ENDLESS: &str = "delay_plan_ms = 600000";

#[tokio::test(flavor = "multi_thread")]
async fn a_push_brings_the_same_comment_to_the_new_plan() {
    let mut s = Scenario::with_network().await;
    let (pull, first) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/20"))]);
    let comment = s.planned(pull, &first).await;
    assert!(comment.contains("10.0.0.0/20"), "{comment}");
    let id = s.comment_id(pull);

    let second = s
        .repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Wider");
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    assert!(!comment.contains("10.0.0.0/20"), "{comment}");
    let since = format!("Since `{}`: `localfs_file.subnet`", short(&first));
    assert!(comment.contains(&since), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    assert_eq!(s.states_of("propose", "network"), ["planned", "planned"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_push_supersedes_a_plan_that_is_under_way() {
    let mut s = Scenario::new().await;
    s.set("LOCALFS_HONOUR_STOP", "1");
    s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
    let slow = root(&[&resource("subnet", "\"10.0.0.0/20\"", ENDLESS)]);
    let (pull, first) = s.opens("wider", &[(NETWORK, &slow)]);
    s.run_is("propose", "network", "planning").await;

    let second = s
        .repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/16"))], "Wider");
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    let runs = s.runs_for("propose", "network");
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[0]["state"], "superseded");
    assert_eq!(runs[0]["commit"], first.as_str());
    assert_eq!(runs[1]["state"], "planned");
    let shown = s.json(&["run", &runs[0]["id"].to_string(), "--format", "json"]);
    let by = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|event| event["event"]["by"].as_str())
        .unwrap();
    assert_eq!(by, short(&second), "what took its place is recorded");
    let (state, _) = s.status(&first, "mainstay/plan").unwrap();
    assert_eq!(state, "pending", "a plan that was never made is not green");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_pushed_head_is_planned() {
    let mut s = Scenario::with_network().await;
    let main = s.repo.head("main").unwrap();
    let (pull, first) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/20"))]);
    s.planned(pull, &first).await;
    let id = s.comment_id(pull);
    let second = s.repo.force_push(
        "wider",
        &main,
        &[(NETWORK, &subnet("10.0.0.0/16"))],
        "Another way",
    );
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_said_with_its_files_and_a_push_that_resolves_it_is_planned() {
    let mut s = Scenario::with_network().await;
    let (pull, first) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &first).await;
    let id = s.comment_id(pull);

    s.applied(&[(NETWORK, &subnet("10.0.0.0/20"))]).await;
    let comment = s.comment_with(pull, "### Conflicts with `main`").await;
    assert!(comment.contains("- `network/main.tf`"), "{comment}");
    let said = s.status_is(&first, "mainstay/plan", "failure").await;
    assert!(said.contains("Conflicts with main"), "{said}");

    let main = s.repo.head("main").unwrap();
    let second = s.repo.force_push(
        "wider",
        &main,
        &[(NETWORK, &subnet("10.0.0.0/16"))],
        "Wider, on top of main",
    );
    let comment = s.planned(pull, &second).await;
    assert!(comment.contains("1 to change"), "{comment}");
    assert!(comment.contains("10.0.0.0/20"), "{comment}");
    assert_eq!(s.comment_id(pull), id);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_conflicts_from_its_start_gets_a_comment_too() {
    let mut s = Scenario::with_network().await;
    let before = s.repo.head("main").unwrap();
    s.repo.branch("wider", &before);
    s.applied(&[(NETWORK, &subnet("10.0.0.0/20"))]).await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    let comment = s.comment_with(pull, "### Conflicts with `main`").await;
    assert!(comment.contains("- `network/main.tf`"), "{comment}");
    s.status_is(&head, "mainstay/plan", "failure").await;
    assert!(s.runs_for("propose", "network").is_empty());
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_touches_no_workspace_calls_nobody() {
    let mut s = Scenario::with_network().await;
    let before = s.repo.head("main").unwrap();
    s.repo.branch("docs", &before);
    s.repo.commit("main", &[("README.md", "One\n")], "Explain");
    let (pull, head) = s.opens("docs", &[("README.md", "Two\n")]);
    s.logged(&format!(
        "#{pull} of acme/infra at {} touches",
        short(&head)
    ))
    .await;
    // A required check does not wait for ever, and nobody is called.
    let said = s.status_is(&head, "mainstay/plan", "success").await;
    assert_eq!(said, "touches no workspace");
    s.settles().await;
    assert_eq!(s.comment(pull), None);
    s.end().await;
}
