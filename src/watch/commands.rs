//! Commands: found in comments, checked for permission, carried out on the record.

use tracing::{info, warn};

use super::WatchError;
use crate::clock::{Timestamp, now};
use crate::decide::{self, Asked, Effect, Facts, MergedFacts, ProposalFacts, Subject};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked, proposal_facts};
use crate::forge::{Comment, ForgeError, Permission};
use crate::id::{IssueNumber, ProposalKey, RepoName, RunId, WorkspaceName};
use crate::run::{Approval, Event, Purpose, State};
use crate::store::{Command, CommandState, NewCommand, StoreError, Telling};

/// Whether a command may be written where a look at the open proposals does not show it: on a
/// merged proposal or on an issue of ours.
pub(super) fn may_come_unseen(fleet: &Fleet, repo: &RepoName) -> Result<bool, StoreError> {
    let waits = fleet.store.deciding_runs(repo)?.iter().any(|run| {
        run.purpose == Purpose::Merge
            && matches!(
                run.state,
                State::Held
                    | State::Failed
                    | State::Cancelled
                    | State::Queued
                    | State::Preparing
                    | State::Planning
                    | State::Applying
            )
    });
    Ok(waits || fleet.store.tellings(repo)?.iter().any(is_open_issue))
}

fn is_open_issue(telling: &Telling) -> bool {
    telling.target.starts_with("issue ") && telling.wanted["open"] == true
}

/// Records the comments that have the form of a command and stand where one can.
pub(super) fn record(
    fleet: &Fleet,
    tracked: &Tracked,
    comments: &[Comment],
) -> Result<(), WatchError> {
    let repo = tracked.repo();
    let known = known_names(fleet, repo)?;
    for comment in comments {
        if decide::read(&comment.body, &known).is_none() {
            continue;
        }
        let place = place(fleet, repo, comment.issue)?;
        let head = match &place {
            Place::Proposal(key) => fleet
                .store
                .proposal(repo, key)?
                // Where the head moved since comments were read last, nobody knows which was meant.
                .filter(|row| row.previous.as_ref() == Some(&row.proposal.head))
                .map(|row| row.proposal.head),
            Place::Drift(_) | Place::Hold(_) => None,
            Place::Elsewhere => continue,
        };
        let command = NewCommand {
            repo: repo.clone(),
            comment: Some(comment.id),
            issue: Some(comment.issue),
            author: comment.author.clone(),
            line: comment.body.trim().to_owned(),
            written_at: written_at(comment),
            head,
        };
        if fleet.store.add_command(&command)? {
            info!(repo = %repo, issue = %comment.issue, author = %comment.author, "{} wrote `{}` on #{} of {repo}", comment.author, command.line, comment.issue);
        }
    }
    Ok(())
}

/// GitHub's times are whole seconds: the comment was written at the end of its second at the latest.
fn written_at(comment: &Comment) -> Timestamp {
    let at = comment.updated_at.max(comment.created_at);
    if at.timestamp_subsec_millis() == 0 {
        at + chrono::TimeDelta::milliseconds(999)
    } else {
        at
    }
}

fn known_names(fleet: &Fleet, repo: &RepoName) -> Result<Vec<WorkspaceName>, StoreError> {
    let mut names: Vec<_> = fleet
        .store
        .workspaces(repo)?
        .into_iter()
        .map(|w| w.name)
        .collect();
    for row in fleet.store.proposals(repo)? {
        names.extend(row.touched().iter().map(|t| t.name.clone()));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Where a comment stands.
enum Place {
    Proposal(ProposalKey),
    Drift(WorkspaceName),
    Hold(WorkspaceName),
    Elsewhere,
}

fn place(fleet: &Fleet, repo: &RepoName, issue: IssueNumber) -> Result<Place, StoreError> {
    let key = ProposalKey::Pull(issue);
    if fleet.store.proposal(repo, &key)?.is_some() {
        return Ok(Place::Proposal(key));
    }
    for telling in fleet.store.tellings(repo)? {
        if telling.remote_id != Some(issue.0) {
            continue;
        }
        let named = |prefix: &str| {
            telling
                .target
                .strip_prefix(prefix)
                .and_then(|name| name.parse::<WorkspaceName>().ok())
        };
        if let Some(name) = named("issue drift ") {
            return Ok(Place::Drift(name));
        }
        if let Some(name) = named("issue hold ") {
            return Ok(Place::Hold(name));
        }
    }
    Ok(Place::Elsewhere)
}

/// Carries out the commands that are new, and notes those that are done.
pub(super) async fn carry_out(fleet: &Fleet, tracked: &Tracked) -> Result<(), WatchError> {
    let repo = tracked.repo();
    for command in fleet.store.commands(repo)? {
        match command.state {
            CommandState::New => {
                if let Err(error) = answer(fleet, tracked, &command).await {
                    // It stays new, and is tried again with the next look; the others go on.
                    warn!(repo = %repo, command = command.id, "Carrying out `{}` failed and is tried again: {}", command.what.line, chain(&error));
                }
            }
            CommandState::Accepted => {
                let mut done = true;
                for run in &command.runs {
                    let state = fleet.store.run(*run)?.state;
                    done &= state.is_end() || state == State::Held;
                }
                if done {
                    fleet
                        .store
                        .set_command(command.id, CommandState::Done, None, &command.runs)?;
                }
            }
            CommandState::Done | CommandState::Refused => {}
        }
    }
    Ok(())
}

async fn answer(fleet: &Fleet, tracked: &Tracked, command: &Command) -> Result<(), WatchError> {
    let what = &command.what;
    let refuse = |reason: &str| {
        info!(repo = %what.repo, author = %what.author, "Refused `{}` of {}: {reason}", what.line, what.author);
        fleet
            .store
            .set_command(command.id, CommandState::Refused, Some(reason), &[])
    };
    if what.comment.is_some() {
        let permission = match tracked.forge.may_write(tracked.repo(), &what.author).await {
            Err(ForgeError::NotFound { .. }) => Permission::Less,
            other => other?,
        };
        if permission == Permission::Less {
            refuse("commands are taken from people who may write to the repository")?;
            return Ok(());
        }
    }
    let known = known_names(fleet, tracked.repo())?;
    let request = match decide::read(&what.line, &known) {
        Some(Ok(request)) => request,
        Some(Err(refusal)) => {
            refuse(&refusal.0)?;
            return Ok(());
        }
        None => {
            refuse("the workspaces that it names are no longer there")?;
            return Ok(());
        }
    };
    let facts = fleet.facts(tracked)?;
    let asked = Asked {
        by: &what.author,
        at: what.written_at,
        head: what.head.as_ref(),
    };
    let concern = concern(fleet, tracked, what.issue)?;
    match decide::effects(&request, &asked, &concern.subject(), &facts) {
        Err(refusal) => refuse(&refusal.0)?,
        Ok(effects) => {
            let mut runs = Vec::new();
            for effect in &effects {
                runs.extend(take_effect(fleet, &facts, effect, &what.author)?);
            }
            let state = if runs.is_empty() {
                CommandState::Done
            } else {
                CommandState::Accepted
            };
            info!(repo = %what.repo, author = %what.author, "Carrying out `{}` of {}", what.line, what.author);
            fleet.store.set_command(command.id, state, None, &runs)?;
        }
    }
    Ok(())
}

/// What a command concerns, owned.
enum Concern {
    Proposal(ProposalFacts, Option<MergedFacts>),
    Drift(WorkspaceName),
    Hold(WorkspaceName),
    Machine,
    Nothing,
}

impl Concern {
    fn subject(&self) -> Subject<'_> {
        match self {
            Self::Proposal(facts, merged) => decide::subject_of(facts, merged.as_ref()),
            Self::Drift(name) => Subject::Drift(name),
            Self::Hold(name) => Subject::Hold(name),
            Self::Machine => Subject::Machine,
            Self::Nothing => Subject::Closed,
        }
    }
}

fn concern(
    fleet: &Fleet,
    tracked: &Tracked,
    issue: Option<IssueNumber>,
) -> Result<Concern, StoreError> {
    let repo = tracked.repo();
    let Some(issue) = issue else {
        return Ok(Concern::Machine);
    };
    Ok(match place(fleet, repo, issue)? {
        Place::Drift(name) => Concern::Drift(name),
        Place::Hold(name) => Concern::Hold(name),
        Place::Elsewhere => Concern::Nothing,
        Place::Proposal(key) => match fleet.store.proposal(repo, &key)? {
            None => Concern::Nothing,
            Some(row) => {
                let merged = fleet.merged(tracked, &row)?;
                let base = fleet.store.repository(repo)?.and_then(|r| r.base);
                let facts = proposal_facts(tracked, base.as_ref().map(|b| b.as_str()), row);
                Concern::Proposal(facts, merged)
            }
        },
    })
}

/// Does one effect on the record, and names the run that it concerns.
fn take_effect(
    fleet: &Fleet,
    facts: &Facts,
    effect: &Effect,
    by: &str,
) -> Result<Option<RunId>, StoreError> {
    let store = &fleet.store;
    let at = now();
    match effect {
        Effect::Help => Ok(None),
        Effect::Permit(key, head) => {
            store.permit(&facts.repo, key, head)?;
            Ok(None)
        }
        Effect::Queue(order) => {
            let same = facts.runs.iter().filter(|r| {
                !r.state.is_end()
                    && r.purpose == order.purpose
                    && r.workspace == order.workspace
                    && (order.purpose != Purpose::Propose || r.proposal == order.proposal)
            });
            for run in same {
                store.stop(
                    run.id,
                    &Event::Superseded {
                        by: format!("the command of {by}"),
                    },
                    at,
                )?;
            }
            store.add_run(order, at).map(Some)
        }
        Effect::Join(run) => Ok(Some(*run)),
        Effect::Release(run) => {
            store.happened(*run, &Event::Released { by: by.to_owned() }, at, |result| {
                result.approval = result.plan.as_ref().map(|plan| Approval {
                    fingerprint: plan.fingerprint.clone(),
                    by: by.to_owned(),
                });
            })?;
            Ok(Some(*run))
        }
        Effect::Cancel(run) => {
            store.stop(*run, &Event::Cancelled { by: by.to_owned() }, at)?;
            Ok(Some(*run))
        }
    }
}
