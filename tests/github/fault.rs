//! What goes wrong on request.

use std::fmt;
use std::time::Duration;

/// A fault that waits for requests.
pub(crate) struct Fault {
    when: When,
    left: usize,
    kind: FaultKind,
}

/// What a closure says of a method, path and body.
type Test = Box<dyn Fn(&str, &str, &[u8]) -> bool + Send>;

/// Which requests a fault is for. Paths are as on `api.github.com`: without `/api/v3`.
pub(crate) enum When {
    /// A method, and a path whose `*` stands for one segment and whose last `**` for any.
    Call(&'static str, &'static str),
    /// What this says of a method, path and body.
    Matches(Test),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// This status, and nothing done.
    Status(u16),
    /// This status, though the thing was done.
    StatusAfterEffect(u16),
    /// The connection is reset, and nothing done.
    ResetBefore,
    /// The connection is reset, though the thing was done.
    ResetAfterEffect,
    /// The thing is done; half of the answer's body comes, then the connection ends.
    CutOffBody,
    /// The answer comes this much later; nothing is done before.
    Stall(Duration),
    /// The thing is done; the answer comes this much later.
    StallAfterEffect(Duration),
    /// The primary rate limit is used up for this long.
    PrimaryLimit { reset_in: Duration },
    /// A secondary rate limit, with or without `Retry-After` in seconds.
    SecondaryLimit { retry_after: Option<u64> },
    /// The same with status 429, as GitHub answers at other times.
    TooMany { retry_after: Option<u64> },
    /// The state before the last change of each repository is shown. Only for reads.
    Stale,
    /// The thing is done twice; the second answer is given.
    Duplicate,
}

impl Fault {
    /// `kind`, for the next `times` requests that `when` is for.
    pub(crate) fn new(when: When, times: usize, kind: FaultKind) -> Self {
        Self {
            when,
            left: times,
            kind,
        }
    }

    /// The first fault that is for this request, used up by one.
    pub(crate) fn take(
        faults: &mut [Self],
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Option<FaultKind> {
        let fault = faults
            .iter_mut()
            .find(|fault| fault.left > 0 && fault.when.matches(method, path, body))?;
        fault.left -= 1;
        Some(fault.kind.clone())
    }

    /// How many more requests it is for.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

impl When {
    /// A closure over method, path and body.
    pub(crate) fn matches_if(test: impl Fn(&str, &str, &[u8]) -> bool + Send + 'static) -> Self {
        Self::Matches(Box::new(test))
    }

    fn matches(&self, method: &str, path: &str, body: &[u8]) -> bool {
        match self {
            Self::Call(wanted, pattern) => {
                (*wanted == "*" || *wanted == method) && path_matches(pattern, path)
            }
            Self::Matches(test) => test(method, path, body),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} times more", self.kind, self.left)
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return true;
        }
        match segments.next() {
            Some(segment) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}
