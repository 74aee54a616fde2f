//! What the documents say, held against the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay::config::{self, Config, GithubSettings};
use mainstay::decide::HELP;

use crate::github::git::Method;
use crate::scenario::Scenario;

/// A declaration of nothing in particular, for settings that are tried by themselves.
const SOME_DECLARATION: &str = "repo = \"acme/infra\"\n[discover]\npaths = [\"**\"]\n";

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(top().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The blocks of code of one language in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line == format!("```{language}") {
            open = Some(String::new());
        } else if line == "```" {
            blocks.extend(open.take());
        } else if let Some(block) = &mut open {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// The part of a document below a heading, to the next of the same level.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the section `{heading}` is there"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The code spans of a text, blocks of code aside.
fn spans(text: &str) -> BTreeSet<&str> {
    text.split("```")
        .step_by(2)
        .flat_map(|prose| prose.split('`').skip(1).step_by(2))
        .collect()
}

fn is_declaration(block: &str) -> bool {
    block.lines().any(|line| line.starts_with("repo "))
}

/// Loads settings and declarations in a folder of their own, and wants no problem.
fn load(settings: &str, declaration: &str) -> (Config, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mainstay.toml");
    std::fs::write(&file, settings).unwrap();
    std::fs::create_dir(folder.path().join("workspaces")).unwrap();
    std::fs::write(folder.path().join("workspaces/one.toml"), declaration).unwrap();
    (without_problems(&file), folder)
}

fn without_problems(file: &Path) -> Config {
    let loaded = config::load(file);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(!loaded.declarations.is_empty());
    loaded.config.expect("settings without problems are there")
}

#[test]
fn every_block_of_settings_in_the_readme_is_valid() {
    let readme = document("README.md");
    let blocks = blocks(&readme, "toml");
    let (declarations, settings): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| is_declaration(block));
    assert!(declarations.len() >= 3 && settings.len() >= 2);
    for block in settings {
        load(&block, SOME_DECLARATION);
    }
    for block in declarations {
        load("", &block);
    }
}

#[test]
fn the_settings_of_the_readme_are_the_defaults() {
    let readme = document("README.md");
    let blocks = blocks(section(&readme, "## Settings: `mainstay.toml`"), "toml");
    let [settings] = &blocks[..] else {
        panic!("one block of settings: {blocks:?}");
    };
    let (config, folder) = load(settings, SOME_DECLARATION);
    let mut defaults = Config::default_in(folder.path());
    defaults.github = Some(GithubSettings::default());
    assert_eq!(config, defaults);
}

#[test]
fn the_readme_names_every_key() {
    let readme = document("README.md");
    let mut named = BTreeSet::new();
    for block in blocks(&readme, "toml") {
        // A key that is commented out is named all the same.
        for line in block.lines().map(|line| line.trim_start_matches("# ")) {
            for part in line.split(['{', ',']) {
                if let Some((key, _)) = part.split_once('=') {
                    named.insert(key.trim().to_owned());
                }
            }
        }
        let tables = block.lines().filter(|line| line.starts_with('['));
        named.extend(tables.map(|line| {
            let name = line.split(']').next().unwrap_or(line);
            name.trim_start_matches('[').to_owned()
        }));
    }
    let missing: Vec<String> = keys_of_the_reader()
        .into_iter()
        .filter(|key| !named.contains(key))
        .collect();
    assert!(
        missing.is_empty(),
        "README.md does not say what {missing:?} do"
    );
}

/// The keys that `src/config` asks a table for: each is the first literal in a call of the reader.
fn keys_of_the_reader() -> BTreeSet<String> {
    const READS: [&str; 8] = [
        ".parsed(",
        ".choice(",
        ".text(",
        ".table(",
        ".tables(",
        ".count(",
        "checked(",
        "secret_file(",
    ];
    let mut keys = BTreeSet::new();
    for file in ["settings.rs", "declaration.rs", "github.rs"] {
        let text = document(&format!("src/config/{file}"));
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for read in READS {
            for call in code.split(read).skip(1) {
                let arguments = call.split(')').next().unwrap_or(call);
                keys.extend(arguments.split('"').nth(1).map(str::to_owned));
            }
        }
        // Several keys of one kind are read in a loop: `("data_dir", &mut config.data_dir)`.
        for line in code.lines().filter(|line| line.contains(", &mut config.")) {
            keys.extend(line.split('"').nth(1).map(str::to_owned));
        }
    }
    for known in ["data_dir", "poll_every", "watch", "token_file", "format"] {
        assert!(keys.contains(known), "`{known}` was not found in {keys:?}");
    }
    keys.retain(|key| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    keys
}

#[test]
fn the_settings_for_deployments_are_valid() {
    without_problems(&top().join("examples/deploy/mainstay.toml"));
}

#[test]
fn the_declarations_of_a_first_installation_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mainstay.toml");
    let workspaces = top().join("workspaces");
    std::fs::write(&file, format!("workspaces = {workspaces:?}\n")).unwrap();
    without_problems(&file);
}

#[test]
fn the_readme_names_every_command_and_every_comment() {
    let readme = document("README.md");
    let commands = section(&readme, "## Commands");
    let help = Command::new(crate::localfs::MAINSTAY)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help
        .split_once("Commands:\n")
        .and_then(|(_, rest)| rest.split("\n\n").next())
        .expect("the help lists the commands");
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(
            commands.contains(&format!("| `mainstay {name}")),
            "`{name}` is not among the commands of README.md"
        );
    }
    for (form, _) in HELP {
        let row = format!("| `{form}` |");
        assert!(section(&readme, "## Comments").contains(&row), "{form}");
    }
}

#[test]
fn every_file_that_the_documents_lead_to_is_there() {
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ] {
        let text = document(name);
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or(link);
            if !target.starts_with("http") {
                assert!(top().join(target).exists(), "{name} leads to {target}");
            }
        }
    }
    let architecture = document("ARCHITECTURE.md");
    let files = spans(&architecture)
        .into_iter()
        .filter(|span| span.ends_with(".rs"));
    for file in files {
        let there = top().join(file).exists() || top().join("src").join(file).exists();
        assert!(there, "ARCHITECTURE.md names {file}");
    }
}

#[test]
fn every_dependency_has_its_reason_and_no_other_crate_has() {
    let manifest: toml_edit::DocumentMut = document("Cargo.toml").parse().unwrap();
    let mut wanted = BTreeSet::new();
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(table) = manifest.get(table).and_then(|item| item.as_table()) else {
            continue;
        };
        wanted.extend(table.iter().map(|(name, _)| name.to_owned()));
    }
    let architecture = document("ARCHITECTURE.md");
    let named: BTreeSet<String> = section(&architecture, "## Dependencies")
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
        .filter(|(_, reason)| reason.len() > 5)
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(named, wanted);
}

/// All Rust code of the repository, as one text.
fn all_code() -> String {
    let mut code = String::new();
    let mut open = vec![top().join("src"), top().join("tests")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    code
}

#[test]
fn every_test_that_is_said_to_show_an_invariant_is_there() {
    let code = all_code();
    let architecture = document("ARCHITECTURE.md");
    let tests: Vec<&str> = spans(section(&architecture, "## Invariants"))
        .into_iter()
        .filter(|span| span.matches('_').count() > 2)
        .collect();
    assert!(tests.len() > 30, "{tests:?}");
    let security = document("SECURITY.md");
    let attacks: Vec<&str> = spans(section(&security, "## Attacks, defences, tests"))
        .into_iter()
        .filter(|span| span.matches('_').count() > 2)
        .collect();
    assert!(attacks.len() > 10, "{attacks:?}");
    for test in tests.into_iter().chain(attacks) {
        assert!(
            code.contains(&format!("fn {test}(")),
            "the documents name the test {test}"
        );
    }
}

#[test]
fn every_function_on_the_walk_of_a_pull_request_is_there() {
    let code = all_code();
    let architecture = document("ARCHITECTURE.md");
    let steps: Vec<(&str, &str)> = spans(section(&architecture, "## The walk of one pull request"))
        .into_iter()
        .filter_map(|span| span.split_once("::"))
        .collect();
    assert!(steps.len() > 30, "{steps:?}");
    for (owner, name) in steps {
        let is_function = name.starts_with(|c: char| c.is_lowercase());
        let there = if is_function {
            code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"))
        } else {
            code.contains(&format!("{owner}::{name}"))
        };
        assert!(there, "ARCHITECTURE.md names {owner}::{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_the_readme_leads_to_an_applied_pull_request() {
    let mut s = Scenario::new().await;
    let readme = document("README.md");
    let path = section(&readme, "## Ten minutes to a real repository");
    for block in blocks(path, "toml") {
        let (name, text) = block.split_once('\n').unwrap();
        let file = s.folder().join(name.trim_start_matches("# "));
        // The model is on this machine, and a test has no half minute to wait.
        let api = format!("[github]\napi_url = \"{}\"", s.hub.api_url());
        let text = match is_declaration(text) {
            true => text.to_owned(),
            false => format!(
                "poll_every = \"200ms\"\nlisten = \"off\"\n{}",
                text.replace("[github]", &api)
            ),
        };
        std::fs::write(&file, text).unwrap();
    }
    std::fs::remove_file(s.folder().join("workspaces/acme.toml")).unwrap();
    let module =
        |size: u8| format!("resource \"terraform_data\" \"disk\" {{\n  input = {size}\n}}\n");
    let first = s
        .repo
        .commit("main", &[("disk/main.tf", &module(1))], "A disk");

    let checked = s.run(&["check", "--online"]);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);

    // Nobody saw it in a pull request, so it waits for a person.
    s.start();
    s.status_is(&first, "mainstay/apply", "pending").await;
    let issue = s
        .wait("the issue of the hold", |s| {
            s.repo.issues().into_iter().map(|issue| issue.number).next()
        })
        .await;
    s.repo.comment(issue, "alice", "mainstay apply");
    s.status_is(&first, "mainstay/apply", "success").await;

    s.repo.branch("larger", &first);
    let head = s
        .repo
        .commit("larger", &[("disk/main.tf", &module(2))], "Larger");
    let pull = s.repo.open_pull("A larger disk", "larger", "main", "alice");
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    s.comment_with(pull, "Applied: 1 changed").await;
    s.end().await;
}
