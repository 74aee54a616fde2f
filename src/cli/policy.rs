//! `mainstay policy`: the policies' own tests, and what there is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::bail;
use serde_json::{Value, json};

use super::table::counted;
use super::{ConfigArgument, Exit, ListFormat};
use crate::config;
use crate::policy::{Policies, PolicyProblem, TestOutcome, TestReport, TestResult, test};

/// So many lines that no test reaches are named for each file.
const LINES_NAMED: usize = 12;

/// Runs the tests of a folder of policies and prints what came of them.
pub(super) fn run_tests(
    dir: Option<&Path>,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let folder = folder(dir, argument)?;
    let report = test(&folder);
    match format {
        ListFormat::Text => print_tests(&report),
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&as_json(&report))?),
    }
    if report.problems.is_empty() && report.failed() == 0 {
        Ok(Exit::Nothing)
    } else {
        Ok(Exit::Error)
    }
}

/// Lists the policies of a folder.
pub(super) fn list(
    dir: Option<&Path>,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let folder = folder(dir, argument)?;
    let (policies, problems) = Policies::load(&folder);
    match format {
        ListFormat::Text => {
            for policy in policies.list() {
                let bold = Style::new().bold();
                anstream::println!("{bold}{}{bold:#}  {}", policy.name, policy.title);
                if let Some(description) = policy.description {
                    anstream::println!("    {description}");
                }
                let owners = match policy.owners {
                    [] => "nobody may override it".to_owned(),
                    [all] if all == "*" => {
                        "who may write to the repository may override it".to_owned()
                    }
                    owners => format!("may be overridden by {}", owners.join(", ")),
                };
                anstream::println!("    {owners}");
            }
        }
        ListFormat::Json => {
            let all: Vec<Value> = policies
                .list()
                .map(|policy| {
                    json!({
                        "name": policy.name,
                        "title": policy.title,
                        "description": policy.description,
                        "owners": policy.owners,
                        "files": policy.files,
                    })
                })
                .collect();
            let value = json!({ "schema": "mainstay.policies/1", "policies": all });
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
    }
    for problem in &problems {
        say_problem(problem);
    }
    Ok(if problems.is_empty() {
        Exit::Nothing
    } else {
        Exit::Error
    })
}

/// The folder that is named, else that of the settings, else `policies` here.
fn folder(dir: Option<&Path>, argument: &ConfigArgument) -> anyhow::Result<PathBuf> {
    let folder = match dir {
        Some(dir) => dir.to_owned(),
        None => match config::find(argument.config.as_deref()) {
            Ok(file) => match config::load(&file).config {
                Some(config) => config.policies,
                None => bail!(
                    "{} has errors, which `mainstay check` names; or name the folder of policies",
                    file.display()
                ),
            },
            Err(error) if argument.config.is_some() => return Err(error.into()),
            Err(_) => PathBuf::from("policies"),
        },
    };
    if !folder.is_dir() {
        bail!(
            "there is no folder {}; name the folder of policies, or set `policies` in the settings",
            folder.display()
        );
    }
    Ok(folder)
}

fn print_tests(report: &TestReport) {
    let mut policy = "";
    for result in &report.tests {
        if result.policy != policy {
            policy = &result.policy;
            let bold = Style::new().bold();
            anstream::println!("{bold}{policy}{bold:#}");
        }
        print_test(result);
    }
    for coverage in &report.coverage {
        let missed = match coverage.missed.as_slice() {
            [] => String::new(),
            lines => {
                let named: Vec<String> = lines
                    .iter()
                    .take(LINES_NAMED)
                    .map(ToString::to_string)
                    .collect();
                let more = if lines.len() > LINES_NAMED {
                    ", …"
                } else {
                    ""
                };
                format!("  no test reaches line {}{more}", named.join(", "))
            }
        };
        anstream::println!("{:>5.1} %  {}{missed}", coverage.percent(), coverage.file);
    }
    for problem in &report.problems {
        say_problem(problem);
    }
    let skipped = report.tests.len() - report.passed() - report.failed();
    let skipped = match skipped {
        0 => String::new(),
        n => format!(", {n} skipped"),
    };
    anstream::println!(
        "{}: {} passed, {} failed{skipped} · coverage {:.1} %",
        counted(report.tests.len(), "test"),
        report.passed(),
        report.failed(),
        report.percent()
    );
}

fn print_test(result: &TestResult) {
    let style = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
    let (word, style) = match &result.outcome {
        TestOutcome::Passed => ("pass", style(AnsiColor::Green)),
        TestOutcome::Failed(_) => ("FAIL", style(AnsiColor::Red)),
        TestOutcome::Skipped => ("skip", style(AnsiColor::Yellow)),
    };
    anstream::println!(
        "  {style}{word}{style:#}  {}  {}",
        result.name,
        took(result.took)
    );
    if let TestOutcome::Failed(reason) = &result.outcome {
        anstream::println!("        {}:{}: {reason}", result.file, result.line);
        for print in &result.prints {
            anstream::println!("        print: {print}");
        }
    }
}

/// A short time in a readable unit.
fn took(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn say_problem(problem: &PolicyProblem) {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    anstream::eprintln!("{red}error:{red:#} {problem}");
}

fn as_json(report: &TestReport) -> Value {
    let tests: Vec<Value> = report
        .tests
        .iter()
        .map(|result| {
            let (outcome, reason) = match &result.outcome {
                TestOutcome::Passed => ("passed", None),
                TestOutcome::Failed(reason) => ("failed", Some(reason)),
                TestOutcome::Skipped => ("skipped", None),
            };
            json!({
                "policy": result.policy,
                "file": result.file,
                "line": result.line,
                "name": result.name,
                "outcome": outcome,
                "reason": reason,
                "duration_ms": result.took.as_secs_f64() * 1_000.0,
                "prints": result.prints,
            })
        })
        .collect();
    let coverage: Vec<Value> = report
        .coverage
        .iter()
        .map(|coverage| {
            json!({
                "file": coverage.file,
                "percent": coverage.percent(),
                "lines_missed": coverage.missed,
            })
        })
        .collect();
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "line": problem.line, "message": problem.message }))
        .collect();
    json!({
        "schema": "mainstay.policy-test/1",
        "passed": report.passed(),
        "failed": report.failed(),
        "percent": report.percent(),
        "tests": tests,
        "coverage": coverage,
        "problems": problems,
    })
}
