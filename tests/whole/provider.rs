//! The provider `localfs` under the real Terraform, and the example repository made with it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use mainstay::demo::example::{ExampleFile, example_files, proposal_files};
use tempfile::TempDir;

/// A root module in a folder of its own, and the folder that its files are made in.
struct Root {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Root {
    /// A root module with `body` as `main.tf`, initialised.
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        crate::localfs::write_root_module(folder.path(), body);
        let root = Self {
            folder,
            environment: Vec::new(),
        };
        root.succeeds(&["init"]);
        root
    }

    /// Sets a variable for what is run from here on.
    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    fn write(&self, body: &str) {
        std::fs::write(self.folder.path().join("main.tf"), body).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap()
    }

    fn terraform(&self, arguments: &[&str]) -> std::process::Command {
        terraform(self.folder.path(), &self.environment, arguments)
    }

    /// Standard output of a command that must succeed.
    fn succeeds(&self, arguments: &[&str]) -> String {
        succeeded(&self.terraform(arguments).output().unwrap())
    }

    /// What a command that must fail says.
    fn fails(&self, arguments: &[&str]) -> String {
        failed(&self.terraform(arguments).output().unwrap())
    }

    /// Addresses with actions of a plan's `list`: `resource_changes` or `resource_drift`.
    fn planned(&self, mode: &[&str], list: &str) -> Vec<(String, String)> {
        self.succeeds(&[&["plan", "-out=plan"], mode].concat());
        actions(&self.succeeds(&["show", "-json", "plan"]), list)
    }
}

fn terraform(
    folder: &Path,
    environment: &[(&'static str, String)],
    arguments: &[&str],
) -> std::process::Command {
    let mut command = crate::localfs::terraform(folder);
    let (subcommand, rest) = arguments.split_first().unwrap();
    command.arg(subcommand);
    if !matches!(*subcommand, "fmt" | "output" | "state") {
        command.arg("-no-color");
    }
    command.args(rest);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}\n{errors}",
        output.status
    );
    said.into_owned()
}

fn failed(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    // Terraform breaks lines and draws a border where they begin.
    let errors = String::from_utf8_lossy(&output.stderr);
    errors
        .split(|c: char| c.is_whitespace() || c == '│')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn actions(plan_json: &str, list: &str) -> Vec<(String, String)> {
    let plan: serde_json::Value = serde_json::from_str(plan_json).unwrap();
    let changes = plan[list].as_array().into_iter().flatten();
    let changes = changes.map(|change| {
        let actions = change["change"]["actions"].as_array().unwrap();
        let actions: Vec<_> = actions
            .iter()
            .map(|action| action.as_str().unwrap())
            .collect();
        (
            change["address"].as_str().unwrap().to_owned(),
            actions.join("+"),
        )
    });
    let mut changes: Vec<_> = changes.filter(|(_, actions)| actions != "no-op").collect();
    changes.sort();
    changes
}

fn changes(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(address, actions)| ((*address).to_owned(), (*actions).to_owned()))
        .collect()
}

const ONE_FILE: &str = r#"
resource "localfs_file" "a" {
  path    = "world/a.txt"
  content = "one"
}
"#;

const APPLY: &[&str] = &["apply", "-auto-approve"];
const DESTROY: &[&str] = &["destroy", "-auto-approve"];

#[test]
fn a_file_is_planned_made_changed_and_destroyed() {
    let root = Root::new(ONE_FILE);
    let create = changes(&[("localfs_file.a", "create")]);
    assert_eq!(root.planned(&[], "resource_changes"), create);
    assert!(!root.path("world").exists(), "a plan makes nothing");

    root.succeeds(APPLY);
    assert_eq!(root.read("world/a.txt"), "one");
    assert_eq!(root.planned(&[], "resource_changes"), changes(&[]));

    root.write(&ONE_FILE.replace("one", "two"));
    let update = changes(&[("localfs_file.a", "update")]);
    assert_eq!(root.planned(&[], "resource_changes"), update);
    root.succeeds(&["apply", "plan"]);
    assert_eq!(root.read("world/a.txt"), "two");

    root.write(&ONE_FILE.replace("a.txt", "b.txt"));
    let replace = changes(&[("localfs_file.a", "delete+create")]);
    assert_eq!(root.planned(&[], "resource_changes"), replace);
    root.succeeds(&["apply", "plan"]);
    assert!(!root.path("world/a.txt").exists());
    assert_eq!(root.read("world/b.txt"), "one");

    root.succeeds(DESTROY);
    assert!(!root.path("world/b.txt").exists());
}

#[test]
fn a_file_that_was_edited_has_drifted() {
    let root = Root::new(ONE_FILE);
    root.succeeds(APPLY);
    assert_eq!(
        root.planned(&["-refresh-only"], "resource_drift"),
        changes(&[])
    );

    std::fs::write(root.path("world/a.txt"), "edited by hand").unwrap();
    let drifted = changes(&[("localfs_file.a", "update")]);
    assert_eq!(root.planned(&["-refresh-only"], "resource_drift"), drifted);

    root.succeeds(APPLY);
    assert_eq!(root.read("world/a.txt"), "one");
}

#[test]
fn a_file_that_was_deleted_has_drifted() {
    let root = Root::new(ONE_FILE);
    root.succeeds(APPLY);
    std::fs::remove_file(root.path("world/a.txt")).unwrap();
    let drifted = changes(&[("localfs_file.a", "delete")]);
    assert_eq!(root.planned(&["-refresh-only"], "resource_drift"), drifted);
    let create = changes(&[("localfs_file.a", "create")]);
    assert_eq!(root.planned(&[], "resource_changes"), create);
}

#[test]
fn a_file_that_exists_is_imported() {
    let root = Root::new(ONE_FILE);
    std::fs::create_dir(root.path("world")).unwrap();
    std::fs::write(root.path("world/a.txt"), "one").unwrap();
    root.succeeds(&["import", "localfs_file.a", "world/a.txt"]);
    assert_eq!(root.planned(&[], "resource_changes"), changes(&[]));
}

#[test]
fn an_import_block_is_planned_the_same_twice() {
    let import = "import {\n  to = localfs_file.a\n  id = \"world/a.txt\"\n}\n";
    let root = Root::new(&format!("{ONE_FILE}{import}"));
    std::fs::create_dir(root.path("world")).unwrap();
    std::fs::write(root.path("world/a.txt"), "one").unwrap();
    let after = || {
        root.succeeds(&["plan", "-out=plan"]);
        let plan = root.succeeds(&["show", "-json", "plan"]);
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(
            plan["resource_changes"][0]["change"]["importing"]["id"],
            "world/a.txt"
        );
        plan["resource_changes"].clone()
    };
    assert_eq!(after(), after());
}

#[test]
fn a_file_that_does_not_exist_cannot_be_imported() {
    let root = Root::new(ONE_FILE);
    let said = root.fails(&["import", "localfs_file.a", "world/a.txt"]);
    assert!(
        said.contains("Cannot import non-existent remote object"),
        "{said}"
    );
}

#[test]
fn a_data_source_reads_a_file_and_misses_one_that_is_gone() {
    let root = Root::new(
        "data \"localfs_file\" \"a\" {\n  path = \"a.txt\"\n}\n\
         output \"content\" {\n  value = data.localfs_file.a.content\n}\n",
    );
    let said = root.fails(&["plan"]);
    assert!(
        said.contains("No such file") && said.contains("a.txt"),
        "{said}"
    );
    std::fs::write(root.path("a.txt"), "found").unwrap();
    root.succeeds(APPLY);
    assert_eq!(root.succeeds(&["output", "-raw", "content"]), "found");
}

#[test]
fn relative_paths_are_below_the_root_of_the_block_or_else_of_the_environment() {
    let block =
        |root: &str| format!("provider \"localfs\" {{\n  root = \"{root}\"\n}}\n{ONE_FILE}");
    let mut root = Root::new(&block("configured"));
    root.set("LOCALFS_ROOT", root.path("environment").to_str().unwrap());
    root.succeeds(APPLY);
    assert_eq!(root.read("configured/world/a.txt"), "one");
    root.succeeds(DESTROY);

    root.write(ONE_FILE);
    root.succeeds(APPLY);
    assert_eq!(root.read("environment/world/a.txt"), "one");

    root.write(&block(""));
    let said = root.fails(&["validate"]);
    assert!(said.contains("The root is empty"), "{said}");
}

#[test]
fn every_operation_can_be_told_to_fail() {
    let failing = |operation: &str| {
        ONE_FILE.replace("\"one\"", &format!("\"one\"\n  fail = \"{operation}\""))
    };
    let injected = |said: String, operation: &str| {
        let wanted = format!("The file world/a.txt was told to fail at {operation}.");
        assert!(
            said.contains("Injected failure") && said.contains(&wanted),
            "{said}"
        );
    };
    let root = Root::new(&failing("plan"));
    injected(root.fails(&["plan"]), "plan");

    root.write(&failing("create"));
    injected(root.fails(APPLY), "create");
    assert!(!root.path("world/a.txt").exists());
    assert_eq!(
        root.succeeds(&["state", "list"]),
        "",
        "what was not made is not kept"
    );

    root.write(&failing("update"));
    root.succeeds(APPLY);
    root.write(&failing("update").replace("one", "two"));
    injected(root.fails(APPLY), "update");
    assert_eq!(root.read("world/a.txt"), "one");

    // A read and a delete have no configuration: they go by the state.
    root.write(&failing("delete"));
    root.succeeds(APPLY);
    injected(root.fails(DESTROY), "delete");
    assert!(root.path("world/a.txt").exists());

    root.write(&failing("read"));
    root.succeeds(APPLY);
    injected(root.fails(&["plan"]), "read");
}

#[test]
fn the_environment_can_make_every_file_fail() {
    let mut root = Root::new(ONE_FILE);
    root.succeeds(APPLY);
    root.set("LOCALFS_FAIL", "read,delete");
    let said = root.fails(&["plan"]);
    assert!(said.contains("told to fail at read"), "{said}");
    root.set("LOCALFS_FAIL", "reed");
    let said = root.fails(&["plan"]);
    assert!(
        said.contains("LOCALFS_FAIL is wrong: `reed` is no operation"),
        "{said}"
    );
}

#[test]
fn a_wrong_attribute_is_found_before_anything_runs() {
    let wrong = ONE_FILE.replace("\"one\"", "\"one\"\n  fail = \"creat\"\n  delay_ms = 0.5");
    let root = Root::new(&wrong);
    let said = root.fails(&["validate"]);
    for part in [
        "`creat` is no operation",
        "`delay_ms` is 0.5",
        "on main.tf line",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_change_is_delayed_before_and_after_it() {
    let delayed = ONE_FILE.replace(
        "\"one\"",
        "\"one\"\n  delay_ms = 300\n  delay_after_ms = 300",
    );
    let mut root = Root::new(&delayed);
    root.set("LOCALFS_DELAY_MS", "600000"); // the attribute wins
    let begun = Instant::now();
    root.succeeds(APPLY);
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_plan_is_delayed() {
    let slow = ONE_FILE.replace("\"one\"", "\"one\"\n  delay_plan_ms = 400");
    let root = Root::new(&slow);
    let begun = Instant::now();
    root.succeeds(&["plan"]);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_lingering_change_is_in_the_world_before_terraform_knows() {
    let root = Root::new(&ONE_FILE.replace("\"one\"", "\"one\"\n  delay_after_ms = 60000"));
    let mut apply = root
        .terraform(APPLY)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !root.path("world/a.txt").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    apply.kill().unwrap();
    apply.wait().unwrap();
    assert_eq!(root.read("world/a.txt"), "one");
    let said = root.fails(&["state", "list"]);
    assert!(said.contains("No state file was found"), "{said}");
}

#[test]
fn an_interrupt_ends_a_delay_where_the_environment_says_so() {
    let mut root = Root::new(ONE_FILE);
    root.set("LOCALFS_DELAY_MS", "600000");
    root.set("LOCALFS_HONOUR_STOP", "1");
    let log = root.path("log");
    let (piped, errors) = (
        std::fs::File::create(&log).unwrap(),
        std::process::Stdio::piped(),
    );
    let mut apply = root.terraform(APPLY);
    let apply = apply.stdout(piped).stderr(errors).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !root.read("log").contains("Creating...") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = rustix::process::Pid::from_child(&apply);
    rustix::process::kill_process(interrupted, rustix::process::Signal::INT).unwrap();
    let said = failed(&apply.wait_with_output().unwrap());
    assert!(
        said.contains("Terraform was interrupted before the create; nothing was done."),
        "{said}"
    );
    assert!(!root.path("world/a.txt").exists());
}

#[test]
fn sensitive_values_are_masked_in_the_text_of_a_plan() {
    let secret = ONE_FILE.replace("\"one\"", "\"one\"\n  secret = \"open-sesame\"");
    let root = Root::new(&secret);
    let first = root.succeeds(&["plan"]);
    root.succeeds(APPLY);
    root.write(&secret.replace("open-sesame", "close-sesame"));
    let second = root.succeeds(&["plan", "-out=plan"]);
    for text in [first, second] {
        assert!(text.contains("(sensitive value)"), "{text}");
        assert!(!text.contains("sesame") && !text.contains("tok-"), "{text}");
    }
    // In the machine's form they are in clear, which is why whoever reads it must mask.
    let plan = root.succeeds(&["show", "-json", "plan"]);
    assert!(plan.contains("close-sesame") && plan.contains("tok-"));
}

#[test]
fn two_terraforms_use_the_provider_at_once() {
    let slow = ONE_FILE.replace("\"one\"", "\"one\"\n  delay_ms = 500");
    let roots = [Root::new(&slow), Root::new(&slow)];
    let start = |root: &Root| {
        let quiet = std::process::Stdio::null;
        root.terraform(APPLY)
            .stdout(quiet())
            .stderr(quiet())
            .spawn()
            .unwrap()
    };
    let mut applies = roots.each_ref().map(start);
    for apply in &mut applies {
        assert!(apply.wait().unwrap().success());
    }
    for root in &roots {
        assert_eq!(root.read("world/a.txt"), "one");
    }
}

#[test]
fn many_large_files_are_made_in_one_apply() {
    // Each is larger than HTTP/2's first window of 65,535 bytes.
    let root = Root::new(
        r#"
resource "localfs_file" "many" {
  count   = 30
  path    = "world/${count.index}"
  content = join("", [for i in range(1000) : format("%0100d", i)])
}
"#,
    );
    root.succeeds(APPLY);
    assert_eq!(std::fs::read_dir(root.path("world")).unwrap().count(), 30);
    assert_eq!(root.read("world/29").len(), 100_000);
    root.succeeds(DESTROY);
    assert_eq!(std::fs::read_dir(root.path("world")).unwrap().count(), 0);
}

#[test]
fn nothing_stays_behind_when_terraform_is_done() {
    let mut root = Root::new(ONE_FILE);
    let temporary = tempfile::tempdir().unwrap();
    root.set("TMPDIR", temporary.path().to_str().unwrap());
    root.set("TF_LOG", "debug");
    root.set("TF_LOG_PATH", root.path("log").to_str().unwrap());
    root.succeeds(APPLY);
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let log = root.read("log");
    assert!(log.contains("plugin process exited"));
    assert!(
        !log.contains("exit status"),
        "every provider process ended well"
    );
}

#[test]
fn the_provider_works_where_tls_is_switched_off() {
    let mut root = Root::new(ONE_FILE);
    root.set("TF_DISABLE_PLUGIN_TLS", "1");
    root.succeeds(APPLY);
    assert_eq!(root.read("world/a.txt"), "one");
}

#[test]
fn nothing_but_the_mirror_gives_providers() {
    let folder = tempfile::tempdir().unwrap();
    let other = "terraform {\n  required_providers {\n    x = {\n      source = \"mainstay.invalid/demo/other\"\n    }\n  }\n}\n";
    std::fs::write(folder.path().join("main.tf"), other).unwrap();
    let said = failed(&terraform(folder.path(), &[], &["init"]).output().unwrap());
    assert!(
        said.contains("mainstay.invalid/demo/other was not found"),
        "{said}"
    );
    assert!(!said.contains("no such host"), "no host was asked: {said}");
}

#[test]
fn the_program_is_itself_when_terraform_did_not_start_it() {
    // A command that Terraform starts may inherit the variable of its plugins.
    let output = std::process::Command::new(crate::localfs::MAINSTAY)
        .arg("--version")
        .env("TF_PLUGIN_MAGIC_COOKIE", "inherited")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("|grpc|"), "{said}");
}

/// The example's repository in a folder, the world beside it.
struct Shop {
    folder: TempDir,
}

const WORKSPACES: [&str; 3] = ["database", "network", "web"];

impl Shop {
    fn new() -> Self {
        let shop = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        shop.lay_out(example_files());
        shop
    }

    fn lay_out(&self, files: &[ExampleFile]) {
        for (path, content) in files {
            let path = self.folder.path().join("shop").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    fn world(&self) -> PathBuf {
        self.folder.path().join("world")
    }

    fn terraform(&self, workspace: &str, arguments: &[&str]) -> Output {
        let folder = self.folder.path().join("shop").join(workspace);
        let root = self.world().to_str().unwrap().to_owned();
        terraform(&folder, &[("LOCALFS_ROOT", root)], arguments)
            .output()
            .unwrap()
    }

    fn succeeds(&self, workspace: &str, arguments: &[&str]) -> String {
        succeeded(&self.terraform(workspace, arguments))
    }

    fn planned(&self, workspace: &str) -> Vec<(String, String)> {
        self.succeeds(workspace, &["plan", "-out=plan"]);
        actions(
            &self.succeeds(workspace, &["show", "-json", "plan"]),
            "resource_changes",
        )
    }
}

#[test]
fn the_example_is_formatted_as_terraform_does() {
    let shop = Shop::new();
    assert_eq!(shop.succeeds("", &["fmt", "-check", "-recursive"]), "");
    shop.lay_out(proposal_files());
    assert_eq!(shop.succeeds("", &["fmt", "-check", "-recursive"]), "");
}

#[test]
fn every_workspace_of_the_example_works_and_settles() {
    let shop = Shop::new();
    for workspace in WORKSPACES {
        shop.succeeds(workspace, &["init"]);
        shop.succeeds(workspace, &["validate"]);
        let planned = shop.planned(workspace);
        assert!(!planned.is_empty() && planned.iter().all(|(_, does)| does == "create"));
        shop.succeeds(workspace, &["apply", "plan"]);
        assert_eq!(shop.planned(workspace), changes(&[]), "{workspace}");
    }
    for file in ["network/vpc.json", "web/index.html", "database/server.json"] {
        assert!(shop.world().join(file).exists(), "{file}");
    }
}

#[test]
fn the_proposal_adds_changes_replaces_and_destroys() {
    let shop = Shop::new();
    for workspace in WORKSPACES {
        shop.succeeds(workspace, &["init"]);
        shop.succeeds(workspace, APPLY);
    }
    shop.lay_out(proposal_files());
    let replaced = changes(&[(r#"localfs_file.subnet["backend"]"#, "delete+create")]);
    assert_eq!(shop.planned("network"), replaced);
    let page = |name: &str| format!(r#"module.site.localfs_file.page["{name}"]"#);
    let expected = [
        (page("garden"), "create"),
        (page("index"), "update"),
        (page("jobs"), "delete"),
    ];
    let expected = expected.map(|(address, does)| (address, does.to_owned()));
    assert_eq!(shop.planned("web"), expected);
    assert_eq!(shop.planned("database"), changes(&[]));
    for workspace in WORKSPACES {
        shop.succeeds(workspace, &["apply", "plan"]);
        assert_eq!(shop.planned(workspace), changes(&[]), "{workspace}");
    }
}

#[test]
fn the_examples_password_is_in_no_plan_that_people_read() {
    let shop = Shop::new();
    shop.succeeds("database", &["init"]);
    let text = shop.succeeds("database", &["plan"]);
    assert!(text.contains("(sensitive value)"));
    assert!(!text.contains("correct-horse"), "{text}");
}

#[test]
fn the_examples_variables_refuse_nonsense() {
    let shop = Shop::new();
    for (workspace, variable, message) in [
        (
            "network",
            "cidr=10.20.300.0/24",
            "The range is written like",
        ),
        (
            "network",
            "environment=stagging",
            "The environment is staging or production.",
        ),
        ("web", "domain=tea", "The domain is written like"),
        (
            "database",
            "storage_gb=5",
            "The disk has 10 to 1000 gigabytes.",
        ),
    ] {
        shop.succeeds(workspace, &["init"]);
        let said = failed(&shop.terraform(workspace, &["plan", "-var", variable]));
        assert!(said.contains(message), "{variable}: {said}");
    }
}
