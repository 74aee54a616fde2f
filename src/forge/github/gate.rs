//! GitHub's limits: when nothing may be sent, and how much may be created.
//!
//! The rules are GitHub's own, from "Rate limits for the REST API" and "Best
//! practices for using the REST API": `Retry-After` first, then an exhausted
//! `x-ratelimit-remaining` with its reset, else a minute that doubles.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use http::HeaderMap;

use crate::clock::Timestamp;
use crate::forge::Urgency;

/// What GitHub keeps a primary budget for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// REST.
    Core,
    /// GraphQL.
    GraphQl,
}

/// GitHub allows 80 requests that create content in a minute…
const CREATIONS_A_MINUTE: usize = 80;
/// …and 500 in an hour.
const CREATIONS_AN_HOUR: usize = 500;

/// How many creations of the last minute, and of the last hour, leave no room for one that is so
/// urgent. What is left above a share is kept for what is more urgent: a hundred an hour for how
/// applies came out, and as many again as progress may have for plans and their statuses.
fn shares(urgency: Urgency) -> (usize, usize) {
    match urgency {
        Urgency::Now => (CREATIONS_A_MINUTE, CREATIONS_AN_HOUR),
        Urgency::Soon => (CREATIONS_A_MINUTE * 7 / 8, CREATIONS_AN_HOUR * 4 / 5),
        Urgency::Whenever => (CREATIONS_A_MINUTE * 5 / 8, CREATIONS_AN_HOUR * 2 / 5),
    }
}
/// How long to wait for a secondary limit that names no time; doubled each time in a row…
const FIRST_PENALTY: Duration = Duration::from_secs(60);
/// …up to this.
const LONGEST_PENALTY: Duration = Duration::from_secs(15 * 60);

/// The limits of one credential, as far as its answers told.
#[derive(Debug, Default)]
pub(super) struct Gate {
    core: Option<Timestamp>,
    graphql: Option<Timestamp>,
    everything: Option<Timestamp>,
    penalties: u32,
    created: VecDeque<Timestamp>,
}

impl Gate {
    /// Says until when nothing may be sent to `resource`.
    pub(super) fn closed_until(&self, resource: Resource, now: Timestamp) -> Option<Timestamp> {
        let own = match resource {
            Resource::Core => self.core,
            Resource::GraphQl => self.graphql,
        };
        own.max(self.everything).filter(|until| *until > now)
    }

    /// Counts one request that creates content, or says when there is room again for one that is
    /// so urgent.
    pub(super) fn spend_creation(
        &mut self,
        urgency: Urgency,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let (minute, hour) = (TimeDelta::minutes(1), TimeDelta::hours(1));
        while self.created.front().is_some_and(|at| *at + hour <= now) {
            self.created.pop_front();
        }
        let room = |window: TimeDelta, limit: usize| {
            let oldest_that_counts = self.created.len().checked_sub(limit)?;
            let until = self.created[oldest_that_counts] + window;
            (until > now).then_some(until)
        };
        let (a_minute, an_hour) = shares(urgency);
        match room(minute, a_minute).max(room(hour, an_hour)) {
            Some(until) => Err(until),
            None => {
                self.created.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes in what an answer says of the limits; gives the time where it is a refusal because of them.
    pub(super) fn heed(
        &mut self,
        resource: Resource,
        status: u16,
        headers: &HeaderMap,
        message: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let exhausted = exhausted_until(headers, now);
        if !matches!(status, 403 | 429) {
            if let Some(until) = exhausted {
                self.close(resource, until);
            }
            if status < 400 {
                self.penalties = 0;
            }
            return None;
        }
        if let Some(until) = retry_after(headers, now) {
            self.everything = self.everything.max(Some(until));
            Some(until)
        } else if let Some(until) = exhausted {
            self.close(resource, until);
            Some(until)
        } else if status == 429 || is_about_limits(message) {
            Some(self.penalise(now))
        } else {
            None
        }
    }

    /// Takes in a refusal that GraphQL gives inside an answer of status 200.
    pub(super) fn heed_graphql_refusal(
        &mut self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Timestamp {
        if let Some(until) = retry_after(headers, now) {
            self.everything = self.everything.max(Some(until));
            until
        } else if let Some(until) = exhausted_until(headers, now) {
            self.close(Resource::GraphQl, until);
            until
        } else {
            self.penalise(now)
        }
    }

    /// Closes one resource until then.
    pub(super) fn close(&mut self, resource: Resource, until: Timestamp) {
        let slot = match resource {
            Resource::Core => &mut self.core,
            Resource::GraphQl => &mut self.graphql,
        };
        *slot = (*slot).max(Some(until));
    }

    /// Closes everything for a minute, or twice as long as the last time in a row.
    fn penalise(&mut self, now: Timestamp) -> Timestamp {
        let wait = FIRST_PENALTY
            .saturating_mul(1 << self.penalties.min(4))
            .min(LONGEST_PENALTY);
        self.penalties += 1;
        let until = now + wait;
        self.everything = self.everything.max(Some(until));
        until
    }
}

/// Whether GitHub's message speaks of a limit; the words are those of its answers.
pub(super) fn is_about_limits(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "secondary rate limit",
        "rate limit exceeded",
        "abuse detection",
    ]
    .iter()
    .any(|words| message.contains(words))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The time of an answer, by GitHub's own clock.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(text(headers, "date")?).ok()?;
    Some(date.to_utc())
}

/// `Retry-After`, in seconds or as a date. More than a day is taken as a day.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let value = text(headers, "retry-after")?;
    let until = match value.parse::<u64>() {
        Ok(seconds) => now + Duration::from_secs(seconds.clamp(1, 86_400)),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(value).ok()?.to_utc();
            now + (until - date(headers).unwrap_or(now))
        }
    };
    Some(until.clamp(
        now + Duration::from_secs(1),
        now + Duration::from_secs(86_400),
    ))
}

/// The reset of a primary budget that has nothing left.
fn exhausted_until(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    if text(headers, "x-ratelimit-remaining")? != "0" {
        return None;
    }
    let reset = text(headers, "x-ratelimit-reset")?.parse().ok()?;
    let reset = DateTime::from_timestamp(reset, 0)?;
    // It is a time of GitHub's clock, which need not be ours: the wait is what counts. Where the
    // answer's own time is cut to the second, the wait is rather too long than too short.
    let until = now + (reset - date(headers).unwrap_or(now));
    Some(until.max(now + Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2024-05-01T12:00:00Z".parse().unwrap()
    }

    fn after(seconds: u64) -> Timestamp {
        noon() + Duration::from_secs(seconds)
    }

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_closes_everything_in_seconds_or_as_a_date() {
        for value in ["30", "Wed, 01 May 2024 12:00:30 GMT"] {
            let mut gate = Gate::default();
            let told = headers(&[("retry-after", value.to_owned())]);
            assert_eq!(
                gate.heed(Resource::Core, 429, &told, "", noon()),
                Some(after(30)),
                "{value}"
            );
            assert_eq!(
                gate.closed_until(Resource::GraphQl, noon()),
                Some(after(30))
            );
            assert_eq!(
                gate.closed_until(Resource::Core, after(29)),
                Some(after(30))
            );
            assert_eq!(gate.closed_until(Resource::Core, after(30)), None);
        }
    }

    #[test]
    fn an_exhausted_budget_closes_its_own_resource_only() {
        let mut gate = Gate::default();
        let told = headers(&[
            ("x-ratelimit-remaining", "0".to_owned()),
            ("x-ratelimit-reset", after(600).timestamp().to_string()),
        ]);
        assert_eq!(
            gate.heed(Resource::Core, 403, &told, "", noon()),
            Some(after(600))
        );
        assert_eq!(gate.closed_until(Resource::Core, noon()), Some(after(600)));
        assert_eq!(gate.closed_until(Resource::GraphQl, noon()), None);
    }

    #[test]
    fn the_last_request_of_a_budget_succeeds_and_closes_the_gate() {
        let mut gate = Gate::default();
        let told = headers(&[
            ("x-ratelimit-remaining", "0".to_owned()),
            ("x-ratelimit-reset", after(5).timestamp().to_string()),
        ]);
        assert_eq!(gate.heed(Resource::Core, 200, &told, "", noon()), None);
        assert_eq!(gate.closed_until(Resource::Core, noon()), Some(after(5)));
    }

    #[test]
    fn a_secondary_limit_without_a_time_doubles_up_to_a_quarter_of_an_hour() {
        let mut gate = Gate::default();
        let message = "You have exceeded a secondary rate limit.";
        for seconds in [60, 120, 240, 480, 900, 900] {
            let until = gate.heed(Resource::Core, 403, &HeaderMap::new(), message, noon());
            assert_eq!(until, Some(after(seconds)));
        }
        assert_eq!(
            gate.heed(Resource::Core, 200, &HeaderMap::new(), "", noon()),
            None
        );
        let until = gate.heed(Resource::Core, 403, &HeaderMap::new(), message, noon());
        assert_eq!(
            until,
            Some(after(60)),
            "an answer that went well starts it over"
        );
    }

    #[test]
    fn a_plain_403_is_no_limit() {
        let mut gate = Gate::default();
        let message = "Resource not accessible by integration";
        assert_eq!(
            gate.heed(Resource::Core, 403, &HeaderMap::new(), message, noon()),
            None
        );
        assert_eq!(gate.closed_until(Resource::Core, noon()), None);
    }

    #[test]
    fn at_most_eighty_things_are_created_in_a_minute() {
        let mut gate = Gate::default();
        for _ in 0..80 {
            assert_eq!(gate.spend_creation(Urgency::Now, noon()), Ok(()));
        }
        assert_eq!(gate.spend_creation(Urgency::Now, after(59)), Err(after(60)));
        assert_eq!(gate.spend_creation(Urgency::Now, after(60)), Ok(()));
    }

    #[test]
    fn at_most_five_hundred_things_are_created_in_an_hour() {
        let mut gate = Gate::default();
        for nth in 0..500 {
            assert_eq!(gate.spend_creation(Urgency::Now, after(nth)), Ok(()));
        }
        assert_eq!(
            gate.spend_creation(Urgency::Now, after(600)),
            Err(after(3600))
        );
        assert_eq!(gate.spend_creation(Urgency::Now, after(3600)), Ok(()));
        assert_eq!(
            gate.spend_creation(Urgency::Now, after(3600)),
            Err(after(3601))
        );
    }

    #[test]
    fn progress_never_takes_the_place_of_an_outcome() {
        let mut gate = Gate::default();
        // An hour of progress as fast as GitHub lets it be.
        let mut told = 0;
        for nth in 0..3_600 {
            told += usize::from(gate.spend_creation(Urgency::Whenever, after(nth)).is_ok());
        }
        assert_eq!(told, 200);
        let end = after(3_599);
        for _ in 0..60 {
            assert_eq!(gate.spend_creation(Urgency::Now, end), Ok(()));
        }
    }

    #[test]
    fn a_plan_finds_room_where_progress_has_none_and_an_outcome_where_a_plan_has_none() {
        let mut gate = Gate::default();
        let spend = |gate: &mut Gate, urgency| {
            let mut count = 0;
            while gate.spend_creation(urgency, noon()).is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(spend(&mut gate, Urgency::Whenever), 50);
        assert_eq!(spend(&mut gate, Urgency::Soon), 20);
        assert_eq!(spend(&mut gate, Urgency::Now), 10);
        // It is room for the least urgent that comes last, as what was sent falls out of the minute.
        for urgency in [Urgency::Now, Urgency::Soon, Urgency::Whenever] {
            assert_eq!(gate.spend_creation(urgency, noon()), Err(after(60)));
        }
    }

    #[test]
    fn a_reset_is_a_time_of_githubs_clock_and_the_wait_is_ours() {
        for skew in [-300_i64, 300] {
            let theirs = noon() + TimeDelta::seconds(skew);
            let mut gate = Gate::default();
            let told = headers(&[
                ("date", theirs.to_rfc2822()),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", (theirs.timestamp() + 600).to_string()),
            ]);
            let until = gate.heed(Resource::Core, 403, &told, "", noon());
            assert_eq!(until, Some(after(600)), "{skew}");
        }
    }
}
