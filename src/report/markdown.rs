//! Hostile text in Markdown: it stands in code, or is harmless to begin with.
//!
//! What a plan, a file name or a user name brings passes one of these functions, so
//! that no mention calls anybody, no link or heading is forged, and no fold or fence
//! is closed before its end.

use crate::plan::text::{cut, legible};

/// A code span is cut after this many characters: it names something.
const SPAN_LIMIT: usize = 300;

/// A sentence is cut after this many characters.
const PROSE_LIMIT: usize = 1_000;

/// A link's address of more characters is left out.
const URL_LIMIT: usize = 500;

/// A fence has at least this many backticks.
const SHORTEST_FENCE: usize = 3;

/// A code span that shows `text` as it is, on one line.
pub(super) fn code(text: &str) -> String {
    let text = cut(&legible(text), SPAN_LIMIT);
    if text.is_empty() {
        return "`(empty)`".to_owned();
    }
    let ticks = "`".repeat(longest_run(&text) + 1);
    // One space at each side is taken off again, where both are there.
    let padded = text.starts_with('`')
        || text.ends_with('`')
        || (text.starts_with(' ') && text.ends_with(' '));
    let space = if padded { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// A code span in a cell of a table, where a pipe would end the cell.
///
/// A pipe after a backslash cannot be escaped in a way that all readers of
/// Markdown understand alike, and becomes a broken bar.
pub(super) fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut last = None;
    for c in text.chars() {
        match (last, c) {
            (Some('\\'), '|') => shown.push('¦'),
            (_, '|') => shown.push_str("\\|"),
            (_, c) => shown.push(c),
        }
        last = Some(c);
    }
    code(&shown)
}

/// A sentence of ours with names between backticks. Whatever in it is not plain
/// words and punctuation becomes code.
pub(super) fn prose(text: &str) -> String {
    let text = cut(&legible(text.trim()), PROSE_LIMIT);
    let parts: Vec<&str> = text.split('`').collect();
    // Without a partner for each backtick there is no telling what is code.
    if parts.len().is_multiple_of(2) || begins_a_block(&text) {
        return code(&text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (i, part) in parts.into_iter().enumerate() {
        let is_code = i % 2 == 1;
        if !is_code && is_plain(part) {
            shown.push_str(part);
            continue;
        }
        if part.is_empty() {
            continue;
        }
        // Two spans side by side would run into each other.
        if shown.ends_with('`') {
            shown.push(' ');
        }
        let trimmed = if is_code { part } else { part.trim() };
        let lead = if !is_code && part.starts_with(' ') {
            " "
        } else {
            ""
        };
        let trail = if !is_code && part.ends_with(' ') {
            " "
        } else {
            ""
        };
        shown.push_str(&format!("{lead}{}{trail}", code(trimmed)));
    }
    shown
}

/// A sentence in a cell of a table.
pub(super) fn cell_prose(text: &str) -> String {
    prose(&text.replace('|', "¦"))
}

/// A text inside of HTML, on one line.
pub(super) fn html(text: &str) -> String {
    let text = cut(&legible(text), SPAN_LIMIT);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            // A mention is found in HTML too, where no word of ours has one.
            '@' => shown.push_str("(at)"),
            c => shown.push(c),
        }
    }
    shown
}

/// A link's address as [`file_url`] makes it; of anything else nothing is left.
pub(super) fn link(url: &str) -> String {
    let is_plain = url
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~:/%#".contains(&b));
    let leads_out = url.starts_with("https://") || url.starts_with("http://");
    if is_plain && leads_out {
        url.to_owned()
    } else {
        String::new()
    }
}

/// A fenced block of `text`, its fence longer than any run of backticks in it.
pub(super) fn fence(text: &str, language: &str) -> String {
    let ticks = "`".repeat((longest_run(text) + 1).max(SHORTEST_FENCE));
    let mut block = format!("{ticks}{language}\n");
    for line in text.lines() {
        block.push_str(&legible(line));
        block.push('\n');
    }
    block.push_str(&ticks);
    block
}

/// A link's address to a line of a file at a commit, where all its parts are fit for one.
pub(super) fn file_url(
    web_url: &str,
    commit: &str,
    path: &str,
    line: Option<u32>,
) -> Option<String> {
    let is_address = (web_url.starts_with("https://") || web_url.starts_with("http://"))
        && web_url
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~:/%".contains(&b));
    let climbs = path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !is_address || climbs {
        return None;
    }
    let mut url = format!("{}/blob/{commit}/", web_url.trim_end_matches('/'));
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    if let Some(line) = line {
        url.push_str(&format!("#L{line}"));
    }
    (url.len() <= URL_LIMIT).then_some(url)
}

fn longest_run(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for byte in text.bytes() {
        run = if byte == b'`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// Whether a text has only letters, digits and punctuation that mean nothing in
/// Markdown, and nothing that GitHub would make a link of.
fn is_plain(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.chars()
        .all(|c| c.is_alphanumeric() || " ,.:;'’()!?%/+=-–—…·".contains(c))
        && !["www.", "gh-", "//"]
            .iter()
            .any(|link| lower.contains(link))
}

/// Whether a text at the beginning of a line would be a list, a rule or an underline
/// rather than a sentence.
fn begins_a_block(text: &str) -> bool {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let mut rest = text.chars().skip(digits);
    match rest.next() {
        Some('.' | ')') if digits > 0 => rest.next().is_none_or(|c| c == ' '),
        _ if digits > 0 => false,
        Some(first) => !(first.is_alphabetic() || matches!(first, '`' | '(')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;

    /// What a text is for a reader of Markdown, once the outermost paragraph is taken off.
    fn events(markdown: &str) -> Vec<Event<'_>> {
        Parser::new_ext(markdown, Options::all() - Options::ENABLE_SMART_PUNCTUATION)
            .filter(|event| {
                !matches!(
                    event,
                    Event::Start(Tag::Paragraph) | Event::End(pulldown_cmark::TagEnd::Paragraph)
                )
            })
            .collect()
    }

    #[test]
    fn a_code_span_is_longer_than_the_backticks_in_it() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("`a``b"), "``` `a``b ```");
        assert_eq!(code(""), "`(empty)`");
        assert_eq!(code("a\n# b"), "`a\\n# b`");
    }

    #[test]
    fn a_sentence_keeps_its_words_and_boxes_what_is_not_plain() {
        assert_eq!(
            prose("`engine_version` forces it"),
            "`engine_version` forces it"
        );
        assert_eq!(prose("asked by @someone"), "`asked by @someone`");
        assert_eq!(prose("see `a`<b>`c` now"), "see `a` `<b>` `c` now");
        assert_eq!(prose("an odd ` backtick"), "``an odd ` backtick``");
        assert_eq!(prose("4.1 s"), "4.1 s");
        assert_eq!(prose("1. not a list"), "`1. not a list`");
        assert_eq!(prose("- not a list"), "`- not a list`");
        assert_eq!(prose("go to www.example.com"), "`go to www.example.com`");
        assert_eq!(
            prose("2 of 3 workspaces change"),
            "2 of 3 workspaces change"
        );
    }

    #[test]
    fn a_link_leads_nowhere_but_to_the_repository() {
        let url = |base: &str, path: &str| file_url(base, "abc", path, Some(3));
        assert_eq!(
            url("https://git.example/acme/infra", "net work/)main.tf").unwrap(),
            "https://git.example/acme/infra/blob/abc/net%20work/%29main.tf#L3"
        );
        assert_eq!(url("javascript:alert(1)", "main.tf"), None);
        assert_eq!(url("https://git.example/a) [b](c", "main.tf"), None);
        assert_eq!(url("https://git.example/a", "../../../b/main.tf"), None);
    }

    proptest! {
        #[test]
        fn any_text_in_a_code_span_is_one_code_span(text in "(?s).{0,40}") {
            let span = code(&text);
            let sentence = format!("before {span} after");
            let events = events(&sentence);
            prop_assert_eq!(events.len(), 3, "{:?}", events);
            prop_assert!(matches!(&events[1], Event::Code(_)), "{:?}", events);
        }

        #[test]
        fn any_text_in_a_cell_leaves_the_table_as_it_is(text in "[a|\\\\` <@*-]{0,20}") {
            let table = format!("| a | b |\n|---|---|\n| {} | x |\n", cell(&text));
            let events = events(&table);
            let cells = events.iter().filter(|e| matches!(e, Event::Start(Tag::TableCell))).count();
            prop_assert_eq!(cells, 4, "{:?}", events);
            prop_assert_eq!(events.iter().filter(|e| matches!(e, Event::Code(_))).count(), 1);
        }

        #[test]
        fn any_sentence_is_words_and_code(text in "(?s).{0,40}") {
            let sentence = format!("- {}", prose(&text));
            for event in events(&sentence) {
                match event {
                    Event::Text(words) => prop_assert!(is_plain(&words), "{:?}", words),
                    Event::Code(_) | Event::Start(Tag::List(_) | Tag::Item) | Event::End(_) => {}
                    other => prop_assert!(false, "{:?} in {:?}", other, sentence),
                }
            }
        }

        #[test]
        fn any_text_in_a_fence_is_one_block(text in "(?s)([`~\n <>-]|.){0,60}") {
            let block = format!("{}\n\nafter\n", fence(&text, "diff"));
            let events = events(&block);
            prop_assert!(matches!(events[0], Event::Start(Tag::CodeBlock(_))), "{:?}", events);
            let inside = events.iter().filter(|e| matches!(e, Event::Text(_))).count();
            prop_assert_eq!(events.len(), inside + 2, "{:?}", events);
            prop_assert!(matches!(events.last(), Some(Event::Text(t)) if &**t == "after"));
        }
    }
}
