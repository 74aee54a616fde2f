//! Everything that can go wrong between the daemon and GitHub, by seed.

use std::time::{Duration, Instant};

use crate::checker;
use crate::covered::Covered;
use crate::github::fault::{Fault, FaultKind, When};
use crate::seeds::{Chance, SEED, seed};
use crate::stage::{Forge, Stage};

/// So many faults are sent.
const FAULTS: usize = 60;

/// How long a fault waits for a request before the next one is sent.
const UNMET: Duration = Duration::from_millis(1500);

/// A kind of requests.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Read,
    Write,
    /// Git's own protocol, which knows no limits.
    Git,
}

const TARGETS: [Target; 9] = [
    target("looks", "POST", "/graphql", Does::Read),
    target("reads", "GET", "/repos/**", Does::Read),
    target(
        "comments",
        "POST",
        "/repos/*/*/issues/*/comments",
        Does::Write,
    ),
    target(
        "edits",
        "PATCH",
        "/repos/*/*/issues/comments/*",
        Does::Write,
    ),
    target("statuses", "POST", "/repos/*/*/statuses/*", Does::Write),
    target(
        "reactions",
        "POST",
        "/repos/*/*/issues/comments/*/reactions",
        Does::Write,
    ),
    target("issues", "POST", "/repos/*/*/issues", Does::Write),
    target("git's heads", "GET", "/acme/*/info/refs", Does::Git),
    target("git's packs", "POST", "/acme/*/git-upload-pack", Does::Git),
];

const fn target(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    does: Does,
) -> Target {
    Target {
        name,
        method,
        path,
        does,
    }
}

/// What may go wrong with such a request.
fn kind(does: Does, chance: &mut Chance) -> FaultKind {
    let error = *chance.one(&[500, 502, 503, 504]);
    let any = [
        FaultKind::Status(error),
        FaultKind::ResetBefore,
        FaultKind::ResetAfterEffect,
        FaultKind::CutOffBody,
        FaultKind::Stall(chance.milliseconds(200..1200)),
        FaultKind::StallAfterEffect(chance.milliseconds(200..1200)),
    ];
    let retry_after = Some(chance.of(1..3));
    let limits = [
        FaultKind::StatusAfterEffect(error),
        FaultKind::SecondaryLimit { retry_after },
        FaultKind::TooMany { retry_after },
        FaultKind::PrimaryLimit {
            reset_in: chance.milliseconds(500..1500),
        },
    ];
    let own = match does {
        Does::Read => vec![FaultKind::Stale],
        Does::Write => vec![FaultKind::Duplicate],
        Does::Git => return chance.one(&any).clone(),
    };
    chance.one(&[&any[..], &limits, &own].concat()).clone()
}

/// The kind without its numbers.
fn name(kind: &FaultKind) -> String {
    let text = format!("{kind:?}");
    let end = text.find([' ', '(']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match kind {
        FaultKind::Status(_) | FaultKind::StatusAfterEffect(_) => format!("{name}{rest}"),
        _ => name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_forge_lose_nothing_and_double_nothing() {
    let seed = seed();
    println!("{SEED}={seed}");
    let mut chance = Chance::new(seed, 1000);
    let mut stage = Stage::new().await;
    stage.forge = Forge::Faulty;
    let mut covered = Covered::default();
    for _ in 0..FAULTS {
        let target = *chance.one(&TARGETS);
        let kind = kind(target.does, &mut chance);
        let called = format!("{}: {}", target.name, name(&kind));
        let when = When::Call(target.method, target.path);
        stage.s.hub.fault(Fault::new(when, 1, kind));
        if chance.happens(60) {
            stage.people(&mut chance);
        }
        if chance.happens(30) {
            stage.look_after();
        }
        let began = Instant::now();
        while !stage.s.hub.faults_left().is_empty() && began.elapsed() < UNMET {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if stage.s.hub.faults_left().is_empty() {
            covered.met(called);
        }
        stage.s.hub.clear_faults();
    }
    println!("{covered}");
    stage.settle().await;
    let wrong = checker::complaints(&stage);
    assert!(wrong.is_empty(), "{SEED}={seed}\n{}", wrong.join("\n"));
    // The end looks for requests that came although GitHub had asked to wait.
    stage.s.end_of_many();
}
