//! What is secret leaves in nothing that Mainstay writes.

use std::path::{Path, PathBuf};

use base64::Engine as _;

use super::stage::{NETWORK, resource};
use crate::github::git::Method;
use crate::github::log::Effect;
use crate::scenario::{Scenario, declaration, root, workspace};

/// A value that an attribute is marked with as sensitive.
const ATTRIBUTE: &str = "open-sesame-4711";

/// A value that reaches runs through the environment.
const INJECTED: &str = "correct-horse-battery-0815";

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files
}

/// What the made-up keys of the provider begin with: it marks them as sensitive.
const KEY: &str = "tok-";

/// A value of several lines and with characters that each form writes in its own way.
const KEY_FILE: &str = "first line: <a&b>\nsecond \"line\" ? 100%\nthird/line+of=it";

/// The first of the secrets, as it is or coded, that some text holds.
fn secret_in(text: &[u8]) -> Option<String> {
    let coded = |secret: &str| base64::engine::general_purpose::STANDARD.encode(secret);
    let in_json = |secret: &str| {
        let quoted = serde_json::Value::from(secret).to_string();
        quoted.trim_matches('"').to_owned()
    };
    [ATTRIBUTE, INJECTED, KEY_FILE]
        .into_iter()
        .chain(KEY_FILE.lines())
        .flat_map(|secret| [secret.to_owned(), coded(secret), in_json(secret)])
        // As a URL and Terraform's `jsonencode` write it.
        .chain(["first%20line", "first+line%3A", "u003ca\\u0026b"].map(str::to_owned))
        .chain([KEY.to_owned()])
        .find(|secret| {
            text.windows(secret.len())
                .any(|part| part == secret.as_bytes())
        })
}

/// A root module that does what it can to show its secrets.
fn talkative(size: &str) -> String {
    root(&[
        "variable \"password\" {\n  type = string\n}\n",
        // Not marked as sensitive: that it was injected is all that tells.
        "output \"password\" {\n  value = var.password\n}\n",
        "output \"coded\" {\n  value = base64encode(var.password)\n}\n",
        "variable \"key\" {\n  type = string\n}\n",
        "output \"key\" {\n  value = var.key\n}\n",
        "output \"lines\" {\n  value = reverse(split(\"\\n\", var.key))\n}\n",
        "output \"as_json\" {\n  value = jsonencode({ key = var.key })\n}\n",
        "output \"as_url\" {\n  value = \"https://host/?key=${urlencode(var.key)}\"\n}\n",
        "output \"as_base64\" {\n  value = base64encode(\"user:${var.key}\")\n}\n",
        &resource(
            "subnet",
            &format!("\"10.0.0.0/{size} for ${{var.password}}\""),
            &format!("secret = \"{ATTRIBUTE}\""),
        ),
        "output \"token\" {\n  value = nonsensitive(localfs_file.subnet.token)\n}\n",
        "output \"bare\" {\n  value = nonsensitive(localfs_file.subnet.secret)\n}\n",
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_what_is_posted_logged_or_recorded() {
    let mut s = Scenario::new().await;
    s.set("TF_VAR_password", INJECTED);
    s.set("TF_VAR_key", KEY_FILE);
    let see = "[\"LOCALFS_*\", \"TF_VAR_*\"]";
    let declared = workspace("network", "").replace("[\"LOCALFS_*\"]", see);
    s.declare("acme.toml", &declaration("acme/infra", &declared));
    s.applied(&[(NETWORK, &talkative("24"))]).await;
    let world = s.in_world("subnet.txt").unwrap();
    assert!(world.contains(INJECTED), "the run had the value: {world}");

    let (pull, head) = s.opens("wider", &[(NETWORK, &talkative("16"))]);
    let comment = s.planned(pull, &head).await;
    assert!(comment.contains("10.0.0.0/16"), "{comment}");
    let broken = talkative("8").replace("/8 for", "/8 ${file(var.password)} for");
    let (wrong, bad) = s.opens("broken", &[(NETWORK, &broken)]);
    s.status_is(&bad, "mainstay/plan", "failure").await;
    s.comment_with(wrong, "### Plan failed").await;
    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied").await;
    let elsewhere = format!("not 10.0.0.0/16, and for {INJECTED}");
    std::fs::write(s.world().join("subnet.txt"), elsewhere).unwrap();
    s.run(&["drift", "--workspace", "network"]);
    let issue = s.issue_with("Drift in network", "not 10.0.0.0/16").await;
    assert_eq!(secret_in(issue.body.as_bytes()), None, "{}", issue.body);

    for truth in s.hub.truth() {
        let text = match &truth.effect {
            Effect::CommentCreated { body, .. } | Effect::CommentEdited { body, .. } => body,
            Effect::StatusSet { description, .. } => description,
            Effect::IssueEdited { body, .. } => body,
            _ => continue,
        };
        assert_eq!(secret_in(text.as_bytes()), None, "{text}");
    }
    let mut shown = vec![
        s.run(&["status", "--comments"]).stdout,
        s.run(&["runs", "--format", "json"]).stdout,
    ];
    for run in s.runs() {
        let id = run["id"].to_string();
        for format in ["text", "json", "markdown"] {
            shown.push(s.run(&["run", &id, "--format", format]).stdout);
        }
    }
    for text in shown {
        assert_eq!(secret_in(text.as_bytes()), None, "{text}");
    }
    let data_dir = s.data_dir();
    let record = files_below(&data_dir)
        .into_iter()
        .filter(|f| f.parent() == Some(&data_dir));
    let mut looked_at = 0;
    for file in record {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(secret_in(&bytes), None, "{}", file.display());
        looked_at += usize::from(file.to_string_lossy().contains("mainstay.db"));
    }
    assert!(looked_at > 0, "the record is where it was looked for");
    // What the daemon keeps of runs is sealed, or gone.
    s.wait("everything of the runs to rest", |s| {
        files_below(&s.data_dir())
            .iter()
            .all(|file| {
                !String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default())
                    .contains(INJECTED)
            })
            .then_some(())
    })
    .await;
    assert!(s.state("network").contains(INJECTED));
    assert_eq!(secret_in(s.log().as_bytes()), None, "in the log");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_file_and_no_checkout_is_left_after_a_run() {
    let mut s = Scenario::with_network().await;
    let (pull, head) = s.opens("wider", &[(NETWORK, &super::stage::subnet("10.0.0.0/16"))]);
    s.planned(pull, &head).await;
    let failing = resource("b", "\"b\"", "fail = \"plan\"");
    let (_, bad) = s.opens("broken", &[("network/b.tf", &failing)]);
    s.status_is(&bad, "mainstay/plan", "failure").await;
    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    s.settles().await;
    let kept = files_below(&s.data_dir().join("runs"));
    assert!(!kept.is_empty(), "logs are kept");
    for file in kept {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !["plan", "plan.json"].contains(&name.as_str()),
            "{}",
            file.display()
        );
        // A plan is a zip; in the machine's form it has its state beside it.
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.starts_with(b"PK"), "{}", file.display());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("\"prior_state\""), "{}", file.display());
    }
    assert_eq!(
        files_below(&s.data_dir().join("checkouts")),
        [] as [PathBuf; 0]
    );
    s.end().await;
}
