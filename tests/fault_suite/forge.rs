//! Everything that can go wrong between the daemon and GitHub, by seed.

use std::time::{Duration, Instant};

use crate::checker;
use crate::covered::Covered;
use crate::github::fault::{Fault, FaultKind, When};
use crate::github::log::{Effect, LoggedRequest, Patience};
use crate::github::repository::Repository;
use crate::scenario::{BOT, Scenario, one_value};
use crate::seeds::{Chance, SEED, seed};
use crate::stage::{Forge, Keeper, Stage};

/// So many faults are sent.
const FAULTS: usize = 60;

/// How long a fault waits for a request before the next one is sent.
const UNMET: Duration = Duration::from_millis(1500);

/// What is sent so soon after an answer that asks to wait was sent before that was read.
const UNDER_WAY: Duration = Duration::from_millis(1500);

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

/// What may go wrong with any request, by itself.
fn mishaps(chance: &mut Chance) -> [FaultKind; 6] {
    let error = *chance.one(&[500, 502, 503, 504]);
    [
        FaultKind::Status(error),
        FaultKind::ResetBefore,
        FaultKind::ResetAfterEffect,
        FaultKind::CutOffBody,
        FaultKind::Stall(chance.milliseconds(200..1200)),
        FaultKind::StallAfterEffect(chance.milliseconds(200..1200)),
    ]
}

/// A fault of the forge for a world in which the daemon is killed as well, and what it is called.
/// It asks nobody to wait: who was killed cannot know of that.
pub(crate) fn mishap(chance: &mut Chance) -> (String, Fault) {
    let target = *chance.one(&TARGETS);
    let any = mishaps(chance);
    let kind = chance.one(&any).clone();
    let called = format!("the forge at {}: {}", target.name, name(&kind));
    (
        called,
        Fault::new(When::Call(target.method, target.path), 1, kind),
    )
}

/// What may go wrong with such a request.
fn kind(does: Does, chance: &mut Chance) -> FaultKind {
    let any = mishaps(chance);
    let error = *chance.one(&[500, 502, 503, 504]);
    let retry_after = Some(chance.of(3..5));
    let limits = [
        FaultKind::StatusAfterEffect(error),
        FaultKind::SecondaryLimit { retry_after },
        FaultKind::TooMany { retry_after },
        FaultKind::PrimaryLimit {
            reset_in: chance.milliseconds(2500..4000),
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

#[test]
fn faults_of_the_forge_lose_nothing_and_double_nothing() {
    let seed = seed();
    println!("{SEED}={seed}");
    // The last two wait most of the time, and the first one works meanwhile.
    std::thread::scope(|scope| {
        scope.spawn(|| block_on(faults(seed)));
        scope.spawn(|| block_on(an_answer_that_never_comes()));
        scope.spawn(|| block_on(a_limit_that_names_no_time()));
    });
}

fn block_on(world: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be made").block_on(world);
}

async fn faults(seed: u64) {
    let mut chance = Chance::new(seed, 1000);
    let mut stage = Stage::new(Keeper::Commands).await;
    stage.forge = Forge::Faulty;
    stage.s.hub.allow_on_its_way(UNDER_WAY);
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
    print_impatience(&stage);
    // The end looks for requests that came although GitHub had asked to wait.
    stage.s.end_of_many();
}

/// A scenario with a second repository, in which both are applied.
async fn two_repositories() -> (Scenario, Repository) {
    let mut s = Scenario::new().await;
    let other = s.another("acme/second");
    s.start();
    for (repo, file) in [(s.repo.clone(), "first"), (other.clone(), "second")] {
        let commit = repo.commit("main", &[("network/main.tf", &one_value(file))], "Begin");
        applied(&mut s, &repo, &commit).await;
    }
    (s, other)
}

async fn applied(s: &mut Scenario, repo: &Repository, commit: &str) {
    s.wait("the apply", |_| {
        let status = repo.status(commit, "mainstay/apply")?;
        (status.state == "success").then_some(())
    })
    .await;
}

/// The comment is there and its answer is not, for longer than anybody waits for it: the other
/// repository goes on meanwhile, and no second comment comes of it.
async fn an_answer_that_never_comes() {
    let (mut s, other) = two_repositories().await;
    let never = FaultKind::StallAfterEffect(Duration::from_secs(40));
    let post = When::Call("POST", "/repos/acme/infra/issues/*/comments");
    s.hub.fault(Fault::new(post, 1, never));
    let pull = s.propose("change", &[("network/main.tf", &one_value("b"))]);
    s.comment_with(pull, "1 to change").await;
    let commit = other.commit("main", &[("network/main.tf", &one_value("b"))], "More");
    applied(&mut s, &other, &commit).await;
    // Nobody waits for an answer longer than this.
    let given_up = |s: &Scenario| s.log().contains("no answer within 30 seconds");
    assert!(!given_up(&s), "the other repository had to wait");
    s.wait("the end of the patience", |s| given_up(s).then_some(()))
        .await;
    // What is told next is told in the same comment.
    s.repo
        .commit("change", &[("network/main.tf", &one_value("c"))], "More");
    s.comment_with(pull, "\"c\"").await;
    let truth = s.hub.truth();
    let posted = truth
        .iter()
        .filter(|t| t.by == BOT && matches!(t.effect, Effect::CommentCreated { .. }));
    assert_eq!(posted.count(), 1);
    s.end().await;
}

/// Nothing at all is sent for a minute, and then all that is due.
async fn a_limit_that_names_no_time() {
    let (mut s, _) = two_repositories().await;
    s.hub.allow_on_its_way(UNDER_WAY);
    let limit = FaultKind::TooMany { retry_after: None };
    let looks = When::Call("POST", "/graphql");
    s.hub.fault(Fault::new(looks, 1, limit));
    s.wait("the limit", |s| {
        s.hub.faults_left().is_empty().then_some(())
    })
    .await;
    let began = Instant::now();
    let pull = s.propose("change", &[("network/main.tf", &one_value("b"))]);
    s.wait("most of a minute", |_| {
        (began.elapsed() > Duration::from_secs(50)).then_some(())
    })
    .await;
    assert_eq!(s.comment(pull), None);
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

/// Prints what was sent round each request that came too early, for whoever looks into it.
fn print_impatience(stage: &Stage) {
    let requests = stage.s.hub.requests();
    let early = |r: &&LoggedRequest| r.patience == Patience::Lost;
    for early in requests.iter().filter(early) {
        println!("round the request that came too early at {}:", early.at);
        for near in &requests {
            if (near.at - early.at).num_milliseconds().abs() < 2500 {
                let LoggedRequest {
                    at,
                    method,
                    path,
                    status,
                    fault,
                    patience,
                    ..
                } = near;
                println!("  {at} {method} {path} {status:?} {fault:?} {patience:?}");
            }
        }
    }
}
