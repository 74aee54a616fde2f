//! Merges by each way, several at once, and the first sight of a repository.

use super::stage::{NETWORK, resource, short, subnet};
use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, one_file, root, workspace};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pull_request_gets_a_plan_and_changes_nothing() {
    let mut s = Scenario::with_network().await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.starts_with("<!-- mainstay:"), "{comment}");
    assert!(comment.contains("1 to change"), "{comment}");
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.end().await;
}

/// A pull request of two commits, merged; gives what is on main, oldest first.
async fn merged(method: Method) -> (Scenario, u64, Vec<String>) {
    let mut s = Scenario::with_network().await;
    let before = s.repo.head("main").unwrap();
    s.repo
        .commit("wider", &[(NETWORK, &subnet("10.0.0.0/20"))], "Half way");
    let (pull, head) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    let id = s.comment_id(pull);

    let on_main = s.repo.merge(pull, method, "alice").unwrap();
    assert_eq!(s.repo.head("main").as_deref(), Some(on_main.as_str()));
    s.status_is(&on_main, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/16"));
    let comment = s.comment_with(pull, "### Applied: 1 changed").await;
    assert!(comment.contains(short(&on_main)), "{comment}");
    assert!(comment.contains("It is exactly as reviewed"), "{comment}");
    assert_eq!(s.comment_id(pull), id, "the comment is edited in place");
    let (state, _) = s.status(&head, "mainstay/plan").unwrap();
    assert_eq!(state, "success");
    s.settles().await;
    assert_eq!(s.states_of("propose", "network"), ["planned"]);
    let commits = crate::github::git::run(
        &s.repo.dir(),
        &[
            "rev-list",
            "--first-parent",
            "--reverse",
            &format!("{before}..main"),
        ],
    )
    .unwrap();
    (s, pull, commits.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_commit_is_applied() {
    let (s, _, on_main) = merged(Method::Merge).await;
    assert_eq!(on_main.len(), 1);
    assert_eq!(s.states_of("merge", "network"), ["applied", "applied"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_squash_is_applied() {
    let (s, _, on_main) = merged(Method::Squash).await;
    assert_eq!(on_main.len(), 1);
    assert_eq!(s.states_of("merge", "network"), ["applied", "applied"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_of_a_rebase_is_applied_and_the_others_count_as_it_does() {
    let (mut s, _, on_main) = merged(Method::Rebase).await;
    assert_eq!(on_main.len(), 2);
    let said = s.status_is(&on_main[0], "mainstay/apply", "success").await;
    assert!(said.contains(short(&on_main[1])), "{said}");
    let states = s.states_of("merge", "network");
    assert_eq!(states, ["applied", "superseded", "applied"]);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_merges_between_two_looks_the_newer_is_applied_and_the_older_follows_it() {
    let mut s = Scenario::with_network().await;
    let (first, one) = s.opens("first", &[("network/a.tf", &resource("a", "\"a\"", ""))]);
    let (second, two) = s.opens("second", &[("network/b.tf", &resource("b", "\"b\"", ""))]);
    s.planned(first, &one).await;
    s.planned(second, &two).await;

    s.between_two_looks().await;
    let older = s.repo.merge(first, Method::Merge, "alice").unwrap();
    let newer = s.repo.merge(second, Method::Merge, "alice").unwrap();

    s.status_is(&newer, "mainstay/apply", "success").await;
    let said = s.status_is(&older, "mainstay/apply", "success").await;
    assert!(said.contains(short(&newer)), "{said}");
    s.comment_with(first, "### Applied").await;
    s.comment_with(second, "### Applied").await;
    let runs = s.runs_for("merge", "network");
    let (passed_over, applied) = (&runs[1], &runs[2]);
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!(passed_over["state"], "superseded");
    assert_eq!(passed_over["commit"], older.as_str());
    assert_eq!(applied["state"], "applied");
    assert_eq!(applied["commit"], newer.as_str());
    assert_eq!(s.in_world("a.txt").as_deref(), Some("a"));
    assert_eq!(s.in_world("b.txt").as_deref(), Some("b"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_of_one_commit_are_applied_side_by_side_up_to_the_limit() {
    let mut s = Scenario::new().await;
    s.configure("parallel = 2");
    let names = ["dns", "network", "storage"];
    let declared: String = names.iter().map(|name| workspace(name, "")).collect();
    s.declare("acme.toml", &declaration("acme/infra", &declared));
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            let slow = resource(name, "\"there\"", "delay_ms = 1000");
            (format!("{name}/main.tf"), root(&[&slow]))
        })
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(p, f)| (p.as_str(), f.as_str()))
        .collect();
    s.applied(&files).await;

    let mut edges = Vec::new();
    for run in s.runs() {
        assert_eq!(run["state"], "applied");
        let shown = s.json(&["run", &run["id"].to_string(), "--format", "json"]);
        for event in shown["events"].as_array().unwrap() {
            let step = match event["event"]["event"].as_str().unwrap() {
                "started" => 1,
                "apply_done" => -1,
                _ => continue,
            };
            edges.push((event["at"].as_str().unwrap().to_owned(), step));
        }
    }
    assert_eq!(edges.len(), 2 * names.len());
    edges.sort();
    let mut under_way = 0;
    let most = edges.iter().map(|(_, step)| {
        under_way += step;
        under_way
    });
    assert_eq!(most.max(), Some(2));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_with_history_is_applied_once_and_its_open_pull_requests_are_planned_once() {
    let mut s = Scenario::new().await;
    for size in [28, 26, 24] {
        let content = format!("10.0.0.0/{size}");
        s.repo
            .commit("main", &[(NETWORK, &subnet(&content))], "Widen it");
    }
    let (wider, one) = s.opens("wider", &[(NETWORK, &subnet("10.0.0.0/16"))]);
    let (more, two) = s.opens("more", &[("network/b.tf", &resource("b", "\"b\"", ""))]);
    s.start();

    let main = s.repo.head("main").unwrap();
    s.status_is(&main, "mainstay/apply", "success").await;
    let comment = s.planned(wider, &one).await;
    assert!(comment.contains("1 to change"), "{comment}");
    let comment = s.planned(more, &two).await;
    assert!(comment.contains("1 to create"), "{comment}");
    s.settles().await;
    assert_eq!(s.states_of("merge", "network"), ["applied"]);
    assert_eq!(s.states_of("propose", "network"), ["planned", "planned"]);
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_before_the_plan_is_made_is_applied_all_the_same() {
    let mut s = Scenario::new().await;
    s.set("LOCALFS_HONOUR_STOP", "1");
    s.applied(&[(NETWORK, &one_file("subnet", "10.0.0.0/24"))])
        .await;
    let slow = resource("slow", "\"slow\"", "delay_plan_ms = 700");
    let (pull, _) = s.opens("slow", &[("network/slow.tf", &slow)]);
    s.run_is("propose", "network", "planning").await;
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 1 created").await;
    assert_eq!(s.states_of("propose", "network"), ["superseded"]);
    s.end().await;
}
