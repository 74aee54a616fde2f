//! The words that all renderings share.

use std::time::Duration;

use serde::Serialize;

use super::ProposalReport;
use super::markdown::file_url;
use crate::id::CommitSha;
use crate::plan::text::legible;
use crate::plan::{Action, Change, Counts, Diagnostic, Severity};

/// Whether what is told of is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tense {
    /// It would happen: `2 to create`.
    Future,
    /// It happened: `2 created`.
    Past,
}

/// `one thing`, `2 things`: a count with its noun.
pub(super) fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// The counts that are not zero, in words.
pub(super) fn counted(counts: &Counts, tense: Tense) -> Vec<String> {
    let Counts {
        create,
        update,
        replace,
        destroy,
        import,
        moved,
        forget,
    } = *counts;
    let words = [
        (create, "to create", "created"),
        (update, "to change", "changed"),
        (replace, "to replace", "replaced"),
        (destroy, "to destroy", "destroyed"),
        (import, "to import", "imported"),
        (moved, "to move", "moved"),
        (forget, "to forget", "forgotten"),
    ];
    words
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, future, past)| match tense {
            Tense::Future => format!("{count} {future}"),
            Tense::Past => format!("{count} {past}"),
        })
        .collect()
}

/// What happens to a resource, as Terraform's users know it.
pub(super) fn happening(change: &Change) -> &'static str {
    match change.action {
        Action::Create => "will be created",
        Action::Read => "will be read during the apply",
        Action::Update => "will be changed in place",
        Action::Replace => "must be replaced",
        Action::Destroy => "will be destroyed",
        Action::Forget => "will be forgotten",
        Action::NoOp if change.import_id.is_some() => "will be imported",
        Action::NoOp => "has moved",
    }
}

/// What a resource is once its change is done.
pub(super) fn outcome_word(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Read => "read",
        Action::Update => "changed",
        Action::Replace => "replaced",
        Action::Destroy => "destroyed",
        Action::Forget => "forgotten",
        Action::NoOp => "moved or imported",
    }
}

/// What the world did to a resource.
pub(super) fn happened(change: &Change) -> &'static str {
    match change.action {
        Action::Create => "has appeared",
        Action::Destroy => "has been deleted",
        _ => "has changed",
    }
}

/// The first items, and how many there are besides.
pub(super) fn cut_off<T>(mut items: Vec<T>, limit: usize) -> (Vec<T>, usize) {
    let more = items.len().saturating_sub(limit);
    items.truncate(limit);
    (items, more)
}

/// A list of names that ends where it becomes tiresome.
pub(super) fn listed(names: &[String], limit: usize) -> String {
    if names.len() <= limit {
        return names.join(", ");
    }
    format!(
        "{} and {} more",
        names[..limit].join(", "),
        names.len() - limit
    )
}

/// How long something took: `4.1 s`, `2 min 5 s`.
pub(super) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Where a diagnostic is, `network/main.tf:12`.
pub(super) fn place(diagnostic: &Diagnostic) -> Option<String> {
    let file = diagnostic.file.as_ref()?;
    Some(match diagnostic.line {
        Some(line) => format!("{file}:{line}"),
        None => file.clone(),
    })
}

/// A place in a file, with the way to it.
#[derive(Serialize)]
pub(super) struct Place {
    /// The file as it was named, and the line.
    pub(super) text: String,
    /// The line at the commit, where the forge shows files.
    pub(super) url: Option<String>,
}

/// Where a diagnostic is that was given in the folder `path`, at `commit`.
pub(super) fn place_of(
    report: &ProposalReport,
    path: &str,
    commit: &CommitSha,
    diagnostic: &Diagnostic,
) -> Option<Place> {
    let file = in_repository(path, diagnostic.file.as_ref()?);
    let link = |url: &String| file_url(url, commit.as_str(), &file, diagnostic.line);
    Some(Place {
        text: place(diagnostic)?,
        url: report.web_url.as_ref().and_then(link),
    })
}

/// A file that Terraform names is relative to the folder that it ran in.
fn in_repository(path: &str, file: &str) -> String {
    match path.trim_matches('/') {
        "" => file.to_owned(),
        path => format!("{path}/{file}"),
    }
}

/// A diagnostic as a block of text.
pub(super) fn diagnostic_text(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    };
    let mut text = format!("{severity}: {}\n", legible(&diagnostic.summary));
    if let Some(place) = place(diagnostic) {
        text.push_str(&format!("  at {}", legible(&place)));
        if let Some(snippet) = &diagnostic.snippet {
            text.push_str(&format!(": {}", legible(snippet)));
        }
        text.push('\n');
    }
    if let Some(address) = &diagnostic.address {
        text.push_str(&format!("  in {}\n", legible(address)));
    }
    push_indented(&mut text, &diagnostic.detail);
    text
}

/// The end of a process's output as a block of text. Set in, so that no line of it is
/// taken for one of ours.
pub(super) fn tail_text(tail: &str) -> String {
    let mut text = "The end of the output:\n".to_owned();
    push_indented(&mut text, tail.trim_end());
    text
}

/// A block of text with each line set in.
pub(super) fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}\n")).collect()
}

fn push_indented(text: &mut String, more: &str) {
    for line in more.lines() {
        text.push_str(&format!("  {}\n", legible(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(took(Duration::from_millis(4_130)), "4.1 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(took(Duration::from_secs(7_300)), "2 h 1 min");
    }

    #[test]
    fn a_long_list_says_how_much_it_leaves_out() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(listed(&names, 3), "a, b, c");
        assert_eq!(listed(&names, 2), "a, b and 1 more");
    }
}
