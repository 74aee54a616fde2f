//! GitHub Apps: their keys, installations, and the tokens they sign.
//!
//! Facts from "Generating a JSON Web Token (JWT) for a GitHub App" in GitHub's documentation.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::SignatureScheme;
use serde_json::Value;

use super::world::{Time, this_second};

/// An App.
pub(crate) struct App {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) owner: String,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) installations: Vec<Installation>,
    /// How long an installation token lives: one hour, unless a test says otherwise.
    pub(crate) token_lifetime: Duration,
    pub(crate) created_at: Time,
    key: AppKey,
}

/// Where an App is installed.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) id: u64,
    /// The account that installed it.
    pub(crate) account: String,
    /// Ids of the repositories that it may touch.
    pub(crate) repositories: Vec<u64>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) created_at: Time,
}

/// A key pair that is made once in a process.
#[derive(Clone)]
struct AppKey {
    /// PKCS #1, as GitHub hands it out.
    private_pem: String,
    /// The bits of the public key, PKCS #1 too.
    public: Vec<u8>,
}

impl AppKey {
    fn shared() -> Self {
        static KEY: OnceLock<AppKey> = OnceLock::new();
        KEY.get_or_init(|| {
            let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
                .expect("an RSA key can be made");
            let private = pkcs1_within(&pair.serialize_der()).to_vec();
            AppKey {
                private_pem: pem("RSA PRIVATE KEY", &private),
                public: pair.public_key_raw().to_vec(),
            }
        })
        .clone()
    }
}

/// The PKCS #1 key within a PKCS #8 key: the octet string after the version and
/// the algorithm, whose own header is two bytes long and says how long its length is.
fn pkcs1_within(pkcs8: &[u8]) -> &[u8] {
    let (outer, _) = der_element(pkcs8);
    let (_, after_version) = der_element(outer);
    let (_, after_algorithm) = der_element(after_version);
    der_element(after_algorithm).0
}

/// The content of the first element, and what follows it.
fn der_element(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, header) = match bytes[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let digits = usize::from(long & 0x7f);
            let length = bytes[2..2 + digits]
                .iter()
                .fold(0, |sum, digit| sum * 256 + usize::from(*digit));
            (length, 2 + digits)
        }
    };
    (&bytes[header..header + length], &bytes[header + length..])
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|start| &text[start..text.len().min(start + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

impl App {
    /// An App with the key pair of this process, that may do what Mainstay needs.
    pub(crate) fn new(id: u64, slug: &str, owner: &str) -> Self {
        let permissions = [
            ("checks", "write"),
            ("contents", "read"),
            ("issues", "write"),
            ("metadata", "read"),
            ("pull_requests", "write"),
            ("statuses", "write"),
        ];
        Self {
            id,
            slug: slug.to_owned(),
            owner: owner.to_owned(),
            permissions: permissions
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            installations: Vec::new(),
            token_lifetime: Duration::from_secs(3_600),
            created_at: this_second(),
            key: AppKey::shared(),
        }
    }

    /// The private key as GitHub hands it out: PEM, PKCS #1.
    pub(crate) fn private_key_pem(&self) -> &str {
        &self.key.private_pem
    }
}

/// The App that signed a JSON web token.
///
/// # Errors
///
/// GitHub's own words for what is wrong with it, always with a 401.
pub(crate) fn app_of_jwt(apps: &BTreeMap<u64, App>, jwt: &str) -> Result<u64, &'static str> {
    const UNREADABLE: &str = "A JSON web token could not be decoded";
    let (signed, signature) = jwt.rsplit_once('.').ok_or(UNREADABLE)?;
    let (header, claims) = signed.split_once('.').ok_or(UNREADABLE)?;
    let header = decode_part(header).ok_or(UNREADABLE)?;
    let claims = decode_part(claims).ok_or(UNREADABLE)?;
    let signature = BASE64_URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| UNREADABLE)?;
    if header["alg"] != "RS256" {
        return Err(UNREADABLE);
    }
    let id = match &claims["iss"] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let id = id.ok_or("'Issuer' claim ('iss') must be an Integer")?;
    let app = apps.get(&id).ok_or("Integration not found")?;
    if !signature_holds(&app.key.public, signed.as_bytes(), &signature) {
        return Err(UNREADABLE);
    }
    let now = Utc::now().timestamp();
    match claims["exp"].as_i64() {
        Some(exp) if exp > now + 600 => {
            return Err("'Expiration time' claim ('exp') is too far in the future");
        }
        Some(exp) if exp > now => {}
        _ => {
            return Err(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            );
        }
    }
    match claims["iat"].as_i64() {
        Some(iat) if iat <= now => Ok(id),
        _ => Err(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        ),
    }
}

fn decode_part(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn signature_holds(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .signature_verification_algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256)
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| {
            algorithm
                .verify_signature(public, message, signature)
                .is_ok()
        })
}
