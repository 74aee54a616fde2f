//! A `kill -9` of the daemon at every step that it records: of a pull request's plan and its
//! comment, of the merge's plan and apply and what is told of them.
//!
//! The record is looked at every millisecond until it says that the step was come to. Then the
//! daemon is held still, so that where it is killed is known for certain.

use std::time::{Duration, Instant};

use crate::checker;
use crate::covered::Covered;
use crate::github::git::Method;
use crate::record::Record;
use crate::stage::{Keeper, Stage};

/// How often the record is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a step may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a round is about: its runs are those after the newest one before it.
struct Round {
    newest: i64,
    repo: String,
    comment: String,
    /// What the comment was to say when the round began.
    said: Option<String>,
    status: String,
    /// The proposal, or the commit of main.
    subject: Subject,
}

enum Subject {
    Proposal(String),
    Merge(String),
}

impl Subject {
    fn purpose(&self) -> &'static str {
        match self {
            Self::Proposal(_) => "propose",
            Self::Merge(_) => "merge",
        }
    }
}

/// A step that the daemon records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Seen,
    Queued,
    Event(&'static str),
    Begun(&'static str),
    Ended(&'static str),
    CommentWanted,
    CommentShown,
    GreenWanted,
    GreenShown,
}

/// The steps of a pull request, in their order.
const PROPOSE: [Step; 13] = [
    Step::Seen,
    Step::Queued,
    Step::Event("started"),
    Step::Event("checked_out"),
    Step::Begun("plan"),
    Step::Ended("plan"),
    Step::Begun("show"),
    Step::Ended("show"),
    Step::Event("plan_made"),
    Step::CommentWanted,
    Step::GreenWanted,
    Step::CommentShown,
    Step::GreenShown,
];

/// The steps of a merge, in their order.
const MERGE: [Step; 16] = [
    Step::Seen,
    Step::Queued,
    Step::Event("started"),
    Step::Event("checked_out"),
    Step::Begun("plan"),
    Step::Ended("plan"),
    Step::Begun("show"),
    Step::Ended("show"),
    Step::Event("apply_started"),
    Step::Begun("apply"),
    Step::Ended("apply"),
    Step::Event("apply_done"),
    Step::CommentWanted,
    Step::GreenWanted,
    Step::CommentShown,
    Step::GreenShown,
];

impl Step {
    /// Whether the record says that it was come to.
    fn is_there(self, record: &Record, round: &Round) -> bool {
        let Round { newest, repo, .. } = round;
        let purpose = round.subject.purpose();
        match self {
            Self::Seen => match &round.subject {
                Subject::Proposal(key) => record.proposed(repo, key),
                Subject::Merge(commit) => record.base_is(repo, commit),
            },
            Self::Queued => record.queued(*newest, purpose),
            Self::Event(event) => record.happened(*newest, purpose, event),
            Self::Begun(step) => record.step_began(*newest, purpose, step),
            Self::Ended(step) => record.step_ended(*newest, purpose, step),
            Self::CommentWanted | Self::CommentShown => {
                let told = record.telling(repo, &round.comment);
                told.is_some_and(|(wanted, shown)| {
                    // A merge edits the comment once before it is applied.
                    let last = match &round.subject {
                        Subject::Proposal(_) => wanted.contains("2 to "),
                        Subject::Merge(_) => wanted.contains("Applied: "),
                    };
                    last && Some(&wanted) != round.said.as_ref()
                        && (shown || self == Self::CommentWanted)
                })
            }
            Self::GreenWanted | Self::GreenShown => {
                let told = record.telling(repo, &round.status);
                told.is_some_and(|(wanted, shown)| {
                    wanted.contains("\"success\"") && (shown || self == Self::GreenWanted)
                })
            }
        }
    }

    fn name(self) -> String {
        match self {
            Self::Seen => "seen".to_owned(),
            Self::Queued => "queued".to_owned(),
            Self::Event(event) => format!("event {event}"),
            Self::Begun(step) => format!("{step} about to start"),
            Self::Ended(step) => format!("{step} ended"),
            Self::CommentWanted => "the comment to be told".to_owned(),
            Self::CommentShown => "the comment told".to_owned(),
            Self::GreenWanted => "the green status to be told".to_owned(),
            Self::GreenShown => "the green status told".to_owned(),
        }
    }
}

#[test]
fn a_kill_at_any_recorded_step_loses_nothing_and_does_nothing_twice() {
    // Two worlds, so that one works while the other waits.
    let worlds: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = runtime.expect("a runtime can be made");
                runtime.block_on(world(half))
            })
        })
        .collect();
    let mut covered = Covered::default();
    let mut wrong = Vec::new();
    for world in worlds {
        let (of_world, complaints) = world.join().expect("a world comes to its end");
        covered.add(of_world);
        wrong.extend(complaints);
    }
    println!("{covered}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Does every second round of all.
async fn world(half: usize) -> (Covered, Vec<String>) {
    let mut stage = Stage::new(Keeper::Commands).await;
    let mut covered = Covered::default();
    for number in (0..MERGE.len()).filter(|number| number % 2 == half) {
        // The places that need nobody's consent take their turns.
        let (repo, place) = [(0, 0), (1, 2), (0, 1)][number % 3];
        let round = proposed(&mut stage, repo, place);
        if let Some(step) = PROPOSE.get(number) {
            kill_at(&mut stage, &round, &PROPOSE, *step, &mut covered).await;
        }
        stage.settle().await;
        let round = merged(&mut stage, repo, &round);
        kill_at(&mut stage, &round, &MERGE, MERGE[number], &mut covered).await;
        stage.settle().await;
    }
    let wrong = checker::complaints(&stage);
    stage.s.end_of_many();
    (covered, wrong)
}

fn proposed(stage: &mut Stage, repo: usize, place: usize) -> Round {
    let newest = record(stage).newest_run();
    let (number, head) = stage.propose(repo, &[place], Duration::from_millis(60));
    Round {
        newest,
        repo: stage.repos[repo].full_name(),
        comment: format!("comment #{number}"),
        said: None,
        status: format!("status {head} mainstay/plan"),
        subject: Subject::Proposal(format!("#{number}")),
    }
}

fn merged(stage: &mut Stage, repo: usize, proposed: &Round) -> Round {
    let record = record(stage);
    let newest = record.newest_run();
    let said = record.telling(&proposed.repo, &proposed.comment);
    drop(record);
    let number = proposed
        .comment
        .rsplit('#')
        .next()
        .and_then(|n| n.parse().ok());
    let number = number.expect("it is of a pull request");
    let commit = stage.merge(repo, number, Method::Squash);
    let commit = commit.expect("nothing else changes the place");
    Round {
        newest,
        repo: proposed.repo.clone(),
        comment: proposed.comment.clone(),
        said: said.map(|(wanted, _)| wanted),
        status: format!("status {commit} mainstay/apply"),
        subject: Subject::Merge(commit),
    }
}

fn record(stage: &Stage) -> Record {
    Record::open(&stage.s.data_dir()).expect("the daemon has begun")
}

/// Kills the daemon at a step, and starts the next one.
async fn kill_at(
    stage: &mut Stage,
    round: &Round,
    all: &[Step],
    step: Step,
    covered: &mut Covered,
) {
    let looking = record(stage);
    let began = Instant::now();
    while !step.is_there(&looking, round) {
        assert!(began.elapsed() < PATIENCE, "{step:?} did not come");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    stage.s.freeze();
    // What was written between the look and the freeze counts too.
    let last = all.iter().rev().find(|step| step.is_there(&looking, round));
    let last = last.expect("the step itself was come to");
    let purpose = round.subject.purpose();
    covered.met(format!("{purpose}: killed at: {}", last.name()));
    drop(looking);
    stage.s.kill();
    stage.s.start();
}
