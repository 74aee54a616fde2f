//! Names of files that a file system, a terminal or a reader would take for others.

use std::collections::HashMap;

use super::error::SourceError;

/// Bytes that a name may have: what Linux's file systems take (`NAME_MAX`).
const NAME_LIMIT: usize = 255;

/// Refuses paths that could not be told apart, or not be shown as they are.
pub(super) fn check<'p>(paths: impl Iterator<Item = &'p str>) -> Result<(), SourceError> {
    let hostile = |path: &str, reason| SourceError::Hostile {
        path: path.escape_debug().to_string(),
        reason,
    };
    let mut seen: HashMap<String, &str> = HashMap::new();
    for path in paths {
        for name in path.split('/') {
            if name.len() > NAME_LIMIT {
                let reason = "its name has more than 255 bytes, more than a file system takes";
                return Err(hostile(path, reason));
            }
            if name.chars().any(|c| c.is_control() || is_invisible(c)) {
                let reason = "its name has characters that are not seen, so that a reader takes it for another";
                return Err(hostile(path, reason));
            }
        }
        // Folders are compared as well: `A/x` and `a/y` share one where case does not count.
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for part in ends.map(|end| &path[..end]) {
            match seen.get(&folded(part)) {
                Some(other) if *other != part && are_twins(other, part) => {
                    let reason = "another file has the same name but for case or accents, and some file systems take both for one";
                    return Err(hostile(path, reason));
                }
                Some(_) => {}
                None => {
                    seen.insert(folded(part), part);
                }
            }
        }
    }
    Ok(())
}

/// Whether a character is not seen: it joins others, or turns the direction of the text.
///
/// These are the code points that HFS+ leaves out of names, with which git keeps `.git` from being
/// written, and the others of Unicode's format characters that text does not need.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// What a path has in common with those that some file systems take for the same: case does not
/// count, and an accent may be a part of its letter or follow it.
fn folded(path: &str) -> String {
    let mut folded = String::with_capacity(path.len());
    let mut chars = path.chars().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        let mut accents = false;
        while chars.next_if(|next| is_accent(*next)).is_some() {
            accents = true;
        }
        match accents {
            // Which letter it makes is not looked up: any that is no ASCII could be the one.
            true => folded.push('\u{fffd}'),
            false => folded.push(if is_latin_with_accent(c) {
                '\u{fffd}'
            } else {
                c
            }),
        }
    }
    folded
}

/// Whether two paths that fold to the same are the same for some file system: `é` and `è` fold to
/// the same and are not, as long as neither is written as a letter with an accent after it.
fn are_twins(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase() || [one, other].iter().any(|p| p.contains(is_accent))
}

/// Whether a character puts an accent on the letter before it.
fn is_accent(c: char) -> bool {
    ('\u{0300}'..='\u{036f}').contains(&c)
}

/// Whether a letter may be written as an ASCII letter and an accent as well.
fn is_latin_with_accent(c: char) -> bool {
    matches!(c, '\u{00c0}'..='\u{024f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(paths: &[&str]) -> bool {
        check(paths.iter().copied()).is_err()
    }

    #[test]
    fn names_that_differ_in_case_or_in_the_form_of_an_accent_are_refused_together() {
        for pair in [
            ["main.tf", "Main.tf"],
            ["net/a.tf", "Net/b.tf"],
            ["caf\u{e9}.tf", "cafe\u{301}.tf"],
            ["\u{c9}.tf", "e\u{301}.tf"],
        ] {
            assert!(is_refused(&pair), "{pair:?}");
            assert!(!is_refused(&pair[..1]) && !is_refused(&pair[1..]));
        }
        assert!(!is_refused(&[
            "a/main.tf",
            "b/main.tf",
            "a/b",
            "a/c",
            "caf\u{e9}.tf",
            "cafe.tf",
            "caf\u{e8}.tf"
        ]));
    }

    #[test]
    fn names_that_are_not_seen_as_they_are_or_are_too_long_are_refused() {
        for name in [
            "a\u{202e}ft.niam",
            "a\nb",
            "a\u{1b}[2J",
            "x\u{200b}.tf",
            &"a".repeat(256),
        ] {
            assert!(is_refused(&[name]), "{name:?}");
        }
        for name in ["con", "a b.", "\u{65e5}\u{672c}.tf", &"a".repeat(255)] {
            assert!(!is_refused(&[name]), "{name:?}");
        }
    }
}
