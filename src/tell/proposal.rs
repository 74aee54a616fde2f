//! A proposal as its reviewer shall see it, from the record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::TellError;
use crate::clock::Timestamp;
use crate::decide::{self, Consideration, ModuleChange, RunFacts, Touched, Trust};
use crate::fleet::{Fleet, Tracked, proposal_facts};
use crate::id::{BranchName, CommitSha, ProposalKey, RunId, WorkspaceName};
use crate::plan::{DataTypes, Plan};
use crate::report::{
    self, AfterMerge, OnMerge, Progress, ProposalReport, Refusal, Since, WorkspaceReport,
};
use crate::run::{Interruption, Purpose, Refused, Reviewed, Run, State, Trigger};
use crate::store::{Command, CommandState, ProposalRow, ProposalState, RunFilter, StoreError};
use crate::workspace::{ApplyMode, Settings};

/// The marker of the one comment on a proposal.
const MARKER: &str = "<!-- mainstay:proposal -->";

/// Whether there is something to say of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything that was asked is known.
    Ready,
    /// A person asked something that is answered in the comment.
    Answer,
    /// Plans are under way.
    Working,
    /// It touches no workspace.
    Untouched,
}

/// Whether there is something to say of a proposal; `None` while it was not looked at.
pub(super) fn standing(
    fleet: &Fleet,
    tracked: &Tracked,
    row: &ProposalRow,
    commands: &[Command],
) -> Result<Option<Standing>, StoreError> {
    if commands_of(row, commands).next().is_some() {
        return Ok(Some(Standing::Answer));
    }
    if row.state == ProposalState::Open && row.proposal.base_branch != tracked.declaration.branch {
        return Ok(Some(Standing::Untouched));
    }
    let touched = match &row.consideration {
        None => return Ok(None),
        Some(Consideration::Impossible { .. }) => return Ok(Some(Standing::Ready)),
        // There is nothing to plan, and so nothing to wait for.
        Some(Consideration::Conflicts { touched, .. }) if !touched.is_empty() => {
            return Ok(Some(Standing::Ready));
        }
        Some(Consideration::Conflicts { touched, .. } | Consideration::Merges { touched, .. }) => {
            touched
        }
    };
    if touched.is_empty() {
        return Ok(Some(Standing::Untouched));
    }
    let facts = propose_runs(fleet, tracked, &row.proposal.key)?;
    let trust = proposal_facts(tracked, None, row.clone()).trust;
    let done = row.state == ProposalState::Merged
        || touched.iter().all(|touch| {
            let newest = facts.iter().rfind(|run| run.workspace == touch.name);
            !is_under_way(touch, trust, newest)
        });
    Ok(Some(if done {
        Standing::Ready
    } else {
        Standing::Working
    }))
}

/// What the comment on a proposal says.
///
/// # Errors
///
/// Where the record cannot be read.
pub fn proposal_report(
    fleet: &Fleet,
    tracked: &Tracked,
    row: &ProposalRow,
    commands: &[Command],
) -> Result<ProposalReport, TellError> {
    let repo = tracked.repo();
    let branch = &tracked.declaration.branch;
    let facts = propose_runs(fleet, tracked, &row.proposal.key)?;
    let runs = newest_runs(fleet, &facts)?;
    let trust = proposal_facts(tracked, None, row.clone()).trust;
    let recorded = fleet.store.repository(repo)?;
    let mut base = recorded.and_then(|r| r.base);
    let mut conflict = None;
    let mut notes = Vec::new();
    match &row.consideration {
        Some(Consideration::Merges { base: of, .. }) => base = Some(of.clone()),
        Some(Consideration::Conflicts {
            base: of, paths, ..
        }) => {
            base = Some(of.clone());
            conflict = Some(paths.clone());
        }
        Some(Consideration::Impossible { reason }) => notes.push(reason.clone()),
        None => {}
    }
    let retargeted = row.state == ProposalState::Open && &row.proposal.base_branch != branch;
    let mut workspaces = Vec::new();
    let mut removed = Vec::new();
    for touch in row.touched() {
        if retargeted {
            break;
        }
        if touch.change == ModuleChange::Removed {
            removed.push(touch.name.clone());
            continue;
        }
        let after = match &row.merged_as {
            Some(commit) => after_merge_of(fleet, tracked, commit, &touch.name)?,
            None => None,
        };
        let run = runs.get(&touch.name);
        let planned = run.filter(|run| run.what.inputs == touch.inputs);
        for (who, refused) in [
            ("the plan", planned.map(|run| &run.result.refused)),
            ("the merge", after.as_ref().map(|(_, refused)| refused)),
        ] {
            let note = refused.and_then(|refused| report::refused_note(who, refused));
            notes.extend(note.map(|note| format!("`{}`: {note}", touch.name)));
        }
        let after = after.map(|(merged, _)| merged);
        let mut told = workspace(tracked.settings(&touch.name), touch, trust, run, after);
        if let (Some(run), Some(plan), None) = (run, told.plan(), &told.after_merge) {
            told.since = since(fleet, &facts, &row.proposal.head, run, plan)?;
        }
        workspaces.push(told);
    }
    let mut refusals = Vec::new();
    let mut help = Vec::new();
    for command in commands_of(row, commands) {
        match (&command.state, &command.reason) {
            (CommandState::Refused, Some(reason)) => refusals.push(Refusal {
                command: command.what.line.clone(),
                by: command.what.author.clone(),
                reason: reason.clone(),
            }),
            _ if asks_for_help(command) => {
                help = decide::HELP
                    .iter()
                    .map(|(form, meaning)| ((*form).to_owned(), (*meaning).to_owned()))
                    .collect();
            }
            _ => {}
        }
    }
    // The last few are enough: who asked is looking now.
    let old = refusals.len().saturating_sub(3);
    let standing = match (row.state, &row.merged_as) {
        _ if retargeted => report::Standing::Elsewhere,
        (ProposalState::Merged, Some(commit)) => report::Standing::Merged {
            commit: commit.clone(),
        },
        (ProposalState::Open, _) => report::Standing::Open,
        (ProposalState::Closed | ProposalState::Merged, _) => report::Standing::Closed,
    };
    Ok(ProposalReport {
        marker: MARKER.to_owned(),
        repo: repo.clone(),
        web_url: tracked.forge.web_url(repo),
        proposal: Some(row.proposal.key.clone()),
        head: row.proposal.head.clone(),
        base_branch: branch.clone(),
        base: base.unwrap_or_else(|| row.proposal.head.clone()),
        tool: tool(&runs),
        workspaces,
        conflict,
        removed,
        notes,
        refusals: refusals.split_off(old),
        data_types: fleet.config.data_types.clone(),
        help,
        standing,
    })
}

/// Whether a command asks to be shown the commands; they name no workspace.
fn asks_for_help(command: &Command) -> bool {
    matches!(
        decide::read(&command.what.line, &[]),
        Some(Ok(request)) if request.verb == decide::Verb::Help
    )
}

/// What planned, as the newest plan names it.
fn tool(runs: &BTreeMap<WorkspaceName, Run>) -> String {
    let newest = runs
        .values()
        .filter(|r| r.result.plan.is_some())
        .max_by_key(|r| r.id);
    newest
        .and_then(|r| r.result.tool.clone())
        .unwrap_or_default()
}

/// One run as a report of its own: for whoever asks for that run.
pub fn run_report(
    run: &Run,
    settings: Option<&Settings>,
    branch: Option<BranchName>,
) -> ProposalReport {
    let what = &run.what;
    let merge = what.purpose == Purpose::Merge;
    let touch = Touched {
        name: what.workspace.clone(),
        path: String::new(),
        inputs: what.inputs.clone(),
        change: ModuleChange::Changed,
    };
    let progress = progress(&touch, Trust::May, Some(run));
    let workspace = WorkspaceReport {
        progress,
        run: Some(run.id),
        ..workspace(
            settings,
            &touch,
            Trust::May,
            Some(run),
            merge.then(|| (after_merge(run), run.result.reviewed.clone(), before(run))),
        )
    };
    ProposalReport {
        marker: String::new(),
        repo: what.repo.clone(),
        web_url: None,
        proposal: what.proposal.clone(),
        head: what.commit.clone(),
        base_branch: branch.unwrap_or_else(|| "main".parse().expect("a valid branch name")),
        base: what.base.clone().unwrap_or_else(|| what.commit.clone()),
        tool: run.result.tool.clone().unwrap_or_default(),
        workspaces: vec![workspace],
        conflict: None,
        removed: Vec::new(),
        notes: report::refused_note(
            if merge { "the merge" } else { "the plan" },
            &run.result.refused,
        )
        .into_iter()
        .collect(),
        refusals: Vec::new(),
        data_types: DataTypes::default(),
        help: Vec::new(),
        standing: if merge {
            report::Standing::Merged {
                commit: what.commit.clone(),
            }
        } else {
            report::Standing::Open
        },
    }
}

fn commands_of<'c>(
    row: &ProposalRow,
    commands: &'c [Command],
) -> impl Iterator<Item = &'c Command> {
    let issue = match &row.proposal.key {
        ProposalKey::Pull(number) => Some(*number),
        ProposalKey::Branch(_) => None,
    };
    commands
        .iter()
        .filter(move |c| issue.is_some() && c.what.issue == issue && c.state != CommandState::New)
}

/// The runs that planned a proposal and were not superseded, oldest first, without their plans.
fn propose_runs(
    fleet: &Fleet,
    tracked: &Tracked,
    key: &ProposalKey,
) -> Result<Vec<RunFacts>, StoreError> {
    let filter = RunFilter {
        repo: Some(tracked.repo().clone()),
        proposal: Some(key.clone()),
        purpose: Some(Purpose::Propose),
        limit: 500,
        ..RunFilter::default()
    };
    let mut facts = fleet.store.run_facts(&filter)?;
    facts.retain(|run| run.state != State::Superseded);
    Ok(facts)
}

/// For each workspace, the newest of those runs.
fn newest_runs(
    fleet: &Fleet,
    facts: &[RunFacts],
) -> Result<BTreeMap<WorkspaceName, Run>, StoreError> {
    let ids: BTreeMap<&WorkspaceName, _> =
        facts.iter().map(|run| (&run.workspace, run.id)).collect();
    ids.into_iter()
        .map(|(name, id)| Ok((name.clone(), fleet.store.run(id)?)))
        .collect()
}

/// How the plan of a run differs from the one that was made for an earlier head.
fn since(
    fleet: &Fleet,
    facts: &[RunFacts],
    head: &CommitSha,
    run: &Run,
    plan: &Plan,
) -> Result<Option<Since>, StoreError> {
    Ok(match baseline(facts, head, run) {
        Baseline::None => None,
        Baseline::Itself(commit) => Some(Since::unchanged(commit)),
        Baseline::Earlier(id, commit) => {
            let earlier = fleet.store.run(id)?.result.plan;
            earlier.map(|earlier| Since::between(commit, &earlier, plan))
        }
    })
}

/// What the plan of a run is compared with, and as the plan of which head it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Baseline {
    /// There was no earlier head, or no plan for it.
    None,
    /// The push concerned other workspaces: the plan is the one of the head before.
    Itself(CommitSha),
    /// The plan of this run.
    Earlier(RunId, CommitSha),
}

fn baseline(facts: &[RunFacts], head: &CommitSha, run: &Run) -> Baseline {
    let Some(last) = facts.iter().rfind(|earlier| &earlier.commit != head) else {
        return Baseline::None;
    };
    if &run.what.commit != head {
        return Baseline::Itself(last.commit.clone());
    }
    let mut of_workspace = facts
        .iter()
        .rev()
        .filter(|earlier| earlier.workspace == run.what.workspace && &earlier.commit != head);
    match of_workspace.next() {
        // Where the last push did not concern it, its plan was as good for that head.
        Some(newest) if newest.state == State::Planned => {
            Baseline::Earlier(newest.id, last.commit.clone())
        }
        _ => match of_workspace.find(|earlier| earlier.state == State::Planned) {
            Some(earlier) => Baseline::Earlier(earlier.id, earlier.commit.clone()),
            None => Baseline::None,
        },
    }
}

/// Whether a workspace still waits for its plan, of its newest run.
fn is_under_way(touch: &Touched, trust: Trust, run: Option<&RunFacts>) -> bool {
    match run.filter(|run| run.inputs == touch.inputs) {
        Some(run) => !run.state.is_end(),
        None => touch.change != ModuleChange::Removed && trust == Trust::May,
    }
}

fn progress(touch: &Touched, trust: Trust, run: Option<&Run>) -> Progress {
    let Some(run) = run.filter(|run| run.what.inputs == touch.inputs) else {
        return match (trust, touch.change) {
            (_, ModuleChange::Removed) => Progress::Superseded,
            (Trust::NeedsPermission, _) => Progress::NeedsPermission,
            (Trust::May, _) => Progress::Waiting,
        };
    };
    match (run.state, &run.result.plan, &run.result.failure) {
        (State::Planned, Some(plan), _) => Progress::Planned(Box::new(plan.clone())),
        (State::Failed, _, Some(failure)) => Progress::Failed(failure.clone()),
        (State::Cancelled, ..) => Progress::Cancelled,
        (State::Preparing, ..) => Progress::Running("checkout".to_owned()),
        (State::Planning, ..) => Progress::Running("plan".to_owned()),
        _ => Progress::Waiting,
    }
}

fn workspace(
    settings: Option<&Settings>,
    touch: &Touched,
    trust: Trust,
    run: Option<&Run>,
    after: Option<Merged>,
) -> WorkspaceReport {
    let progress = progress(touch, trust, run);
    let current = run.filter(|run| run.what.inputs == touch.inputs);
    let (after_merge, reviewed, before) = match after {
        Some((after, reviewed, before)) => (Some(after), reviewed, before),
        None => (None, None, Vec::new()),
    };
    WorkspaceReport {
        name: touch.name.clone(),
        environment: settings.and_then(|s| s.environment.clone()),
        path: touch.path.clone(),
        progress,
        warnings: current
            .map(|run| run.result.warnings.clone())
            .unwrap_or_default(),
        checks: current
            .map(|run| match &run.result.failure {
                Some(failure) => run
                    .result
                    .checks
                    .iter()
                    .map(|c| c.beside(failure))
                    .collect(),
                None => run.result.checks.clone(),
            })
            .unwrap_or_default(),
        verdict: current.and_then(|run| run.result.verdict.clone()),
        took: current.map_or(Duration::ZERO, |run| run.result.took),
        on_merge: match settings.map(|s| s.apply) {
            Some(ApplyMode::OnApproval) => OnMerge::HoldApproval,
            Some(ApplyMode::Never) | None => OnMerge::Never,
            Some(ApplyMode::OnMerge) => OnMerge::Apply,
        },
        since: None,
        state_note: None,
        run: current.map(|run| run.id),
        after_merge,
        reviewed,
        before,
    }
}

/// The runs that the comment on a proposal shows and that wait for an answer of a person: a plan
/// that a policy may stop, a hold; each with the time when it came to that.
pub(super) fn waiting_runs(
    fleet: &Fleet,
    tracked: &Tracked,
    row: &ProposalRow,
) -> Result<Vec<(RunId, Timestamp)>, StoreError> {
    let mut waiting = Vec::new();
    for run in fleet.store.deciding_runs(tracked.repo())? {
        let shown = match (run.purpose, run.state, &row.merged_as) {
            (Purpose::Propose, State::Planned, None) => {
                run.proposal.as_ref() == Some(&row.proposal.key)
            }
            (Purpose::Merge, State::Held, Some(commit))
                if row.touched().iter().any(|t| t.name == run.workspace) =>
            {
                let told = told_of_merge(fleet, tracked, commit, &run.workspace)?;
                told.is_some_and(|told| told.id == run.id)
            }
            _ => false,
        };
        if shown {
            waiting.push((run.id, run.changed_at));
        }
    }
    Ok(waiting)
}

/// What became of a merge in a workspace, how it compares with the review, and what came before it.
type Merged = (AfterMerge, Option<Reviewed>, Vec<String>);

/// What became of a merged proposal in one of its workspaces.
fn after_merge_of(
    fleet: &Fleet,
    tracked: &Tracked,
    merged_as: &CommitSha,
    name: &WorkspaceName,
) -> Result<Option<(Merged, Refused)>, StoreError> {
    if tracked
        .settings(name)
        .is_none_or(|s| s.apply == ApplyMode::Never)
    {
        return Ok(None);
    }
    Ok(Some(
        match told_of_merge(fleet, tracked, merged_as, name)? {
            Some(run) => {
                let run = fleet.store.run(run.id)?;
                let (after, before) = (after_merge(&run), before(&run));
                ((after, run.result.reviewed, before), run.result.refused)
            }
            None => ((AfterMerge::Waiting, None, Vec::new()), Refused::default()),
        },
    ))
}

/// The run that tells what became of a merge in a workspace.
fn told_of_merge(
    fleet: &Fleet,
    tracked: &Tracked,
    merged_as: &CommitSha,
    name: &WorkspaceName,
) -> Result<Option<RunFacts>, StoreError> {
    let repo = tracked.repo();
    let Some(position) = fleet.store.base_position(repo, merged_as)? else {
        return Ok(None);
    };
    let filter = RunFilter {
        repo: Some(repo.clone()),
        workspace: Some(name.clone()),
        purpose: Some(Purpose::Merge),
        limit: 200,
        ..RunFilter::default()
    };
    let mut since = Vec::new();
    for run in fleet.store.run_facts(&filter)? {
        if fleet
            .store
            .base_position(repo, &run.commit)?
            .is_some_and(|at| at >= position)
        {
            since.push(run);
        }
    }
    Ok(telling_run(&since).cloned())
}

/// The run that tells what became of a merge: its first that was not superseded, or a repetition
/// of that, or a later one that brought the workspace further.
fn telling_run(since: &[RunFacts]) -> Option<&RunFacts> {
    // What repairs drift later on is another story.
    let told = || {
        since
            .iter()
            .filter(|r| !matches!(r.trigger, Trigger::Drift { .. }))
    };
    let Some(first) = told().find(|r| r.state != State::Superseded) else {
        return told().next_back();
    };
    // That it was applied stays true whatever follows.
    let repeats = || told().filter(|r| r.inputs == first.inputs && r.state != State::Superseded);
    if let Some(applied) = repeats().find(|r| r.state == State::Applied) {
        return Some(applied);
    }
    let newest = repeats().next_back().unwrap_or(first);
    let over = matches!(
        newest.state,
        State::Failed | State::Cancelled | State::Interrupted
    );
    let later = told().find(|r| r.id > newest.id && r.state == State::Applied);
    Some(later.filter(|_| over).unwrap_or(newest))
}

/// The command that lets a hold go.
fn lets_go(run: &Run) -> String {
    let verdict = run.result.verdict.as_ref();
    match verdict.and_then(|verdict| verdict.denials().next()) {
        Some(denial) => format!("mainstay override {} REASON…", denial.policy),
        None => format!("mainstay apply {}", run.what.workspace),
    }
}

/// What came before the plan of a merge, in sentences; names between backticks.
pub(super) fn before(run: &Run) -> Vec<String> {
    let follows = run.result.interruption.iter().filter(|i| i.run != run.id);
    follows
        .map(Interruption::before_this_plan)
        .chain(run.result.mended.iter().cloned())
        .collect()
}

/// What became of a merge, by its run.
pub(super) fn after_merge(run: &Run) -> AfterMerge {
    let ended_by = run.result.ended_by.clone().unwrap_or_default();
    let parts = run.result.applied.clone().unwrap_or_default();
    match run.state {
        State::Queued => AfterMerge::Waiting,
        State::Preparing | State::Planning | State::Applying => AfterMerge::Running,
        State::Applied | State::Planned => match &run.result.plan {
            Some(plan) if plan.has_changes() => AfterMerge::Applied {
                plan: Box::new(plan.clone()),
                commit: run.what.commit.clone(),
                took: run.result.took,
            },
            _ => AfterMerge::NothingToApply,
        },
        State::Held => AfterMerge::Held {
            reason: run.result.hold.clone().unwrap_or_default(),
            command: lets_go(run),
            plan: run.result.plan.clone().map(Box::new),
        },
        State::Failed => AfterMerge::Failed {
            failure: run.result.failure.clone().unwrap_or_default(),
            parts,
        },
        State::Superseded => AfterMerge::Superseded { by: ended_by },
        State::Cancelled => AfterMerge::Cancelled {
            by: ended_by,
            parts,
        },
        State::Interrupted => AfterMerge::Interrupted {
            parts,
            how_far: match &run.result.interruption {
                Some(interruption) => interruption.how_far(),
                None => "how far it came is not known".to_owned(),
            },
            next: "the workspace is planned again, and what is left is applied or held".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::decide::{Found, Stopping};
    use crate::id::RunId;

    fn run(id: i64, inputs: &str, state: State) -> RunFacts {
        RunFacts {
            id: RunId(id),
            workspace: "network".parse().unwrap(),
            purpose: Purpose::Merge,
            proposal: None,
            commit: "a".repeat(40).parse().unwrap(),
            inputs: inputs.to_owned(),
            trigger: Trigger::Commit,
            state,
            created_at: now(),
            changed_at: now(),
            stopping: Stopping::No,
            drift: Found::No,
        }
    }

    #[test]
    fn a_repeated_apply_tells_in_place_of_the_one_that_failed() {
        let runs = [run(1, "a", State::Failed), run(2, "a", State::Applied)];
        assert_eq!(telling_run(&runs).unwrap().id, RunId(2));
    }

    #[test]
    fn a_later_merge_does_not_tell_for_one_that_was_applied() {
        let runs = [run(1, "a", State::Applied), run(2, "b", State::Failed)];
        assert_eq!(telling_run(&runs).unwrap().id, RunId(1));
    }

    #[test]
    fn a_later_merge_tells_for_one_that_was_passed_over() {
        let runs = [run(1, "a", State::Superseded), run(2, "b", State::Applied)];
        assert_eq!(telling_run(&runs).unwrap().id, RunId(2));
    }
}
