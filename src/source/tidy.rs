//! Keeps a mirror quick: each fetch leaves a pack, and each merge some single objects.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use git2::Odb;

use super::error::SourceError;
use super::mirror::{Mirror, TIDYING};

/// So many small packs are worth the trouble: each is looked into for every object.
const PACKS_LIMIT: usize = 50;

/// So many single objects are worth the trouble: each is a file.
const LOOSE_LIMIT: usize = 5_000;

/// Packs of more bytes stay as they are; the first fetch's is one of them.
const SMALL_PACK: u64 = 16 * 1024 * 1024;

/// What tidying a mirror came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tidied {
    /// It was not worth the trouble.
    Nothing,
    /// So many packs and single objects became one pack.
    Packed {
        /// Packs that are gone.
        packs: usize,
        /// Single objects that are gone.
        loose: usize,
    },
}

impl Mirror {
    /// Makes one pack of many small ones and of single objects, once there are many of them.
    ///
    /// No object is lost, even where this is killed half way. It waits for a
    /// fetch that is under way. Whoever reads the mirror meanwhile may be told
    /// that an object is missing: call it while no run has a checkout made.
    ///
    /// # Errors
    ///
    /// [`SourceError::Io`], and where the mirror cannot be read.
    pub fn tidy(&self) -> Result<Tidied, SourceError> {
        let _lock = self.lock()?;
        let objects = self.path().join("objects");
        let packs = packs(&objects.join("pack"))?;
        let small: Vec<&PathBuf> = packs.iter().filter(|pack| is_small(pack)).collect();
        let loose = loose(&objects)?;
        if small.len() < PACKS_LIMIT && loose.len() < LOOSE_LIMIT {
            return Ok(Tidied::Nothing);
        }
        // A second set of names for what is to be packed, so that it can be listed by itself.
        let aside = tempfile::Builder::new()
            .prefix(TIDYING)
            .tempdir_in(self.path())
            .map_err(|error| SourceError::io("write to", self.path(), error))?;
        for pack in &small {
            link(pack, &aside.path().join("pack"))?;
            link(&pack.with_extension("idx"), &aside.path().join("pack"))?;
        }
        for object in &loose {
            let folder = object
                .parent()
                .and_then(Path::file_name)
                .unwrap_or_default();
            link(object, &aside.path().join(folder))?;
        }
        self.pack_all_of(aside.path())?;
        for pack in self.new_packs(&objects, &packs)? {
            let sync = File::open(&pack).and_then(|file| file.sync_all());
            sync.map_err(|error| SourceError::io("write", &pack, error))?;
        }
        let remove = |path: &Path| {
            fs::remove_file(path).map_err(|error| SourceError::io("remove", path, error))
        };
        for pack in &small {
            // The index first: a pack without one is not looked into.
            remove(&pack.with_extension("idx"))?;
            remove(pack)?;
        }
        for object in &loose {
            remove(object)?;
        }
        Ok(Tidied::Packed {
            packs: small.len(),
            loose: loose.len(),
        })
    }

    /// Writes one pack with every object of the object folder `aside`.
    fn pack_all_of(&self, aside: &Path) -> Result<(), SourceError> {
        let write = || -> Result<(), git2::Error> {
            let listed = Odb::new()?;
            listed.add_disk_alternate(&aside.to_string_lossy())?;
            let repo = self.open_repository()?;
            let mut builder = repo.packbuilder()?;
            let mut inserted = Ok(());
            listed.foreach(|id| {
                inserted = builder.insert_object(*id, None);
                inserted.is_ok()
            })?;
            inserted?;
            let odb = repo.odb()?;
            let mut writer = odb.packwriter()?;
            let mut written = Ok(());
            builder.foreach(|piece| {
                written = writer
                    .write_all(piece)
                    .map_err(|_| git2::Error::last_error(-1));
                written.is_ok()
            })?;
            written?;
            writer.commit()?;
            Ok(())
        };
        write().map_err(|error| self.failed("tidy it", error))
    }

    /// The packs that were not there before; none would mean that nothing may be removed.
    fn new_packs(&self, objects: &Path, before: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
        let before: BTreeSet<&PathBuf> = before.iter().collect();
        let new: Vec<PathBuf> = packs(&objects.join("pack"))?
            .into_iter()
            .filter(|p| !before.contains(p))
            .collect();
        if new.is_empty() {
            let missing = git2::Error::from_str("the pack that was written is not there");
            return Err(self.failed("tidy it", missing));
        }
        Ok(new)
    }
}

/// The packs of a folder that have an index.
fn packs(dir: &Path) -> Result<Vec<PathBuf>, SourceError> {
    Ok(entries(dir)?
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pack")
        })
        .filter(|path| path.with_extension("idx").exists())
        .collect())
}

fn is_small(pack: &Path) -> bool {
    fs::metadata(pack).is_ok_and(|metadata| metadata.len() <= SMALL_PACK)
}

/// The files of single objects.
fn loose(objects: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let is_hex = |path: &Path, digits: usize| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() == digits && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut found = Vec::new();
    for folder in entries(objects)?.into_iter().filter(|path| is_hex(path, 2)) {
        found.extend(
            entries(&folder)?
                .into_iter()
                .filter(|path| is_hex(path, 38)),
        );
    }
    Ok(found)
}

/// What is in a folder.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, SourceError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| SourceError::io("read", dir, error))
}

/// Gives a file a second name in `folder`.
fn link(file: &Path, folder: &Path) -> Result<(), SourceError> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::hard_link(file, folder.join(file.file_name().unwrap_or_default())))
        .map_err(|error| SourceError::io("link", file, error))
}
