//! Commands of people: a closed grammar, and what each asks for.

use std::collections::BTreeSet;

use super::facts::{
    Consideration, Facts, Found, ModuleChange, ProposalFacts, RunFacts, Settled, Standing, Trust,
};
use super::overriding::{self, Judged, Overriding};
use super::schedule::{drift_order, latest, merge_order, merged_since};
use crate::clock::Timestamp;
use crate::id::{CommitSha, ProposalKey, RunId, WorkspaceName};
use crate::run::{NewRun, Purpose, State, Trigger};
use crate::workspace::ApplyMode;

/// The commands, as `mainstay help` shows them.
pub const HELP: &[(&str, &str)] = &[
    ("mainstay plan [WORKSPACE…]", "plans again"),
    (
        "mainstay apply [WORKSPACE…]",
        "lets a hold go, or repeats a failed apply",
    ),
    ("mainstay cancel", "stops what runs and what waits"),
    (
        "mainstay override POLICY REASON…",
        "goes on against a policy, for this plan only; for the policy's owners",
    ),
    ("mainstay help", "shows this"),
];

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// To plan again.
    Plan,
    /// To let a hold go, or to repeat a failed apply.
    Apply,
    /// To stop what runs and what waits.
    Cancel,
    /// To go on against a policy.
    Override,
    /// To be shown the commands.
    Help,
}

/// A line that has the form of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub verb: Verb,
    /// The workspaces that it names; none for all.
    pub workspaces: BTreeSet<WorkspaceName>,
    /// The policy to go on against, and why.
    pub overriding: Option<Overriding>,
}

/// Why a command is not carried out, for the person who wrote it. Plain words, and names that we
/// know; words of the comment stand in code spans only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Reads a comment: `None` where it is no command, just text.
///
/// A command is one line and nothing else: `mainstay`, a verb, and for `plan` and
/// `apply` names out of `known`; for `override` the name of a policy and a reason, which is
/// text that is kept and nothing else. A line that goes on with other words is a sentence
/// that begins like a command, unless one of them looks like a mistyped name.
pub fn read(body: &str, known: &[WorkspaceName]) -> Option<Result<Request, Refusal>> {
    let line = body.trim();
    if line.contains(['\n', '\r']) || line.len() > 1_000 {
        return None;
    }
    let mut words = line.split([' ', '\t']).filter(|w| !w.is_empty());
    if words.next() != Some("mainstay") {
        return None;
    }
    let verb = match words.next()? {
        "plan" => Verb::Plan,
        "apply" => Verb::Apply,
        "cancel" => Verb::Cancel,
        "override" => Verb::Override,
        "help" => Verb::Help,
        _ => return None,
    };
    let rest: Vec<&str> = words.collect();
    if verb == Verb::Override {
        let overriding = overriding::read(&rest)?;
        return Some(overriding.map(|overriding| Request {
            verb,
            workspaces: BTreeSet::new(),
            overriding: Some(overriding),
        }));
    }
    if !matches!(verb, Verb::Plan | Verb::Apply) {
        return rest.is_empty().then(|| {
            Ok(Request {
                verb,
                workspaces: BTreeSet::new(),
                overriding: None,
            })
        });
    }
    let mut workspaces = BTreeSet::new();
    let mut unknown = Vec::new();
    for word in &rest {
        match known.iter().find(|name| name.as_str() == *word) {
            Some(name) => {
                workspaces.insert(name.clone());
            }
            None => unknown.push(*word),
        }
    }
    let Some(first) = unknown.first() else {
        return Some(Ok(Request {
            verb,
            workspaces,
            overriding: None,
        }));
    };
    let near = unknown
        .iter()
        .find_map(|word| nearest(word, known).map(|name| (*word, name)));
    match near {
        Some((word, name)) => Some(Err(Refusal(format!(
            "there is no workspace {}; did you mean `{name}`?",
            quoted(word)
        )))),
        // A sentence: "mainstay plan looks good to me".
        None if unknown.len() > 1 => None,
        None => Some(Err(Refusal(format!(
            "there is no workspace {}; there are {}",
            quoted(first),
            listed(known)
        )))),
    }
}

/// What a command stands on.
#[derive(Debug, Clone)]
pub enum Subject<'f> {
    /// A proposal that is open.
    Open(&'f ProposalFacts),
    /// A proposal that was merged, with the workspaces that it touched.
    Merged {
        /// Which one.
        key: &'f ProposalKey,
        /// The workspaces that it touched.
        touched: &'f [WorkspaceName],
    },
    /// A proposal that was closed without being merged, or is for another branch.
    Closed,
    /// The issue that tells of a workspace's drift.
    Drift(&'f WorkspaceName),
    /// The issue that tells of a hold.
    Hold(&'f WorkspaceName),
    /// The command line on the daemon's machine: any workspace.
    Machine,
}

/// What is done for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// That head of a fork may be planned.
    Permit(ProposalKey, CommitSha),
    /// A new run; the open run of the same purpose, workspace and proposal makes way for it.
    Queue(Box<NewRun>),
    /// A run that is under way already does what is asked.
    Join(RunId),
    /// A hold is let go.
    Release(RunId),
    /// A run is stopped.
    Cancel(RunId),
    /// A policy is overridden for the plan of a run; a hold that nothing else forbids is let go.
    Override {
        /// The run whose plan it is.
        run: RunId,
        /// The policy and the reason.
        what: Overriding,
    },
    /// The commands are shown.
    Help,
}

/// Who wrote a command, when, and for what.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// Who.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// The head that the proposal had when it was written, as far as that is certain.
    pub head: Option<&'a CommitSha>,
}

/// What a command of a person with write permission leads to. `judged` are the plans that policies
/// stop, which only `override` looks at.
///
/// # Errors
///
/// [`Refusal`] says why it leads to nothing.
pub fn effects(
    request: &Request,
    asked: &Asked<'_>,
    subject: &Subject<'_>,
    facts: &Facts,
    judged: &[Judged],
) -> Result<Vec<Effect>, Refusal> {
    match request.verb {
        Verb::Override => match &request.overriding {
            Some(what) => overriding::effects(what, asked, subject, judged),
            None => Err(overriding::unnamed()),
        },
        Verb::Help => Ok(vec![Effect::Help]),
        Verb::Plan => plan(request, asked, subject, facts),
        Verb::Apply => apply(request, asked, subject, facts),
        Verb::Cancel => cancel(asked, subject, facts),
    }
}

fn plan(
    request: &Request,
    asked: &Asked<'_>,
    subject: &Subject<'_>,
    facts: &Facts,
) -> Result<Vec<Effect>, Refusal> {
    let trigger = Trigger::Person {
        name: asked.by.to_owned(),
    };
    let proposal = match subject {
        Subject::Open(proposal) => proposal,
        Subject::Merged { .. } => {
            return Err(Refusal(
                "this is merged: `mainstay apply` lets a hold go or repeats a failed apply"
                    .to_owned(),
            ));
        }
        Subject::Closed => {
            return Err(Refusal(
                "this is not an open proposal for the base branch".to_owned(),
            ));
        }
        Subject::Drift(name) | Subject::Hold(name) => return look_for_drift(name, trigger, facts),
        Subject::Machine => {
            let names: Vec<_> = selected(request, facts.workspaces.iter().map(|w| &w.name));
            let mut effects = Vec::new();
            for name in names {
                effects.extend(look_for_drift(name, trigger.clone(), facts)?);
            }
            return Ok(effects);
        }
    };
    if proposal.trust == Trust::NeedsPermission && asked.head != Some(&proposal.head) {
        return Err(Refusal(format!(
            "the head moved to `{}` at about the time of the command: look at it, then ask again",
            proposal.head.short()
        )));
    }
    let (base, tree, touched) = match &proposal.consideration {
        Some(Consideration::Merges {
            base,
            tree,
            touched,
            ..
        }) => (base, tree, touched),
        Some(Consideration::Conflicts { .. }) => {
            return Err(Refusal(
                "it conflicts with the base branch, so there is nothing to plan".to_owned(),
            ));
        }
        Some(Consideration::Impossible { .. }) | None => {
            return Err(Refusal(
                "its files could not be looked at yet: ask again in a moment".to_owned(),
            ));
        }
    };
    let mut effects = Vec::new();
    if proposal.trust == Trust::NeedsPermission {
        effects.push(Effect::Permit(proposal.key.clone(), proposal.head.clone()));
    }
    for touch in touched.iter().filter(|t| t.change != ModuleChange::Removed) {
        if !request.workspaces.is_empty() && !request.workspaces.contains(&touch.name) {
            continue;
        }
        let under_way = latest(facts, Purpose::Propose, &touch.name, Some(&proposal.key))
            .filter(|r| !r.state.is_end() && r.inputs == touch.inputs && r.created_at >= asked.at);
        effects.push(match under_way {
            Some(run) => Effect::Join(run.id),
            None => Effect::Queue(Box::new(NewRun {
                repo: facts.repo.clone(),
                workspace: touch.name.clone(),
                purpose: Purpose::Propose,
                proposal: Some(proposal.key.clone()),
                commit: proposal.head.clone(),
                base: Some(base.clone()),
                tree: tree.clone(),
                inputs: touch.inputs.clone(),
                trigger: trigger.clone(),
            })),
        });
    }
    if effects.iter().all(|e| matches!(e, Effect::Permit(..))) {
        return Err(Refusal(format!(
            "it does not touch {}",
            if request.workspaces.is_empty() {
                "any workspace"
            } else {
                "that workspace"
            }
        )));
    }
    Ok(effects)
}

fn look_for_drift(
    name: &WorkspaceName,
    trigger: Trigger,
    facts: &Facts,
) -> Result<Vec<Effect>, Refusal> {
    if let Some(run) = latest(facts, Purpose::Drift, name, None).filter(|r| !r.state.is_end()) {
        return Ok(vec![Effect::Join(run.id)]);
    }
    facts
        .workspaces
        .iter()
        .find(|w| &w.name == name)
        .and_then(|known| drift_order(facts, known, trigger))
        .map(|order| vec![Effect::Queue(Box::new(order))])
        .ok_or_else(|| {
            Refusal(format!(
                "`{name}` is at no commit for sure, so there is nothing to compare with"
            ))
        })
}

fn apply(
    request: &Request,
    asked: &Asked<'_>,
    subject: &Subject<'_>,
    facts: &Facts,
) -> Result<Vec<Effect>, Refusal> {
    let names: Vec<&WorkspaceName> = match subject {
        Subject::Open(_) => {
            return Err(Refusal(
                "this is not merged: it is applied when it is".to_owned(),
            ));
        }
        Subject::Closed => return Err(Refusal("this was closed without being merged".to_owned())),
        Subject::Merged { touched, .. } => selected(request, touched.iter()),
        Subject::Drift(name) => return repair(name, asked, facts),
        Subject::Hold(name) => selected(request, std::iter::once(*name)),
        Subject::Machine => selected(request, facts.workspaces.iter().map(|w| &w.name)),
    };
    let mut effects = Vec::new();
    for name in names {
        let Some(run) = latest(facts, Purpose::Merge, name, None) else {
            continue;
        };
        // Who speaks on one proposal has read that one, and not what another brought.
        if let Subject::Merged { key, .. } = subject
            && run.proposal.as_ref() != Some(*key)
            && merged_since(facts, name).all(|m| &m.key != *key)
        {
            continue;
        }
        if is_never_applied(facts, name) {
            return Err(Refusal(format!(
                "`{name}` is never applied: its declaration says so"
            )));
        }
        match run.state {
            State::Held if run.changed_at > asked.at => {
                return Err(Refusal(format!(
                    "the plan of `{name}` is newer than the command: read it, then ask again"
                )));
            }
            State::Held => effects.push(Effect::Release(run.id)),
            State::Failed | State::Cancelled => effects.push(again(run, asked, facts)?),
            State::Queued | State::Preparing | State::Planning | State::Applying => {
                effects.push(Effect::Join(run.id));
            }
            // On the machine there is no issue to answer on: who names the workspace means its drift.
            State::Applied if request.workspaces.contains(name) && has_drift(facts, name, run) => {
                effects.extend(repair(name, asked, facts)?);
            }
            State::Planned | State::Applied | State::Superseded | State::Interrupted => {}
        }
    }
    if effects.is_empty() {
        return Err(Refusal(
            "nothing here is held, and no apply failed".to_owned(),
        ));
    }
    Ok(effects)
}

/// Whether the last look for drift found some after this run.
fn has_drift(facts: &Facts, name: &WorkspaceName, applied: &RunFacts) -> bool {
    latest(facts, Purpose::Drift, name, None)
        .is_some_and(|look| look.drift == Found::Yes && look.created_at >= applied.created_at)
}

fn is_never_applied(facts: &Facts, name: &WorkspaceName) -> bool {
    facts
        .workspaces
        .iter()
        .any(|w| &w.name == name && w.settings.apply == ApplyMode::Never)
}

fn again(run: &RunFacts, asked: &Asked<'_>, facts: &Facts) -> Result<Effect, Refusal> {
    let viewed = facts
        .view
        .as_ref()
        .and_then(|view| view.workspace(&run.workspace))
        .ok_or_else(|| {
            Refusal(format!(
                "`{}` is no longer on the base branch",
                run.workspace
            ))
        })?;
    let trigger = Trigger::Person {
        name: asked.by.to_owned(),
    };
    let mut order = merge_order(facts, viewed, trigger);
    order.proposal = order.proposal.or_else(|| run.proposal.clone());
    Ok(Effect::Queue(Box::new(order)))
}

/// Brings the world back to the commit that the workspace is at.
fn repair(name: &WorkspaceName, asked: &Asked<'_>, facts: &Facts) -> Result<Vec<Effect>, Refusal> {
    if is_never_applied(facts, name) {
        return Err(Refusal(format!(
            "`{name}` is never applied: its declaration says so"
        )));
    }
    if let Some(run) = latest(facts, Purpose::Merge, name, None).filter(|r| !r.state.is_end()) {
        return Ok(vec![match run.state {
            State::Held if run.changed_at <= asked.at => Effect::Release(run.id),
            _ => Effect::Join(run.id),
        }]);
    }
    let known = facts.workspaces.iter().find(|w| &w.name == name);
    let viewed = facts.view.as_ref().and_then(|view| view.workspace(name));
    match (
        known.and_then(|k| k.applied.as_ref().map(|a| (k, a))),
        viewed,
    ) {
        (Some((known, applied)), Some(viewed))
            if known.settled == Settled::Yes && applied.inputs == viewed.inputs =>
        {
            let trigger = Trigger::Person {
                name: asked.by.to_owned(),
            };
            let mut order = merge_order(facts, viewed, trigger);
            order.proposal = None;
            Ok(vec![Effect::Queue(Box::new(order))])
        }
        _ => Err(Refusal(format!(
            "`{name}` is not at the base branch's head yet"
        ))),
    }
}

fn cancel(asked: &Asked<'_>, subject: &Subject<'_>, facts: &Facts) -> Result<Vec<Effect>, Refusal> {
    let concerns = |run: &RunFacts| match subject {
        Subject::Open(proposal) => {
            run.purpose == Purpose::Propose && run.proposal.as_ref() == Some(&proposal.key)
        }
        Subject::Merged { touched, .. } => {
            run.purpose == Purpose::Merge && touched.contains(&run.workspace)
        }
        Subject::Closed => false,
        Subject::Drift(name) => run.purpose == Purpose::Drift && &run.workspace == *name,
        Subject::Hold(name) => run.purpose == Purpose::Merge && &run.workspace == *name,
        Subject::Machine => true,
    };
    let effects: Vec<_> = facts
        .runs
        .iter()
        // What began after it was written was not meant.
        .filter(|run| !run.state.is_end() && run.created_at <= asked.at && concerns(run))
        .map(|run| Effect::Cancel(run.id))
        .collect();
    if effects.is_empty() {
        return Err(Refusal("nothing here runs or waits".to_owned()));
    }
    Ok(effects)
}

fn selected<'f>(
    request: &Request,
    all: impl Iterator<Item = &'f WorkspaceName>,
) -> Vec<&'f WorkspaceName> {
    all.filter(|name| request.workspaces.is_empty() || request.workspaces.contains(*name))
        .collect()
}

/// A word of a comment as a code span: letters, digits and a few signs of it only.
pub(super) fn quoted(word: &str) -> String {
    let plain: String = word
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/') {
                c
            } else {
                '?'
            }
        })
        .take(60)
        .collect();
    format!("`{plain}`")
}

fn listed(known: &[WorkspaceName]) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = known.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    if known.len() > SHOWN {
        names.push(format!("{} more", known.len() - SHOWN));
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn nearest<'k>(word: &str, known: &'k [WorkspaceName]) -> Option<&'k WorkspaceName> {
    /// Below this a word is a word and no mistyped name.
    const LIKENESS: f64 = 0.85;
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name.as_str()), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Whether a proposal is open for commands that plan it.
pub fn subject_of<'f>(
    proposal: &'f ProposalFacts,
    merged: Option<&'f super::facts::MergedFacts>,
) -> Subject<'f> {
    match (merged, proposal.standing) {
        (Some(merged), _) => Subject::Merged {
            key: &merged.key,
            touched: &merged.touched,
        },
        (None, Standing::Open) => Subject::Open(proposal),
        (None, Standing::Gone) => Subject::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<WorkspaceName> {
        ["network", "database", "stacks/dns"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_command_is_one_line_and_nothing_else() {
        for (text, verb) in [
            ("mainstay plan", Verb::Plan),
            ("  mainstay   apply network stacks/dns \n", Verb::Apply),
            ("mainstay cancel", Verb::Cancel),
            ("mainstay help", Verb::Help),
        ] {
            let request = read(text, &known()).unwrap().unwrap();
            assert_eq!(request.verb, verb, "{text}");
        }
    }

    #[test]
    fn text_that_contains_the_words_is_no_command() {
        for text in [
            "I think mainstay plan would help",
            "> mainstay plan",
            "`mainstay plan`",
            "mainstay plan\nthanks!",
            "@mainstay plan",
            "Mainstay plan",
            "mainstay",
            "mainstay is great",
            "mainstay plan looks good to me",
            "mainstay cancel please",
            "mainstay destroy",
            "mainstay override",
            "mainstay override: what is it?",
            "```\nmainstay apply\n```",
            "",
        ] {
            assert_eq!(read(text, &known()), None, "{text}");
        }
    }

    #[test]
    fn a_mistyped_workspace_is_refused_with_the_nearest_name() {
        let refusal = read("mainstay plan netwrok", &known())
            .unwrap()
            .unwrap_err();
        assert_eq!(
            refusal.0,
            "there is no workspace `netwrok`; did you mean `network`?"
        );
        let refusal = read("mainstay apply databse network", &known())
            .unwrap()
            .unwrap_err();
        assert!(refusal.0.contains("`database`"), "{refusal}");
    }

    #[test]
    fn a_refusal_cannot_carry_markup() {
        let refusal = read("mainstay plan <b>`x`@all</b>", &known())
            .unwrap()
            .unwrap_err();
        assert!(!refusal.0.contains(['<', '@']), "{refusal}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".{0,200}") {
            if let Some(Err(refusal)) = read(&text, &known()) {
                assert!(!refusal.0.contains(['<', '@', '\n']));
            }
        }
    }
}
