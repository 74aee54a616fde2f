//! Why a resource changes, in words.

use serde_json::Value;

use super::text::{cut, legible};
use crate::redact::Redactor;

/// How many attributes that force a replacement are named.
const NAMED_PATHS: usize = 3;

/// An attribute's path is cut after this many characters.
const PATH_LIMIT: usize = 80;

/// The words for Terraform's `action_reason` (see its `jsonplan` package), or `None` where there is
/// nothing to add. What comes from the plan stands between backticks, and holds none itself.
pub(super) fn words(
    action_reason: Option<&str>,
    replace_paths: &[Vec<Value>],
    redactor: &Redactor,
) -> Option<String> {
    let words = match action_reason? {
        "replace_because_cannot_update" => return Some(forced_by(replace_paths, redactor)),
        "replace_because_tainted" => "it is marked as tainted: its last creation failed half way",
        "replace_by_request" => "the command asks for it",
        "replace_by_triggers" => "`replace_triggered_by` names something that changes",
        "delete_because_no_resource_config" => "no longer in the configuration",
        "delete_because_no_module" => "its module is no longer in the configuration",
        "delete_because_no_move_target" => {
            "it moves to an address that is not in the configuration"
        }
        "delete_because_wrong_repetition" => {
            "its resource has gained or lost `count` or `for_each`"
        }
        "delete_because_count_index" => "its index is beyond `count`",
        "delete_because_each_key" => "its key is no longer in `for_each`",
        "read_because_config_unknown" => "its arguments are known only after the apply",
        "read_because_dependency_pending" => "it depends on something that changes",
        "read_because_check_nested" => "a check reads it after the apply",
        other => return Some(unknown(other)),
    };
    Some(words.to_owned())
}

/// A reason of a Terraform that is newer than this list, reduced to its words.
fn unknown(reason: &str) -> String {
    let words: String = reason
        .chars()
        .filter(|c| c.is_ascii_lowercase() || *c == '_')
        .take(PATH_LIMIT)
        .collect();
    words.replace('_', " ")
}

fn forced_by(paths: &[Vec<Value>], redactor: &Redactor) -> String {
    let mut names: Vec<String> = paths
        .iter()
        .filter(|path| !path.is_empty())
        .map(|path| format!("`{}`", path_text(path, redactor)))
        .collect();
    names.dedup();
    let more = names.len().saturating_sub(NAMED_PATHS);
    names.truncate(NAMED_PATHS);
    match (names.as_slice(), more) {
        ([], _) => "it cannot be changed in place".to_owned(),
        ([one], _) => format!("{one} forces it"),
        ([rest @ .., last], 0) => format!("{} and {last} force it", rest.join(", ")),
        (all, more) => format!("{} and {more} more force it", all.join(", ")),
    }
}

/// A path as the configuration would write it: `ebs[0].size`, `tags["a b"]`.
fn path_text(path: &[Value], redactor: &Redactor) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Value::String(name) if is_identifier(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            other => text.push_str(&format!("[{other}]")),
        }
    }
    cut(&legible(&redactor.redact(&text)), PATH_LIMIT).replace('`', "'")
}

/// Whether a name needs no quotes in Terraform's language.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(action_reason: &str, paths: Value) -> Option<String> {
        let paths: Vec<Vec<Value>> = serde_json::from_value(paths).unwrap();
        words(
            Some(action_reason),
            &paths,
            &Redactor::new(["swordfish".to_owned()]),
        )
    }

    #[test]
    fn a_forced_replacement_names_what_forces_it() {
        let because = "replace_because_cannot_update";
        assert_eq!(
            reason(because, json!([["engine_version"]])).unwrap(),
            "`engine_version` forces it"
        );
        assert_eq!(
            reason(because, json!([["ebs", 0, "size"], ["tags", "a b"]])).unwrap(),
            "`ebs[0].size` and `tags[\"a b\"]` force it"
        );
        assert_eq!(
            reason(because, json!([["a"], ["b"], ["c"], ["d"], ["e"]])).unwrap(),
            "`a`, `b`, `c` and 2 more force it"
        );
        assert_eq!(
            reason(because, json!([])).unwrap(),
            "it cannot be changed in place"
        );
    }

    #[test]
    fn a_path_can_neither_leave_its_backticks_nor_show_a_secret() {
        let text = reason(
            "replace_because_cannot_update",
            json!([["t", "`@x swordfish\n"]]),
        )
        .unwrap();
        assert_eq!(text, "`t[\"'@x (sensitive)\\n\"]` forces it");
    }

    #[test]
    fn a_reason_that_is_not_known_yet_is_reduced_to_its_words() {
        assert_eq!(
            reason("delete_because_<b>@x_moon_is_full", json!([])).unwrap(),
            "delete because bx moon is full"
        );
        assert_eq!(words(None, &[], &Redactor::default()), None);
    }
}
