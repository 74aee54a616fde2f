//! Which runs are due, which are superseded, and which start next.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::facts::{
    Consideration, Facts, Found, ModuleChange, Presence, ProposalFacts, RunFacts, Settled,
    Standing, Stopping, Touched, Trust, ViewedWorkspace, WorkspaceFacts,
};
use crate::clock::Timestamp;
use crate::id::{ProposalKey, RepoName, RunId, WorkspaceName};
use crate::run::{NewRun, Purpose, State, Trigger};
use crate::workspace::{ApplyMode, DriftAction};

/// What to do next in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Record a new run.
    Queue(Box<NewRun>),
    /// End a run whose object is gone or was replaced.
    Supersede {
        /// The run.
        run: RunId,
        /// What took its place, in a few words.
        by: String,
    },
}

/// What is due in a repository.
///
/// It reads what is, not what happened: called again on the record that its actions
/// left, it asks for nothing more.
pub fn due(facts: &Facts, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    for proposal in &facts.proposals {
        of_proposal(facts, proposal, &mut actions);
    }
    if let Some(view) = &facts.view {
        for workspace in &view.workspaces {
            of_merge(facts, workspace, &mut actions);
        }
        for run in unended(facts, Purpose::Merge) {
            let gone = view
                .workspace(&run.workspace)
                .is_none_or(|w| w.presence == Presence::Absent);
            if gone && may_be_superseded(run) {
                actions.push(Action::Supersede {
                    run: run.id,
                    by: "the removal of the workspace".to_owned(),
                });
            }
        }
        for workspace in &facts.workspaces {
            of_drift(facts, workspace, now, &mut actions);
        }
    }
    actions
}

fn of_proposal(facts: &Facts, proposal: &ProposalFacts, actions: &mut Vec<Action>) {
    let touched: &[Touched] = match (&proposal.standing, &proposal.consideration) {
        (Standing::Open, Some(Consideration::Merges { touched, .. })) => touched,
        // Not looked at yet: what is under way may still be right.
        (Standing::Open, None) => return,
        _ => &[],
    };
    let planned = |workspace: &WorkspaceName| {
        touched
            .iter()
            .find(|t| &t.name == workspace && t.change != ModuleChange::Removed)
    };
    for run in
        unended(facts, Purpose::Propose).filter(|r| r.proposal.as_ref() == Some(&proposal.key))
    {
        let wanted = planned(&run.workspace).is_some_and(|t| t.inputs == run.inputs);
        if !wanted && may_be_superseded(run) {
            let by = match proposal.standing {
                Standing::Open => proposal.head.short().to_owned(),
                Standing::Gone => "the end of the proposal".to_owned(),
            };
            actions.push(Action::Supersede { run: run.id, by });
        }
    }
    let Some(Consideration::Merges { base, tree, .. }) = &proposal.consideration else {
        return;
    };
    if proposal.trust == Trust::NeedsPermission {
        return;
    }
    for touch in touched.iter().filter(|t| t.change != ModuleChange::Removed) {
        let latest = latest(facts, Purpose::Propose, &touch.name, Some(&proposal.key));
        let applied_at = facts
            .workspaces
            .iter()
            .find(|w| w.name == touch.name)
            .and_then(|w| w.applied.as_ref().map(|a| a.at));
        let due = match latest {
            None => true,
            Some(run) if run.inputs != touch.inputs || run.state == State::Superseded => true,
            // The state that it was planned against is no more. Since a workspace is never taken
            // twice, what was planned after the apply ended was begun after it too.
            Some(run) => {
                run.state == State::Planned && applied_at.is_some_and(|at| run.changed_at < at)
            }
        };
        if due {
            actions.push(Action::Queue(Box::new(NewRun {
                repo: facts.repo.clone(),
                workspace: touch.name.clone(),
                purpose: Purpose::Propose,
                proposal: Some(proposal.key.clone()),
                commit: proposal.head.clone(),
                base: Some(base.clone()),
                tree: tree.clone(),
                inputs: touch.inputs.clone(),
                trigger: Trigger::Commit,
            })));
        }
    }
}

fn of_merge(facts: &Facts, viewed: &ViewedWorkspace, actions: &mut Vec<Action>) {
    let Some(view) = &facts.view else { return };
    let Some(known) = facts.workspaces.iter().find(|w| w.name == viewed.name) else {
        return;
    };
    let never = known.settings.apply == ApplyMode::Never;
    let newest = latest(facts, Purpose::Merge, &viewed.name, None).map(|r| r.id);
    for run in unended(facts, Purpose::Merge).filter(|r| r.workspace == viewed.name) {
        let wanted = run.inputs == viewed.inputs && Some(run.id) == newest && !never;
        if !wanted && may_be_superseded(run) {
            actions.push(Action::Supersede {
                run: run.id,
                by: view.commit.short().to_owned(),
            });
        }
    }
    if viewed.presence == Presence::Absent || never {
        return;
    }
    let is_there = known.settled == Settled::Yes
        && known
            .applied
            .as_ref()
            .is_some_and(|a| a.inputs == viewed.inputs);
    if is_there {
        return;
    }
    let latest = latest(facts, Purpose::Merge, &viewed.name, None);
    let trigger = match latest {
        None => Trigger::Commit,
        Some(run) if run.state == State::Interrupted => Trigger::Interrupted { run: run.id },
        Some(run) if run.inputs != viewed.inputs || run.state == State::Superseded => {
            Trigger::Commit
        }
        // It applied these files once, and something else was begun since.
        Some(run) if run.state == State::Applied => Trigger::Commit,
        Some(_) => return,
    };
    actions.push(Action::Queue(Box::new(merge_order(facts, viewed, trigger))));
}

/// The order for a run that brings a workspace to the base branch's head.
pub(super) fn merge_order(facts: &Facts, viewed: &ViewedWorkspace, trigger: Trigger) -> NewRun {
    let view = facts
        .view
        .as_ref()
        .expect("a viewed workspace comes from a view");
    NewRun {
        repo: facts.repo.clone(),
        workspace: viewed.name.clone(),
        purpose: Purpose::Merge,
        proposal: merged_since(facts, &viewed.name)
            .last()
            .map(|m| m.key.clone()),
        commit: view.commit.clone(),
        base: None,
        tree: view.tree.clone(),
        inputs: viewed.inputs.clone(),
        trigger,
    }
}

/// The proposals that touched the workspace and were merged after the commit that it is at, in order.
pub fn merged_since<'f>(
    facts: &'f Facts,
    workspace: &'f WorkspaceName,
) -> impl Iterator<Item = &'f super::facts::MergedFacts> {
    let position = facts
        .workspaces
        .iter()
        .find(|w| &w.name == workspace)
        .and_then(|w| w.applied.as_ref().and_then(|a| a.position))
        .unwrap_or(i64::MIN);
    facts
        .merged
        .iter()
        .filter(move |m| m.position > position && m.touched.contains(workspace))
}

fn of_drift(facts: &Facts, known: &WorkspaceFacts, now: Timestamp, actions: &mut Vec<Action>) {
    let Some(drift) = &known.settings.drift else {
        return;
    };
    let Some(mut order) = drift_order(facts, known, Trigger::Schedule) else {
        return;
    };
    let merge = latest(facts, Purpose::Merge, &known.name, None);
    let last = latest(facts, Purpose::Drift, &known.name, None);
    if let Some(stale) = last
        && !stale.state.is_end()
        && stale.inputs != order.inputs
        && may_be_superseded(stale)
    {
        // It would compare the world with what the workspace is no longer at.
        actions.push(Action::Supersede {
            run: stale.id,
            by: order.commit.short().to_owned(),
        });
    }
    let merges_now = actions.iter().any(|action| match action {
        Action::Queue(order) => order.purpose == Purpose::Merge && order.workspace == known.name,
        Action::Supersede { .. } => false,
    });
    let taken = merges_now
        || last.is_some_and(|r| !r.state.is_end())
        || merge.is_some_and(|r| !r.state.is_end() && r.state != State::Held);
    if taken {
        return;
    }
    let found = last.filter(|r| r.drift == Found::Yes);
    // What an apply has just left as it is (an ignored attribute, say) it would leave again at
    // once, and a repair that waits for a person waits once: both are left to the schedule.
    let repairable = |found: &RunFacts| {
        !matches!(found.trigger, Trigger::Applied { .. })
            && merge.is_none_or(|r| r.state.is_end() && r.id < found.id)
    };
    if let Some(found) = found
        && drift.action == DriftAction::Apply
        && repairable(found)
        && let Some(viewed) = facts.view.as_ref().and_then(|v| v.workspace(&known.name))
        && viewed.inputs == order.inputs
    {
        let mut repair = merge_order(facts, viewed, Trigger::Drift { run: found.id });
        repair.proposal = None;
        actions.push(Action::Queue(Box::new(repair)));
        return;
    }
    // Once the drift that was found may be gone, it is looked at again at once.
    let settled_since =
        found.is_some_and(|r| known.applied.as_ref().is_some_and(|a| a.at > r.created_at));
    if let (true, Some(merge)) = (settled_since, merge) {
        order.trigger = Trigger::Applied { run: merge.id };
    }
    if settled_since || drift.every.due(known.drift_at, now) {
        actions.push(Action::Queue(Box::new(order)));
    }
}

/// When drift is to be looked for next, as far as the clock alone decides it.
pub fn next_drift(facts: &Facts, now: Timestamp) -> Option<Timestamp> {
    facts
        .workspaces
        .iter()
        .filter(|known| drift_order(facts, known, Trigger::Schedule).is_some())
        .filter_map(|known| {
            let drift = known.settings.drift.as_ref()?;
            drift.every.next_after(known.drift_at.unwrap_or(now))
        })
        .min()
}

/// The order for a look at a workspace's drift; `None` while it is at no commit for sure.
pub fn drift_order(facts: &Facts, known: &WorkspaceFacts, trigger: Trigger) -> Option<NewRun> {
    let applied = known
        .applied
        .as_ref()
        .filter(|_| known.settled == Settled::Yes)?;
    Some(NewRun {
        repo: facts.repo.clone(),
        workspace: known.name.clone(),
        purpose: Purpose::Drift,
        proposal: None,
        commit: applied.commit.clone(),
        base: None,
        tree: applied.tree.clone(),
        inputs: applied.inputs.clone(),
        trigger,
    })
}

/// One start in so many is for the repository that waits the longest, whatever its run is for: often
/// enough that a flood of merges holds nobody up for long, and rarely enough that merges stay quick.
const FAIR_EVERY: u64 = 4;

/// What the starts so far mean for the next one. It begins anew with the daemon.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// How many runs were started.
    starts: u64,
    /// How many starts each repository that waits has seen go to others since its own last one.
    passed: HashMap<RepoName, u64>,
}

impl Turns {
    /// Takes note that a run of `repo` was started while the runs in `queued` waited.
    pub fn started(&mut self, repo: &RepoName, queued: &[(RunId, NewRun)]) {
        self.starts += 1;
        let waiting: HashSet<&RepoName> = queued
            .iter()
            .map(|(_, run)| &run.repo)
            .filter(|waiting| *waiting != repo)
            .collect();
        self.passed = waiting
            .into_iter()
            .map(|waiting| (waiting.clone(), self.passed_over(waiting) + 1))
            .collect();
    }

    fn passed_over(&self, repo: &RepoName) -> u64 {
        self.passed.get(repo).copied().unwrap_or_default()
    }

    fn next_is_fair(&self) -> bool {
        self.starts % FAIR_EVERY == FAIR_EVERY - 1
    }
}

/// Which queued run starts next, by its place in `queued`; `busy` holds the workspaces with a run under way, which take no other.
///
/// Merges start before proposals, and these before drift. Among runs of one kind that of the repository
/// with the fewest runs under way starts first, then that of the repository which was passed over the
/// most, then the oldest.
///
/// Every fourth start is a fair one: it goes to the repository that was passed over the most, whatever
/// its run is for, and there to the oldest run that a person waits for. So each of `n` repositories that
/// wait has a run started within `4 * n` starts, whatever the others queue. Within a repository, drift
/// never goes before what a person waits for.
pub fn next_to_start(
    queued: &[(RunId, NewRun)],
    busy: &HashSet<(RepoName, WorkspaceName)>,
    turns: &Turns,
) -> Option<usize> {
    let taken: HashSet<(&RepoName, &WorkspaceName)> = busy
        .iter()
        .map(|(repo, workspace)| (repo, workspace))
        .collect();
    let mut under_way: HashMap<&RepoName, usize> = HashMap::new();
    for (repo, _) in busy {
        *under_way.entry(repo).or_default() += 1;
    }
    let able = queued
        .iter()
        .enumerate()
        .filter(|(_, (_, run))| !taken.contains(&(&run.repo, &run.workspace)));
    let next = if turns.next_is_fair() {
        able.min_by_key(|(_, (id, run))| {
            let passed = Reverse(turns.passed_over(&run.repo));
            (passed, run.purpose == Purpose::Drift, *id)
        })
    } else {
        able.min_by_key(|(_, (id, run))| {
            let rank = match run.purpose {
                Purpose::Merge => 0,
                Purpose::Propose => 1,
                Purpose::Drift => 2,
            };
            let at_work = under_way.get(&run.repo).copied().unwrap_or_default();
            (rank, at_work, Reverse(turns.passed_over(&run.repo)), *id)
        })
    };
    next.map(|(place, _)| place)
}

fn unended(facts: &Facts, purpose: Purpose) -> impl Iterator<Item = &RunFacts> {
    facts
        .runs
        .iter()
        .filter(move |r| r.purpose == purpose && !r.state.is_end())
}

pub(super) fn latest<'f>(
    facts: &'f Facts,
    purpose: Purpose,
    workspace: &WorkspaceName,
    proposal: Option<&ProposalKey>,
) -> Option<&'f RunFacts> {
    facts
        .runs
        .iter()
        .filter(|r| {
            r.purpose == purpose
                && &r.workspace == workspace
                && (proposal.is_none() || r.proposal.as_ref() == proposal)
        })
        .max_by_key(|r| r.id)
}

/// What already changes the world goes on to its end.
fn may_be_superseded(run: &RunFacts) -> bool {
    !run.state.is_end() && run.state != State::Applying && run.stopping == Stopping::No
}

#[cfg(test)]
mod tests;
