//! A daemon that is held still for longer than its lease lasts, and then goes on.

use std::time::{Duration, Instant};

use crate::checker;
use crate::github::git::Method;
use crate::shim::Start;
use crate::stage::{Keeper, Stage};

/// A lease lasts a minute; the rest is for a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// While it stands still, another one takes over with what it was applying. When it goes on, it
/// finds that out, and ends without having done or said anything more.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_held_still_while_another_took_over_ends_and_does_nothing_more() {
    let mut stage = Stage::new(Keeper::Commands).await;
    stage.s.start_second();
    let (number, _) = stage.propose(0, &[0], Duration::from_secs(2));
    stage.settle().await;
    stage.merge(0, number, Method::Merge);
    let shim = stage.shim.clone();
    stage
        .s
        .wait("the apply", |_| {
            shim.alive().iter().any(Start::applies).then_some(())
        })
        .await;
    stage.s.freeze();
    let began = Instant::now();
    while !stage.s.log().contains("this one takes over") {
        assert!(
            began.elapsed() < PATIENCE,
            "nobody took over\n{}",
            stage.s.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.push(1, &[2], Duration::from_millis(500));
    let status = stage.s.go_on_after_another_took_over();
    assert!(!status.success(), "{status}");
    stage.settle().await;
    let wrong = checker::complaints(&stage);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.s.end_of_many();
}
