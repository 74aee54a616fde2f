//! What became of each commit, as git notes in the repository itself.

use crate::github::git::{self, Method};
use crate::scenario::{BOT, Scenario, declaration, file, one_file, root, workspace};

/// A scenario that writes notes, in which `network` is applied.
async fn noting() -> (Scenario, String) {
    let mut s = Scenario::new().await;
    let rest = format!("record = true\n\n{}", workspace("network", ""));
    s.declare("acme.toml", &declaration("acme/infra", &rest));
    let first = s
        .applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    (s, first)
}

/// What `git log` shows as the note of a commit, in the repository as people clone it.
async fn noted(s: &mut Scenario, commit: &str, wanted: &str) -> String {
    let dir = s.repo.dir();
    s.wait(&format!("a note with `{wanted}`"), |_| {
        let arguments = ["log", "-1", "--format=%N", "--notes=mainstay", commit];
        git::run(&dir, &arguments)
            .ok()
            .filter(|note| note.contains(wanted))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn git_log_tells_what_became_of_every_commit() {
    let (mut s, first) = noting().await;
    let note = noted(&mut s, &first, "network: applied, run ").await;
    assert_eq!(note.trim().lines().count(), 1, "{note}");

    let broken = root(&[&file("subnet", "10.0.0.0/16", "fail = \"update\"")]);
    let pull = s.propose("broken", &[("network/main.tf", &broken)]);
    s.comment_with(pull, "1 to change").await;
    let second = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&second, "mainstay/apply", "failure").await;
    noted(&mut s, &second, "network: failed, run ").await;
    noted(&mut s, &first, "network: applied, run ").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_push_is_told_so_and_everything_else_goes_on() {
    let mut s = Scenario::new().await;
    let rest = format!("record = true\n\n{}", workspace("network", ""));
    s.declare("acme.toml", &declaration("acme/infra", &rest));
    // Everything that README asks for, and only to read contents.
    let permissions = [
        ("contents", "read"),
        ("issues", "write"),
        ("metadata", "read"),
        ("pull_requests", "write"),
        ("statuses", "write"),
    ];
    s.hub
        .fine_grained_token("github_pat_reads", BOT, &[&s.repo], &permissions);
    s.set("GITHUB_TOKEN", "github_pat_reads");
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.wait("the reason in the status", |s| {
        let status = s.json(&["status", "--format", "json"]);
        status
            .to_string()
            .contains("right to write contents")
            .then_some(())
    })
    .await;
    s.end().await;
}
