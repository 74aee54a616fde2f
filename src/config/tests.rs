//! Whole folders of settings, as a person would write them, and as nobody would.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A folder with `mainstay.toml` and declarations in it.
struct Folder(TempDir);

impl Folder {
    fn new(main: &str, declarations: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(DEFAULT_FILE, main.as_bytes());
        for (name, text) in declarations {
            folder.write(&format!("workspaces/{name}"), text.as_bytes());
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn load(&self) -> Loaded {
        load(&self.0.path().join(DEFAULT_FILE))
    }

    /// All that is wrong, without the folder's own path.
    fn problems(&self) -> String {
        let error = self.load().into_valid().unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

const DECLARATION: &str = "repo = \"acme/infra\"\n[discover]\npaths = [\"*\"]\n";

#[test]
fn a_terrible_configuration_is_told_all_its_mistakes_at_once() {
    let folder = Folder::new(
        r#"
poll_every = "fortnightly"
parallel = "two"
listen = "everywhere"
engin = "terraform"

[github]
token_env = "BOT_TOKEN"
token_file = "token"

[sandbox]
level = "bubblewarp"
"#,
        &[
            (
                "acme.toml",
                r#"
repo = "acme/infra"
proposals = ["*"]

[[workspace]]
name = "network"
path = "../network"
enviroment = "production"
var_files = "prod.tfvars"
drift = { action = "report" }

[[workspace]]
name = "network"
path = "dns"
apply = "on-merged"
env = { plan = ["TF_*", "BOT_TOKEN"] }
watch = ["shared/[", "ok/**", 3]

[[workspace]]
name = "dns"
path = "dns"
policies = ["base line"]
drift = "61 3 * * *"
plan_timeout = "5min"
"#,
            ),
            (
                "broken.toml",
                "repo = \"acme/broken\"\n[[workspace]\nname =",
            ),
            (
                "leak.toml",
                "repo = \"https://bot:hunter2@git.example.com/infra\"\n[discover]\n",
            ),
            (
                "twin.toml",
                "repo = \"Acme/Infra\"\n[discover]\npaths = [\"*\"]\n",
            ),
        ],
    );
    let problems = folder.problems();
    assert!(!problems.contains("hunter2"));
    insta::assert_snapshot!(problems, @r#"
    mainstay.toml:2:14: `poll_every`: `fortnightly` is no duration: `fortnightly` is no whole number; write `30s`, `5m`, `1h` or `1d`
    mainstay.toml:3:12: `parallel`: expected a whole number, found a text
    mainstay.toml:4:10: `listen`: `everywhere` is no address with a port like `127.0.0.1:4180`; or write `off`
    mainstay.toml:5:1: unknown key `engin`; did you mean `engine`?
    mainstay.toml:9:1: `token_env`, `token_file` and `app` exclude each other; keep one of them
    mainstay.toml:12:9: `level`: `bubblewarp` is none of `auto`, `bubblewrap`, `landlock` and `none`; did you mean `bubblewrap`?
    workspaces/acme.toml:3:1: `proposals` is for plain git remotes; on GitHub the pull requests are the proposals; take it out
    workspaces/acme.toml:7:8: `path`: `../network` leaves the repository
    workspaces/acme.toml:8:1: unknown key `enviroment`; did you mean `environment`?
    workspaces/acme.toml:9:13: `var_files`: expected a list of texts, found a text
    workspaces/acme.toml:10:9: `every` is missing in `drift`; write `every = "1h"`, say
    workspaces/acme.toml:13:8: the name `network` is taken by the workspace at workspaces/acme.toml:6:8; give each workspace a name of its own
    workspaces/acme.toml:15:9: `apply`: `on-merged` is none of `on-merge`, `on-approval` and `never`; did you mean `on-merge`?
    workspaces/acme.toml:16:17: `plan`: `TF_*` is refused: `TF_…` variables steer Terraform itself (they add options, move its state, switch its workspace); only `TF_VAR_…` and `TF_TOKEN_…` pass
    workspaces/acme.toml:16:25: `plan`: `BOT_TOKEN` would hand out the daemon's own token in `BOT_TOKEN`, and the code that is planned could read it; give what the runs need another name
    workspaces/acme.toml:17:10: `watch`: `shared/[` is no valid pattern: unclosed character class; missing ']'
    workspaces/acme.toml:17:31: `watch`: expected a list of texts, found a number in it
    workspaces/acme.toml:21:8: the workspace at workspaces/acme.toml:14:8 has the same path and the same Terraform workspace, and so the same state; take one out, or give them different `terraform_workspace`s
    workspaces/acme.toml:22:13: `policies`: `base line` is no name; one has 1 to 100 letters, digits, `-` and `_`
    workspaces/acme.toml:23:9: `drift`: `61 3 * * *` is no cron line: Component error: Number out of bounds.
    workspaces/acme.toml:24:16: `plan_timeout`: `5min` is no duration: the unit `min` is not known; the units are `ms`, `s`, `m`, `h` and `d`
    workspaces/broken.toml:2:13: the file is no valid TOML: unclosed array table, expected `]`
    workspaces/leak.toml:1:8: `repo`: the URL holds a password or a token, which ends in logs and process lists; take it out, and use `ssh://`, where a key opens the repository
    workspaces/leak.toml:2:1: `paths` is missing in `discover`; write `paths = ["stacks/*"]`, say
    workspaces/twin.toml:1:8: the branch `main` of this repository is declared at workspaces/acme.toml:2:8 already; put both lists of workspaces into one file
    "#);
}

#[test]
fn a_folder_of_settings_is_read_whole() {
    let folder = Folder::new(
        "",
        &[
            ("b.toml", DECLARATION),
            (
                "a.toml",
                "repo = \"acme/other\"\n[discover]\npaths = [\"*\"]\n",
            ),
            (".b.toml.swp.toml", "not TOML at all"),
            ("README.md", "not TOML at all"),
        ],
    );
    let (config, declarations) = folder.load().into_valid().unwrap();
    let repos: Vec<&str> = declarations.iter().map(|d| d.repo.as_str()).collect();
    assert_eq!(repos, ["acme/other", "acme/infra"]);
    assert_eq!(config.github, Some(GithubSettings::default()));
    assert_eq!(
        declarations[0].file,
        folder.0.path().join("workspaces/a.toml")
    );
}

#[test]
fn where_nothing_is_on_github_no_token_is_asked_for() {
    let plain = "repo = \"/srv/git/infra\"\n[discover]\npaths = [\"*\"]\nenv = { plan = [\"GITHUB_TOKEN\"] }\n";
    let folder = Folder::new("", &[("a.toml", plain)]);
    assert_eq!(folder.load().into_valid().unwrap().0.github, None);
    // Beside a repository on GitHub the same variable is the daemon's own.
    folder.write("workspaces/b.toml", DECLARATION.as_bytes());
    assert!(folder.problems().contains("the daemon's own token"));
}

#[test]
fn warnings_do_not_keep_the_daemon_from_starting() {
    let url = "repo = \"https://github.com/acme/infra\"\n[discover]\npaths = [\"*\"]\n";
    let loaded = Folder::new("", &[("a.toml", url)]).load();
    let [warning] = &loaded.problems[..] else {
        panic!("one warning: {:?}", loaded.problems);
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.to_string().contains("repo = \"acme/infra\""));
    assert!(loaded.into_valid().is_ok());
}

#[test]
fn a_folder_of_declarations_that_is_missing_or_empty_comes_with_an_example() {
    let folder = Folder::new("", &[]);
    insta::assert_snapshot!(folder.problems(), @r#"
    workspaces: there is no such folder, and it should hold the declarations; make it, with one file per repository, workspaces/acme.toml say:
        repo = "acme/infra"
        [discover]
        paths = ["**"]
    "#);
    fs::create_dir(folder.0.path().join("workspaces")).unwrap();
    insta::assert_snapshot!(folder.problems(), @r#"
    workspaces: the folder has no declarations, so nothing is watched; write one file per repository, workspaces/acme.toml say:
        repo = "acme/infra"
        [discover]
        paths = ["**"]
    "#);
    assert!(folder.load().config.is_some(), "mainstay.toml is in order");
    folder.write("workspaces/acme.toml", EXAMPLE.as_bytes());
    assert!(folder.load().into_valid().is_ok(), "the example is valid");
}

#[test]
fn what_is_no_toml_does_not_hide_the_mistakes_of_other_files() {
    let folder = Folder::new(
        "data_dir = \n",
        &[("a.toml", "repo = 1\n"), ("b.toml", DECLARATION)],
    );
    let loaded = folder.load();
    assert!(loaded.config.is_none());
    assert_eq!(loaded.declarations.len(), 1);
    insta::assert_snapshot!(folder.problems(), @"
    mainstay.toml:1:12: the file is no valid TOML: string values must be quoted, expected literal string
    workspaces/a.toml: the file declares no workspace; add one with `[[workspace]]`, or `[discover]` to have them found
    workspaces/a.toml:1:8: `repo`: expected a text, found a number
    ");
}

#[test]
fn a_file_that_is_missing_or_no_text_is_a_problem_of_its_own() {
    let folder = Folder::new("", &[("a.toml", DECLARATION)]);
    folder.write("workspaces/b.toml", b"repo = \"a/b\"\nx = \"\xff\"\n");
    fs::create_dir(folder.0.path().join("workspaces/c.toml")).unwrap();
    insta::assert_snapshot!(folder.problems(), @"
    workspaces/b.toml:2:6: the file is no text in UTF-8 here
    workspaces/c.toml: the file cannot be read: Is a directory (os error 21)
    ");
    let loaded = load(&folder.0.path().join("none.toml"));
    assert!(loaded.config.is_none());
    assert!(loaded.problems[0].message.contains("No such file"));
}

#[test]
fn one_branch_of_one_repository_is_declared_once() {
    let other = "repo = \"Acme/infra\"\nbranch = \"main\"\n[discover]\npaths = [\"*\"]\n";
    let folder = Folder::new("", &[("a.toml", DECLARATION), ("b.toml", other)]);
    insta::assert_snapshot!(folder.problems(), @"workspaces/b.toml:1:8: the branch `main` of this repository is declared at workspaces/a.toml:1:8 already; put both lists of workspaces into one file");
}

#[test]
fn one_name_of_a_workspace_is_taken_once_in_a_repository() {
    let on = |branch: &str| {
        format!(
            "repo = \"acme/infra\"\nbranch = \"{branch}\"\n[[workspace]]\nname = \"a\"\npath = \"{branch}\"\n"
        )
    };
    let folder = Folder::new("", &[("a.toml", &on("main")), ("b.toml", &on("live"))]);
    insta::assert_snapshot!(folder.problems(), @"workspaces/b.toml:4:8: the name `a` is taken by the workspace of this repository at workspaces/a.toml:4:8; give each workspace of a repository a name of its own");
}

/// Lines of keys that are known with values that often are not theirs.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("repo"),
        Just("branch"),
        Just("proposals"),
        Just("unreviewed"),
        Just("name"),
        Just("path"),
        Just("paths"),
        Just("exclude"),
        Just("environment"),
        Just("var_files"),
        Just("watch"),
        Just("apply"),
        Just("drift"),
        Just("policies"),
        Just("env"),
        Just("env.plan"),
        Just("terraform_workspace"),
        Just("plan_timeout"),
        Just("data_dir"),
        Just("listen"),
        Just("parallel"),
        Just("engine"),
        Just("github"),
        Just("github.app"),
        Just("api_url"),
        Just("token_env"),
        Just("sandbox.read"),
        Just("log.format"),
    ];
    let text = prop_oneof![
        "\\PC{0,12}",
        "(\\.\\./|\\*\\*|/|[a-z@:?*\\[{}-]){0,8}",
        Just("acme/infra".to_owned()),
        Just("https://a@b/c".to_owned()),
        Just("1h".to_owned()),
        Just("0 3 * * *".to_owned()),
    ]
    .prop_map(|text| format!("{text:?}"));
    let leaf = prop_oneof![
        text,
        any::<i64>().prop_map(|number| number.to_string()),
        Just("true".to_owned()),
        Just("1e400".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|v| format!("[{}]", v.join(", "))),
            inner.prop_map(|v| format!("{{ every = {v}, action = {v}, plan = {v}, id = {v} }}")),
        ]
    });
    prop_oneof![
        6 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        1 => Just("[[workspace]]\n".to_owned()),
        1 => Just("[discover]\n".to_owned()),
        1 => Just("[github]\n".to_owned()),
    ]
}

/// Reads the same bytes as settings and as a declaration.
fn read_both(bytes: &[u8]) -> Vec<Problem> {
    let main = SettingsFile::parse(Path::new("mainstay.toml"), bytes.to_vec());
    let config = settings::read(&main, Path::new("/etc/mainstay"));
    let file = SettingsFile::parse(Path::new("acme.toml"), bytes.to_vec());
    let defaults = config.workspace_defaults();
    let surroundings = Surroundings {
        folder: &config.workspaces,
        defaults: &defaults,
        credential: Some(DEFAULT_TOKEN_ENV),
    };
    let declared = declaration::read(&file, surroundings);
    assert!(
        declared.is_some() || file.has_errors(),
        "a file without a declaration says why"
    );
    let mut problems = main.into_problems();
    problems.extend(file.into_problems());
    problems
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_both(&bytes);
    }

    #[test]
    fn no_toml_makes_the_reader_panic_and_each_problem_has_its_place(
        lines in prop::collection::vec(line(), 0..12),
    ) {
        let text = lines.concat();
        for problem in read_both(text.as_bytes()) {
            prop_assert_eq!(problem.to_string().lines().count(), 1);
            let count = u32::try_from(text.lines().count()).unwrap();
            prop_assert!(problem.line.is_none_or(|line| (1..=count + 1).contains(&line)));
        }
    }
}
