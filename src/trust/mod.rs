//! What of a repository's code is refused before Terraform starts.
//!
//! Nothing here touches a disk or runs anything: [`refusals`] is a function of the tree that is to
//! be planned, of the base's tree and of the declaration. What is refused is what would have
//! Terraform run or fetch something that nobody allowed, or keep the state somewhere else: a plan
//! runs code, and which code that is must not be for a proposal alone to say.

mod configuration;
mod files;

use std::fmt;

use crate::modules::{Resolved, Tree, TreeError};
use crate::workspace::Rule;

/// What a tree is held against.
#[derive(Clone, Copy)]
pub enum Base<'t> {
    /// The tree of the base branch, which a proposal would change.
    Tree(&'t dyn Tree),
    /// The tree is on the base branch itself: there is nothing that it could change by itself.
    Itself,
}

/// Something that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that it breaks.
    pub rule: Rule,
    /// The file, by its path in the tree.
    pub file: String,
    /// The line in it, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is there, and why it is refused.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// What to do, with the setting that would let it pass.
    pub fn advice(&self) -> String {
        format!(
            "{}, or loosen the rule with `loosen = [\"{}\"]` in the workspace's declaration",
            self.remedy, self.rule
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {} (rule `{}`)", self.what, self.rule)
    }
}

/// Everything of a workspace's files in `tree` that its declaration does not trust, by file and
/// line; a rule that it loosens refuses nothing.
///
/// # Errors
///
/// Where a file cannot be read.
pub fn refusals(
    tree: &dyn Tree,
    resolved: &Resolved,
    base: Base<'_>,
) -> Result<Vec<Refusal>, TreeError> {
    let mut found = files::refused(tree, resolved)?;
    found.extend(configuration::refused(tree, resolved, base)?);
    let trust = &resolved.workspace.settings.trust;
    found.retain(|refusal| trust.holds(refusal.rule));
    found.sort_by(|a, b| {
        (&a.file, a.line, a.rule, &a.what).cmp(&(&b.file, b.line, b.rule, &b.what))
    });
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests;
