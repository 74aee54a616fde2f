//! What is wrong with the settings, and where.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with the settings.
///
/// It is shown on one line, `workspaces/acme.toml:12:3: unknown key …; did you
/// mean …?`, and holds no value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the folder, that it is about, as the reader reaches it.
    pub file: PathBuf,
    /// The line in the file, from 1.
    pub line: Option<u32>,
    /// The column in the line, in characters from 1.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it. One with an example has several lines.
    pub hint: Option<String>,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing runs with it.
    Error,
    /// It works, and is likely not what is wanted.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(&self.file.display().to_string()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        write!(f, "{}", OneLine(&self.message))?;
        if let Some(hint) = &self.hint {
            f.write_str("; ")?;
            for (number, line) in hint.lines().enumerate() {
                if number > 0 {
                    f.write_str("\n    ")?;
                }
                write!(f, "{}", OneLine(line))?;
            }
        }
        Ok(())
    }
}

/// A text with its control characters escaped: what a file says cannot pass for
/// another line, nor move the cursor of a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// An error with its causes on one line, for a message that people read.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            severity: Severity::Error,
            file: "workspaces/acme.toml".into(),
            line: Some(12),
            column: Some(3),
            message: "unknown key `enviroment`".to_owned(),
            hint: Some("did you mean `environment`?".to_owned()),
        }
    }

    #[test]
    fn a_problem_says_where_what_and_what_to_do() {
        insta::assert_snapshot!(problem(), @"workspaces/acme.toml:12:3: unknown key `enviroment`; did you mean `environment`?");
        let warning = Problem {
            severity: Severity::Warning,
            line: None,
            hint: None,
            ..problem()
        };
        insta::assert_snapshot!(warning, @"workspaces/acme.toml: warning: unknown key `enviroment`");
    }

    #[test]
    fn what_a_file_says_cannot_pass_for_another_line() {
        let forged = Problem {
            message: "unknown key `a\nmainstay.toml: all is well\u{1b}[2J`".to_owned(),
            ..problem()
        };
        let text = forged.to_string();
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));
    }
}
