//! How single values of a plan are written, with secrets masked.

use serde_json::Value;

use super::node::Node;
use super::reason::is_identifier;
use super::text::{LINE_LIMIT, cut, quoted};
use crate::redact::{MASK, Redactor};

/// What stands for a value that is not known yet.
pub(super) const UNKNOWN: &str = "(known after apply)";

/// What stands for a value that is secret as a whole.
const SENSITIVE: &str = "(sensitive value)";

/// Below this depth JSON in a text is not taken apart any more: documents nested
/// in documents could otherwise go deeper than the stack.
const DOCUMENT_DEPTH: u8 = 48;

/// A text of more bytes is shown by its beginning alone: more than a resource's lines can hold.
const TEXT_LIMIT: usize = 1024 * 1024;

/// How a text is shown.
pub(super) enum Shape {
    /// As the JSON document that it is.
    Document(Node),
    /// Line by line, not made legible yet.
    Lines(Vec<String>),
    /// In quotes, or as a word for what is not shown.
    Quoted(String),
}

/// Writes single values.
pub(super) struct Wording<'r> {
    redactor: &'r Redactor,
}

impl<'r> Wording<'r> {
    pub(super) fn new(redactor: &'r Redactor) -> Self {
        Self { redactor }
    }

    /// `old -> new`; where masking made the two look alike, says only that it changes.
    pub(super) fn arrow(&self, old: &Node, new: &Node) -> String {
        let (old, new) = (self.scalar(old), self.scalar(new));
        match old == new {
            true if old == SENSITIVE => old,
            true => format!("{old} -> {SENSITIVE}"),
            false => format!("{old} -> {new}"),
        }
    }

    /// A value in one piece.
    pub(super) fn scalar(&self, node: &Node) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Unknown => UNKNOWN.to_owned(),
            Node::Hidden(_) => SENSITIVE.to_owned(),
            Node::Literal(literal) => {
                let masked = self.redactor.redact(literal);
                if masked == MASK {
                    SENSITIVE.to_owned()
                } else {
                    masked.into_owned()
                }
            }
            Node::Text(text) => self.quoted(&self.redactor.redact(text)),
            Node::List(items) if items.is_empty() => "[]".to_owned(),
            Node::List(items) => format!("[{} elements]", items.len()),
            Node::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Node::Map(entries) => format!("{{{} attributes}}", entries.len()),
        }
    }

    /// A name of an attribute or a key of a map, which may be as hostile as a value.
    pub(super) fn key(&self, key: &str) -> String {
        let masked = self.redactor.redact(key);
        if is_identifier(&masked) {
            masked.into_owned()
        } else {
            quoted(&masked)
        }
    }

    /// How a text at this depth is best shown. One with a secret in it is never taken
    /// apart, since the pieces of a secret are not masked.
    pub(super) fn shape(&self, text: &str, depth: u8) -> Shape {
        let masked = self.redactor.redact(text);
        if masked == MASK || text.len() > TEXT_LIMIT {
            return Shape::Quoted(self.quoted(&masked));
        }
        if depth < DOCUMENT_DEPTH
            && masked == text
            && text.trim_start().starts_with(['{', '['])
            && let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
        {
            return Shape::Document(Node::document(&value));
        }
        if masked.contains('\n') {
            let text = masked.strip_suffix('\n').unwrap_or(&masked);
            return Shape::Lines(text.split('\n').map(str::to_owned).collect());
        }
        Shape::Quoted(self.quoted(&masked))
    }

    /// The lines of a text with secrets masked.
    pub(super) fn split(&self, text: &str) -> Vec<String> {
        let masked = self.redactor.redact(text);
        let masked = if text.len() > TEXT_LIMIT {
            cut(&masked, LINE_LIMIT)
        } else {
            masked.into()
        };
        masked.split('\n').map(str::to_owned).collect()
    }

    /// Whether two texts cannot be told apart when secrets are masked.
    pub(super) fn look_alike(&self, old: &str, new: &str) -> bool {
        self.redactor.redact(old) == self.redactor.redact(new)
    }

    /// A text whose secrets are masked already, in quotes.
    fn quoted(&self, masked: &str) -> String {
        if masked == MASK {
            SENSITIVE.to_owned()
        } else {
            quoted(&cut(masked, LINE_LIMIT))
        }
    }
}
