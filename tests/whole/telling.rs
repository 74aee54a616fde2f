//! Telling is a reconciler: what others did to what we told, what the forge does not let us tell, and
//! clocks that go otherwise.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mainstay::forge::github::{Auth, GitHub, Settings};
use mainstay::forge::{Forge, ForgeError, Status, StatusState, Urgency};
use mainstay::redact::Secret;
use serde_json::Value;

use crate::github::fault::{Fault, FaultKind, When};
use crate::github::git::Method;
use crate::github::log::Effect;
use crate::github::world::Role;
use crate::scenario::{BOT, Scenario, TOKEN, declaration, one_file, one_value, workspace};

/// What `mainstay status` says of the first thing that is not told and whose place begins so.
fn untold(s: &Scenario, target: &str) -> Option<Value> {
    let status = s.json(&["status", "--format", "json"]);
    let untold = status["repositories"][0]["untold"].as_array()?.clone();
    untold
        .into_iter()
        .find(|t| t["target"].as_str().is_some_and(|t| t.starts_with(target)))
}

/// Opens a pull request to this value; gives its number and head.
fn open(s: &Scenario, value: &str) -> (u64, String) {
    let head = s.repo.commit(
        "change",
        &[("network/main.tf", &one_value(value))],
        "Change",
    );
    let pull = s.repo.open_pull("Change", "change", "main", "alice");
    (pull, head)
}

fn posted(s: &Scenario) -> usize {
    let truth = s.hub.truth();
    let ours = truth.iter().filter(|t| t.by == BOT);
    ours.filter(|t| matches!(t.effect, Effect::CommentCreated { .. }))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_uses_up_what_an_outcome_needs() {
    let s = Scenario::new().await;
    s.hub.keep_creation_limits();
    let commit = s.repo.commit("main", &[("README.md", "x\n")], "Begin");
    let github = GitHub::new(Settings {
        mutation_pause: Duration::ZERO,
        ..Settings::new(s.hub.api_url(), Auth::Token(Secret::new(TOKEN)))
    })
    .unwrap();
    let (repo, commit) = ("acme/infra".parse().unwrap(), commit.parse().unwrap());
    let told = async |urgency: Urgency| {
        let mut told = 0;
        loop {
            let status = Status {
                context: "mainstay/plan".to_owned(),
                state: StatusState::Pending,
                description: format!("{urgency:?} {told}"),
            };
            match github.set_status(&repo, &commit, &status, urgency).await {
                Ok(()) => told += 1,
                Err(ForgeError::RateLimited { .. }) => return told,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    assert_eq!(told(Urgency::Whenever).await, 50);
    assert_eq!(told(Urgency::Soon).await, 20);
    assert_eq!(told(Urgency::Now).await, 10);
    assert_eq!(s.hub.creations(BOT), 80, "GitHub takes no more in a minute");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lost_stops_its_own_kind_of_telling_until_it_is_back() {
    let mut s = Scenario::new().await;
    let token = "github_pat_that-loses-a-right";
    let grant = |s: &Scenario, level: &str| {
        let rights = [
            ("contents", "read"),
            ("metadata", "read"),
            ("pull_requests", level),
            ("issues", level),
            ("statuses", "write"),
        ];
        s.hub.fine_grained_token(token, BOT, &[&s.repo], &rights);
    };
    grant(&s, "write");
    s.set("GITHUB_TOKEN", token);
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    grant(&s, "read");
    let (pull, head) = open(&s, "b");
    s.status_is(&head, "mainstay/plan", "success").await;
    let told = s
        .wait("the comment to be refused", |s| untold(s, "comment #"))
        .await;
    assert_eq!(told["reason"], "denied");
    assert!(told["since"].is_string() && told["retry_at"].is_string());
    let advice = told["what_to_do"].as_str().unwrap();
    assert!(advice.contains("`Pull requests: write`"), "{advice}");
    let text = s.run(&["status"]).stdout;
    assert!(text.contains(advice), "{text}");
    // It is tried seldom while the right is missing, and by itself once it is there.
    let tries = |s: &Scenario| {
        let requests = s.hub.requests();
        let posts = requests
            .iter()
            .filter(|r| r.method == "POST" && r.path.ends_with("/comments"));
        posts.count()
    };
    s.looks_pass(8).await;
    assert!(tries(&s) <= 4, "{} tries", tries(&s));
    grant(&s, "write");
    s.comment_with(pull, "1 to change").await;
    assert_eq!(untold(&s, "comment"), None);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_conversation_is_said_and_told_when_it_is_unlocked() {
    let mut s = Scenario::new().await;
    s.repo.grant(BOT, Role::Read);
    s.repo
        .commit("main", &[("network/main.tf", &one_value("a"))], "Begin");
    s.start();
    s.run_is("merge", "network", "applied").await;
    let (pull, _) = open(&s, "b");
    s.repo.lock_conversation(pull);
    let told = s
        .wait("the comment to be refused", |s| untold(s, "comment #"))
        .await;
    assert_eq!(told["reason"], "locked");
    let advice = told["what_to_do"].as_str().unwrap();
    assert!(advice.starts_with("unlock the conversation"), "{advice}");
    assert_eq!(posted(&s), 0);
    s.repo.unlock_conversation(pull);
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_repository_is_left_alone_until_it_is_unarchived() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    let (pull, _) = open(&s, "b");
    s.comment_with(pull, "1 to change").await;
    s.repo.archive();
    let archived = |s: &Scenario| {
        let status = s.json(&["status", "--format", "json"]);
        let since = &status["repositories"][0]["archived_at"];
        since.is_string().then_some(())
    };
    s.wait("`mainstay status` to say that it is archived", archived)
        .await;
    let said = s.run(&["status"]).stdout;
    assert!(said.contains("unarchive the repository"), "{said}");
    // The look that showed it may have been followed by one that was under way.
    let mut looks = s.looks();
    s.wait("the looks to end", |s| {
        // Asking takes longer than five looks would.
        for _ in 0..5 {
            s.run(&["status"]);
        }
        let before = std::mem::replace(&mut looks, s.looks());
        (before == looks).then_some(())
    })
    .await;
    s.stop();
    s.repo.unarchive();
    s.repo
        .commit("change", &[("network/main.tf", &one_value("c"))], "More");
    s.start();
    s.comment_with(pull, "\"c\"").await;
    let said = s.run(&["status"]).stdout;
    assert!(!said.contains("archive"), "{said}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_others_delete_or_edit_is_brought_back_and_not_for_ever() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    let (pull, _) = open(&s, "b");
    let true_text = s.comment_with(pull, "1 to change").await;
    // GitHub's times are whole seconds: what is done in the second of our own edit shows later.
    let ours = |s: &Scenario| {
        let comments = s.repo.comments(pull);
        comments.into_iter().find(|c| c.author == BOT)
    };
    let a_second_later = |s: &Scenario| {
        let comment = ours(s)?;
        (chrono::Utc::now() - comment.updated_at > TimeDelta::seconds(1)).then_some(comment.id)
    };
    let id = s.wait("a second to pass", a_second_later).await;
    s.repo.edit_comment(id, "alice", "Looks good to me.");
    let back = |s: &Scenario| (s.comment(pull).as_ref() == Some(&true_text)).then_some(());
    s.wait("the text to be brought back", back).await;
    let said = s.run(&["status"]).stdout;
    assert!(said.contains("somebody edited it"), "{said}");
    assert_eq!(posted(&s), 1);

    s.repo
        .commit("change", &[("network/main.tf", &one_value("c"))], "More");
    s.comment_with(pull, "\"c\"").await;
    for left in [false, true] {
        let id = s.wait("a second to pass", a_second_later).await;
        let before = posted(&s);
        s.repo.delete_comment(id, "alice");
        let noticed = |s: &Scenario| {
            let status = s.json(&["status", "--format", "json"]);
            let meddled = &status["repositories"][0]["meddled"][0];
            (meddled["how"] == "deleted" && meddled["left"] == left).then_some(())
        };
        s.wait("the deletion to be noticed", noticed).await;
        match left {
            false => {
                s.comment_with(pull, "\"c\"").await;
                assert_eq!(posted(&s), before + 1);
            }
            true => {
                s.looks_pass(4).await;
                assert_eq!(ours(&s), None, "who deleted it again meant it");
            }
        }
    }
    s.repo
        .commit("change", &[("network/main.tf", &one_value("d"))], "More");
    s.comment_with(pull, "\"d\"").await;
    s.end().await;
}

/// An old approval never lets a newer plan go, and a new one always does, by whatever clock.
async fn approvals_by_a_clock_that_is_ahead(ahead: TimeDelta) {
    let mut s = Scenario::new().await;
    s.hub.set_clock_ahead(ahead);
    let file = |content: &str| one_file("subnet", content);
    s.applied(&[("network/main.tf", &file("a"))]).await;
    s.stop();
    let held = workspace("network", "apply = \"on-approval\"");
    s.declare("acme.toml", &declaration("acme/infra", &held));
    s.start();
    let mut pulls = Vec::new();
    for content in ["b", "c"] {
        let pull = s.propose(content, &[("network/main.tf", &file(content))]);
        s.comment_with(pull, "1 to change").await;
        s.repo.merge(pull, Method::Squash, "alice").unwrap();
        s.comment_with(pull, "a person must agree").await;
        if pulls.is_empty() {
            // It is given for this plan, and read when there is another.
            let comments = When::Call("GET", "/repos/acme/infra/issues/comments");
            let broken = FaultKind::Status(502);
            s.hub.fault(Fault::new(comments, usize::MAX, broken));
            s.repo.comment(pull, "alice", "mainstay apply");
        }
        pulls.push(pull);
    }
    // Times are whole seconds: the old approval is of an earlier one.
    s.hub.clear_faults();
    s.comment_with(pulls[0], "newer than the command").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("a"));
    s.says(pulls[1], "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("c"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_by_githubs_clock_where_ours_is_behind() {
    approvals_by_a_clock_that_is_ahead(TimeDelta::minutes(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_by_githubs_clock_where_ours_is_ahead() {
    approvals_by_a_clock_that_is_ahead(TimeDelta::minutes(-4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_pull_request_that_came_and_went_between_two_looks_is_answered() {
    let mut s = Scenario::new().await;
    let held = workspace("network", "apply = \"on-approval\"");
    s.declare("acme.toml", &declaration("acme/infra", &held));
    s.repo.commit(
        "main",
        &[("network/main.tf", &one_file("subnet", "a"))],
        "Begin",
    );
    s.start();
    s.run_is("merge", "network", "held").await;
    s.stop();
    let pull = s.propose("b", &[("network/main.tf", &one_file("subnet", "b"))]);
    s.repo.merge(pull, Method::Squash, "alice").unwrap();
    let issue = s.repo.open_issue("bob", "Nothing of ours", "");
    s.repo.comment(issue, "alice", "mainstay help");
    let help = s.repo.comment(pull, "alice", "mainstay help");
    s.start();
    s.reacted(pull, help, &["eyes", "rocket"]).await;
    s.comment_with(pull, "a person must agree").await;
    s.says(pull, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("b"));
    assert_eq!(s.repo.comments(issue).len(), 1, "that is no pull request");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_seen_where_the_disk_is_read_only() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    // What is in the log of the database and not in its file yet is seen too.
    s.kill();
    s.wait_for_nobody().await;
    let plain = s.mainstay(&["status"]);
    let folder = s.folder().display().to_string();
    let mut shut = std::process::Command::new("bwrap");
    shut.args(["--dev-bind", "/", "/", "--ro-bind", &folder, &folder])
        .args([
            "--tmpfs", "/mnt", "--setenv", "TMPDIR", "/mnt", "--chdir", &folder,
        ])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear()
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let shown = match shut.output() {
        Ok(shown) if !String::from_utf8_lossy(&shown.stderr).contains("bwrap: ") => shown,
        other => {
            eprintln!("NOTE: no disk can be made read-only on this machine: {other:?}");
            return s.end().await;
        }
    };
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text.contains("cannot be written"), "{text}");
    assert!(text.contains("applied"), "{text}");
    s.end().await;
}

/// What the forge says of its clock is one thing for all repositories, and asked of nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_forge_is_known_from_any_answer() {
    let s = Scenario::new().await;
    s.repo.commit("main", &[("README.md", "x\n")], "Begin");
    let auth = Auth::Token(Secret::new(TOKEN));
    let github = Arc::new(GitHub::new(Settings::new(s.hub.api_url(), auth)).unwrap());
    assert_eq!(github.clock_ahead(), TimeDelta::zero());
    for minutes in [7, -7, 0] {
        s.hub.set_clock_ahead(TimeDelta::minutes(minutes));
        github.remote(&"acme/infra".parse().unwrap()).await.unwrap();
        let off = github.clock_ahead() - TimeDelta::minutes(minutes);
        assert!(off.abs() <= TimeDelta::seconds(2), "{off}");
    }
    s.end().await;
}
