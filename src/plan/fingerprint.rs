//! The identity of a plan: a keyed digest that is equal for equal changes.
//!
//! It is keyed, since a bare hash of values that may be secrets could be guessed,
//! and it is published in comments and kept in the store.

use std::fmt;
use std::io::{self, Write};

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

/// The key of fingerprints: 32 random bytes that stay the same for the life of a store.
///
/// It is written out for another process of ours alone, through a pipe.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// Takes the bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("FingerprintKey(***)")
    }
}

/// A digest in the making, over JSON values in a canonical form.
pub(super) struct Digest(Hmac<Sha256>);

impl Digest {
    /// Starts one; `domain` keeps digests of different things apart.
    pub(super) fn new(key: &FingerprintKey, domain: &str) -> Self {
        let mut mac = Hmac::new_from_slice(&key.0).expect("HMAC takes a key of any length");
        mac.update(domain.as_bytes());
        mac.update(&[0]);
        Self(mac)
    }

    /// Adds a value. What follows cannot run into it, since JSON ends where it ends.
    pub(super) fn add(&mut self, value: &Value) {
        write_canonical(value, self).expect("a digest takes every byte");
        self.0.update(&[0]);
    }

    /// The digest, in hexadecimal.
    pub(super) fn finish(self) -> String {
        hex::encode(self.0.finalize().into_bytes())
    }
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a value without spaces and with sorted keys, however its map is ordered.
fn write_canonical(value: &Value, out: &mut Digest) -> io::Result<()> {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|&(key, _)| key);
            out.write_all(b"{")?;
            for (key, value) in entries {
                serde_json::to_writer(&mut *out, key)?;
                out.write_all(b":")?;
                write_canonical(value, out)?;
                out.write_all(b",")?;
            }
            out.write_all(b"}")
        }
        Value::Array(items) => {
            out.write_all(b"[")?;
            for item in items {
                write_canonical(item, out)?;
                out.write_all(b",")?;
            }
            out.write_all(b"]")
        }
        scalar => Ok(serde_json::to_writer(out, scalar)?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(key: u8, values: &[Value]) -> String {
        let mut digest = Digest::new(&FingerprintKey::new([key; 32]), "test");
        for value in values {
            digest.add(value);
        }
        digest.finish()
    }

    #[test]
    fn the_order_of_keys_does_not_matter_and_that_of_items_does() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":[1,2]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":[1,2],"a":1}"#).unwrap();
        assert_eq!(digest(1, &[one]), digest(1, &[two]));
        assert_ne!(digest(1, &[json!([1, 2])]), digest(1, &[json!([2, 1])]));
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        assert_ne!(digest(1, &[json!(1), json!(2)]), digest(1, &[json!(12)]));
        assert_ne!(
            digest(1, &[json!("a,b")]),
            digest(1, &[json!("a"), json!("b")])
        );
    }

    #[test]
    fn without_the_key_no_digest_can_be_guessed() {
        assert_ne!(
            digest(1, &[json!("hunter2")]),
            digest(2, &[json!("hunter2")])
        );
        assert_eq!(
            format!("{:?}", FingerprintKey::new([7; 32])),
            "FingerprintKey(***)"
        );
    }
}
