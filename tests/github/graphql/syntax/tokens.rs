//! Words, numbers, texts and marks.

use super::{Position, SyntaxError};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Number(String),
    Text(String),
    Mark(&'static str),
    End,
}

const MARKS: [&str; 14] = [
    "...", "{", "}", "(", ")", "[", "]", ":", "=", "!", "$", "@", "|", "&",
];

pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Position)>, SyntaxError> {
    let mut tokens = Vec::new();
    for (row, line) in text.lines().enumerate() {
        let mut rest = line;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',', '\u{feff}', '\r']);
            let column = line.chars().count() - rest.chars().count() + 1;
            let at = Position {
                line: row + 1,
                column,
            };
            let Some(first) = rest.chars().next().filter(|first| *first != '#') else {
                break;
            };
            let (token, length) = if let Some(mark) = MARKS.iter().find(|m| rest.starts_with(**m)) {
                (Token::Mark(mark), mark.len())
            } else if first == '"' {
                text_token(rest, at)?
            } else {
                let is_part =
                    |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                if length == 0 {
                    let message =
                        format!("Parse error on \"{first}\" at [{}, {}]", at.line, at.column);
                    return Err(SyntaxError { message, at });
                } else if first.is_ascii_digit() || first == '-' {
                    (Token::Number(word.to_owned()), length)
                } else {
                    (Token::Name(word.to_owned()), length)
                }
            };
            tokens.push((token, at));
            rest = &rest[length..];
        }
    }
    let line = text.lines().count().max(1);
    tokens.push((Token::End, Position { line, column: 1 }));
    Ok(tokens)
}

/// A string on one line, whose escapes are those of JSON.
fn text_token(rest: &str, at: Position) -> Result<(Token, usize), SyntaxError> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| match c {
        '\\' if !escaped => {
            escaped = true;
            false
        }
        '"' if !escaped => true,
        _ => {
            escaped = false;
            false
        }
    });
    let length = end.map(|(end, _)| end + 1);
    let text = length.and_then(|length| serde_json::from_str(&rest[..length]).ok());
    match (length, text) {
        (Some(length), Some(text)) => Ok((Token::Text(text), length)),
        _ => Err(SyntaxError {
            message: "Expected string or block string".to_owned(),
            at,
        }),
    }
}
