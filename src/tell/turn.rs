//! What is told next: the most urgent first, and nothing that would be refused again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::Stage;
use crate::clock::Timestamp;
use crate::forge::{ForgeError, Urgency};
use crate::store::{Ground, Telling};

/// The first wait after a failure that may pass; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(2);

/// The first wait after a refusal that a person must mend; it doubles up to [`LONGEST_WAIT`].
const FIRST_REFUSED_WAIT: TimeDelta = TimeDelta::seconds(10);

/// The longest wait between two tries.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(5);

/// How often an archived repository is tried again: nothing there changes by itself.
const ARCHIVED_WAIT: TimeDelta = TimeDelta::minutes(10);

/// How a thing that shall be shown stands in the row of those that are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// How urgent it is.
    pub(super) urgency: Urgency,
    /// Whether what it tells of still goes on.
    pub(super) stage: Stage,
}

/// What was tried in one pass, so that nothing is tried twice in it.
#[derive(Debug, Default)]
pub(super) struct Pass {
    tried: BTreeSet<(String, String)>,
    /// Until when there is no room for what is so urgent, or less.
    no_room: Option<(Urgency, Timestamp)>,
}

impl Pass {
    /// Notes that it was tried.
    pub(super) fn tried(&mut self, telling: &Telling) {
        self.tried
            .insert((telling.target.clone(), telling.digest.clone()));
    }

    /// Notes that the forge, or the budget, has no room for what is so urgent before then.
    pub(super) fn no_room(&mut self, urgency: Urgency, until: Timestamp) {
        self.no_room = Some((urgency, until));
    }
}

/// What is told next, and when to come back where that is nothing.
#[derive(Debug, PartialEq)]
pub(super) struct Turn<'t> {
    /// What is told now.
    pub(super) due: Option<&'t Telling>,
    /// When something else is due.
    pub(super) again: Option<Timestamp>,
}

/// Chooses what is told next of what is not shown yet, oldest change first. What has no place in
/// `places` concerns nobody any more (the status of a head that was replaced) and is let be.
pub(super) fn next<'t>(
    untold: &'t [Telling],
    places: &BTreeMap<String, Place>,
    pass: &Pass,
    archived: Archive,
    now: Timestamp,
) -> Turn<'t> {
    let refused = refused_kinds(untold, now);
    let archived = archived.until(untold);
    let mut due: Option<(Urgency, &Telling)> = None;
    let mut again: Option<Timestamp> = None;
    for telling in untold {
        let Some(place) = places.get(&telling.target) else {
            continue;
        };
        let calm = telling
            .calm_until
            .filter(|_| place.stage == Stage::UnderWay);
        let room = pass
            .no_room
            .and_then(|(urgency, until)| (place.urgency >= urgency).then_some(until));
        let waits = [
            telling.retry_at,
            calm,
            room,
            refused.get(kind(telling)).copied(),
            archived,
        ];
        match waits.into_iter().flatten().filter(|at| *at > now).max() {
            Some(at) => again = Some(again.map_or(at, |known| known.min(at))),
            None if pass
                .tried
                .contains(&(telling.target.clone(), telling.digest.clone())) => {}
            None => {
                if due.is_none_or(|(urgency, _)| place.urgency < urgency) {
                    due = Some((place.urgency, telling));
                }
            }
        }
    }
    Turn {
        due: due.map(|(_, telling)| telling),
        again,
    }
}

/// Whether a repository is archived, and when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    /// It can be written to, as far as is known.
    No,
    /// It is archived. One thing is tried from time to time, and nothing else.
    Since(Timestamp),
}

impl Archive {
    /// Until when nothing is tried: the last thing that was tried says it for all.
    fn until(self, untold: &[Telling]) -> Option<Timestamp> {
        let Self::Since(since) = self else {
            return None;
        };
        let refused = untold
            .iter()
            .filter(|t| t.ground == Some(Ground::Archived))
            .filter_map(|t| t.retry_at);
        Some(refused.max().unwrap_or(since + ARCHIVED_WAIT))
    }
}

/// What kind of thing it is: each kind takes a right of its own.
fn kind(telling: &Telling) -> &str {
    telling.wanted["show"].as_str().unwrap_or_default()
}

/// The kinds of which one was refused for want of a right, and until when. One of each kind is tried
/// again then, and the others with it only where that succeeds.
fn refused_kinds(untold: &[Telling], now: Timestamp) -> BTreeMap<&str, Timestamp> {
    let mut kinds: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for telling in untold {
        if telling.ground == Some(Ground::Denied)
            && let Some(until) = telling.retry_at.filter(|at| *at > now)
        {
            let known = kinds.entry(kind(telling)).or_insert(until);
            *known = (*known).max(until);
        }
    }
    kinds
}

/// Why it failed, as a word.
pub(super) fn ground(error: &ForgeError) -> Ground {
    match error {
        ForgeError::RateLimited { .. } => Ground::Limited,
        ForgeError::Denied { .. } => Ground::Denied,
        ForgeError::Locked { .. } => Ground::Locked,
        ForgeError::Archived { .. } => Ground::Archived,
        ForgeError::NotFound { .. } => Ground::Missing,
        ForgeError::Refused { .. } => Ground::Refused,
        ForgeError::Transient { .. } => Ground::Unanswered,
    }
}

/// How long to wait before it is tried again, after so many failures before this one.
pub(super) fn wait_after(error: &ForgeError, attempts: u32, now: Timestamp) -> TimeDelta {
    let doubled =
        |first: TimeDelta| LONGEST_WAIT.min(first * 2_i32.saturating_pow(attempts.min(16)));
    match error {
        ForgeError::RateLimited { until, .. } => (*until - now).max(TimeDelta::zero()),
        // What is new may not be known everywhere at the forge yet.
        ForgeError::Transient { .. } | ForgeError::NotFound { .. } => doubled(FIRST_WAIT),
        // A person has to do something first, and may do so at any time.
        ForgeError::Denied { .. } | ForgeError::Locked { .. } => doubled(FIRST_REFUSED_WAIT),
        ForgeError::Archived { .. } => ARCHIVED_WAIT,
        ForgeError::Refused { .. } => LONGEST_WAIT,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn noon() -> Timestamp {
        "2024-05-01T12:00:00Z".parse().unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        noon() + TimeDelta::seconds(seconds)
    }

    fn telling(target: &str) -> Telling {
        Telling {
            repo: "acme/infra".parse().unwrap(),
            target: target.to_owned(),
            wanted: json!({ "show": target.split(' ').next() }),
            digest: "d".to_owned(),
            told: None,
            remote_id: None,
            error: None,
            ground: None,
            failed_at: None,
            attempts: 0,
            retry_at: None,
            calm_until: None,
            shown: None,
            shown_at: None,
            compared_at: None,
            meddled: None,
        }
    }

    fn failed(target: &str, ground: Ground, retry_at: Timestamp) -> Telling {
        Telling {
            ground: Some(ground),
            retry_at: Some(retry_at),
            ..telling(target)
        }
    }

    fn places(of: &[(&str, Urgency)]) -> BTreeMap<String, Place> {
        of.iter()
            .map(|(target, urgency)| {
                let stage = match urgency {
                    Urgency::Whenever => Stage::UnderWay,
                    Urgency::Now | Urgency::Soon => Stage::Settled,
                };
                let place = Place {
                    urgency: *urgency,
                    stage,
                };
                ((*target).to_owned(), place)
            })
            .collect()
    }

    /// All that is told in a pass in which everything succeeds, in its order.
    fn order(
        untold: &[Telling],
        places: &BTreeMap<String, Place>,
        archived: Archive,
    ) -> Vec<String> {
        let mut pass = Pass::default();
        let mut order = Vec::new();
        while let Some(due) = next(untold, places, &pass, archived, noon()).due {
            order.push(due.target.clone());
            pass.tried(due);
        }
        order
    }

    #[test]
    fn the_outcome_of_an_apply_comes_before_the_plans_and_these_before_progress() {
        let mut of: Vec<(String, Urgency)> = (0..50)
            .map(|n| (format!("comment #{n}"), Urgency::Whenever))
            .collect();
        of.push(("status aaaa".to_owned(), Urgency::Soon));
        of.push(("issue hold network".to_owned(), Urgency::Now));
        let untold: Vec<_> = of.iter().map(|(target, _)| telling(target)).collect();
        let of: Vec<_> = of.iter().map(|(t, u)| (t.as_str(), *u)).collect();
        let order = order(&untold, &places(&of), Archive::No);
        assert_eq!(
            order[..3],
            ["issue hold network", "status aaaa", "comment #0"]
        );
        assert_eq!(order.len(), 52);
    }

    #[test]
    fn what_nobody_wants_any_more_is_let_be() {
        let untold = [telling("status aaaa")];
        assert!(order(&untold, &BTreeMap::new(), Archive::No).is_empty());
    }

    #[test]
    fn a_lost_right_stops_its_own_kind_and_nothing_else() {
        let untold = [
            failed("comment #1", Ground::Denied, after(40)),
            telling("comment #2"),
            telling("status aaaa"),
        ];
        let of = places(&[
            ("comment #1", Urgency::Now),
            ("comment #2", Urgency::Now),
            ("status aaaa", Urgency::Soon),
        ]);
        assert_eq!(order(&untold, &of, Archive::No), ["status aaaa"]);
        let turn = next(&untold[..2], &of, &Pass::default(), Archive::No, noon());
        assert_eq!(turn.again, Some(after(40)));
        let turn = next(&untold, &of, &Pass::default(), Archive::No, after(40));
        assert_eq!(turn.due.unwrap().target, "comment #1", "one is tried again");
    }

    #[test]
    fn a_locked_conversation_stops_its_own_comment_only() {
        let untold = [
            failed("comment #1", Ground::Locked, after(40)),
            telling("comment #2"),
        ];
        let of = places(&[("comment #1", Urgency::Now), ("comment #2", Urgency::Now)]);
        assert_eq!(order(&untold, &of, Archive::No), ["comment #2"]);
    }

    #[test]
    fn in_an_archived_repository_one_thing_is_tried_from_time_to_time() {
        let untold = [
            failed("comment #1", Ground::Archived, after(60)),
            telling("status aaaa"),
        ];
        let of = places(&[("comment #1", Urgency::Now), ("status aaaa", Urgency::Now)]);
        let archived = Archive::Since(noon());
        assert!(order(&untold, &of, archived).is_empty());
        let mut pass = Pass::default();
        let turn = next(&untold, &of, &pass, archived, after(60));
        assert_eq!(turn.due.unwrap().target, "comment #1");
        pass.tried(turn.due.unwrap());
        let untold = [
            failed("comment #1", Ground::Archived, after(660)),
            telling("status aaaa"),
        ];
        let turn = next(&untold, &of, &pass, archived, after(60));
        assert_eq!((turn.due, turn.again), (None, Some(after(660))));
    }

    #[test]
    fn where_there_is_no_room_for_progress_an_outcome_is_told_all_the_same() {
        let untold = [telling("comment #1"), telling("comment #2")];
        let of = places(&[
            ("comment #1", Urgency::Whenever),
            ("comment #2", Urgency::Now),
        ]);
        let mut pass = Pass::default();
        pass.no_room(Urgency::Whenever, after(60));
        let turn = next(&untold, &of, &pass, Archive::No, noon());
        assert_eq!(turn.due.unwrap().target, "comment #2");
        assert_eq!(turn.again, Some(after(60)));
        pass.no_room(Urgency::Now, after(90));
        let turn = next(&untold, &of, &pass, Archive::No, noon());
        assert_eq!((turn.due, turn.again), (None, Some(after(90))));
    }

    #[test]
    fn what_is_under_way_is_told_in_calm_and_its_end_at_once() {
        let calm = |target: &str| Telling {
            calm_until: Some(after(10)),
            ..telling(target)
        };
        let untold = [calm("comment #1"), calm("comment #2")];
        let of = places(&[
            ("comment #1", Urgency::Whenever),
            ("comment #2", Urgency::Soon),
        ]);
        assert_eq!(order(&untold, &of, Archive::No), ["comment #2"]);
    }

    #[test]
    fn a_rate_limit_is_waited_for_and_not_guessed() {
        let error = ForgeError::RateLimited {
            service: "GitHub".into(),
            until: after(2_400),
        };
        assert_eq!(wait_after(&error, 0, noon()), TimeDelta::minutes(40));
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let error = || ForgeError::Transient {
            service: "GitHub".into(),
            action: "comment".into(),
            source: "cut off".into(),
        };
        assert_eq!(wait_after(&error(), 0, noon()), FIRST_WAIT);
        assert_eq!(wait_after(&error(), 3, noon()), FIRST_WAIT * 8);
        assert_eq!(wait_after(&error(), 4_000_000_000, noon()), LONGEST_WAIT);
        let locked = ForgeError::Locked {
            service: "GitHub".into(),
            action: "comment".into(),
        };
        assert_eq!(wait_after(&locked, 1, noon()), FIRST_REFUSED_WAIT * 2);
        assert_eq!(wait_after(&locked, 100, noon()), LONGEST_WAIT);
    }
}
