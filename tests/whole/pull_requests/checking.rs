//! The checks before a plan: each with its own result, and none of them stops the plan.

use super::stage::NETWORK;
use crate::scenario::{Scenario, declaration, one_value, workspace};

/// Two that fail and one that only warns, besides what is checked by default.
const CHECKS: &str = r#"
[workspace.checks]
fmt = "fail"

[[workspace.checks.run]]
name = "lint"
command = ["sh", "-c", "echo 'main.tf:2:3: no owner'; echo \"key $LOCALFS_KEY\"; exit 4"]

[[workspace.checks.run]]
name = "advice"
command = ["sh", "-c", "exit 1"]
on_failure = "warn"

[[workspace.checks.run]]
name = "gone"
command = ["no-such-linter"]
"#;

/// Not formatted, valid, and with a test that fails.
const FILES: [(&str, &str); 2] = [
    (
        NETWORK,
        "resource \"terraform_data\" \"value\" {\n    input = \"b\"\n}\n",
    ),
    (
        "network/value.tftest.hcl",
        "run \"it_is_c\" {\n  command = plan\n  assert {\n    condition     = terraform_data.value.input == \"c\"\n    \
         error_message = \"it is not c\"\n  }\n}\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_fail_make_the_status_red_and_the_plan_is_made_all_the_same() {
    let mut s = Scenario::new().await;
    s.set("LOCALFS_KEY", "hunter2-of-the-linter");
    let checked = workspace("network", CHECKS);
    s.declare("acme.toml", &declaration("acme/infra", &checked));
    s.applied(&[(NETWORK, &one_value("a"))]).await;
    let (pull, head) = s.opens("b", &FILES);
    let said = s.status_is(&head, "mainstay/plan", "failure").await;
    assert!(said.ends_with("4 checks failed"), "{said}");
    s.comment_with(pull, "1 to change").await;

    let run = s.run_is("propose", "network", "planned").await;
    let record = rusqlite::Connection::open(s.data_dir().join("mainstay.db")).unwrap();
    let result: String = record
        .query_row(
            "SELECT result FROM runs WHERE id = ?1",
            [run.cast_signed()],
            |row| row.get(0),
        )
        .unwrap();
    assert!(!result.contains("hunter2"), "{result}");
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    let seen: Vec<String> = result["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            let first = &check["diagnostics"][0];
            format!(
                "{} {} {}:{} {}",
                check["name"].as_str().unwrap(),
                check["outcome"]["outcome"].as_str().unwrap(),
                first["file"].as_str().unwrap_or_default(),
                first["line"],
                first["summary"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "fmt failed main.tf:2 not in the canonical format",
            "validate passed :null ",
            "test failed value.tftest.hcl:4 Test assertion failed",
            "lint failed main.tf:2 no owner",
            "advice warned :null ",
            "gone failed :null ",
        ]
    );

    // What is only warned of does not stop a change.
    let told = "checks = { fmt = \"warn\", test = \"warn\" }";
    let told = workspace("network", told);
    s.declare("acme.toml", &declaration("acme/infra", &told));
    let status = s.stop();
    assert!(status.success());
    s.start();
    let mut files = FILES;
    files[0].1 = "resource \"terraform_data\" \"value\" {\n    input = \"d\"\n}\n";
    let head = s.repo.commit("b", &files, "Once more");
    s.status_is(&head, "mainstay/plan", "success").await;
    s.end().await;
}
