//! What rests on the disk and holds secrets is sealed: encrypted and authenticated, with what it
//! belongs to bound in.
//!
//! A sealed file is two lines of text and then the content:
//!
//! ```text
//! mainstay sealed 1
//! {"key":"…","salt":"…","kind":"state","repository":"acme/infra","workspace":"network",…}
//! …
//! ```
//!
//! The second line, the label, names no secret. It and the first one are authenticated with each
//! piece of the content, so that a file cannot be taken for another workspace's, made to live
//! longer, or have its pieces cut, moved or mixed with those of another file.
//!
//! The cipher is AES-256 in Galois/counter mode. Each file has a key of its own: HKDF-SHA256 of the
//! master key with 32 random bytes, the salt. The nonces only count the pieces of one file, and never
//! repeat under one key. Pieces and the mark of the last one are as in the STREAM construction
//! (Hoang, Reyhanitabar, Rogaway and Vizár, 2015).

mod error;
mod keys;
mod memory;
mod rotate;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use serde::{Deserialize, Serialize};

pub use self::error::SealError;
pub use self::keys::{Held, Hold, Keys};
pub use self::memory::keep_out_of_core_dumps;
pub use self::rotate::Rotated;
use crate::clock::{Timestamp, now};

/// How the names of sealed files end.
const ENDING: &str = "sealed";

/// The file that Terraform writes into its working folder where it cannot save the state.
pub const STRANDED: &str = "errored.tfstate";

/// The name of the copy of such a state, once it was pushed.
pub const PUSHED: &str = "pushed.tfstate";

/// The first line of a sealed file.
const MAGIC: &[u8] = b"mainstay sealed 1\n";

/// No label is longer than this many bytes.
const LABEL_LIMIT: u64 = 8 * 1024;

/// How many bytes of the content a piece holds.
const PIECE: usize = 64 * 1024;

/// How many bytes the cipher adds to each piece.
const TAG: usize = 16;

/// What keys of files are derived for.
const USE: &[u8] = b"mainstay sealed file 1";

/// What a sealed file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The state of a workspace, or an earlier version of it.
    State,
    /// A state that was found damaged.
    Damaged,
    /// A state that an apply could not save where it belongs.
    Stranded,
    /// What a step of a run printed.
    Log,
}

/// What a sealed file belongs to. It is authenticated with the content, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it holds.
    pub kind: Kind,
    /// The repository.
    pub repository: String,
    /// The workspace.
    pub workspace: String,
    /// The commit whose run made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The run that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// Of a state, which line of states it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// Of a state, its number in that line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// After this nobody opens it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What an opened file must belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it must hold.
    pub kind: Kind,
    /// The repository.
    pub repository: String,
    /// The workspace.
    pub workspace: String,
}

/// The second line of a sealed file.
#[derive(Serialize, Deserialize)]
struct Header {
    /// The name of the master key.
    key: String,
    /// In hexadecimal digits.
    salt: String,
    #[serde(flatten)]
    label: Label,
}

impl Keys {
    /// Seals the content of a file into `to`, whole or not at all: what stood there stands until
    /// the new one is on the disk. `from` stays.
    ///
    /// # Errors
    ///
    /// [`SealError`] where a file or the keys cannot be used; `to` is then as it was.
    pub fn seal(&self, from: &Path, to: &Path, label: &Label) -> Result<(), SealError> {
        let held = self.hold(Hold::Shared)?;
        self.seal_held(&held, from, to, label)
    }

    /// As [`Keys::seal`], for who has the lock already.
    ///
    /// # Errors
    ///
    /// As for [`Keys::seal`].
    pub fn seal_held(
        &self,
        _held: &Held,
        from: &Path,
        to: &Path,
        label: &Label,
    ) -> Result<(), SealError> {
        let content = File::open(from).map_err(SealError::io("read", from))?;
        self.put(content, to, label)
    }

    /// As [`Keys::seal`], of what is in memory.
    ///
    /// # Errors
    ///
    /// As for [`Keys::seal`].
    pub fn seal_content(&self, content: &[u8], to: &Path, label: &Label) -> Result<(), SealError> {
        let _hold = self.hold(Hold::Shared)?;
        self.put(content, to, label)
    }

    /// Seals what `content` reads into `to`; the lock is held already.
    fn put(&self, content: impl Read, to: &Path, label: &Label) -> Result<(), SealError> {
        let key = self.newest()?;
        let salt = keys::random::<32>()?;
        let header = Header {
            key: key.id.clone(),
            salt: hex::encode(salt),
            label: label.clone(),
        };
        let mut lines = MAGIC.to_vec();
        serde_json::to_writer(&mut lines, &header)
            .map_err(|error| SealError::io("write", to)(error.into()))?;
        lines.push(b'\n');
        let cipher = cipher(&key.bytes, &salt);
        write_whole(to, |file| {
            file.write_all(&lines)?;
            encrypt(&cipher, &lines, content, file)
        })
        .map_err(SealError::io("write", to))
    }

    /// Opens a sealed file into `to`, for its owner alone, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SealError::Damaged`] where any of it was changed, [`SealError::Another`] where it belongs
    /// to something else than `wanted`, and others where the keys or files cannot be used.
    pub fn open(&self, from: &Path, to: &Path, wanted: &Wanted) -> Result<Label, SealError> {
        let _hold = self.hold(Hold::Shared)?;
        let mut label = None;
        let mut failed = None;
        let written = write_whole(to, |file| match self.read(from, Some(wanted), file) {
            Ok(read) => {
                label = Some(read);
                Ok(())
            }
            Err(error) => {
                failed = Some(error);
                Err(io::Error::other("it was not opened"))
            }
        });
        match (written, label, failed) {
            (Ok(()), Some(label), _) => Ok(label),
            (_, _, Some(error)) => Err(error),
            (Err(error), ..) => Err(SealError::io("write", to)(error)),
            (Ok(()), None, None) => Err(SealError::Damaged { path: from.into() }),
        }
    }

    /// What a sealed file holds, whole in memory.
    ///
    /// # Errors
    ///
    /// As for [`Keys::open`].
    pub fn read_whole(&self, from: &Path, wanted: &Wanted) -> Result<Vec<u8>, SealError> {
        let _hold = self.hold(Hold::Shared)?;
        let mut content = Vec::new();
        self.read(from, Some(wanted), &mut content)?;
        Ok(content)
    }

    /// Opens a sealed file, whatever it belongs to, into `out`. Where this fails, what was written
    /// until then is a beginning only.
    ///
    /// # Errors
    ///
    /// As for [`Keys::open`].
    pub fn show(&self, from: &Path, out: &mut dyn Write) -> Result<Label, SealError> {
        let _hold = self.hold(Hold::Shared)?;
        self.read(from, None, out)
    }

    fn read(
        &self,
        from: &Path,
        wanted: Option<&Wanted>,
        out: &mut dyn Write,
    ) -> Result<Label, SealError> {
        let file = File::open(from).map_err(SealError::io("read", from))?;
        let mut file = BufReader::with_capacity(PIECE, file);
        let (header, lines) = read_header(&mut file, from)?;
        let label = header.label;
        if let Some(wanted) = wanted
            && (label.kind, &label.repository, &label.workspace)
                != (wanted.kind, &wanted.repository, &wanted.workspace)
        {
            return Err(SealError::Another {
                path: from.into(),
                is: Box::new(label),
            });
        }
        if let Some(at) = label.expires_at
            && at <= now()
        {
            return Err(SealError::Expired {
                path: from.into(),
                at,
            });
        }
        let damaged = || SealError::Damaged { path: from.into() };
        let salt = hex::decode(&header.salt).map_err(|_| damaged())?;
        let key = self.named(&header.key, from)?;
        let opened = decrypt(&cipher(&key.bytes, &salt), &lines, file, out);
        opened.map_err(|error| match error {
            Broken::Seal => damaged(),
            Broken::Io(source) => SealError::io("open", from)(source),
        })?;
        Ok(label)
    }
}

/// What a sealed file says of itself. It is not known to be true before the file is opened.
///
/// # Errors
///
/// Where there is no such file, or it is not sealed.
pub fn label(path: &Path) -> Result<Label, SealError> {
    header(path).map(|header| header.label)
}

fn header(path: &Path) -> Result<Header, SealError> {
    let file = File::open(path).map_err(SealError::io("read", path))?;
    read_header(&mut BufReader::new(file), path).map(|(header, _)| header)
}

/// The name of the sealed file of a plain one.
pub fn sealed_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ENDING);
    PathBuf::from(name)
}

/// Whether a name is that of a sealed file.
pub fn is_sealed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// The sealed files below a folder. Links are not followed.
pub fn sealed_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() && is_sealed(&path) => {
                    found.push(path);
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Writes a file aside, for its owner alone, puts it on the disk and then in its place.
///
/// # Errors
///
/// Where it cannot be written; what stood there stands.
pub fn write_whole(
    to: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut aside = to.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    // What a kill left half written.
    remove(&aside)?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    let mut file = BufWriter::with_capacity(PIECE, file);
    let done = write(&mut file)
        .and_then(|()| file.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&aside, to));
    if let Err(error) = done {
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    sync_folder(to)
}

/// Removes a file that a sealed one stands for by now, if it is there, and puts that on the disk.
///
/// # Errors
///
/// Where it cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts the names in a file's folder on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads the two lines: what they say, and themselves.
fn read_header(file: &mut impl io::BufRead, path: &Path) -> Result<(Header, Vec<u8>), SealError> {
    let not_sealed = || SealError::NotSealed { path: path.into() };
    let mut lines = Vec::new();
    let mut head = file.take(MAGIC.len() as u64 + LABEL_LIMIT);
    head.read_until(b'\n', &mut lines)
        .map_err(SealError::io("read", path))?;
    if lines != MAGIC {
        return Err(not_sealed());
    }
    head.read_until(b'\n', &mut lines)
        .map_err(SealError::io("read", path))?;
    if lines.last() != Some(&b'\n') {
        return Err(not_sealed());
    }
    let header = serde_json::from_slice(&lines[MAGIC.len()..]).map_err(|_| not_sealed())?;
    Ok((header, lines))
}

/// The cipher of one file. Both calls take keys of any content and fail for none of this length.
fn cipher(master: &[u8; 32], salt: &[u8]) -> Option<LessSafeKey> {
    let own = Salt::new(HKDF_SHA256, salt).extract(master);
    let key = own.expand(&[USE], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

/// Whether a piece is the last one of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Last,
    Before,
}

fn nonce(number: u64, place: Place) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(place == Place::Last);
    Nonce::assume_unique_for_key(bytes)
}

/// Reads until the buffer's room of `most` bytes is full, or the end.
fn fill(from: &mut impl Read, most: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    from.take(most as u64).read_to_end(into).map(|_| ())
}

fn encrypt(
    cipher: &Option<LessSafeKey>,
    lines: &[u8],
    mut content: impl Read,
    out: &mut impl Write,
) -> io::Result<()> {
    let refused = || io::Error::other("the cipher refused it");
    let cipher = cipher.as_ref().ok_or_else(refused)?;
    let (mut piece, mut next) = (Vec::new(), Vec::new());
    fill(&mut content, PIECE, &mut piece)?;
    for number in 0.. {
        fill(&mut content, PIECE, &mut next)?;
        let place = if next.is_empty() {
            Place::Last
        } else {
            Place::Before
        };
        cipher
            .seal_in_place_append_tag(nonce(number, place), Aad::from(lines), &mut piece)
            .map_err(|_| refused())?;
        out.write_all(&piece)?;
        if place == Place::Last {
            break;
        }
        std::mem::swap(&mut piece, &mut next);
    }
    Ok(())
}

/// Why the content of a sealed file could not be read.
enum Broken {
    /// It is not what was sealed.
    Seal,
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn decrypt(
    cipher: &Option<LessSafeKey>,
    lines: &[u8],
    mut content: impl Read,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Broken> {
    let cipher = cipher.as_ref().ok_or(Broken::Seal)?;
    let (mut piece, mut next) = (Vec::new(), Vec::new());
    fill(&mut content, PIECE + TAG, &mut piece)?;
    for number in 0.. {
        fill(&mut content, PIECE + TAG, &mut next)?;
        let place = if next.is_empty() {
            Place::Last
        } else {
            Place::Before
        };
        let plain = cipher
            .open_in_place(nonce(number, place), Aad::from(lines), &mut piece)
            .map_err(|_| Broken::Seal)?;
        out.write_all(plain)?;
        if place == Place::Last {
            break;
        }
        std::mem::swap(&mut piece, &mut next);
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
