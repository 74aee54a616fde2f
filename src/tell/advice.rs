//! What a person can do where something cannot be told, or was changed by somebody else.

use crate::store::{Ground, Meddled, Meddling};

/// What to do about something that cannot be told. `target` is where it would stand, as the record
/// names it.
pub fn advice(target: &str, ground: Ground) -> String {
    match ground {
        Ground::Denied => format!(
            "give the token or the App {}; it is tried again by itself, after five minutes at the latest",
            right(target)
        ),
        Ground::Missing => format!(
            "see whether it is still there; where it is, the token or the App lacks {}",
            right(target)
        ),
        Ground::Locked => {
            "unlock the conversation, or let our account push to the repository; the status of the \
                           commit says the same, and `mainstay status --comments` shows the text"
                .to_owned()
        }
        Ground::Archived => archived_advice().to_owned(),
        Ground::Limited => {
            "nothing: what is more urgent goes first, and this follows when there is room"
                .to_owned()
        }
        Ground::Unanswered => {
            "nothing: it is tried again, and looked for before it is written again".to_owned()
        }
        Ground::Refused => {
            "mend what the forge says; it is tried again every five minutes".to_owned()
        }
    }
}

/// What to do about a repository that is archived.
pub fn archived_advice() -> &'static str {
    "unarchive the repository, or take its declaration away"
}

/// The right that it takes to show something, as GitHub names it.
fn right(target: &str) -> &'static str {
    let of = |beginning: &str| target.starts_with(beginning);
    if of("comment ") || of("reactions ") {
        "the permissions `Issues: write` and `Pull requests: write` (`repo` for a classic token)"
    } else if of("issue ") {
        "the permission `Issues: write` (`repo` for a classic token)"
    } else if target.matches(": ").count() > 0 {
        "the App's permission `Checks: write`"
    } else {
        "the permission `Commit statuses: write` (`repo:status` for a classic token)"
    }
}

/// What somebody else did to something that we told, and what came of it.
pub fn meddled_text(meddled: &Meddled) -> &'static str {
    match (meddled.how, meddled.left) {
        (Meddling::Edited, false) => "somebody edited it, and it was brought back to what is true",
        (Meddling::Edited, true) => {
            "somebody edits it again and again: it is left so, and brought back with the next change"
        }
        (Meddling::Deleted, false) => "somebody deleted it, and it was posted anew",
        (Meddling::Deleted, true) => {
            "somebody deleted it again: it is posted anew with the next change, and not before"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_the_kind_of_thing() {
        for (target, right) in [
            ("comment #3", "`Pull requests: write`"),
            ("reactions 12", "`Issues: write`"),
            ("issue drift network", "`Issues: write`"),
            ("status 0123 mainstay/plan", "`Commit statuses: write`"),
            ("status 0123 mainstay/plan: network", "`Checks: write`"),
        ] {
            for ground in [Ground::Denied, Ground::Missing] {
                let advice = advice(target, ground);
                assert!(advice.contains(right), "{target}: {advice}");
            }
        }
    }
}
