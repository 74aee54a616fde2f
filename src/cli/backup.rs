//! `mainstay backup`: a copy of what cannot be made again.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ConfigArgument, Exit, shown};
use crate::engine::KeptState;
use crate::seal::{Keys, SealError};
use crate::store::Store;
use crate::worker::Places;

/// How often a state that is being written is looked at again, and how long between.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);

/// Copies the record, the states and the key of the fingerprints into a new folder: all of it, or
/// nothing.
pub(super) fn backup(folder: &Path, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, declarations) = shown::load(argument)?;
    if folder.symlink_metadata().is_ok() {
        bail!(
            "{} is there already, and a backup overwrites nothing: name a new folder",
            folder.display()
        );
    }
    let store = Store::open_existing(&config.data_dir)?;
    let folder = std::path::absolute(folder)?;
    let near = folder.parent().unwrap_or(Path::new("/"));
    let making = |what: &Path| format!("cannot write {}", what.display());
    // Aside first: half a backup must not look like one.
    let aside = tempfile::Builder::new()
        .prefix(".mainstay-backup-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(near)
        .with_context(|| making(near))?;
    // The record first. With a state older than its record, what was applied would be applied again.
    store.copy_into(aside.path())?;
    let keys = Keys::of(&config.data_dir, config.key_file.as_deref());
    let (places, copies) = (Places::new(&config.data_dir), Places::new(aside.path()));
    let mut copied = Vec::new();
    let mut unsound = Vec::new();
    for repo in declarations.iter().map(|declaration| &declaration.repo) {
        for row in store.workspaces(repo)? {
            let kept = KeptState {
                path: places.state(repo, &row.name),
                keys: keys.clone(),
                repo: repo.clone(),
                workspace: row.name.clone(),
                commit: None,
            };
            copied.extend(kept.path.parent().map(Path::to_owned));
            if let Err(error) = copy_state(&kept, &copies.state(repo, &row.name))? {
                unsound.push((kept.path, error));
            }
        }
    }
    copy_others(
        &config.data_dir.join("states"),
        &aside.path().join("states"),
        &copied,
    )?;
    let key = config.data_dir.join("fingerprint.key");
    if key.exists() {
        fs::copy(&key, aside.path().join("fingerprint.key")).with_context(|| making(&key))?;
    }
    fs::rename(aside.path(), &folder).with_context(|| making(&folder))?;
    // It has its own name now.
    let _ = aside.keep();
    for (state, error) in &unsound {
        anstream::eprintln!(
            "{} is no sound state ({error}); the sealed one and its earlier versions were copied",
            state.display()
        );
    }
    anstream::eprintln!(
        "The states are sealed, and their keys are not in the copy: keep {} elsewhere, apart from it.",
        keys.file().display()
    );
    anstream::println!("{}", folder.display());
    Ok(Exit::Nothing)
}

/// Copies a state with its versions, sealed. One that Terraform is just writing is read again until
/// it is whole; the inner error says that it never was.
fn copy_state(kept: &KeptState, to: &Path) -> anyhow::Result<Result<(), SealError>> {
    let Some((from, into)) = kept.path.parent().zip(to.parent()) else {
        return Ok(Ok(()));
    };
    if !from.is_dir() {
        return Ok(Ok(()));
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(into)
        .with_context(|| format!("cannot make {}", into.display()))?;
    let mut tries = 1;
    loop {
        match kept.copy_sealed(into) {
            Err(error) if error.is_damage() && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) if error.is_damage() => return Ok(Err(error)),
            copied => return Ok(Ok(copied?)),
        }
    }
}

/// Copies, as they are, the states of workspaces that the record does not know any more.
fn copy_others(from: &Path, to: &Path, copied: &[PathBuf]) -> anyhow::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", from.display())),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(to)
        .with_context(|| format!("cannot make {}", to.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            if !copied.contains(&path) {
                copy_others(&path, &copy, copied)?;
            }
            continue;
        }
        fs::copy(&path, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
