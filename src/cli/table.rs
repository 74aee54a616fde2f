//! How lists look: columns that line up, times as people say them.

use std::io::IsTerminal as _;

use comfy_table::{ContentArrangement, Table, presets};

use super::shown;
use crate::clock::{Timestamp, human_duration, now};
use crate::id::ProposalKey;
use crate::plan::text::legible;

/// A title or a message longer than this is cut, in characters.
const CELL: usize = 120;

/// A table under construction.
pub(super) struct Rows(Table);

impl Rows {
    /// A table with these column heads.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(head.to_vec());
        if std::io::stdout().is_terminal() {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(u16::try_from(shown::width()).unwrap_or(u16::MAX));
        } else {
            // A program reads it: one row is one line, however long.
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        Self(table)
    }

    /// One row more.
    pub(super) fn add(&mut self, cells: Vec<String>) {
        self.0.add_row(cells.iter().map(|cell| one_line(cell)));
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prints the table, where it has rows.
    pub(super) fn print(&self) {
        if self.is_empty() {
            return;
        }
        for line in self.0.lines() {
            anstream::println!("{}", line.trim_end());
        }
    }
}

/// A text on one line, without what would move a cursor, cut where it is long.
pub(super) fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(CELL).collect();
    if text.chars().nth(CELL).is_some() {
        line.push('…');
    }
    on_a_line(&line)
}

/// All of a text on one line: an error ends with what to do, and is not cut.
pub(super) fn on_a_line(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // What reorders or hides is no control character.
    legible(&flat).into_owned()
}

/// A commit as people write it; `-` for none.
pub(super) fn short(commit: Option<&str>) -> String {
    commit.map_or_else(|| "-".to_owned(), |sha| sha.chars().take(7).collect())
}

/// A proposal as people write it: `#12`, or the branch's name.
pub(super) fn proposal(key: &ProposalKey) -> String {
    match key {
        ProposalKey::Pull(number) => format!("#{number}"),
        ProposalKey::Branch(branch) => branch.to_string(),
    }
}

/// How long ago something was.
pub(super) fn ago(at: Timestamp) -> String {
    let passed = now() - at;
    match passed.to_std() {
        Ok(passed) if passed.as_secs() > 0 => format!("{} ago", human_duration(passed)),
        // A clock that was set back is no reason to speak of the future.
        _ => "just now".to_owned(),
    }
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_cell_is_one_line_and_says_where_it_is_cut() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a b [2J");
        let long = "x".repeat(CELL + 1);
        assert_eq!(one_line(&long), format!("{}…", &long[1..]));
        assert_eq!(one_line(&long[1..]), &long[1..]);
    }

    #[test]
    fn words_follow_their_number() {
        assert_eq!(counted(1, "repository"), "1 repository");
        assert_eq!(counted(0, "repository"), "0 repositories");
        assert_eq!(counted(2, "warning"), "2 warnings");
    }

    #[test]
    fn what_is_to_come_is_not_said_to_be_past() {
        assert_eq!(ago(now() + TimeDelta::hours(1)), "just now");
        assert_eq!(ago(now() - TimeDelta::minutes(3)), "3 min ago");
    }
}
