//! `localfs_file`: a text file as a resource, and as a data source.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::knobs::{Failures, Knobs, OnStop, Operation, UnknownOperation};
use super::schema;
use super::value::{Known, Object};
use super::wire::{AttributePath, Diagnostic};

/// Permissions of the files made here, less what the process's umask takes away.
const FILE_MODE: u32 = 0o644;

/// The revision of an imported file. It stays the same, so that two plans of one
/// import are equal.
const IMPORTED_REVISION: &str = "imported";

/// The files below one root, as one provider block of a configuration manages them.
#[derive(Debug)]
pub(super) struct Files {
    configured: OnceLock<Configured>,
    stopped: watch::Sender<bool>,
}

/// What `ConfigureProvider` settled.
#[derive(Debug)]
struct Configured {
    /// The folder of relative paths; empty for the current one.
    root: PathBuf,
    knobs: Knobs,
}

/// What is to become of a file: the resource as planned, or as it was.
#[derive(Debug)]
pub(super) enum Change {
    Create(Object),
    Update(Object),
    Delete(Object),
}

/// What a plan found.
#[derive(Debug)]
pub(super) struct Planned {
    /// The resource as it will be.
    pub(super) object: Object,
    /// The attributes that cannot change in place.
    pub(super) requires_replace: Vec<AttributePath>,
}

impl Files {
    /// Files that are not configured yet.
    pub(super) fn new() -> Self {
        Self {
            configured: OnceLock::new(),
            stopped: watch::Sender::new(false),
        }
    }

    /// Ends the delays that are to end when Terraform is interrupted.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Settles root and knobs, once.
    pub(super) fn configure(&self, block: &Object, knobs: Knobs) -> Result<(), Diagnostic> {
        if block.get("root") == Known::Unknown {
            let detail = "The provider's `root` depends on something that only an apply makes. \
                          Give it a value that is known while planning.";
            return Err(Diagnostic::error("The root is not known yet", detail).at("root"));
        }
        let root = block.text("root").map(PathBuf::from);
        let root = root.or_else(|| knobs.root.clone()).unwrap_or_default();
        self.configured
            .set(Configured { root, knobs })
            .map_err(|_| {
                let detail = "Terraform configured this provider a second time in one process.";
                Diagnostic::error("The provider is configured already", detail)
            })
    }

    fn configured(&self) -> Result<&Configured, Diagnostic> {
        self.configured.get().ok_or_else(|| {
            let detail = "Terraform asked for a file before it configured the provider.";
            Diagnostic::error("The provider is not configured", detail)
        })
    }

    /// Waits and fails as the attributes and the environment ask for.
    async fn obstruct(&self, operation: Operation, object: &Object) -> Result<(), Diagnostic> {
        let knobs = &self.configured()?.knobs;
        let own_delay = milliseconds(object, "delay_ms")
            .map_err(|detail| Diagnostic::error("Invalid delay", detail).at("delay_ms"))?;
        let changes = !matches!(operation, Operation::Read | Operation::Plan);
        if let Some(delay) = own_delay.or(knobs.delay).filter(|_| changes) {
            self.wait(operation, delay, knobs.on_stop).await?;
        }
        let plan_delay = milliseconds(object, "delay_plan_ms")
            .map_err(|detail| Diagnostic::error("Invalid delay", detail).at("delay_plan_ms"))?;
        if let Some(delay) = plan_delay.filter(|_| operation == Operation::Plan) {
            self.wait(operation, delay, knobs.on_stop).await?;
        }
        let own_failures: Failures = object.text("fail").unwrap_or_default().parse().map_err(
            |error: UnknownOperation| {
                Diagnostic::error("Invalid list of failures", error.to_string()).at("fail")
            },
        )?;
        if own_failures.include(operation) || knobs.failures.include(operation) {
            let path = object.text("path").unwrap_or("(unknown)");
            let detail = format!("The file {path} was told to fail at {operation}.");
            return Err(Diagnostic::error("Injected failure", detail));
        }
        Ok(())
    }

    async fn wait(
        &self,
        operation: Operation,
        delay: Duration,
        on_stop: OnStop,
    ) -> Result<(), Diagnostic> {
        let mut stopped = self.stopped.subscribe();
        let interrupted = async {
            match on_stop {
                OnStop::GoOn => std::future::pending().await,
                // The sender lives in `self`, so waiting ends by a stop alone.
                OnStop::GiveUp => stopped.wait_for(|stopped| *stopped).await.is_ok(),
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            _ = interrupted => {
                let detail = format!("Terraform was interrupted before the {operation}; nothing was done.");
                Err(Diagnostic::error("Stopped", detail))
            }
        }
    }

    /// Where the file of `object` is.
    fn place(&self, object: &Object) -> Result<PathBuf, Diagnostic> {
        let Some(path) = object.text("path") else {
            return Err(Diagnostic::error("Missing path", "The file has no path.").at("path"));
        };
        Ok(self.configured()?.root.join(path))
    }

    /// What is true of a file now; `None` where it is gone.
    pub(super) async fn read(&self, mut object: Object) -> Result<Option<Object>, Diagnostic> {
        self.obstruct(Operation::Read, &object).await?;
        let place = self.place(&object)?;
        match std::fs::read_to_string(&place) {
            Ok(content) => {
                object.set("content", content);
                Ok(Some(object))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(Operation::Read, &place, &error)),
        }
    }

    /// The data source: a file that must be there.
    pub(super) async fn look_up(&self, object: Object) -> Result<Object, Diagnostic> {
        let place = self.place(&object)?;
        let Some(mut found) = self.read(object).await? else {
            let detail = format!("There is no file at {}.", place.display());
            return Err(Diagnostic::error("No such file", detail).at("path"));
        };
        let path = found.text("path").unwrap_or_default().to_owned();
        found.set("id", path);
        Ok(found)
    }

    /// What a change would make of a file, with what is not known yet marked so.
    pub(super) async fn plan(
        &self,
        prior: Option<&Object>,
        mut wanted: Object,
    ) -> Result<Planned, Diagnostic> {
        self.obstruct(Operation::Plan, &wanted).await?;
        let differs = |name: &str| prior.is_none_or(|prior| prior.get(name) != wanted.get(name));
        let other_file = differs("path");
        let changes = ["path", "content", "secret"].into_iter().any(differs);
        if other_file {
            wanted.set_unknown("id");
            wanted.set_unknown("token");
        }
        if changes {
            wanted.set_unknown("revision");
        }
        let replaces = other_file && prior.is_some();
        let requires_replace = replaces.then(|| AttributePath::of("path"));
        Ok(Planned {
            object: wanted,
            requires_replace: requires_replace.into_iter().collect(),
        })
    }

    /// Makes a change true; gives the resource as it is then, `None` for deleted.
    ///
    /// Where it fails, nothing was changed.
    pub(super) async fn apply(&self, change: Change) -> Result<Option<Object>, Diagnostic> {
        let (operation, object) = match &change {
            Change::Create(planned) => (Operation::Create, planned),
            Change::Update(planned) => (Operation::Update, planned),
            Change::Delete(prior) => (Operation::Delete, prior),
        };
        self.obstruct(operation, object).await?;
        let linger = milliseconds(object, "delay_after_ms")
            .map_err(|detail| Diagnostic::error("Invalid delay", detail).at("delay_after_ms"))?;
        let place = self.place(object)?;
        let done = match operation {
            Operation::Delete => delete(&place),
            _ => write(&place, object.text("content").unwrap_or_default()),
        };
        done.map_err(|error| failed(operation, &place, &error))?;
        // The world has changed and Terraform does not know it: a process that
        // is killed here loses track of the file.
        if let Some(linger) = linger {
            tokio::time::sleep(linger).await;
        }
        Ok(match change {
            Change::Create(planned) | Change::Update(planned) => Some(complete(planned)),
            Change::Delete(_) => None,
        })
    }

    /// What an import begins with; Terraform reads the file after it.
    pub(super) fn import(&self, path: String) -> Object {
        let mut object = Object::with_attributes(schema::resource_attributes());
        object.set("path", path);
        object.set("revision", IMPORTED_REVISION);
        complete(object)
    }
}

/// What is wrong with a resource's or a data source's configuration by itself.
pub(super) fn validate(object: &Object) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if object.text("path") == Some("") {
        let detail = "Name the file, as in path = \"network/vpc.json\".";
        diagnostics.push(Diagnostic::error("The path is empty", detail).at("path"));
    }
    for name in ["delay_ms", "delay_after_ms", "delay_plan_ms"] {
        if let Err(detail) = milliseconds(object, name) {
            diagnostics.push(Diagnostic::error("Invalid delay", detail).at(name));
        }
    }
    if let Err(error) = object.text("fail").unwrap_or_default().parse::<Failures>() {
        let detail = error.to_string();
        diagnostics.push(Diagnostic::error("Invalid list of failures", detail).at("fail"));
    }
    diagnostics
}

/// What is wrong with the provider's block by itself.
pub(super) fn validate_provider(block: &Object) -> Vec<Diagnostic> {
    if block.text("root") == Some("") {
        let detail = "Name a folder, or leave `root` out.";
        return vec![Diagnostic::error("The root is empty", detail).at("root")];
    }
    Vec::new()
}

/// A span that an attribute gives in milliseconds, where it is set and known.
fn milliseconds(object: &Object, name: &str) -> Result<Option<Duration>, String> {
    match object.get(name) {
        Known::Null | Known::Unknown => Ok(None),
        Known::Set(value) => match value.as_u64() {
            Some(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
            None => Err(format!(
                "`{name}` is {value}; it must be a whole number of milliseconds."
            )),
        },
    }
}

/// Fills in what the provider makes up.
fn complete(mut object: Object) -> Object {
    let path = object.text("path").unwrap_or_default().to_owned();
    object.set("token", token(&path));
    object.set("id", path);
    if object.text("revision").is_none() {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        object.set("revision", format!("r{}", since_epoch.as_nanos()));
    }
    object
}

/// A made-up key: it looks like a real one, and is the same for the same path.
fn token(path: &str) -> String {
    let digest = Sha256::digest(path.as_bytes());
    format!("tok-{}", hex::encode(&digest[..12]))
}

/// Puts `content` in the file at once: whoever reads it sees the old or the new one whole.
fn write(place: &Path, content: &str) -> io::Result<()> {
    let folder = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let unfinished = tempfile::Builder::new()
        .prefix(".localfs-")
        .permissions(std::fs::Permissions::from_mode(FILE_MODE))
        .tempfile_in(folder)?;
    std::fs::write(unfinished.path(), content)?;
    unfinished.persist(place)?;
    Ok(())
}

/// Deletes a file; one that is gone already is no error. Folders stay.
fn delete(place: &Path) -> io::Result<()> {
    match std::fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(operation: Operation, place: &Path, error: &io::Error) -> Diagnostic {
    let detail = format!("{}: {error}.", place.display());
    Diagnostic::error(
        format!("The file could not be {}", participle(operation)),
        detail,
    )
}

fn participle(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "created",
        Operation::Read => "read",
        Operation::Plan => "planned",
        Operation::Update => "changed",
        Operation::Delete => "deleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(root: &Path, knobs: Knobs) -> Files {
        let files = Files::new();
        let knobs = Knobs {
            root: Some(root.to_owned()),
            ..knobs
        };
        files.configure(&Object::default(), knobs).unwrap();
        files
    }

    fn file(path: &str, content: &str) -> Object {
        let mut object = Object::with_attributes(schema::resource_attributes());
        object.set("path", path);
        object.set("content", content);
        object
    }

    async fn made(files: &Files, object: Object) -> Object {
        let planned = files.plan(None, object).await.unwrap().object;
        files.apply(Change::Create(planned)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_made_with_the_folders_above_it() {
        let root = tempfile::tempdir().unwrap();
        let files = below(root.path(), Knobs::default());
        let object = made(&files, file("a/b/c.txt", "hello")).await;
        assert_eq!(
            std::fs::read_to_string(root.path().join("a/b/c.txt")).unwrap(),
            "hello"
        );
        assert_eq!(object.text("id"), Some("a/b/c.txt"));
        assert!(object.text("revision").unwrap().starts_with('r'));
        assert!(object.text("token").unwrap().starts_with("tok-"));
        let left: Vec<_> = std::fs::read_dir(root.path().join("a/b"))
            .unwrap()
            .collect();
        assert_eq!(left.len(), 1, "no unfinished file stays");
    }

    #[tokio::test]
    async fn a_root_in_the_configuration_wins_over_the_environment() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new();
        let mut block = Object::with_attributes(["root"]);
        block.set("root", root.path().to_str().unwrap());
        let knobs = Knobs {
            root: Some("/nowhere".into()),
            ..Knobs::default()
        };
        files.configure(&block, knobs).unwrap();
        made(&files, file("f", "x")).await;
        assert!(root.path().join("f").exists());
    }

    #[tokio::test]
    async fn an_absolute_path_needs_no_root() {
        let elsewhere = tempfile::tempdir().unwrap();
        let files = below(Path::new("/nowhere"), Knobs::default());
        let place = elsewhere.path().join("f");
        made(&files, file(place.to_str().unwrap(), "x")).await;
        assert!(place.exists());
    }

    #[tokio::test]
    async fn the_root_must_be_known_while_planning() {
        let mut block = Object::with_attributes(["root"]);
        block.set_unknown("root");
        let error = Files::new()
            .configure(&block, Knobs::default())
            .unwrap_err();
        assert_eq!(error.attribute, Some(AttributePath::of("root")));
    }

    #[tokio::test]
    async fn another_path_replaces_and_another_content_does_not() {
        let root = tempfile::tempdir().unwrap();
        let files = below(root.path(), Knobs::default());
        let prior = made(&files, file("f", "x")).await;

        let mut edited = prior.clone();
        edited.set("content", "y");
        let planned = files.plan(Some(&prior), edited).await.unwrap();
        assert!(planned.requires_replace.is_empty());
        assert_eq!(planned.object.get("revision"), Known::Unknown);
        assert_eq!(planned.object.get("token"), prior.get("token"));

        let mut moved = prior.clone();
        moved.set("path", "g");
        let planned = files.plan(Some(&prior), moved).await.unwrap();
        assert_eq!(planned.requires_replace, [AttributePath::of("path")]);
        assert_eq!(planned.object.get("id"), Known::Unknown);
    }

    #[tokio::test]
    async fn nothing_changes_where_nothing_differs() {
        let root = tempfile::tempdir().unwrap();
        let files = below(root.path(), Knobs::default());
        let prior = made(&files, file("f", "x")).await;
        let planned = files.plan(Some(&prior), prior.clone()).await.unwrap();
        assert_eq!(planned.object, prior);
    }

    #[tokio::test]
    async fn a_deleted_file_reads_as_gone_and_can_be_deleted_again() {
        let root = tempfile::tempdir().unwrap();
        let files = below(root.path(), Knobs::default());
        let object = made(&files, file("f", "x")).await;
        std::fs::remove_file(root.path().join("f")).unwrap();
        assert_eq!(files.read(object.clone()).await.unwrap(), None);
        assert_eq!(files.apply(Change::Delete(object)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_failure_of_the_environment_hits_every_file_and_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let failures = "create".parse().unwrap();
        let files = below(
            root.path(),
            Knobs {
                failures,
                ..Knobs::default()
            },
        );
        let error = files
            .apply(Change::Create(file("f", "x")))
            .await
            .unwrap_err();
        assert_eq!(error.summary, "Injected failure");
        assert!(!root.path().join("f").exists());
    }

    #[tokio::test]
    async fn a_stop_ends_a_delay_only_where_it_is_honoured() {
        let root = tempfile::tempdir().unwrap();
        let delay = Some(Duration::from_millis(50));
        let patient = below(
            root.path(),
            Knobs {
                delay,
                ..Knobs::default()
            },
        );
        patient.stop();
        assert!(
            patient
                .apply(Change::Create(file("patient", "x")))
                .await
                .is_ok()
        );

        let delay = Some(Duration::from_secs(600));
        let on_stop = OnStop::GiveUp;
        let hasty = below(
            root.path(),
            Knobs {
                delay,
                on_stop,
                ..Knobs::default()
            },
        );
        hasty.stop();
        let error = hasty
            .apply(Change::Create(file("hasty", "x")))
            .await
            .unwrap_err();
        assert_eq!(error.summary, "Stopped");
        assert!(!root.path().join("hasty").exists());
    }

    #[test]
    fn a_configuration_is_judged_before_anything_runs() {
        assert!(validate(&file("f", "x")).is_empty());
        let mut wrong = file("", "x");
        wrong.set("fail", "explode");
        wrong.set("delay_ms", "soon");
        let attributes: Vec<_> = validate(&wrong).into_iter().map(|d| d.attribute).collect();
        let expected = ["path", "delay_ms", "fail"].map(|name| Some(AttributePath::of(name)));
        assert_eq!(attributes, expected);
    }

    #[test]
    fn an_import_is_the_same_each_time() {
        assert_eq!(
            Files::new().import("f".to_owned()),
            Files::new().import("f".to_owned())
        );
    }
}
