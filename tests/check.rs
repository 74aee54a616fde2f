//! `mainstay check`: every mistake at once, with its place; and online, whether the outside agrees.

mod checkout;
#[expect(dead_code, reason = "each test crate uses a part of the model")]
mod github;
mod localfs;
#[expect(dead_code, reason = "each test crate uses a part of the harness")]
mod scenario;

use checkout::{Checkout, Ran, path_of};
use github::world::Role;
use insta::assert_snapshot;
use scenario::{Scenario, declaration, one_file, workspace};

/// Settings for one repository on GitHub.
const ACME: &str = "repo = \"acme/infra\"\n[discover]\npaths = [\"*\"]\n";

/// A folder with settings, which `check` reads.
fn settings(main: &str, declarations: &[(&str, &str)]) -> Checkout {
    let mut folder = Checkout::without_git("settings");
    folder.write("mainstay.toml", main);
    for (name, text) in declarations {
        folder.write(&format!("workspaces/{name}"), text);
    }
    folder.set("GITHUB_TOKEN", "ghp_not-asked-for-offline");
    folder
}

fn said(ran: &Ran, folder: &Checkout) -> String {
    let text = format!("{}{}", ran.stdout, ran.stderr);
    text.replace(&*folder.folder().to_string_lossy(), "HERE")
}

#[test]
fn a_good_configuration_is_told_so() {
    let folder = settings("", &[("acme.toml", ACME)]);
    let ran = folder.run(&["check"]).ended_with(0);
    assert_snapshot!(said(&ran, &folder), @"");
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
    assert_snapshot!(said(&ran, &folder), @"");
}

#[test]
fn the_settings_may_be_named_from_elsewhere() {
    let folder = settings("pol_every = \"1s\"\n", &[("acme.toml", ACME)]);
    let mut command = folder.mainstay(&["check", "--config", "settings/mainstay.toml"]);
    command.current_dir(folder.folder());
    let ran = folder.finish(command).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @"");
}

#[test]
fn without_settings_it_says_what_was_looked_for() {
    let folder = Checkout::without_git("empty");
    let ran = folder.run(&["check"]).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @"");
}

#[test]
fn a_token_that_is_not_set_is_a_warning_until_it_is_needed() {
    let mut folder = settings(
        "[github]\ntoken_env = \"BOT_TOKEN\"\napi_url = \"http://127.0.0.1:9\"\n",
        &[("acme.toml", ACME)],
    );
    folder.set("BOT_TOKEN", "");
    let ran = folder.run(&["check"]).ended_with(0);
    assert_snapshot!(said(&ran, &folder), @"");
    let ran = folder.run(&["check", "--online"]).ended_with(1);
    let text = said(&ran, &folder);
    assert!(
        text.contains("error the environment variable `BOT_TOKEN` is not set"),
        "{text}"
    );
}

#[test]
fn policies_that_nothing_evaluates_are_warned_of() {
    let text = "repo = \"acme/infra\"\n[[workspace]]\nname = \"a\"\npath = \"a\"\npolicies = [\"baseline\"]\n";
    let folder = settings("", &[("acme.toml", text)]);
    let ran = folder.run(&["check"]).ended_with(0);
    assert_snapshot!(said(&ran, &folder), @"");
}

#[test]
fn a_sandbox_that_is_demanded_and_not_there_stops_the_daemon() {
    let folder = settings("[sandbox]\nlevel = \"landlock\"\n", &[("acme.toml", ACME)]);
    let ran = folder.run(&["check"]).ended_with(1);
    assert!(
        ran.stdout.contains("error `sandbox.level = \"landlock\"`"),
        "{}",
        ran.stdout
    );
    let ran = folder.run(&["serve"]).ended_with(1);
    assert_snapshot!(said(&ran, &folder), @"");
}

/// What `check --online` says in a scenario, without what changes from run to run.
fn online(s: &Scenario, code: i32) -> String {
    let ran = s.run(&["check", "--online"]);
    let mut text = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{text}");
    assert!(!text.contains('\u{1b}'), "an escape code in {text:?}");
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
    assert_snapshot!(text, @"");
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
    assert_snapshot!(errors(&online(&s, 1)), @"");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_token_that_may_only_read_is_told() {
    let s = quiet().await;
    s.repo.grant(scenario::BOT, Role::Read);
    assert_snapshot!(errors(&online(&s, 1)), @"");
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
    assert_snapshot!(errors(&text), @"");
    assert!(text.contains("ok acme/infra: main is at HEAD"), "{text}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_a_branch_that_is_not_there_is_told() {
    let s = quiet().await;
    let text = declaration("acme/infra", &workspace("network", ""));
    s.declare("acme.toml", &format!("branch = \"release\"\n{text}"));
    assert_snapshot!(errors(&online(&s, 1)), @"");
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
    assert_snapshot!(errors(&online(&s, 1)), @"");
    s.set("PATH", "");
    assert_snapshot!(errors(&online(&s, 1)), @"");
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
    assert_snapshot!(text, @"");
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
