//! Which values of a plan are secret: what stands under its masks.

use std::collections::BTreeSet;

use serde_json::Value;

/// Values that a plan marks as sensitive.
#[derive(Default)]
pub(super) struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Takes in what `mask` marks in `value`.
    ///
    /// A mask is `true` where all below it is sensitive, else a map or a list in the
    /// shape of the value, with what is not sensitive left out or `false`.
    pub(super) fn collect(&mut self, value: &Value, mask: &Value) {
        match (mask, value) {
            (Value::Bool(true), value) => self.collect_all(value),
            (Value::Object(masks), Value::Object(values)) => {
                for (key, mask) in masks {
                    if let Some(value) = values.get(key) {
                        self.collect(value, mask);
                    }
                }
            }
            (Value::Array(masks), Value::Array(values)) => {
                for (mask, value) in masks.iter().zip(values) {
                    self.collect(value, mask);
                }
            }
            _ => {}
        }
    }

    /// Takes in every text and number of `value`.
    pub(super) fn collect_all(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                self.0.insert(number.to_string());
            }
            Value::String(text) => {
                self.0.insert(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect_all(item)),
            Value::Object(map) => map.values().for_each(|value| self.collect_all(value)),
        }
    }

    /// Takes in what another one holds.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Gives the values out.
    pub(super) fn into_values(self) -> BTreeSet<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn collected(value: Value, mask: Value) -> Vec<String> {
        let mut secrets = Secrets::default();
        secrets.collect(&value, &mask);
        secrets.into_values().into_iter().collect()
    }

    #[test]
    fn only_what_the_mask_marks_is_collected() {
        let value =
            json!({"a": "public", "b": {"c": ["x", "y"], "d": 7}, "e": [{"f": "z", "g": "w"}]});
        assert_eq!(
            collected(
                value.clone(),
                json!({"b": true, "e": [{"f": true, "g": false}]})
            ),
            ["7", "x", "y", "z"]
        );
        assert!(collected(value, json!({"b": {"c": [false, false]}, "nowhere": true})).is_empty());
    }

    #[test]
    fn a_mask_of_another_shape_than_its_value_is_no_trouble() {
        assert!(collected(json!("text"), json!({"a": true})).is_empty());
        assert!(collected(json!([1]), json!([false, true])).is_empty());
    }
}
