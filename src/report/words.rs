//! The words that all renderings share.

use std::time::Duration;

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

/// What the world did to a resource.
pub(super) fn happened(change: &Change) -> &'static str {
    match change.action {
        Action::Create => "has appeared",
        Action::Destroy => "has been deleted",
        _ => "has changed",
    }
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

/// A diagnostic as a block of text.
pub(super) fn diagnostic_text(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    };
    let mut text = format!("{severity}: {}\n", diagnostic.summary);
    if let Some(place) = place(diagnostic) {
        text.push_str(&format!("  at {place}"));
        if let Some(snippet) = &diagnostic.snippet {
            text.push_str(&format!(": {snippet}"));
        }
        text.push('\n');
    }
    if let Some(address) = &diagnostic.address {
        text.push_str(&format!("  in {address}\n"));
    }
    for line in diagnostic.detail.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
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
