//! What people do on the stage: by chance, and where Mainstay asks it of them.

use std::time::{Duration, Instant};

use super::{
    ASKED_AGAIN, Asked, Brought, Open, Place, Said, Stage, borrowed, in_world, nanoseconds,
};
use crate::github::git::Method;
use crate::scenario::BOT;
use crate::seeds::Chance;

impl Stage {
    /// Somebody does something, as chance will have it.
    pub(crate) fn people(&mut self, chance: &mut Chance) {
        let delay = match chance.of(0..3) {
            0 => chance.milliseconds(300..900),
            _ => chance.milliseconds(0..60),
        };
        let repo = chance.index(self.repos.len());
        let own = self.places_of(repo);
        let places = match chance.of(0..4) {
            0 => own,
            _ => vec![*chance.one(&own)],
        };
        let of_repo: Vec<Open> = self
            .open
            .iter()
            .filter(|open| open.repo == repo)
            .cloned()
            .collect();
        let what = chance.of(0..10);
        match (what, of_repo.as_slice()) {
            (0..=2, open) if open.len() < 2 => {
                self.propose(repo, &places, delay);
            }
            (_, []) => {
                self.propose(repo, &places, delay);
            }
            (0..=5, open) => {
                let number = chance.one(open).number;
                let methods = [Method::Merge, Method::Squash, Method::Rebase];
                let method = *chance.one(&methods);
                self.merge(repo, number, method);
            }
            (6, open) => {
                let number = chance.one(open).number;
                self.revise_pull(repo, number, delay);
            }
            (7, open) => {
                let number = chance.one(open).number;
                let command = *chance.one(&["mainstay plan", "mainstay cancel"]);
                self.says(repo, number, command);
            }
            (8, _) => {
                self.push(repo, &places, delay);
                self.cancel_the_last_merge(repo, chance);
            }
            (_, open) => {
                let number = chance.one(open).number;
                self.close(repo, number);
            }
        }
    }

    /// Now and then somebody regrets a merge while it is planned or applied.
    fn cancel_the_last_merge(&self, repo: usize, chance: &mut Chance) {
        let merged = self
            .ledger()
            .brought
            .iter()
            .rev()
            .filter(|brought| brought.repo == repo)
            .find_map(|brought| brought.pull);
        if let Some(number) = merged.filter(|number| self.is_seen(repo, *number))
            && chance.happens(50)
        {
            self.says(repo, number, "mainstay cancel");
        }
    }

    fn revise_pull(&mut self, repo: usize, number: u64, delay: Duration) {
        let find = |open: &&mut Open| (open.repo, open.number) == (repo, number);
        let of = self
            .open
            .iter()
            .find(|o| (o.repo, o.number) == (repo, number));
        let places: Vec<usize> = of
            .expect("it is open")
            .revisions
            .iter()
            .map(|r| r.0)
            .collect();
        let (revisions, files) = self.revise(&places, delay);
        let open = self.open.iter_mut().find(find).expect("it is open");
        open.revisions = revisions;
        self.repos[repo].commit(&open.branch, &borrowed(&files), "More");
    }

    pub(super) fn close(&mut self, repo: usize, number: u64) {
        self.forget_unseen(repo, number);
        self.open
            .retain(|open| (open.repo, open.number) != (repo, number));
        self.repos[repo].close(number, "alice");
    }

    /// Whether we ever commented on a pull request.
    fn is_seen(&self, repo: usize, number: u64) -> bool {
        let comments = self.repos[repo].comments(number);
        comments.iter().any(|comment| comment.author == BOT)
    }

    /// A pull request that ends before it was ever seen open is nobody's to answer on.
    pub(super) fn forget_unseen(&self, repo: usize, number: u64) {
        if !self.is_seen(repo, number) {
            let on_it = |said: &Said| (said.repo, said.number) == (repo, number);
            self.ledger().said.retain(|said| !on_it(said));
        }
    }

    /// Alice writes a command.
    pub(crate) fn says(&self, repo: usize, number: u64, text: &str) {
        let comment = self.repos[repo].comment(number, "alice", text);
        self.ledger().said.push(Said {
            repo,
            number,
            comment,
        });
    }

    /// A person looks at the places and does what Mainstay asks of them. Says what is not at rest.
    pub(crate) fn look_after(&mut self) -> Vec<String> {
        let mut waiting = Vec::new();
        for place in self.places.clone() {
            let (brought, revision) = self.on_main(&place.key).expect("it was begun");
            let status = self.repos[place.repo].status(&brought.sha, "mainstay/apply");
            let said = status.map(|s| (s.state, s.description));
            match said
                .as_ref()
                .map(|(state, text)| (state.as_str(), text.as_str()))
            {
                Some(("success", _)) => continue,
                // What failed of the commit may be the other workspace alone, and main be past it.
                Some(("failure", text)) if !text.contains(place.workspace) => continue,
                // Asked for again, it was applied with main's head of then, which says so.
                Some(("failure", _)) if self.is_there(&place, revision) => continue,
                Some(("failure", _)) => self.ask_to_apply(&place, &brought),
                Some((_, text)) if text.starts_with("held") => self.ask_to_apply(&place, &brought),
                _ => {}
            }
            waiting.push(format!("{} at {revision}: {said:?}", place.key));
        }
        for open in self.open.clone() {
            let home = &self.repos[open.repo];
            let head = home.head(&open.branch).expect("its branch is there");
            let status = home.status(&head, "mainstay/plan");
            let said = status.map(|s| (s.state, s.description));
            let moved = open
                .revisions
                .iter()
                .zip(&open.from)
                .any(|((place, _), from)| {
                    let now = self.on_main(&self.places[*place].key);
                    now.is_some_and(|(_, revision)| revision != *from)
                });
            let target = format!("#{} of {}", open.number, home.full_name());
            match said.as_ref().map(|(state, _)| state.as_str()) {
                Some("success") if !moved => continue,
                // What conflicts has no plan to wait for.
                _ if moved => {
                    self.close(open.repo, open.number);
                    continue;
                }
                Some("failure" | "error") if self.may_ask(&target) => {
                    self.says(open.repo, open.number, "mainstay plan");
                }
                _ => {}
            }
            waiting.push(format!("{target}: {said:?}"));
        }
        let passed_over = self.ledger().brought.clone();
        for brought in passed_over {
            let status = self.repos[brought.repo].status(&brought.sha, "mainstay/apply");
            if status.is_none_or(|status| status.state == "pending") {
                waiting.push(format!("the final status of {brought:?}"));
            }
        }
        let said = self.ledger().said.clone();
        for said in said {
            if !self.answered(&said) {
                waiting.push(format!("the answer to a command: {said:?}"));
            }
        }
        waiting
    }

    /// Whether a place is at this revision, and main's head is called good.
    fn is_there(&self, place: &Place, revision: u64) -> bool {
        let home = &self.repos[place.repo];
        let head = home.head("main").expect("main is there");
        let status = home.status(&head, "mainstay/apply");
        status.is_some_and(|status| status.state == "success")
            && in_world(&self.s.world(), &place.key) == Some(revision)
    }

    /// Whether the reactions to a command say that it is done or refused.
    fn answered(&self, said: &Said) -> bool {
        let comments = self.repos[said.repo].comments(said.number);
        let comment = comments.into_iter().find(|c| c.id == said.comment);
        let reactions = comment.map(|c| c.reactions).unwrap_or_default();
        reactions
            .iter()
            .any(|(who, what)| who == BOT && matches!(what.as_str(), "rocket" | "confused"))
    }

    fn may_ask(&mut self, target: &str) -> bool {
        let asked = self.asked_at.get(target);
        let may = asked.is_none_or(|at| at.elapsed() > ASKED_AGAIN);
        if may {
            self.asked_at.insert(target.to_owned(), Instant::now());
        }
        may
    }

    fn ask_to_apply(&mut self, place: &Place, brought: &Brought) {
        if !self.may_ask(&place.key) {
            return;
        }
        self.ledger().asked.push(Asked {
            at: nanoseconds(),
            key: place.key.clone(),
        });
        let line = format!("mainstay apply {}", place.workspace);
        match brought.pull {
            Some(number) if self.is_seen(place.repo, number) => {
                self.says(place.repo, number, &line);
            }
            _ => {
                let repo = self.repos[place.repo].full_name();
                let arguments = ["apply", place.workspace, "--repo", &repo];
                let asked = self.s.run(&arguments);
                // What is held of the commit may be the other workspace alone.
                let refused = asked.stderr.contains("the daemon refused");
                assert!(asked.code == 0 || refused, "{}", asked.stderr);
            }
        }
    }
}
