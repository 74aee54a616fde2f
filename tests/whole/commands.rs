//! Commands in comments: who may write them, what is one, and what comes of it.

use crate::github::git::Method;
use crate::scenario::{BOT, Scenario, one_file};

/// A scenario with `network` applied and a pull request that widens its subnet.
async fn with_a_pull_request() -> (Scenario, u64) {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.comment_with(pull, "1 to change").await;
    (s, pull)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_may_write_has_a_pull_request_planned_again() {
    let (mut s, pull) = with_a_pull_request().await;
    for (asked, text) in [(2, "mainstay plan"), (3, "  mainstay plan  network\n")] {
        s.says(pull, "alice", text, &["eyes", "rocket"]).await;
        let runs = s.runs_for("propose", "network");
        assert_eq!(runs.len(), asked, "after `{text}`");
        assert_eq!(runs[asked - 1]["state"], "planned");
    }
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn help_stands_in_the_one_comment() {
    let (mut s, pull) = with_a_pull_request().await;
    s.says(pull, "alice", "mainstay  help", &["eyes", "rocket"])
        .await;
    let comment = s.comment_with(pull, "**Commands**").await;
    for command in ["plan [WORKSPACE…]", "apply [WORKSPACE…]", "cancel", "help"] {
        assert!(
            comment.contains(&format!("`mainstay {command}`")),
            "{comment}"
        );
    }
    assert_eq!(s.runs_for("propose", "network").len(), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_the_reason() {
    let (mut s, pull) = with_a_pull_request().await;
    s.says(pull, "alice", "mainstay plan netwrk", &["confused"])
        .await;
    s.comment_with(
        pull,
        "there is no workspace `netwrk`; did you mean `network`?",
    )
    .await;
    s.says(pull, "mallory", "mainstay plan", &["confused"])
        .await;
    s.comment_with(
        pull,
        "by `mallory`: commands are taken from people who may write to the repository",
    )
    .await;
    s.says(pull, "alice", "mainstay apply", &["confused"]).await;
    let comment = s
        .comment_with(pull, "this is not merged: it is applied when it is")
        .await;
    assert!(comment.contains("1 to change"), "the plan stays: {comment}");
    s.looked().await;
    assert_eq!(s.runs_for("propose", "network").len(), 1);
    assert_eq!(s.runs_for("merge", "network").len(), 1);
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_merely_contains_the_words_is_no_command() {
    let (mut s, pull) = with_a_pull_request().await;
    let texts = [
        "Please write mainstay plan",
        "mainstay plan looks good to me",
        "mainstay plan\nmainstay apply",
        "Do this:\n\nmainstay plan\n",
        "> mainstay plan",
        "`mainstay plan`",
        "```\nmainstay plan\n```",
        "@mainstay plan",
        "mainstay: plan",
        "Mainstay plan",
        "mainstay plan; rm -rf /",
        "mainstay help me",
        "mainstay",
    ];
    let comments: Vec<u64> = texts
        .iter()
        .map(|text| s.repo.comment(pull, "alice", text))
        .collect();
    s.looked().await;
    s.says(pull, "alice", "mainstay help", &["eyes", "rocket"])
        .await;
    for (comment, text) in comments.iter().zip(texts) {
        assert_eq!(s.reactions(pull, *comment), [""; 0], "to {text:?}");
    }
    assert_eq!(s.runs_for("propose", "network").len(), 1);

    // One of them becomes a command by an edit.
    s.repo.edit_comment(comments[0], "alice", "mainstay plan");
    s.reacted(pull, comments[0], &["eyes", "rocket"]).await;
    assert_eq!(s.runs_for("propose", "network").len(), 2);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_of_our_own_is_never_a_command() {
    let (mut s, pull) = with_a_pull_request().await;
    s.says(pull, "alice", "mainstay help", &["eyes", "rocket"])
        .await;
    // It is full of commands now, and is read again like any comment that was edited.
    s.comment_with(pull, "`mainstay cancel`").await;
    s.looked().await;
    let ours = s.repo.comments(pull);
    let ours = ours.iter().find(|c| c.author == BOT).unwrap();
    assert_eq!(s.reactions(pull, ours.id), [""; 0]);
    assert_eq!(s.runs_for("propose", "network").len(), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_carried_out_once_and_after_a_restart_too() {
    let (mut s, pull) = with_a_pull_request().await;
    let first = s
        .says(pull, "alice", "mainstay plan", &["eyes", "rocket"])
        .await;
    assert_eq!(s.runs_for("propose", "network").len(), 2);
    s.stop();
    let second = s.repo.comment(pull, "alice", "mainstay plan network");
    s.start();
    s.reacted(pull, second, &["eyes", "rocket"]).await;
    assert_eq!(s.runs_for("propose", "network").len(), 3);

    // An edit makes the daemon read it once more; it is the comment that was carried out.
    s.repo.edit_comment(first, "alice", "mainstay plan network");
    s.looked().await;
    s.stop();
    s.start();
    s.looked().await;
    assert_eq!(s.runs_for("propose", "network").len(), 3);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_within_one_second_are_both_carried_out() {
    let (mut s, pull) = with_a_pull_request().await;
    // GitHub's times are whole seconds: the second comment of one moves none of them.
    let reads = |s: &Scenario| {
        let requests = s.hub.requests();
        let reads = requests
            .iter()
            .filter(|r| r.path.ends_with("/issues/comments"));
        reads.count()
    };
    for _ in 0..10 {
        let second = chrono::Utc::now().timestamp();
        s.wait("a new second", |_| {
            (chrono::Utc::now().timestamp() > second).then_some(())
        })
        .await;
        let before = reads(&s);
        let text = s.repo.comment(pull, "alice", "Let me see");
        s.wait("its being read", |s| (reads(s) > before).then_some(()))
            .await;
        let command = s.repo.comment(pull, "alice", "mainstay plan");
        s.reacted(pull, command, &["eyes", "rocket"]).await;
        let comments = s.repo.comments(pull);
        let written = |id: u64| comments.iter().find(|c| c.id == id).map(|c| c.created_at);
        if written(text) == written(command) {
            s.end().await;
            return;
        }
    }
    panic!("no two comments came within one second");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_a_plan_and_plan_makes_it_after_all() {
    let mut s = Scenario::new().await;
    s.put_gates();
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.shut_gate("plan");
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.run_is("propose", "network", "planning").await;
    s.says(pull, "alice", "mainstay cancel", &["eyes", "rocket"])
        .await;
    s.run_is("propose", "network", "cancelled").await;
    s.comment_with(pull, "stopped").await;
    s.says(pull, "alice", "mainstay cancel", &["confused"])
        .await;
    s.comment_with(pull, "nothing here runs or waits").await;
    s.open_gate("plan");
    s.says(pull, "alice", "mainstay plan", &["eyes", "rocket"])
        .await;
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_closed_pull_request_is_refused() {
    let (mut s, pull) = with_a_pull_request().await;
    s.repo.close(pull, "alice");
    s.comment_with(pull, "Closed without being merged").await;
    let comment = s.repo.comment(pull, "alice", "mainstay plan");
    // Conversations that are over are read when something else moves.
    let other = one_file("subnet", "10.0.0.0/8");
    let other = s.propose("widest", &[("network/main.tf", &other)]);
    s.reacted(pull, comment, &["confused"]).await;
    s.comment_with(pull, "this is not an open proposal for the base branch")
        .await;
    s.comment_with(other, "1 to change").await;
    s.repo.merge(other, Method::Squash, "alice").unwrap();
    s.world_has("subnet.txt", "10.0.0.0/8").await;
    s.end().await;
}
