//! What must be masked in what comes of a run after its plan was read.

use serde::{Deserialize, Serialize};

use crate::redact::Redactor;

/// With more bytes of secrets than this all text is masked: what looks for them takes some hundred
/// times as much memory.
const MOST: usize = 16 << 10;

/// What must be masked in what comes of a run after its plan was read.
#[derive(Clone, Serialize, Deserialize)]
pub enum Masks {
    /// These values.
    Values(Vec<String>),
    /// All text: there are more secrets than the daemon should hold.
    Everything,
}

impl Masks {
    /// What `redactor` masks, as far as it may be held.
    pub fn of(redactor: &Redactor) -> Self {
        let values: Vec<String> = redactor.values().map(str::to_owned).collect();
        let bytes: usize = values.iter().map(String::len).sum();
        if bytes > MOST {
            Self::Everything
        } else {
            Self::Values(values)
        }
    }

    /// What masks them. It takes much memory, and is made where there is something to mask.
    pub fn redactor(&self) -> Redactor {
        match self {
            Self::Values(values) => Redactor::new(values.iter().cloned()),
            Self::Everything => Redactor::everything(),
        }
    }
}

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Values(values) => write!(f, "Masks({} values)", values.len()),
            Self::Everything => f.write_str("Masks(everything)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_more_secrets_than_can_be_held_nothing_is_let_through() {
        let many = (0..2_000).map(|number| format!("secret-{number}"));
        let masks = Masks::of(&Redactor::new(many));
        assert_eq!(masks.redactor().redact("plain"), "(sensitive)");
        let joined = masks.redactor().and(["another".to_owned()]);
        assert_eq!(joined.redact("plain"), "(sensitive)");
    }

    #[test]
    fn masks_do_not_print_what_they_mask() {
        let masks = Masks::of(&Redactor::new(["hunter2".to_owned()]));
        assert_eq!(format!("{masks:?}"), "Masks(1 values)");
    }
}
