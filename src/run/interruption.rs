//! How far an apply came whose process was lost.
//!
//! Three witnesses tell it: the journal (was the program started, and what did it say of each
//! resource), the state (which version was it before, which is it now), and the plan that is made
//! anew of the same files. Where they do not agree, it is not known: that is said too.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::AppliedParts;
use crate::id::{CommitSha, RunId};
use crate::plan::{Action, Plan, StateVersion};

/// How far an interrupted apply came, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// The run that was interrupted.
    pub run: RunId,
    /// The commit that it applied.
    pub commit: CommitSha,
    /// How far it came.
    pub extent: Extent,
    /// How many of its changes were made.
    pub made: usize,
    /// How many changes it was to make.
    pub of: usize,
    /// What tells it.
    pub told_by: ToldBy,
    /// Addresses of resources that it created and that the state does not have: another apply
    /// would create them a second time.
    #[serde(default)]
    pub unsaved: Vec<String>,
}

/// How far an interrupted apply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// It changed nothing.
    NotStarted,
    /// It made all of its changes.
    Done,
    /// It made some of its changes.
    Partial,
    /// It cannot be told.
    Unknown,
}

/// What tells how far an apply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldBy {
    /// What was recorded of it, and its state where that is at hand.
    Journal,
    /// The plan that was made after it, besides.
    Plan,
}

/// What the journal has of an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal<'e> {
    /// Its program was never started: its start would have been recorded before.
    NeverRan,
    /// It was, or may have been, and said this of each resource.
    Ran(&'e AppliedParts),
    /// It said this, and may have said more: the machine went down, or its record cannot be read.
    Cut(&'e AppliedParts),
}

/// What is known of an interrupted apply.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// The plan that it applied.
    pub plan: &'e Plan,
    /// What was recorded while it ran.
    pub journal: Journal<'e>,
    /// The state that its plan was made on, where it is known.
    pub before: Option<&'e StateVersion>,
    /// The state as it is now, where it is known.
    pub now: Option<&'e StateVersion>,
    /// The plan that was made after it, of the same files.
    pub next: Option<&'e Plan>,
}

/// How the state now compares with the one before the apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// It is the same version.
    No,
    /// It is another version of the same state, or the first of a new one.
    On,
    /// It is another state altogether.
    Elsewhere,
    /// One of the two is not known.
    Unknown,
}

impl Evidence<'_> {
    /// How far the apply of `run` came.
    pub fn weigh(&self, run: RunId, commit: CommitSha) -> Interruption {
        let wanted = changes(self.plan);
        let parts = match self.journal {
            Journal::NeverRan => None,
            Journal::Ran(parts) | Journal::Cut(parts) => Some(parts),
        };
        let (extent, made) = match (parts, self.next) {
            (None, _) => (Extent::NotStarted, 0),
            // What is in another state says nothing of this apply.
            (Some(_), _) if self.moved() == Moved::Elsewhere => (Extent::Unknown, 0),
            (Some(parts), Some(next)) => self.by_plan(parts, &wanted, next),
            (Some(parts), None) => self.by_journal(parts),
        };
        Interruption {
            run,
            commit,
            extent,
            made,
            of: wanted.len() + self.plan.left_out.changes,
            told_by: match (parts, self.next) {
                (Some(_), Some(_)) => ToldBy::Plan,
                _ => ToldBy::Journal,
            },
            unsaved: match (parts, self.next) {
                (Some(parts), Some(next)) => unsaved(self.plan, parts, next),
                _ => Vec::new(),
            },
        }
    }

    fn by_plan(
        &self,
        parts: &AppliedParts,
        wanted: &BTreeSet<String>,
        next: &Plan,
    ) -> (Extent, usize) {
        let left = changes_among(next, wanted);
        let made = wanted.len() - left;
        // Outputs are saved last of all.
        let outputs_left = self
            .plan
            .outputs
            .iter()
            .any(|output| next.outputs.iter().any(|o| o.name == output.name));
        if next.errored {
            return (Extent::Unknown, 0);
        }
        // What is not listed cannot be counted.
        if self.plan.left_out.changes + next.left_out.changes > 0 {
            return match next.changes.is_empty() && next.left_out.changes == 0 && !outputs_left {
                true => (Extent::Done, made + self.plan.left_out.changes),
                false => (Extent::Unknown, 0),
            };
        }
        let extent = match (made, left) {
            (_, 0) if !outputs_left => Extent::Done,
            (1.., _) => Extent::Partial,
            // All is left, as if nothing had been done: only where nothing was begun is that so.
            _ if self.is_untouched(parts) => Extent::NotStarted,
            _ => Extent::Unknown,
        };
        (extent, made)
    }

    fn by_journal(&self, parts: &AppliedParts) -> (Extent, usize) {
        let made = parts.done.len();
        match (self.moved(), made) {
            _ if self.is_untouched(parts) => (Extent::NotStarted, 0),
            // What was made is nowhere in the state, or what was written nobody saw being made.
            (Moved::No, _) | (_, 0) => (Extent::Unknown, 0),
            (_, made) => (Extent::Partial, made),
        }
    }

    /// Whether nothing was begun, by all that was said, and nothing was written.
    fn is_untouched(&self, parts: &AppliedParts) -> bool {
        matches!(self.journal, Journal::Ran(_)) && self.moved() == Moved::No && begun(parts) == 0
    }

    fn moved(&self) -> Moved {
        match (self.before, self.now) {
            (Some(before), Some(now)) if before == now => Moved::No,
            (Some(before), Some(now))
                if before.lineage.is_empty() || before.lineage == now.lineage =>
            {
                Moved::On
            }
            (Some(_), Some(_)) => Moved::Elsewhere,
            _ => Moved::Unknown,
        }
    }
}

/// Addresses of resources that an apply created and that the plan made after it creates again: the
/// state does not have them. What a large plan does not list may be among them, and counts.
pub fn unsaved(plan: &Plan, parts: &AppliedParts, next: &Plan) -> Vec<String> {
    let created = |address: &String| {
        let change = plan.changes.iter().find(|c| &c.address == address);
        change.map_or(plan.left_out.created > 0, |c| {
            matches!(c.action, Action::Create | Action::Replace)
        })
    };
    let again = |address: &String| {
        let change = next.changes.iter().find(|c| &c.address == address);
        // What the state has and the world has lost since is drift, and rightly created again.
        change.map_or(next.left_out.created > 0, |c| c.action == Action::Create)
            && next.drift.iter().all(|c| &c.address != address)
    };
    // More names than these are of no use to a person who looks.
    const NAMED: usize = 100;
    let again = |address: &&String| created(address) && again(address);
    parts
        .done
        .iter()
        .filter(again)
        .take(NAMED)
        .cloned()
        .collect()
}

/// The changes of a plan by name. Outputs count only where nothing else changes.
fn changes(plan: &Plan) -> BTreeSet<String> {
    let resources: BTreeSet<String> = plan
        .changes
        .iter()
        .filter(|change| change.action != Action::Read)
        .map(|change| change.address.clone())
        .collect();
    if !resources.is_empty() {
        return resources;
    }
    let outputs = plan.outputs.iter();
    outputs.map(|o| format!("output.{}", o.name)).collect()
}

/// How many of these changes a plan still has.
fn changes_among(plan: &Plan, wanted: &BTreeSet<String>) -> usize {
    let resources = plan
        .changes
        .iter()
        .filter(|change| change.action != Action::Read)
        .map(|change| change.address.clone());
    let outputs = plan.outputs.iter().map(|o| format!("output.{}", o.name));
    resources
        .chain(outputs)
        .collect::<BTreeSet<_>>()
        .intersection(wanted)
        .count()
}

/// How many changes were begun.
fn begun(parts: &AppliedParts) -> usize {
    let AppliedParts {
        done,
        failed,
        not_reached: _,
        unknown,
    } = parts;
    done.len() + failed.len() + unknown.len()
}

impl Interruption {
    /// How far it came, as the end of a sentence; names between backticks.
    pub fn how_far(&self) -> String {
        let seen = match self.told_by {
            ToldBy::Plan => "",
            ToldBy::Journal => "seen to be ",
        };
        let were = if self.of == 1 {
            "change was"
        } else {
            "changes were"
        };
        let mut text = match self.extent {
            Extent::NotStarted => "nothing was changed".to_owned(),
            Extent::Done if self.of == 1 => "its one change was made".to_owned(),
            Extent::Done => format!("all {} {were} made", self.of),
            Extent::Partial if self.made >= self.of => {
                format!(
                    "all {} {were} {seen}made, and it was cut off before its end",
                    self.of
                )
            }
            Extent::Partial => format!("{} of {} {were} {seen}made", self.made, self.of),
            Extent::Unknown => "how far it came is not known".to_owned(),
        };
        if !self.unsaved.is_empty() {
            text.push_str(&format!(
                ", and {} made and not in the state",
                names(&self.unsaved)
            ));
        }
        text
    }

    /// What the run after it says of it, in a sentence; names between backticks.
    pub fn before_this_plan(&self) -> String {
        let plan = match self.extent {
            Extent::NotStarted => "this plan is all of it",
            Extent::Done => "nothing of it is left",
            Extent::Partial | Extent::Unknown => "this plan shows what is left",
        };
        format!(
            "The apply of `{}` was interrupted: {}; {plan}",
            self.commit.short(),
            self.how_far()
        )
    }
}

/// Why the plan after an apply waits for a person, where that apply created resources that the
/// state does not have; names between backticks.
pub fn would_repeat(commit: &CommitSha, unsaved: &[String]) -> String {
    format!(
        "the apply of `{}` was cut off when {} made and not yet in the state, and this plan would create \
         the same a second time: import what is there, or remove it from the world",
        commit.short(),
        names(unsaved)
    )
}

/// Addresses with their verb: `a` is, `a` and 2 more are.
fn names(addresses: &[String]) -> String {
    let first = addresses.first().map_or("", String::as_str);
    let first = first.replace('`', "'");
    match addresses.len() {
        0 | 1 => format!("`{first}` was"),
        n => format!("`{first}` and {} more were", n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, OutputChange};

    const SERIAL: u64 = 7;

    fn plan(changes: &[(&str, Action)]) -> Plan {
        let change = |(address, action): &(&str, Action)| Change {
            address: (*address).to_owned(),
            previous_address: None,
            kind: "x".to_owned(),
            action: *action,
            reason: None,
            import_id: None,
            lines: Vec::new(),
            digest: String::new(),
        };
        Plan {
            changes: changes.iter().map(change).collect(),
            ..Plan::default()
        }
    }

    fn creates(addresses: &[&str]) -> Plan {
        plan(
            &addresses
                .iter()
                .map(|a| (*a, Action::Create))
                .collect::<Vec<_>>(),
        )
    }

    fn state(serial: u64) -> StateVersion {
        StateVersion {
            lineage: "l".to_owned(),
            serial,
        }
    }

    /// What the journal says: of `done` the end was seen, of `begun` only the beginning.
    fn parts(done: &[&str], begun: &[&str]) -> AppliedParts {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        AppliedParts {
            done: own(done),
            unknown: own(begun),
            ..AppliedParts::default()
        }
    }

    fn weigh(parts: &AppliedParts, now: Option<u64>, next: Option<&Plan>) -> (Extent, usize) {
        let plan = creates(&["a", "b", "c"]);
        let (before, now) = (state(SERIAL), now.map(state));
        let evidence = Evidence {
            plan: &plan,
            journal: Journal::Ran(parts),
            before: Some(&before),
            now: now.as_ref(),
            next,
        };
        let weighed = evidence.weigh(RunId(1), "a".repeat(40).parse().unwrap());
        assert_eq!(weighed.of, 3);
        (weighed.extent, weighed.made)
    }

    #[test]
    fn what_a_large_plan_does_not_list_is_never_said_to_be_made() {
        let mut large = plan(&[("x.a", Action::Create)]);
        large.left_out.changes = 2000;
        large.left_out.created = 1000;
        let parts = AppliedParts {
            done: vec!["x.a".to_owned(), "x.unlisted".to_owned()],
            ..AppliedParts::default()
        };
        let weigh = |next: &Plan| {
            Evidence {
                plan: &large,
                journal: Journal::Ran(&parts),
                before: None,
                now: None,
                next: Some(next),
            }
            .weigh(RunId(1), "a".repeat(40).parse().unwrap())
        };
        let mut next = plan(&[("x.b", Action::Create)]);
        next.left_out.changes = 500;
        next.left_out.created = 500;
        let left = weigh(&next);
        assert_eq!((left.extent, left.of), (Extent::Unknown, 2001));
        // Whether it creates them again nobody can tell: a person looks.
        assert_eq!(left.unsaved, ["x.a", "x.unlisted"]);
        // Where only updates are left, none of them is created a second time.
        next.left_out.created = 0;
        assert!(weigh(&next).unsaved.is_empty());
        let over = weigh(&plan(&[]));
        assert_eq!((over.extent, over.made), (Extent::Done, 2001));
        assert!(over.unsaved.is_empty());
    }

    #[test]
    fn three_witnesses_say_how_far_an_apply_came() {
        use Extent::{Done, NotStarted, Partial, Unknown};
        let nothing = parts(&[], &[]);
        let begun = parts(&[], &["a"]);
        let one = parts(&["a"], &["b"]);
        let all = parts(&["a", "b", "c"], &[]);
        let (same, on) = (Some(SERIAL), Some(SERIAL + 2));
        let left = |addresses: &[&str]| Some(creates(addresses));
        let table = [
            // Before the new plan there are the journal and the state.
            (&nothing, same, None, (NotStarted, 0)),
            (&nothing, on, None, (Unknown, 0)),
            (&nothing, None, None, (Unknown, 0)),
            (&begun, same, None, (Unknown, 0)),
            (&begun, on, None, (Unknown, 0)),
            (&one, on, None, (Partial, 1)),
            (&one, None, None, (Partial, 1)),
            (&one, same, None, (Unknown, 0)),
            (&all, on, None, (Partial, 3)),
            // The new plan says what is left.
            (&nothing, same, left(&["a", "b", "c"]), (NotStarted, 0)),
            (&nothing, on, left(&["a", "b", "c"]), (Unknown, 0)),
            (&begun, same, left(&["a", "b", "c"]), (Unknown, 0)),
            (&one, on, left(&["b", "c"]), (Partial, 1)),
            (&one, on, left(&["c", "other"]), (Partial, 2)),
            (&one, same, left(&["a", "b", "c"]), (Unknown, 0)),
            (&all, on, left(&[]), (Done, 3)),
            (&nothing, on, left(&[]), (Done, 3)),
            (&all, on, left(&["other"]), (Done, 3)),
        ];
        for (row, (parts, now, next, expected)) in table.into_iter().enumerate() {
            assert_eq!(weigh(parts, now, next.as_ref()), expected, "row {row}");
        }
    }

    #[test]
    fn an_apply_whose_program_never_ran_has_not_started_whatever_the_plan_says() {
        let plan = creates(&["a"]);
        let empty = creates(&[]);
        for next in [None, Some(&plan), Some(&empty)] {
            let evidence = Evidence {
                plan: &plan,
                journal: Journal::NeverRan,
                before: None,
                now: None,
                next,
            };
            let weighed = evidence.weigh(RunId(1), "a".repeat(40).parse().unwrap());
            assert_eq!(weighed.extent, Extent::NotStarted);
        }
    }

    #[test]
    fn where_the_journal_may_be_cut_nothing_is_never_said_to_have_been_changed() {
        let plan = creates(&["a"]);
        let (nothing, before) = (AppliedParts::default(), state(SERIAL));
        for next in [None, Some(&plan)] {
            let evidence = |journal| Evidence {
                plan: &plan,
                journal,
                before: Some(&before),
                now: Some(&before),
                next,
            };
            let extent = |journal| {
                let commit = "a".repeat(40).parse().unwrap();
                evidence(journal).weigh(RunId(1), commit).extent
            };
            assert_eq!(extent(Journal::Ran(&nothing)), Extent::NotStarted);
            assert_eq!(extent(Journal::Cut(&nothing)), Extent::Unknown);
        }
    }

    #[test]
    fn another_state_says_nothing_of_an_apply() {
        let (plan, next) = (creates(&["a"]), creates(&[]));
        let (before, now) = (
            state(SERIAL),
            StateVersion {
                lineage: "another".to_owned(),
                serial: 1,
            },
        );
        let evidence = Evidence {
            plan: &plan,
            journal: Journal::Ran(&AppliedParts::default()),
            before: Some(&before),
            now: Some(&now),
            next: Some(&next),
        };
        let weighed = evidence.weigh(RunId(1), "a".repeat(40).parse().unwrap());
        assert_eq!(weighed.extent, Extent::Unknown);
    }

    #[test]
    fn a_plan_that_failed_half_way_says_nothing_is_left_of_no_apply() {
        let mut next = creates(&[]);
        next.errored = true;
        let seen = parts(&["a"], &[]);
        assert_eq!(
            weigh(&seen, Some(SERIAL + 1), Some(&next)),
            (Extent::Unknown, 0)
        );
    }

    #[test]
    fn outputs_that_were_not_saved_are_left() {
        let output = OutputChange {
            name: "id".to_owned(),
            action: Action::Create,
            lines: Vec::new(),
        };
        let mut plan = creates(&["a"]);
        plan.outputs = vec![output.clone()];
        let mut next = creates(&[]);
        next.outputs = vec![output];
        let (before, now) = (state(SERIAL), state(SERIAL + 1));
        let silent = AppliedParts::default();
        let evidence = |plan, next| Evidence {
            plan,
            journal: Journal::Ran(&silent),
            before: Some(&before),
            now: Some(&now),
            next: Some(next),
        };
        let commit: CommitSha = "a".repeat(40).parse().unwrap();
        let weighed = evidence(&plan, &next).weigh(RunId(1), commit.clone());
        assert_eq!((weighed.extent, weighed.made), (Extent::Partial, 1));
        assert_eq!(
            weighed.how_far(),
            "all 1 change was made, and it was cut off before its end"
        );
        // Where only outputs change, they are the changes.
        let outputs = Plan {
            outputs: plan.outputs.clone(),
            ..creates(&[])
        };
        let weighed = evidence(&outputs, &creates(&[])).weigh(RunId(1), commit);
        assert_eq!((weighed.extent, weighed.of), (Extent::Done, 1));
    }

    #[test]
    fn what_was_created_and_would_be_created_again_is_found() {
        let applied = plan(&[
            ("new", Action::Create),
            ("gone", Action::Create),
            ("other", Action::Create),
            ("changed", Action::Update),
            ("replaced", Action::Replace),
            ("begun", Action::Create),
        ]);
        let mut next = plan(&[
            ("new", Action::Create),
            ("gone", Action::Create),
            ("other", Action::Update),
            ("changed", Action::Update),
            ("replaced", Action::Create),
            ("begun", Action::Create),
        ]);
        next.drift = plan(&[("gone", Action::Destroy)]).changes;
        let seen = parts(&["new", "gone", "other", "changed", "replaced"], &["begun"]);
        assert_eq!(unsaved(&applied, &seen, &next), ["new", "replaced"]);
    }

    #[test]
    fn what_is_said_names_the_commit_and_how_far_it_came() {
        let said = |extent, made, told_by, unsaved: &[&str]| {
            Interruption {
                run: RunId(1),
                commit: "abc1234".repeat(6)[..40].parse().unwrap(),
                extent,
                made,
                of: 3,
                told_by,
                unsaved: unsaved.iter().map(|a| (*a).to_owned()).collect(),
            }
            .before_this_plan()
        };
        insta::assert_snapshot!([
            said(Extent::NotStarted, 0, ToldBy::Plan, &[]),
            said(Extent::Done, 3, ToldBy::Plan, &[]),
            said(Extent::Partial, 2, ToldBy::Plan, &[]),
            said(Extent::Partial, 2, ToldBy::Journal, &[]),
            said(Extent::Unknown, 0, ToldBy::Plan, &[]),
            said(Extent::Unknown, 0, ToldBy::Plan, &["x.a"]),
            said(Extent::Partial, 1, ToldBy::Plan, &["x.a", "x.b"]),
        ]
        .join("\n"), @"
        The apply of `abc1234` was interrupted: nothing was changed; this plan is all of it
        The apply of `abc1234` was interrupted: all 3 changes were made; nothing of it is left
        The apply of `abc1234` was interrupted: 2 of 3 changes were made; this plan shows what is left
        The apply of `abc1234` was interrupted: 2 of 3 changes were seen to be made; this plan shows what is left
        The apply of `abc1234` was interrupted: how far it came is not known; this plan shows what is left
        The apply of `abc1234` was interrupted: how far it came is not known, and `x.a` was made and not in the state; this plan shows what is left
        The apply of `abc1234` was interrupted: 1 of 3 changes were made, and `x.a` and 1 more were made and not in the state; this plan shows what is left
        ");
    }
}
