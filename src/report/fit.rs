//! What fits into a body: the riskiest parts stay, whole resources go.

use std::collections::HashSet;

use super::{ProposalReport, diff};

/// How much of each part a comment may show.
pub(super) struct Budget {
    /// Destroyed and replaced resources outside the folds.
    pub(super) losses: usize,
    /// Rows of the table, and outcomes after a merge.
    pub(super) rows: usize,
    /// Folds.
    pub(super) folds: usize,
    /// Items of every other list.
    pub(super) list: usize,
    /// Characters of messages in one fold.
    pub(super) message_chars: usize,
    /// Lines of outputs.
    pub(super) output_lines: usize,
}

/// Budgets from generous to bare. Even with the longest texts the last one stays
/// below a third of GitHub's limit, since every span and sentence is cut.
pub(super) const BUDGETS: [Budget; 5] = [
    Budget {
        losses: 200,
        rows: 200,
        folds: 100,
        list: 50,
        message_chars: 8_000,
        output_lines: 100,
    },
    Budget {
        losses: 100,
        rows: 100,
        folds: 30,
        list: 20,
        message_chars: 2_000,
        output_lines: 30,
    },
    Budget {
        losses: 50,
        rows: 50,
        folds: 10,
        list: 10,
        message_chars: 800,
        output_lines: 10,
    },
    Budget {
        losses: 25,
        rows: 20,
        folds: 1,
        list: 5,
        message_chars: 400,
        output_lines: 0,
    },
    Budget {
        losses: 5,
        rows: 4,
        folds: 0,
        list: 1,
        message_chars: 0,
        output_lines: 0,
    },
];

/// The changes that are shown in folds: indices of the workspace and of the change in its plan.
#[derive(Default)]
pub(super) struct Picked(HashSet<(usize, usize)>);

impl Picked {
    /// Whether a change is shown.
    pub(super) fn has(&self, workspace: usize, change: usize) -> bool {
        self.0.contains(&(workspace, change))
    }

    /// Picks whole changes, the riskiest first, until `room` characters are full.
    pub(super) fn within(report: &ProposalReport, room: usize) -> Self {
        let mut all: Vec<(u8, usize, usize)> = Vec::new();
        for (w, workspace) in report.workspaces.iter().enumerate() {
            let changes = workspace
                .plan()
                .map(|plan| plan.changes.as_slice())
                .unwrap_or_default();
            all.extend(
                changes
                    .iter()
                    .enumerate()
                    .map(|(c, change)| (diff::rank(change.action), w, c)),
            );
        }
        all.sort_unstable();
        let mut left = room;
        let mut picked = HashSet::new();
        for (_, w, c) in all {
            let Some(plan) = report.workspaces[w].plan() else {
                continue;
            };
            // One more for the empty line between blocks.
            let size = length(&diff::block(&plan.changes[c])) + 1;
            if size <= left {
                left -= size;
                picked.insert((w, c));
            } else if left < SMALLEST_BLOCK {
                break;
            }
        }
        Self(picked)
    }
}

/// No change takes fewer characters than this.
const SMALLEST_BLOCK: usize = 20;

/// The length of a text as a body's limit counts it: in UTF-16 units, which are
/// never fewer than its characters.
pub(super) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}
