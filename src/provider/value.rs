//! Values as Terraform sends them: cty objects in MessagePack.

use std::collections::BTreeMap;

use rmpv::Value;

use super::wire::DynamicValue;

/// The extension type of an unknown value, in cty's MessagePack encoding.
const UNKNOWN_EXTENSION: i8 = 0;

/// The extension type of an unknown value with refinements, as "not null".
const REFINED_UNKNOWN_EXTENSION: i8 = 12;

/// A value was not what the protocol or the schema promise.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    /// The bytes are no MessagePack.
    #[error("Terraform sent a value that is no MessagePack")]
    Undecodable(#[from] rmpv::decode::Error),
    /// The value is neither an object nor null.
    #[error("Terraform sent a value that is neither an object nor null")]
    NoObject,
    /// The value could not be written.
    #[error("a value could not be encoded as MessagePack")]
    Unencodable(#[from] rmpv::encode::Error),
}

/// The attributes of a resource, a data source or a provider block.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Object(BTreeMap<String, Value>);

/// One attribute, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known<'a> {
    /// It is not set.
    Null,
    /// Terraform learns it only while applying.
    Unknown,
    /// It is set.
    Set(&'a Value),
}

impl Object {
    /// An object with `names` as attributes, none of which is set.
    pub(super) fn with_attributes<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| (name.to_owned(), Value::Nil))
                .collect(),
        )
    }

    /// Reads an object; `None` is Terraform's null: the object is not there.
    pub(super) fn decode(value: Option<&DynamicValue>) -> Result<Option<Self>, ValueError> {
        let Some(value) = value else { return Ok(None) };
        match rmpv::decode::read_value(&mut value.msgpack.as_slice())? {
            Value::Nil => Ok(None),
            Value::Map(entries) => entries
                .into_iter()
                .map(|(name, value)| match name.as_str() {
                    Some(name) => Ok((name.to_owned(), value)),
                    None => Err(ValueError::NoObject),
                })
                .collect::<Result<_, _>>()
                .map(|attributes| Some(Self(attributes))),
            _ => Err(ValueError::NoObject),
        }
    }

    /// Writes an object, or null.
    pub(super) fn encode(object: Option<&Self>) -> Result<DynamicValue, ValueError> {
        let value = match object {
            Some(Self(attributes)) => Value::Map(
                attributes
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.clone()))
                    .collect(),
            ),
            None => Value::Nil,
        };
        let mut msgpack = Vec::new();
        rmpv::encode::write_value(&mut msgpack, &value)?;
        Ok(DynamicValue {
            msgpack,
            json: Vec::new(),
        })
    }

    /// An attribute; one that the object does not have is null.
    pub(super) fn get(&self, name: &str) -> Known<'_> {
        match self.0.get(name) {
            None | Some(Value::Nil) => Known::Null,
            Some(Value::Ext(UNKNOWN_EXTENSION | REFINED_UNKNOWN_EXTENSION, _)) => Known::Unknown,
            Some(value) => Known::Set(value),
        }
    }

    /// A string attribute, where it is set and known.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Known::Set(value) => value.as_str(),
            Known::Null | Known::Unknown => None,
        }
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.to_owned(), Value::from(text.into()));
    }

    /// Says that an attribute is known only after the apply.
    pub(super) fn set_unknown(&mut self, name: &str) {
        self.0
            .insert(name.to_owned(), Value::Ext(UNKNOWN_EXTENSION, vec![0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_back_as_it_was_written() {
        let mut object = Object::with_attributes(["content", "id", "path"]);
        object.set("path", "a/b");
        object.set_unknown("id");
        let sent = Object::encode(Some(&object)).unwrap();
        let back = Object::decode(Some(&sent)).unwrap().unwrap();
        assert_eq!(back, object);
        assert_eq!(back.text("path"), Some("a/b"));
        assert_eq!(back.get("id"), Known::Unknown);
        assert_eq!(back.get("content"), Known::Null);
    }

    #[test]
    fn null_and_nothing_are_no_object() {
        let null = Object::encode(None).unwrap();
        assert_eq!(Object::decode(Some(&null)).unwrap(), None);
        assert_eq!(Object::decode(None).unwrap(), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bytes in [vec![], vec![0x2a], vec![0x81, 0x01, 0x02], vec![0x81]] {
            let value = DynamicValue {
                msgpack: bytes.clone(),
                json: Vec::new(),
            };
            assert!(Object::decode(Some(&value)).is_err(), "{bytes:?}");
        }
    }
}
