//! The messages of plugin protocol 6 that a provider of one resource needs.
//!
//! Written by hand after Terraform's `tfplugin6.proto`, so that building needs
//! no protobuf compiler. Fields that are not listed are skipped when they are
//! received; the numbers are the protocol's.

use std::collections::HashMap;

use prost::Message;

/// A value of Terraform's type system: one of the two encodings is filled.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DynamicValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) msgpack: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) json: Vec<u8>,
}

/// One step of a path into a value: always an attribute here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Step {
    #[prost(string, tag = "1")]
    pub(super) attribute_name: String,
}

/// Where in a value something is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributePath {
    #[prost(message, repeated, tag = "1")]
    pub(super) steps: Vec<Step>,
}

impl AttributePath {
    /// The path of a top-level attribute.
    pub(super) fn of(attribute: &str) -> Self {
        Self {
            steps: vec![Step {
                attribute_name: attribute.to_owned(),
            }],
        }
    }
}

/// What [`Diagnostic::severity`] holds for an error.
const SEVERITY_ERROR: i32 = 1;

/// A message for the person at the terminal.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Diagnostic {
    #[prost(int32, tag = "1")]
    pub(super) severity: i32,
    #[prost(string, tag = "2")]
    pub(super) summary: String,
    #[prost(string, tag = "3")]
    pub(super) detail: String,
    #[prost(message, optional, tag = "4")]
    pub(super) attribute: Option<AttributePath>,
}

impl Diagnostic {
    /// An error, in a line and in full.
    pub(super) fn error(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            severity: SEVERITY_ERROR,
            summary: summary.into(),
            detail: detail.into(),
            attribute: None,
        }
    }

    /// The same, pointing at an attribute.
    pub(super) fn at(mut self, attribute: &str) -> Self {
        self.attribute = Some(AttributePath::of(attribute));
        self
    }
}

/// An attribute of a block; `value_type` is the type in cty's JSON notation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value_type: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(bool, tag = "4")]
    pub(super) required: bool,
    #[prost(bool, tag = "5")]
    pub(super) optional: bool,
    #[prost(bool, tag = "6")]
    pub(super) computed: bool,
    #[prost(bool, tag = "7")]
    pub(super) sensitive: bool,
}

/// What a configuration block may hold.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    #[prost(message, repeated, tag = "2")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(string, tag = "4")]
    pub(super) description: String,
}

/// A block with the version of the state that it describes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Schema {
    #[prost(int64, tag = "1")]
    pub(super) version: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) block: Option<Block>,
}

/// Answer of `GetProviderSchema`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProviderSchema {
    #[prost(message, optional, tag = "1")]
    pub(super) provider: Option<Schema>,
    #[prost(map = "string, message", tag = "2")]
    pub(super) resources: HashMap<String, Schema>,
    #[prost(map = "string, message", tag = "3")]
    pub(super) data_sources: HashMap<String, Schema>,
}

/// Request of `ValidateProviderConfig`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateProviderRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<DynamicValue>,
}

/// Answer of `ValidateProviderConfig`, whose diagnostics have a number of their own.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValidateProviderResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Request of `ConfigureProvider`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigureRequest {
    #[prost(message, optional, tag = "2")]
    pub(super) config: Option<DynamicValue>,
}

/// Answer of the calls that give diagnostics alone.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiagnosticsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Request of `ValidateResourceConfig`, `ValidateDataResourceConfig`,
/// `ReadResource` and `ReadDataSource`: a type and a value of it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<DynamicValue>,
}

/// Answer of `ReadResource`, `ReadDataSource` and `UpgradeResourceState`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) value: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A resource as the state file holds it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RawState {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) json: Vec<u8>,
}

/// Request of `UpgradeResourceState`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpgradeRequest {
    #[prost(message, optional, tag = "3")]
    pub(super) raw_state: Option<RawState>,
}

/// Request of `PlanResourceChange` and `ApplyResourceChange`. A value that is
/// null says that the resource is not there before, or not wanted after.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeRequest {
    #[prost(message, optional, tag = "2")]
    pub(super) prior: Option<DynamicValue>,
    #[prost(message, optional, tag = "3")]
    pub(super) wanted: Option<DynamicValue>,
}

/// Answer of `PlanResourceChange`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PlanResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) planned: Option<DynamicValue>,
    #[prost(message, repeated, tag = "2")]
    pub(super) requires_replace: Vec<AttributePath>,
    #[prost(message, repeated, tag = "4")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Answer of `ApplyResourceChange`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ApplyResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) state: Option<DynamicValue>,
    #[prost(message, repeated, tag = "3")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Request of `ImportResourceState`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportRequest {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
}

/// One resource that an import found.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Imported {
    #[prost(string, tag = "1")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) state: Option<DynamicValue>,
}

/// Answer of `ImportResourceState`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ImportResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) imported: Vec<Imported>,
    #[prost(message, repeated, tag = "2")]
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A message without fields: the answers of `StopProvider` and `Shutdown`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}
