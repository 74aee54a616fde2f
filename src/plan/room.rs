//! How much of a plan is kept: what is stored, shown and held in memory has a bound, whatever the
//! plan's author made.
//!
//! Counts and fingerprint stay those of the whole plan. Of what is left out it is known how much of
//! it destroys, and which kinds of resources it reaches, so that nothing is judged as smaller than it
//! is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Action, Change, Line, Plan, Sign};

/// Of this many kinds of resources it is said how many are left out; those of further kinds count
/// as the kind without a name.
const KINDS: usize = 200;

/// What a change takes besides its texts when it is written as JSON, in bytes.
const CHANGE_FRAME: usize = 160;

/// The same of a line.
const LINE_FRAME: usize = 48;

/// How much of a plan is kept, in bytes of JSON. Changes and drift each have this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The list of resources: address, action, digest and what else is short.
    pub list: usize,
    /// The lines that show values, of all resources together.
    pub lines: usize,
    /// The lines of one resource.
    pub lines_of_one: usize,
}

impl Room {
    /// What is recorded and told of a run: about 1,100 resources, and more than the largest comment
    /// can show of their values.
    pub const RECORD: Self = Self {
        list: 320 << 10,
        lines: 160 << 10,
        lines_of_one: 64 << 10,
    };

    /// All of it, for who holds it for a moment and in a process of its own.
    pub const ALL: Self = Self {
        list: usize::MAX,
        lines: usize::MAX,
        lines_of_one: usize::MAX,
    };
}

/// What is not kept of a plan, since it was too large.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// So many resources that change are not listed.
    pub changes: usize,
    /// Of these, so many are destroyed.
    pub destroyed: usize,
    /// Of these, so many are replaced.
    pub replaced: usize,
    /// Of these, so many are created, replaced ones among them.
    pub created: usize,
    /// Of these, how many there are of each kind that exist before they change.
    pub existing: BTreeMap<String, usize>,
    /// So many resources that differ from the last state are not listed.
    pub drift: usize,
    /// So many outputs that change are not listed.
    pub outputs: usize,
    /// So many checks that did not pass are not listed.
    pub checks: usize,
}

impl LeftOut {
    /// Whether the plan is listed as a whole.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// How many resources are destroyed or replaced and not listed.
    pub fn losses(&self) -> usize {
        self.destroyed + self.replaced
    }

    fn count(&mut self, change: &Change) {
        self.changes += 1;
        self.destroyed += usize::from(change.action == Action::Destroy);
        self.replaced += usize::from(change.action == Action::Replace);
        let creates = matches!(change.action, Action::Create | Action::Replace);
        self.created += usize::from(creates);
        if change.action.touches_what_exists() {
            let known = self.existing.contains_key(&change.kind) || self.existing.len() < KINDS;
            let kind = if known { change.kind.as_str() } else { "" };
            *self.existing.entry(kind.to_owned()).or_default() += 1;
        }
    }
}

impl Plan {
    /// Keeps of it what has room: first what destroys, then what changes something that exists.
    ///
    /// The order stays, and so do counts and fingerprint.
    #[must_use]
    pub fn within(mut self, room: &Room) -> Self {
        let mut left_out = std::mem::take(&mut self.left_out);
        self.changes = listed(self.changes, room, |change| left_out.count(change));
        self.drift = listed(self.drift, room, |_| left_out.drift += 1);
        let mut rest = room.lines;
        self.outputs.retain_mut(|output| {
            shorten(&mut output.lines, room.lines_of_one);
            let size = output.name.len() + CHANGE_FRAME + size(&output.lines);
            keeps(&mut rest, size, &mut left_out.outputs)
        });
        let mut rest = room.lines;
        self.checks.retain(|check| {
            let said: usize = check.messages.iter().map(String::len).sum();
            let size = check.address.len() + check.status.len() + said + CHANGE_FRAME;
            keeps(&mut rest, size, &mut left_out.checks)
        });
        self.left_out = left_out;
        self
    }
}

fn keeps(rest: &mut usize, size: usize, left_out: &mut usize) -> bool {
    let left = rest.checked_sub(size);
    match left {
        Some(left) => *rest = left,
        None => *left_out += 1,
    }
    left.is_some()
}

/// Those of a list that have room, with as many of their lines as have.
fn listed(mut changes: Vec<Change>, room: &Room, mut drop: impl FnMut(&Change)) -> Vec<Change> {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|&at| weight(changes[at].action));
    let mut kept = vec![false; changes.len()];
    let (mut list, mut lines) = (room.list, room.lines);
    for at in order {
        let change = &mut changes[at];
        let Some(left) = list.checked_sub(frame(change)) else {
            drop(change);
            continue;
        };
        list = left;
        kept[at] = true;
        shorten(&mut change.lines, room.lines_of_one.min(lines));
        lines = lines.saturating_sub(size(&change.lines));
    }
    let mut kept = kept.into_iter();
    changes.retain(|_| kept.next().unwrap_or_default());
    changes
}

/// The lower, the more it has to be kept.
fn weight(action: Action) -> u8 {
    match action {
        Action::Destroy | Action::Replace => 0,
        Action::Update | Action::Forget => 1,
        Action::Create => 2,
        Action::Read | Action::NoOp => 3,
    }
}

/// What a change takes without its lines.
fn frame(change: &Change) -> usize {
    let optional = [&change.previous_address, &change.reason, &change.import_id];
    let texts = optional.into_iter().flatten().map(String::len);
    texts.sum::<usize>()
        + change.address.len()
        + change.kind.len()
        + change.digest.len()
        + CHANGE_FRAME
}

fn size(lines: &[Line]) -> usize {
    lines.iter().map(|line| line.text.len() + LINE_FRAME).sum()
}

/// Keeps the first lines, and says how many are left out.
fn shorten(lines: &mut Vec<Line>, room: usize) {
    if size(lines) <= room {
        return;
    }
    let mut held = 0;
    let fits = lines.iter().take_while(|line| {
        held += line.text.len() + LINE_FRAME;
        held <= room
    });
    let fits = fits.count();
    let left_out = lines.len() - fits;
    lines.truncate(fits);
    lines.push(Line {
        sign: Sign::Same,
        depth: 0,
        text: format!("# ({left_out} lines left out: the plan is too large)"),
    });
    lines.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Counts, OutputChange};

    fn change(number: usize, action: Action, lines: usize) -> Change {
        Change {
            address: format!("terraform_data.a[{number}]"),
            previous_address: None,
            kind: "terraform_data".to_owned(),
            action,
            reason: None,
            import_id: None,
            lines: (0..lines)
                .map(|line| Line {
                    sign: Sign::Add,
                    depth: 1,
                    text: format!("input = \"{line}\""),
                })
                .collect(),
            digest: "d".repeat(64),
        }
    }

    fn plan(actions: impl IntoIterator<Item = Action>) -> Plan {
        let actions = actions.into_iter().enumerate();
        Plan {
            counts: Counts {
                create: 7,
                ..Counts::default()
            },
            changes: actions.map(|(i, action)| change(i, action, 3)).collect(),
            fingerprint: "f".to_owned(),
            ..Plan::default()
        }
    }

    const SMALL: Room = Room {
        list: 1_000,
        lines: 400,
        lines_of_one: 200,
    };

    #[test]
    fn a_plan_that_has_room_is_kept_as_it_is() {
        let plan = plan([Action::Create, Action::Destroy]);
        assert_eq!(plan.clone().within(&Room::RECORD), plan);
        assert_eq!(plan.clone().within(&Room::ALL), plan);
    }

    #[test]
    fn what_destroys_is_kept_first_and_the_rest_is_counted() {
        let actions = [
            Action::Create,
            Action::Update,
            Action::Destroy,
            Action::Replace,
        ];
        let cut = plan(actions.into_iter().cycle().take(40)).within(&SMALL);
        assert!(!cut.changes.is_empty());
        assert!(cut.changes.iter().all(|c| c.action.destroys()), "{cut:?}");
        assert!(cut.changes.is_sorted_by_key(|c| c.address.len()));
        assert_eq!(cut.changes.len() + cut.left_out.changes, 40);
        let losses = cut.changes.len() + cut.left_out.losses();
        assert_eq!(losses, 20);
        let existing = cut.changes.len() + cut.left_out.existing["terraform_data"];
        assert_eq!(existing, 30);
        assert_eq!((cut.counts.create, cut.fingerprint.as_str()), (7, "f"));
    }

    #[test]
    fn what_is_kept_has_a_bound_however_large_the_plan() {
        let mut plan = plan((0..20_000).map(|_| Action::Update));
        plan.drift = plan.changes.clone();
        plan.changes[0].lines = change(0, Action::Update, 100_000).lines;
        plan.outputs = (0..20_000)
            .map(|number| OutputChange {
                name: format!("o{number}"),
                action: Action::Create,
                lines: change(number, Action::Create, 2).lines,
            })
            .collect();
        let cut = plan.within(&Room::RECORD);
        let written = serde_json::to_string(&cut).unwrap().len();
        assert!(written < 3 << 19, "{written}");
        assert!(cut.changes.len() > 800, "{}", cut.changes.len());
        assert_eq!(cut.drift.len() + cut.left_out.drift, 20_000);
        assert_eq!(cut.outputs.len() + cut.left_out.outputs, 20_000);
        let note = &cut.changes[0].lines.last().unwrap().text;
        assert!(note.contains("lines left out"), "{note}");
    }
}
