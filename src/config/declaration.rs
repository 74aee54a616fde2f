//! What a file of `workspaces/` says.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::problem::with_causes;
use super::reader::{TableReader, TextOrTable};
use super::repo_path;
use super::repository;
use super::settings::UNREVIEWED;
use super::settings_file::{Place, SettingsFile, Spanned};
use super::trusted;
use super::variable;
use crate::clock::{Schedule, parse_duration};
use crate::id::{BranchName, RepoName, WorkspaceName};
use crate::workspace::{
    ApplyMode, CheckMode, Checks, CredentialCommand, CredentialSettings, Declaration, Discover,
    DriftAction, DriftSettings, EnvSettings, OwnCheck, Recorded, RepoAddress, Settings, Workspace,
};

/// What a declaration is read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The folder of declarations, which relative paths start from.
    pub(super) folder: &'a Path,
    /// How a workspace is run of which nothing more is said.
    pub(super) defaults: &'a Settings,
    /// The variable that holds the daemon's own credential.
    pub(super) credential: Option<&'a str>,
}

/// A declaration with what other files are compared with.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) declaration: Declaration,
    /// Equal for two declarations of one repository.
    pub(super) identity: String,
    /// Where the repository is named.
    pub(super) repo_at: Option<Range<usize>>,
    /// Where each workspace is named.
    pub(super) names: Vec<Spanned<WorkspaceName>>,
}

/// Reads a declaration; what is wrong is noted in `file`. There is none without
/// a repository, and one with problems is not to be used.
pub(super) fn read(file: &SettingsFile, surroundings: Surroundings<'_>) -> Option<Declared> {
    let mut top = file.top()?;
    let repo = repo(&mut top, surroundings.folder);
    let branch = top
        .parsed("branch", str::parse::<BranchName>)
        .map_or_else(main_branch, |branch| branch.value);
    let mut defaults = surroundings.defaults.clone();
    if let Some(unreviewed) = top.choice("unreviewed", &UNREVIEWED) {
        defaults.unreviewed = unreviewed.value;
    }
    defaults.trust = trusted::read(&mut top, &defaults.trust);
    if top.has("credentials") {
        defaults.credentials = credentials(&mut top, surroundings.credential);
    }
    let on_github =
        matches!(&repo, Some((address, _)) if matches!(address.value, RepoAddress::GitHub { .. }));
    let proposals = proposals(&mut top, on_github);
    let recorded = match top.flag("record") {
        Some(true) => Recorded::InGit,
        Some(false) | None => Recorded::Here,
    };
    let surroundings = Surroundings {
        defaults: &defaults,
        ..surroundings
    };
    let listed = top.tables("workspace");
    // `workspace = 1` is a mistake of its own, `workspace = []` says nothing.
    let has_list = top.has("workspace") && !top.is_empty_list("workspace");
    let listed: Vec<Listed> = listed
        .into_iter()
        .map(|table| workspace(table, surroundings))
        .collect();
    note_duplicates(file, &listed);
    let has_discover = top.has("discover");
    let discover = top
        .table("discover")
        .map(|table| discover(table, surroundings));
    if !has_list && !has_discover {
        file.error(
            None,
            "the file declares no workspace",
            Some("add one with `[[workspace]]`, or `[discover]` to have them found".to_owned()),
        );
    }
    top.finish(|key| {
        WORKSPACE_KEYS
            .contains(&key)
            .then(|| "it belongs in a `[[workspace]]`, or in `[discover]`".to_owned())
    });
    let (address, name) = repo?;
    Some(Declared {
        identity: repository::identity(&address.value),
        repo_at: address.at,
        names: listed.iter().filter_map(|one| one.name.clone()).collect(),
        declaration: Declaration {
            file: file.path().to_owned(),
            repo: name,
            address: address.value,
            branch,
            proposals,
            recorded,
            workspaces: listed.into_iter().filter_map(Listed::valid).collect(),
            discover,
        },
    })
}

/// Keys of a workspace, for the hint on one that stands at the top by mistake.
const WORKSPACE_KEYS: [&str; 13] = [
    "name",
    "path",
    "environment",
    "var_files",
    "watch",
    "apply",
    "drift",
    "checks",
    "policies",
    "env",
    "terraform_workspace",
    "plan_timeout",
    "apply_timeout",
];

/// The branch that is kept true where a declaration names none.
fn main_branch() -> BranchName {
    "main"
        .parse()
        .expect("`main` follows the rules for branches")
}

fn repo(top: &mut TableReader<'_>, folder: &Path) -> Option<(Spanned<RepoAddress>, RepoName)> {
    if !top.has("repo") {
        top.missing("repo", "write `repo = \"owner/name\"`, a URL or a path");
    }
    let given = top.text("repo")?;
    let address = top.parsed("repo", |text| repository::parse(text, folder))?;
    let name = top.parsed("repo", str::parse::<RepoName>)?;
    if let Some((doubt, hint)) = repository::doubt(&address.value) {
        top.file().warning(given.at, doubt, Some(hint));
    }
    Some((address, name.value))
}

fn proposals(top: &mut TableReader<'_>, on_github: bool) -> Vec<String> {
    let file = top.file();
    let Some(given) = top.texts("proposals") else {
        return vec!["**".to_owned()];
    };
    if on_github {
        file.error(
            top.key_at("proposals"),
            "`proposals` is for plain git remotes; on GitHub the pull requests are the proposals",
            Some("take it out".to_owned()),
        );
    }
    let mut patterns = Vec::new();
    for pattern in given {
        match repo_path::glob(pattern.value) {
            Ok(()) => patterns.push(pattern.value.to_owned()),
            Err(error) => file.error(pattern.at, format!("`proposals`: {error}"), None),
        }
    }
    patterns
}

/// A `[[workspace]]` as far as it could be read.
struct Listed {
    name: Option<Spanned<WorkspaceName>>,
    path: Option<Spanned<String>>,
    settings: Settings,
}

impl Listed {
    fn valid(self) -> Option<Workspace> {
        Some(Workspace {
            name: self.name?.value,
            path: self.path?.value,
            settings: self.settings,
        })
    }
}

/// Reads a `[[workspace]]`.
fn workspace(mut table: TableReader<'_>, surroundings: Surroundings<'_>) -> Listed {
    if !table.has("name") {
        table.missing("name", "each workspace has a name of its own");
    }
    if !table.has("path") {
        table.missing(
            "path",
            "name the folder of the root module; `.` is the repository's top",
        );
    }
    let name = table.parsed("name", str::parse::<WorkspaceName>);
    let path = table.parsed("path", repo_path::folder);
    let folder = path.as_ref().map(|path| path.value.as_str());
    let settings = settings(&mut table, surroundings, folder);
    table.finish(|key| {
        matches!(key, "repo" | "branch" | "proposals" | "discover").then(|| {
            "it belongs at the top of the file, before the first `[[workspace]]`".to_owned()
        })
    });
    Listed {
        name,
        path,
        settings,
    }
}

fn discover(mut table: TableReader<'_>, surroundings: Surroundings<'_>) -> Discover {
    if !table.has("paths") || table.is_empty_list("paths") {
        table.missing("paths", "write `paths = [\"stacks/*\"]`, say");
    }
    let paths = checked(&mut table, "paths", repo_path::pattern);
    let exclude = checked(&mut table, "exclude", repo_path::pattern);
    let highest = paths
        .iter()
        .map(|pattern| repo_path::highest_match(pattern))
        .min_by_key(String::len)
        .unwrap_or_default();
    let settings = settings(&mut table, surroundings, Some(&highest));
    table.finish(|key| (key == "name").then(|| "what is found is named by its folder".to_owned()));
    Discover {
        paths,
        exclude,
        settings,
    }
}

/// Reads what a workspace and `[discover]` both may say. `folder` is the
/// workspace's, or the highest that may be found; `None` where it is not known.
fn settings(
    table: &mut TableReader<'_>,
    surroundings: Surroundings<'_>,
    folder: Option<&str>,
) -> Settings {
    let defaults = surroundings.defaults;
    let environment = table.parsed("environment", label).map(|label| label.value);
    let var_files = checked(table, "var_files", |path| match folder {
        Some(folder) => repo_path::file(folder, path),
        None => Ok(path.to_owned()),
    });
    let watch = checked(table, "watch", repo_path::pattern);
    let apply_modes = [
        ("on-merge", ApplyMode::OnMerge),
        ("on-approval", ApplyMode::OnApproval),
        ("never", ApplyMode::Never),
    ];
    let apply = table
        .choice("apply", &apply_modes)
        .map_or(defaults.apply, |mode| mode.value);
    let drift = drift(table);
    if apply == ApplyMode::Never
        && matches!(&drift, Some(drift) if drift.action == DriftAction::Apply)
    {
        table.file().error(
            table.key_at("drift"),
            "`drift` would apply, and `apply` is \"never\"",
            Some("write `action = \"report\"`, or another `apply`".to_owned()),
        );
    }
    Settings {
        environment,
        var_files,
        watch,
        apply,
        drift,
        checks: checks(table),
        policies: checked(table, "policies", label),
        env: env(table, surroundings.credential),
        credentials: if table.has("credentials") {
            credentials(table, surroundings.credential)
        } else {
            defaults.credentials.clone()
        },
        terraform_workspace: table
            .parsed("terraform_workspace", terraform_workspace)
            .map(|name| name.value),
        unreviewed: table
            .choice("unreviewed", &UNREVIEWED)
            .map_or(defaults.unreviewed, |unreviewed| unreviewed.value),
        trust: trusted::read(table, &defaults.trust),
        plan_timeout: table
            .parsed("plan_timeout", parse_duration)
            .map_or(defaults.plan_timeout, |duration| duration.value),
        apply_timeout: table
            .parsed("apply_timeout", parse_duration)
            .map_or(defaults.apply_timeout, |duration| duration.value),
    }
}

/// Reads `drift`: `"off"`, a schedule, or `{ every = …, action = … }`.
fn drift(table: &mut TableReader<'_>) -> Option<DriftSettings> {
    match table.text_or_table("drift")? {
        TextOrTable::Text(Spanned { value: "off", .. }) => None,
        TextOrTable::Text(_) => Some(DriftSettings {
            every: table.parsed("drift", Schedule::parse)?.value,
            action: DriftAction::Report,
        }),
        TextOrTable::Table(mut drift) => {
            if !drift.has("every") {
                drift.missing("every", "write `every = \"1h\"`, say");
            }
            let every = drift.parsed("every", Schedule::parse);
            let actions = [
                ("report", DriftAction::Report),
                ("apply", DriftAction::Apply),
            ];
            let action = drift
                .choice("action", &actions)
                .map_or(DriftAction::Report, |action| action.value);
            drift.finish(|_| None);
            Some(DriftSettings {
                every: every?.value,
                action,
            })
        }
    }
}

/// How long a command of the operator's own may take where its declaration does not say.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Reads `checks`: `"off"`, or what each check is for and more commands.
fn checks(table: &mut TableReader<'_>) -> Checks {
    let defaults = Checks::default();
    match table.text_or_table("checks") {
        None => defaults,
        Some(TextOrTable::Text(_)) => table
            .choice("checks", &[("off", ())])
            .map_or(defaults, |_| Checks::OFF),
        Some(TextOrTable::Table(mut checks)) => {
            let modes = [
                ("fail", CheckMode::Fail),
                ("warn", CheckMode::Warn),
                ("off", CheckMode::Off),
            ];
            let mut mode = |key, default| {
                checks
                    .choice(key, &modes)
                    .map_or(default, |mode| mode.value)
            };
            let (fmt, validate, test) = (
                mode("fmt", defaults.fmt),
                mode("validate", defaults.validate),
                mode("test", defaults.test),
            );
            let mut run: Vec<OwnCheck> = Vec::new();
            for mut own in checks.tables("run") {
                let at = own.key_at("name");
                let Some(own_check) = own_check(&mut own) else {
                    own.finish(|_| None);
                    continue;
                };
                let file = own.file();
                own.finish(|_| None);
                let taken = ["fmt", "validate", "test"].contains(&own_check.name.as_str())
                    || run.iter().any(|other| other.name == own_check.name);
                if taken {
                    file.error(
                        at,
                        format!("the name `{}` is taken by another check", own_check.name),
                        Some("give each check a name of its own".to_owned()),
                    );
                    continue;
                }
                run.push(own_check);
            }
            checks.finish(|_| None);
            Checks {
                fmt,
                validate,
                test,
                run,
            }
        }
    }
}

/// Reads one of `checks.run`; what is wrong is noted.
fn own_check(table: &mut TableReader<'_>) -> Option<OwnCheck> {
    if !table.has("name") {
        table.missing("name", "the report shows the check by its name");
    }
    if !table.has("command") || table.is_empty_list("command") {
        table.missing(
            "command",
            "write the program and its arguments as a list: `command = [\"tflint\"]`, say",
        );
    }
    let name = table.parsed("name", label);
    let command = table.texts("command").unwrap_or_default();
    let file = table.file();
    let on_failure = [("fail", CheckMode::Fail), ("warn", CheckMode::Warn)];
    let on_failure = table
        .choice("on_failure", &on_failure)
        .map_or(CheckMode::Fail, |mode| mode.value);
    let timeout = table
        .parsed("timeout", parse_duration)
        .map_or(CHECK_TIMEOUT, |duration| duration.value);
    let (program, arguments) = command.split_first()?;
    // A program of the checkout would be the pull request's to choose.
    let relative = program.value.contains('/') && !program.value.starts_with('/');
    if program.value.is_empty() || relative {
        file.error(
            program.at.clone(),
            format!(
                "`command`: `{}` is neither a name to be found in the PATH nor an absolute path",
                program.value
            ),
            Some(
                "what the repository itself holds is an argument: `[\"sh\", \"check.sh\"]`"
                    .to_owned(),
            ),
        );
        return None;
    }
    Some(OwnCheck {
        name: name?.value,
        program: program.value.to_owned(),
        arguments: arguments.iter().map(|a| a.value.to_owned()).collect(),
        on_failure,
        timeout,
    })
}

/// How long a command that prints credentials may take where its declaration does not say.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads `credentials`: what prints them for plans and for applies.
fn credentials(table: &mut TableReader<'_>, credential: Option<&str>) -> CredentialSettings {
    let Some(mut table) = table.table("credentials") else {
        return CredentialSettings::default();
    };
    let env = checked(&mut table, "env", |pattern| {
        variable::check_pattern(pattern, credential)
    });
    let timeout = table
        .parsed("timeout", parse_duration)
        .map_or(CREDENTIALS_TIMEOUT, |duration| duration.value);
    if !table.has("plan") && !table.has("apply") {
        table.missing(
            "plan",
            "write the program that prints them and its arguments as a list: `plan = [\"credentials\", \"--read-only\"]`, say",
        );
    }
    let mut command = |key: &'static str| {
        if table.has(key) && table.is_empty_list(key) {
            table.missing(key, "write the program and its arguments as a list");
        }
        let words = table.texts(key)?;
        let (program, arguments) = program(&words, key, table.file())?;
        Some(CredentialCommand {
            program,
            arguments,
            env: env.clone(),
            timeout,
        })
    };
    let (plan, apply) = (command("plan"), command("apply"));
    table.finish(|_| None);
    CredentialSettings { plan, apply }
}

/// The program of a command and its arguments. A program of the checkout is refused: it would be the
/// pull request's to choose.
fn program(
    words: &[Spanned<&str>],
    key: &str,
    file: &SettingsFile,
) -> Option<(String, Vec<String>)> {
    let (program, arguments) = words.split_first()?;
    let relative = program.value.contains('/') && !program.value.starts_with('/');
    if program.value.is_empty() || relative {
        file.error(
            program.at.clone(),
            format!(
                "`{key}`: `{}` is neither a name to be found in the PATH nor an absolute path",
                program.value
            ),
            None,
        );
        return None;
    }
    let arguments = arguments.iter().map(|a| a.value.to_owned()).collect();
    Some((program.value.to_owned(), arguments))
}

fn env(table: &mut TableReader<'_>, credential: Option<&str>) -> EnvSettings {
    let Some(mut env) = table.table("env") else {
        return EnvSettings::default();
    };
    let mut variables = |key| {
        checked(&mut env, key, |pattern| {
            variable::check_pattern(pattern, credential)
        })
    };
    let (plan, apply) = (variables("plan"), variables("apply"));
    let fork = variables("fork");
    env.finish(|_| None);
    EnvSettings { plan, apply, fork }
}

/// A list of texts that each pass `check`. What does not is noted and left out.
pub(super) fn checked<E: std::error::Error, T>(
    table: &mut TableReader<'_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let given = table.texts(key).unwrap_or_default();
    let file = table.file();
    let valid = given.into_iter().filter_map(|text| {
        check(text.value)
            .map_err(|error| {
                file.error(text.at, format!("`{key}`: {}", with_causes(&error)), None);
            })
            .ok()
    });
    valid.collect()
}

/// A text is no label.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no name; one has 1 to 100 letters, digits, `-` and `_`")]
struct InvalidLabel(String);

/// Checks the name of an environment or of a policy.
fn label(given: &str) -> Result<String, InvalidLabel> {
    let valid = (1..=100).contains(&given.len())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    valid
        .then(|| given.to_owned())
        .ok_or_else(|| InvalidLabel(given.to_owned()))
}

/// A text is no name of one of Terraform's own workspaces.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no name of a Terraform workspace; one has up to 90 letters, digits, `-`, `_` and `.`, and begins with a letter or digit"
)]
struct InvalidTerraformWorkspace(String);

/// Checks the name of one of Terraform's own workspaces. Terraform takes any that
/// needs no escape in a URL; those that would pass for an option or a folder are
/// left out here.
fn terraform_workspace(given: &str) -> Result<String, InvalidTerraformWorkspace> {
    let valid = given.len() <= 90
        && given.starts_with(|c: char| c.is_ascii_alphanumeric())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    valid
        .then(|| given.to_owned())
        .ok_or_else(|| InvalidTerraformWorkspace(given.to_owned()))
}

/// Notes workspaces of one file that share a name, or a state.
fn note_duplicates(file: &SettingsFile, listed: &[Listed]) {
    let mut named: HashMap<&WorkspaceName, Place> = HashMap::new();
    for Spanned { value: name, at } in listed.iter().filter_map(|one| one.name.as_ref()) {
        match named.get(name) {
            Some(first) => file.error(
                at.clone(),
                format!("the name `{name}` is taken by the workspace at {first}"),
                Some("give each workspace a name of its own".to_owned()),
            ),
            None => {
                named.insert(name, file.place(at.clone()));
            }
        }
    }
    let mut kept: HashMap<(&str, &str), Place> = HashMap::new();
    for one in listed {
        let Some(Spanned { value: path, at }) = &one.path else {
            continue;
        };
        let inner = one.settings.terraform_workspace.as_deref();
        let state = (path.as_str(), inner.unwrap_or("default"));
        match kept.get(&state) {
            Some(first) => file.error(
                at.clone(),
                format!("the workspace at {first} has the same path and the same Terraform workspace, and so the same state"),
                Some("take one out, or give them different `terraform_workspace`s".to_owned()),
            ),
            None => {
                kept.insert(state, file.place(at.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{ModulePattern, ProviderPattern, Rule, Trust, Unreviewed};

    /// What `checks` of a workspace comes to, and what is wrong with it.
    fn read_checks(checks: &str) -> (Checks, Vec<String>) {
        let text =
            format!("repo = \"acme/infra\"\n[[workspace]]\nname = \"a\"\npath = \"a\"\n{checks}\n");
        let (declaration, problems) = read_text(&text);
        let mut workspaces = declaration.unwrap().workspaces;
        (workspaces.remove(0).settings.checks, problems)
    }

    #[test]
    fn checks_are_on_and_off_with_one_word() {
        assert_eq!(read_checks(""), (Checks::default(), Vec::new()));
        assert_eq!(read_checks("checks = \"off\""), (Checks::OFF, Vec::new()));
        let (checks, problems) = read_checks("checks = { fmt = \"fail\", test = \"off\" }");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            (checks.fmt, checks.validate, checks.test),
            (CheckMode::Fail, CheckMode::Fail, CheckMode::Off)
        );
    }

    #[test]
    fn a_command_of_ones_own_is_a_program_with_its_arguments_and_no_shell() {
        let (checks, problems) = read_checks(
            "[[workspace.checks.run]]\nname = \"tflint\"\ncommand = [\"tflint\", \"--format=compact\", \"$HOME; x\"]\non_failure = \"warn\"\ntimeout = \"90s\"",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            checks.run,
            [OwnCheck {
                name: "tflint".to_owned(),
                program: "tflint".to_owned(),
                arguments: vec!["--format=compact".to_owned(), "$HOME; x".to_owned()],
                on_failure: CheckMode::Warn,
                timeout: Duration::from_secs(90),
            }]
        );
    }

    #[test]
    fn a_check_that_cannot_be_meant_is_refused() {
        for (run, problem) in [
            (
                "{ name = \"x\", command = [\"./lint.sh\"] }",
                "neither a name",
            ),
            ("{ name = \"x\", command = [] }", "`command` is missing"),
            ("{ name = \"x\", command = \"tflint\" }", "expected a list"),
            ("{ command = [\"tflint\"] }", "`name` is missing"),
            ("{ name = \"fmt\", command = [\"tflint\"] }", "is taken"),
            (
                "{ name = \"x\", command = [\"a\"] }, { name = \"x\", command = [\"b\"] }",
                "is taken",
            ),
            (
                "{ name = \"x\", command = [\"a\"], on_failure = \"off\" }",
                "is none of",
            ),
            (
                "{ name = \"x\", command = [\"a\"], shell = true }",
                "unknown key",
            ),
        ] {
            let (_, problems) = read_checks(&format!("checks = {{ run = [{run}] }}"));
            assert!(
                problems.iter().any(|p| p.contains(problem)),
                "{run}: {problems:?}"
            );
        }
        let (_, problems) = read_checks("checks = \"on\"");
        assert!(problems[0].contains("`on` is none of"), "{problems:?}");
    }

    fn read_text(text: &str) -> (Option<Declaration>, Vec<String>) {
        let file = SettingsFile::parse(Path::new("acme.toml"), text.as_bytes().to_vec());
        let surroundings = Surroundings {
            folder: Path::new("/etc/mainstay/workspaces"),
            defaults: &Settings::default(),
            credential: Some("GITHUB_TOKEN"),
        };
        let declared = read(&file, surroundings);
        let problems = file.into_problems();
        (
            declared.map(|declared| declared.declaration),
            problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn valid(text: &str) -> Declaration {
        let (declaration, problems) = read_text(text);
        assert_eq!(problems, Vec::<String>::new());
        declaration.unwrap()
    }

    /// The problems of a workspace with these lines in it.
    fn problems_of(lines: &str) -> Vec<String> {
        let text = format!(
            "repo = \"acme/infra\"\n[[workspace]]\nname = \"a\"\npath = \"stacks/a\"\n{lines}"
        );
        read_text(&text).1
    }

    #[test]
    fn three_lines_are_a_declaration() {
        let declaration = valid("repo = \"acme/infra\"\n[discover]\npaths = [\"**\"]");
        assert_eq!(declaration.repo.as_str(), "acme/infra");
        assert_eq!(declaration.branch.as_str(), "main");
        assert_eq!(declaration.workspaces, []);
        let discover = declaration.discover.unwrap();
        assert_eq!(discover.paths, ["**"]);
        assert_eq!(discover.settings, Settings::default());
    }

    #[test]
    fn every_setting_is_read() {
        let declaration = valid(
            r#"
            repo       = "ssh://git@git.example.com/infra"
            branch     = "live"
            proposals  = ["change/*"]
            unreviewed = "hold"
            modules    = ["acme/*/*"]

            [[workspace]]
            name                = "network"
            path                = "./stacks/network/"
            environment         = "production"
            var_files           = ["prod.tfvars", "../common.tfvars"]
            watch               = ["shared/**"]
            apply               = "on-approval"
            drift               = { every = "0 3 * * *", action = "apply" }
            policies            = ["baseline"]
            env                 = { plan = ["AWS_PLAN_*"], apply = ["AWS_*"], fork = ["AWS_REGION"] }
            credentials         = { plan = ["creds", "--read-only"], env = ["VAULT_*"], timeout = "10s" }
            terraform_workspace = "eu"
            unreviewed          = "apply"
            providers           = ["hashicorp/*"]
            loosen              = ["backend"]
            plan_timeout        = "5m"
            apply_timeout       = "30m"

            [[workspace]]
            name  = "dns"
            path  = "."
            drift = "off"

            [discover]
            paths     = ["more/*"]
            exclude   = ["more/old"]
            var_files = ["../common.tfvars"]
            drift     = "1h"
            "#,
        );
        assert_eq!(declaration.branch.as_str(), "live");
        assert_eq!(declaration.proposals, ["change/*"]);
        let [network, dns] = &declaration.workspaces[..] else {
            panic!("two workspaces are listed");
        };
        assert_eq!(network.path, "stacks/network");
        assert_eq!(
            network.settings,
            Settings {
                environment: Some("production".to_owned()),
                var_files: vec!["prod.tfvars".to_owned(), "../common.tfvars".to_owned()],
                watch: vec!["shared/**".to_owned()],
                apply: ApplyMode::OnApproval,
                drift: Some(DriftSettings {
                    every: Schedule::parse("0 3 * * *").unwrap(),
                    action: DriftAction::Apply,
                }),
                checks: Checks::default(),
                policies: vec!["baseline".to_owned()],
                env: EnvSettings {
                    plan: vec!["AWS_PLAN_*".to_owned()],
                    apply: vec!["AWS_*".to_owned()],
                    fork: vec!["AWS_REGION".to_owned()],
                },
                credentials: CredentialSettings {
                    plan: Some(CredentialCommand {
                        program: "creds".to_owned(),
                        arguments: vec!["--read-only".to_owned()],
                        env: vec!["VAULT_*".to_owned()],
                        timeout: Duration::from_secs(10),
                    }),
                    apply: None,
                },
                terraform_workspace: Some("eu".to_owned()),
                unreviewed: Unreviewed::Apply,
                trust: Trust {
                    providers: vec![ProviderPattern::parse("hashicorp/*").unwrap()],
                    modules: vec![ModulePattern::parse("acme/*/*").unwrap()],
                    loosened: [Rule::Backend].into(),
                },
                plan_timeout: Duration::from_secs(300),
                apply_timeout: Duration::from_secs(1_800),
            }
        );
        assert_eq!((dns.path.as_str(), &dns.settings.drift), ("", &None));
        assert_eq!(dns.settings.unreviewed, Unreviewed::Hold);
        let discover = declaration.discover.unwrap();
        assert_eq!(discover.exclude, ["more/old"]);
        assert_eq!(discover.settings.unreviewed, Unreviewed::Hold);
        assert_eq!(
            discover.settings.drift,
            Some(DriftSettings {
                every: Schedule::Every(Duration::from_secs(3_600)),
                action: DriftAction::Report,
            })
        );
    }

    #[test]
    fn a_rule_or_pattern_that_is_none_is_said_with_the_nearest() {
        let lines =
            "providers = [\"aws\"]\nmodules = [\"git\"]\nloosen = [\"backends\", \"everything\"]";
        insta::assert_snapshot!(problems_of(lines).join("\n"), @"
        acme.toml:5:14: `providers`: `aws` names no providers; write `hashicorp/*`, or with a registry's host `registry.example.com/acme/*`
        acme.toml:6:12: `modules`: `git` names no module sources; write `registry`, `acme/*/*`, `git::https://github.com/acme/*`, `git::ssh://*` or `https://*`
        acme.toml:7:11: `loosen`: `backends` is no rule; did you mean `backend`?
        acme.toml:7:23: `loosen`: `everything` is no rule; the rules are `terraform-folder`, `plugin-folder`, `cli-config`, `symlinks`, `submodules`, `modules`, `providers`, `backend`, `overrides`, `variables` and `unreadable`
        ");
    }

    #[test]
    fn every_branch_of_a_plain_remote_is_a_proposal_unless_it_says_which() {
        let declaration = valid("repo = \"./infra\"\n[discover]\npaths = [\"*\"]");
        assert_eq!(declaration.proposals, ["**"]);
        assert_eq!(
            declaration.address,
            RepoAddress::Git("/etc/mainstay/workspaces/infra".to_owned())
        );
    }

    #[test]
    fn no_path_of_a_declaration_leaves_the_repository() {
        for line in [
            "var_files = [\"../../../x.tfvars\"]",
            "var_files = [\"/etc/x.tfvars\"]",
            "watch = [\"../shared/**\"]",
            "watch = [\"/etc/**\"]",
            "[discover]\npaths = [\"../*\"]",
            "[discover]\npaths = [\"/srv/*\"]",
            "[discover]\npaths = [\"*\"]\nexclude = [\"../x\"]",
            "[discover]\npaths = [\"a/*\", \"**\"]\nvar_files = [\"../x.tfvars\"]",
        ] {
            assert_eq!(
                problems_of(line).len(),
                1,
                "{line}: {:?}",
                problems_of(line)
            );
        }
        assert_eq!(
            problems_of("var_files = [\"../../x.tfvars\"]"),
            Vec::<String>::new()
        );
        for path in ["..", "/srv", "a/../../b"] {
            let text = format!("repo = \"a/b\"\n[[workspace]]\nname = \"a\"\npath = \"{path}\"");
            assert_eq!(read_text(&text).1.len(), 1, "{path}");
        }
    }

    #[test]
    fn no_run_is_given_the_daemons_token_nor_what_steers_terraform() {
        for pattern in ["GITHUB_TOKEN", "*_TOKEN", "TF_CLI_ARGS*", "*"] {
            for step in ["plan", "apply"] {
                let problems = problems_of(&format!("env = {{ {step} = [\"{pattern}\"] }}"));
                assert_eq!(problems.len(), 1, "{pattern}");
            }
        }
    }

    #[test]
    fn two_workspaces_never_share_a_name_or_a_state() {
        let other = "[[workspace]]\nname = \"a\"\npath = \"b\"";
        insta::assert_snapshot!(problems_of(other).join("\n"), @"acme.toml:6:8: the name `a` is taken by the workspace at acme.toml:3:8; give each workspace a name of its own");
        for (first, second) in [
            ("", ""),
            ("", "terraform_workspace = \"default\""),
            (
                "terraform_workspace = \"eu\"",
                "terraform_workspace = \"eu\"",
            ),
        ] {
            let problems = problems_of(&format!(
                "{first}\n[[workspace]]\nname = \"b\"\npath = \"./stacks//a\"\n{second}"
            ));
            assert_eq!(problems.len(), 1, "{first} {second}");
            assert!(problems[0].contains("the same state"), "{}", problems[0]);
        }
        let different =
            "[[workspace]]\nname = \"b\"\npath = \"stacks/a\"\nterraform_workspace = \"eu\"";
        assert_eq!(problems_of(different), Vec::<String>::new());
    }

    #[test]
    fn a_workspace_that_is_never_applied_has_no_drift_applied() {
        let problems =
            problems_of("apply = \"never\"\ndrift = { every = \"1h\", action = \"apply\" }");
        insta::assert_snapshot!(problems.join("\n"), @r#"acme.toml:6:1: `drift` would apply, and `apply` is "never"; write `action = "report"`, or another `apply`"#);
        let reported = problems_of("apply = \"never\"\ndrift = \"1h\"");
        assert_eq!(reported, Vec::<String>::new());
    }

    #[test]
    fn a_declaration_without_a_repository_or_a_workspace_says_so() {
        insta::assert_snapshot!(read_text("").1.join("\n"), @r#"
        acme.toml: `repo` is missing at the top of the file; write `repo = "owner/name"`, a URL or a path
        acme.toml: the file declares no workspace; add one with `[[workspace]]`, or `[discover]` to have them found
        "#);
        assert_eq!(read_text("repo = \"a/b\"\nworkspace = []").1.len(), 1);
        assert_eq!(read_text("repo = \"a/b\"\n[discover]").1.len(), 1);
        assert_eq!(
            read_text("repo = \"a/b\"\n[discover]\npaths = []").1.len(),
            1
        );
    }

    #[test]
    fn proposals_are_not_for_github() {
        let (_, problems) =
            read_text("repo = \"acme/infra\"\nproposals = [\"*\"]\n[discover]\npaths = [\"*\"]");
        insta::assert_snapshot!(problems.join("\n"), @"acme.toml:2:1: `proposals` is for plain git remotes; on GitHub the pull requests are the proposals; take it out");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        insta::assert_snapshot!(problems_of("branch = \"live\"").join("\n"), @"acme.toml:5:1: unknown key `branch`; it belongs at the top of the file, before the first `[[workspace]]`");
        let (_, problems) = read_text(
            "repo = \"a/b\"\napply = \"never\"\n[discover]\nname = \"x\"\npaths = [\"*\"]",
        );
        insta::assert_snapshot!(problems.join("\n"), @"
        acme.toml:2:1: unknown key `apply`; it belongs in a `[[workspace]]`, or in `[discover]`
        acme.toml:4:1: unknown key `name`; what is found is named by its folder
        ");
    }
}
