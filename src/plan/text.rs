//! Text from plans made legible: what could forge, hide or reorder is shown as an escape.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A line of more characters is cut: what is longer is data, not reading matter.
pub const LINE_LIMIT: usize = 2_000;

/// Shows a text on one line: line breaks as `\n`, and every character that could
/// move the cursor, reorder, hide or break the line as an escape (`\u202e`).
pub fn legible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_treacherous(c) {
            push_escape(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Shows a text of several lines, each as [`legible`] shows it and none longer than [`LINE_LIMIT`].
///
/// Carriage returns before a line break are dropped, as every terminal does.
pub fn legible_lines(text: &str) -> Vec<String> {
    text.trim_end()
        .lines()
        .map(|line| cut(&legible(line), LINE_LIMIT))
        .collect()
}

/// Shows a text as Terraform writes a string, in quotes on one line.
pub fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for c in text.chars() {
        match c {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            c if is_treacherous(c) => push_escape(&mut shown, c),
            c => shown.push(c),
        }
    }
    shown.push('"');
    shown
}

/// Cuts a text after `limit` characters, and says how many are left out.
pub fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => {
            let left_out = text[end..].chars().count();
            format!("{}… ({left_out} more characters)", &text[..end])
        }
    }
}

/// Whether a character shown as it is would not stay within its place on the line,
/// or would not be seen.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, Arabic letter mark, Hangul fillers, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}'
            // Zero-width characters, direction marks, line and paragraph separators, embeddings.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates, and what is deprecated beside them.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark and interlinear annotations.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags and the variation selectors that can carry a hidden text.
            | '\u{e0000}'..='\u{e0fff}')
}

fn push_escape(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        c if u32::from(c) > 0xffff => {
            write!(shown, "\\U{:08x}", u32::from(c)).expect("writing to a string cannot fail");
        }
        c => write!(shown, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_codes_and_bidi_characters_are_made_visible() {
        assert_eq!(
            legible("a\x1b[31mb\u{202e}c\u{200b}d\u{2028}e\rf"),
            "a\\u001b[31mb\\u202ec\\u200bd\\u2028e\\rf"
        );
        assert_eq!(legible("x\u{e0041}"), "x\\U000e0041");
        assert_eq!(legible("plain ünïcode 🚀"), "plain ünïcode 🚀");
    }

    #[test]
    fn a_quoted_text_cannot_end_its_quotes() {
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\n""#);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(cut("ééééé", 2), "éé… (3 more characters)");
        assert_eq!(cut("éé", 2), "éé");
    }
}
