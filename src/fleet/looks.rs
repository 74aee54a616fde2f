//! Looks at the repositories that somebody waits for, beside those of the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};
use tokio::time::{Instant, timeout};

use crate::id::RepoName;

/// A look that was asked for in the middle of another may pass unheard: it is asked for again.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// How long a look is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who looks and who waits for a look, brought together.
#[derive(Debug)]
pub struct Looks {
    asked: Sender<u64>,
    ended: Sender<BTreeMap<RepoName, (Instant, Came)>>,
}

/// How a look came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// What is there is on record.
    Well,
    /// It failed, and the record says no more than before.
    Badly,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            asked: watch::channel(0).0,
            ended: watch::channel(BTreeMap::new()).0,
        }
    }
}

impl Looks {
    /// Wakes whoever looks when a look is asked for.
    pub fn asked(&self) -> Receiver<u64> {
        self.asked.subscribe()
    }

    /// Notes that a look that began at `began` came to its end.
    pub fn ended(&self, repo: &RepoName, began: Instant, came: Came) {
        self.ended.send_modify(|ended| {
            ended.insert(repo.clone(), (began, came));
        });
    }

    /// Asks for a look at `repo` and waits until one that began after this call has ended.
    /// Where none comes in time, it came badly.
    pub async fn again(&self, repo: &RepoName) -> Came {
        self.again_within(repo, PATIENCE).await
    }

    async fn again_within(&self, repo: &RepoName, patience: Duration) -> Came {
        let from = Instant::now();
        let mut ended = self.ended.subscribe();
        while from.elapsed() < patience {
            self.asked.send_modify(|count| *count += 1);
            let since = |ended: &BTreeMap<RepoName, (Instant, Came)>| {
                ended.get(repo).is_some_and(|(began, _)| *began >= from)
            };
            let look = timeout(ASKED_EVERY.min(patience), ended.wait_for(since)).await;
            if let Ok(Ok(ended)) = look {
                return ended.get(repo).map_or(Came::Badly, |(_, came)| *came);
            }
        }
        Came::Badly
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn repo() -> RepoName {
        "acme/infra".parse().unwrap()
    }

    #[tokio::test]
    async fn a_look_that_began_before_it_was_asked_for_is_not_the_one() {
        let looks = Arc::new(Looks::default());
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let waiting = tokio::spawn({
            let looks = Arc::clone(&looks);
            async move { looks.again(&repo()).await }
        });
        let mut asked = looks.asked();
        asked.wait_for(|count| *count > 0).await.unwrap();
        looks.ended(&repo(), before, Came::Well);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        looks.ended(&repo(), Instant::now(), Came::Badly);
        assert_eq!(waiting.await.unwrap(), Came::Badly);
    }

    #[tokio::test]
    async fn a_look_that_never_comes_is_not_waited_for_for_ever() {
        let patience = Duration::from_millis(20);
        let came = Looks::default().again_within(&repo(), patience).await;
        assert_eq!(came, Came::Badly);
    }
}
