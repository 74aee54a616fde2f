//! `mainstay check`: every mistake at once, with its place; and online, whether the outside agrees.

use crate::checkout::{Checkout, Ran, path_of};
use crate::github::world::Role;
use crate::scenario::{Scenario, declaration, one_file, workspace};
use insta::assert_snapshot;

/// Settings for one repository on GitHub.
const ACME: &str = "repo = \"acme/infra\"\n[discover]\npaths = [\"*\"]\n";

/// A folder with settings, which `check` reads.
fn settings(main: &str, declarations: &[(&str, &str)]) -> Checkout {
    let mut folder = Checkout::without_git("settings");
    // Which sandbox there is is the machine's, and has tests of its own.
    let sandbox = match main.contains("[sandbox]") {
        true => "",
        false => "\n[sandbox]\nlevel = \"none\"\n",
    };
    folder.write("mainstay.toml", &format!("{main}{sandbox}"));
    for (name, text) in declarations {
        folder.write(&format!("workspaces/{name}"), text);
    }
    folder.set("GITHUB_TOKEN", "ghp_not-asked-for-offline");
    folder
}

fn said(ran: &Ran, folder: &Checkout) -> String {
    let text = format!("{}{}", ran.stdout, ran.stderr);
    without_machine(&text).replace(&*folder.folder().to_string_lossy(), "HERE")
}

/// What is said, without the line on what this machine carries.
fn without_machine(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(" at once, on "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_good_configuration_is_told_so() {
    let folder = settings("", &[("acme.toml", ACME)]);
    let ran = folder.run(&["check"]).ended_with(0);
    assert_snapshot!(said(&ran, &folder), @r"
         ok mainstay.toml: 1 repository, workspaces are discovered
    warning runs are in no sandbox: a plan runs the code of the pull request with the daemon's rights
    0 errors, 1 warning
    ");
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let folder = settings(
        r#"poll_evry = "30s"
parallel = "two"
engine = 3
data_dir = ""

[sandbox]
level = "landlok"
"#,
        &[
            (
                "acme.toml",
                r#"repo = "acme/infra"
branch = 7

[[workspace]]
name = "network"
path = "../elsewhere"
enviroment = "production"

[[workspace]]
name = "network"
path = "/srv/network"

[[workspace]]
name = "data base"
path = "database"
drift = { every = "sometimes" }
apply = "on-approvl"
var_files = "prod.tfvars"
"#,
            ),
            ("beta.toml", "repo = \n"),
            ("gamma.toml", "[discover]\npaths = [\"**/../x\"]\n"),
        ],
    );
    let ran = folder.run(&["check"]).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @r#"
      error mainstay.toml:1:1: unknown key `poll_evry`; did you mean `poll_every`?
      error mainstay.toml:2:12: `parallel`: expected a whole number, found a text
      error mainstay.toml:3:10: `engine`: expected a text, found a number
      error mainstay.toml:4:12: `data_dir`: the path is empty
      error mainstay.toml:7:9: `level`: `landlok` is none of `auto`, `bubblewrap`, `landlock` and `none`; did you mean `landlock`?
      error workspaces/acme.toml:2:10: `branch`: expected a text, found a number
      error workspaces/acme.toml:6:8: `path`: `../elsewhere` leaves the repository
      error workspaces/acme.toml:7:1: unknown key `enviroment`; did you mean `environment`?
      error workspaces/acme.toml:10:8: the name `network` is taken by the workspace at workspaces/acme.toml:5:8; give each workspace a name of its own
      error workspaces/acme.toml:11:8: `path`: `/srv/network` is absolute; paths are relative and stay inside the repository
      error workspaces/acme.toml:14:8: `name`: `data base` is no workspace name: it has 1 to 100 letters, digits, `.`, `_`, `-` and `/`, and begins with a letter or digit
      error workspaces/acme.toml:16:19: `every`: an interval is written `30m`, `1h` or `1d`, a cron line in five fields like `0 3 * * *`: `sometimes` is no duration: `sometimes` is no whole number; write `30s`, `5m`, `1h` or `1d`
      error workspaces/acme.toml:17:9: `apply`: `on-approvl` is none of `on-merge`, `on-approval` and `never`; did you mean `on-approval`?
      error workspaces/acme.toml:18:13: `var_files`: expected a list of texts, found a text
      error workspaces/beta.toml:1:8: the file is no valid TOML: string values must be quoted, expected literal string
      error workspaces/gamma.toml: `repo` is missing at the top of the file; write `repo = "owner/name"`, a URL or a path
      error workspaces/gamma.toml:2:10: `paths`: `**/../x` leaves the repository
    17 errors, 0 warnings
    "#);
}

#[test]
fn the_settings_may_be_named_from_elsewhere() {
    let folder = settings("pol_every = \"1s\"\n", &[("acme.toml", ACME)]);
    let mut command = folder.mainstay(&["check", "--config", "settings/mainstay.toml"]);
    command.current_dir(folder.folder());
    let ran = folder.finish(command).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @r"
      error settings/mainstay.toml:1:1: unknown key `pol_every`; did you mean `poll_every`?
    1 error, 0 warnings
    ");
}

#[test]
fn without_settings_it_says_what_was_looked_for() {
    let folder = Checkout::without_git("empty");
    let ran = folder.run(&["check"]).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @"error: there are no settings: no `--config FILE` is given, `MAINSTAY_CONFIG` is not set, and there is no `mainstay.toml` in HERE/empty; `mainstay demo` and `mainstay dry-run` need none");
}

#[test]
fn a_token_that_is_not_set_is_a_warning_until_it_is_needed() {
    let mut folder = settings(
        "[github]\ntoken_env = \"BOT_TOKEN\"\napi_url = \"http://127.0.0.1:9\"\n",
        &[("acme.toml", ACME)],
    );
    folder.set("BOT_TOKEN", "");
    let ran = folder.run(&["check"]).ended_with(0);
    assert_snapshot!(said(&ran, &folder), @r"
         ok mainstay.toml: 1 repository, workspaces are discovered
    warning runs are in no sandbox: a plan runs the code of the pull request with the daemon's rights
    warning the environment variable `BOT_TOKEN` is not set, and should hold the token for GitHub; set it, or name another with `token_env` or a file with `token_file` in [github]
    0 errors, 2 warnings
    ");
    let ran = folder.run(&["check", "--online"]).ended_with(1);
    let text = said(&ran, &folder);
    assert!(
        text.contains("error the environment variable `BOT_TOKEN` is not set"),
        "{text}"
    );
}

#[test]
fn a_policy_that_is_not_there_or_is_broken_is_an_error() {
    let text = "repo = \"acme/infra\"\n[[workspace]]\nname = \"a\"\npath = \"a\"\npolicies = [\"keep-date\"]\n";
    let folder = settings("", &[("acme.toml", text)]);
    let write = |file: &str, rule: &str| {
        folder.write(
            &format!("policies/{file}"),
            &format!("package main\n\n{rule}\n"),
        );
    };
    write("keep-data.rego", "deny contains \"x\" if input.x");
    write("open.rego", "deny contains \"x\" if http.send({}).body");
    let ran = folder.run(&["check"]).ended_with(1);
    let text = said(&ran, &folder);
    for says in [
        "workspaces/acme.toml: `policies`: there is no policy `keep-date`; did you mean `keep-data`?",
        "policies: open.rego:3: `http.send` is not there",
    ] {
        assert!(text.contains(says), "{text}");
    }
    // The daemon lets nothing through without them either.
    let ran = folder.run(&["serve"]).ended_with(1);
    assert!(ran.stderr.contains("did you mean `keep-data`"), "{ran:?}");
}

#[test]
fn a_sandbox_that_is_demanded_and_not_there_stops_the_daemon() {
    let mut folder = settings(
        "[sandbox]\nlevel = \"bubblewrap\"\n",
        &[("acme.toml", ACME)],
    );
    let empty = folder.folder().to_owned();
    folder.set("PATH", empty);
    let ran = folder.run(&["check"]).ended_with(1);
    assert!(
        ran.stdout
            .contains("error `sandbox.level = \"bubblewrap\"`"),
        "{}",
        ran.stdout
    );
    let ran = folder.run(&["serve"]).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @r#"error: `sandbox.level = "bubblewrap"` is asked for and does not work here: there is no program `bwrap` in the PATH (Debian's package is `bubblewrap`); mend that, or set it to "auto", "bubblewrap", "landlock" or "none""#);
}

#[test]
fn the_sandbox_that_works_is_named() {
    let folder = settings("[sandbox]\nmerge = \"none\"\n", &[("acme.toml", ACME)]);
    let ran = folder.run(&["check"]).ended_with(0);
    let named = ["bubblewrap", "landlock"].iter().filter(|level| {
        ran.stdout
            .contains(&format!("runs are in the sandbox {level}"))
    });
    assert_eq!(named.count(), 1, "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("ok merges are in no sandbox, as the settings say"),
        "{}",
        ran.stdout
    );
}

/// What `check --online` says in a scenario, without what changes from run to run.
fn online(s: &Scenario, code: i32) -> String {
    let ran = s.run(&["check", "--online"]);
    let mut text = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{text}");
    assert!(!text.contains('\u{1b}'), "an escape code in {text:?}");
    text = without_machine(&text);
    for (found, shown) in [
        (s.folder().to_string_lossy().into_owned(), "HERE"),
        (s.hub.api_url(), "http://GITHUB"),
        (which_terraform(), "/terraform"),
    ] {
        text = text.replace(&found, shown);
    }
    if let Some(head) = s.repo.head("main") {
        text = text.replace(&head[..7], "HEAD");
    }
    text
}

fn which_terraform() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|f| f.join("terraform"))
        .find(|p| p.is_file());
    found.unwrap().to_string_lossy().into_owned()
}

/// A scenario with a commit on main and no daemon.
async fn quiet() -> Scenario {
    let s = Scenario::new().await;
    // Which sandbox there is is the machine's.
    let text = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(s.config(), text.replace("\"auto\"", "\"none\"")).unwrap();
    s.repo.commit(
        "main",
        &[("network/main.tf", &one_file("a", "b"))],
        "The beginning",
    );
    s
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_good_token_is_told_what_it_may() {
    let s = quiet().await;
    let text = online(&s, 0);
    let text = text.replace(&terraform_version(&text), "VERSION");
    assert_snapshot!(text, @r"
         ok HERE/mainstay.toml: 1 repository, 1 workspace
    warning runs are in no sandbox: a plan runs the code of the pull request with the daemon's rights
         ok Terraform VERSION at /terraform
         ok acme/infra: GitHub accepts the credentials, as mainstay-bot.
         ok acme/infra: The repository acme/infra is visible.
         ok acme/infra: The token's account may write to acme/infra: statuses and comments go through.
         ok acme/infra: Git fetches http://GITHUB/acme/infra.git with the same credentials.
         ok acme/infra: GraphQL answers: a look at 50 repositories is one query.
         ok acme/infra: main is at HEAD, 0 open proposals, 1 workspace
         ok acme/infra: network names no backend: its state is kept in HERE/var/states
    0 errors, 1 warning
    ");
    s.end().await;
}

fn terraform_version(text: &str) -> String {
    let (_, rest) = text.split_once("ok Terraform ").unwrap();
    rest.split_once(' ').unwrap().0.to_owned()
}

/// The lines of a text that tell of errors.
fn errors(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("error"))
        .collect();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_token_that_github_refuses_is_told() {
    let mut s = quiet().await;
    s.set("GITHUB_TOKEN", "ghp_of-nobody");
    assert_snapshot!(errors(&online(&s, 1)), @"  error acme/infra: GitHub at 127.0.0.1 refused `ask whose token this is`: Bad credentials; the token (or the App's id or key) is wrong, expired or revoked: put a good one in its place");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_token_that_may_only_read_is_told() {
    let s = quiet().await;
    s.repo.grant(crate::scenario::BOT, Role::Read);
    assert_snapshot!(errors(&online(&s, 1)), @"  error acme/infra: The token's account may only read acme/infra; give it the role Write, without which GitHub takes no commit status.");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_repository_that_is_not_there_is_told_and_the_others_are_looked_at() {
    let s = quiet().await;
    s.declare(
        "beta.toml",
        &declaration("acme/none", &workspace("network", "")),
    );
    let text = online(&s, 1);
    assert_snapshot!(errors(&text), @"  error acme/none: repository acme/none is not there, or may not be seen with these credentials");
    assert!(text.contains("ok acme/infra: main is at HEAD"), "{text}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_branch_that_is_not_there_is_told() {
    let s = quiet().await;
    let text = declaration("acme/infra", &workspace("network", ""));
    s.declare("acme.toml", &format!("branch = \"release\"\n{text}"));
    assert_snapshot!(errors(&online(&s, 1)), @"  error acme/infra: the branch `release` is not there; push it, or correct `branch` in HERE/workspaces/acme.toml");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_folder_that_is_not_there_is_a_warning() {
    let s = quiet().await;
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("netwrk", "")),
    );
    let text = online(&s, 0);
    assert!(
        text.contains(
            "warning acme/infra: the folder `netwrk` of netwrk holds no configuration on main"
        ),
        "{text}"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_terraform_missing_is_told_with_where_it_was_looked_for() {
    let mut s = quiet().await;
    let bin = path_of(s.folder(), &["git"]);
    s.set("PATH", bin.to_str().unwrap());
    assert_snapshot!(errors(&online(&s, 1)), @r#"  error Terraform cannot be used: found no program `terraform` (looked in the PATH, HERE/bin-git): install it, or set `engine` to "terraform", "tofu" or the path of either"#);
    s.set("PATH", "");
    assert_snapshot!(errors(&online(&s, 1)), @r#"  error Terraform cannot be used: found no program `terraform` (looked in the PATH, which is empty): install it, or set `engine` to "terraform", "tofu" or the path of either"#);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_github_that_does_not_answer_is_told() {
    let s = quiet().await;
    // A port that was free a moment ago, and that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(s.config(), text.replace(&s.hub.api_url(), &url)).unwrap();
    let text = errors(&online(&s, 1)).replace(&url, "http://NOBODY");
    assert_snapshot!(text, @"  error acme/infra: GitHub at 127.0.0.1 did not answer `ask whose token this is` properly: the connection failed: Service Error: client error (Connect): client error (Connect): tcp connect error: Connection refused (os error 111)");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_nothing_is_written_anywhere() {
    let s = quiet().await;
    let before = s.hub.truth().len();
    online(&s, 0);
    assert_eq!(s.hub.truth().len(), before, "{:?}", s.hub.truth());
    s.end().await;
}
