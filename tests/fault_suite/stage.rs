//! A world for faults: two repositories with two workspaces each, the real daemon with the shim
//! in the place of Terraform, and the people who work with it.
//!
//! What people do is written into a [`Ledger`], what Terraform was started for into the log of
//! the [`Shim`], what truly happened at GitHub into the model's own log, and the world is files.
//! The [`checker`](crate::checker) reads these four and nothing that the daemon says of itself.

mod people;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::github::git::Method;
use crate::github::log::Effect;
use crate::github::repository::Repository;
use crate::scenario::{Scenario, declaration, file, kill_below, root, workspace};
use crate::seeds::Chance;
use crate::shim::Shim;

/// How long the world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long a person waits for what they asked before they ask again.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// A workspace of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Which of the stage's repositories.
    pub(crate) repo: usize,
    pub(crate) workspace: &'static str,
    /// Its name in the shim's log and in the world.
    pub(crate) key: String,
    pub(crate) consent: Consent,
    keeper: Keeper,
}

/// What keeps the files of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The provider: they are brought from one content to the next.
    Provider,
    /// Commands, which add a line to each. They cost less, count how often it was done, and outlive
    /// a Terraform that is killed.
    Commands,
}

/// Whether a person must agree to each change of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Needed,
    Unneeded,
}

/// Whether GitHub does what it is asked once, and shows what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forge {
    Honest,
    Faulty,
}

/// What a commit of main brought to a place.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub(crate) repo: usize,
    pub(crate) sha: String,
    pub(crate) pull: Option<u64>,
    /// Key and revision of each place that it changes.
    pub(crate) revisions: Vec<(String, u64)>,
}

/// A Terraform that was killed.
#[derive(Debug, Clone)]
pub(crate) struct Killed {
    pub(crate) at: u64,
    pub(crate) key: String,
    pub(crate) revision: u64,
}

/// A person's wish to apply in a place.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: u64,
    pub(crate) key: String,
}

/// A command as a comment.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) repo: usize,
    pub(crate) number: u64,
    pub(crate) comment: u64,
}

/// How the world was in the instant when a commit's `mainstay/apply` became green.
#[derive(Debug, Clone)]
pub(crate) struct Green {
    pub(crate) sha: String,
    /// The revision of each place; none where its two files differ.
    pub(crate) world: BTreeMap<String, Option<u64>>,
    /// The applies that lived.
    pub(crate) applying: Vec<(String, u64)>,
}

/// What people did, and what was seen in passing.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) revisions: u64,
    pub(crate) brought: Vec<Brought>,
    pub(crate) killed: Vec<Killed>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) said: Vec<Said>,
    pub(crate) greens: Vec<Green>,
}

/// An open pull request.
#[derive(Debug, Clone)]
struct Open {
    repo: usize,
    number: u64,
    branch: String,
    /// Places, and the revision that it has for each.
    revisions: Vec<(usize, u64)>,
    /// The revisions of the same places where it left main.
    from: Vec<u64>,
}

/// Paths and contents.
type Files = Vec<(String, String)>;

/// The world of one run of the suite.
pub(crate) struct Stage {
    pub(crate) s: Scenario,
    pub(crate) repos: Vec<Repository>,
    pub(crate) places: Vec<Place>,
    pub(crate) shim: Shim,
    pub(crate) forge: Forge,
    ledger: Arc<Mutex<Ledger>>,
    open: Vec<Open>,
    asked_at: BTreeMap<String, Instant>,
}

/// Nanoseconds since 1970, as the shim counts.
pub(crate) fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock is right to the decade");
    u64::try_from(since.as_nanos()).expect("the year is before 2500")
}

/// The revision of a place in the world; `None` where its two files differ or one is missing.
pub(crate) fn in_world(world: &Path, key: &str) -> Option<u64> {
    let newest = |name: String| effects(world, &name).last().copied();
    let (first, last) = (newest(key.to_owned()), newest(format!("{key}-last")));
    first.filter(|first| Some(*first) == last)
}

/// The revisions that a file of the world holds, a line each. Where a command keeps it, each apply
/// has added one; where the provider does, there is one at most.
pub(crate) fn effects(world: &Path, file: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(world.join(format!("{file}.txt"))).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The root module of a place at a revision: two files of the world, one after the other.
fn module(place: &Place, revision: u64, delay: Duration) -> String {
    let key = &place.key;
    let last = format!("{key}-last");
    let number = revision.to_string();
    let text = if place.keeper == Keeper::Provider {
        let delay = format!("delay_ms = {}", delay.as_millis());
        let after = format!("depends_on = [localfs_file.{key}]");
        root(&[&file(key, &number, &delay), &file(&last, &number, &after)])
    } else {
        let delay = delay.as_secs_f64();
        let after = format!("depends_on = [terraform_data.{key}]");
        command(key, revision, delay, "") + &command(&last, revision, 0.0, &after)
    };
    format!("# {revision} {key}\n{text}")
}

/// A resource that is made anew for each revision, and says so in a file of the world.
fn command(name: &str, revision: u64, delay: f64, more: &str) -> String {
    format!(
        r#"
resource "terraform_data" "{name}" {{
  triggers_replace = "{revision}"
  {more}
  provisioner "local-exec" {{
    command = "sleep {delay}; echo {revision} >> \"$LOCALFS_ROOT/{name}.txt\""
  }}
}}
"#
    )
}

impl Stage {
    /// A stage on which every place was applied once. `first` keeps the first place, commands keep
    /// the others.
    pub(crate) async fn new(first: Keeper) -> Self {
        let s = Scenario::new().await;
        let repos = vec![s.repo.clone(), s.another("acme/second")];
        let mut places = Vec::new();
        for (repo, short) in ["infra", "second"].into_iter().enumerate() {
            for workspace in ["network", "dns"] {
                places.push(Place {
                    repo,
                    workspace,
                    key: format!("{short}-{workspace}"),
                    keeper: match (short, workspace) {
                        ("infra", "network") => first,
                        _ => Keeper::Commands,
                    },
                    consent: match (short, workspace) {
                        ("second", "dns") => Consent::Needed,
                        _ => Consent::Unneeded,
                    },
                });
            }
        }
        let of = |consent| match consent {
            Consent::Needed => "apply = \"on-approval\"",
            // What is made anew is held where nobody reviewed it; here a push is as good.
            Consent::Unneeded => "unreviewed = \"apply\"",
        };
        for (repo, file) in ["acme.toml", "acme-second.toml"].into_iter().enumerate() {
            let own = places.iter().filter(|place| place.repo == repo);
            let text: String = own.map(|p| workspace(p.workspace, of(p.consent))).collect();
            s.declare(file, &declaration(&repos[repo].full_name(), &text));
        }
        let shim = Shim::write(s.folder());
        // The shim writes beside the run, where a sandbox would let it write nothing.
        s.configure(&format!("engine = \"{}\"", shim.program().display()));
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stage = Self {
            s,
            repos,
            places,
            shim,
            forge: Forge::Honest,
            ledger,
            open: Vec::new(),
            asked_at: BTreeMap::new(),
        };
        stage.watch_for_green();
        stage.begin().await
    }

    async fn begin(mut self) -> Self {
        for repo in 0..self.repos.len() {
            let places = self.places_of(repo);
            self.push(repo, &places, Duration::ZERO);
        }
        self.s.start();
        self.settle().await;
        self
    }

    /// Notes the world whenever an apply is called good, before the daemon hears that it was.
    fn watch_for_green(&self) {
        let (ledger, shim) = (Arc::clone(&self.ledger), self.shim.clone());
        let keys: Vec<String> = self.places.iter().map(|p| p.key.clone()).collect();
        let world: PathBuf = self.s.world();
        self.s.hub.witness(move |truth| {
            let Effect::StatusSet {
                sha,
                context,
                state,
                ..
            } = &truth.effect
            else {
                return;
            };
            if (context.as_str(), state.as_str()) != ("mainstay/apply", "success") {
                return;
            }
            let world = keys
                .iter()
                .map(|key| (key.clone(), in_world(&world, key)))
                .collect();
            let applying = shim
                .alive()
                .into_iter()
                .filter(|start| start.applies())
                .map(|start| (start.place, start.revision))
                .collect();
            let green = Green {
                sha: sha.clone(),
                world,
                applying,
            };
            lock(&ledger).greens.push(green);
        });
    }

    /// What people did so far.
    ///
    /// The model notes effects under its own lock and then takes this one: nobody who holds the
    /// guard may ask the model anything.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// The places of a repository.
    pub(crate) fn places_of(&self, repo: usize) -> Vec<usize> {
        let all = 0..self.places.len();
        all.filter(|place| self.places[*place].repo == repo)
            .collect()
    }

    /// The commit that brought what main has in a place, and the revision.
    pub(crate) fn on_main(&self, key: &str) -> Option<(Brought, u64)> {
        let ledger = self.ledger();
        ledger.brought.iter().rev().find_map(|brought| {
            let (_, revision) = brought.revisions.iter().find(|(of, _)| of == key)?;
            Some((brought.clone(), *revision))
        })
    }

    /// New revisions of places, as files with their content.
    fn revise(&self, places: &[usize], delay: Duration) -> (Vec<(usize, u64)>, Files) {
        let mut revisions = Vec::new();
        let mut files = Vec::new();
        for index in places {
            let place = &self.places[*index];
            let revision = {
                let mut ledger = self.ledger();
                ledger.revisions += 1;
                ledger.revisions
            };
            revisions.push((*index, revision));
            files.push((
                format!("{}/main.tf", place.workspace),
                module(place, revision, delay),
            ));
        }
        (revisions, files)
    }

    fn bring(&self, repo: usize, sha: &str, pull: Option<u64>, revisions: &[(usize, u64)]) {
        let revisions = revisions
            .iter()
            .map(|(place, revision)| (self.places[*place].key.clone(), *revision))
            .collect();
        self.ledger().brought.push(Brought {
            repo,
            sha: sha.to_owned(),
            pull,
            revisions,
        });
    }

    /// Pushes new revisions of places to main; gives the commit.
    pub(crate) fn push(&self, repo: usize, places: &[usize], delay: Duration) -> String {
        let (revisions, files) = self.revise(places, delay);
        let sha = self.repos[repo].commit("main", &borrowed(&files), "Push");
        self.bring(repo, &sha, None, &revisions);
        sha
    }

    /// Opens a pull request that revises places; gives its number and head.
    pub(crate) fn propose(
        &mut self,
        repo: usize,
        places: &[usize],
        delay: Duration,
    ) -> (u64, String) {
        let from = places
            .iter()
            .map(|place| self.on_main(&self.places[*place].key).map_or(0, |(_, r)| r))
            .collect();
        let (revisions, files) = self.revise(places, delay);
        let branch = format!("change-{}", revisions[0].1);
        let home = &self.repos[repo];
        let main = home.head("main").expect("main is there");
        home.branch(&branch, &main);
        let head = home.commit(&branch, &borrowed(&files), &branch);
        let number = home.open_pull(&branch, &branch, "main", "alice");
        self.open.push(Open {
            repo,
            number,
            branch,
            revisions,
            from,
        });
        (number, head)
    }

    /// Merges a pull request, or closes it where it conflicts; gives the commit of main.
    pub(crate) fn merge(&mut self, repo: usize, number: u64, method: Method) -> Option<String> {
        let at = self
            .open
            .iter()
            .position(|open| (open.repo, open.number) == (repo, number))
            .expect("it is open");
        let open = self.open.remove(at);
        self.forget_unseen(repo, number);
        match self.repos[repo].merge(number, method, "alice") {
            Ok(sha) => {
                self.bring(repo, &sha, Some(number), &open.revisions);
                Some(sha)
            }
            Err(_) => {
                self.close(repo, number);
                None
            }
        }
    }

    /// Waits until nothing is left to do, while people do their part. The daemon runs.
    pub(crate) async fn settle(&mut self) {
        let began = Instant::now();
        loop {
            let waiting = self.look_after();
            if waiting.is_empty() {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the world does not come to rest: {waiting:#?}\n{}\n{}",
                self.s.run(&["runs", "--limit", "40"]).stdout,
                self.s.run(&["status", "--comments"]).stdout,
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Kills a Terraform that lives, if there is one, and says which.
    pub(crate) fn kill_terraform(&self, chance: &mut Chance) -> Option<String> {
        let alive = self.shim.alive();
        if alive.is_empty() {
            return None;
        }
        let applies: Vec<_> = alive.iter().filter(|s| s.applies()).cloned().collect();
        let among = if applies.is_empty() { &alive } else { &applies };
        let chosen = chance.one(among);
        self.note_kill(&chosen.place, chosen.revision);
        chosen.kill();
        Some(chosen.step.clone())
    }

    /// Kills the daemon and all that it started, as a power cut would.
    pub(crate) fn kill_everything(&mut self) {
        let began = nanoseconds();
        self.s.kill();
        let alive = self.shim.alive();
        kill_below(self.s.folder());
        // A supervisor that had its order may have started one more before it was killed too.
        let later = self.shim.starts().into_iter().filter(|s| s.at >= began);
        for start in alive.into_iter().chain(later) {
            self.note_kill(&start.place, start.revision);
        }
    }

    fn note_kill(&self, key: &str, revision: u64) {
        self.ledger().killed.push(Killed {
            at: nanoseconds(),
            key: key.to_owned(),
            revision,
        });
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect()
}
