//! The policies' own tests: `test_` rules in files `*_test.rego`, with what they cover.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use regorus::Value;

use super::code::Code;
use super::compiled::{declared, engine, lints, packages, reason, rule_path};
use super::folder::{self, LIBRARY, PolicyFiles};
use super::{Policies, PolicyProblem};

/// What came of the tests of a folder of policies.
#[derive(Debug, Clone, Default)]
pub struct TestReport {
    /// Every test, by policy and in the order of its file.
    pub tests: Vec<TestResult>,
    /// How much of each file of rules the tests reached.
    pub coverage: Vec<Coverage>,
    /// What is wrong with files, so that tests of them may be missing.
    pub problems: Vec<PolicyProblem>,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// The policy; `lib` for what belongs to all.
    pub policy: String,
    /// The file, seen from the folder of policies.
    pub file: String,
    /// The line of the rule, from 1.
    pub line: usize,
    /// The rule's name.
    pub name: String,
    /// How it ended.
    pub outcome: TestOutcome,
    /// How long it took.
    pub took: Duration,
    /// What it printed.
    pub prints: Vec<String>,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestOutcome {
    /// It is true.
    Passed,
    /// It is not, for this reason.
    Failed(String),
    /// Its name begins with `todo_`, and it was not evaluated.
    Skipped,
}

/// How much of a file the tests reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The file, seen from the folder of policies.
    pub file: String,
    /// The lines that were evaluated.
    pub covered: usize,
    /// The lines that never were, from 1.
    pub missed: Vec<u32>,
}

impl Coverage {
    /// The part that was evaluated, in percent. A file with nothing to evaluate is covered.
    pub fn percent(&self) -> f64 {
        percent(self.covered, self.missed.len())
    }
}

#[expect(clippy::cast_precision_loss, reason = "no file has so many lines")]
fn percent(covered: usize, missed: usize) -> f64 {
    match covered + missed {
        0 => 100.0,
        all => covered as f64 * 100.0 / all as f64,
    }
}

impl TestReport {
    /// How many tests failed.
    pub fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, TestOutcome::Failed(_)))
    }

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == TestOutcome::Passed)
    }

    /// How much of all files was reached, in percent.
    pub fn percent(&self) -> f64 {
        percent(
            self.coverage.iter().map(|c| c.covered).sum(),
            self.coverage.iter().map(|c| c.missed.len()).sum(),
        )
    }

    fn count(&self, wanted: impl Fn(&TestOutcome) -> bool) -> usize {
        self.tests.iter().filter(|t| wanted(&t.outcome)).count()
    }
}

/// Runs every test below a folder of policies.
///
/// It reads the disk and nothing else, and never fails: what is wrong is among the problems.
pub fn test(folder: &Path) -> TestReport {
    let found = folder::read(folder);
    let mut report = TestReport {
        problems: Policies::load(folder).1,
        ..TestReport::default()
    };
    let mut coverage: BTreeMap<String, Coverage> = BTreeMap::new();
    let nothing = PolicyFiles::default();
    for (name, files) in &found.policies {
        run(name, files, &found.library, &mut report, &mut coverage);
    }
    run(
        LIBRARY,
        &found.library,
        &nothing,
        &mut report,
        &mut coverage,
    );
    report.coverage = coverage.into_values().collect();
    report
}

fn run(
    policy: &str,
    files: &PolicyFiles,
    library: &PolicyFiles,
    report: &mut TestReport,
    coverage: &mut BTreeMap<String, Coverage>,
) {
    let rules = files.rules.iter().chain(&library.rules);
    let data = library.data.iter().chain(&files.data);
    let Some(mut engine) = engine(rules.chain(&files.tests), data, &mut report.problems) else {
        return;
    };
    let packages = packages(&engine);
    report
        .problems
        .extend(lints(&engine, &packages, &files.tests));
    report.problems.dedup();
    engine.set_enable_coverage(true);
    for file in &files.tests {
        let Some((_, package)) = packages.iter().find(|(path, _)| *path == file.path) else {
            continue;
        };
        let code = Code::new(&file.text);
        let is_test = |word: &str| word.starts_with("test_") || word.starts_with("todo_test_");
        for name in declared(&engine, file, is_test) {
            let began = Instant::now();
            let outcome = if name.starts_with("todo_") {
                TestOutcome::Skipped
            } else {
                match engine.eval_rule(rule_path(package, &name)) {
                    Ok(Value::Bool(true)) => TestOutcome::Passed,
                    Ok(Value::Undefined) => {
                        TestOutcome::Failed("one of its conditions does not hold".to_owned())
                    }
                    Ok(value) => TestOutcome::Failed(format!("it is {value} and not true")),
                    Err(error) => TestOutcome::Failed(reason(&error)),
                }
            };
            report.tests.push(TestResult {
                policy: policy.to_owned(),
                file: file.path.clone(),
                line: code.line_with(&name).unwrap_or(1),
                name,
                outcome,
                took: began.elapsed(),
                prints: engine.take_prints().unwrap_or_default(),
            });
        }
    }
    let Ok(reached) = engine.get_coverage_report() else {
        return;
    };
    for file in reached.files {
        if !files
            .rules
            .iter()
            .chain(&library.rules)
            .any(|f| f.path == file.path)
        {
            continue;
        }
        let missed: Vec<u32> = file
            .not_covered
            .difference(&file.covered)
            .copied()
            .collect();
        let all = file.covered.len() + missed.len();
        let known = coverage
            .entry(file.path.clone())
            .or_insert_with(|| Coverage {
                file: file.path,
                covered: 0,
                missed: missed.clone(),
            });
        // A file of the library is reached by the tests of every policy.
        known.missed.retain(|line| missed.contains(line));
        known.covered = all - known.missed.len();
    }
}
