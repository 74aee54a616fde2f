//! `mainstay backup`: a copy of what cannot be made again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ConfigArgument, Exit, shown};
use crate::store::Store;

/// How often a state that is being written is looked at again, and how long between.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);

/// Copies the record, the states and the key into a new folder: all of it, or nothing.
pub(super) fn backup(folder: &Path, argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
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
    let mut unsound = Vec::new();
    copy_states(
        &config.data_dir.join("states"),
        &aside.path().join("states"),
        &mut unsound,
    )?;
    let key = config.data_dir.join("fingerprint.key");
    if key.exists() {
        fs::copy(&key, aside.path().join("fingerprint.key")).with_context(|| making(&key))?;
    }
    fs::rename(aside.path(), &folder).with_context(|| making(&folder))?;
    // It has its own name now.
    let _ = aside.keep();
    for state in &unsound {
        anstream::eprintln!(
            "{} is no sound state, and was copied as it is; its earlier versions are beside it",
            state.display()
        );
    }
    anstream::println!("{}", folder.display());
    Ok(Exit::Nothing)
}

/// Copies the states with their versions, each whole; what is no sound state goes to `unsound`.
fn copy_states(from: &Path, to: &Path, unsound: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", from.display())),
    };
    fs::create_dir(to).with_context(|| format!("cannot make {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in entries {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_states(&path, &copy, unsound)?;
            continue;
        }
        let (bytes, sound) = read_whole(&path)?;
        if !sound {
            unsound.push(path);
        }
        fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Reads a file; a state that Terraform is just writing is read again until it is whole.
fn read_whole(path: &Path) -> anyhow::Result<(Vec<u8>, bool)> {
    let is_state = path
        .extension()
        .is_some_and(|extension| extension == "tfstate");
    let mut tries = 1;
    loop {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let sound = !is_state || serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        if sound || tries == TRIES {
            return Ok((bytes, sound));
        }
        tries += 1;
        std::thread::sleep(PAUSE);
    }
}
