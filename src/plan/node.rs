//! A value of a plan with its masks applied: what is unknown and what is sensitive, in place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A value as it may be compared and shown. No `Debug`: it may hold a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing.
    Null,
    /// Known only after the apply.
    Unknown,
    /// Under a sensitive mask: kept to be compared, never shown.
    Hidden(Value),
    /// A number or a truth value as JSON writes it; in a JSON document also `null`.
    Literal(String),
    /// A text.
    Text(String),
    /// A list, a set or a tuple.
    List(Vec<Node>),
    /// A map or an object.
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// Puts a value together with its masks, each `true`, `false` or in the shape of the value.
    pub(super) fn new(value: &Value, unknown: &Value, sensitive: &Value) -> Self {
        if unknown == &Value::Bool(true) {
            return Self::Unknown;
        }
        if sensitive == &Value::Bool(true) && !value.is_null() {
            return Self::Hidden(value.clone());
        }
        match value {
            Value::Object(map) => Self::map(Some(map), unknown, sensitive),
            Value::Null if unknown.is_object() && has_unknown(unknown) => {
                Self::map(None, unknown, sensitive)
            }
            Value::Array(items) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| Self::new(item, at(unknown, i), at(sensitive, i)))
                    .collect(),
            ),
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Literal(truth.to_string()),
            Value::Number(number) => Self::Literal(number.to_string()),
            Value::String(text) => Self::Text(text.clone()),
        }
    }

    /// A JSON document, where null is a value like others.
    pub(super) fn document(value: &Value) -> Self {
        match value {
            Value::Null => Self::Literal("null".to_owned()),
            Value::Array(items) => Self::List(items.iter().map(Self::document).collect()),
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(k, v)| (k.clone(), Self::document(v)))
                    .collect(),
            ),
            scalar => Self::new(scalar, &Value::Null, &Value::Null),
        }
    }

    /// A map, less what is null: Terraform has no difference between null and nothing.
    fn map(
        values: Option<&serde_json::Map<String, Value>>,
        unknown: &Value,
        sensitive: &Value,
    ) -> Self {
        let known = values.into_iter().flat_map(|map| map.keys());
        // Terraform leaves unknown attributes out of the value.
        let unknown_keys = unknown
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, mask)| has_unknown(mask))
            .map(|(key, _)| key);
        let keys: BTreeSet<&String> = known.chain(unknown_keys).collect();
        Self::Map(
            keys.into_iter()
                .filter_map(|key| {
                    let value = values.and_then(|map| map.get(key)).unwrap_or(&Value::Null);
                    let node = Self::new(value, under(unknown, key), under(sensitive, key));
                    (node != Self::Null).then(|| (key.clone(), node))
                })
                .collect(),
        )
    }

    /// The entries of a map; none for anything else.
    pub(super) fn entries(self) -> BTreeMap<String, Node> {
        match self {
            Self::Map(entries) => entries,
            _ => BTreeMap::new(),
        }
    }

    /// Whether it is a list of maps and nothing else, as nested blocks are.
    pub(super) fn as_blocks(&self) -> Option<&[Node]> {
        match self {
            Self::List(items)
                if !items.is_empty() && items.iter().all(|i| matches!(i, Self::Map(_))) =>
            {
                Some(items)
            }
            _ => None,
        }
    }
}

/// Whether two values differ in more than null against empty: providers turn one into the other
/// while refreshing, and nothing in the world has changed.
pub(super) fn really_differ(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().any(|key| {
                really_differ(
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() != b.len() || a.iter().zip(b).any(|(a, b)| really_differ(a, b))
        }
        (a, b) => a != b && !(is_empty(a) && is_empty(b)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        _ => false,
    }
}

fn has_unknown(mask: &Value) -> bool {
    match mask {
        Value::Bool(truth) => *truth,
        Value::Array(items) => items.iter().any(has_unknown),
        Value::Object(map) => map.values().any(has_unknown),
        _ => false,
    }
}

fn at(mask: &Value, index: usize) -> &Value {
    mask.get(index).unwrap_or(&Value::Null)
}

fn under<'m>(mask: &'m Value, key: &str) -> &'m Value {
    mask.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_attribute_is_there_though_the_value_leaves_it_out() {
        let node = Node::new(&json!({"a": 1}), &json!({"id": true, "b": {}}), &json!({}));
        let entries = node.entries();
        assert!(entries["id"] == Node::Unknown);
        assert!(!entries.contains_key("b"));
    }

    #[test]
    fn a_sensitive_value_equals_itself_only() {
        let mask = json!({"p": true});
        let node = |p: &str| Node::new(&json!({"p": p}), &json!({}), &mask);
        assert!(node("x") == node("x"));
        assert!(node("x") != node("y"));
        assert!(node("x") != Node::new(&json!({}), &mask, &mask));
    }

    #[test]
    fn null_against_empty_is_no_real_difference() {
        assert!(!really_differ(
            &json!({"tags": null, "l": []}),
            &json!({"tags": {}, "l": null})
        ));
        assert!(!really_differ(&json!({"b": {"x": null}}), &json!({})));
        assert!(really_differ(
            &json!({"tags": null}),
            &json!({"tags": {"a": "b"}})
        ));
        assert!(really_differ(&json!({"a": ""}), &json!({"a": null})));
        assert!(really_differ(&json!([1]), &json!([1, 2])));
    }
}
