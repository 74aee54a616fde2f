//! Sends one request and judges its answer.
//!
//! No request is repeated here, but for one whose installation token was refused:
//! a 401 did nothing. Everything else is the caller's to repeat, after looking.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{SubsecRound as _, TimeDelta};
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, LINK, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use octocrab::Octocrab;
use octocrab::service::middleware::retry::RetryConfig;
use serde::de::DeserializeOwned;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::address::ApiBase;
use super::cache::{Cache, Known};
use super::call::{Call, Effect};
use super::gate::{self, Resource};
use super::refusal::{self, WireError};
use super::session::{Credential, Session};
use super::{RequestCounts, Settings, SetupError};
use crate::clock;
use crate::forge::{ForgeError, Urgency};
use crate::redact::Secret;

/// No answer of GitHub's is as large as this; a larger one is not read.
const LARGEST_BODY: usize = 64 << 20;
/// No list is followed further than this many pages.
const MOST_PAGES: usize = 1_000;
/// A mutation that takes longer than this no longer keeps the next one waiting: GitHub wants
/// them one by one, and one that hangs would hold up every repository.
const LONGEST_TURN: Duration = Duration::from_secs(3);
/// No difference between two clocks is seen below so many seconds.
const ON_THE_WAY: i64 = 2;
/// No redirect is followed further than this.
const MOST_REDIRECTS: usize = 5;

/// Whose turn it is to write: one at a time, and of those that wait the most urgent first.
#[derive(Default)]
struct Turns {
    /// When the last mutation ended; held during one for [`LONGEST_TURN`] at most.
    last_mutation: tokio::sync::Mutex<Option<Instant>>,
    /// How many wait, by urgency.
    waiting: [AtomicUsize; 3],
}

/// One that waits for its turn, as long as this lives.
struct Waits<'t>(&'t AtomicUsize);

impl<'t> Waits<'t> {
    fn among(count: &'t AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Turns {
    /// Waits for a turn. When the last mutation ended stands in it, and is written there anew.
    async fn take(&self, urgency: Urgency) -> MutexGuard<'_, Option<Instant>> {
        let place = urgency as usize;
        let _waits = Waits::among(&self.waiting[place]);
        loop {
            let turn = self.last_mutation.lock().await;
            let more_urgent = self.waiting[..place]
                .iter()
                .any(|count| count.load(Ordering::SeqCst) > 0);
            if !more_urgent {
                return turn;
            }
            // Given to the next in the row; this one stands at its end then.
            drop(turn);
            tokio::task::yield_now().await;
        }
    }
}

/// The one HTTP client, and what is counted and kept over its requests.
pub(super) struct Client {
    crab: Octocrab,
    pub(super) api: ApiBase,
    timeout: Duration,
    mutation_pause: Duration,
    /// Whose turn it is to write.
    turns: Turns,
    /// How many seconds GitHub's clock is ahead of ours, as its last answer told.
    ahead: AtomicI64,
    cache: Cache,
    rest: AtomicU64,
    not_modified: AtomicU64,
    graphql: AtomicU64,
}

/// An answer that is no refusal: 2xx, or the 304 that was asked for.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A page of a list, or anything else that was read.
pub(super) struct Page<T> {
    pub(super) parsed: Arc<T>,
    /// The route of the next page.
    pub(super) next: Option<String>,
}

/// Why a request had no good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// 401: the credential was not accepted.
    Unauthorized(ForgeError),
    /// Anything else.
    Other(ForgeError),
}

impl From<Failure> for ForgeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unauthorized(error) | Failure::Other(error) => error,
        }
    }
}

impl From<ForgeError> for Failure {
    fn from(error: ForgeError) -> Self {
        Self::Other(error)
    }
}

impl Client {
    pub(super) fn new(settings: &Settings, api: ApiBase) -> Result<Self, SetupError> {
        // A second installation of the same provider is refused, and means nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let crab = Octocrab::builder()
            .base_uri(api.origin())
            .map_err(SetupError::Client)?
            .add_retry_config(RetryConfig::None)
            .set_connect_timeout(Some(settings.request_timeout))
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            crab,
            api,
            timeout: settings.request_timeout,
            mutation_pause: settings.mutation_pause,
            turns: Turns::default(),
            ahead: AtomicI64::new(0),
            cache: Cache::default(),
            rest: AtomicU64::new(0),
            not_modified: AtomicU64::new(0),
            graphql: AtomicU64::new(0),
        })
    }

    pub(super) fn counts(&self) -> RequestCounts {
        RequestCounts {
            rest: self.rest.load(Ordering::Relaxed),
            rest_not_modified: self.not_modified.load(Ordering::Relaxed),
            graphql: self.graphql.load(Ordering::Relaxed),
        }
    }

    /// How far GitHub's clock is ahead of ours, to the second.
    pub(super) fn clock_ahead(&self) -> TimeDelta {
        TimeDelta::seconds(self.ahead.load(Ordering::Relaxed))
    }

    /// Takes in the time that an answer names as GitHub's own.
    fn compare_clocks(&self, headers: &HeaderMap) {
        let now = clock::now();
        let Some(theirs) = gate::date(headers) else {
            return;
        };
        let ahead = (theirs - now.trunc_subsecs(0)).num_seconds();
        // An answer is a while under way, and its time is cut to the second: that is no difference.
        let ahead = if ahead.abs() <= ON_THE_WAY { 0 } else { ahead };
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Sends a request and reads the JSON of its answer, without asking the cache.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        session: &Session,
        call: &Call,
    ) -> Result<T, ForgeError> {
        let answer = self.attempt(session, call, None).await?;
        self.understood(call, &answer)
    }

    /// Sends a request whose answer holds nothing that is needed.
    pub(super) async fn done(&self, session: &Session, call: &Call) -> Result<(), ForgeError> {
        let answer = self.attempt(session, call, None).await?;
        if answer.body.is_empty() {
            return Ok(());
        }
        self.understood::<serde::de::IgnoredAny>(call, &answer)
            .map(|_| ())
    }

    /// Reads a page, for nothing where it is what it was the last time.
    pub(super) async fn read<T>(
        &self,
        session: &Session,
        call: &Call,
    ) -> Result<Page<T>, ForgeError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let known = self
            .cache
            .get(session.key, &call.route)
            .and_then(|known| Some((known.parsed.clone().downcast::<T>().ok()?, known)));
        let etag = known.as_ref().map(|(_, known)| known.etag.as_str());
        let answer = match self.attempt(session, call, etag).await {
            Ok(answer) => answer,
            Err(failure) => {
                let error = failure.into();
                if matches!(error, ForgeError::NotFound { .. }) {
                    self.cache.drop(session.key, &call.route);
                }
                return Err(error);
            }
        };
        if let (StatusCode::NOT_MODIFIED, Some((parsed, known))) = (answer.status, known) {
            return Ok(Page {
                parsed,
                next: known.next,
            });
        }
        let parsed: Arc<T> = Arc::new(self.understood(call, &answer)?);
        let next = self.next_of(&answer.headers);
        // Only what was read to its end and understood is kept.
        match answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok()) {
            Some(etag) => {
                let etag = etag.to_owned();
                let known = Known {
                    etag,
                    parsed: parsed.clone(),
                    next: next.clone(),
                };
                self.cache.put(session.key, &call.route, known);
            }
            None => self.cache.drop(session.key, &call.route),
        }
        Ok(Page { parsed, next })
    }

    /// Reads all pages of a list.
    pub(super) async fn list<T>(&self, session: &Session, call: &Call) -> Result<Vec<T>, ForgeError>
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let mut all = Vec::new();
        let mut call = call.clone();
        for _ in 0..MOST_PAGES {
            let page: Page<Vec<T>> = self.read(session, &call).await?;
            all.extend(page.parsed.iter().cloned());
            match page.next {
                Some(next) => call = call.at(next),
                None => return Ok(all),
            }
        }
        Err(self.transient(&call, WireError::Endless { pages: MOST_PAGES }))
    }

    /// Reads the JSON of an answer.
    pub(super) fn understood<T: DeserializeOwned>(
        &self,
        call: &Call,
        answer: &Answer,
    ) -> Result<T, ForgeError> {
        serde_json::from_slice(&answer.body)
            .map_err(|cause| self.transient(call, WireError::NotUnderstood(Arc::new(cause))))
    }

    /// An answer that is none.
    pub(super) fn transient(&self, call: &Call, source: WireError) -> ForgeError {
        ForgeError::Transient {
            service: self.api.service(),
            action: call.action.clone(),
            source: Box::new(source),
        }
    }

    /// The limits ask to wait.
    pub(super) fn rate_limited(&self, until: clock::Timestamp) -> ForgeError {
        ForgeError::RateLimited {
            service: self.api.service(),
            until,
        }
    }

    /// Sends a request with the session's credential, and judges the answer.
    pub(super) async fn attempt(
        &self,
        session: &Session,
        call: &Call,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let bearer = self.bearer(session).await?;
        match self.exchange(session, &bearer, call, etag).await {
            Err(Failure::Unauthorized(error)) => {
                // A minted token can be revoked before its time: one new one is tried.
                let Credential::Installation { minted, .. } = &session.credential else {
                    return Err(Failure::Unauthorized(error));
                };
                minted.lock().await.take_if(|minted| minted.token == bearer);
                let bearer = self.bearer(session).await?;
                self.exchange(session, &bearer, call, etag).await
            }
            outcome => outcome,
        }
    }

    /// Sends a request when the limits let it, and judges the answer.
    pub(super) async fn exchange(
        &self,
        session: &Session,
        bearer: &Secret,
        call: &Call,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let limited = |until| Failure::Other(self.rate_limited(until));
        let closed = || session.gate().closed_until(call.resource, clock::now());
        if let Some(until) = closed() {
            return Err(limited(until));
        }
        let mut turn = match call.effect {
            Effect::Create | Effect::Remove => Some(self.turns.take(call.urgency).await),
            Effect::Read | Effect::Mint => None,
        };
        if let Some(last) = &mut turn {
            if let Some(at) = **last {
                tokio::time::sleep_until(at + self.mutation_pause).await;
            }
            // The one before may have been refused while this one waited.
            if let Some(until) = closed() {
                return Err(limited(until));
            }
            **last = Some(Instant::now());
        }
        if call.effect == Effect::Create {
            session
                .gate()
                .spend_creation(call.urgency, clock::now())
                .map_err(limited)?;
        }
        let mut following = pin!(self.follow(session, bearer, call, etag));
        let in_time = tokio::time::timeout(LONGEST_TURN, &mut following).await;
        if let Some(mut last) = turn {
            *last = Some(Instant::now());
        }
        match in_time {
            Ok(answer) => answer,
            Err(_) => following.await,
        }
    }

    /// Sends a request, and again where it was redirected within the API.
    async fn follow(
        &self,
        session: &Session,
        bearer: &Secret,
        call: &Call,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut path = match call.resource {
            Resource::Core => self.api.rest(&call.route),
            Resource::GraphQl => self.api.graphql(),
        };
        for _ in 0..=MOST_REDIRECTS {
            let answer = self
                .send(bearer, call, &path, etag)
                .await
                .map_err(|wire| self.transient(call, wire))?;
            let redirected = match answer.status.as_u16() {
                // A 307 or 308 asks for the same request elsewhere, and did nothing yet.
                307 | 308 => true,
                301 | 302 => call.method == Method::GET,
                _ => false,
            };
            if !redirected {
                return self.judge(session, bearer, call, answer, etag);
            }
            let location = answer
                .headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or_default();
            path = self
                .api
                .redirect(location)
                .ok_or_else(|| ForgeError::Refused {
                    service: self.api.service(),
                    action: call.action.clone(),
                    status: answer.status.as_u16(),
                    message: "it redirects to another host, where the token is not sent; \
                          write the new address into `api_url`"
                        .to_owned(),
                })?;
        }
        Err(self
            .transient(
                call,
                WireError::Redirects {
                    hops: MOST_REDIRECTS,
                },
            )
            .into())
    }

    /// Sends one request and reads its answer to the end.
    async fn send(
        &self,
        bearer: &Secret,
        call: &Call,
        path: &str,
        etag: Option<&str>,
    ) -> Result<Answer, WireError> {
        let broken = |cause| WireError::Broken(Arc::new(cause));
        let mut builder = http::Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(ACCEPT, "application/vnd.github+json");
        if let Some(etag) = etag {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        let crab = self
            .crab
            .user_access_token(bearer.expose())
            .map_err(broken)?;
        let request = crab
            .build_request(builder, call.body.as_ref())
            .map_err(broken)?;
        let exchange = async {
            let response = crab.execute(request).await.map_err(broken)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_BODY)
                .collect()
                .await
                .map_err(|cause| WireError::CutOff(Arc::from(cause)))?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        let outcome = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(WireError::TimedOut {
                after: self.timeout,
            }));
        let counter = match (&outcome, call.resource) {
            (_, Resource::GraphQl) => &self.graphql,
            (Ok(answer), Resource::Core) if answer.status == StatusCode::NOT_MODIFIED => {
                &self.not_modified
            }
            (_, Resource::Core) => &self.rest,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Ok(answer) = &outcome {
            self.compare_clocks(&answer.headers);
        }
        outcome
    }

    fn judge(
        &self,
        session: &Session,
        bearer: &Secret,
        call: &Call,
        answer: Answer,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let message = refusal::message(answer.status, &answer.body).replace(bearer.expose(), "***");
        let status = answer.status.as_u16();
        let limit = session.gate().heed(
            call.resource,
            status,
            &answer.headers,
            &message,
            clock::now(),
        );
        if let Some(until) = limit {
            return Err(self.rate_limited(until).into());
        }
        let unchanged = answer.status == StatusCode::NOT_MODIFIED && etag.is_some();
        if answer.status.is_success() || unchanged {
            return Ok(answer);
        }
        Err(refusal::of(&self.api.service(), call, &answer, message))
    }

    /// The route of the page after this one.
    fn next_of(&self, headers: &HeaderMap) -> Option<String> {
        let links = headers.get(LINK)?.to_str().ok()?;
        links.split(',').find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_next = parameters
                .split(';')
                .any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
            is_next.then(|| self.api.route_of(target)).flatten()
        })
    }
}
