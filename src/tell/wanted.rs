//! What the outside shall show, from the record alone.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::checks;
use super::proposal::{self, Standing};
use super::{Stage, TellError, Wanted};
use crate::clock::now;
use crate::decide::{Consideration, RunFacts};
use crate::fleet::{Fleet, Tracked, proposal_facts};
use crate::forge::{Issue, Reaction, ShowsChecks, Speaks, Status, StatusState, Urgency};
use crate::id::{CommitSha, ProposalKey, WorkspaceName};
use crate::report::{self, AfterMerge, ApplyWords, DriftReport, HoldReport, Light, ProposalReport};
use crate::run::{Purpose, Run, State};
use crate::store::{Command, CommandState, ProposalRow, ProposalState, RunFilter, StoreError};

/// The status of a proposal's head.
pub(crate) const PLAN_STATUS: &str = "mainstay/plan";

/// The status of a commit of the base branch.
pub(crate) const APPLY_STATUS: &str = "mainstay/apply";

/// The label of an issue about what waits for a person.
pub(super) const HOLD_LABEL: &str = "hold";

/// So many proposals that are gone keep their comment in line.
const GONE_KEPT: usize = 50;

/// Everything that shall be shown of a repository, with the target that it is recorded by.
pub(super) fn of(fleet: &Fleet, tracked: &Tracked) -> Result<Vec<(String, Wanted)>, TellError> {
    let mut all = Vec::new();
    let commands = fleet.store.commands(tracked.repo())?;
    reactions(fleet, &commands, &mut all)?;
    proposals(fleet, tracked, &commands, &mut all)?;
    apply_statuses(fleet, tracked, &mut all)?;
    drift_issues(fleet, tracked, &mut all)?;
    hold_issues(fleet, tracked, &mut all)?;
    Ok(all)
}

fn reactions(
    fleet: &Fleet,
    commands: &[Command],
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), StoreError> {
    for command in commands {
        let Some(comment) = command.what.comment else {
            continue;
        };
        let reactions = match command.state {
            CommandState::New => continue,
            CommandState::Accepted => vec![Reaction::Eyes],
            CommandState::Refused => vec![Reaction::Confused],
            CommandState::Done => {
                let mut failed = false;
                for run in &command.runs {
                    // What was let go and waits again was not done either: the comment says why.
                    failed |= matches!(
                        fleet.store.run(*run)?.state,
                        State::Failed | State::Held | State::Interrupted
                    );
                }
                vec![
                    Reaction::Eyes,
                    if failed {
                        Reaction::Confused
                    } else {
                        Reaction::Rocket
                    },
                ]
            }
        };
        all.push((
            format!("reactions {comment}"),
            Wanted::Reactions { comment, reactions },
        ));
    }
    Ok(())
}

fn proposals(
    fleet: &Fleet,
    tracked: &Tracked,
    commands: &[Command],
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), TellError> {
    let recorded = fleet.store.repository(tracked.repo())?;
    let base = recorded
        .as_ref()
        .and_then(|r| r.base.as_ref())
        .map(CommitSha::as_str);
    let mut gone = 0;
    let rows = fleet.store.proposals(tracked.repo())?;
    let ours = |row: &ProposalRow| {
        row.state == ProposalState::Open && row.proposal.base_branch == tracked.declaration.branch
    };
    // What stands on a head is said for the proposal that has it now.
    let heads: BTreeSet<CommitSha> = rows
        .iter()
        .filter(|row| ours(row))
        .map(|row| row.proposal.head.clone())
        .collect();
    for row in rows {
        if row.state != ProposalState::Open {
            if is_queued(tracked, &row.proposal.key) {
                // Its branch is gone, and nobody looks at the commit any more.
                continue;
            }
            gone += 1;
            if gone > GONE_KEPT {
                continue;
            }
        }
        let key = row.proposal.key.clone();
        // Between a push and the look at what it comes to, there is nothing true to say.
        let ours = ours(&row);
        if !ours && !heads.contains(&row.proposal.head) {
            end_what_was_pending(fleet, tracked, &row, all)?;
        }
        if ours
            && proposal_facts(tracked, base, row.clone())
                .consideration
                .is_none()
        {
            continue;
        }
        let target = format!("comment {key}");
        let before = fleet.store.telling(tracked.repo(), &target)?;
        let Some(standing) = proposal::standing(fleet, tracked, &row, commands)? else {
            continue;
        };
        // A reviewer is called once, when there is something to read. Edits call nobody.
        let speaks = match &standing {
            Standing::Ready | Standing::Answer => true,
            Standing::Working => before.is_some(),
            Standing::Untouched => before.is_some(),
        };
        if !speaks && matches!(standing, Standing::Untouched) {
            if ours {
                // A required check waits for its status, whatever a pull request touches.
                let status = Status {
                    context: PLAN_STATUS.to_owned(),
                    state: StatusState::Success,
                    description: "touches no workspace".to_owned(),
                };
                let commit = row.proposal.head.clone();
                if tracked.forge.shows_checks() == ShowsChecks::Yes {
                    let over = "no longer touched by this pull request";
                    checks::ended(fleet, tracked, &commit, over, &[], all)?;
                }
                all.push((
                    plan_target(&commit),
                    Wanted::Status {
                        commit,
                        status,
                        stage: Stage::Settled,
                    },
                ));
            }
            continue;
        }
        let report = proposal::proposal_report(fleet, tracked, &row, commands)?;
        let stage = if report.is_under_way() {
            Stage::UnderWay
        } else {
            Stage::Settled
        };
        if speaks {
            let issue = match &key {
                ProposalKey::Pull(number) => Some(*number),
                ProposalKey::Branch(_) => None,
            };
            let body = report::comment(&report, &fleet.templates)?;
            all.push((
                target,
                Wanted::Comment {
                    issue,
                    marker: report.marker.clone(),
                    body,
                    stage,
                    urgency: urgency(&report, stage),
                    shows: proposal::waiting_runs(fleet, tracked, &row)?,
                },
            ));
        }
        if ours {
            let said = report::plan_status(&report, &fleet.templates)?;
            let impossible = matches!(row.consideration, Some(Consideration::Impossible { .. }));
            let status = Status {
                context: PLAN_STATUS.to_owned(),
                state: if impossible {
                    StatusState::Error
                } else {
                    light(said.light)
                },
                description: said.description,
            };
            if tracked.forge.shows_checks() == ShowsChecks::Yes {
                checks::of_head(fleet, tracked, &report, all)?;
            }
            let commit = row.proposal.head.clone();
            all.push((
                plan_target(&commit),
                Wanted::Status {
                    commit,
                    status,
                    stage,
                },
            ));
        }
    }
    Ok(())
}

/// How urgent the comment on a proposal is.
fn urgency(report: &ProposalReport, stage: Stage) -> Urgency {
    let mut came_out = !report.refusals.is_empty();
    let mut failed = false;
    for workspace in &report.workspaces {
        match &workspace.after_merge {
            None | Some(AfterMerge::Waiting | AfterMerge::Running) => {}
            Some(AfterMerge::Failed { .. } | AfterMerge::Held { .. }) => {
                (came_out, failed) = (true, true);
            }
            Some(_) => came_out = true,
        }
    }
    match stage {
        Stage::Settled if came_out => Urgency::Now,
        Stage::Settled => Urgency::Soon,
        // The others go on for a while yet, and each is told of with the next text.
        Stage::UnderWay if failed || !report.refusals.is_empty() => Urgency::Soon,
        Stage::UnderWay => Urgency::Whenever,
    }
}

/// The target of the plan's status on a head.
fn plan_target(commit: &CommitSha) -> String {
    format!("status {commit} {PLAN_STATUS}")
}

/// Whether a proposal is an entry of the forge's merge queue.
fn is_queued(tracked: &Tracked, key: &ProposalKey) -> bool {
    matches!(key, ProposalKey::Branch(_)) && tracked.forge.speaks() == Speaks::Yes
}

/// Ends the status and the check runs that were told of a proposal as pending, when it is closed,
/// merged, or for another branch: nothing more will come.
fn end_what_was_pending(
    fleet: &Fleet,
    tracked: &Tracked,
    row: &ProposalRow,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), StoreError> {
    let commit = row.proposal.head.clone();
    let description = match row.state {
        ProposalState::Open => format!(
            "no longer for {}, and not planned",
            tracked.declaration.branch
        ),
        ProposalState::Closed => "closed before it was planned".to_owned(),
        ProposalState::Merged => "merged before it was planned".to_owned(),
    };
    let target = plan_target(&commit);
    if let Some(telling) = fleet.store.telling(tracked.repo(), &target)?
        && let Ok(Wanted::Status { status, .. }) = serde_json::from_value(telling.wanted)
    {
        let end = Status {
            state: StatusState::Error,
            description: description.clone(),
            context: status.context.clone(),
        };
        // It stays wanted until it is told.
        if status.state == StatusState::Pending || status == end {
            let commit = commit.clone();
            all.push((
                target,
                Wanted::Status {
                    commit,
                    status: end,
                    stage: Stage::Settled,
                },
            ));
        }
    }
    if tracked.forge.shows_checks() == ShowsChecks::Yes {
        checks::ended(fleet, tracked, &commit, &description, &[], all)?;
    }
    Ok(())
}

fn light(light: Light) -> StatusState {
    match light {
        Light::Pending => StatusState::Pending,
        Light::Good => StatusState::Success,
        Light::Bad => StatusState::Failure,
    }
}

/// How a run of a commit came out, as the commit's status counts it.
enum Outcome<'r> {
    Applied(&'r RunFacts),
    Held,
    Bad,
    UnderWay,
    PassedOver,
}

/// The status of each commit whose story is not over: it has no status yet, one that is not green,
/// or one that was not told. That ends by itself, with the commit or a later one that is applied.
fn apply_statuses(
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
fn is_before(
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
fn outcome<'r>(runs: &'r [RunFacts], commit: &CommitSha, name: &WorkspaceName) -> Outcome<'r> {
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
                later.map_or(Outcome::Bad, |run| Outcome::Applied(run))
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
    let not_applied = named(|o| matches!(o, Outcome::Bad));
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

fn drift_issues(
    fleet: &Fleet,
    tracked: &Tracked,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), TellError> {
    // A look that failed says nothing of the world: what was found before stands.
    for run in fleet.store.drift_found(tracked.repo())? {
        let name = run.what.workspace.clone();
        let target = format!("issue drift {name}");
        let Some(report) = drift_report(tracked, &run) else {
            continue;
        };
        let open = report.plan.has_drift();
        if !open && fleet.store.telling(tracked.repo(), &target)?.is_none() {
            continue;
        }
        let issue = Issue {
            marker: report.marker.clone(),
            title: format!("Drift in {name}"),
            label: "drift".to_owned(),
            body: report::drift_issue(&report, &fleet.templates)?,
        };
        let shows = Vec::new();
        all.push((target, Wanted::Issue { open, issue, shows }));
    }
    Ok(())
}

/// What the drift issue of a run says; `None` where it made no plan.
pub fn drift_report(tracked: &Tracked, run: &Run) -> Option<DriftReport> {
    let name = &run.what.workspace;
    Some(DriftReport {
        marker: marker("drift", name),
        workspace: name.clone(),
        environment: tracked.settings(name).and_then(|s| s.environment.clone()),
        commit: run.what.commit.clone(),
        branch: tracked.declaration.branch.clone(),
        plan: run.result.plan.clone()?,
    })
}

fn hold_issues(
    fleet: &Fleet,
    tracked: &Tracked,
    all: &mut Vec<(String, Wanted)>,
) -> Result<(), TellError> {
    for run in fleet.store.latest_merges(tracked.repo())? {
        let name = &run.what.workspace;
        let target = format!("issue hold {name}");
        // What has a pull request is told there.
        let waits = run.what.proposal.is_none() && matches!(run.state, State::Held | State::Failed);
        if !waits && fleet.store.telling(tracked.repo(), &target)?.is_none() {
            continue;
        }
        let marker = marker("hold", name);
        let report = HoldReport {
            marker: marker.clone(),
            workspace: name.clone(),
            environment: tracked.settings(name).and_then(|s| s.environment.clone()),
            commit: run.what.commit.clone(),
            branch: tracked.declaration.branch.clone(),
            outcome: proposal::after_merge(&run),
            warnings: run.result.warnings.clone(),
            data_types: fleet.config.data_types.clone(),
        };
        let issue = Issue {
            marker,
            title: format!("{name} waits for a person"),
            label: HOLD_LABEL.to_owned(),
            body: report::hold_issue(&report, &fleet.templates)?,
        };
        let held = waits && run.state == State::Held;
        let shows = held.then_some((run.id, run.changed_at));
        all.push((
            target,
            Wanted::Issue {
                open: waits,
                issue,
                shows: shows.into_iter().collect(),
            },
        ));
    }
    Ok(())
}

/// The marker of an issue about a workspace. Two dashes would end the comment that hides it.
fn marker(kind: &str, name: &WorkspaceName) -> String {
    format!(
        "<!-- mainstay:{kind} {} -->",
        name.as_str().replace("--", "-%2D")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::decide::{Found, Stopping};
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
