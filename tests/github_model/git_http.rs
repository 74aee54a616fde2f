//! The real git against the model: clones, fetches, refusals, faults.

use std::path::Path;
use std::process::{Command, Output};

use crate::bare::{TOKEN, ask_as, get, house};
use crate::github::GitHub;
use crate::github::fault::{Fault, FaultKind, When};
use crate::github::log::Budget;

fn git(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .arg("-C")
        .arg(dir)
        .args(arguments)
        .output()
        .expect("git runs")
}

fn url(hub: &GitHub, token: &str) -> String {
    let host = hub.web_url().replace("http://", "");
    if token.is_empty() {
        format!("http://{host}/acme/infra.git")
    } else {
        format!("http://x-access-token:{token}@{host}/acme/infra.git")
    }
}

#[tokio::test]
async fn git_clones_and_fetches_the_heads_of_pull_requests() {
    let (hub, repo) = house().await;
    repo.commit("add", &[("a", "1")], "Add");
    let number = repo.open_pull("Add", "add", "main", "alice");
    let work = tempfile::tempdir().unwrap();
    let cloned = git(
        work.path(),
        &["clone", "--quiet", &url(&hub, TOKEN), "clone"],
    );
    assert!(
        cloned.status.success(),
        "{}",
        String::from_utf8_lossy(&cloned.stderr)
    );
    let clone = work.path().join("clone");
    assert!(clone.join("network/main.tf").is_file());
    for depth in [&[][..], &["--depth", "1"][..]] {
        let refspec = format!("+refs/pull/*/head:refs/pulls/{}/*", depth.len());
        let arguments = [&["fetch", "--quiet"], depth, &["origin", &refspec]].concat();
        let fetched = git(&clone, &arguments);
        assert!(
            fetched.status.success(),
            "{}",
            String::from_utf8_lossy(&fetched.stderr)
        );
        let name = format!("refs/pulls/{}/{number}", depth.len());
        let found = git(&clone, &["rev-parse", &name]);
        assert_eq!(
            String::from_utf8_lossy(&found.stdout).trim(),
            repo.head("add").unwrap()
        );
    }
    let new = repo.commit("main", &[("b", "2")], "More");
    assert!(
        git(&clone, &["fetch", "--quiet", "origin", &new])
            .status
            .success(),
        "by its id"
    );
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.budget == Budget::Free)
    );
    assert!(
        hub.requests()
            .iter()
            .any(|request| request.path == "/acme/infra.git/git-upload-pack")
    );
}

#[tokio::test]
async fn many_commits_make_a_compressed_request_that_is_understood() {
    let (hub, repo) = house().await;
    let work = tempfile::tempdir().unwrap();
    git(
        work.path(),
        &["clone", "--quiet", &url(&hub, TOKEN), "clone"],
    );
    let clone = work.path().join("clone");
    for round in 0..40 {
        let commit = [
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.com",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "Mine",
        ];
        assert!(git(&clone, &commit).status.success(), "{round}");
    }
    repo.commit("main", &[("b", "2")], "More");
    let fetched = git(&clone, &["fetch", "--quiet", "origin"]);
    assert!(
        fetched.status.success(),
        "{}",
        String::from_utf8_lossy(&fetched.stderr)
    );
}

#[tokio::test]
async fn git_is_asked_for_credentials_and_refused() {
    let (hub, repo) = house().await;
    let refs = format!(
        "{}/acme/infra.git/info/refs?service=git-upload-pack",
        hub.web_url()
    );
    let asked = ask_as("", "GET", &refs, &[], None).unwrap();
    assert_eq!(
        (asked.status, asked.header("www-authenticate")),
        (401, "Basic realm=\"GitHub\"")
    );
    hub.token("ghp_eve", "eve", &["repo"]);
    let work = tempfile::tempdir().unwrap();
    for (token, words) in [
        ("", "could not read Username"),
        ("ghp_wrong", "Authentication failed"),
        ("ghp_eve", "not found"),
    ] {
        let refused = git(
            work.path(),
            &["clone", "--quiet", &url(&hub, token), "clone"],
        );
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(words), "{token:?}: {said}");
    }
    hub.fine_grained_token(
        "github_pat_1",
        "mainstay-bot",
        &[&repo],
        &[("metadata", "read")],
    );
    assert_eq!(
        ask_as("github_pat_1", "GET", &refs, &[], None)
            .unwrap()
            .status,
        403
    );
    let push = refs.replace("upload", "receive");
    let reads = [("metadata", "read"), ("contents", "read")];
    hub.fine_grained_token("github_pat_2", "mainstay-bot", &[&repo], &reads);
    let may_push = |token| ask_as(token, "GET", &push, &[], None).unwrap().status;
    assert_eq!(may_push("github_pat_2"), 403);
    assert_eq!(may_push(TOKEN), 200);
    repo.publish();
    assert!(
        git(work.path(), &["clone", "--quiet", &url(&hub, ""), "clone"])
            .status
            .success()
    );
}

#[tokio::test]
async fn a_renamed_repository_is_cloned_by_its_old_name() {
    let (hub, _) = house().await;
    hub.rename_repository("acme/infra", "acme/platform");
    let work = tempfile::tempdir().unwrap();
    let cloned = git(
        work.path(),
        &["clone", "--quiet", &url(&hub, TOKEN), "clone"],
    );
    assert!(
        cloned.status.success(),
        "{}",
        String::from_utf8_lossy(&cloned.stderr)
    );
}

#[tokio::test]
async fn faults_reach_git_too() {
    let (hub, _) = house().await;
    let work = tempfile::tempdir().unwrap();
    for (path, kind) in [
        ("/acme/infra.git/info/refs", FaultKind::Status(502)),
        ("/acme/infra.git/info/refs", FaultKind::ResetBefore),
        ("/acme/infra.git/git-upload-pack", FaultKind::CutOffBody),
    ] {
        hub.fault(Fault::new(When::Call("*", path), 9, kind.clone()));
        let cloned = git(
            work.path(),
            &["clone", "--quiet", &url(&hub, TOKEN), "clone"],
        );
        assert!(!cloned.status.success(), "{kind:?}");
        hub.clear_faults();
    }
    let cloned = git(
        work.path(),
        &["clone", "--quiet", &url(&hub, TOKEN), "clone"],
    );
    assert!(cloned.status.success());
}

#[tokio::test]
async fn the_server_ends_when_the_value_is_dropped() {
    let (hub, _) = house().await;
    let (url, root) = (format!("{}/user", hub.api_url()), hub.root());
    assert_eq!(get(&hub, "/user").status, 200);
    drop(hub);
    assert!(ask_as(TOKEN, "GET", &url, &[], None).is_err());
    assert!(!root.exists());
}
