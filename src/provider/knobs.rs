//! Trouble on request: delays and failures that a test or a demonstration asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Read,
    Plan,
    Update,
    Delete,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::Create,
        Self::Read,
        Self::Plan,
        Self::Update,
        Self::Delete,
    ];

    /// The operation's name, as it is written in `fail`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Plan => "plan",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A list of failures names something that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no operation; there are create, read, plan, update and delete")]
pub(super) struct UnknownOperation {
    given: String,
}

/// Operations that are to fail, written with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failures(Vec<Operation>);

impl Failures {
    /// Whether `operation` is to fail.
    pub(super) fn include(&self, operation: Operation) -> bool {
        self.0.contains(&operation)
    }
}

impl FromStr for Failures {
    type Err = UnknownOperation;

    fn from_str(list: &str) -> Result<Self, UnknownOperation> {
        let names = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let operation = |name: &str| {
            let found = Operation::ALL
                .into_iter()
                .find(|operation| operation.as_str() == name);
            found.ok_or_else(|| UnknownOperation {
                given: name.to_owned(),
            })
        };
        names.map(operation).collect::<Result<_, _>>().map(Self)
    }
}

/// What a delay does when Terraform asks the provider to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OnStop {
    /// It goes on, and the file changes after it: as most providers do.
    #[default]
    GoOn,
    /// It ends, and the operation fails with nothing done.
    GiveUp,
}

/// What the environment asks for. Terraform hands its environment to its providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Knobs {
    /// `LOCALFS_ROOT`: the folder of relative paths.
    pub(super) root: Option<PathBuf>,
    /// `LOCALFS_DELAY_MS`: the wait before each change.
    pub(super) delay: Option<Duration>,
    /// `LOCALFS_FAIL`: operations that fail for every file.
    pub(super) failures: Failures,
    /// `LOCALFS_HONOUR_STOP=1`: delays end when Terraform is interrupted.
    pub(super) on_stop: OnStop,
}

/// A variable of the environment has a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KnobError {
    /// The delay is no number.
    #[error(
        "the environment variable LOCALFS_DELAY_MS is `{given}`; it must be a whole number of milliseconds"
    )]
    Delay {
        /// What was given.
        given: String,
        /// Why it is none.
        #[source]
        source: std::num::ParseIntError,
    },
    /// The failures name something else.
    #[error("the environment variable LOCALFS_FAIL is wrong")]
    Fail(#[source] UnknownOperation),
    /// The switch is neither on nor off.
    #[error("the environment variable LOCALFS_HONOUR_STOP is `{given}`; it must be 0 or 1")]
    HonourStop {
        /// What was given.
        given: String,
    },
}

impl Knobs {
    /// Reads the knobs; `variable` gives the value of an environment variable.
    /// One that is empty counts as not set.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, KnobError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let delay = match variable("LOCALFS_DELAY_MS") {
            None => None,
            Some(given) => match given.parse() {
                Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
                Err(source) => return Err(KnobError::Delay { given, source }),
            },
        };
        let failures = variable("LOCALFS_FAIL").unwrap_or_default().parse();
        let on_stop = match variable("LOCALFS_HONOUR_STOP").as_deref() {
            None | Some("0") => OnStop::GoOn,
            Some("1") => OnStop::GiveUp,
            Some(given) => {
                return Err(KnobError::HonourStop {
                    given: given.to_owned(),
                });
            }
        };
        Ok(Self {
            root: variable("LOCALFS_ROOT").map(PathBuf::from),
            delay,
            failures: failures.map_err(KnobError::Fail)?,
            on_stop,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knobs(variables: &[(&str, &str)]) -> Result<Knobs, KnobError> {
        Knobs::read(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_asks_for_no_trouble() {
        assert_eq!(knobs(&[]).unwrap(), Knobs::default());
        assert_eq!(
            knobs(&[("LOCALFS_ROOT", ""), ("LOCALFS_DELAY_MS", "")]).unwrap(),
            Knobs::default()
        );
    }

    #[test]
    fn each_variable_is_read() {
        let knobs = knobs(&[
            ("LOCALFS_ROOT", "/srv/world"),
            ("LOCALFS_DELAY_MS", "250"),
            ("LOCALFS_FAIL", "create, delete"),
            ("LOCALFS_HONOUR_STOP", "1"),
        ])
        .unwrap();
        assert_eq!(knobs.root, Some(PathBuf::from("/srv/world")));
        assert_eq!(knobs.delay, Some(Duration::from_millis(250)));
        assert!(knobs.failures.include(Operation::Create));
        assert!(knobs.failures.include(Operation::Delete));
        assert!(!knobs.failures.include(Operation::Update));
        assert_eq!(knobs.on_stop, OnStop::GiveUp);
    }

    #[test]
    fn a_misspelt_failure_is_an_error_and_not_silence() {
        let error = knobs(&[("LOCALFS_FAIL", "creat")]).unwrap_err();
        assert_eq!(
            error,
            KnobError::Fail(UnknownOperation {
                given: "creat".to_owned()
            })
        );
        assert!(knobs(&[("LOCALFS_DELAY_MS", "1s")]).is_err());
        assert!(knobs(&[("LOCALFS_HONOUR_STOP", "yes")]).is_err());
    }
}
