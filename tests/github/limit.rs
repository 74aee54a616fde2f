//! Rate limits: the hour's budget, and who was told to wait until when.
//!
//! Facts from "Rate limits for the REST API" and "Rate limits and query limits
//! for the GraphQL API" of GitHub's documentation.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::TimeDelta;

use super::world::{Switch, Time, now, this_second};

/// The two budgets that the model keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Core,
    Graphql,
}

impl Resource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Graphql => "graphql",
        }
    }
}

/// How one budget of one caller stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) reset: Time,
    pub(crate) resource: Resource,
}

impl Standing {
    pub(crate) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// The five headers.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.remaining().to_string()),
            ("x-ratelimit-used", self.used.to_string()),
            ("x-ratelimit-reset", self.reset.timestamp().to_string()),
            ("x-ratelimit-resource", self.resource.name().to_owned()),
        ]
    }
}

/// Until when a caller was told to wait.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// With everything: a secondary limit.
    All(Time),
    /// With one budget.
    One(Resource, Time),
}

/// The budgets of every caller.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Requests, or points, that a caller has in one window.
    sizes: BTreeMap<Resource, u64>,
    window: Duration,
    standings: BTreeMap<(String, Resource), Standing>,
    /// With the time when each was told.
    waits: BTreeMap<String, Vec<(Time, Wait)>>,
    on_its_way: TimeDelta,
    /// When each caller created content, oldest first.
    created: BTreeMap<String, VecDeque<Time>>,
    /// Whether one too many is refused. A client that is killed again and again forgets what it
    /// created, so that a test says so where it is to be held.
    counting: Switch,
}

/// "No more than 80 content-generating requests per minute and no more than 500 content-generating
/// requests per hour."
const CREATIONS: [(i64, usize); 2] = [(60, 80), (3_600, 500)];

/// How long an answer and a request that cross may be under way, on a busy machine.
const ON_ITS_WAY: TimeDelta = TimeDelta::milliseconds(300);

/// Unauthenticated callers have this many requests an hour.
const ANONYMOUS_LIMIT: u64 = 60;

impl Limits {
    /// GitHub's own sizes: 5,000 an hour of each.
    pub(crate) fn new() -> Self {
        Self {
            sizes: BTreeMap::from([(Resource::Core, 5_000), (Resource::Graphql, 5_000)]),
            window: Duration::from_secs(3_600),
            standings: BTreeMap::new(),
            waits: BTreeMap::new(),
            on_its_way: ON_ITS_WAY,
            created: BTreeMap::new(),
            counting: Switch::Off,
        }
    }

    /// How long an answer and a request that cross may be under way instead.
    pub(crate) fn allow_on_its_way(&mut self, time: TimeDelta) {
        self.on_its_way = time;
    }

    /// Other sizes; every caller begins anew.
    pub(crate) fn resize(&mut self, resource: Resource, limit: u64, window: Duration) {
        self.sizes.insert(resource, limit);
        self.window = window;
        self.standings.retain(|(_, kept), _| *kept != resource);
    }

    /// How a caller stands now.
    pub(crate) fn standing(&mut self, who: &str, resource: Resource) -> Standing {
        let limit = if who == ANONYMOUS {
            ANONYMOUS_LIMIT
        } else {
            self.sizes[&resource]
        };
        let fresh = Standing {
            limit,
            used: 0,
            reset: this_second() + self.window,
            resource,
        };
        let standing = self
            .standings
            .entry((who.to_owned(), resource))
            .or_insert(fresh);
        if now() >= standing.reset {
            *standing = fresh;
        }
        *standing
    }

    /// Takes from a budget, and says how it stands then.
    pub(crate) fn charge(&mut self, who: &str, resource: Resource, points: u64) -> Standing {
        let mut standing = self.standing(who, resource);
        standing.used += points;
        self.standings.insert((who.to_owned(), resource), standing);
        standing
    }

    /// Counts a request that creates content; where it is one too many, the seconds to wait.
    pub(crate) fn creation(&mut self, who: &str) -> Option<u64> {
        let now = now();
        let created = self.created.entry(who.to_owned()).or_default();
        for (seconds, most) in CREATIONS {
            let window = TimeDelta::seconds(seconds) - self.on_its_way;
            let oldest = created.len().checked_sub(most).map(|at| created[at]);
            let until = oldest.map(|at| at + window).filter(|until| *until > now);
            if let (Some(until), Switch::On) = (until, self.counting) {
                let wait = (until - now).num_seconds() + 1;
                return Some(u64::try_from(wait).unwrap_or(1));
            }
        }
        created.push_back(now);
        None
    }

    /// Refuses what is one too many from now on.
    pub(crate) fn keep_creations(&mut self) {
        self.counting = Switch::On;
    }

    /// How many requests of a caller created content so far.
    pub(crate) fn creations(&self, who: &str) -> usize {
        self.created.get(who).map_or(0, VecDeque::len)
    }

    /// Writes down that the caller was told to keep away from one budget until its reset.
    pub(crate) fn told_primary(&mut self, who: &str, resource: Resource, until: Time) {
        self.waits
            .entry(who.to_owned())
            .or_default()
            .push((now(), Wait::One(resource, until)));
    }

    /// Writes down that the caller was told to keep away altogether. Without a
    /// `Retry-After`, GitHub wants at least one minute.
    pub(crate) fn told_secondary(&mut self, who: &str, retry_after: Option<u64>) {
        let seconds = i64::try_from(retry_after.unwrap_or(60)).unwrap_or(60);
        let until = now() + TimeDelta::seconds(seconds);
        self.waits
            .entry(who.to_owned())
            .or_default()
            .push((now(), Wait::All(until)));
    }

    /// Whether a request that arrived at `at` comes too early.
    pub(crate) fn comes_too_early(&self, who: &str, resource: Resource, at: Time) -> bool {
        self.waits
            .get(who)
            .into_iter()
            .flatten()
            // What was on its way when the answer was given could not know of it.
            .filter(|(told, _)| at >= *told + self.on_its_way)
            .any(|(_, wait)| match wait {
                Wait::All(until) => at < *until,
                Wait::One(of, until) => *of == resource && at < *until,
            })
    }
}

/// Who is charged where nobody said who they are.
pub(crate) const ANONYMOUS: &str = "anonymous";
