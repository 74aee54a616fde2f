//! Names and numbers with types of their own, so that no two are mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text was no valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no {kind}: {rule}")]
pub struct InvalidName {
    /// What was given.
    pub given: String,
    /// What it should have named.
    pub kind: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// Makes a string type that is checked once, when it is made.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(given: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(given) {
                    Ok(Self(given.to_owned()))
                } else {
                    Err(InvalidName { given: given.to_owned(), kind: $kind, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(given: String) -> Result<Self, InvalidName> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// An object id of git written in full: 40 lowercase hexadecimal digits.
    CommitSha,
    "commit id",
    "it has 40 lowercase hexadecimal digits",
    |s| s.len() == 40 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

name!(
    /// The id of a tree or a blob in git, written like a [`CommitSha`].
    ObjectId,
    "object id",
    "it has 40 lowercase hexadecimal digits",
    |s| s.len() == 40 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

name!(
    /// The name of a workspace, unique in its repository.
    WorkspaceName,
    "workspace name",
    "it has 1 to 100 letters, digits, `.`, `_`, `-` and `/`, and begins with a letter or digit",
    |s| {
        s.len() <= 100
            && s.starts_with(|c: char| c.is_ascii_alphanumeric())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
            && !s.split('/').any(|part| part.is_empty() || part == ".." || part == ".")
    }
);

name!(
    /// A repository as its declaration names it: `owner/name` on GitHub, else a URL or a path.
    RepoName,
    "repository",
    "it is `owner/name`, a URL or a path, without control characters",
    |s| !s.is_empty() && s.len() <= 1024 && !s.chars().any(char::is_control)
);

name!(
    /// The name of a branch, without `refs/heads/`.
    BranchName,
    "branch name",
    "it follows git's rules for reference names",
    |s| {
        !s.is_empty()
            && s.len() <= 255
            && !s.starts_with(['-', '/', '.'])
            && !s.ends_with(['/', '.'])
            && !s.ends_with(".lock")
            && !s.contains("..")
            && !s.contains("//")
            && !s.contains("@{")
            && !s.chars().any(|c| {
                c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
            })
    }
);

impl CommitSha {
    /// The first seven digits, as people quote a commit.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// Makes a number type.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a run in the store, counted from 1 over all repositories.
    RunId(i64)
);
number!(
    /// The number of an issue or pull request on a forge; both share one sequence.
    IssueNumber(u64)
);
number!(
    /// The forge's id of a comment on an issue or a pull request.
    CommentId(u64)
);

/// What proposes a change: a pull request, or on a plain git remote a branch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProposalKey {
    /// A pull request.
    Pull(IssueNumber),
    /// A branch of a plain git remote.
    Branch(BranchName),
}

impl fmt::Display for ProposalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull(number) => write!(f, "#{number}"),
            Self::Branch(branch) => write!(f, "branch {branch}"),
        }
    }
}

impl FromStr for ProposalKey {
    type Err = InvalidName;

    fn from_str(given: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            given: given.to_owned(),
            kind: "proposal",
            rule: "it is `#` and a number, or `branch ` and a branch name",
        };
        if let Some(number) = given.strip_prefix('#') {
            number
                .parse()
                .map(|n| Self::Pull(IssueNumber(n)))
                .map_err(|_| invalid())
        } else if let Some(branch) = given.strip_prefix("branch ") {
            branch.parse().map(Self::Branch)
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for ProposalKey {
    type Error = InvalidName;

    fn try_from(given: String) -> Result<Self, InvalidName> {
        given.parse()
    }
}

impl From<ProposalKey> for String {
    fn from(key: ProposalKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_id_is_forty_lowercase_digits() {
        assert!(
            "0123456789abcdef0123456789abcdef01234567"
                .parse::<CommitSha>()
                .is_ok()
        );
        for bad in ["", "abc", "0123456789ABCDEF0123456789abcdef01234567"] {
            assert!(bad.parse::<CommitSha>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_workspace_name_cannot_climb_out_of_a_folder() {
        for bad in ["..", "a/../b", "/a", "a//b", "a/", "-a", "a b", "a/./b"] {
            assert!(bad.parse::<WorkspaceName>().is_err(), "{bad}");
        }
        for good in ["network", "stacks/dns", "a.b_c-d"] {
            assert!(good.parse::<WorkspaceName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_branch_name_cannot_be_an_option_or_a_refspec() {
        for bad in ["--upload-pack=x", "a..b", "a:b", "+a b", "a*", "a.lock"] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proposal_reads_back_as_it_was_written() {
        for key in [
            ProposalKey::Pull(IssueNumber(12)),
            ProposalKey::Branch("feature/x".parse().unwrap()),
        ] {
            assert_eq!(key.to_string().parse::<ProposalKey>().unwrap(), key);
        }
    }
}
