//! What reviewers saw of a change that was merged.

use super::{Ready, Worker};
use crate::decide::{Review, merged_since};
use crate::run::{Purpose, State};
use crate::store::{RunFilter, StoreError};

impl Worker {
    /// What reviewers saw of the change: the plans of the proposals that were merged since the
    /// workspace's commit, each at the head that was merged.
    pub(super) fn review(&self, ready: &Ready) -> Result<Review, StoreError> {
        let what = &ready.run.what;
        let mut review = Review::default();
        let Some(tracked) = self.fleet.tracked(&what.repo) else {
            return Ok(review);
        };
        let facts = self.fleet.facts(tracked)?;
        for merged in merged_since(&facts, &what.workspace) {
            let Some(row) = self.fleet.store.proposal(&what.repo, &merged.key)? else {
                continue;
            };
            let Some(touch) = row.touched().iter().find(|t| t.name == what.workspace) else {
                continue;
            };
            let filter = RunFilter {
                from: None,
                repo: Some(what.repo.clone()),
                workspace: Some(what.workspace.clone()),
                proposal: Some(merged.key.clone()),
                purpose: Some(Purpose::Propose),
                limit: 50,
            };
            // What was planned after the merge was seen is nothing that a reviewer could have read.
            let seen = self
                .fleet
                .store
                .run_facts(&filter)?
                .into_iter()
                .rfind(|run| {
                    run.state == State::Planned
                        && run.inputs == touch.inputs
                        && run.changed_at <= row.changed_at
                });
            // Only this one is read with its plan, which may be large.
            let Some(seen) = seen else { continue };
            let run = self.fleet.store.run(seen.id)?;
            if let Some(plan) = &run.result.plan {
                review.add(plan, run.result.configuration.clone(), run.what.inputs);
            }
        }
        Ok(review)
    }
}
