//! The status of each commit of the base branch: how its applies came out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::wanted::light;
use super::{Stage, TellError, Wanted};
use crate::clock::now;
use crate::decide::RunFacts;
use crate::fleet::{Fleet, Tracked};
use crate::forge::Status;
use crate::id::{CommitSha, WorkspaceName};
use crate::report::{self, ApplyWords, Light};
use crate::run::{Purpose, State};
use crate::store::{RunFilter, StoreError};

/// The status of a commit of the base branch.
pub(crate) const APPLY_STATUS: &str = "mainstay/apply";

/// How a run of a commit came out, as the commit's status counts it.
pub(super) enum Outcome<'r> {
    Applied(&'r RunFacts),
    Held,
    Bad(&'r RunFacts),
    UnderWay,
    PassedOver,
}

/// The status of each commit whose story is not over: it has no status yet, one that is not green,
/// or one that was not told. That ends by itself, with the commit or a later one that is applied.
pub(super) fn statuses(
    fleet: &Fleet,
    tracked: &Tracked,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), TellError> {
    let repo = tracked.repo();
    let age = TimeDelta::from_std(fleet.config.keep.runs).unwrap_or(TimeDelta::MAX);
    let remembered = now().checked_sub_signed(age).unwrap_or_default();
    let open = fleet
        .store
        .commits_to_tell(repo, APPLY_STATUS, remembered)?;
    let Some(first) = open.iter().map(|(_, first)| *first).min() else {
        return Ok(());
    };
    let filter = RunFilter {
        repo: Some(repo.clone()),
        purpose: Some(Purpose::Merge),
        from: Some(first),
        ..RunFilter::default()
    };
    let runs = fleet.store.run_facts(&filter)?;
    let rewound = fleet.store.rewound_at(repo)?;
    for (commit, _) in open {
        let replaced = match rewound {
            Some(at) => is_before(fleet, tracked, &commit, at)?.then_some(at),
            None => None,
        };
        // A commit that was force-pushed away is in none that came after.
        let runs = match replaced {
            Some(at) => {
                let mut before = Vec::new();
                for run in &runs {
                    if is_before(fleet, tracked, &run.commit, at)? {
                        before.push(run.clone());
                    }
                }
                Cow::Owned(before)
            }
            None => Cow::Borrowed(&runs),
        };
        let names: BTreeSet<&WorkspaceName> = runs
            .iter()
            .filter(|r| r.commit == commit)
            .map(|r| &r.workspace)
            .collect();
        if names.is_empty() {
            continue;
        }
        let over = replaced.is_some() && runs.iter().all(|run| run.state.is_end());
        let outcomes: Vec<_> = names
            .iter()
            .map(|name| match outcome(&runs, &commit, name) {
                // An apply that was interrupted, and that nothing follows any more.
                Outcome::UnderWay if over => Outcome::PassedOver,
                outcome => outcome,
            })
            .collect();
        let words = summed_up(&commit, &names, &outcomes);
        let said = report::apply_status(&words, &fleet.templates)?;
        let status = Status {
            context: APPLY_STATUS.to_owned(),
            state: light(said.light),
            description: said.description,
        };
        all.push((
            format!("status {commit} {APPLY_STATUS}"),
            Wanted::Status {
                commit,
                status,
                stage: if outcomes.iter().any(|o| matches!(o, Outcome::UnderWay)) {
                    Stage::UnderWay
                } else {
                    Stage::Settled
                },
            },
        ));
    }
    Ok(())
}

/// Whether a commit stands before that place of the base branch's recorded history.
pub(super) fn is_before(
    fleet: &Fleet,
    tracked: &Tracked,
    commit: &CommitSha,
    place: i64,
) -> Result<bool, StoreError> {
    let at = fleet.store.base_position(tracked.repo(), commit)?;
    Ok(at.is_some_and(|at| at < place))
}

/// How the newest run of a workspace at a commit came out. One that was superseded counts as what
/// took its place, and one that failed as a later one that is applied.
pub(super) fn outcome<'r>(
    runs: &'r [RunFacts],
    commit: &CommitSha,
    name: &WorkspaceName,
) -> Outcome<'r> {
    let of_workspace: Vec<&RunFacts> = runs.iter().filter(|r| &r.workspace == name).collect();
    let Some(at) = of_workspace.iter().rposition(|r| &r.commit == commit) else {
        return Outcome::UnderWay;
    };
    let since = &of_workspace[at..];
    let follows = since
        .iter()
        .find(|r| !matches!(r.state, State::Superseded | State::Interrupted));
    match (follows, of_workspace.last()) {
        // What is applied already took its place: a revert, before it was let go.
        (None, Some(last)) if last.state == State::Superseded => Outcome::PassedOver,
        (None, _) => Outcome::UnderWay,
        (Some(run), _) => match run.state {
            State::Applied => Outcome::Applied(run),
            State::Held => Outcome::Held,
            State::Failed | State::Cancelled => {
                let later = since.iter().find(|r| r.state == State::Applied);
                later.map_or(Outcome::Bad(run), |run| Outcome::Applied(run))
            }
            _ => Outcome::UnderWay,
        },
    }
}

/// What is to be said of a commit, the worst deciding its light.
fn summed_up(
    commit: &CommitSha,
    names: &BTreeSet<&WorkspaceName>,
    outcomes: &[Outcome<'_>],
) -> ApplyWords {
    let named = |wanted: fn(&Outcome<'_>) -> bool| -> Vec<String> {
        let with_outcome = names.iter().zip(outcomes).filter(|(_, o)| wanted(o));
        with_outcome.map(|(name, _)| name.to_string()).collect()
    };
    let not_applied = named(|o| matches!(o, Outcome::Bad(_)));
    let applying = named(|o| matches!(o, Outcome::UnderWay));
    let held = named(|o| matches!(o, Outcome::Held));
    let superseded = named(|o| matches!(o, Outcome::PassedOver));
    let with: BTreeSet<String> = outcomes
        .iter()
        .filter_map(|o| match o {
            Outcome::Applied(run) if &run.commit != commit => Some(run.commit.short().to_owned()),
            _ => None,
        })
        .collect();
    ApplyWords {
        light: if !not_applied.is_empty() {
            Light::Bad
        } else if !applying.is_empty() || !held.is_empty() {
            Light::Pending
        } else if !superseded.is_empty() {
            Light::Bad
        } else {
            Light::Good
        },
        not_applied,
        applying,
        held,
        superseded,
        applied: named(|o| matches!(o, Outcome::Applied(_))),
        with: with.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Found, Stopping};
    use crate::forge::StatusState;
    use crate::id::RunId;
    use crate::run::Trigger;

    fn run(id: i64, commit: char, state: State) -> RunFacts {
        RunFacts {
            id: RunId(id),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: commit.to_string().repeat(40).parse().unwrap(),
            inputs: String::new(),
            trigger: Trigger::Commit,
            state,
            created_at: now(),
            changed_at: now(),
            stopping: Stopping::No,
            drift: Found::No,
        }
    }

    fn status(runs: &[RunFacts], commit: char) -> (StatusState, String) {
        let commit: CommitSha = commit.to_string().repeat(40).parse().unwrap();
        let name: WorkspaceName = "network".parse().unwrap();
        let names = BTreeSet::from([&name]);
        let outcomes = [outcome(runs, &commit, &name)];
        let words = summed_up(&commit, &names, &outcomes);
        let said = report::apply_status(&words, &report::Templates::default()).unwrap();
        (light(said.light), said.description)
    }

    #[test]
    fn a_commit_that_was_passed_over_is_green_only_when_its_successor_is_applied() {
        let mut runs = vec![run(1, 'a', State::Superseded), run(2, 'b', State::Applying)];
        assert_eq!(status(&runs, 'a').0, StatusState::Pending);
        runs[1].state = State::Failed;
        assert_eq!(status(&runs, 'a').0, StatusState::Failure);
        runs[1].state = State::Applied;
        let (state, text) = status(&runs, 'a');
        assert_eq!(
            (state, text.as_str()),
            (StatusState::Success, "applied with bbbbbbb: network")
        );
    }

    #[test]
    fn a_commit_that_was_reverted_before_it_was_let_go_waits_for_nothing() {
        let (state, _) = status(&[run(1, 'a', State::Superseded)], 'a');
        assert_eq!(state, StatusState::Failure);
    }

    #[test]
    fn a_hold_is_never_green() {
        assert_eq!(
            status(&[run(1, 'a', State::Held)], 'a').0,
            StatusState::Pending
        );
    }

    #[test]
    fn an_interrupted_apply_counts_as_what_follows_it() {
        let runs = [run(1, 'a', State::Interrupted)];
        assert_eq!(status(&runs, 'a').0, StatusState::Pending);
        let runs = [run(1, 'a', State::Interrupted), run(2, 'a', State::Applied)];
        assert_eq!(status(&runs, 'a').0, StatusState::Success);
    }

    #[test]
    fn a_commit_that_failed_is_green_only_when_a_later_one_is_applied() {
        for failed in [State::Failed, State::Cancelled] {
            let mut runs = vec![run(1, 'a', failed), run(2, 'b', State::Applying)];
            assert_eq!(status(&runs, 'a').0, StatusState::Failure);
            runs[1].state = State::Held;
            assert_eq!(status(&runs, 'a').0, StatusState::Failure);
            runs[1].state = State::Applied;
            let (state, text) = status(&runs, 'a');
            assert_eq!(
                (state, text.as_str()),
                (StatusState::Success, "applied with bbbbbbb: network")
            );
            // What comes after that is another commit's story.
            runs.push(run(3, 'c', State::Failed));
            assert_eq!(status(&runs, 'a').0, StatusState::Success);
        }
    }
}
