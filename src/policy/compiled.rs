//! One policy, compiled: its engine, its rules, what it says of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::PolicyProblem;
use super::code::Code;
use super::folder::{DataFile, PolicyFiles, RegoFile};
use super::input::{Context, Input};
use super::lint::lint;
use super::metadata::{self, Metadata, Severity, Subject};
use super::verdict::{Effect, Finding};
use crate::redact::Redactor;

/// One rule of a policy may take this long on one plan.
const RULE_TIME: Duration = Duration::from_secs(20);

/// So many findings of one rule are kept; the last one then says how many more there are.
const MOST_FINDINGS: usize = 200;

/// A message is cut after this many characters.
const LONGEST_MESSAGE: usize = 2_000;

/// A plan of every kind of change, which every rule is tried on when it is loaded.
const SAMPLE_PLAN: &str = include_str!("sample_plan.json");

/// What a rule says by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Warn,
    Hold,
    Require,
    Deny,
}

/// A rule that finds something, with what its annotations say.
#[derive(Debug, Clone)]
struct FindingRule {
    /// What to evaluate: `data.main.deny_x`.
    path: String,
    /// Where the exceptions of its package are, if it has any.
    exceptions: Option<String>,
    /// What an exception calls it: `x` of `deny_x`, nothing of `deny`.
    suffix: String,
    kind: Kind,
    metadata: Metadata,
}

/// One policy.
pub(super) struct Policy {
    name: String,
    engine: Engine,
    rules: Vec<FindingRule>,
    metadata: Metadata,
    files: Vec<String>,
    /// Whether its text speaks of `labels`.
    pub(super) reads_labels: bool,
    /// Whether its text speaks of `files`.
    pub(super) reads_files: bool,
}

impl Policy {
    /// Compiles a policy, together with the library. It is `None` where a file does not parse.
    pub(super) fn compile(
        name: &str,
        files: &PolicyFiles,
        library: &PolicyFiles,
    ) -> (Option<Self>, Vec<PolicyProblem>) {
        let mut problems = Vec::new();
        let rules = || files.rules.iter().chain(&library.rules);
        let data = || library.data.iter().chain(&files.data);
        let Some(mut engine) = engine(rules(), data(), &mut problems) else {
            return (None, problems);
        };
        let packages = packages(&engine);
        problems.extend(annotation_problems(&files.rules));
        problems.extend(lints(&engine, &packages, &files.rules));
        let found = finding_rules(&engine, &packages, &files.rules);
        if found.is_empty() {
            let file = files.rules.first().map_or(name, |f| &f.path);
            problems.push(PolicyProblem::in_file(
                file,
                None,
                "it has no rule that could find anything: `deny`, `violation`, `warn`, `hold` or `require`"
                    .to_owned(),
            ));
        }
        if let Err(problem) = try_out(&mut engine, &found) {
            problems.push(PolicyProblem::of_evaluation(name, &problem));
        }
        let policy = Self::new(name, files, library, engine, found, &packages);
        (Some(policy), problems)
    }

    /// Compiles a policy that compiled before; `None` where it no longer does.
    pub(super) fn compile_tried(
        name: &str,
        files: &PolicyFiles,
        library: &PolicyFiles,
    ) -> Option<Self> {
        let rules = || files.rules.iter().chain(&library.rules);
        let data = || library.data.iter().chain(&files.data);
        let engine = engine(rules(), data(), &mut Vec::new())?;
        let packages = packages(&engine);
        let found = finding_rules(&engine, &packages, &files.rules);
        Some(Self::new(name, files, library, engine, found, &packages))
    }

    fn new(
        name: &str,
        files: &PolicyFiles,
        library: &PolicyFiles,
        engine: Engine,
        rules: Vec<FindingRule>,
        packages: &[(String, Vec<String>)],
    ) -> Self {
        let metadata = packages
            .iter()
            .filter(|(file, _)| files.rules.iter().any(|f| f.path == **file))
            .fold(Metadata::default(), |all, (file, _)| {
                all.or(of_package(files.rules.iter().filter(|f| f.path == *file)))
            });
        let texts = || files.rules.iter().chain(&library.rules);
        Self {
            name: name.to_owned(),
            reads_labels: texts().any(|f| f.text.contains("labels")),
            reads_files: texts().any(|f| f.text.contains("files")),
            engine,
            rules,
            metadata,
            files: files.rules.iter().map(|f| f.path.clone()).collect(),
        }
    }

    /// What it is called in reports.
    pub(super) fn title(&self) -> &str {
        self.metadata.title.as_deref().unwrap_or(&self.name)
    }

    /// Why it is there.
    pub(super) fn description(&self) -> Option<&str> {
        self.metadata.description.as_deref()
    }

    /// Its files, from the folder of policies.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Who may override it.
    pub(super) fn owners(&self) -> &[String] {
        self.metadata.owners.as_deref().unwrap_or_default()
    }

    /// What it finds in a plan. What cannot be evaluated denies.
    pub(super) fn evaluate(&self, input: &Input, redactor: &Redactor) -> Vec<Finding> {
        let mut engine = self.engine.clone();
        engine.set_input(input.0.clone());
        let mut findings = Vec::new();
        let mut excepted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for rule in &self.rules {
            let Some(path) = &rule.exceptions else {
                continue;
            };
            if excepted.contains_key(path.as_str()) {
                continue;
            }
            let names = match engine.eval_rule(path.clone()) {
                Ok(value) => exceptions(&value),
                Err(error) => {
                    findings.push(self.broken(&error, redactor));
                    BTreeSet::new()
                }
            };
            excepted.insert(path, names);
        }
        for rule in &self.rules {
            let exempt = rule
                .exceptions
                .as_deref()
                .and_then(|path| excepted.get(path))
                .is_some_and(|names| names.contains(&rule.suffix));
            if exempt {
                continue;
            }
            match engine.eval_rule(rule.path.clone()) {
                Ok(value) => findings.extend(self.findings(rule, &value, redactor)),
                Err(error) => findings.push(self.broken(&error, redactor)),
            }
        }
        // Printing is for tests: a plan's values must not come into the log.
        let _ = engine.take_prints();
        findings
    }

    fn broken(&self, error: &anyhow::Error, redactor: &Redactor) -> Finding {
        Finding::broken(&self.name, &redactor.redact(&reason(error)))
    }

    fn findings(&self, rule: &FindingRule, value: &Value, redactor: &Redactor) -> Vec<Finding> {
        let mut said = Vec::new();
        collect(value, &mut said);
        let more = said.len().saturating_sub(MOST_FINDINGS);
        let mut findings: Vec<_> = said
            .into_iter()
            .take(MOST_FINDINGS)
            .filter_map(|value| self.finding(rule, value, redactor))
            .collect();
        if more > 0
            && let Some(last) = findings.last().cloned()
        {
            findings.push(Finding {
                message: format!("and {more} more"),
                address: None,
                ..last
            });
        }
        findings
    }

    /// One element of what a rule gave; `None` where it says that nothing is asked.
    fn finding(&self, rule: &FindingRule, value: &Value, redactor: &Redactor) -> Option<Finding> {
        let map = value.as_object().ok();
        let text_of = |keys: &[&str]| {
            let map = map?;
            keys.iter()
                .find_map(|key| map.get(&Value::from(*key)))
                .and_then(|value| value.as_string().ok())
                .map(|text| text.to_string())
        };
        let effect = match rule.kind {
            Kind::Warn => Effect::Warn,
            Kind::Hold => Effect::Hold,
            Kind::Deny => match rule.metadata.severity {
                None | Some(Severity::Deny) => Effect::Deny,
                Some(Severity::Hold) => Effect::Hold,
                Some(Severity::Warn) => Effect::Warn,
            },
            Kind::Require => {
                let asked = match (map, value) {
                    (Some(map), _) => map.get(&Value::from("approvals")),
                    (None, Value::Number(_)) => Some(value),
                    _ => None,
                };
                match asked.map(Value::as_u32) {
                    // Nothing is asked.
                    Some(Ok(0)) => return None,
                    Some(Ok(approvals)) => Effect::Require { approvals },
                    None => Effect::Require { approvals: 1 },
                    // What cannot be counted can never be reached.
                    Some(Err(_)) => Effect::Deny,
                }
            }
        };
        let title = rule.metadata.title.clone();
        let message = match value {
            Value::String(text) => text.to_string(),
            // A rule that is merely true, and a number of approvals, have only their title to say.
            Value::Bool(true) | Value::Number(_) if title.is_some() => {
                title.clone().unwrap_or_default()
            }
            _ => text_of(&["msg", "message"]).unwrap_or_else(|| {
                format!(
                    "`{}` gave {}",
                    rule.path,
                    value.to_json_str().unwrap_or_default()
                )
            }),
        };
        let message = match text_of(&["details"]) {
            Some(details) => format!("{message}: {details}"),
            None => message,
        };
        let shown = |text: String| cut(&redactor.redact(&text));
        Some(Finding {
            policy: self.name.clone(),
            title: title.unwrap_or_else(|| self.name.clone()),
            effect,
            message: shown(message),
            address: text_of(&["address", "resource"]).map(shown),
            remedy: text_of(&["remedy"])
                .map(shown)
                .or_else(|| rule.metadata.remedy.clone()),
            owners: rule.metadata.owners.clone().unwrap_or_default(),
            overridden: None,
        })
    }
}

/// An engine with these files in it; `None` where one does not parse.
pub(super) fn engine<'f>(
    rules: impl Iterator<Item = &'f RegoFile>,
    data: impl Iterator<Item = &'f DataFile>,
    problems: &mut Vec<PolicyProblem>,
) -> Option<Engine> {
    let mut engine = Engine::new();
    engine.set_gather_prints(true);
    // As Open Policy Agent has it: a built-in function that fails gives nothing.
    engine.set_strict_builtin_errors(false);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: RULE_TIME,
        check_interval: NonZeroU32::new(1_000).expect("a thousand is not zero"),
    });
    let mut whole = true;
    for file in rules {
        if let Err(error) = add(&mut engine, file) {
            problems.push(PolicyProblem::of_parser(&file.path, &error.to_string()));
            whole = false;
        }
    }
    for file in data {
        if let Err(error) = engine.add_data(file.value.clone()) {
            problems.push(PolicyProblem::in_file(
                &file.path,
                None,
                format!("the data cannot be joined with that of other files: {error}"),
            ));
            whole = false;
        }
    }
    whole.then_some(engine)
}

/// Adds a file in the present form of the language, else in the old one.
fn add(engine: &mut Engine, file: &RegoFile) -> anyhow::Result<()> {
    engine.set_rego_v0(false);
    let Err(present) = engine.add_policy(file.path.clone(), file.text.clone()) else {
        return Ok(());
    };
    engine.set_rego_v0(true);
    let old = engine.add_policy(file.path.clone(), file.text.clone());
    engine.set_rego_v0(false);
    match old {
        Ok(_) => Ok(()),
        Err(old) => {
            // The words of the form that it was meant in are of more help.
            let meant = Code::new(&file.text)
                .words()
                .any(|word| matches!(word, "if" | "v1"));
            Err(if meant { present } else { old })
        }
    }
}

/// The files of an engine, each with the parts of its package.
pub(super) fn packages(engine: &Engine) -> Vec<(String, Vec<String>)> {
    let found = engine.get_policy_package_components().unwrap_or_default();
    found
        .into_iter()
        .map(|package| (package.source_file, package.components))
        .collect()
}

/// `data.a["b-c"].deny`.
pub(super) fn rule_path(package: &[String], rule: &str) -> String {
    let mut path = "data".to_owned();
    for part in package {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !part.starts_with(|c: char| c.is_ascii_digit());
        if plain {
            path.push('.');
            path.push_str(part);
        } else {
            path.push('[');
            path.push_str(&serde_json::Value::from(part.as_str()).to_string());
            path.push(']');
        }
    }
    path.push('.');
    path.push_str(rule);
    path
}

/// The rules of a file whose names pass `wanted`, once each, in the order they stand in.
pub(super) fn declared(
    engine: &Engine,
    file: &RegoFile,
    wanted: impl Fn(&str) -> bool,
) -> Vec<String> {
    let code = Code::new(&file.text);
    let mut names: Vec<String> = Vec::new();
    for word in code.words().filter(|word| wanted(word)) {
        if !names.iter().any(|name| name == word)
            && engine
                .has_declared_rule_rooted_at(&file.path, word)
                .unwrap_or(false)
        {
            names.push(word.to_owned());
        }
    }
    names
}

/// What a rule of that name says, and what an exception calls it.
fn kind(name: &str) -> Option<(Kind, &str)> {
    let (word, suffix) = name.split_once('_').unwrap_or((name, ""));
    let kind = match word {
        "deny" | "violation" => Kind::Deny,
        "warn" => Kind::Warn,
        "hold" => Kind::Hold,
        "require" => Kind::Require,
        _ => return None,
    };
    Some((kind, suffix))
}

fn finding_rules(
    engine: &Engine,
    packages: &[(String, Vec<String>)],
    files: &[RegoFile],
) -> Vec<FindingRule> {
    let package_of = |file: &RegoFile| {
        packages
            .iter()
            .find(|(path, _)| *path == file.path)
            .map(|(_, package)| package)
    };
    let mut rules: BTreeMap<String, FindingRule> = BTreeMap::new();
    for file in files {
        let Some(package) = package_of(file) else {
            continue;
        };
        let same_package = || files.iter().filter(|f| package_of(f) == Some(package));
        let has_exceptions =
            same_package().any(|f| declared(engine, f, |word| word == "exception").len() == 1);
        for name in declared(engine, file, |word| kind(word).is_some()) {
            let Some((kind, suffix)) = kind(&name) else {
                continue;
            };
            let path = rule_path(package, &name);
            rules.entry(path.clone()).or_insert_with(|| FindingRule {
                path,
                exceptions: has_exceptions.then(|| rule_path(package, "exception")),
                suffix: suffix.to_owned(),
                kind,
                metadata: of_rule(same_package(), &name).or(of_package(same_package())),
            });
        }
    }
    rules.into_values().collect()
}

fn of_package<'f>(files: impl Iterator<Item = &'f RegoFile>) -> Metadata {
    of(files, &Subject::Package)
}

fn of_rule<'f>(files: impl Iterator<Item = &'f RegoFile>, name: &str) -> Metadata {
    of(files, &Subject::Rule(name.to_owned()))
}

fn of<'f>(files: impl Iterator<Item = &'f RegoFile>, subject: &Subject) -> Metadata {
    files
        .flat_map(|file| metadata::read(&file.text))
        .flatten()
        .filter(|annotation| annotation.subject == *subject)
        .fold(Metadata::default(), |all, one| all.or(one.metadata))
}

fn annotation_problems(files: &[RegoFile]) -> Vec<PolicyProblem> {
    files
        .iter()
        .flat_map(|file| {
            metadata::read(&file.text)
                .into_iter()
                .filter_map(Result::err)
                .map(|wrong| PolicyProblem::in_file(&file.path, Some(wrong.line), wrong.why))
        })
        .collect()
}

/// Looks for what would fail open.
pub(super) fn lints(
    engine: &Engine,
    packages: &[(String, Vec<String>)],
    files: &[RegoFile],
) -> Vec<PolicyProblem> {
    let declares = |package: &[String], name: &str| {
        packages.iter().any(|(file, of)| {
            of == package
                && engine
                    .has_declared_rule_rooted_at(file, name)
                    .unwrap_or(false)
        })
    };
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut knows = |name: &str| {
        *known
            .entry(name.to_owned())
            .or_insert_with(|| is_built_in(name))
    };
    let mut problems = Vec::new();
    for file in files {
        let Some((_, package)) = packages.iter().find(|(path, _)| *path == file.path) else {
            continue;
        };
        problems.extend(lint(file, package, &declares, &mut knows));
    }
    problems
}

/// Whether the engine has a function of that name built in: it is called without arguments, and
/// whether it is missed or refuses them says so.
fn is_built_in(name: &str) -> bool {
    match Engine::new().eval_query(format!("{name}()"), false) {
        Ok(_) => true,
        Err(error) => !error.to_string().contains("could not find function"),
    }
}

/// Evaluates every rule on nothing and on a sample, so that a broken one is found before it is needed.
fn try_out(engine: &mut Engine, rules: &[FindingRule]) -> anyhow::Result<()> {
    let context = Context {
        repository: "acme/infra".to_owned(),
        workspace: "network".to_owned(),
        environment: Some("production".to_owned()),
        purpose: "propose".to_owned(),
        ..Context::default()
    };
    let sample = Input::parse(SAMPLE_PLAN, &context)?;
    for input in [Input::parse("{}", &Context::default())?, sample] {
        engine.set_input(input.0);
        engine.eval_query("data".to_owned(), false)?;
        for rule in rules {
            engine.eval_rule(rule.path.clone())?;
            if let Some(path) = &rule.exceptions {
                engine.eval_rule(path.clone())?;
            }
        }
        let _ = engine.take_prints();
    }
    Ok(())
}

/// The names that exceptions give: the texts of a set of lists, or of any part of that shape.
fn exceptions(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(name) => {
                names.insert(name.to_string());
            }
            Value::Array(items) => rest.extend(items.iter()),
            Value::Set(items) => rest.extend(items.iter()),
            _ => {}
        }
    }
    names
}

/// The elements of what a rule gave: of a set, a list or a map of findings; or the one finding.
fn collect<'v>(value: &'v Value, into: &mut Vec<&'v Value>) {
    match value {
        Value::Undefined | Value::Bool(false) => {}
        Value::Set(items) => into.extend(items.iter_sorted()),
        Value::Array(items) => into.extend(items.iter()),
        Value::Object(map)
            if ["msg", "message", "approvals"]
                .iter()
                .all(|key| map.get(&Value::from(*key)).is_none()) =>
        {
            into.extend(map.iter_sorted().map(|(_, value)| value));
        }
        one => into.push(one),
    }
}

/// What an error of the evaluation says, on one line and with its place.
pub(super) fn reason(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let place = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("--> "))
        .map(|place| format!(" at {place}"));
    let said = text
        .lines()
        .rev()
        .map(str::trim)
        .find_map(|line| line.strip_prefix("error: "))
        .or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()))
        .unwrap_or("it failed");
    cut(&format!("{said}{}", place.unwrap_or_default()))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_MESSAGE {
        return text.to_owned();
    }
    text.chars().take(LONGEST_MESSAGE).chain(['…']).collect()
}
