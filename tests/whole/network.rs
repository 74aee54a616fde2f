//! What runs may reach of the network, as reviewers and operators see it.

use std::path::Path;

use mainstay::config::{NetworkSettings, SandboxLevel};
use mainstay::network::NetworkRule;
use mainstay::sandbox;

use crate::localfs;
use crate::scenario::{Scenario, declaration, one_value, workspace};

/// A check that asks for a host, and passes without it.
const CHECK: &str = r#"
[[workspace.checks.run]]
name = "lookup"
command = ["sh", "-c", "git ls-remote https://evil.example/plan; exit 0"]
"#;

/// A module whose apply waits for a file of the world, asks for a host, and goes on without it.
fn asking(world: &Path) -> String {
    format!(
        r#"{}
resource "terraform_data" "ask" {{
  provisioner "local-exec" {{
    command = "cd {} && touch begun; until [ -e go ]; do sleep 0.05; done; git ls-remote https://evil.example/apply; true"
  }}
}}
"#,
        one_value("b"),
        world.display()
    )
}

/// Sets `network` in the section of the sandbox.
fn set_network(s: &Scenario, value: &str) {
    let text = std::fs::read_to_string(s.config()).unwrap();
    let text = text.replace(
        "level = \"auto\"",
        &format!("level = \"auto\"\nnetwork = {value}"),
    );
    std::fs::write(s.config(), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comment_says_which_hosts_were_refused_and_an_apply_is_held_back_without_its_daemon() {
    let rule = NetworkRule::Hosts(vec!["registry.example.com".parse().unwrap()]);
    let found = sandbox::find(SandboxLevel::Auto, Path::new(localfs::MAINSTAY));
    let settings = NetworkSettings {
        propose: rule,
        ..NetworkSettings::default()
    };
    if let Err(error) = found.unwrap().with_network(&settings) {
        eprintln!("NOTE: not tested on this machine: {error}");
        return;
    }
    let mut s = Scenario::new().await;
    set_network(
        &s,
        "{ propose = [\"registry.example.com\"], merge = \"deny\" }",
    );
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("network", CHECK)),
    );
    let checked = s.run(&["check"]);
    for line in [
        "plans of pull requests reach registry.example.com by a proxy, and nothing else",
        "merges have no network",
        "the network of drift checks is the machine's",
    ] {
        assert!(checked.stdout.contains(line), "{line}: {}", checked.stdout);
    }
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    let module = asking(&s.world());
    let pull = s.propose("ask", &[("network/main.tf", &module)]);
    let comment = s.comment_with(pull, "does not allow").await;
    let note = "the plan asked for 1 host that `network` does not allow: `evil.example:443`";
    assert!(comment.contains(note), "{comment}");
    assert!(
        comment.contains("2 to create") || comment.contains("1 to create"),
        "{comment}"
    );
    let run = s.run_is("propose", "network", "planned").await;
    let shown = s.run(&["run", &run.to_string()]).stdout;
    assert!(
        shown.contains("does not allow: evil.example:443"),
        "{shown}"
    );

    // The proxy is the supervisor's: it holds back, and notes, while no daemon lives.
    let commit = s
        .repo
        .merge(pull, crate::github::git::Method::Merge, "alice")
        .unwrap();
    s.wait("the apply", |s| s.in_world("begun")).await;
    s.kill();
    std::fs::write(s.world().join("go"), "").unwrap();
    s.wait_for_nobody().await;
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;
    let told =
        "the merge asked for 1 host that `network` does not allow; the logs of the run name them";
    s.comment_with(pull, told).await;
    s.end().await;
}
