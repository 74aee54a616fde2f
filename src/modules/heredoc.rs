//! Heredocs that may end in one place for the parser and in another for Terraform.
//!
//! Terraform ends a heredoc at a line that is nothing but its marker, whatever Unicode calls a
//! space around it. The parser ends it at a line that begins with the marker, and looks for that
//! from the second line on. Where the two differ, one would take for text what the other takes for
//! configuration.

use std::collections::HashSet;

/// What is wrong with the first line that leaves open where a heredoc ends, and that line, counted
/// from 1; `None` where every end is beyond doubt.
pub(super) fn doubt(text: &str) -> Option<(usize, &'static str)> {
    let mut markers = HashSet::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        match opened(line) {
            Some(marker) if marker.is_ascii() => {
                markers.insert(marker);
            }
            Some(_) => return Some((number, "the marker of a heredoc has unusual letters")),
            None => {}
        }
    }
    if markers.is_empty() {
        return None;
    }
    let mut met = HashSet::new();
    let mut doubt = None;
    // From the end on, so that it is known which markers stand further down.
    let lines: Vec<&str> = text.split('\n').collect();
    for (at, line) in lines.iter().enumerate().rev() {
        let whole = line.trim();
        let begins = line.trim_start_matches([' ', '\t']);
        let begins = &begins[..begins.find(|c| !is_plain(c)).unwrap_or(begins.len())];
        if begins != whole && (markers.contains(begins) || markers.contains(whole)) {
            doubt = Some((at + 1, "a line only begins like the end of a heredoc"));
        }
        // What follows a value that is put in could be taken for the beginning of a line.
        let behind = line.rsplit_once('}').map(|(_, behind)| behind.trim());
        if behind.is_some_and(|behind| markers.contains(behind)) {
            doubt = Some((at + 1, "a line only ends like the end of a heredoc"));
        }
        if markers.contains(whole) {
            let is_first = at > 0 && opened(lines[at - 1]) == Some(whole);
            if !met.insert(whole) && is_first {
                doubt = Some((
                    at + 1,
                    "a heredoc without a line may end here or further down",
                ));
            }
        }
    }
    doubt
}

/// The marker of the heredoc that begins at the end of a line.
fn opened(line: &str) -> Option<&str> {
    let line = line.trim_end();
    let marker = &line[line.rfind("<<")? + 2..];
    let marker = marker.strip_prefix('-').unwrap_or(marker);
    let is_marker = !marker.is_empty() && marker.chars().all(|c| is_plain(c) || !c.is_ascii());
    is_marker.then_some(marker)
}

/// Whether a character may be in a marker that is written plainly.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_only_begins_like_the_end_of_a_heredoc_leaves_it_open_where_that_is() {
        for end in [
            "EOT # x",
            "EOT/**/",
            "  EOT,",
            "\tEOT)",
            "\u{c}EOT",
            "\u{a0}EOT",
            "\rEOT",
            "EOTé",
            "${\"\"}EOT",
        ] {
            for opener in ["<<EOT", "<<-EOT", "[<<EOT", "1<<<EOT"] {
                let text = format!("a = {opener}\n  text\n{end}\nEOT\n");
                assert_eq!(doubt(&text).map(|(line, _)| line), Some(3), "{text:?}");
                let text = text.replace('\n', "\r\n");
                assert_eq!(doubt(&text).map(|(line, _)| line), Some(3), "{text:?}");
            }
        }
    }

    #[test]
    fn a_heredoc_without_a_line_is_in_doubt_only_where_its_marker_stands_again() {
        let empty = "a = <<EOT\nEOT\n";
        assert_eq!(doubt(empty), None);
        let text = format!("{empty}terraform {{}}\nb = <<EOT\nEOT\n");
        assert_eq!(doubt(&text).map(|(line, _)| line), Some(2));
    }

    #[test]
    fn a_marker_of_unusual_letters_is_in_doubt() {
        assert_eq!(doubt("\na = <<É\nx\nÉ\n").map(|(line, _)| line), Some(2));
    }

    #[test]
    fn heredocs_as_people_write_them_are_beyond_doubt() {
        for text in [
            "a = <<EOT\nEOTs are ends, and so is no EOT\n  EOT \nb = 1\n",
            "a = <<-EOF\n  cat <<END | sh\n  x # EOF\n  END-of-it\n  END\n  EOF\n",
            "a = [<<A\n${b} and $${c}\nA\n, <<-B\r\n  x\r\n  B\r\n]\n",
            "a = 1 # EOT\nb = \"<<EOT x\"\nEOT = 2\n",
        ] {
            assert_eq!(doubt(text), None, "{text:?}");
        }
    }
}
