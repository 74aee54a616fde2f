//! The JSON of reports against its schema.

use serde_json::Value;

use super::*;

/// What is wrong with a value by a schema, of the words that our own schema uses.
fn faults(schema: &Value, root: &Value, value: &Value, at: &str) -> Vec<String> {
    const KNOWN: [&str; 14] = [
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "pattern",
    ];
    let mut found = Vec::new();
    for word in schema
        .as_object()
        .into_iter()
        .flatten()
        .map(|(word, _)| word)
    {
        assert!(
            KNOWN.contains(&word.as_str()) || word == "minimum",
            "{word} at {at}"
        );
    }
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#'));
        let target = target.unwrap_or_else(|| panic!("{name} is not in the schema"));
        return faults(target, root, value, at);
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type that is used"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    if let Some(only) = schema.get("const")
        && only != value
    {
        found.push(format!("{at}: {value} is not {only}"));
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let all: Vec<_> = choices.iter().map(|c| faults(c, root, value, at)).collect();
        if all.iter().all(|faults| !faults.is_empty()) {
            found.push(format!("{at}: no choice fits: {all:?}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            found.extend(faults(items, root, value, &format!("{at}/{index}")));
        }
    }
    if let (Some(properties), Some(map)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !map.contains_key(required.as_str().unwrap()) {
                found.push(format!("{at}: {required} is missing"));
            }
        }
        for (name, value) in map {
            match properties.get(name) {
                Some(schema) => found.extend(faults(schema, root, value, &format!("{at}/{name}"))),
                // Programs may meet more than they know; our own schema names all there is.
                None if at.ends_with("/after_merge") => {}
                None => found.push(format!("{at}: {name} is not described")),
            }
        }
    }
    found
}

#[test]
fn every_report_satisfies_its_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut reports = vec![sample(), hostile(NASTY), mixed(), report(Vec::new())];
    let mut conflict = report(Vec::new());
    conflict.conflict = Some(vec!["main.tf".to_owned()]);
    conflict.proposal = None;
    reports.push(conflict);
    let applied = AfterMerge::Applied {
        plan: Box::new(network()),
        commit: sha('b'),
        took: Duration::from_secs(1),
    };
    reports.push(merged(
        mixed(),
        vec![failed_apply(), applied, AfterMerge::NothingToApply],
    ));
    for report in reports {
        let value = json(&report);
        assert_eq!(faults(&schema, &schema, &value, ""), Vec::<String>::new());
        assert_eq!(value["version"], 1);
    }
}

#[test]
fn a_value_that_goes_against_the_schema_is_found() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut value = json(&sample());
    value["workspaces"][0]["progress"] = "nearly".into();
    value["workspaces"][1]["took_ms"] = "6 s".into();
    value.as_object_mut().unwrap().remove("verdict");
    value["more"] = true.into();
    let found = faults(&schema, &schema, &value, "").join("\n");
    for fault in [
        "nearly",
        "6 s",
        "\"verdict\" is missing",
        "more is not described",
    ] {
        assert!(found.contains(fault), "{fault} in {found}");
    }
}
