//! Code that asks for what nobody allowed: refused before Terraform starts, and what it would have
//! done where the rule is loosened by name.

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, Signature};

use crate::checkout::{Checkout, write, write_program};
use crate::scenario::{Scenario, declaration, one_value, workspace};

const PLUGIN: &str = "network/terraform.d/plugins/canary.invalid/demo/canary/1.0.0/linux_amd64/terraform-provider-canary_v1.0.0";

/// A module with a provider that only the repository itself has.
const CANARY: &str = "terraform {\n  required_providers {\n    canary = { source = \"canary.invalid/demo/canary\" }\n  }\n}\n\nresource \"canary_bird\" \"it\" {}\n";

/// Makes a file of a branch executable, as its author's git would.
fn make_executable(s: &Scenario, branch: &str, path: &str) {
    let repo = Repository::open(s.repo.dir()).expect("the repository is there");
    let name = format!("refs/heads/{branch}");
    let head = repo.find_reference(&name).and_then(|r| r.peel_to_commit());
    let head = head.expect("the branch is there");
    let tree = head.tree().expect("it has files");
    let entry = tree.get_path(path.as_ref()).expect("the file is there");
    let tree = TreeUpdateBuilder::new()
        .upsert(path, entry.id(), FileMode::BlobExecutable)
        .create_updated(&repo, &tree)
        .and_then(|id| repo.find_tree(id))
        .expect("a tree can be written");
    let author = Signature::now("Alice", "alice@example.com").expect("a name");
    repo.commit(Some(&name), &author, &author, "Run it", &tree, &[&head])
        .expect("a commit can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_provider_never_runs_unless_its_rule_is_loosened_by_name() {
    let mut s = Scenario::new().await;
    // No sandbox, and no settings of Terraform's that say where providers come from: nothing but
    // the rule is in the way.
    s.configure("engine = \"terraform\"");
    s.set("TF_CLI_CONFIG_FILE", "/nonexistent/terraform.tfrc");
    s.applied(&[("network/main.tf", "output \"it\" { value = 1 }\n")])
        .await;
    let canary = s.world().join("canary");
    let program = format!("#!/bin/sh\necho sang > '{}'\nexit 1\n", canary.display());
    let files = [(PLUGIN, program.as_str()), ("network/main.tf", CANARY)];
    s.repo.commit("bird", &files, "A bird");
    make_executable(&s, "bird", PLUGIN);
    let pull = s.repo.open_pull("bird", "bird", "main", "alice");
    let comment = s.comment_with(pull, "rule `plugin-folder`").await;
    assert!(comment.contains("terraform.d"), "{comment}");
    assert!(
        comment.contains("loosen = [\"plugin-folder\"]"),
        "{comment}"
    );
    let head = s.repo.head("bird").expect("the branch is there");
    s.status_is(&head, "mainstay/plan", "failure").await;
    assert!(!canary.exists(), "the provider ran");

    s.stop();
    let loosened = workspace("network", "loosen = [\"plugin-folder\"]");
    s.declare("acme.toml", &declaration("acme/infra", &loosened));
    let check = s.run(&["check"]);
    assert!(
        check
            .stdout
            .contains("for network a proposal's code is not held to `plugin-folder`"),
        "{}",
        check.stdout
    );
    s.start();
    s.repo.comment(pull, "alice", "mainstay plan");
    s.wait("the canary", |_| canary.exists().then_some(()))
        .await;
    s.comment_with(pull, "Plan failed").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_an_override_file_moves_is_refused_with_file_and_line() {
    let mut s = Scenario::new().await;
    s.configure("engine = \"terraform\"");
    let backend = |file: &str| {
        let path = s.folder().join(file);
        format!(
            "\nterraform {{\n  backend \"local\" {{\n    path = \"{}\"\n  }}\n}}\n",
            path.display()
        )
    };
    let (ours, theirs) = (backend("ours.tfstate"), backend("theirs.tfstate"));
    let one = "resource \"terraform_data\" \"it\" { input = \"a\" }\n";
    s.applied(&[("network/main.tf", one), ("network/backend.tf", &ours)])
        .await;
    let pull = s.propose("move", &[("network/zz_override.tf", &theirs)]);
    let comment = s.comment_with(pull, "rule `overrides`").await;
    assert!(comment.contains("rule `backend`"), "{comment}");
    assert!(comment.contains("zz_override.tf:2"), "{comment}");
    assert!(comment.contains("zz_override.tf:3"), "{comment}");
    assert!(!comment.contains("to create"), "{comment}");

    s.stop();
    let loosened = workspace("network", "loosen = [\"overrides\", \"backend\"]");
    s.declare("acme.toml", &declaration("acme/infra", &loosened));
    s.start();
    s.repo.comment(pull, "alice", "mainstay plan");
    // What is applied long since would be made once more: the plan looked into another state.
    s.comment_with(pull, "1 to create").await;
    s.end().await;
}

#[test]
fn a_dry_run_refuses_what_the_pull_request_would_be_refused_for() {
    let checkout = Checkout::new();
    checkout.commit(&[("net/main.tf", "output \"it\" { value = 1 }\n")]);
    checkout.write(
        "net/m.tf",
        "module \"m\" {\n  source = \"http://host.invalid/m.zip\"\n}\n",
    );
    checkout.write("net/.terraform/environment", "production");
    checkout.git(&["add", "--force", "net/.terraform/environment"]);
    let ran = checkout.run(&["dry-run"]).ended_with(1);
    assert!(ran.stdout.contains("rule `modules`"), "{}", ran.stdout);
    assert!(ran.stdout.contains("m.tf:1"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("rule `terraform-folder`"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("at .terraform"), "{}", ran.stdout);
}

#[test]
fn variables_of_the_tree_steer_a_program_in_terraforms_place_only_where_that_is_loosened() {
    let checkout = Checkout::new();
    // What an operator may well have: a wrapper that reads `.env` as other tools do.
    let wrapper = checkout.folder().join("terraform");
    let real = which::which("terraform").expect("Terraform is installed");
    let program = format!(
        "#!/bin/sh\nset -a\n[ -f .env ] && . ./.env\nexec '{}' \"$@\"\n",
        real.display()
    );
    write_program(&wrapper, &program);
    let config = checkout.folder().join("mainstay.toml");
    write(&config, &format!("engine = \"{}\"\n", wrapper.display()));
    let declare = |loosen: &str| {
        let text = format!(
            "repo = \"{}\"\n{loosen}\n[[workspace]]\nname = \"net\"\npath = \"net\"\nchecks = \"off\"\n",
            checkout.dir().display()
        );
        write(&checkout.folder().join("workspaces/net.toml"), &text);
    };
    checkout.commit(&[("net/main.tf", "output \"it\" { value = 1 }\n")]);
    checkout.write("net/.env", "TF_CLI_ARGS_plan=-destroy\n");
    checkout.write("net/more.tf", "output \"more\" { value = 2 }\n");
    let config = config.display().to_string();
    let dry_run = ["dry-run", "--config", &config];

    declare("");
    let ran = checkout.run(&dry_run).ended_with(1);
    assert!(ran.stdout.contains("rule `variables`"), "{}", ran.stdout);
    assert!(ran.stdout.contains(".env:1"), "{}", ran.stdout);

    // Nothing is there that could be destroyed: the files of the repository changed what is planned.
    declare("loosen = [\"variables\"]");
    checkout.run(&dry_run).ended_with(0);
    checkout.write("net/.env", "");
    checkout.run(&dry_run).ended_with(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_is_too_large_is_told_so_and_keeps_no_other_waiting() {
    let mut s = Scenario::new().await;
    s.configure("[limits]\npack = \"64KiB\"");
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    s.stop();
    // Text that does not shrink when it is packed.
    let noise: String = (0..20_000_u64)
        .map(|n| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    let large = s.propose("large", &[("network/noise", &noise)]);
    let small = s.propose("small", &[("network/main.tf", &one_value("b"))]);
    s.start();
    s.comment_with(small, "1 to change").await;
    let comment = s.comment_with(large, "larger than 64 KiB").await;
    assert!(comment.contains("`pack` in `[limits]`"), "{comment}");

    // Where more is allowed it is planned like any other.
    s.stop();
    s.configure("");
    s.start();
    s.comment_with(large, "No changes").await;
    s.end().await;
}
