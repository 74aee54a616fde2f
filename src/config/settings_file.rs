//! A file of settings with the problems found in it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::Document;

use super::problem::{Problem, Severity};
use super::reader::TableReader;

/// A value with the place that it stands at, in bytes of its file.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) at: Option<Range<usize>>,
}

/// A file of settings while it is read, with the problems found so far.
#[derive(Debug)]
pub(super) struct SettingsFile {
    /// The file as the reader of a problem reaches it.
    path: PathBuf,
    /// Its text; empty where it was no text.
    text: String,
    /// What it says; `None` where it is no TOML.
    document: Option<Document<String>>,
    problems: RefCell<Vec<Problem>>,
}

/// A place in a file of settings, shown as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    line: Option<u32>,
    column: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

impl SettingsFile {
    /// Takes the bytes of a file apart. What is no TOML is one problem.
    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            text: String::new(),
            document: None,
            problems: RefCell::default(),
        };
        match String::from_utf8(bytes) {
            Ok(text) => file.text = text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                // Only the part before the fault is needed: it gives the fault's line.
                file.text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                file.error(
                    Some(valid..valid),
                    "the file is no text in UTF-8 here",
                    None,
                );
                return file;
            }
        }
        match Document::parse(file.text.clone()) {
            Ok(document) => file.document = Some(document),
            Err(error) => file.error(
                error.span(),
                format!("the file is no valid TOML: {}", error.message()),
                None,
            ),
        }
        file
    }

    /// A file, or a folder, of which only one thing is known: an error.
    pub(super) fn wrong(path: &Path, message: String, hint: Option<String>) -> Self {
        let file = Self {
            path: path.to_owned(),
            text: String::new(),
            document: None,
            problems: RefCell::default(),
        };
        file.error(None, message, hint);
        file
    }

    /// Whether there is TOML to read.
    pub(super) fn is_toml(&self) -> bool {
        self.document.is_some()
    }

    /// The file's path, as the reader of a problem reaches it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The top of the file, or `None` where it is no TOML.
    pub(super) fn top(&self) -> Option<TableReader<'_>> {
        let document = self.document.as_ref()?;
        Some(TableReader::top(self, document.as_table()))
    }

    /// A text at the top of the file, where it is one; nothing is noted where it is not.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        self.document.as_ref()?.get(key)?.as_str()
    }

    /// Notes an error.
    pub(super) fn error(
        &self,
        at: Option<Range<usize>>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.note(Severity::Error, at, message.into(), hint);
    }

    /// Notes a warning.
    pub(super) fn warning(
        &self,
        at: Option<Range<usize>>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.note(Severity::Warning, at, message.into(), hint);
    }

    fn note(
        &self,
        severity: Severity,
        at: Option<Range<usize>>,
        message: String,
        hint: Option<String>,
    ) {
        let Place { path, line, column } = self.place(at);
        self.problems.borrow_mut().push(Problem {
            severity,
            file: path,
            line,
            column,
            message,
            hint,
        });
    }

    /// Where `at` is, as people count: lines, and columns in characters, from 1.
    pub(super) fn place(&self, at: Option<Range<usize>>) -> Place {
        let (line, column) = match at {
            None => (None, None),
            Some(at) => {
                let before = self.text.as_bytes();
                let before = &before[..at.start.min(before.len())];
                let line_start = before
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |n| n + 1);
                let line = before[..line_start].iter().filter(|b| **b == b'\n').count() + 1;
                let column = String::from_utf8_lossy(&before[line_start..])
                    .chars()
                    .count()
                    + 1;
                (u32::try_from(line).ok(), u32::try_from(column).ok())
            }
        };
        Place {
            path: self.path.clone(),
            line,
            column,
        }
    }

    /// Whether something was noted that forbids to use the file.
    pub(super) fn has_errors(&self) -> bool {
        self.problems
            .borrow()
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// What was noted, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}
