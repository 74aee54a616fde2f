//! `mainstay check`: every mistake at once.

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};

use super::table::counted;
use super::{ConfigArgument, Exit, shown};
use crate::config::{self, Config, SandboxOf, Severity};
use crate::fault::chain;
use crate::forge::LookRequest;
use crate::forge::github::Level;
use crate::machine::Machine;
use crate::modules::{self, Backend, Presence, Resolved};
use crate::network::NetworkRule;
use crate::policy::Policies;
use crate::sandbox::{self, Network};
use crate::seal::Keys;
use crate::serve::{Forges, find_engine, find_sandbox, unknown_policies};
use crate::source::{Heads, Mirror, RemoteAddress};
use crate::trust;
use crate::worker::Places;
use crate::workspace::{Declaration, RepoAddress, Settings};

/// What was found, as it is shown.
struct Findings {
    errors: usize,
    warnings: usize,
}

impl Findings {
    fn say(&mut self, level: Level, text: &str) {
        let style = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
        let (label, style) = match level {
            Level::Ok => ("ok", style(AnsiColor::Green)),
            Level::Warn => {
                self.warnings += 1;
                ("warning", style(AnsiColor::Yellow))
            }
            Level::Error => {
                self.errors += 1;
                ("error", style(AnsiColor::Red))
            }
        };
        anstream::println!("{style}{label:>7}{style:#} {text}");
    }
}

/// Checks everything that can be checked.
pub(super) fn check(online: bool, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let file = config::find(argument.config.as_deref())?;
    let loaded = config::load(&file);
    let mut findings = Findings {
        errors: 0,
        warnings: 0,
    };
    for problem in &loaded.problems {
        let level = match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warn,
        };
        findings.say(level, &problem.to_string());
    }
    if findings.errors == 0 {
        let summary = summary(&loaded.declarations);
        findings.say(Level::Ok, &format!("{}: {summary}", file.display()));
    }
    if let Some(config) = &loaded.config {
        about_policies(config, &loaded.declarations, &mut findings);
        about_trust(&loaded.declarations, &mut findings);
        about_sandbox(config, &mut findings);
        about_machine(config, &mut findings);
        if let Err(error) = Keys::of(&config.data_dir, config.key_file.as_deref()).look() {
            findings.say(Level::Error, &chain(&error));
        }
        for missing in missing_programs(&loaded.declarations) {
            // Without --online this may be another machine than the daemon's.
            let level = if online { Level::Error } else { Level::Warn };
            findings.say(level, &missing);
        }
        for problem in crate::fleet::templates(config).1 {
            findings.say(Level::Error, &problem.to_string());
        }
        if let Some(github) = &config.github
            && let Err(error) = github.read_credential()
        {
            // Without --online the token is only needed by the daemon, which may have it elsewhere.
            let level = if online { Level::Error } else { Level::Warn };
            findings.say(level, &chain(&error));
        }
        if online {
            shown::runtime()?.block_on(try_out(config, &loaded.declarations, &mut findings));
        }
    }
    let Findings { errors, warnings } = findings;
    anstream::eprintln!(
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    Ok(if errors == 0 {
        Exit::Nothing
    } else {
        Exit::Error
    })
}

fn summary(declarations: &[Declaration]) -> String {
    let workspaces: usize = declarations.iter().map(|d| d.workspaces.len()).sum();
    let discovers = declarations.iter().any(|d| d.discover.is_some());
    let repositories = counted(declarations.len(), "repository");
    match (workspaces, discovers) {
        (0, true) => format!("{repositories}, workspaces are discovered"),
        (_, true) => format!(
            "{repositories}, {} declared, more are discovered",
            counted(workspaces, "workspace")
        ),
        (_, false) => format!("{repositories}, {}", counted(workspaces, "workspace")),
    }
}

/// Tries the sandbox, and says which one runs will be in.
fn about_sandbox(config: &Config, findings: &mut Findings) {
    let sandbox = match find_sandbox(config) {
        Ok(sandbox) => sandbox,
        Err(error) => return findings.say(Level::Error, &error.to_string()),
    };
    let level = sandbox.level();
    match (level, sandbox.weakness()) {
        (sandbox::Level::None, _) => findings.say(
            Level::Warn,
            "runs are in no sandbox: a plan runs the code of the pull request with the daemon's rights",
        ),
        (_, Some(weakness)) => {
            findings.say(Level::Warn, &format!("runs are in the sandbox {level}; {weakness}"));
        }
        (_, None) => findings.say(Level::Ok, &format!("runs are in the sandbox {level}")),
    }
    if *level != sandbox::Level::None {
        let rules = config.sandbox.network.all();
        if rules.iter().all(|(_, rule)| *rule == rules[0].1) {
            findings.say(Level::Ok, &network(&sandbox, "runs", rules[0].1));
        } else {
            for (purpose, rule) in rules {
                findings.say(Level::Ok, &network(&sandbox, purpose, rule));
            }
        }
    }
    for (purpose, of) in [
        ("merges", config.sandbox.merge),
        ("drift checks", config.sandbox.drift),
    ] {
        if of == SandboxOf::None && *level != sandbox::Level::None {
            findings.say(
                Level::Ok,
                &format!("{purpose} are in no sandbox, as the settings say"),
            );
        }
    }
}

/// What runs of a purpose may reach of the network, and what holds back the rest.
fn network(sandbox: &sandbox::Sandbox, purpose: &str, rule: &NetworkRule) -> String {
    match (rule, sandbox.network(rule)) {
        (NetworkRule::Allow, _) | (_, Network::Shared) => {
            format!("the network of {purpose} is the machine's, and nothing of it is held back")
        }
        (NetworkRule::Hosts(_), _) => {
            format!("{purpose} reach {rule} by a proxy, and nothing else of the network")
        }
        (NetworkRule::Deny, Network::Door) => format!("{purpose} have no network"),
        (NetworkRule::Deny, Network::Nothing) => {
            format!("{purpose} have no network; what they ask for is not seen")
        }
    }
}

/// Says which rules are loosened, and where.
fn about_trust(declarations: &[Declaration], findings: &mut Findings) {
    for declaration in declarations {
        let of = |settings: &Settings| {
            let loosened = settings.trust.loosened.iter();
            loosened.map(|rule| format!("`{rule}`")).collect::<Vec<_>>()
        };
        let named = declaration
            .workspaces
            .iter()
            .map(|workspace| (workspace.name.to_string(), of(&workspace.settings)));
        let found = declaration
            .discover
            .iter()
            .map(|discover| ("what is discovered".to_owned(), of(&discover.settings)));
        for (name, rules) in named.chain(found).filter(|(_, rules)| !rules.is_empty()) {
            let text = format!(
                "{}: for {name} a proposal's code is not held to {}",
                declaration.repo,
                rules.join(", ")
            );
            findings.say(Level::Warn, &text);
        }
    }
}

/// Says how many runs this machine takes at once.
fn about_machine(config: &Config, findings: &mut Findings) {
    let machine = Machine::look();
    let at_once = config.at_once(&machine);
    let runs = counted(at_once.get(), "run");
    findings.say(Level::Ok, &format!("at most {runs} at once, on {machine}"));
}

/// The commands for credentials whose programs are not on this machine.
fn missing_programs(declarations: &[Declaration]) -> Vec<String> {
    let mut missing = Vec::new();
    for declaration in declarations {
        let discovered = declaration.discover.iter().map(|d| &d.settings);
        let listed = declaration.workspaces.iter().map(|w| &w.settings);
        for command in listed
            .chain(discovered)
            .flat_map(|s| [&s.credentials.plan, &s.credentials.apply])
            .flatten()
        {
            let text = format!(
                "{}: `credentials` names `{}`, which is not in the PATH, or no program",
                declaration.file.display(),
                command.program
            );
            if which::which(&command.program).is_err() && !missing.contains(&text) {
                missing.push(text);
            }
        }
    }
    missing
}

fn about_policies(config: &Config, declarations: &[Declaration], findings: &mut Findings) {
    let (policies, problems) = Policies::load(&config.policies);
    for problem in &problems {
        let text = format!("{}: {problem}", config.policies.display());
        findings.say(Level::Error, &text);
    }
    for declaration in declarations {
        for unknown in unknown_policies(&policies, declaration) {
            findings.say(Level::Error, &unknown);
        }
    }
    let count = policies.list().count();
    if problems.is_empty() && count > 0 {
        let text = format!(
            "{}: {count} {}, each compiled and tried",
            config.policies.display(),
            if count == 1 { "policy" } else { "policies" }
        );
        findings.say(Level::Ok, &text);
    }
}

async fn try_out(config: &Config, declarations: &[Declaration], findings: &mut Findings) {
    match find_engine(config) {
        Err(error) => findings.say(Level::Error, &chain(&error)),
        Ok(engine) => match engine.version().await {
            Ok(version) => findings.say(
                Level::Ok,
                &format!(
                    "{} {version} at {}",
                    engine.flavour(),
                    engine.program().display()
                ),
            ),
            Err(error) => findings.say(Level::Error, &chain(&error)),
        },
    }
    let forges = match Forges::new(config, declarations) {
        Ok(forges) => forges,
        // The missing credential is said already.
        Err(_) => return,
    };
    for declaration in declarations {
        let before = findings.errors;
        if let (RepoAddress::GitHub { .. }, Some(github)) = (&declaration.address, &forges.github) {
            for finding in github.doctor(&declaration.repo).await {
                findings.say(
                    finding.level,
                    &format!("{}: {}", declaration.repo, finding.text),
                );
            }
        }
        // What GitHub refused is said already, and a look would only be refused once more.
        if let Err(error) = look_into(config, declaration, &forges, findings).await
            && findings.errors == before
        {
            findings.say(Level::Error, &format!("{}: {error}", declaration.repo));
        }
    }
}

/// Fetches the base branch and holds the declaration against it.
async fn look_into(
    config: &Config,
    declaration: &Declaration,
    forges: &Forges,
    findings: &mut Findings,
) -> Result<(), String> {
    let forge = forges.of(&declaration.address);
    let said = |error: &dyn std::error::Error| chain(error);
    let request = LookRequest {
        repo: declaration.repo.clone(),
        branch: declaration.branch.clone(),
        proposals: declaration.proposals.clone(),
    };
    let look = forge
        .look(std::slice::from_ref(&request))
        .await
        .pop()
        .ok_or("the forge gave no answer")?
        .map_err(|e| said(&e))?;
    let base = look.base.clone().ok_or_else(|| {
        format!(
            "the branch `{}` is not there; push it, or correct `branch` in {}",
            declaration.branch,
            declaration.file.display()
        )
    })?;
    let remote = forge
        .remote(&declaration.repo)
        .await
        .map_err(|e| said(&e))?;
    let path = Places::new(&config.data_dir)
        .mirrors()
        .join(crate::fleet::folder_name(declaration.repo.as_str()));
    let (owned, refs) = (declaration.clone(), remote.proposal_refs);
    let limits = config.limits;
    let address = RemoteAddress {
        url: remote.url,
        login: remote.login,
    };
    let resolved = tokio::task::spawn_blocking(move || {
        let mirror = Mirror::open(&path)
            .map_err(|e| chain(&e))?
            .with_limits(limits);
        mirror
            .fetch(
                &address,
                &owned.branch,
                &refs,
                Heads::Only(&BTreeSet::new()),
            )
            .map_err(|e| chain(&e))?;
        let tree = mirror
            .tree_of(&base)
            .and_then(|tree| mirror.tree(&tree))
            .map_err(|e| chain(&e))?;
        let resolved = modules::resolve(&tree, &owned).map_err(|e| chain(&e))?;
        let refused = |found: Resolved| {
            let refusals = trust::refusals(&tree, &found, trust::Base::Itself);
            Ok((found, refusals.map_err(|e| chain(&e))?))
        };
        resolved
            .into_iter()
            .map(refused)
            .collect::<Result<Vec<_>, String>>()
    })
    .await
    .map_err(|e| said(&e))??;
    findings.say(
        Level::Ok,
        &format!(
            "{}: {} is at {}, {}, {}",
            declaration.repo,
            declaration.branch,
            look.base.as_ref().map_or("", |b| b.short()),
            counted(look.open.len(), "open proposal"),
            counted(resolved.len(), "workspace")
        ),
    );
    for (found, refusals) in resolved {
        let name = &found.workspace.name;
        for refusal in refusals {
            let text = format!("{}: {name} is not planned: {refusal}", declaration.repo);
            findings.say(Level::Error, &text);
        }
        if found.presence == Presence::Absent {
            findings.say(
                Level::Warn,
                &format!(
                    "{}: the folder `{}` of {name} holds no configuration on {}",
                    declaration.repo, found.workspace.path, declaration.branch
                ),
            );
        } else if found.backend == Backend::None {
            findings.say(
                Level::Ok,
                &format!(
                    "{}: {name} names no backend: its state is kept in {}",
                    declaration.repo,
                    config.data_dir.join("states").display()
                ),
            );
        }
        for problem in found.problems {
            let line = problem
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            findings.say(
                Level::Warn,
                &format!(
                    "{}: {}{line}: {}",
                    declaration.repo, problem.file, problem.message
                ),
            );
        }
    }
    Ok(())
}
