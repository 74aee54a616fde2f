//! Credentials that a command prints before each run.

use crate::scenario::{Scenario, TOKEN, declaration, file, root, workspace};

/// What the command's answer for a purpose ends with.
const LENT: &str = "lent-correct-horse-0815";

/// A root module that writes into the world how what it was lent begins.
fn module(more: &str) -> String {
    root(&[
        "variable \"lent\" {\n  default = \"nothing\"\n}\n",
        &file("subnet", &format!("${{substr(var.lent, 0, 5)}}{more}"), ""),
    ])
}

/// Declares `network` with a command that answers for `plan` or `apply`, and writes down when it was
/// asked and what it saw.
fn declare(s: &Scenario) {
    let script = s.folder().join("lend");
    let text = format!(
        "echo \"$MAINSTAY_PURPOSE $MAINSTAY_WORKSPACE $MAINSTAY_REPOSITORY ${{GITHUB_TOKEN:-none}} ${{LOCALFS_ROOT:-none}}\" >> '{}/asked'\n\
         echo \"said {LENT}\" >&2\n\
         printf '{{\"TF_VAR_lent\":\"%s-{LENT}\",\"expires_at\":\"%s\"}}' \"$1\" \"$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)\"\n",
        s.folder().display()
    );
    std::fs::write(&script, text).unwrap();
    let command = |word: &str| format!("[\"sh\", \"{}\", \"{word}\"]", script.display());
    let credentials = format!(
        "credentials = {{ plan = {}, apply = {} }}",
        command("plan"),
        command("apply")
    );
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("network", &credentials)),
    );
}

/// When the command was asked, and what it saw.
fn asked(s: &Scenario) -> Vec<String> {
    let asked = std::fs::read_to_string(s.folder().join("asked")).unwrap_or_default();
    asked.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_lends_reaches_its_run_alone_and_shows_nowhere() {
    let mut s = Scenario::new().await;
    declare(&s);
    s.applied(&[("network/main.tf", &module(""))]).await;
    let world = s.in_world("subnet.txt").unwrap();
    assert_eq!(world, "apply");
    // Once for the plan, and anew for the apply: what was lent could have ended before it.
    let merge = "merge network acme/infra none none";
    assert_eq!(asked(&s), [merge, merge]);

    let telling = format!(
        "{}output \"all\" {{\n  value = var.lent\n}}\n",
        module(" more")
    );
    let pull = s.propose("more", &[("network/main.tf", &telling)]);
    let comment = s.comment_with(pull, "1 to change").await;
    assert!(comment.contains("plan- more"), "{comment}");
    assert!(!comment.contains(LENT), "{comment}");
    assert_eq!(asked(&s).len(), 3);
    assert!(asked(&s)[2].starts_with("propose "), "{:?}", asked(&s));

    // A fork's plan is made without, and says so.
    let fork = s.repo.fork("mallory");
    fork.commit(
        "theirs",
        &[("network/main.tf", &module(" theirs"))],
        "Theirs",
    );
    let pull = s.repo.open_fork_pull("Theirs", &fork, "theirs", "main");
    s.comment_with(pull, "### From a fork").await;
    s.repo.comment(pull, "alice", "mainstay plan");
    let comment = s.comment_with(pull, "planned without credentials").await;
    assert!(comment.contains("nothi theirs"), "{comment}");
    assert_eq!(asked(&s).len(), 3);

    for run in s.runs() {
        let shown = s.run(&["run", &run["id"].to_string(), "--format", "json"]);
        assert!(!shown.stdout.contains(LENT), "{}", shown.stdout);
        assert!(shown.stdout.contains("credentials") || run["purpose"] == "propose");
    }
    assert!(!s.log().contains(LENT));
    assert!(asked(&s).iter().all(|line| !line.contains(TOKEN)));
    s.wait("nothing in the clear", |s| {
        let mut open = vec![s.data_dir()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(entry.path());
                } else if let Ok(bytes) = std::fs::read(entry.path())
                    && bytes.windows(LENT.len()).any(|w| w == LENT.as_bytes())
                {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;

    // Without an answer there is no run, and what the command said is not shown.
    s.stop();
    std::fs::write(
        s.folder().join("lend"),
        format!("echo 'said {LENT}' >&2; echo '{LENT}'; exit 3\n"),
    )
    .unwrap();
    s.start();
    let pull = s.propose("again", &[("network/main.tf", &module(" again"))]);
    let comment = s.comment_with(pull, "ended with exit code 3").await;
    assert!(comment.contains("no credentials for network"), "{comment}");
    assert!(!comment.contains(LENT), "{comment}");
    s.end().await;
}
