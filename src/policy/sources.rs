//! The text of policies, as it was read: what another process of ours compiles them from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, PolicyFiles};

/// The files of policies, with the library that they share.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The policies by name.
    pub(super) policies: BTreeMap<String, PolicyFiles>,
    /// The files that belong to every policy.
    pub(super) library: PolicyFiles,
    /// Names that no policy has, with what to say of each.
    pub(super) unknown: BTreeMap<String, String>,
}

impl Sources {
    pub(super) fn of(folder: &Folder) -> Self {
        let policies = folder.policies.iter();
        Self {
            policies: policies
                .map(|(name, files)| (name.clone(), untested(files)))
                .collect(),
            library: untested(&folder.library),
            unknown: BTreeMap::new(),
        }
    }

    /// Those of these names alone.
    pub(super) fn only(&self, names: &[String]) -> Self {
        let asked = names
            .iter()
            .filter_map(|name| self.policies.get_key_value(name));
        Self {
            policies: asked
                .map(|(name, files)| (name.clone(), files.clone()))
                .collect(),
            library: self.library.clone(),
            unknown: BTreeMap::new(),
        }
    }
}

/// The files without their tests, which judge nothing.
fn untested(files: &PolicyFiles) -> PolicyFiles {
    PolicyFiles {
        tests: Vec::new(),
        ..files.clone()
    }
}
