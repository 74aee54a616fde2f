//! The command line as people meet it: help, mistakes, what the daemon knows, what is in its way.

use std::path::Path;
use std::time::Duration;

use crate::checkout::Checkout;
use crate::scenario::{Scenario, declaration, file, root, workspace};
use insta::assert_snapshot;

/// Every command that has a help page of its own.
const COMMANDS: [&str; 15] = [
    "demo",
    "serve",
    "dry-run",
    "drift",
    "check",
    "status",
    "runs",
    "run",
    "apply",
    "cancel",
    "audit",
    "backup",
    "unseal",
    "override",
    "completions",
];

#[test]
fn every_command_explains_itself() {
    let folder = Checkout::without_git("anywhere");
    let ran = folder.run(&["--help"]).ended_with(0);
    assert_snapshot!("help", ran.stdout);
    for command in COMMANDS {
        assert!(
            ran.stdout.contains(&format!("\n  {command} ")),
            "{command} is not listed"
        );
        let ran = folder.run(&[command, "--help"]).ended_with(0);
        assert!(ran.stdout.contains("Examples:"), "{command} has no example");
        let widest = ran.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{command}: {widest:?} columns");
        assert_snapshot!(format!("help_{}", command.replace('-', "_")), ran.stdout);
    }
    for (above, command) in [
        ("policy", "test"),
        ("policy", "list"),
        ("state", "pull"),
        ("state", "push"),
        ("key", "rotate"),
    ] {
        let ran = folder.run(&[above, command, "--help"]).ended_with(0);
        assert!(ran.stdout.contains("Examples:"), "{command} has no example");
        assert_snapshot!(format!("help_{above}_{command}"), ran.stdout);
    }
}

#[test]
fn without_a_command_the_help_is_shown_and_it_is_an_error() {
    let folder = Checkout::without_git("anywhere");
    let ran = folder.run(&[]).ended_with(1);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("Usage: mainstay <COMMAND>"),
        "{}",
        ran.stderr
    );
    let ran = folder.run(&["--version"]).ended_with(0);
    assert_eq!(
        ran.stdout,
        format!("mainstay {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_mistake_on_the_command_line_is_no_change_and_is_told_what_is_near() {
    // Clap's own code, 2, means changes here.
    let folder = Checkout::without_git("anywhere");
    let said = |arguments: &[&str]| folder.run(arguments).ended_with(1).stderr;
    assert_snapshot!(said(&["dryrun"]), @r"
    error: unrecognized subcommand 'dryrun'

      tip: a similar subcommand exists: 'dry-run'

    Usage: mainstay <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(said(&["dry-run", "--formt", "json"]), @r"
    error: unexpected argument '--formt' found

      tip: a similar argument exists: '--format'

    Usage: mainstay dry-run --format <FORMAT> [DIR]

    For more information, try '--help'.
    ");
    assert_snapshot!(said(&["dry-run", "--format", "jsn"]), @r"
    error: invalid value 'jsn' for '--format <FORMAT>'
      [possible values: text, markdown, json, json-schema]

      tip: a similar value exists: 'json'

    For more information, try '--help'.
    ");
    assert_snapshot!(said(&["dry-run", "--workspace", "a b"]), @r"
    error: invalid value 'a b' for '--workspace <NAME>': `a b` is no workspace name: it has 1 to 100 letters, digits, `.`, `_`, `-` and `/`, and begins with a letter or digit

    For more information, try '--help'.
    ");
    assert_snapshot!(said(&["run", "last"]), @r"
    error: invalid value 'last' for '<NUMBER>': a run has a number, as `mainstay runs` shows it in its first column

    For more information, try '--help'.
    ");
    assert_snapshot!(said(&["runs", "-n", "many"]), @r"
    error: invalid value 'many' for '--limit <COUNT>': invalid digit found in string

    For more information, try '--help'.
    ");
}

#[test]
fn completions_know_every_command() {
    let folder = Checkout::without_git("anywhere");
    for shell in ["bash", "zsh", "fish"] {
        let ran = folder.run(&["completions", shell]).ended_with(0);
        for command in COMMANDS {
            assert!(
                ran.stdout.contains(command),
                "{shell} does not know {command}"
            );
        }
    }
    let ran = folder.run(&["completions", "basj"]).ended_with(1);
    assert!(
        ran.stderr.contains("a similar value exists: 'bash'"),
        "{}",
        ran.stderr
    );
}

/// Settings of a daemon that never ran, with its data in `var`.
fn settings() -> Checkout {
    let folder = Checkout::without_git("daemon");
    folder.write("mainstay.toml", "data_dir = \"var\"\nlisten = \"off\"\n");
    folder.write(
        "workspaces/acme.toml",
        "repo = \"/srv/git/none.git\"\n\n[[workspace]]\nname = \"network\"\npath = \"network\"\n",
    );
    folder
}

/// Runs a command that must fail, in a folder that it may not change. Gives what it says.
fn refused(folder: &Checkout, command: &str) -> String {
    let ran = folder.run(&[command]).ended_with(1);
    assert_eq!(ran.stdout, "", "{command}");
    // Without the daemon's log, whose lines begin with the time.
    let said = ran.stderr.lines().filter(|line| !line.starts_with("20"));
    let said: Vec<&str> = said.collect();
    said.join("\n")
        .replace(&*folder.dir().to_string_lossy(), "HERE")
}

#[test]
fn before_the_daemon_ever_ran_there_is_nothing_to_show_and_nothing_is_made() {
    let folder = settings();
    assert_snapshot!(refused(&folder, "status"), @"error: nothing is recorded at HERE/var/mainstay.db yet: start `mainstay serve` with these settings, or name those of the daemon by `--config`");
    for command in ["runs", "apply", "cancel"] {
        assert_eq!(refused(&folder, command), refused(&folder, "status"));
    }
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let folder = settings();
    let rubbish = "this is no database, however long one reads on in it";
    folder.write("var/mainstay.db", rubbish);
    let file = folder.dir().join("var/mainstay.db");
    assert_snapshot!(refused(&folder, "status"), @"error: the database HERE/var/mainstay.db is damaged (file is not a database). It was left as it is. Put a backup in its place, or move it away to start with an empty record: states of workspaces are kept beside it, but what was applied is then compared anew");
    for command in ["runs", "apply"] {
        assert!(refused(&folder, command).contains("is damaged"));
    }
    // The daemon takes its folder, and the file is as it was all the same.
    let output = folder.mainstay(&["serve"]).output().unwrap();
    let ran = crate::checkout::Ran::of(&output).ended_with(1);
    assert!(
        ran.stderr.contains("is damaged (file is not a database)"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("It was left as it is."),
        "{}",
        ran.stderr
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), rubbish);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = settings();
    let var = folder.dir().join("var");
    drop(mainstay::store::Store::open(&var).unwrap());
    let raw = rusqlite::Connection::open(var.join("mainstay.db")).unwrap();
    raw.pragma_update(None, "user_version", 99_u32).unwrap();
    drop(raw);
    let before = std::fs::read(var.join("mainstay.db")).unwrap();
    for command in ["status", "serve"] {
        let output = folder.mainstay(&[command]).output().unwrap();
        let ran = crate::checkout::Ran::of(&output).ended_with(1);
        assert!(
            ran.stderr
                .contains("has form 99, and this version knows forms up to"),
            "{command}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("use a newer Mainstay"),
            "{command}: {}",
            ran.stderr
        );
        assert_eq!(
            std::fs::read(var.join("mainstay.db")).unwrap(),
            before,
            "{command}"
        );
    }
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = settings();
    // A file is in the way: not even root can make a folder there.
    folder.write("var", "");
    assert_snapshot!(refused(&folder, "serve"), @r"
    error: the record cannot be opened
      because cannot make the folder HERE/var; `data_dir` in the settings names it
      because File exists (os error 17)
    ");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = settings();
    // Nobody, root included, can make a file there.
    folder.write(
        "mainstay.toml",
        "data_dir = \"/proc/self\"\nlisten = \"off\"\n",
    );
    assert_snapshot!(refused(&folder, "serve"), @r"
    error: the record cannot be opened
      because the database /proc/self/mainstay.db cannot be opened
      because unable to open database file: /proc/self/mainstay.db
      because Error code 14: unable to open database file
    ");
}

/// A served repository with a workspace in each state that a person has to know of.
async fn of_every_state() -> Scenario {
    let mut s = Scenario::new().await;
    let workspaces = [
        workspace("network", "environment = \"production\""),
        workspace("database", "apply = \"on-approval\""),
        workspace("app", ""),
    ];
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspaces.concat()),
    );
    let commit = s.repo.commit(
        "main",
        &[
            ("network/main.tf", &root(&[&file("subnet", "one", "")])),
            ("database/main.tf", &root(&[&file("server", "one", "")])),
            (
                "app/main.tf",
                &root(&[&file("app", "one", "fail = \"create\"")]),
            ),
        ],
        "The beginning",
    );
    s.start();
    s.wait("the record", |s| {
        s.data_dir().join("mainstay.db").is_file().then_some(())
    })
    .await;
    s.run_is("merge", "network", "applied").await;
    s.run_is("merge", "database", "held").await;
    s.run_is("merge", "app", "failed").await;
    let pull = s.propose(
        "wider",
        &[("network/main.tf", &root(&[&file("subnet", "two", "")]))],
    );
    s.comment_with(pull, "1 to change").await;
    s.status_is(&commit, "mainstay/apply", "failure").await;
    std::fs::write(s.world().join("subnet.txt"), "by hand").unwrap();
    let ran = s.run(&["drift", "--workspace", "network"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let head = &commit[..7];
    assert_snapshot!("drift", ran.stdout.replace(head, "MAIN"));
    for (issue, text) in [
        ("Drift in network", "by hand"),
        ("database waits for a person", "database"),
        ("app waits for a person", "app"),
    ] {
        s.issue_with(issue, text).await;
    }
    s
}

/// A text without what differs between two runs of the test: folders, commits, times, processes.
fn screen(s: &Scenario, text: &str) -> String {
    let mut text = text.replace(&*s.folder().to_string_lossy(), "HERE");
    for (name, branch) in [("MAIN", "main"), ("HEAD", "wider")] {
        if let Some(commit) = s.repo.head(branch) {
            text = text.replace(&commit, name).replace(&commit[..7], name);
        }
    }
    crate::screening::sandbox(&crate::screening::numbers(&crate::screening::times(
        &crate::screening::past(&text),
    )))
}

/// Holds that each row of a table has its cells below their heads.
fn aligned(text: &str, heads: &[&str]) {
    let mut lines = text
        .lines()
        .skip_while(|line| !heads.iter().all(|head| line.contains(head)));
    let head = lines.next().expect("the table has a head");
    let columns: Vec<usize> = heads.iter().map(|h| head.find(h).unwrap()).collect();
    let rows: Vec<&str> = lines.take_while(|line| line.starts_with(' ')).collect();
    assert!(!rows.is_empty(), "no row below {head:?}\n{text}");
    for row in rows {
        let cells: Vec<char> = row.chars().collect();
        for column in &columns {
            let begins = cells.get(*column).is_some_and(|c| *c != ' ') && cells[column - 1] == ' ';
            assert!(
                begins || cells.get(*column).is_none_or(|c| *c == ' '),
                "{row:?} is out of line\n{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_knows_is_shown_to_people_and_programs() {
    let s = of_every_state().await;
    let ran = s.run(&["status"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    aligned(&ran.stdout, &["workspace", "applied", "state", "drift"]);
    let shown = screen(&s, &ran.stdout);
    let (first, shown) = shown.split_once('\n').unwrap();
    assert!(first.starts_with("The daemon runs (process "), "{first}");
    assert_snapshot!("status", shown);

    let ran = s.run(&["status", "--comments"]);
    assert!(
        ran.stdout.contains("### `network` changes"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("── Drift in network ──"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("<!--"), "{}", ran.stdout);

    let status = s.json(&["status", "--format", "json"]);
    assert_eq!(status["schema"], "mainstay.status/1");
    assert!(status["daemon"].is_u64(), "{status}");
    let workspaces = status["repositories"][0]["workspaces"].as_array().unwrap();
    let of = |name: &str| workspaces.iter().find(|w| w["name"] == name).unwrap();
    assert_eq!(of("network")["drift"], true);
    assert_eq!(of("database")["last_merge"]["state"], "held");
    assert!(of("database")["hold"].is_string());
    assert!(of("app")["failure"].is_string());
    assert_eq!(of("app")["applied"], serde_json::Value::Null);

    let ran = s.run(&["runs"]);
    aligned(
        &ran.stdout,
        &[
            "run",
            "when",
            "workspace",
            "purpose",
            "proposal",
            "commit",
            "state",
            "plan",
        ],
    );
    // Which of the first three runs came first is nobody's to say.
    let shown = screen(&s, &ran.stdout);
    let mut rows: Vec<&str> = shown
        .lines()
        .map(|row| row.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '))
        .collect();
    rows[1..].sort_unstable();
    assert_snapshot!("runs", rows.join("\n"));
    let only = s.run(&["runs", "--workspace", "database"]);
    assert_eq!(only.stdout.lines().count(), 2, "{}", only.stdout);
    let near = s.run(&["runs", "--workspace", "databse"]);
    assert_eq!(near.code, 1);
    assert!(
        near.stderr.contains("did you mean `database`?"),
        "{}",
        near.stderr
    );

    for (workspace, purpose) in [
        ("network", "merge"),
        ("database", "merge"),
        ("app", "merge"),
        ("network", "drift"),
    ] {
        let id = s.runs_for(purpose, workspace)[0]["id"].to_string();
        let ran = s.run(&["run", &id]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let shown = screen(&s, &ran.stdout);
        assert_snapshot!(format!("run_{purpose}_{workspace}"), without_clock(&shown));
        let run = s.json(&["run", &id, "--format", "json"]);
        assert_eq!(run["schema"], "mainstay.run/1");
        assert_eq!(run["report"]["schema"], "mainstay.report/1");
        assert_eq!(run["run"]["workspace"], workspace);
        assert!(!run["events"].as_array().unwrap().is_empty());
    }
    let ran = s.run(&["run", "999"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .starts_with("error: there is no run 999; the newest is "),
        "{}",
        ran.stderr
    );
    s.end().await;
}

/// The history of a run without its times, and without how often Terraform had to be asked.
fn without_clock(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some(day), Some(time)) if day.starts_with("20") && time.contains(':') => {
                words.collect::<Vec<_>>().join(" ")
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_daemon_the_record_is_shown_and_what_is_asked_of_it_is_noted() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &root(&[&file("subnet", "one", "")]))])
        .await;
    s.stop();
    let ran = s.run(&["status"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("The daemon does not run; `mainstay serve` starts it.\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        s.json(&["status", "--format", "json"])["daemon"],
        serde_json::Value::Null
    );
    let ran = s.run(&["cancel"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr
            .starts_with("Noted for the daemon, which does not run now"),
        "{}",
        ran.stderr
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_github_refuses_is_said_once_and_taken_up_when_it_is_let_in() {
    const LATE: &str = "ghp_let-in-later-0123456789";
    let mut s = Scenario::new().await;
    s.set("GITHUB_TOKEN", LATE);
    let commit = s.repo.commit(
        "main",
        &[("network/main.tf", &root(&[&file("subnet", "one", "")]))],
        "The beginning",
    );
    s.start();
    s.looks_pass(4).await;
    let ran = s.run(&["status"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let error = ran
        .stdout
        .lines()
        .find(|line| line.contains("cannot be looked at"))
        .unwrap_or_default();
    assert!(error.contains("Bad credentials"), "{}", ran.stdout);
    assert!(
        error.contains("put a good one in its place"),
        "{}",
        ran.stdout
    );
    let said = s.log().matches("Looking at acme/infra failed").count();
    assert_eq!(said, 1, "{}", s.log());
    assert!(!s.log().contains(LATE), "the token is in the log");

    s.hub.token(LATE, crate::scenario::BOT, &["repo"]);
    s.status_is(&commit, "mainstay/apply", "success").await;
    let ran = s.run(&["status"]);
    assert!(
        !ran.stdout.contains("cannot be looked at"),
        "{}",
        ran.stdout
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_repositories_a_command_says_which() {
    let mut s = Scenario::new().await;
    s.another("acme/other").commit(
        "main",
        &[("network/main.tf", &root(&[&file("other", "one", "")]))],
        "The beginning",
    );
    s.applied(&[("network/main.tf", &root(&[&file("subnet", "one", "")]))])
        .await;
    s.wait("both repositories to be applied", |s| {
        std::thread::sleep(Duration::from_millis(100));
        (s.runs()
            .iter()
            .filter(|run| run["state"] == "applied")
            .count()
            == 2)
            .then_some(())
    })
    .await;
    let ran = s.run(&["cancel"]);
    assert_eq!(ran.code, 1);
    assert_snapshot!(ran.stderr, @"error: several repositories are declared: name one by --repo; there are `acme/other`, `acme/infra`");
    let ran = s.run(&["cancel", "--repo", "acme/infr"]);
    assert_eq!(ran.code, 1);
    assert_snapshot!(ran.stderr, @"error: no repository `acme/infr` is declared; did you mean `acme/infra`?");
    // It is told to the right one, which has nothing to cancel and says so.
    let ran = s.run(&["cancel", "--repo", "acme/other"]);
    assert_eq!(ran.code, 1);
    let refused = "error: the daemon refused `mainstay cancel` in acme/other: ";
    assert!(ran.stderr.starts_with(refused), "{}", ran.stderr);
    let listed = s.run(&["runs"]).stdout;
    aligned(&listed, &["run", "when", "repository", "workspace"]);
    assert!(listed.contains("acme/other"), "{listed}");
    s.end().await;
}

#[test]
fn colour_is_for_terminals_and_not_with_no_color() {
    // `script` gives the program a terminal; where there is none, there is nothing to hold.
    let Some(script) = find("script") else { return };
    let folder = Checkout::without_git("anywhere");
    let shown = |no_color: &str| {
        let output = std::process::Command::new(&script)
            .args([
                "-qec",
                &format!("{} status", crate::localfs::MAINSTAY),
                "/dev/null",
            ])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .current_dir(folder.dir())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(shown("").contains('\u{1b}'), "{:?}", shown(""));
    let plain = shown("1");
    assert!(
        plain.contains("error:") && !plain.contains('\u{1b}'),
        "{plain:?}"
    );
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let folders = ["/usr/bin", "/bin"].map(Path::new);
    folders
        .iter()
        .map(|f| f.join(program))
        .find(|p| p.is_file())
}
