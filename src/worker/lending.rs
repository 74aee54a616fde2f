//! What a run is lent: credentials from the operator's command, and none for a stranger's code.

use super::recorder::Recorder;
use super::{Outcome, Ready, Wishes, Worker};
use crate::engine::{CancelToken, Credentials, EngineError, environment, would_end};
use crate::forge::Origin;
use crate::plan::{Diagnostic, Severity};
use crate::reading::Masks;
use crate::redact::{Redactor, Secret};
use crate::run::{NewRun, Purpose};
use crate::store::StoreError;
use crate::workspace::{CredentialCommand, Settings};

/// Who wrote the code of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Somebody who may write to the repository, as far as is known.
    Own,
    /// A stranger: whoever let the plan in let it in without credentials.
    Stranger,
}

/// The command that prints the credentials of a run.
fn command_of(settings: &Settings, purpose: Purpose) -> Option<&CredentialCommand> {
    match purpose {
        Purpose::Merge => settings.credentials.apply.as_ref(),
        Purpose::Propose | Purpose::Drift => settings.credentials.plan.as_ref(),
    }
}

/// The patterns of variables that a run may see.
pub(super) fn patterns_of(settings: &Settings, purpose: Purpose, author: Author) -> &[String] {
    match (author, purpose) {
        (Author::Stranger, _) => &settings.env.fork,
        (Author::Own, Purpose::Merge) => &settings.env.apply,
        (Author::Own, Purpose::Propose | Purpose::Drift) => &settings.env.plan,
    }
}

/// Says to the reader of a stranger's plan what it was made without, where there is anything.
fn withheld(settings: &Settings) -> Option<Diagnostic> {
    if settings.env.plan.is_empty() && settings.credentials.plan.is_none() {
        return None;
    }
    Some(Diagnostic {
        severity: Severity::Warning,
        summary: "planned without credentials: the pull request comes from a fork".to_owned(),
        detail:
            "What the workspace's plans may see of the daemon's environment, and the command that \
                 prints credentials, are for the repository's own branches only."
                .to_owned(),
        address: None,
        file: None,
        line: None,
        snippet: None,
    })
}

impl Worker {
    /// Who wrote the code of a run.
    pub(super) fn author(&self, what: &NewRun) -> Result<Author, StoreError> {
        if what.purpose != Purpose::Propose {
            return Ok(Author::Own);
        }
        let row = match &what.proposal {
            Some(key) => self.fleet.store.proposal(&what.repo, key)?,
            None => None,
        };
        Ok(match row.map(|row| row.proposal.origin) {
            Some(Origin::Own) => Author::Own,
            // Of what is not known any more the worst is thought.
            Some(Origin::Fork) | None => Author::Stranger,
        })
    }

    /// Asks for the credentials of a run, where it may have any; gives the outcome where this ends it.
    pub(super) async fn lend(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        wishes: &Wishes,
    ) -> Result<Option<Outcome>, StoreError> {
        if ready.author == Author::Stranger {
            ready.notes.extend(withheld(&ready.settings));
            return Ok(None);
        }
        match self.ask(ready, observer, &wishes.plan).await {
            Ok(lent) => {
                ready.secrets = ready.secrets.join(&lent);
                Ok(None)
            }
            Err(error) => Ok(Some(self.failed(ready, &error, &ready.secrets))),
        }
    }

    /// Asks anew just before an apply, where what was lent may end before the apply does. Gives what
    /// masks the new values, or the outcome where this ends the run: nothing was changed then.
    pub(super) async fn lend_again(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        wishes: &Wishes,
        known: Masks,
    ) -> Result<Masks, Outcome> {
        if !would_end(ready.lent_until, ready.settings.apply_timeout) {
            return Ok(known);
        }
        match self.ask(ready, observer, &wishes.plan).await {
            Ok(lent) => Ok(Masks::of(&known.redactor().join(&lent))),
            Err(error) => Err(self.failed(ready, &error, &known.redactor())),
        }
    }

    /// Asks the command, and puts what it printed into the run's environment. Gives what masks it.
    async fn ask(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        cancel: &CancelToken,
    ) -> Result<Redactor, EngineError> {
        let what = &ready.run.what;
        let Some(command) = command_of(&ready.settings, what.purpose) else {
            return Ok(Redactor::default());
        };
        let told = [
            ("MAINSTAY_REPOSITORY", what.repo.to_string()),
            ("MAINSTAY_WORKSPACE", what.workspace.to_string()),
            (
                "MAINSTAY_ENVIRONMENT",
                ready.settings.environment.clone().unwrap_or_default(),
            ),
            ("MAINSTAY_PURPOSE", what.purpose.to_string()),
            ("MAINSTAY_COMMIT", what.commit.to_string()),
            ("MAINSTAY_RUN", ready.run.id.to_string()),
        ];
        let mut env = environment(&command.env, self.environment.iter().cloned(), &self.never);
        // How Terraform is set up is no matter of the command's.
        env.retain(|(name, _)| !name.starts_with("TF_"));
        env.extend(told.map(|(name, value)| (name.to_owned(), Secret::new(value))));
        let asked =
            self.engine
                .credentials(&ready.job, command, (env, &self.never), observer, cancel);
        let Credentials { values, expires_at } = asked.await?;
        ready.lent_until = expires_at;
        let masked = Redactor::new(values.iter().map(|(_, value)| value.expose().to_owned()));
        for (name, value) in values {
            ready.job.env.retain(|(known, _)| *known != name);
            ready.job.env.push((name, value));
        }
        Ok(masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{CredentialSettings, EnvSettings};

    fn settings() -> Settings {
        let command = CredentialCommand {
            program: "lend".to_owned(),
            arguments: Vec::new(),
            env: Vec::new(),
            timeout: std::time::Duration::from_secs(30),
        };
        Settings {
            env: EnvSettings {
                plan: vec!["PLAN_*".to_owned()],
                apply: vec!["APPLY_*".to_owned()],
                fork: Vec::new(),
            },
            credentials: CredentialSettings {
                plan: None,
                apply: Some(command),
            },
            ..Settings::default()
        }
    }

    #[test]
    fn plans_and_applies_have_credentials_of_their_own() {
        let settings = settings();
        for (purpose, pattern) in [
            (Purpose::Propose, "PLAN_*"),
            (Purpose::Drift, "PLAN_*"),
            (Purpose::Merge, "APPLY_*"),
        ] {
            assert_eq!(patterns_of(&settings, purpose, Author::Own), [pattern]);
            let asked = command_of(&settings, purpose).is_some();
            assert_eq!(asked, purpose == Purpose::Merge);
        }
    }

    #[test]
    fn a_strangers_plan_sees_nothing_that_plans_see_and_its_reader_is_told() {
        let settings = settings();
        let none: [&str; 0] = [];
        assert_eq!(
            patterns_of(&settings, Purpose::Propose, Author::Stranger),
            none
        );
        assert!(withheld(&settings).is_some());
        // Where there is nothing to withhold there is nothing to say.
        assert_eq!(withheld(&Settings::default()), None);
    }
}
