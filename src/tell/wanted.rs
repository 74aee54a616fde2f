//! What the outside shall show, from the record alone.

use std::collections::BTreeSet;

use super::proposal::{self, Standing};
use super::{Stage, TellError, Wanted};
use super::{checks, commits, notes};
use crate::decide::Consideration;
use crate::fleet::{Fleet, Tracked, proposal_facts};
use crate::forge::{Issue, Reaction, ShowsChecks, Speaks, Status, StatusState, Urgency};
use crate::id::{CommitSha, ProposalKey, WorkspaceName};
use crate::report::{self, AfterMerge, DriftReport, HoldReport, Light, ProposalReport};
use crate::run::{Run, State};
use crate::store::{Command, CommandState, ProposalRow, ProposalState, StoreError};

/// The status of a proposal's head.
pub(crate) const PLAN_STATUS: &str = "mainstay/plan";

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
    commits::statuses(fleet, tracked, &mut all)?;
    notes::of(fleet, tracked, &mut all)?;
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

pub(super) fn light(light: Light) -> StatusState {
    match light {
        Light::Pending => StatusState::Pending,
        Light::Good => StatusState::Success,
        Light::Bad => StatusState::Failure,
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
            before: proposal::before(&run),
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
