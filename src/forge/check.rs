//! A check run: what a forge shows of one workspace beside the statuses of a commit.

use serde::{Deserialize, Serialize};

/// GitHub takes a title, a summary and a text of at most so many characters each.
pub const CHECK_TEXT_LIMIT: usize = 65_535;

/// A check run on a commit, found again by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRun {
    /// Its name: `mainstay/plan: network`.
    pub name: String,
    /// How it stands.
    pub state: CheckState,
    /// What it says, in one line of plain text.
    pub title: String,
    /// What it is about, in a sentence of Markdown.
    pub summary: String,
    /// All of it, in Markdown of at most [`CHECK_TEXT_LIMIT`] characters.
    pub text: String,
    /// What is said of single lines of the commit's files.
    pub annotations: Vec<Annotation>,
}

/// How a check run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Not decided yet.
    InProgress,
    /// Good.
    Success,
    /// Not good.
    Failure,
    /// Somebody has to do something before it can be decided.
    ActionRequired,
    /// It is of no concern any more, and was not decided.
    Neutral,
}

/// What is said of one line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The file, from the top of the repository.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// How grave it is.
    pub level: AnnotationLevel,
    /// What it is, in one line.
    pub title: String,
    /// All that is said.
    pub message: String,
}

/// How grave an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationLevel {
    /// The reader is told.
    Warning,
    /// The check failed with it.
    Failure,
}

/// Whether a forge shows check runs to these credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowsChecks {
    /// It does: on GitHub, to an App.
    Yes,
    /// It does not.
    No,
}
