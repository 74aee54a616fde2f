//! What a configuration may say to the provider.

use super::wire::{Attribute, Block, ProviderSchema, Schema};

/// The one type of resource and of data source.
pub(super) const TYPE_NAME: &str = "localfs_file";

/// The version of the state that the provider writes; it has never changed.
const STATE_VERSION: i64 = 1;

/// Who gives an attribute its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// The configuration, always.
    Required,
    /// The configuration, or nobody.
    Optional,
    /// The provider.
    Computed,
}

/// Whether Terraform hides the value in its output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Plainly,
    Masked,
}

/// The types of attributes that there are here.
#[derive(Clone, Copy)]
enum Kind {
    String,
    Number,
}

/// An attribute: name, type, who gives it, whether it shows, and what it is.
struct Row(&'static str, Kind, Given, Shown, &'static str);

const PROVIDER: &[Row] = &[Row(
    "root",
    Kind::String,
    Given::Optional,
    Shown::Plainly,
    "Folder that relative paths are resolved against. Without it the environment variable \
     LOCALFS_ROOT names the folder, and without that it is the current one.",
)];

const RESOURCE: &[Row] = &[
    Row(
        "id",
        Kind::String,
        Given::Computed,
        Shown::Plainly,
        "The path as it is configured.",
    ),
    Row(
        "path",
        Kind::String,
        Given::Required,
        Shown::Plainly,
        "Where the file is; folders above it are created. Another path is another file, so it replaces.",
    ),
    Row(
        "content",
        Kind::String,
        Given::Required,
        Shown::Plainly,
        "What the file holds, as UTF-8.",
    ),
    Row(
        "secret",
        Kind::String,
        Given::Optional,
        Shown::Masked,
        "Kept in the state and nowhere else, as a password for something real would be.",
    ),
    Row(
        "token",
        Kind::String,
        Given::Computed,
        Shown::Masked,
        "Made up by the provider out of the path, as a generated access key would be.",
    ),
    Row(
        "revision",
        Kind::String,
        Given::Computed,
        Shown::Plainly,
        "Differs after each change.",
    ),
    Row(
        "delay_ms",
        Kind::Number,
        Given::Optional,
        Shown::Plainly,
        "Milliseconds to wait before the file is created, changed or deleted; wins over LOCALFS_DELAY_MS.",
    ),
    Row(
        "delay_after_ms",
        Kind::Number,
        Given::Optional,
        Shown::Plainly,
        "Milliseconds to wait after the file has changed and before Terraform is told so.",
    ),
    Row(
        "delay_plan_ms",
        Kind::Number,
        Given::Optional,
        Shown::Plainly,
        "Milliseconds to wait each time the file is planned; an apply plans once more.",
    ),
    Row(
        "fail",
        Kind::String,
        Given::Optional,
        Shown::Plainly,
        "Operations that are to fail, with commas between: create, read, plan, update, delete.",
    ),
];

const DATA_SOURCE: &[Row] = &[
    Row(
        "id",
        Kind::String,
        Given::Computed,
        Shown::Plainly,
        "The path as it is configured.",
    ),
    Row(
        "path",
        Kind::String,
        Given::Required,
        Shown::Plainly,
        "Where the file is.",
    ),
    Row(
        "content",
        Kind::String,
        Given::Computed,
        Shown::Plainly,
        "What the file holds, as UTF-8.",
    ),
];

/// Names of the resource's attributes.
pub(super) fn resource_attributes() -> impl Iterator<Item = &'static str> {
    RESOURCE.iter().map(|row| row.0)
}

/// The whole schema, as `GetProviderSchema` answers it.
pub(super) fn whole() -> ProviderSchema {
    ProviderSchema {
        provider: Some(schema(
            PROVIDER,
            "Manages files on this machine, for demonstrations and tests.",
        )),
        resources: [(TYPE_NAME.to_owned(), schema(RESOURCE, "A text file."))].into(),
        data_sources: [(
            TYPE_NAME.to_owned(),
            schema(DATA_SOURCE, "A text file that exists."),
        )]
        .into(),
    }
}

fn schema(rows: &[Row], description: &str) -> Schema {
    let attributes = rows.iter().map(attribute).collect();
    Schema {
        version: STATE_VERSION,
        block: Some(Block {
            attributes,
            description: description.to_owned(),
        }),
    }
}

fn attribute(&Row(name, kind, given, shown, description): &Row) -> Attribute {
    let value_type = match kind {
        Kind::String => r#""string""#,
        Kind::Number => r#""number""#,
    };
    Attribute {
        name: name.to_owned(),
        value_type: value_type.as_bytes().to_vec(),
        description: description.to_owned(),
        required: given == Given::Required,
        optional: given == Given::Optional,
        computed: given == Given::Computed,
        sensitive: shown == Shown::Masked,
    }
}
