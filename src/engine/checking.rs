//! What is checked before a plan: `fmt`, `validate`, `test`, and commands of the operator's own.
//!
//! Each is a step like any other: recorded, limited in time, cancelled, and behind the sandbox.
//! What a check finds is its result, and no error of the run.

mod diff;
mod place;

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use self::diff::first_differences;
use self::place::placed;
use super::events::from_text;
use super::planning::{Course, Wanted, failure, remove, wanted};
use super::step::{Call, Finished};
use super::{
    CancelToken, Engine, EngineError, Job, Observer, State, Step, Stop, data_dir, installed,
};
use crate::plan::text::{cut, legible};
use crate::plan::{Diagnostic, Severity};
use crate::run::{Check, CheckOutcome};
use crate::workspace::{CheckMode, Checks, OwnCheck};

/// No more of what `fmt` and `validate` say is read than this many bytes.
const RESULT_LIMIT: u64 = 4 << 20;

/// A line of a file is quoted up to so many characters.
const SNIPPET_LIMIT: usize = 200;

/// What the names of files with tests end with.
const TEST_FILES: [&str; 4] = [
    ".tftest.hcl",
    ".tftest.json",
    ".tofutest.hcl",
    ".tofutest.json",
];

/// Whether the tests of a module are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// They are, where there are any and the workspace's settings have them run.
    Run,
    /// They are not, for this reason.
    Skip(&'static str),
}

/// How a check's program ended.
enum Ran {
    Finished(Box<Finished>),
    /// It did not get so far, for this reason.
    Not(String),
}

impl Engine {
    /// Makes the checks of a workspace one after the other, and puts each into `done`. Nothing in
    /// them is masked yet.
    ///
    /// `init` is run where a check cannot do without, so that the plan after it needs none.
    ///
    /// # Errors
    ///
    /// Where somebody stops it, where `init` fails, and where a step of Terraform's own cannot be
    /// run: the plan would fail in the same way.
    pub async fn check(
        &self,
        job: &Job,
        checks: &Checks,
        tests: Tests,
        done: &mut Vec<Check>,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        if *checks == Checks::OFF {
            return Ok(());
        }
        job.prepare()?;
        data_dir::prepare(&job.data_dir)
            .map_err(job.failing(|| format!("make ready {}", job.data_dir.display())))?;
        installed::forget(job)
            .map_err(job.failing(|| format!("make ready {}", job.data_dir.display())))?;
        let mut course = Course::new(job);
        if checks.fmt != CheckMode::Off {
            let check = self.check_format(job, checks.fmt, watch, cancel).await?;
            done.push(check);
        }
        if checks.validate != CheckMode::Off {
            let check = self
                .check_validity(job, checks.validate, &mut course, watch, cancel)
                .await?;
            done.push(check);
        }
        if checks.test != CheckMode::Off && has_tests(&job.cwd()) {
            let check = match tests {
                Tests::Skip(reason) => skipped("test", reason),
                Tests::Run => {
                    self.check_tests(job, checks.test, &mut course, watch, cancel)
                        .await?
                }
            };
            done.push(check);
        }
        for own in &checks.run {
            done.push(self.check_by_command(job, own, watch, cancel).await?);
        }
        Ok(())
    }

    async fn check_format(
        &self,
        job: &Job,
        mode: CheckMode,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Check, EngineError> {
        let result = job.work_dir.join("fmt");
        let args = ["fmt", "-check", "-diff", "-no-color"].map(OsString::from);
        let call = checking(job, Step::Fmt, args.into(), Some(result.clone()));
        let finished = match self.conduct(job, call, watch, cancel).await? {
            Ran::Finished(finished) => finished,
            Ran::Not(reason) => return Ok(unable("fmt", mode, reason)),
        };
        let said = read_result(job, &result)?;
        let diagnostics = match finished.code() {
            Some(0) => Vec::new(),
            // Exit code 3 says that a file would be written anew (tried with 1.11.4).
            Some(3) => first_differences(&said)
                .map(|place| Diagnostic {
                    severity: Severity::Error,
                    summary: "not in the canonical format".to_owned(),
                    detail: format!("`{} fmt` writes it so.", self.command_name()),
                    address: None,
                    file: Some(legible(&place.file).into_owned()),
                    line: Some(place.line),
                    snippet: Some(cut(&legible(place.text.trim()), SNIPPET_LIMIT)),
                })
                .collect(),
            _ => from_text(&finished.record.tail.text()),
        };
        Ok(ended("fmt", mode, &finished, diagnostics))
    }

    async fn check_validity(
        &self,
        job: &Job,
        mode: CheckMode,
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Check, EngineError> {
        let result = job.work_dir.join("validate");
        loop {
            let args = ["validate", "-json", "-no-color"].map(OsString::from);
            let call = checking(job, Step::Validate, args.into(), Some(result.clone()));
            let finished = match self.conduct(job, call, watch, cancel).await? {
                Ran::Finished(finished) => finished,
                Ran::Not(reason) => return Ok(unable("validate", mode, reason)),
            };
            let diagnostics = diagnostics_of(&read_result(job, &result)?);
            if wanted(&diagnostics).is_some() && !course.initialised {
                self.make_ready(job, course, watch, cancel).await?;
                continue;
            }
            return Ok(ended("validate", mode, &finished, diagnostics));
        }
    }

    async fn check_tests(
        &self,
        job: &Job,
        mode: CheckMode,
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Check, EngineError> {
        loop {
            let mut args: Vec<OsString> = ["test", "-json", "-no-color"].map(Into::into).into();
            args.extend(
                job.var_files
                    .iter()
                    .map(|file| OsString::from(format!("-var-file={file}"))),
            );
            let call = checking(job, Step::Test, args, None);
            let finished = match self.conduct(job, call, watch, cancel).await? {
                Ran::Finished(finished) => finished,
                Ran::Not(reason) => return Ok(unable("test", mode, reason)),
            };
            let diagnostics = finished.record.diagnostics.clone();
            if wanted(&diagnostics).is_some() && !course.initialised {
                self.make_ready(job, course, watch, cancel).await?;
                continue;
            }
            return Ok(ended("test", mode, &finished, diagnostics));
        }
    }

    async fn check_by_command(
        &self,
        job: &Job,
        own: &OwnCheck,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Check, EngineError> {
        let Some(program) = find(job, &own.program) else {
            let reason = format!(
                "`{}` is not in the PATH of the daemon; install it there, or name its whole path",
                own.program
            );
            return Ok(unable(&own.name, own.on_failure, reason));
        };
        let args = own.arguments.iter().map(OsString::from).collect();
        let call = Call {
            program: Some(program),
            deadline: Instant::now() + own.timeout,
            limit: own.timeout,
            ..checking(job, Step::Check, args, None)
        };
        let finished = match self.conduct(job, call, watch, cancel).await {
            Ok(Ran::Finished(finished)) => finished,
            Ok(Ran::Not(reason)) => return Ok(unable(&own.name, own.on_failure, reason)),
            // It is not executable, say: that is no matter of the plan's.
            Err(EngineError::NotStarted { reason, .. }) => {
                return Ok(unable(&own.name, own.on_failure, reason));
            }
            Err(error) => return Err(error),
        };
        let diagnostics = match finished.code() {
            Some(0) => Vec::new(),
            _ => placed(&finished.record.tail.text(), &job.cwd()),
        };
        let mut check = ended(&own.name, own.on_failure, &finished, diagnostics);
        if check.outcome != CheckOutcome::Passed {
            // The lines with places are not all that it says.
            check.tail = finished.record.tail.text();
        }
        Ok(check)
    }

    /// Runs the step of a check to its end, or to the end of its time.
    async fn conduct(
        &self,
        job: &Job,
        call: Call,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Ran, EngineError> {
        if let Some(result) = &call.result {
            remove(result).map_err(job.failing(|| format!("remove {}", result.display())))?;
        }
        let limit = call.limit;
        let finished = self.run(job, call, watch, cancel).await?;
        match finished.stop {
            Some(Stop::Cancelled) => Err(failure(job, &finished)),
            Some(Stop::TimedOut) => Ok(Ran::Not(format!(
                "it did not end within {} s and was stopped",
                limit.as_secs()
            ))),
            None => Ok(Ran::Finished(Box::new(finished))),
        }
    }

    /// Runs `init`, as the plan would.
    async fn make_ready(
        &self,
        job: &Job,
        course: &mut Course,
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        self.check_version(job).await?;
        // A check does not ask for the backend, which may be another one since the last init.
        let wanted = match job.state {
            State::Backend => Wanted::Backend,
            State::Kept(_) | State::Local(_) | State::InFolder => Wanted::Init,
        };
        self.init(job, wanted, course, watch, cancel).await
    }

    fn command_name(&self) -> &'static str {
        match self.flavour {
            super::Flavour::Terraform => "terraform",
            super::Flavour::Tofu => "tofu",
        }
    }
}

/// A start of Terraform for a check, which has the time that a plan has.
fn checking(job: &Job, step: Step, args: Vec<OsString>, result: Option<PathBuf>) -> Call {
    Call {
        step,
        program: None,
        args,
        terraform_workspace: None,
        result,
        deadline: Instant::now() + job.plan_timeout,
        limit: job.plan_timeout,
    }
}

/// The program of that name in the `PATH` that the job sees, or at that path.
pub(super) fn find(job: &Job, program: &str) -> Option<PathBuf> {
    let path = job.env.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, value)| value.expose().to_owned());
    which::which_in(program, path, "/").ok()
}

/// Whether a root module has tests: beside its files or in `tests`, where Terraform looks.
fn has_tests(folder: &Path) -> bool {
    let any_in = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                TEST_FILES.iter().any(|ending| name.ends_with(ending))
            })
    };
    any_in(folder) || any_in(&folder.join("tests"))
}

fn read_result(job: &Job, result: &Path) -> Result<String, EngineError> {
    let reading = || job.failing(|| format!("read {}", result.display()));
    let mut bytes = Vec::new();
    match fs::File::open(result) {
        Ok(file) => {
            file.take(RESULT_LIMIT)
                .read_to_end(&mut bytes)
                .map_err(reading())?;
        }
        // What was killed before it began has said nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(reading()(error)),
    }
    remove(result).map_err(reading())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The diagnostics of `validate -json`.
fn diagnostics_of(said: &str) -> Vec<Diagnostic> {
    let said: serde_json::Value = serde_json::from_str(said).unwrap_or_default();
    said["diagnostics"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Diagnostic::from_json)
        .collect()
}

/// What a mode makes of a check that found something.
fn wrong(mode: CheckMode) -> CheckOutcome {
    match mode {
        CheckMode::Fail => CheckOutcome::Failed,
        CheckMode::Warn | CheckMode::Off => CheckOutcome::Warned,
    }
}

fn ended(name: &str, mode: CheckMode, finished: &Finished, diagnostics: Vec<Diagnostic>) -> Check {
    let passed = finished.code() == Some(0);
    // What is only warned of is said by the plan as well.
    let mut diagnostics = if passed { Vec::new() } else { diagnostics };
    if wrong(mode) == CheckOutcome::Warned {
        // What the declaration only warns of is no error.
        for diagnostic in &mut diagnostics {
            diagnostic.severity = Severity::Warning;
        }
    }
    Check {
        name: name.to_owned(),
        outcome: if passed {
            CheckOutcome::Passed
        } else {
            wrong(mode)
        },
        tail: if passed || !diagnostics.is_empty() {
            String::new()
        } else {
            finished.record.tail.text()
        },
        diagnostics,
        took: finished.took,
    }
}

fn unable(name: &str, mode: CheckMode, reason: String) -> Check {
    Check {
        name: name.to_owned(),
        outcome: wrong(mode),
        diagnostics: Vec::new(),
        tail: reason,
        took: Duration::ZERO,
    }
}

fn skipped(name: &str, reason: &str) -> Check {
    Check {
        name: name.to_owned(),
        outcome: CheckOutcome::Skipped {
            reason: reason.to_owned(),
        },
        diagnostics: Vec::new(),
        tail: String::new(),
        took: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_beside_the_files_and_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_tests(folder.path()));
        fs::write(folder.path().join("main.tf"), "").unwrap();
        fs::create_dir(folder.path().join("tests")).unwrap();
        assert!(!has_tests(folder.path()));
        fs::write(folder.path().join("tests/size.tftest.hcl"), "").unwrap();
        assert!(has_tests(folder.path()));
    }

    #[test]
    fn validates_diagnostics_have_their_places_and_nonsense_has_none() {
        let said = r#"{"valid": false, "diagnostics": [{"severity": "error", "summary": "Unsupported argument",
            "detail": "no", "range": {"filename": "main.tf", "start": {"line": 3}}}]}"#;
        let found = diagnostics_of(said);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_deref(), found[0].line),
            (Some("main.tf"), Some(3))
        );
        assert!(diagnostics_of("no JSON").is_empty());
    }
}
