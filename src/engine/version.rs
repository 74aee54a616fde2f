//! Versions of Terraform, and what a configuration asks of them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version such as `1.11.4` or `1.12.0-beta1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
    /// What stands after a `-`, where the version is not a final one.
    pub prerelease: Option<String>,
}

/// A text was no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: one has two or three numbers, as `1.11.4`")]
pub struct InvalidVersion(pub String);

impl Version {
    /// A final version.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self {
            major,
            minor,
            patch,
            prerelease: None,
        }
    }

    fn numbers(&self) -> [u64; 3] {
        [self.major, self.minor, self.patch]
    }

    /// Whether this version is `other` or comes after it; what stands after a `-` does not count.
    pub(super) fn is_at_least(&self, other: &Self) -> bool {
        self.numbers() >= other.numbers()
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(given: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(given.to_owned());
        let text = given.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _build)| text);
        let (numbers, prerelease) = match text.split_once('-') {
            Some((numbers, rest)) if !rest.is_empty() => (numbers, Some(rest.to_owned())),
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let parts: Vec<u64> = numbers
            .split('.')
            .map(|part| part.parse().map_err(|_| invalid()))
            .collect::<Result<_, _>>()?;
        match parts[..] {
            [major, minor] => Ok(Self {
                major,
                minor,
                patch: 0,
                prerelease,
            }),
            [major, minor, patch] => Ok(Self {
                major,
                minor,
                patch,
                prerelease,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            patch,
            prerelease,
        } = self;
        write!(f, "{major}.{minor}.{patch}")?;
        prerelease
            .as_ref()
            .map_or(Ok(()), |rest| write!(f, "-{rest}"))
    }
}

/// Whether a version fits a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It fits.
    Fits,
    /// It does not.
    Refused,
    /// This cannot be told here; Terraform itself will say it.
    Unknown,
}

/// Whether `version` fits a `required_version` such as `>= 1.5, < 2.0` or `~> 1.9`.
///
/// The rules are those of Terraform's documentation of version constraints.
/// Versions that are not final, and whatever is written unusually, are left to
/// Terraform: [`Fit::Unknown`].
pub fn fit(version: &Version, constraint: &str) -> Fit {
    if version.prerelease.is_some() {
        return Fit::Unknown;
    }
    let mut fit = Fit::Fits;
    for clause in constraint.split(',') {
        match clause_holds(version, clause.trim()) {
            Some(true) => {}
            Some(false) => fit = Fit::Refused,
            None => return Fit::Unknown,
        }
    }
    fit
}

/// Whether one comparison holds; `None` where it is not understood.
fn clause_holds(version: &Version, clause: &str) -> Option<bool> {
    let digits = clause.find(|c: char| c.is_ascii_digit())?;
    let (operator, number) = clause.split_at(digits);
    let parts = number.split('.').count();
    let wanted: Version = match parts {
        // One number alone: `>= 1`.
        1 => format!("{number}.0").parse().ok()?,
        _ => number.parse().ok()?,
    };
    if wanted.prerelease.is_some() {
        return None;
    }
    let order = version.numbers().cmp(&wanted.numbers());
    match operator.trim() {
        "" | "=" => Some(order == Ordering::Equal),
        "!=" => Some(order != Ordering::Equal),
        ">" => Some(order == Ordering::Greater),
        ">=" => Some(order != Ordering::Less),
        "<" => Some(order == Ordering::Less),
        "<=" => Some(order != Ordering::Greater),
        // Only the last number that was written may grow.
        "~>" => match parts {
            2 => Some(order != Ordering::Less && version.major == wanted.major),
            3 => Some(
                order != Ordering::Less
                    && (version.major, version.minor) == (wanted.major, wanted.minor),
            ),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_reads_back_as_it_was_written() {
        for text in ["1.11.4", "0.15.0", "1.12.0-beta1"] {
            assert_eq!(version(text).to_string(), text);
        }
        assert_eq!(version("v1.6"), Version::new(1, 6, 0));
        for bad in ["", "1", "one", "1.2.3.4", "1.2-", "1..2"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_operator_keeps_its_bounds() {
        let now = version("1.11.4");
        for good in [
            "1.11.4",
            "= 1.11.4",
            "!= 1.11.3",
            "> 1.11.3",
            ">= 1.11.4",
            ">=1.5",
            ">= 1",
            "< 1.12",
            "<= 1.11.4",
            "~> 1.9",
            "~> 1.11.0",
            ">= 1.5, < 2.0",
            ">= 1.5.0,< 2.0.0,!= 1.10.0",
        ] {
            assert_eq!(fit(&now, good), Fit::Fits, "{good}");
        }
        for bad in [
            "1.11.3",
            "!= 1.11.4",
            "> 1.11.4",
            ">= 1.12",
            "< 1.11.4",
            "<= 1.11.3",
            "~> 1.12",
            "~> 1.10.0",
            "~> 0.15",
            "~> 1.11.5",
            ">= 1.5, < 1.11",
        ] {
            assert_eq!(fit(&now, bad), Fit::Refused, "{bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_left_to_terraform() {
        let now = version("1.11.4");
        for odd in [
            "",
            "latest",
            "~> 1",
            "=> 1.5",
            ">= 1.5.0-beta1",
            ">= 1.5, ~~ 2",
            "1.2.3.4",
        ] {
            assert_eq!(fit(&now, odd), Fit::Unknown, "{odd}");
        }
        assert_eq!(fit(&version("1.12.0-rc1"), ">= 1.5"), Fit::Unknown);
    }
}
