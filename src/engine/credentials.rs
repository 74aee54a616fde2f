//! Credentials for one run, from a command of the operator's own.
//!
//! The command is a step like any other: recorded before it starts, supervised, ended at its time. It
//! runs outside of the run's sandbox, with nothing of the run's own in its environment, in a folder
//! that the run's code cannot write. What it prints goes through a pipe into memory and touches no
//! disk, and nothing of it is ever shown.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::checking::find;
use super::environment::may_be_given;
use super::planning::{failure, remove};
use super::step::Call;
use super::{CancelToken, Engine, EngineError, Job, Observer, Step, Stop};
use crate::clock::{Timestamp, now};
use crate::redact::Secret;
use crate::workspace::CredentialCommand;

/// What a pipe holds on Linux: no more of the command's output is taken. One that prints more waits
/// for a reader that does not come, and is ended at its time.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// The pipe in a job's folder.
const PIPE: &str = "credentials";

/// The key beside the values that says until when they hold.
const EXPIRES_AT: &str = "expires_at";

/// What `credential_process` of the AWS tools prints, and the variables that it stands for.
const AWS: [(&str, &str); 3] = [
    ("AccessKeyId", "AWS_ACCESS_KEY_ID"),
    ("SecretAccessKey", "AWS_SECRET_ACCESS_KEY"),
    ("SessionToken", "AWS_SESSION_TOKEN"),
];

/// Credentials for one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Variables of the environment, each with its value.
    pub values: Vec<(String, Secret)>,
    /// Until when they hold, where the command says it.
    pub expires_at: Option<Timestamp>,
}

impl Engine {
    /// Has a command print credentials for a job. `env` is all that it sees; names in `never` are
    /// refused among the answer's.
    ///
    /// # Errors
    ///
    /// [`EngineError::Credentials`] where it does not end well or prints something else. What it
    /// printed is in no error.
    pub async fn credentials(
        &self,
        job: &Job,
        command: &CredentialCommand,
        (env, never): (Vec<(String, Secret)>, &[String]),
        watch: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Credentials, EngineError> {
        let refused = |reason: String| EngineError::Credentials {
            workspace: job.workspace.clone(),
            program: command.program.clone(),
            reason,
        };
        job.prepare()?;
        let own = Job {
            // It is ours alone, but for a folder in it.
            checkout: job.work_dir.clone(),
            folder: String::new(),
            wrapper: Vec::new(),
            env,
            ..job.clone()
        };
        let program = find(&own, &command.program).ok_or_else(|| {
            refused(
                "it is not in the PATH of the daemon; install it there, or name its whole path"
                    .to_owned(),
            )
        })?;
        let path = job.work_dir.join(PIPE);
        let mut pipe = open_pipe(&path)
            .map_err(job.failing(|| format!("make the pipe {}", path.display())))?;
        let call = Call {
            step: Step::Credentials,
            program: Some(program),
            args: command.arguments.iter().map(OsString::from).collect(),
            terraform_workspace: None,
            result: Some(path.clone()),
            deadline: Instant::now() + command.timeout,
            limit: command.timeout,
        };
        let ran = self.run(&own, call, watch, cancel).await;
        let printed = read_pipe(&mut pipe);
        remove(&path).map_err(job.failing(|| format!("remove {}", path.display())))?;
        let finished = match ran {
            Ok(finished) => finished,
            Err(EngineError::NotStarted { reason, .. }) => return Err(refused(reason)),
            Err(error) => return Err(error),
        };
        match finished.stop {
            Some(Stop::Cancelled) => return Err(failure(job, &finished)),
            Some(Stop::TimedOut) => {
                return Err(refused(format!(
                    "it did not end within {} s, or printed more than {OUTPUT_LIMIT} bytes, and was stopped",
                    command.timeout.as_secs()
                )));
            }
            None => {}
        }
        if let Some(hit) = finished.limit(job) {
            return Err(refused(format!("it {hit} and was stopped")));
        }
        match finished.code() {
            Some(0) => {}
            Some(code) => return Err(refused(format!("it ended with exit code {code}"))),
            None => return Err(refused("it was killed".to_owned())),
        }
        let printed = printed.map_err(job.failing(|| format!("read {}", path.display())))?;
        let credentials = read(&printed, never).map_err(refused)?;
        match credentials.expires_at {
            Some(at) if at <= now() => {
                Err(refused(format!("what it printed held until {at} only")))
            }
            _ => Ok(credentials),
        }
    }
}

/// Makes a pipe with a name and opens it at both ends, so that neither waits for the other.
fn open_pipe(path: &Path) -> io::Result<File> {
    remove(path)?;
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
}

/// What is in the pipe.
fn read_pipe(pipe: &mut File) -> io::Result<Vec<u8>> {
    let mut printed = Vec::new();
    let mut part = [0; 4096];
    loop {
        match pipe.read(&mut part) {
            Ok(0) => return Ok(printed),
            Ok(length) => printed.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(printed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads what a command printed. The error says what is wrong without any of the values.
fn read(printed: &[u8], never: &[String]) -> Result<Credentials, String> {
    let object: Map<String, Value> = serde_json::from_slice(printed).map_err(|error| {
        format!(
            "what it printed is no JSON object (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let aws = object.contains_key(AWS[0].0);
    let mut credentials = Credentials::default();
    for (key, value) in object {
        let name = match key.as_str() {
            EXPIRES_AT => {
                credentials.expires_at = time(&key, &value)?;
                continue;
            }
            "Expiration" if aws => {
                credentials.expires_at = time(&key, &value)?;
                continue;
            }
            "Version" if aws => continue,
            key if aws => AWS
                .iter()
                .find(|(known, _)| *known == key)
                .map(|(_, variable)| (*variable).to_owned())
                .ok_or_else(|| format!("it printed an unknown key beside `{}`", AWS[0].0))?,
            _ => key,
        };
        if !is_name(&name) {
            return Err("it printed a key that is no name of a variable".to_owned());
        }
        if !may_be_given(&name) || never.contains(&name) {
            return Err(format!(
                "it printed `{name}`, which would change how Terraform is run and is not given to it"
            ));
        }
        match value {
            Value::String(value) if !value.contains('\0') => {
                credentials.values.push((name, Secret::new(value)));
            }
            // An absent session token, say.
            Value::Null => {}
            _ => return Err(format!("the value of `{name}` is no text")),
        }
    }
    if credentials.values.is_empty() {
        return Err("what it printed names no variable".to_owned());
    }
    Ok(credentials)
}

fn time(key: &str, value: &Value) -> Result<Option<Timestamp>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let time = value.as_str().and_then(|text| text.parse().ok());
    time.map(Some)
        .ok_or_else(|| format!("`{key}` is no time as `2026-01-31T12:00:00Z`"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether credentials have to be asked for anew to hold for so long from now.
pub fn would_end(expires_at: Option<Timestamp>, within: Duration) -> bool {
    expires_at.is_some_and(|at| {
        let left = (at - now()).to_std().unwrap_or_default();
        left < within
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn names(printed: &str) -> Result<Vec<String>, String> {
        let never = ["GITHUB_TOKEN".to_owned()];
        let credentials = read(printed.as_bytes(), &never)?;
        Ok(credentials
            .values
            .into_iter()
            .map(|(name, _)| name)
            .collect())
    }

    #[test]
    fn an_object_of_names_and_values_is_read() {
        let printed = r#"{"VAULT_TOKEN":"s.1","TF_VAR_key":"k","NONE":null,"expires_at":"2026-01-31T12:00:00Z"}"#;
        let credentials = read(printed.as_bytes(), &[]).unwrap();
        assert_eq!(
            credentials,
            Credentials {
                values: vec![
                    ("TF_VAR_key".to_owned(), Secret::new("k")),
                    ("VAULT_TOKEN".to_owned(), Secret::new("s.1")),
                ],
                expires_at: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            }
        );
    }

    #[test]
    fn the_form_of_the_aws_tools_is_read() {
        let printed = r#"{"Version":1,"AccessKeyId":"AK","SecretAccessKey":"SK","SessionToken":"ST","Expiration":"2026-01-31T12:00:00+00:00"}"#;
        let credentials = read(printed.as_bytes(), &[]).unwrap();
        assert!(credentials.expires_at.is_some());
        let mut names = names(printed).unwrap();
        names.sort();
        assert_eq!(
            names,
            [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN"
            ]
        );
        let more = printed.replace("\"Version\"", "\"Account\"");
        names_refused(&more);
    }

    fn names_refused(printed: &str) -> String {
        let reason = names(printed).unwrap_err();
        assert!(!reason.contains("xyzzy"), "{reason}");
        reason
    }

    #[test]
    fn what_would_steer_terraform_is_refused_by_name() {
        for name in [
            "TF_CLI_ARGS",
            "TF_LOG",
            "TF_WORKSPACE",
            "LD_PRELOAD",
            "PATH",
            "HOME",
            "BASH_ENV",
            "TMPDIR",
            "GITHUB_TOKEN",
        ] {
            let reason = names_refused(&format!(r#"{{"A":"xyzzy","{name}":"xyzzy"}}"#));
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_without_a_word_of_it() {
        for printed in [
            "",
            "xyzzy",
            "[\"xyzzy\"]",
            "{}",
            "{\"A\":\"xyzzy\"",
            "{\"A\":5}",
            "{\"xyzzy=1\":\"a\"}",
            "{\"A\":\"xyzzy\\u0000\"}",
            "{\"A\":\"xyzzy\",\"expires_at\":\"soon\"}",
        ] {
            names_refused(printed);
        }
    }

    #[test]
    fn credentials_that_end_too_soon_are_asked_for_anew() {
        let hour = Duration::from_secs(3_600);
        assert!(!would_end(None, hour));
        assert!(would_end(Some(now() + TimeDelta::minutes(50)), hour));
        assert!(would_end(Some(now() - TimeDelta::minutes(1)), hour));
        assert!(!would_end(Some(now() + TimeDelta::minutes(70)), hour));
    }
}
