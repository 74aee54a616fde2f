//! Paths and glob patterns that must stay inside a repository.

use globset::GlobBuilder;

/// A path or a pattern cannot be one inside a repository.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidRepoPath {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// It begins at the root of the disk.
    #[error("`{0}` is absolute; paths are relative and stay inside the repository")]
    Absolute(String),
    /// It climbs out with `..`.
    #[error("`{0}` leaves the repository")]
    Outside(String),
    /// It holds a backslash or a control character.
    #[error(
        "`{0}` holds a backslash or a control character; the parts of a path are parted by `/`"
    )]
    Character(String),
    /// It is a pattern where one folder is meant.
    #[error(
        "`{0}` is a pattern, and a workspace is one folder; use `paths` in `[discover]` for several"
    )]
    Pattern(String),
    /// The pattern is malformed.
    #[error("`{given}` is no valid pattern: {reason}")]
    Glob {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The path from the repository's top to `path` seen from `base`, without `.` and `..`.
///
/// # Errors
///
/// Where it leaves the repository. Symbolic links are not looked at: what is
/// checked out has none that are followed.
pub(super) fn join(base: &str, path: &str) -> Result<String, InvalidRepoPath> {
    if path.starts_with('/') {
        return Err(InvalidRepoPath::Absolute(path.to_owned()));
    }
    if path.chars().any(|c| c == '\\' || c.is_control()) {
        return Err(InvalidRepoPath::Character(path.to_owned()));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(InvalidRepoPath::Outside(path.to_owned()));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The folder of a workspace, from the repository's top; `.` is the top itself.
pub(super) fn folder(path: &str) -> Result<String, InvalidRepoPath> {
    if path.is_empty() {
        return Err(InvalidRepoPath::Empty);
    }
    if path.contains(['*', '?', '[', '{']) {
        return Err(InvalidRepoPath::Pattern(path.to_owned()));
    }
    join("", path)
}

/// A file that a workspace in the folder `base` names, as it was written.
pub(super) fn file(base: &str, path: &str) -> Result<String, InvalidRepoPath> {
    if path.is_empty() {
        return Err(InvalidRepoPath::Empty);
    }
    join(base, path)?;
    Ok(path.to_owned())
}

/// A glob pattern of paths from the repository's top.
pub(super) fn pattern(given: &str) -> Result<String, InvalidRepoPath> {
    if given.is_empty() {
        return Err(InvalidRepoPath::Empty);
    }
    let pattern = join("", given)?;
    if given.split('/').any(|part| part == "..") {
        // `**/..` may be anywhere.
        return Err(InvalidRepoPath::Outside(given.to_owned()));
    }
    glob(&pattern)?;
    Ok(pattern)
}

/// Checks that a glob pattern is well formed.
pub(super) fn glob(given: &str) -> Result<(), InvalidRepoPath> {
    GlobBuilder::new(given)
        .literal_separator(true)
        .build()
        .map(drop)
        .map_err(|error| InvalidRepoPath::Glob {
            given: given.to_owned(),
            reason: error.kind().to_string(),
        })
}

/// Some folder as high up in the repository as any that a pattern matches.
///
/// What stays inside the repository from there does so from all of them.
pub(super) fn highest_match(pattern: &str) -> String {
    // Alternatives may hide a `/`: `{a,b/c}`. Counting none is on the safe side.
    if pattern.contains('{') {
        return String::new();
    }
    let parts = pattern
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | "**"))
        .count();
    vec!["x"; parts].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_stay_inside() {
        for (base, path, joined) in [
            ("", "network", "network"),
            ("", "./stacks//dns/", "stacks/dns"),
            ("", ".", ""),
            ("stacks/dns", "../common.tfvars", "stacks/common.tfvars"),
            ("stacks/dns", "../../x", "x"),
            ("", "a/../b", "b"),
        ] {
            assert_eq!(join(base, path).unwrap(), joined);
        }
        for (base, path) in [
            ("", ".."),
            ("", "a/../../b"),
            ("stacks/dns", "../../../x"),
            ("", "/etc/passwd"),
            ("", "a\\..\\b"),
            ("", "a\0b"),
        ] {
            assert!(join(base, path).is_err(), "{base} {path}");
        }
    }

    #[test]
    fn a_workspace_is_one_folder_and_not_a_pattern() {
        assert_eq!(folder(".").unwrap(), "");
        for bad in ["", "stacks/*", "stacks/{a,b}"] {
            assert!(folder(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_compile_and_stay_inside() {
        assert_eq!(pattern("./shared/**").unwrap(), "shared/**");
        for bad in ["", "/shared/**", "../shared/**", "**/../../x", "a[", "{a"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_highest_match_of_a_pattern_bounds_how_far_up_a_file_may_be() {
        for (pattern, highest) in [
            ("stacks/*", "x/x"),
            ("**", ""),
            ("**/prod", "x"),
            ("{a,b/c}", ""),
        ] {
            assert_eq!(highest_match(pattern), highest, "{pattern}");
        }
    }
}
