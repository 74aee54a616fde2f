//! Answers that were read before, by their ETags: an unchanged one costs nothing of the budget.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::session::SessionKey;

/// More answers than this are not kept; the ones not used for longest go first.
const CAPACITY: usize = 8_192;

/// One answer as it was understood.
#[derive(Clone)]
pub(super) struct Known {
    /// Its ETag, as GitHub wrote it.
    pub(super) etag: String,
    /// What was read from it: the parsed form, which is far smaller than the text.
    pub(super) parsed: Arc<dyn Any + Send + Sync>,
    /// The route of the next page.
    pub(super) next: Option<String>,
}

/// Answers by credential and route: what one credential may see is no answer for another.
#[derive(Default)]
pub(super) struct Cache {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_route: HashMap<(SessionKey, String), (Known, u64)>,
    uses: u64,
}

impl Cache {
    /// What is known of a route.
    pub(super) fn get(&self, session: SessionKey, route: &str) -> Option<Known> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let uses = entries.uses;
        let (known, used) = entries.by_route.get_mut(&(session, route.to_owned()))?;
        *used = uses;
        Some(known.clone())
    }

    /// Keeps an answer that was read and understood as a whole.
    pub(super) fn put(&self, session: SessionKey, route: &str, known: Known) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let uses = entries.uses;
        entries
            .by_route
            .insert((session, route.to_owned()), (known, uses));
        if entries.by_route.len() > CAPACITY {
            let mut all: Vec<u64> = entries.by_route.values().map(|(_, used)| *used).collect();
            all.sort_unstable();
            let oldest_to_keep = all[all.len() / 4];
            entries
                .by_route
                .retain(|_, (_, used)| *used >= oldest_to_keep);
        }
    }

    /// Forgets a route.
    pub(super) fn drop(&self, session: SessionKey, route: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_route.remove(&(session, route.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(etag: &str) -> Known {
        Known {
            etag: etag.to_owned(),
            parsed: Arc::new(()),
            next: None,
        }
    }

    #[test]
    fn what_one_credential_saw_is_unknown_to_another() {
        let cache = Cache::default();
        cache.put(SessionKey::Installation(1), "/x", known("a"));
        assert!(cache.get(SessionKey::Installation(1), "/x").is_some());
        assert!(cache.get(SessionKey::Installation(2), "/x").is_none());
    }

    #[test]
    fn a_full_cache_drops_what_was_not_used_for_longest() {
        let cache = Cache::default();
        for nth in 0..CAPACITY {
            cache.put(SessionKey::Token, &format!("/{nth}"), known("a"));
        }
        assert!(cache.get(SessionKey::Token, "/0").is_some());
        cache.put(SessionKey::Token, "/one-too-many", known("a"));
        assert!(cache.get(SessionKey::Token, "/0").is_some());
        assert!(cache.get(SessionKey::Token, "/1").is_none());
        assert!(cache.get(SessionKey::Token, "/one-too-many").is_some());
    }
}
