//! Which items of two lists belong together.

use super::node::Node;
use super::sequence::{Step, steps};

/// How items of two lists belong together.
pub(super) enum Pair {
    /// The item stays.
    Same,
    /// The old item at the first index becomes the new one at the second.
    Changed(usize, usize),
    /// The old item goes.
    Removed(usize),
    /// The new item comes.
    Added(usize),
}

/// Matches the items of two lists: those that are equal, and of the others maps with
/// maps and lists with lists, in their order.
pub(super) fn pairs(old: &[Node], new: &[Node]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for step in steps(old, new) {
        match step {
            Step::Keep(_) => {
                settle(old, new, &mut removed, &mut added, &mut pairs);
                pairs.push(Pair::Same);
            }
            Step::Remove(i) => removed.push(i),
            Step::Add(j) => added.push(j),
        }
    }
    settle(old, new, &mut removed, &mut added, &mut pairs);
    pairs
}

fn settle(
    old: &[Node],
    new: &[Node],
    removed: &mut Vec<usize>,
    added: &mut Vec<usize>,
    pairs: &mut Vec<Pair>,
) {
    let mut added = added.drain(..).peekable();
    for i in removed.drain(..) {
        let alike = added.peek().is_some_and(|&j| {
            matches!(
                (&old[i], &new[j]),
                (Node::Map(_), Node::Map(_)) | (Node::List(_), Node::List(_))
            )
        });
        match added.next_if(|_| alike) {
            Some(j) => pairs.push(Pair::Changed(i, j)),
            None => pairs.push(Pair::Removed(i)),
        }
    }
    pairs.extend(added.map(Pair::Added));
}
