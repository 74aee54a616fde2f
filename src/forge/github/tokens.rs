//! The token that a request carries: given, signed, or minted for an installation.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::Method;
use octocrab::auth::AppAuth;
use serde::Deserialize;

use super::call::{Call, Effect, Right};
use super::client::Client;
use super::refusal::WireError;
use super::session::{Credential, Minted, Session};
use crate::clock;
use crate::forge::ForgeError;
use crate::redact::Secret;

#[derive(Deserialize)]
struct MintedWire {
    token: String,
    expires_at: DateTime<Utc>,
}

impl Client {
    /// The token that a session's requests carry, good for five minutes at least.
    pub(super) async fn bearer(&self, session: &Session) -> Result<Secret, ForgeError> {
        match &session.credential {
            Credential::Token(token) => Ok(token.clone()),
            Credential::App(key) => self.sign(key),
            Credential::Installation {
                id,
                key,
                app,
                minted,
            } => {
                let mut minted = minted.lock().await;
                if let Some(good) = minted
                    .as_ref()
                    .filter(|minted| minted.is_good(clock::now()))
                {
                    return Ok(good.token.clone());
                }
                let fresh = self.mint(session, *id, app, &self.sign(key)?).await?;
                Ok(minted.insert(fresh).token.clone())
            }
        }
    }

    /// A JWT of the App, good for nine minutes.
    fn sign(&self, key: &AppAuth) -> Result<Secret, ForgeError> {
        key.generate_bearer_token()
            .map(Secret::new)
            .map_err(|cause| ForgeError::Transient {
                service: self.api.service(),
                action: "sign in as the App".to_owned(),
                source: Box::new(WireError::Broken(Arc::new(cause))),
            })
    }

    async fn mint(
        &self,
        session: &Session,
        id: u64,
        app: &Session,
        jwt: &Secret,
    ) -> Result<Minted, ForgeError> {
        let call = Call {
            method: Method::POST,
            effect: Effect::Mint,
            ..Call::read(
                format!("/app/installations/{id}/access_tokens"),
                format!("fetch a token of installation {id}"),
                format!("installation {id} of the App"),
                Right::Account,
            )
        };
        let answer = self
            .exchange(app, jwt, &call, None)
            .await
            .map_err(ForgeError::from);
        if let Err(ForgeError::NotFound { .. } | ForgeError::Denied { .. }) = &answer {
            session.mark_gone();
        }
        let minted: MintedWire = self.understood(&call, &answer?)?;
        Ok(Minted {
            token: Secret::new(minted.token),
            expires_at: minted.expires_at,
        })
    }
}
