//! Changes as blocks of text with `+`, `-` and `~` in the first column.

use super::words::{happened, happening};
use crate::plan::text::legible;
use crate::plan::{Action, Change, Line};

/// So many spaces one level of nesting takes.
const INDENT: usize = 4;

/// The header of a change: a line that begins with `#`, as no line of a value can.
pub(super) fn header(change: &Change) -> String {
    let mut text = format!("# {} {}", change.address, happening(change));
    if let Some(reason) = &change.reason {
        // In a block of code the backticks would show.
        text.push_str(&format!(": {}", reason.replace('`', "")));
    }
    if let Some(before) = &change.previous_address {
        text.push_str(&format!(" (from {before})"));
    }
    if let Some(id) = &change.import_id {
        text.push_str(&format!(" (imported by {id})"));
    }
    legible(&text).into_owned()
}

/// A line with its sign and indentation.
pub(super) fn line(line: &Line) -> String {
    let indent = " ".repeat(INDENT * (usize::from(line.depth) + 1) - 1);
    format!("{}{indent}{}", line.sign.symbol(), legible(&line.text))
}

/// A change as a block that ends in a line break.
pub(super) fn block(change: &Change) -> String {
    with_lines(header(change), change)
}

/// A change that the world made by itself, likewise.
pub(super) fn drift_block(change: &Change) -> String {
    let header = format!("# {} {}", change.address, happened(change));
    with_lines(legible(&header).into_owned(), change)
}

fn with_lines(mut text: String, change: &Change) -> String {
    text.push('\n');
    for part in &change.lines {
        text.push_str(&line(part));
        text.push('\n');
    }
    text
}

/// The lower, the more a change has to be seen.
pub(super) fn rank(action: Action) -> u8 {
    match action {
        Action::Destroy => 0,
        Action::Replace => 1,
        Action::Forget => 2,
        Action::Update => 3,
        Action::Create => 4,
        Action::NoOp => 5,
        Action::Read => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Sign;

    #[test]
    fn a_value_cannot_forge_the_header_of_a_change() {
        let forged = Line {
            sign: Sign::Same,
            depth: 0,
            text: "# aws_db.main will be created".to_owned(),
        };
        assert_eq!(line(&forged), "    # aws_db.main will be created");
    }
}
