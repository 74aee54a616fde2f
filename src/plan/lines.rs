//! Lines of a readable difference in the making.

use super::sequence::{Step, steps};
use super::text::{LINE_LIMIT, cut, legible};
use super::{Line, Sign};

/// A resource is shown in at most about this many lines; whole attributes beyond are left out.
const RESOURCE_LINES: usize = 400;

/// This many lines of a text are shown on each side of one that changes.
const CONTEXT_LINES: usize = 3;

/// The lines of one attribute or block.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// Leaves whole attributes out where there are too many lines, and says which.
pub(super) fn shortened(groups: Vec<Group>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    let mut lines_left_out = 0;
    for Group { name, lines: group } in groups {
        if lines.len() + group.len() <= RESOURCE_LINES {
            lines.extend(group);
        } else {
            lines_left_out += group.len();
            left_out.push(name);
        }
    }
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        let text = format!("# ({lines_left_out} lines left out, of: {names})");
        lines.push(Line {
            sign: Sign::Same,
            depth: 0,
            text: cut(&text, LINE_LIMIT),
        });
    }
    lines
}

pub(super) fn hidden_text(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("# ({count} {what}{plural} hidden)")
}

impl Group {
    pub(super) fn hidden(depth: u8, count: usize, what: &str) -> Self {
        let text = hidden_text(count, what);
        Self {
            name: text.clone(),
            lines: vec![Line {
                sign: Sign::Same,
                depth,
                text,
            }],
        }
    }
}

/// Lines in the making, at a depth.
pub(super) struct Lines {
    pub(super) depth: u8,
    pub(super) lines: Vec<Line>,
}

impl Lines {
    pub(super) fn new(depth: u8) -> Self {
        Self {
            depth,
            lines: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, sign: Sign, text: impl AsRef<str>) {
        self.lines.push(Line {
            sign,
            depth: self.depth,
            text: cut(text.as_ref(), LINE_LIMIT),
        });
    }

    pub(super) fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        self.depth = self.depth.saturating_add(1);
        write(self);
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn groups(&mut self, groups: impl FnOnce(u8) -> Vec<Group>) {
        for group in groups(self.depth.saturating_add(1)) {
            self.lines.extend(group.lines);
        }
    }
}

/// The change of a text line by line, with some lines around each change.
pub(super) fn text_lines(lines: &mut Lines, old: &[String], new: &[String]) {
    let steps = steps(old, new);
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT_LINES);
        let to = (at + CONTEXT_LINES + 1).min(steps.len());
        steps[from..to]
            .iter()
            .any(|step| !matches!(step, Step::Keep(_)))
    };
    let mut hidden = 0;
    for (at, step) in steps.iter().enumerate() {
        if !near(at) {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            lines.push(Sign::Same, hidden_text(hidden, "unchanged line"));
            hidden = 0;
        }
        match *step {
            Step::Keep(i) => lines.push(Sign::Same, legible(&old[i])),
            Step::Remove(i) => lines.push(Sign::Remove, legible(&old[i])),
            Step::Add(j) => lines.push(Sign::Add, legible(&new[j])),
        }
    }
    if hidden > 0 {
        lines.push(Sign::Same, hidden_text(hidden, "unchanged line"));
    }
}
