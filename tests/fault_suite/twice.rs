//! What is done again is not done twice: starts, takings-over, commands.

use std::time::Duration;

use crate::checker;
use crate::github::git::Method;
use crate::scenario::BOT;
use crate::stage::{Asked, Keeper, Stage, nanoseconds};

/// How often the daemon is started again for nothing.
const STARTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_once_is_not_done_again() {
    let mut stage = Stage::new(Keeper::Provider).await;
    starts_at_rest_write_and_run_nothing(&mut stage).await;
    a_taking_over_that_is_killed_is_taken_over(&mut stage).await;
    commands_that_are_delivered_again_count_once(&mut stage).await;
    let wrong = checker::complaints(&stage);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.s.end_of_many();
}

/// What we wrote at GitHub so far, and what Terraform was started for.
fn done(stage: &Stage) -> (usize, usize) {
    let truth = stage.s.hub.truth();
    let ours = truth.iter().filter(|truth| truth.by == BOT).count();
    (ours, stage.shim.starts().len())
}

/// Telling, deciding and recovering are done again by each start, and find nothing to do.
async fn starts_at_rest_write_and_run_nothing(stage: &mut Stage) {
    stage.propose(0, &[0, 1], Duration::ZERO);
    stage.settle().await;
    stage.s.looked().await;
    let before = done(stage);
    for _ in 0..STARTS {
        stage.s.kill();
        stage.s.start();
        stage.s.looked().await;
    }
    assert_eq!(done(stage), before);
}

/// An apply outlives three daemons, each of which took it over, and is applied once.
async fn a_taking_over_that_is_killed_is_taken_over(stage: &mut Stage) {
    let (number, _) = stage.propose(1, &[2], Duration::from_secs(3));
    stage.settle().await;
    stage.merge(1, number, Method::Merge);
    let taken = |stage: &Stage| stage.s.log().matches("Waiting for `apply`").count();
    let shim = stage.shim.clone();
    let applies = move || shim.alive().iter().any(|start| start.applies());
    stage.s.wait("the apply", |_| applies().then_some(())).await;
    for life in 1..=STARTS {
        let before = taken(stage);
        stage.s.kill();
        stage.s.start();
        stage
            .s
            .wait(&format!("taking over number {life}"), |s| {
                (s.log().matches("Waiting for `apply`").count() > before).then_some(())
            })
            .await;
    }
    stage.settle().await;
}

/// A command is read again after each kill, and when it is edited; what is asked at the machine
/// and by a comment at once is one wish.
async fn commands_that_are_delivered_again_count_once(stage: &mut Stage) {
    let dns = stage.places[3].key.clone();
    stage.push(1, &[3], Duration::ZERO);
    let repo = stage.repos[1].clone();
    let issue = stage
        .s
        .wait("the issue of the hold", |_| {
            let mut issues = repo.issues();
            issues.retain(|i| i.state == "open" && i.title == "dns waits for a person");
            issues.pop()
        })
        .await;
    stage.ledger().asked.push(Asked {
        at: nanoseconds(),
        key: dns,
    });
    stage.says(1, issue.number, "mainstay apply");
    let comment = stage.ledger().said.last().map(|said| said.comment);
    let comment = comment.expect("it was said");
    for _ in 0..STARTS {
        stage.s.kill();
        repo.edit_comment(comment, "alice", "mainstay apply");
        stage.s.start();
        stage.s.looks_pass(1).await;
    }
    stage.settle().await;
    let revision = stage.on_main("second-dns").map(|(_, revision)| revision);
    let starts = stage.shim.starts();
    let applies = starts.iter().filter(|start| {
        start.applies() && start.place == "second-dns" && Some(start.revision) == revision
    });
    assert_eq!(applies.count(), 1);
}
