//! Pull requests follow what is pushed, merged, deleted and moved.

use std::process::Command;

use serde_json::json;

use crate::bare::{get, house};
use crate::github::git::Method;
use crate::github::log::Effect;
use crate::github::repository::Repository;

fn git(repo: &Repository, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .arg("--git-dir")
        .arg(repo.dir())
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with an open pull request of two commits.
fn with_pull(repo: &Repository) -> u64 {
    repo.commit("add", &[("a", "1\n")], "Add a");
    repo.commit("add", &[("b", "2\n")], "Add b");
    repo.open_pull("Add both", "add", "main", "alice")
}

#[tokio::test]
async fn a_merge_makes_a_commit_of_two_parents() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let (base, head) = (repo.head("main").unwrap(), repo.head("add").unwrap());
    let sha = repo.merge(number, Method::Merge, "alice").unwrap();
    assert_eq!(repo.head("main").unwrap(), sha);
    assert_eq!(
        git(&repo, &["show", "--no-patch", "--format=%P", &sha]),
        format!("{base} {head}")
    );
    let message = git(&repo, &["show", "--no-patch", "--format=%s|%b", &sha]);
    assert_eq!(
        message,
        format!("Merge pull request #{number} from acme/add|Add both")
    );
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(
        (&pull["merged"], &pull["merge_commit_sha"]),
        (&json!(true), &json!(sha))
    );
    assert_eq!(pull["head"]["sha"], head.as_str());
    assert_eq!(
        git(&repo, &["rev-parse", &format!("refs/pull/{number}/head")]),
        head
    );
    let merged = Effect::PullMerged {
        number,
        sha: sha.clone(),
    };
    assert!(
        hub.truth()
            .iter()
            .any(|truth| truth.effect == merged && truth.by == "alice")
    );
    let pushed = Effect::Pushed {
        branch: "main".into(),
        from: Some(base),
        to: Some(sha),
    };
    assert!(hub.truth().iter().any(|truth| truth.effect == pushed));
}

#[tokio::test]
async fn a_squash_makes_one_commit_of_all() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let base = repo.head("main").unwrap();
    let sha = repo.merge(number, Method::Squash, "alice").unwrap();
    assert_eq!(
        git(&repo, &["show", "--no-patch", "--format=%P|%s", &sha]),
        format!("{base}|Add both (#{number})")
    );
    assert_eq!(repo.file("main", "b").as_deref(), Some("2"));
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(pull["merge_commit_sha"], sha.as_str());
}

#[tokio::test]
async fn a_rebase_makes_new_commits_and_names_the_last() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let base = repo.commit("main", &[("c", "3\n")], "Meanwhile");
    let head = repo.head("add").unwrap();
    let sha = repo.merge(number, Method::Rebase, "alice").unwrap();
    let subjects = git(&repo, &["log", "--format=%s", &format!("{base}..{sha}")]);
    assert_eq!(subjects, "Add b\nAdd a");
    assert_ne!(sha, head);
    let people = git(&repo, &["show", "--no-patch", "--format=%an|%cn", &sha]);
    assert_eq!(people, "Someone|GitHub");
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(pull["merge_commit_sha"], sha.as_str());
}

#[tokio::test]
async fn a_conflict_merges_nothing() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let base = repo.commit("main", &[("a", "other\n")], "Meanwhile");
    for method in [Method::Merge, Method::Squash, Method::Rebase] {
        assert!(repo.merge(number, method, "alice").is_err(), "{method:?}");
    }
    assert_eq!(repo.head("main").unwrap(), base);
    let path = format!("/repos/acme/infra/pulls/{number}");
    assert_eq!(get(&hub, &path).body["mergeable"], json!(null));
    assert_eq!(get(&hub, &path).body["mergeable_state"], "dirty");
    assert_eq!(repo.pull(number).state, "open");
}

#[tokio::test]
async fn a_push_by_the_real_git_moves_the_head() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let before = repo.pull(number).updated_at;
    let work = tempfile::tempdir().unwrap();
    let clone = work.path().join("clone");
    let run = |arguments: &[&str]| {
        let output = Command::new("git")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args([
                "-c",
                "user.name=Alice",
                "-c",
                "user.email=alice@example.com",
                "-C",
            ])
            .arg(work.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let (dir, clone) = (repo.dir(), clone.to_string_lossy().into_owned());
    run(&[
        "clone",
        "--quiet",
        "--branch",
        "add",
        &dir.to_string_lossy(),
        &clone,
    ]);
    run(&[
        "-C",
        &clone,
        "commit",
        "--quiet",
        "--allow-empty",
        "--message",
        "More",
    ]);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    run(&["-C", &clone, "push", "--quiet"]);
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(pull["head"]["sha"], repo.head("add").unwrap().as_str());
    assert_eq!(pull["commits"], 3);
    assert!(repo.pull(number).updated_at > before);
    assert_eq!(
        git(&repo, &["rev-parse", &format!("refs/pull/{number}/head")]),
        repo.head("add").unwrap()
    );
}

#[tokio::test]
async fn a_force_push_and_a_retarget_are_followed() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let base = repo.head("main").unwrap();
    repo.branch("release", &base);
    let sha = repo.force_push("add", &base, &[("a", "again\n")], "Start over");
    let moved = repo.commit("main", &[("c", "3\n")], "Meanwhile");
    let path = format!("/repos/acme/infra/pulls/{number}");
    let pull = get(&hub, &path).body;
    assert_eq!(
        (&pull["head"]["sha"], &pull["commits"]),
        (&json!(sha), &json!(1))
    );
    assert_eq!(
        pull["base"]["sha"],
        base.as_str(),
        "a base that moves alone leaves it as it is"
    );
    assert_ne!(base, moved);
    repo.retarget(number, "release");
    repo.edit_title(number, "Another");
    repo.convert_to_draft(number);
    let pull = get(&hub, &path).body;
    assert_eq!(
        (&pull["base"]["ref"], &pull["title"]),
        (&json!("release"), &json!("Another"))
    );
    assert_eq!(pull["draft"], true);
    let retargeted = Effect::PullRetargeted {
        number,
        base: "release".into(),
    };
    assert!(hub.truth().iter().any(|truth| truth.effect == retargeted));
}

#[tokio::test]
async fn a_deleted_head_branch_closes_and_a_merged_one_stays_merged() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let sha = repo.head("add").unwrap();
    repo.delete_branch("add");
    let path = format!("/repos/acme/infra/pulls/{number}");
    let pull = get(&hub, &path).body;
    assert_eq!(
        (&pull["state"], &pull["merged"]),
        (&json!("closed"), &json!(false))
    );
    repo.branch("add", &sha);
    repo.reopen(number, "alice");
    assert_eq!(get(&hub, &path).body["state"], "open");
    repo.close(number, "alice");
    repo.reopen(number, "alice");
    repo.merge(number, Method::Squash, "alice").unwrap();
    repo.delete_branch("add");
    let pull = get(&hub, &path).body;
    assert_eq!(
        (&pull["state"], &pull["merged"]),
        (&json!("closed"), &json!(true))
    );
    let effects: Vec<_> = hub.truth().into_iter().map(|truth| truth.effect).collect();
    let count = |wanted: Effect| effects.iter().filter(|effect| **effect == wanted).count();
    assert_eq!(count(Effect::PullClosed { number }), 2);
    assert_eq!(count(Effect::PullReopened { number }), 2);
    assert_eq!(count(Effect::PullOpened { number }), 1);
}

#[tokio::test]
async fn a_push_of_the_head_into_the_base_merges_the_pull_request() {
    let (hub, repo) = house().await;
    let number = with_pull(&repo);
    let head = repo.head("add").unwrap();
    repo.branch("main", &head);
    let after = repo.commit("main", &[("c", "3\n")], "More");
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(
        (&pull["merged"], &pull["merge_commit_sha"]),
        (&json!(true), &json!(head))
    );
    assert_ne!(after, head);
}

#[tokio::test]
async fn a_forks_pull_request_follows_the_fork() {
    let (hub, repo) = house().await;
    let fork = repo.fork("mallory");
    assert_eq!(fork.full_name(), "mallory/infra");
    fork.commit("evil", &[("a", "1\n")], "Add");
    let number = repo.open_fork_pull("Add", &fork, "evil", "main");
    let sha = fork.commit("evil", &[("a", "2\n")], "Change");
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(pull["head"]["sha"], sha.as_str());
    assert_eq!(pull["head"]["label"], "mallory:evil");
    assert_eq!(pull["head"]["repo"]["full_name"], "mallory/infra");
    assert_eq!(
        git(&repo, &["show", &format!("refs/pull/{number}/head:a")]),
        "2"
    );
    hub.remove_repository("mallory/infra");
    let pull = get(&hub, &format!("/repos/acme/infra/pulls/{number}")).body;
    assert_eq!(
        (&pull["head"]["repo"], &pull["head"]["sha"]),
        (&json!(null), &json!(sha))
    );
}

#[tokio::test]
async fn a_file_can_be_deleted_and_an_empty_repository_says_so() {
    let (hub, repo) = house().await;
    repo.commit_changes(
        "main",
        &[("network/main.tf", None), ("x", Some("1"))],
        "Replace",
    );
    assert_eq!(repo.file("main", "network/main.tf"), None);
    assert_eq!(
        hub.repository("acme/infra").file("main", "x").as_deref(),
        Some("1")
    );
    let empty = hub.create_repository("acme/empty");
    hub.user(
        "mainstay-bot",
        &[(&empty, crate::github::world::Role::Read)],
    );
    assert_eq!(
        get(&hub, "/repos/acme/empty/git/ref/heads/main").status,
        409
    );
    assert_eq!(get(&hub, "/repos/acme/empty/branches/main").status, 404);
    assert!(empty.dir().starts_with(hub.root()));
}

#[tokio::test]
async fn lists_are_sorted_and_filtered_as_published() {
    let (hub, repo) = house().await;
    let sha = repo.head("main").unwrap();
    repo.branch("release", &sha);
    for (branch, base) in [("one", "main"), ("two", "release"), ("three", "main")] {
        repo.commit(branch, &[(branch, "1")], branch);
        repo.open_pull(branch, branch, base, "alice");
    }
    repo.close(3, "alice");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    repo.comment(1, "alice", "bump");
    let numbers = |query: &str| -> Vec<u64> {
        let pulls = get(&hub, &format!("/repos/acme/infra/pulls{query}")).body;
        pulls
            .as_array()
            .unwrap()
            .iter()
            .map(|pull| pull["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(""), [2, 1]);
    assert_eq!(numbers("?state=all"), [3, 2, 1]);
    assert_eq!(numbers("?state=closed"), [3]);
    assert_eq!(
        numbers("?sort=updated"),
        [2, 1],
        "ascending unless it says otherwise"
    );
    assert_eq!(numbers("?sort=updated&direction=desc"), [1, 2]);
    assert_eq!(numbers("?sort=popularity&direction=desc"), [1, 2]);
    assert_eq!(numbers("?base=release"), [2]);
    assert_eq!(numbers("?head=acme:one"), [1]);
}
