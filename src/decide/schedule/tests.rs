//! What is due, case by case, and as a property: what was done is not due again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::super::facts::{AppliedAt, Contained, MergedFacts, View};
use super::*;
use crate::clock::Schedule;
use crate::id::{CommitSha, IssueNumber, ObjectId};
use crate::workspace::{DriftSettings, Settings};

fn sha(n: u8) -> CommitSha {
    format!("{n:040x}").parse().unwrap()
}

fn tree(n: u8) -> ObjectId {
    format!("{n:040x}").parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn name(text: &str) -> WorkspaceName {
    text.parse().unwrap()
}

fn pull(number: u64) -> ProposalKey {
    ProposalKey::Pull(IssueNumber(number))
}

fn viewed(workspace: &str, inputs: &str) -> ViewedWorkspace {
    ViewedWorkspace {
        name: name(workspace),
        path: workspace.to_owned(),
        inputs: inputs.to_owned(),
        presence: Presence::Present,
    }
}

fn known(workspace: &str, applied: Option<&str>) -> WorkspaceFacts {
    WorkspaceFacts {
        name: name(workspace),
        settings: Settings::default(),
        applied: applied.map(|inputs| AppliedAt {
            commit: sha(1),
            tree: tree(1),
            inputs: inputs.to_owned(),
            at: at(0),
            position: Some(1),
        }),
        settled: Settled::Yes,
        drift_at: None,
    }
}

fn facts(view: Vec<ViewedWorkspace>, workspaces: Vec<WorkspaceFacts>) -> Facts {
    Facts {
        repo: "acme/infra".parse().unwrap(),
        view: Some(View {
            commit: sha(2),
            tree: tree(2),
            workspaces: view,
        }),
        workspaces,
        proposals: Vec::new(),
        merged: Vec::new(),
        runs: Vec::new(),
    }
}

fn proposal(number: u64, head: u8, touched: &[(&str, &str)]) -> ProposalFacts {
    let touched = touched
        .iter()
        .map(|(workspace, inputs)| Touched {
            name: name(workspace),
            path: (*workspace).to_owned(),
            inputs: (*inputs).to_owned(),
            change: ModuleChange::Changed,
        })
        .collect();
    ProposalFacts {
        key: pull(number),
        head: sha(head),
        trust: Trust::May,
        standing: Standing::Open,
        consideration: Some(Consideration::Merges {
            base: sha(2),
            tree: tree(head),
            touched,
            contained: Contained::No,
        }),
    }
}

fn run(id: i64, purpose: Purpose, workspace: &str, inputs: &str, state: State) -> RunFacts {
    RunFacts {
        id: RunId(id),
        workspace: name(workspace),
        purpose,
        proposal: (purpose == Purpose::Propose).then(|| pull(1)),
        commit: sha(2),
        inputs: inputs.to_owned(),
        trigger: Trigger::Commit,
        state,
        created_at: at(10),
        changed_at: at(10),
        stopping: Stopping::No,
        drift: Found::No,
    }
}

fn queued(actions: &[Action]) -> Vec<(Purpose, String)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Queue(order) => Some((order.purpose, order.workspace.to_string())),
            Action::Supersede { .. } => None,
        })
        .collect()
}

fn superseded(actions: &[Action]) -> Vec<i64> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Supersede { run, .. } => Some(run.0),
            Action::Queue(_) => None,
        })
        .collect()
}

#[test]
fn the_first_sight_of_a_workspace_is_a_merge() {
    let facts = facts(vec![viewed("network", "a")], vec![known("network", None)]);
    assert_eq!(
        queued(&due(&facts, at(20))),
        [(Purpose::Merge, "network".to_owned())]
    );
}

#[test]
fn a_workspace_that_is_there_is_left_alone() {
    let facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn a_failed_apply_is_not_repeated_by_itself() {
    let mut facts = facts(
        vec![viewed("network", "b")],
        vec![known("network", Some("a"))],
    );
    for state in [
        State::Failed,
        State::Cancelled,
        State::Held,
        State::Queued,
        State::Applying,
    ] {
        facts.runs = vec![run(1, Purpose::Merge, "network", "b", state)];
        assert!(due(&facts, at(20)).is_empty(), "{state}");
    }
}

#[test]
fn an_interrupted_apply_is_planned_anew_and_says_why() {
    let mut facts = facts(
        vec![viewed("network", "b")],
        vec![known("network", Some("a"))],
    );
    facts.workspaces[0].settled = Settled::No;
    facts.runs = vec![run(7, Purpose::Merge, "network", "b", State::Interrupted)];
    let actions = due(&facts, at(20));
    let [Action::Queue(order)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(order.trigger, Trigger::Interrupted { run: RunId(7) });
}

#[test]
fn a_revert_of_a_failed_apply_is_applied_though_its_files_were_before() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.workspaces[0].settled = Settled::No;
    facts.runs = vec![run(1, Purpose::Merge, "network", "b", State::Failed)];
    assert_eq!(queued(&due(&facts, at(20))).len(), 1);
}

#[test]
fn a_hold_ends_when_main_moves_on() {
    let mut facts = facts(
        vec![viewed("network", "c")],
        vec![known("network", Some("a"))],
    );
    facts.runs = vec![run(1, Purpose::Merge, "network", "b", State::Held)];
    let actions = due(&facts, at(20));
    assert_eq!(superseded(&actions), [1]);
    assert_eq!(queued(&actions).len(), 1);
}

#[test]
fn a_hold_ends_when_main_goes_back_to_what_is_applied() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.runs = vec![run(1, Purpose::Merge, "network", "b", State::Held)];
    let actions = due(&facts, at(20));
    assert_eq!(superseded(&actions), [1]);
    assert!(queued(&actions).is_empty());
}

#[test]
fn a_running_apply_goes_on_and_the_newer_commit_waits_behind_it() {
    let mut facts = facts(
        vec![viewed("network", "c")],
        vec![known("network", Some("a"))],
    );
    facts.runs = vec![run(1, Purpose::Merge, "network", "b", State::Applying)];
    let actions = due(&facts, at(20));
    assert!(superseded(&actions).is_empty());
    assert_eq!(queued(&actions).len(), 1);
}

#[test]
fn a_push_supersedes_the_plan_of_the_head_before() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.proposals = vec![proposal(1, 5, &[("network", "new")])];
    facts.runs = vec![run(1, Purpose::Propose, "network", "old", State::Planning)];
    let actions = due(&facts, at(20));
    assert_eq!(superseded(&actions), [1]);
    assert_eq!(queued(&actions), [(Purpose::Propose, "network".to_owned())]);
}

#[test]
fn a_push_that_leaves_the_workspaces_files_alone_starts_nothing() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.proposals = vec![proposal(1, 6, &[("network", "same")])];
    facts.runs = vec![run(1, Purpose::Propose, "network", "same", State::Planned)];
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn a_proposal_is_planned_again_after_its_workspace_was_applied() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.proposals = vec![proposal(1, 6, &[("network", "same")])];
    facts.runs = vec![run(1, Purpose::Propose, "network", "same", State::Planned)];
    facts.workspaces[0].applied.as_mut().unwrap().at = at(11);
    assert_eq!(queued(&due(&facts, at(20))).len(), 1);
}

#[test]
fn what_waited_for_an_apply_to_be_planned_is_planned_once() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.proposals = vec![proposal(1, 6, &[("network", "same")])];
    let mut waited = run(1, Purpose::Propose, "network", "same", State::Planned);
    waited.changed_at = at(12);
    facts.runs = vec![waited];
    facts.workspaces[0].applied.as_mut().unwrap().at = at(11);
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn a_forks_code_is_not_run_unasked() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    let mut fork = proposal(1, 5, &[("network", "new")]);
    fork.trust = Trust::NeedsPermission;
    facts.proposals = vec![fork];
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn the_runs_of_a_proposal_that_is_gone_end() {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    let mut gone = proposal(1, 5, &[("network", "new")]);
    gone.standing = Standing::Gone;
    facts.proposals = vec![gone];
    facts.runs = vec![run(1, Purpose::Propose, "network", "new", State::Queued)];
    let actions = due(&facts, at(20));
    assert_eq!(superseded(&actions), [1]);
    assert!(queued(&actions).is_empty());
}

#[test]
fn a_removed_workspace_is_neither_planned_nor_applied() {
    let mut facts = facts(
        vec![viewed("network", "")],
        vec![known("network", Some("a"))],
    );
    facts.view.as_mut().unwrap().workspaces[0].presence = Presence::Absent;
    let mut removal = proposal(1, 5, &[("network", "")]);
    if let Some(Consideration::Merges { touched, .. }) = &mut removal.consideration {
        touched[0].change = ModuleChange::Removed;
    }
    facts.proposals = vec![removal];
    assert!(queued(&due(&facts, at(20))).is_empty());
}

#[test]
fn a_workspace_that_is_never_applied_gets_no_merge() {
    let mut facts = facts(vec![viewed("network", "b")], vec![known("network", None)]);
    facts.workspaces[0].settings.apply = ApplyMode::Never;
    assert!(due(&facts, at(20)).is_empty());
}

fn with_drift(action: DriftAction) -> Facts {
    let mut facts = facts(
        vec![viewed("network", "a")],
        vec![known("network", Some("a"))],
    );
    facts.workspaces[0].settings.drift = Some(DriftSettings {
        every: Schedule::Every(Duration::from_secs(60)),
        action,
    });
    facts
}

#[test]
fn drift_is_looked_for_when_its_time_has_come() {
    let mut facts = with_drift(DriftAction::Report);
    facts.workspaces[0].drift_at = Some(at(0));
    assert!(due(&facts, at(59)).is_empty());
    assert_eq!(
        queued(&due(&facts, at(60))),
        [(Purpose::Drift, "network".to_owned())]
    );
}

#[test]
fn drift_waits_behind_a_merge() {
    let mut facts = with_drift(DriftAction::Report);
    facts.runs = vec![run(1, Purpose::Merge, "network", "a", State::Planning)];
    assert!(due(&facts, at(600)).is_empty());
}

#[test]
fn drift_is_not_looked_for_between_two_commits() {
    let mut facts = with_drift(DriftAction::Report);
    facts.workspaces[0].settled = Settled::No;
    facts.runs = vec![run(1, Purpose::Merge, "network", "a", State::Failed)];
    assert!(due(&facts, at(600)).is_empty());
}

#[test]
fn drift_that_shall_be_repaired_is_once_for_each_find() {
    let mut facts = with_drift(DriftAction::Apply);
    facts.workspaces[0].drift_at = Some(at(10));
    let mut found = run(5, Purpose::Drift, "network", "a", State::Planned);
    found.drift = Found::Yes;
    facts.runs = vec![
        run(1, Purpose::Merge, "network", "a", State::Applied),
        found,
    ];
    assert_eq!(
        queued(&due(&facts, at(20))),
        [(Purpose::Merge, "network".to_owned())]
    );
    facts
        .runs
        .push(run(6, Purpose::Merge, "network", "a", State::Failed));
    facts.workspaces[0].settled = Settled::No;
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn a_repair_that_waits_for_a_person_is_not_asked_for_twice() {
    let mut facts = with_drift(DriftAction::Apply);
    facts.workspaces[0].drift_at = Some(at(10));
    let mut found = run(5, Purpose::Drift, "network", "a", State::Planned);
    found.drift = Found::Yes;
    facts.runs = vec![run(4, Purpose::Merge, "network", "a", State::Held), found];
    assert!(due(&facts, at(20)).is_empty());
}

#[test]
fn drift_that_an_apply_has_just_left_is_left_to_the_schedule() {
    let mut facts = with_drift(DriftAction::Apply);
    facts.workspaces[0].drift_at = Some(at(10));
    let mut found = run(5, Purpose::Drift, "network", "a", State::Planned);
    found.drift = Found::Yes;
    found.trigger = Trigger::Applied { run: RunId(4) };
    facts.runs = vec![
        run(4, Purpose::Merge, "network", "a", State::Applied),
        found,
    ];
    assert!(due(&facts, at(20)).is_empty());
    assert_eq!(
        queued(&due(&facts, at(70))),
        [(Purpose::Drift, "network".to_owned())]
    );
}

#[test]
fn after_a_repair_the_world_is_looked_at_again_at_once() {
    let mut facts = with_drift(DriftAction::Report);
    facts.workspaces[0].drift_at = Some(at(10));
    facts.workspaces[0].applied.as_mut().unwrap().at = at(15);
    let mut found = run(5, Purpose::Drift, "network", "a", State::Planned);
    found.drift = Found::Yes;
    facts.runs = vec![
        found,
        run(6, Purpose::Merge, "network", "a", State::Applied),
    ];
    assert_eq!(
        queued(&due(&facts, at(20))),
        [(Purpose::Drift, "network".to_owned())]
    );
}

fn repo(number: usize) -> RepoName {
    format!("acme/repo-{number}").parse().unwrap()
}

fn order(of: usize, purpose: Purpose, workspace: &str) -> NewRun {
    NewRun {
        repo: repo(of),
        workspace: name(workspace),
        purpose,
        proposal: None,
        commit: sha(1),
        base: None,
        tree: tree(1),
        inputs: String::new(),
        trigger: Trigger::Commit,
    }
}

/// A queue with the hand that takes from it, as the scheduler does.
#[derive(Default)]
struct Queue {
    waiting: Vec<(RunId, NewRun)>,
    busy: HashSet<(RepoName, WorkspaceName)>,
    turns: Turns,
}

impl Queue {
    fn of(runs: impl IntoIterator<Item = (usize, Purpose, &'static str)>) -> Self {
        let runs = runs.into_iter().zip(1..);
        Self {
            waiting: runs
                .map(|((of, purpose, workspace), id)| (RunId(id), order(of, purpose, workspace)))
                .collect(),
            ..Self::default()
        }
    }

    /// Starts the next run.
    fn start(&mut self) -> Option<(RunId, NewRun)> {
        let place = next_to_start(&self.waiting, &self.busy, &self.turns)?;
        let (id, run) = self.waiting.swap_remove(place);
        self.turns.started(&run.repo, &self.waiting);
        let place = (run.repo.clone(), run.workspace.clone());
        assert!(self.busy.insert(place), "two runs in one workspace");
        Some((id, run))
    }

    /// Starts one after the other what may start beside each other.
    fn start_all(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.start())
            .map(|(id, _)| id.0)
            .collect()
    }

    /// Starts one run and ends it before the next one.
    fn one_by_one(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| {
            self.busy.clear();
            self.start()
        })
        .map(|(id, _)| id.0)
        .collect()
    }
}

#[test]
fn merges_start_before_proposals_and_proposals_before_drift() {
    let waiting = [
        (0, Purpose::Drift, "a"),
        (0, Purpose::Propose, "b"),
        (0, Purpose::Merge, "c"),
        (0, Purpose::Propose, "c"),
    ];
    assert_eq!(Queue::of(waiting).start_all(), [3, 2, 1]);
    let mut taken = Queue::of(waiting);
    taken.busy.insert((repo(0), name("c")));
    assert_eq!(taken.start_all(), [2, 1]);
}

#[test]
fn repositories_take_turns_with_their_merges() {
    let mut queue = Queue::of([
        (0, Purpose::Merge, "a"),
        (0, Purpose::Merge, "b"),
        (0, Purpose::Merge, "c"),
        (1, Purpose::Merge, "a"),
        (1, Purpose::Merge, "b"),
        (2, Purpose::Merge, "a"),
    ]);
    assert_eq!(queue.one_by_one(), [1, 4, 6, 2, 5, 3]);
}

#[test]
fn a_repository_with_fewer_runs_under_way_goes_first() {
    let mut queue = Queue::of([(0, Purpose::Merge, "a"), (1, Purpose::Merge, "a")]);
    queue.busy.insert((repo(0), name("long")));
    assert_eq!(queue.start_all(), [2, 1]);
}

#[test]
fn every_fourth_start_is_for_whoever_waits_the_longest() {
    let mut queue = Queue::of([
        (1, Purpose::Propose, "a"),
        (2, Purpose::Drift, "a"),
        (0, Purpose::Merge, "a"),
        (0, Purpose::Merge, "b"),
        (0, Purpose::Merge, "c"),
        (0, Purpose::Merge, "d"),
        (0, Purpose::Merge, "e"),
        (0, Purpose::Merge, "f"),
        (0, Purpose::Merge, "g"),
    ]);
    assert_eq!(queue.one_by_one(), [3, 4, 5, 1, 6, 7, 8, 2, 9]);
}

#[test]
fn drift_never_goes_before_what_a_person_waits_for_in_its_repository() {
    let mut queue = Queue::of([
        (0, Purpose::Drift, "a"),
        (0, Purpose::Merge, "b"),
        (0, Purpose::Merge, "c"),
        (0, Purpose::Merge, "d"),
        (0, Purpose::Propose, "e"),
        (0, Purpose::Merge, "f"),
        (0, Purpose::Merge, "g"),
    ]);
    // The proposal does not wait for merges without end either.
    assert_eq!(queue.one_by_one(), [2, 3, 4, 5, 6, 7, 1]);
}

const STATES: [State; 11] = [
    State::Queued,
    State::Preparing,
    State::Planning,
    State::Planned,
    State::Held,
    State::Applying,
    State::Applied,
    State::Failed,
    State::Superseded,
    State::Cancelled,
    State::Interrupted,
];

fn any_run() -> impl Strategy<Value = RunFacts> {
    let purpose = prop_oneof![
        Just(Purpose::Propose),
        Just(Purpose::Merge),
        Just(Purpose::Drift)
    ];
    let inputs = prop_oneof![Just("a"), Just("b"), Just("c")];
    (
        purpose,
        inputs,
        0..STATES.len(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(purpose, inputs, state, stopping, drift)| {
            let mut made = run(0, purpose, "network", inputs, STATES[state]);
            if stopping && made.state.is_active() {
                made.stopping = Stopping::Yes;
            }
            if drift && purpose == Purpose::Drift && made.state == State::Planned {
                made.drift = Found::Yes;
            }
            made
        })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let inputs = || prop_oneof![Just("a"), Just("b"), Just("c")];
    (
        inputs(),
        proptest::option::of(inputs()),
        any::<bool>(),
        proptest::option::of(inputs()),
        any::<bool>(),
        proptest::collection::vec(any_run(), 0..5),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(view, applied, unsettled, open, trusted, mut runs, drift, repair)| {
                let mut facts = facts(
                    vec![viewed("network", view)],
                    vec![known("network", applied)],
                );
                if unsettled {
                    facts.workspaces[0].settled = Settled::No;
                }
                if drift {
                    let action = if repair {
                        DriftAction::Apply
                    } else {
                        DriftAction::Report
                    };
                    let every = Schedule::Every(Duration::from_secs(60));
                    facts.workspaces[0].settings.drift = Some(DriftSettings { every, action });
                }
                if let Some(inputs) = open {
                    let mut open = proposal(1, 5, &[("network", inputs)]);
                    if !trusted {
                        open.trust = Trust::NeedsPermission;
                    }
                    facts.proposals = vec![open];
                }
                facts.merged = vec![MergedFacts {
                    key: pull(9),
                    position: 3,
                    touched: vec![name("network")],
                }];
                for (id, run) in (1_i64..).zip(&mut runs) {
                    run.id = RunId(id);
                }
                facts.runs = runs;
                facts
            },
        )
}

/// Does to the facts what the store does when the actions are recorded.
fn record(facts: &mut Facts, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Queue(order) => {
                let id = facts.runs.iter().map(|r| r.id.0).max().unwrap_or(0) + 1;
                let mut made = run(
                    id,
                    order.purpose,
                    order.workspace.as_str(),
                    &order.inputs,
                    State::Queued,
                );
                made.proposal.clone_from(&order.proposal);
                made.created_at = at(20);
                facts.runs.push(made);
            }
            Action::Supersede { run, .. } => {
                let run = facts.runs.iter_mut().find(|r| r.id == *run).unwrap();
                match run.state {
                    State::Queued | State::Held => run.state = State::Superseded,
                    _ => run.stopping = Stopping::Yes,
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_repository_starves_another(
        quiet in prop::collection::vec(
            (prop_oneof![Just(Purpose::Merge), Just(Purpose::Propose), Just(Purpose::Drift)], 0..30_usize),
            1..8,
        ),
        floods in 1..4_usize,
        slots in 1..5_usize,
    ) {
        // Some repositories queue merges without end; each of the others has one run, at some time.
        let n = floods + quiet.len();
        let mut queue = Queue::default();
        let mut under_way = std::collections::VecDeque::new();
        let mut waits: HashMap<RepoName, usize> = HashMap::new();
        for tick in 0..30 + 4 * n + 1 {
            let id = |place| RunId(i64::try_from(tick * 100 + place).unwrap());
            for flood in 0..floods {
                for more in 0..2 {
                    let workspace = format!("w{tick}-{more}");
                    queue.waiting.push((id(flood * 2 + more), order(flood, Purpose::Merge, &workspace)));
                }
            }
            for (at, (purpose, arrives)) in quiet.iter().enumerate() {
                if *arrives == tick {
                    let of = floods + at;
                    queue.waiting.push((id(50 + at), order(of, *purpose, "only")));
                    waits.insert(repo(of), 0);
                }
            }
            if under_way.len() == slots {
                let ended = under_way.pop_front().unwrap();
                queue.busy.remove(&ended);
            }
            let (_, run) = queue.start().unwrap();
            waits.remove(&run.repo);
            under_way.push_back((run.repo, run.workspace));
            for (waiting, starts) in &mut waits {
                *starts += 1;
                prop_assert!(*starts < 4 * n, "{waiting} waits for {starts} starts");
            }
        }
        prop_assert!(waits.is_empty());
    }

    #[test]
    fn what_is_due_comes_to_an_end(mut facts in any_facts()) {
        // What one look supersedes may let the next start something; then it is quiet.
        for _ in 0..4 {
            let actions = due(&facts, at(100));
            record(&mut facts, &actions);
        }
        let more = due(&facts, at(100));
        prop_assert!(more.is_empty(), "{more:?} of {facts:#?}");
    }

    #[test]
    fn a_commit_of_main_is_never_lost(mut facts in any_facts()) {
        let actions = due(&facts, at(100));
        record(&mut facts, &actions);
        let viewed = &facts.view.as_ref().unwrap().workspaces[0];
        let known = &facts.workspaces[0];
        let there = known.settled == Settled::Yes
            && known.applied.as_ref().is_some_and(|a| a.inputs == viewed.inputs);
        let cared_for = facts.runs.iter().any(|r| {
            r.purpose == Purpose::Merge
                && r.inputs == viewed.inputs
                && (!r.state.is_end() || matches!(r.state, State::Failed | State::Cancelled | State::Planned))
        });
        prop_assert!(there || cared_for, "{facts:#?}");
    }

    #[test]
    fn no_applying_run_is_ever_superseded(facts in any_facts()) {
        for action in due(&facts, at(100)) {
            if let Action::Supersede { run, .. } = action {
                let run = facts.runs.iter().find(|r| r.id == run).unwrap();
                prop_assert!(run.state != State::Applying);
            }
        }
    }
}
