//! Holds: which changes wait for a person, how they are told, and what lets them go.

use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, file, one_file, root, workspace};

/// A scenario whose workspace has more settings, with `network` at one file.
async fn applied_with(top: &str, more: &str) -> Scenario {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.stop();
    declare(&s, top, more);
    s.start();
    s
}

fn declare(s: &Scenario, top: &str, more: &str) {
    let rest = format!("{top}\n\n{}", workspace("network", more));
    s.declare("acme.toml", &declaration("acme/infra", &rest));
}

/// Proposes and merges another content of the subnet's file; gives the pull request and the merge.
async fn merged(s: &mut Scenario, content: &str) -> (u64, String) {
    let text = one_file("subnet", content);
    let pull = s.propose(&content.replace('/', "-"), &[("network/main.tf", &text)]);
    s.comment_with(pull, "1 to change").await;
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    (pull, commit)
}

const ON_APPROVAL: &str = "apply = \"on-approval\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_needs_approval_waits_for_somebody_who_may_write() {
    let mut s = applied_with("", ON_APPROVAL).await;
    let (pull, commit) = merged(&mut s, "10.0.0.0/16").await;
    let comment = s
        .comment_with(pull, "`network` is held: a person must agree")
        .await;
    assert!(
        comment.contains("`mainstay apply network` lets it go"),
        "{comment}"
    );
    let held = ("pending", "held, a person must agree: network");
    s.wait("the status of the hold", |s| {
        let (state, text) = s.status(&commit, "mainstay/apply")?;
        ((state.as_str(), text.as_str()) == held).then_some(())
    })
    .await;

    s.says(pull, "mallory", "mainstay apply network", &["confused"])
        .await;
    assert_eq!(
        s.runs_for("merge", "network").last().unwrap()["state"],
        "held"
    );
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    s.says(pull, "alice", "mainstay apply network", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 1 changed").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_moving_on_ends_a_hold_and_the_new_one_waits_anew() {
    let mut s = applied_with("", ON_APPROVAL).await;
    let (first, first_commit) = merged(&mut s, "10.0.0.0/16").await;
    s.comment_with(first, "is held").await;
    let held = s.run_is("merge", "network", "held").await;
    let (second, second_commit) = merged(&mut s, "10.0.0.0/8").await;
    s.comment_with(second, "is held").await;
    let now = s.run_is("merge", "network", "held").await;
    assert_ne!(held, now);
    let runs = s.runs_for("merge", "network");
    assert_eq!(runs[runs.len() - 2]["state"], "superseded");
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    s.says(second, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.status_is(&second_commit, "mainstay/apply", "success")
        .await;
    s.status_is(&first_commit, "mainstay/apply", "success")
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/8"));
    s.comment_with(first, "Applied").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_only_for_the_plan_that_it_was_given_for() {
    let mut s = applied_with("", ON_APPROVAL).await;
    let (pull, commit) = merged(&mut s, "10.0.0.0/16").await;
    s.comment_with(pull, "is held").await;
    // Now it is to be created and no longer to be changed.
    std::fs::remove_file(s.world().join("subnet.txt")).unwrap();
    s.says(pull, "alice", "mainstay apply", &["confused", "eyes"])
        .await;
    s.comment_with(pull, "the plan is no longer the one that alice agreed to")
        .await;
    assert_eq!(s.in_world("subnet.txt"), None);
    s.status_is(&commit, "mainstay/apply", "pending").await;

    s.says(pull, "alice", "mainstay apply network", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_a_pull_request_is_applied_unless_it_destroys() {
    let mut s = Scenario::new().await;
    let subnet = file("subnet", "10.0.0.0/24", "");
    let route = file("route", "0.0.0.0/0", "");
    s.applied(&[("network/main.tf", &root(&[&subnet]))]).await;
    s.applied(&[("network/main.tf", &root(&[&subnet, &route]))])
        .await;
    assert_eq!(s.in_world("route.txt").as_deref(), Some("0.0.0.0/0"));
    assert_eq!(s.repo.issues(), []);

    let commit = s
        .repo
        .commit("main", &[("network/main.tf", &root(&[&subnet]))], "Cut off");
    let issue = s
        .issue_with("network waits for a person", "mainstay apply network")
        .await;
    assert_eq!(issue.labels, ["hold"]);
    assert!(
        issue
            .body
            .contains("destroys or replaces 1 resource that no reviewer saw"),
        "{}",
        issue.body
    );
    assert!(issue.body.contains("localfs_file.route"), "{}", issue.body);
    s.status_is(&commit, "mainstay/apply", "pending").await;
    assert!(s.in_world("route.txt").is_some());

    s.says(issue.number, "mallory", "mainstay apply", &["confused"])
        .await;
    assert!(s.in_world("route.txt").is_some());
    s.says(issue.number, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("route.txt"), None);
    s.issue_closed("network waits for a person").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reviewed_is_applied_or_held_as_declared() {
    let mut s = applied_with("unreviewed = \"apply\"", "").await;
    let gone = root(&[&file("other", "x", "")]);
    let commit = s
        .repo
        .commit("main", &[("network/main.tf", &gone)], "Replace all");
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt"), None);

    s.stop();
    declare(&s, "unreviewed = \"hold\"", "");
    s.start();
    let more = root(&[&file("other", "x", ""), &file("third", "y", "")]);
    let commit = s
        .repo
        .commit("main", &[("network/main.tf", &more)], "Add one");
    s.issue_with(
        "network waits for a person",
        "it changes 1 resource that no reviewer saw",
    )
    .await;
    s.status_is(&commit, "mainstay/apply", "pending").await;
    assert_eq!(s.in_world("third.txt"), None);

    // What a reviewer saw is not held, be it as it may.
    let pull = s.propose(
        "fourth",
        &[("network/main.tf", &root(&[&file("other", "z", "")]))],
    );
    s.comment_with(pull, "to change").await;
    let commit = s.repo.merge(pull, Method::Rebase, "alice").unwrap();
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("other.txt").as_deref(), Some("z"));
    s.issue_closed("network waits for a person").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_never_applied_is_only_planned() {
    let mut s = applied_with("", "apply = \"never\"").await;
    let before = s.runs_for("merge", "network").len();
    let (pull, commit) = merged(&mut s, "10.0.0.0/16").await;
    s.wait("the merge being seen", |s| {
        let status = s.json(&["status", "--format", "json"]);
        (status["repositories"][0]["base"] == *commit).then_some(())
    })
    .await;
    s.looked().await;
    assert_eq!(s.runs_for("merge", "network").len(), before);
    assert_eq!(s.status(&commit, "mainstay/apply"), None);
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_came_to_replace_what_its_reviewers_saw_changed_waits() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.comment_with(pull, "1 to change").await;

    // Somebody moves the file and edits the state by hand: now the path differs too.
    std::fs::rename(s.world().join("subnet.txt"), s.world().join("moved.txt")).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&s.state("network")).unwrap();
    state["serial"] = (state["serial"].as_u64().unwrap() + 1).into();
    let file = s.folder().join("mended.tfstate");
    let text = state.to_string().replace("subnet.txt", "moved.txt");
    std::fs::write(&file, text).unwrap();
    let pushed = s.run(&["state", "push", "network", file.to_str().unwrap()]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    let log = s.run(&["audit", "--workspace", "network"]).stdout;
    assert!(log.contains("state pushed"), "{log}");

    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    let comment = s
        .comment_with(
            pull,
            "it destroys or replaces 1 resource that no reviewer saw",
        )
        .await;
    assert!(comment.contains("**replaced**"), "{comment}");
    s.status_is(&commit, "mainstay/apply", "pending").await;
    assert_eq!(s.in_world("moved.txt").as_deref(), Some("10.0.0.0/24"));
    s.says(pull, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("moved.txt"), None);
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    s.end().await;
}
