//! A wish to stop, shared between who has it and who obeys it.

use std::sync::Arc;

use tokio::sync::watch;

/// A wish to stop. Clones share it; once spoken it stays spoken.
#[derive(Debug, Clone)]
pub struct CancelToken(Arc<watch::Sender<bool>>);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Wishes that the work stops. Saying it again changes nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody wished it.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody wishes it, for ever if nobody does.
    pub async fn cancelled(&self) {
        let mut wish = self.0.subscribe();
        // The sender lives in `self`, so that the channel cannot close meanwhile.
        let _ = wish.wait_for(|wished| *wished).await;
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_reaches_every_clone_and_whoever_asks_later() {
        let token = CancelToken::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.cancelled().await }
        });
        assert!(!token.is_cancelled());
        token.cancel();
        waiting.await.unwrap();
        token.cancelled().await;
        assert!(token.clone().is_cancelled());
    }
}
