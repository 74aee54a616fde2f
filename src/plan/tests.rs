//! Plans by the real Terraform, and by hand where Terraform would need a provider.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::redact::Redactor;

const KEY: [u8; 32] = [7; 32];

fn read_value(value: &Value) -> Result<(Plan, Redactor), PlanError> {
    read(value.to_string().as_bytes(), &FingerprintKey::new(KEY))
}

/// A root module of `terraform_data`, planned and applied by the real Terraform.
struct Root {
    dir: TempDir,
}

impl Root {
    fn new(main: &str) -> Self {
        let root = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(root.path("rc"), "").unwrap();
        root.write(main);
        root.terraform(&["init"]);
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, main: &str) {
        fs::write(self.path("main.tf"), main).unwrap();
    }

    fn terraform(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("terraform")
            .args(args)
            .arg("-no-color")
            .current_dir(self.dir.path())
            .env("TF_CLI_CONFIG_FILE", self.path("rc"))
            .env("CHECKPOINT_DISABLE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "terraform {args:?}: {said}");
        output.stdout
    }

    fn apply(&self) {
        self.terraform(&["apply", "-auto-approve"]);
    }

    fn json(&self, args: &[&str]) -> Vec<u8> {
        self.terraform(&[&["plan", "-input=false", "-out=p"], args].concat());
        let mut json = self.terraform(&["show", "-json", "p"]);
        json.retain(|b| *b != b'\n');
        json
    }

    fn plan(&self, args: &[&str]) -> Plan {
        read(self.json(args).as_slice(), &FingerprintKey::new(KEY))
            .unwrap()
            .0
    }
}

/// The plan in a form that reads well in a snapshot.
fn shown(plan: &Plan) -> String {
    let mut text = format!("{:?}\n", plan.counts);
    for change in &plan.changes {
        text += &format!("{:?} {}", change.action, change.address);
        for (word, part) in [
            ("from", &change.previous_address),
            ("importing", &change.import_id),
            ("because", &change.reason),
        ] {
            if let Some(part) = part {
                text += &format!(" ({word} {part})");
            }
        }
        text += "\n";
        text += &lines(&change.lines);
    }
    for output in &plan.outputs {
        text += &format!(
            "{:?} output {}\n{}",
            output.action,
            output.name,
            lines(&output.lines)
        );
    }
    for check in &plan.checks {
        text += &format!("{} {}: {:?}\n", check.address, check.status, check.messages);
    }
    text
}

fn lines(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| {
            let indent = "    ".repeat(usize::from(line.depth) + 1);
            format!("{}{indent}{}\n", line.sign.symbol(), line.text)
        })
        .collect()
}

/// A plan that changes one attribute set of one resource.
fn update(before: Value, after: Value) -> Value {
    json!({
        "format_version": "1.2",
        "terraform_version": "1.11.4",
        "resource_changes": [{
            "address": "aws_thing.a", "mode": "managed", "type": "aws_thing",
            "change": {"actions": ["update"], "before": before, "after": after},
        }],
    })
}

fn update_lines(before: Value, after: Value) -> String {
    lines(&read_value(&update(before, after)).unwrap().0.changes[0].lines)
}

const BEFORE: &str = r#"
variable "token" {
  sensitive = true
  default   = "hunter22-very"
}
resource "terraform_data" "kept" { input = "v1" }
resource "terraform_data" "old_name" { input = "m" }
resource "terraform_data" "gone" { input = "g" }
resource "terraform_data" "forgotten" { input = "f" }
resource "terraform_data" "swap" {
  input            = "s"
  triggers_replace = { v = "1", w = 1 }
}
resource "terraform_data" "nest" {
  input = {
    a   = [1, 2, 3], b = { c = "x", d = "y" }, doc = "one\ntwo\nthree\n"
    pol = jsonencode({ V = 1, L = ["a"], N = null })
  }
}
resource "terraform_data" "secret" { input = { t = var.token, u = "n" } }
output "o" { value = "1" }
output "s" {
  value     = var.token
  sensitive = true
}
"#;

const AFTER: &str = r#"
variable "token" {
  sensitive = true
  default   = "hunter22-vary"
}
resource "terraform_data" "kept" { input = "v2" }
resource "terraform_data" "new_name" { input = "m" }
moved {
  from = terraform_data.old_name
  to   = terraform_data.new_name
}
removed {
  from = terraform_data.forgotten
  lifecycle { destroy = false }
}
import {
  to = terraform_data.imported
  id = "abc"
}
resource "terraform_data" "imported" { input = "i" }
resource "terraform_data" "swap" {
  input            = "s"
  triggers_replace = { v = "2", w = 1 }
}
resource "terraform_data" "nest" {
  input = {
    a   = [1, 4, 3], b = { c = "z", d = "y" }, doc = "one\n2\nthree\n"
    pol = jsonencode({ V = 2, L = ["a"] })
  }
}
resource "terraform_data" "secret" {
  input = { t = var.token, u = nonsensitive(base64encode(var.token)) }
}
resource "terraform_data" "fresh" {
  input = <<EOT
hi `x` @someone
```
-->
EOT
}
output "o" { value = "2" }
output "s" {
  value     = var.token
  sensitive = true
}
check "c" {
  assert {
    condition     = terraform_data.kept.input == "nope"
    error_message = "not `nope` @all"
  }
}
"#;

#[test]
fn a_real_plan_of_every_kind_of_change_reads_like_terraform() {
    let root = Root::new(BEFORE);
    root.apply();
    root.write(AFTER);
    let plan = root.plan(&[]);
    let ids = plan.changes.iter().flat_map(|change| &change.lines);
    let uuid = |text: &str| text.len() > 40 && text.matches('-').count() >= 4;
    let mut text = shown(&plan);
    for line in ids.filter(|line| line.text.starts_with("id") && uuid(&line.text)) {
        let id = line.text.split('"').nth(1).unwrap();
        text = text.replace(id, "ID");
    }
    assert!(
        !text.contains("hunter22") && !text.contains("aHVudGVyMjIt"),
        "{text}"
    );
    assert_snapshot!(text);
    assert_eq!(plan.resources_in_state, 8);
    assert_eq!(plan.destroys().count(), 2);
    assert!(plan.has_changes() && plan.complete && !plan.errored);
}

#[test]
fn a_fingerprint_is_equal_over_reruns_and_folders_and_comments_and_not_over_changes() {
    let root = Root::new(BEFORE);
    let first = root.plan(&[]);
    root.write(&format!("# a comment\n{BEFORE}"));
    let second = root.plan(&["-parallelism=1"]);
    let elsewhere = Root::new(BEFORE).plan(&[]);
    assert_eq!(first, second);
    assert_eq!(first.fingerprint, elsewhere.fingerprint);
    root.write(&BEFORE.replace("\"v1\"", "\"v2\""));
    assert_ne!(first.fingerprint, root.plan(&[]).fingerprint);
}

#[test]
fn a_changed_secret_changes_the_fingerprint_and_is_not_shown() {
    let root = Root::new(BEFORE);
    let first = root.plan(&[]);
    root.write(&BEFORE.replace("hunter22-very", "hunter22-vary"));
    let second = root.plan(&[]);
    assert_ne!(first.fingerprint, second.fingerprint);
    assert_eq!(first.changes.len(), second.changes.len());
    assert!(!serde_json::to_string(&second).unwrap().contains("hunter22"));
}

#[test]
fn another_key_gives_another_fingerprint() {
    let value = update(json!({"a": "1"}), json!({"a": "2"})).to_string();
    let fingerprint = |key: [u8; 32]| {
        read(value.as_bytes(), &FingerprintKey::new(key))
            .unwrap()
            .0
            .fingerprint
    };
    assert_ne!(fingerprint([1; 32]), fingerprint([2; 32]));
}

#[test]
fn a_move_counts_for_the_fingerprint() {
    let plan = |previous: &str| {
        read_value(&json!({
            "format_version": "1.2", "terraform_version": "1.11.4",
            "resource_changes": [{
                "address": "a.b", "previous_address": previous, "mode": "managed", "type": "a",
                "change": {"actions": ["no-op"], "before": {}, "after": {}},
            }],
        }))
        .unwrap()
        .0
    };
    assert_ne!(plan("a.x").fingerprint, plan("a.y").fingerprint);
    assert_eq!(
        plan("a.x").counts,
        Counts {
            moved: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_refresh_only_plan_after_a_clean_apply_has_no_drift() {
    let root = Root::new(BEFORE);
    root.apply();
    assert!(!root.plan(&["-refresh-only"]).has_drift());
    assert!(!root.plan(&[]).has_changes());
}

#[test]
fn a_move_that_is_not_applied_is_no_drift_and_a_changed_output_is() {
    let root = Root::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    root.apply();
    let moved = "resource \"terraform_data\" \"b\" { input = 1 }\n\
         moved {\n  from = terraform_data.a\n  to = terraform_data.b\n}\n";
    root.write(moved);
    assert!(!root.plan(&["-refresh-only"]).has_drift());
    root.write(&format!("{moved}output \"o\" {{ value = 1 }}\n"));
    assert!(root.plan(&["-refresh-only"]).has_drift());
}

#[test]
fn drift_is_a_real_difference_between_world_and_state() {
    let drift = |before: Value, after: Value| {
        let value = json!({
            "format_version": "1.2", "terraform_version": "1.11.4",
            "resource_drift": [{
                "address": "a.b", "mode": "managed", "type": "a",
                "change": {"actions": ["update"], "before": before, "after": after},
            }],
        });
        read_value(&value).unwrap().0.has_drift()
    };
    assert!(drift(json!({"size": 1}), json!({"size": 2})));
    assert!(!drift(json!({"tags": null}), json!({"tags": {}})));
}

#[test]
fn a_plan_that_failed_half_way_says_so() {
    let root = Root::new(
        "resource \"terraform_data\" \"a\" { input = 1 }\n\
         resource \"terraform_data\" \"b\" {\n  lifecycle {\n    precondition {\n      \
         condition     = terraform_data.a.input == 2\n      error_message = \"no\"\n    }\n  }\n}\n",
    );
    let status = Command::new("terraform")
        .args(["plan", "-input=false", "-out=p", "-no-color"])
        .current_dir(root.dir.path())
        .env("TF_CLI_CONFIG_FILE", root.path("rc"))
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap()
        .status;
    assert!(!status.success());
    let json = root.terraform(&["show", "-json", "p"]);
    let (plan, _) = read(json.as_slice(), &FingerprintKey::new(KEY)).unwrap();
    assert!(plan.errored);
    assert_eq!(plan.checks[0].status, "fail");
}

#[test]
fn a_targeted_plan_is_not_complete() {
    let root =
        Root::new("resource \"terraform_data\" \"a\" {}\nresource \"terraform_data\" \"b\" {}\n");
    assert!(!root.plan(&["-target=terraform_data.a"]).complete);
}

#[test]
fn every_pair_of_actions_is_counted() {
    let resource = |address: &str, actions: Value, more: Value| {
        let mut resource = json!({
            "address": address, "mode": "managed", "type": "t",
            "change": {"actions": actions, "before": {"a": 1}, "after": {"a": 2}},
        });
        for (key, value) in more.as_object().unwrap() {
            resource[key] = value.clone();
        }
        resource
    };
    let plan = read_value(&json!({
        "format_version": "1.2", "terraform_version": "1.11.4",
        "resource_changes": [
            resource("t.a", json!(["create"]), json!({})),
            resource("t.b", json!(["delete", "create"]), json!({})),
            resource("t.c", json!(["create", "delete"]), json!({})),
            resource("t.d", json!(["delete"]), json!({"deposed": "1a2b"})),
            resource("t.e", json!(["forget"]), json!({})),
            resource("t.f", json!(["create", "forget"]), json!({})),
            resource("data.t.g", json!(["read"]), json!({"mode": "data"})),
            resource("t.h", json!(["no-op"]), json!({})),
            resource("t.i", json!(["no-op"]), json!({"previous_address": "t.j"})),
        ],
    }))
    .unwrap()
    .0;
    let counts = Counts {
        create: 1,
        update: 0,
        replace: 3,
        destroy: 1,
        import: 0,
        moved: 1,
        forget: 2,
    };
    assert_eq!(plan.counts, counts);
    assert_snapshot!(shown(&plan));
}

#[test]
fn an_action_that_is_not_understood_is_an_error_and_no_zero() {
    let mut value = update(json!({}), json!({}));
    value["resource_changes"][0]["change"]["actions"] = json!(["disintegrate"]);
    assert_snapshot!(
        read_value(&value).unwrap_err(),
        @"the plan does `disintegrate` to `aws_thing.a`, which is not understood: this Terraform is too new"
    );
}

#[test]
fn another_format_is_refused_whatever_its_shape() {
    for value in [
        json!({"format_version": "2.0", "resource_changes": 7}),
        json!({}),
    ] {
        assert!(
            matches!(read_value(&value), Err(PlanError::Format { .. })),
            "{value}"
        );
    }
}

#[test]
fn an_error_quotes_nothing_of_the_plan() {
    let value = json!({"format_version": "1.2", "terraform_version": ["hunter22"]});
    let error = read_value(&value).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter22"));
}

#[test]
fn secrets_of_the_state_and_of_variables_are_masked_wherever_they_turn_up() {
    let mut value = update(
        json!({"a": "x"}),
        json!({"a": "state-secret variable-secret root"}),
    );
    value["prior_state"] = json!({"values": {
        "outputs": {"o": {"sensitive": true, "value": "output-secret"}},
        "root_module": {"child_modules": [{"resources": [
            {"mode": "managed", "values": {"p": "state-secret"}, "sensitive_values": {"p": true}},
            {"mode": "data", "values": {}, "sensitive_values": {}},
        ]}]},
    }});
    value["variables"] = json!({"v": {"value": "variable-secret"}, "w": {"value": "root"}});
    value["configuration"] =
        json!({"root_module": {"variables": {"v": {"sensitive": true}, "w": {}}}});
    let (plan, redactor) = read_value(&value).unwrap();
    assert_eq!(
        plan.changes[0].lines[0].text,
        r#"a = "x" -> "(sensitive) (sensitive) root""#
    );
    assert_eq!(redactor.redact("output-secret"), "(sensitive)");
    assert_eq!(plan.resources_in_state, 1);
}

#[test]
fn secrets_of_the_environment_are_masked_in_the_plan() {
    let value = update(json!({"a": "x"}), json!({"a": "AKIA-SECRET"})).to_string();
    let known = Redactor::new(["AKIA-SECRET".to_owned()]);
    let (plan, _) = read_masked(value.as_bytes(), &FingerprintKey::new(KEY), &known).unwrap();
    assert_eq!(
        plan.changes[0].lines[0].text,
        r#"a = "x" -> (sensitive value)"#
    );
}

#[test]
fn a_secret_that_is_a_json_document_is_not_taken_apart() {
    let secret = r#"{"user":"ab","pin":12}"#;
    let value = update(
        json!({"a": "x", "b": secret}),
        json!({"a": secret, "b": "y"}),
    )
    .to_string();
    let known = Redactor::new([secret.to_owned()]);
    let (plan, _) = read_masked(value.as_bytes(), &FingerprintKey::new(KEY), &known).unwrap();
    assert_snapshot!(lines(&plan.changes[0].lines), @r#"
    ~    a = "x" -> (sensitive value)
    ~    b = (sensitive value) -> "y"
    "#);
}

#[test]
fn a_difference_shows_what_changes_and_counts_what_does_not() {
    assert_snapshot!(update_lines(
        json!({
            "id": "i-1", "name": "web", "size": 1, "same": true, "gone": "x", "zero": [],
            "tags": {"Name": "a", "Team": "net"},
            "ingress": [{"port": 80, "cidr": ["a"]}, {"port": 22, "cidr": ["b"]}],
            "egress": [{"port": 0}],
            "list": ["a", "b", "c"],
            "mixed": "text",
        }),
        json!({
            "id": "i-1", "name": "web", "size": 2, "same": true, "new": {"x": [1]}, "zero": [],
            "tags": {"Name": "b", "Team": "net", "odd key": null, "@everyone": "x"},
            "ingress": [{"port": 443, "cidr": ["a"]}, {"port": 22, "cidr": ["b"]}, {"port": 53}],
            "egress": [{"port": 0}],
            "list": ["a", "c", "d"],
            "mixed": [1],
        }),
    ));
}

#[test]
fn a_text_of_many_lines_shows_the_lines_around_its_change() {
    let before: Vec<String> = (0..40).map(|n| format!("line {n}")).collect();
    let after = before
        .join("\n")
        .replace("line 20", "LINE 20\n\tEOT\u{202e}");
    assert_snapshot!(update_lines(
        json!({"doc": before.join("\n")}),
        json!({"doc": after})
    ));
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    let text = update_lines(json!({"a": "x"}), json!({"a": "y".repeat(5_000)}));
    assert!(text.contains("more characters)"), "{text}");
    assert!(text.len() < 2_200);
}

#[test]
fn a_resource_with_too_many_lines_is_cut_by_whole_attributes() {
    let long: Vec<u32> = (0..500).collect();
    let text = update_lines(json!({}), json!({"a": 1, "long": long, "z": 2}));
    assert_snapshot!(text, @r"
    +    a    = 1
    +    z    = 2
         # (502 lines left out, of: long)
    ");
}

#[test]
fn json_nested_in_json_does_not_exhaust_the_stack() {
    let mut text = "1".to_owned();
    for _ in 0..12 {
        text = format!(
            "{}{}{}",
            "[".repeat(100),
            Value::from(text),
            "]".repeat(100)
        );
    }
    update_lines(json!({"a": "x"}), json!({"a": text}));
}

/// JSON with the names that the reader looks for, in all the wrong places.
fn arbitrary_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("resource_changes"),
        Just("resource_drift"),
        Just("output_changes"),
        Just("checks"),
        Just("prior_state"),
        Just("variables"),
        Just("configuration"),
        Just("address"),
        Just("change"),
        Just("actions"),
        Just("before"),
        Just("after"),
        Just("after_unknown"),
        Just("after_sensitive"),
        Just("replace_paths"),
        Just("importing"),
        Just("values"),
        Just("root_module"),
        Just("x"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!(["update"])),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reader_panic(mut value in arbitrary_json()) {
        if let Some(map) = value.as_object_mut() {
            map.insert("format_version".to_owned(), json!("1.2"));
        }
        let _ = read_value(&value);
        let _ = Diagnostic::from_json(&value);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(bytes.as_slice(), &FingerprintKey::new(KEY)).is_err());
    }

    #[test]
    fn every_line_of_any_difference_is_one_legible_line(
        before in arbitrary_json(), after in arbitrary_json(),
        unknown in arbitrary_json(), sensitive in arbitrary_json(), text in "(?s).{0,40}",
    ) {
        let mut value = update(json!({"v": before, "t": "a\nb"}), json!({"v": after, "t": text}));
        value["resource_changes"][0]["change"]["after_unknown"] = json!({"v": unknown});
        value["resource_changes"][0]["change"]["before_sensitive"] = json!({"v": sensitive});
        let (plan, _) = read_value(&value).unwrap();
        for line in &plan.changes[0].lines {
            prop_assert_eq!(text::legible(&line.text), line.text.as_str());
        }
    }

    #[test]
    fn what_is_marked_sensitive_never_shows(
        secret in "[a-z]{5,12}[0-9]{3}", other in arbitrary_json(),
    ) {
        let mut value = update(
            json!({"p": "x", "q": other}),
            json!({"p": secret, "q": [format!("a {secret}"), {secret.clone(): secret}]}),
        );
        value["resource_changes"][0]["change"]["after_sensitive"] = json!({"p": true});
        let (plan, _) = read_value(&value).unwrap();
        prop_assert!(!serde_json::to_string(&plan).unwrap().contains(&secret));
    }
}
