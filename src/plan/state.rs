//! The prior state inside a plan's JSON: how much there is, and what of it is secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::secrets::Secrets;

/// What is kept of a prior state. No resource outlives its own reading.
#[derive(Default)]
pub(super) struct PriorState {
    /// How many managed resources it holds.
    pub(super) resources: usize,
    /// What it marks as sensitive.
    pub(super) secrets: Secrets,
}

impl<'de> Deserialize<'de> for PriorState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let state = State::deserialize(deserializer)?;
        let Some(values) = state.values else {
            return Ok(Self::default());
        };
        let Resources { count, mut secrets } = values.root_module.unwrap_or_default().total();
        for output in values.outputs.unwrap_or_default().into_values() {
            if output.sensitive {
                secrets.collect_all(&output.value);
            }
        }
        Ok(Self {
            resources: count,
            secrets,
        })
    }
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    values: Option<StateValues>,
}

#[derive(Deserialize)]
struct StateValues {
    #[serde(default)]
    outputs: Option<BTreeMap<String, Output>>,
    #[serde(default)]
    root_module: Option<Module>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    sensitive: bool,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize, Default)]
struct Module {
    #[serde(default)]
    resources: Option<Resources>,
    #[serde(default)]
    child_modules: Option<Vec<Module>>,
}

impl Module {
    fn total(self) -> Resources {
        let mut total = self.resources.unwrap_or_default();
        for child in self.child_modules.unwrap_or_default() {
            let child = child.total();
            total.count += child.count;
            total.secrets.extend(child.secrets);
        }
        total
    }
}

#[derive(Default)]
struct Resources {
    count: usize,
    secrets: Secrets,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    values: Value,
    #[serde(default)]
    sensitive_values: Value,
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ResourcesVisitor;

        impl<'de> Visitor<'de> for ResourcesVisitor {
            type Value = Resources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of resources")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Resources, A::Error> {
                let mut resources = Resources::default();
                while let Some(resource) = seq.next_element::<Resource>()? {
                    if resource.mode.as_deref() != Some("data") {
                        resources.count += 1;
                    }
                    resources
                        .secrets
                        .collect(&resource.values, &resource.sensitive_values);
                }
                Ok(resources)
            }
        }

        deserializer.deserialize_seq(ResourcesVisitor)
    }
}
