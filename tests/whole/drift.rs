//! Drift: looked for on a schedule and by hand, told in one issue, repaired where that is declared.

use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, file, one_file, root, workspace};

const ISSUE: &str = "Drift in network";

/// A scenario with drift settings, in which `network` is applied.
async fn applied(more: &str, text: &str) -> Scenario {
    let mut s = Scenario::new().await;
    let rest = workspace("network", more);
    s.declare("acme.toml", &declaration("acme/infra", &rest));
    s.applied(&[("network/main.tf", text)]).await;
    s
}

fn change(s: &Scenario, file: &str, content: &str) {
    std::fs::write(s.world().join(file), content).unwrap();
}

/// Waits until `more` looks for drift have ended from now on.
async fn drift_looks(s: &mut Scenario, more: usize) {
    let ended = |s: &Scenario| {
        let runs = s.runs_for("drift", "network");
        runs.iter().filter(|run| run["state"] == "planned").count()
    };
    let before = ended(s);
    s.wait("more looks for drift", |s| {
        (ended(s) >= before + more).then_some(())
    })
    .await;
}

const EVERY_SECOND: &str = "drift = { every = \"1s\", action = \"report\" }";
const REPAIRED: &str = "drift = { every = \"1s\", action = \"apply\" }";
const SELDOM: &str = "drift = { every = \"1h\" }";

#[tokio::test(flavor = "multi_thread")]
async fn drift_has_one_issue_that_is_edited_and_closed() {
    let mut s = applied(EVERY_SECOND, &one_file("subnet", "10.0.0.0/24")).await;
    drift_looks(&mut s, 2).await;
    assert_eq!(s.repo.issues(), [], "no drift, no issue");

    change(&s, "subnet.txt", "10.6.6.0/24");
    let issue = s.issue_with(ISSUE, "10.6.6.0/24").await;
    assert_eq!(issue.labels, ["drift"]);
    assert!(issue.body.contains("localfs_file.subnet"), "{}", issue.body);
    change(&s, "subnet.txt", "10.7.7.0/24");
    let edited = s.issue_with(ISSUE, "10.7.7.0/24").await;
    assert_eq!(edited.number, issue.number);
    assert!(!edited.body.contains("10.6.6.0/24"), "{}", edited.body);

    change(&s, "subnet.txt", "10.0.0.0/24");
    s.issue_closed(ISSUE).await;
    let issues = s.repo.issues();
    assert_eq!(issues.len(), 1);
    assert!(issues[0].body.contains("No drift"), "{}", issues[0].body);
    std::fs::remove_file(s.world().join("subnet.txt")).unwrap();
    s.issue_with(ISSUE, "has been deleted").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_where_that_is_declared() {
    let mut s = applied(REPAIRED, &one_file("subnet", "10.0.0.0/24")).await;
    change(&s, "subnet.txt", "10.6.6.0/24");
    s.world_has("subnet.txt", "10.0.0.0/24").await;
    s.wait("the repair being on record", |s| {
        let runs = s.runs_for("merge", "network");
        (runs.len() == 2 && runs[1]["state"] == "applied").then_some(())
    })
    .await;
    drift_looks(&mut s, 2).await;
    s.issue_closed(ISSUE).await;
    assert_eq!(s.runs_for("merge", "network").len(), 2);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_changes_nothing_is_not_tried_again_and_again() {
    let ignoring = file(
        "subnet",
        "10.0.0.0/24",
        "lifecycle {\n    ignore_changes = [content]\n  }",
    );
    let by_hand = "drift = { every = \"1h\", action = \"apply\" }";
    let mut s = applied(by_hand, &root(&[&ignoring])).await;
    s.run_is("drift", "network", "planned").await;
    change(&s, "subnet.txt", "10.6.6.0/24");
    assert_eq!(s.run(&["drift"]).code, 2);
    s.issue_with(ISSUE, "10.6.6.0/24").await;
    // The repair has nothing to apply, and leaves the drift as it is.
    let runs = |s: &Scenario| {
        let (merges, looks) = (
            s.runs_for("merge", "network"),
            s.runs_for("drift", "network"),
        );
        (merges.len(), looks.len())
    };
    s.wait("a repair", |s| (runs(s).0 == 2).then_some(())).await;
    s.run_is("merge", "network", "applied").await;
    s.looked().await;
    s.run_is("drift", "network", "planned").await;
    let before = runs(&s);
    s.looked().await;
    assert_eq!(runs(&s), before);
    assert_eq!(before.0, 2);
    s.issue_with(ISSUE, "10.6.6.0/24").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_destroys_waits_for_a_person() {
    let bound = "lifecycle {\n    replace_triggered_by = [localfs_file.subnet.content]\n  }";
    let text = root(&[
        &file("subnet", "10.0.0.0/24", ""),
        &file("host", "h", bound),
    ]);
    let mut s = applied(REPAIRED, &text).await;
    change(&s, "subnet.txt", "10.6.6.0/24");
    let issue = s
        .issue_with(
            "network waits for a person",
            "destroys or replaces 1 resource",
        )
        .await;
    s.issue_with(ISSUE, "10.6.6.0/24").await;
    drift_looks(&mut s, 2).await;
    assert_eq!(s.runs_for("merge", "network").len(), 2, "it waits once");
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.6.6.0/24"));
    s.says(issue.number, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.issue_closed("network waits for a person").await;
    s.issue_closed(ISSUE).await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_the_issue_look_again_and_put_the_world_back() {
    let mut s = applied(SELDOM, &one_file("subnet", "10.0.0.0/24")).await;
    s.run_is("drift", "network", "planned").await;
    change(&s, "subnet.txt", "10.6.6.0/24");
    let found = s.run(&["drift"]);
    assert_eq!(found.code, 2, "{}{}", found.stdout, found.stderr);
    let issue = s.issue_with(ISSUE, "10.6.6.0/24").await;
    change(&s, "subnet.txt", "10.7.7.0/24");
    s.says(issue.number, "mallory", "mainstay plan", &["confused"])
        .await;
    s.says(issue.number, "alice", "mainstay plan", &["eyes", "rocket"])
        .await;
    s.issue_with(ISSUE, "10.7.7.0/24").await;
    s.says(issue.number, "mallory", "mainstay apply", &["confused"])
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.7.7.0/24"));
    s.says(
        issue.number,
        "alice",
        "mainstay apply network",
        &["eyes", "rocket"],
    )
    .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.issue_closed(ISSUE).await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_fails_says_nothing_of_the_world() {
    let mut s = applied(EVERY_SECOND, &one_file("subnet", "10.0.0.0/24")).await;
    change(&s, "subnet.txt", "10.6.6.0/24");
    let issue = s.issue_with(ISSUE, "10.6.6.0/24").await;
    // A folder in the file's place cannot be read.
    std::fs::remove_file(s.world().join("subnet.txt")).unwrap();
    std::fs::create_dir(s.world().join("subnet.txt")).unwrap();
    s.run_is("drift", "network", "failed").await;
    s.looked().await;
    let still = s.issue_with(ISSUE, "10.6.6.0/24").await;
    assert_eq!(still.body, issue.body);
    std::fs::remove_dir(s.world().join("subnet.txt")).unwrap();
    change(&s, "subnet.txt", "10.0.0.0/24");
    s.issue_closed(ISSUE).await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mainstay_drift_ends_with_what_it_found_beside_a_daemon_and_without() {
    let mut s = applied("", &one_file("subnet", "10.0.0.0/24")).await;
    for daemon in ["runs", "stopped"] {
        if daemon == "stopped" {
            s.stop();
        }
        change(&s, "subnet.txt", "10.0.0.0/24");
        let none = s.run(&["drift"]);
        assert_eq!(none.code, 0, "{daemon}: {}{}", none.stdout, none.stderr);
        assert!(none.stdout.contains("no drift"), "{}", none.stdout);

        change(&s, "subnet.txt", "10.6.6.0/24");
        let found = s.run(&["drift", "--workspace", "network"]);
        assert_eq!(found.code, 2, "{daemon}: {}{}", found.stdout, found.stderr);
        assert!(
            found.stdout.contains("localfs_file.subnet"),
            "{}",
            found.stdout
        );
        assert!(found.stdout.contains("10.6.6.0/24"), "{}", found.stdout);

        std::fs::remove_file(s.world().join("subnet.txt")).unwrap();
        std::fs::create_dir(s.world().join("subnet.txt")).unwrap();
        let failed = s.run(&["drift"]);
        assert_eq!(
            failed.code, 1,
            "{daemon}: {}{}",
            failed.stdout, failed.stderr
        );
        std::fs::remove_dir(s.world().join("subnet.txt")).unwrap();

        let unknown = s.run(&["drift", "--workspace", "netwrk"]);
        assert_eq!(unknown.code, 1);
        assert!(
            unknown.stderr.contains("`netwrk`") && unknown.stderr.contains("`network`"),
            "{}",
            unknown.stderr
        );
        assert_eq!(unknown.stdout, "");
    }
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_looked_for_at_the_applied_commit_while_a_newer_one_is_held() {
    let more = format!("{EVERY_SECOND}\napply = \"on-approval\"");
    let mut s = Scenario::new().await;
    let first = s
        .applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.stop();
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("network", &more)),
    );
    s.start();
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.comment_with(pull, "1 to change").await;
    s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.comment_with(pull, "is held").await;

    drift_looks(&mut s, 2).await;
    assert_eq!(s.open_issues(ISSUE), [], "what is held is no drift");
    change(&s, "subnet.txt", "10.6.6.0/24");
    let issue = s.issue_with(ISSUE, "10.6.6.0/24").await;
    assert!(!issue.body.contains("10.0.0.0/16"), "{}", issue.body);
    for run in s.runs_for("drift", "network") {
        assert_eq!(run["commit"], *first);
    }
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_waits_behind_a_merge() {
    let slow = |content: &str| root(&[&file("subnet", content, "delay_ms = 2500")]);
    let mut s = applied(EVERY_SECOND, &one_file("subnet", "a")).await;
    drift_looks(&mut s, 1).await;
    let commit = s
        .repo
        .commit("main", &[("network/main.tf", &slow("b"))], "Slowly");
    s.run_is("merge", "network", "applying").await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    drift_looks(&mut s, 1).await;
    let merge = s.runs_for("merge", "network").last().unwrap()["id"].clone();
    let merge = s.spans(merge.as_u64().unwrap())[0];
    for run in s.runs_for("drift", "network") {
        for span in s.spans(run["id"].as_u64().unwrap()) {
            assert!(!span.overlaps(&merge), "{span:?} is within {merge:?}");
        }
    }
    assert_eq!(s.repo.issues(), [], "an apply is no drift");
    s.end().await;
}
