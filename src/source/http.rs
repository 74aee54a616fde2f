//! Git over `http` and `https`.
//!
//! Credentials go in a header, to the server that the address names and to no
//! other: a redirect elsewhere is followed without them.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::address::{HttpScheme, HttpUrl, RemoteAddress};
use super::error::{Login, SourceError, one_line};
use super::peer::Service;
use super::protocol::Channel;

/// Redirects that are followed; a repository that was renamed twice has two.
const REDIRECT_LIMIT: usize = 5;

/// Bytes of a refusal's text that are read.
const SAID_LIMIT: u64 = 2_000;

/// Some servers answer only what calls itself git.
const USER_AGENT: &str = concat!("git/2.0 (mainstay ", env!("CARGO_PKG_VERSION"), ")");

/// Makes a client that trusts `roots`, or where there are none, what the system trusts.
pub(super) fn agent(
    roots: Option<&[CertificateDer<'static>]>,
    connect: Duration,
    idle: Duration,
) -> Agent {
    let roots = match roots {
        Some(roots) => specific(roots),
        None => system_roots().clone(),
    };
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        // Followed here, so that credentials stay where they belong.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(idle))
        .timeout_per_read(Some(idle))
        .timeout_per_write(Some(idle))
        .build()
        .new_agent()
}

/// The certificates that the system trusts, read once.
fn system_roots() -> &'static RootCerts {
    static ROOTS: OnceLock<RootCerts> = OnceLock::new();
    ROOTS.get_or_init(|| specific(&rustls_native_certs::load_native_certs().certs))
}

fn specific(roots: &[CertificateDer<'static>]) -> RootCerts {
    roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .into()
}

/// A server of git over `http` or `https`.
pub(super) struct Http {
    agent: Agent,
    /// Where the repository is, after redirects.
    url: HttpUrl,
    /// The header of the credentials, with the server that it is for.
    authorization: Option<(HttpUrl, HeaderValue)>,
    login: Login,
    shown: String,
    service: Service,
}

impl Http {
    /// Nothing is sent yet.
    pub(super) fn new(
        agent: Agent,
        url: HttpUrl,
        remote: &RemoteAddress,
        service: Service,
    ) -> Self {
        let authorization = remote.login.as_ref().map(|(user, password)| {
            let code = STANDARD.encode(format!("{user}:{}", password.expose()));
            let mut value = HeaderValue::from_str(&format!("Basic {code}"))
                .expect("base64 is made of letters that a header may have");
            value.set_sensitive(true);
            (url.clone(), value)
        });
        Self {
            agent,
            url,
            authorization,
            login: remote.login_name(),
            shown: remote.shown(),
            service,
        }
    }

    /// What a repository's URL is completed with to greet its server.
    fn greeted(&self) -> String {
        format!("info/refs?service={}", self.service.program())
    }

    /// What kind of answer the server gives to a greeting, or to a request.
    fn kind(&self, ending: &str) -> String {
        format!("application/x-{}-{ending}", self.service.program())
    }

    /// The headers of every request to where the repository is now.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Git-Protocol", HeaderValue::from_static("version=2"));
        match &self.authorization {
            Some((server, value)) if server.same_server(&self.url) => {
                headers.insert(AUTHORIZATION, value.clone());
            }
            _ => {}
        }
        headers
    }

    /// Follows a redirect of the greeting, and so finds where the repository is.
    fn redirect(&mut self, location: Option<&HeaderValue>) -> Result<(), SourceError> {
        let moved = |what: &str| SourceError::Protocol {
            url: self.shown.clone(),
            what: format!("it redirects {what}"),
        };
        let location = location
            .and_then(|location| location.to_str().ok())
            .ok_or_else(|| moved("without saying where to"))?;
        let target = if location.starts_with('/') && !location.starts_with("//") {
            self.url.server(location)
        } else {
            location.to_owned()
        };
        let repository = target
            .strip_suffix(&self.greeted())
            .ok_or_else(|| moved("to something that is no repository, a login page perhaps"))?;
        let to = HttpUrl::parse(repository).map_err(|reason| SourceError::Address {
            url: format!("a redirect from {}", self.shown),
            reason,
        })?;
        if self.url.scheme == HttpScheme::Https && to.scheme == HttpScheme::Http {
            return Err(moved("from https to http"));
        }
        self.url = to;
        Ok(())
    }

    /// Says why there was no answer at all.
    fn unreachable(&self, tried: &str, error: ureq::Error) -> SourceError {
        SourceError::Unreachable {
            url: self.shown.clone(),
            tried: tried.to_owned(),
            source: error.into(),
        }
    }

    /// Takes an answer as what it should be, or says why it is not.
    fn accept(
        &self,
        tried: &str,
        mut response: http::Response<Body>,
        kind: &str,
    ) -> Result<Box<dyn Read>, SourceError> {
        let (url, login) = (self.shown.clone(), self.login.clone());
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if self.service == Service::Receive =>
            {
                return Err(SourceError::MayNotPush { url, login });
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(SourceError::AuthRefused { url, login });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(SourceError::NoSuchRepository { url, login });
            }
            _ => {
                let is_text = media_type(response.headers()) == "text/plain";
                // What it says besides the status may help; a page of HTML does not.
                let mut said = Vec::new();
                if is_text {
                    let body = response.body_mut().as_reader();
                    // Half a message is as good as none, and the status is there either way.
                    body.take(SAID_LIMIT).read_to_end(&mut said).ok();
                }
                let said = String::from_utf8_lossy(&said);
                let message = one_line(&format!("{status} {said}"));
                return Err(SourceError::Refused {
                    url,
                    tried: tried.to_owned(),
                    message,
                });
            }
        }
        let found = media_type(response.headers()).to_owned();
        if found != kind {
            let what = format!("it answers with `{}`", one_line(&found));
            return Err(SourceError::Protocol { url, what });
        }
        Ok(Box::new(response.into_body().into_reader()))
    }
}

/// The media type of an answer.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

impl Channel for Http {
    fn greeting(&mut self) -> Result<Box<dyn Read + '_>, SourceError> {
        const TRIED: &str = "list its branches";
        for _ in 0..=REDIRECT_LIMIT {
            let mut request = self.agent.get(self.url.join(&self.greeted()));
            if let Some(headers) = request.headers_mut() {
                headers.extend(self.headers());
            }
            let response = request
                .call()
                .map_err(|error| self.unreachable(TRIED, error))?;
            if response.status().is_redirection() {
                self.redirect(response.headers().get(LOCATION))?;
                continue;
            }
            return self.accept(TRIED, response, &self.kind("advertisement"));
        }
        Err(SourceError::Protocol {
            url: self.shown.clone(),
            what: format!("it redirects more than {REDIRECT_LIMIT} times"),
        })
    }

    fn ask(&mut self, request: &[u8]) -> Result<Box<dyn Read + '_>, SourceError> {
        let tried = match self.service {
            Service::Send => "send commits",
            Service::Receive => "take commits",
        };
        let mut post = self
            .agent
            .post(self.url.join(self.service.program()))
            .header(CONTENT_TYPE, self.kind("request"))
            .header(ACCEPT, self.kind("result"));
        if let Some(headers) = post.headers_mut() {
            headers.extend(self.headers());
        }
        let response = post
            .send(request)
            .map_err(|error| self.unreachable(tried, error))?;
        self.accept(tried, response, &self.kind("result"))
    }

    fn broke_off(&mut self, tried: &str, cause: io::Error) -> SourceError {
        let (url, tried) = (self.shown.clone(), tried.to_owned());
        SourceError::Interrupted {
            url,
            tried,
            source: cause.into(),
        }
    }

    fn url(&self) -> &str {
        &self.shown
    }
}
