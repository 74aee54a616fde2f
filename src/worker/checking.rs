//! Makes the checks before a plan, and keeps what they said.

use tracing::info;

use super::lending::Author;
use super::recorder::Recorder;
use super::{Outcome, Ready, Wishes, Worker};
use crate::engine::{self, Tests};
use crate::redact::Redactor;
use crate::run::{Check, Refused};
use crate::store::StoreError;

impl Worker {
    /// Makes the checks before a proposal's plan; gives the outcome where they end the run.
    pub(super) async fn check(
        &self,
        ready: &mut Ready,
        observer: &Recorder<'_>,
        wishes: &Wishes,
    ) -> Result<Option<Outcome>, StoreError> {
        let tests = match ready.author {
            Author::Own => Tests::Run,
            // What a person let in is the plan of a fork.
            Author::Stranger => {
                Tests::Skip("tests may create real things, and those of a fork are not run")
            }
        };
        let mut done = Vec::new();
        let ended = self
            .engine
            .check(
                &ready.job,
                &ready.settings.checks,
                tests,
                &mut done,
                observer,
                &wishes.plan,
            )
            .await;
        ready.checks = done.iter().map(|c| c.redacted(&ready.secrets)).collect();
        match ended {
            Ok(()) => Ok(None),
            Err(error) => {
                self.keep_refused(ready, || ready.secrets.clone())?;
                self.keep_checks(ready, &ready.secrets)?;
                Ok(Some(self.failed(ready, &error, &ready.secrets)))
            }
        }
    }

    /// Records which hosts the run was kept from, with what `redactor` knows as secret masked.
    pub(super) fn keep_refused(
        &self,
        ready: &Ready,
        redactor: impl FnOnce() -> Redactor,
    ) -> Result<(), StoreError> {
        let refused = engine::refused(&ready.job.work_dir);
        // An earlier attempt may have been kept from some.
        if refused.is_empty() && ready.run.result.refused.count() == 0 {
            return Ok(());
        }
        let refused = refused.into_iter().map(|one| (one.asked, one.why));
        let refused = Refused::new(refused, &redactor());
        info!(run.id = %ready.run.id, "Run {} asked for {} hosts that `network` does not allow", ready.run.id, refused.count());
        self.fleet
            .store
            .amend(ready.run.id, |result| result.refused = refused)
    }

    /// Records what was checked, with what `redactor` knows as secret masked.
    pub(super) fn keep_checks(&self, ready: &Ready, redactor: &Redactor) -> Result<(), StoreError> {
        if ready.checks.is_empty() {
            return Ok(());
        }
        let checks: Vec<Check> = ready.checks.iter().map(|c| c.redacted(redactor)).collect();
        self.fleet
            .store
            .amend(ready.run.id, |result| result.checks = checks)
    }
}
