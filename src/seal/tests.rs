use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use chrono::TimeDelta;
use tempfile::TempDir;

use super::keys::names;
use super::*;

const SECRET: &str = "the password is xyzzy";

struct Rig {
    folder: TempDir,
    keys: Keys,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("states")).unwrap();
        let keys = Keys::of(folder.path(), None);
        keys.ready().unwrap();
        Self { folder, keys }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("states").join(name)
    }

    /// A sealed file with that content.
    fn sealed(&self, name: &str, content: &[u8]) -> PathBuf {
        let plain = self.at("plain");
        fs::write(&plain, content).unwrap();
        let to = sealed_name(&self.at(name));
        self.keys.seal(&plain, &to, &label_of("network")).unwrap();
        fs::remove_file(plain).unwrap();
        to
    }

    fn opened(&self, path: &Path) -> Result<Vec<u8>, SealError> {
        let to = self.at("opened");
        self.keys.open(path, &to, &wanted("network"))?;
        Ok(fs::read(to).unwrap())
    }
}

fn label_of(workspace: &str) -> Label {
    Label {
        kind: Kind::State,
        repository: "acme/infra".into(),
        workspace: workspace.into(),
        commit: Some("c".repeat(40)),
        run: Some(7),
        lineage: Some("l".into()),
        serial: Some(3),
        expires_at: None,
    }
}

fn wanted(workspace: &str) -> Wanted {
    Wanted {
        kind: Kind::State,
        repository: "acme/infra".into(),
        workspace: workspace.into(),
    }
}

#[test]
fn what_is_sealed_is_opened_again_whatever_its_length() {
    let rig = Rig::new();
    for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
        let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let path = rig.sealed("s", &content);
        assert!(rig.opened(&path).unwrap() == content, "{length}");
        assert_eq!(label(&path).unwrap(), label_of("network"));
    }
}

#[test]
fn a_sealed_file_shows_nothing_of_its_content_and_is_its_owners_alone() {
    let rig = Rig::new();
    let path = rig.sealed("s", SECRET.as_bytes());
    let bytes = fs::read(&path).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("xyzzy"));
    for file in [&path, rig.keys.file()] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // The same content never looks the same twice.
    assert_ne!(fs::read(rig.sealed("t", SECRET.as_bytes())).unwrap(), bytes);
}

#[test]
fn a_sealed_file_that_was_changed_anywhere_is_not_opened() {
    let rig = Rig::new();
    let path = rig.sealed("s", SECRET.as_bytes());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(rig.opened(&path).is_err(), "byte {at}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(rig.opened(&path).unwrap(), SECRET.as_bytes());
}

#[test]
fn pieces_cannot_be_cut_off_dropped_or_swapped() {
    let rig = Rig::new();
    let path = rig.sealed("s", &vec![7; 3 * PIECE]);
    let whole = fs::read(&path).unwrap();
    let head = whole.len() - 3 * (PIECE + TAG);
    let piece = |n: usize| &whole[head + n * (PIECE + TAG)..head + (n + 1) * (PIECE + TAG)];
    let orders: [&[usize]; 5] = [&[], &[0], &[0, 1], &[0, 2], &[1, 0, 2]];
    for order in orders {
        let mut changed = whole[..head].to_vec();
        for n in order {
            changed.extend_from_slice(piece(*n));
        }
        fs::write(&path, changed).unwrap();
        let error = rig.opened(&path).unwrap_err();
        assert!(error.is_damage(), "{order:?}: {error}");
        assert!(!rig.at("opened").exists());
    }
}

#[test]
fn a_sealed_state_is_not_taken_for_another_workspaces() {
    let rig = Rig::new();
    let path = rig.sealed("s", SECRET.as_bytes());
    let to = rig.at("opened");
    let error = rig.keys.open(&path, &to, &wanted("dns")).unwrap_err();
    assert!(matches!(error, SealError::Another { .. }), "{error}");
    // Nor by writing another name into it.
    let text = fs::read(&path).unwrap();
    let at = text.windows(7).position(|w| w == b"network").unwrap();
    let mut forged = text.clone();
    forged.splice(at..at + 7, *b"dns");
    fs::write(&path, forged).unwrap();
    let error = rig.keys.open(&path, &to, &wanted("dns")).unwrap_err();
    assert!(matches!(error, SealError::Damaged { .. }), "{error}");
}

#[test]
fn what_has_expired_is_not_opened() {
    let rig = Rig::new();
    let plain = rig.at("plain");
    fs::write(&plain, SECRET).unwrap();
    for (hours, opens) in [(1, true), (-1, false)] {
        let label = Label {
            expires_at: Some(now() + TimeDelta::hours(hours)),
            ..label_of("network")
        };
        let to = sealed_name(&plain);
        rig.keys.seal(&plain, &to, &label).unwrap();
        assert_eq!(rig.opened(&to).is_ok(), opens);
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let rig = Rig::new();
    let path = rig.sealed("s", SECRET.as_bytes());
    fs::set_permissions(rig.keys.file(), fs::Permissions::from_mode(0o640)).unwrap();
    for error in [rig.keys.ready(), rig.opened(&path).map(|_| ())] {
        assert!(matches!(
            error,
            Err(SealError::KeysOpen { mode: 0o640, .. })
        ));
    }
}

#[test]
fn no_new_key_is_made_where_one_was_lost() {
    let rig = Rig::new();
    rig.sealed("s", SECRET.as_bytes());
    fs::remove_file(rig.keys.file()).unwrap();
    let error = rig.keys.ready().unwrap_err();
    assert!(matches!(error, SealError::KeysLost { .. }), "{error}");
}

#[test]
fn no_new_key_is_made_where_a_state_that_could_not_be_saved_needs_the_lost_one() {
    for folder in ["runs/7", "runs/7/1"] {
        let rig = Rig::new();
        let folder = rig.folder.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let plain = rig.folder.path().join("plain");
        fs::write(&plain, SECRET).unwrap();
        let sealed = folder.join("errored.tfstate.sealed");
        let label = Label {
            kind: Kind::Stranded,
            ..label_of("network")
        };
        rig.keys.seal(&plain, &sealed, &label).unwrap();
        fs::remove_file(rig.keys.file()).unwrap();
        for error in [rig.keys.look(), rig.keys.ready()] {
            assert!(
                matches!(&error, Err(SealError::KeysLost { sealed: found, .. }) if *found == sealed),
                "{error:?}"
            );
        }
    }
}

#[test]
fn keys_of_another_user_are_refused() {
    let rig = Rig::new();
    rig.sealed("s", SECRET.as_bytes());
    let owner = fs::metadata(rig.keys.file()).unwrap().uid();
    assert!(keys::is_ours(&rig.keys, owner) && keys::is_ours(&rig.keys, 0));
    assert!(!keys::is_ours(&rig.keys, owner + 4_711));
    // Only root can give a file away.
    if chown(rig.keys.file(), Some(owner + 4_711), None).is_ok() {
        let error = rig.keys.ready().unwrap_err();
        assert!(matches!(error, SealError::KeysOfAnother { .. }), "{error}");
    }
}

#[test]
fn a_rotation_seals_everything_anew_and_drops_the_old_key() {
    let rig = Rig::new();
    let paths = [rig.sealed("s", SECRET.as_bytes()), rig.sealed("t", b"")];
    let before = names(&rig.keys);
    let folders = [rig.folder.path().join("states")];
    let rotated = rig.keys.rotate(&folders).unwrap();
    assert_eq!((rotated.resealed, &rotated.retired), (2, &before));
    assert!(rotated.left.is_empty());
    assert_eq!(names(&rig.keys), [rotated.key]);
    assert_eq!(rig.opened(&paths[0]).unwrap(), SECRET.as_bytes());
    assert_eq!(label(&paths[0]).unwrap(), label_of("network"));
}

#[test]
fn a_rotation_that_was_killed_is_finished_by_the_next() {
    let rig = Rig::new();
    let first = rig.sealed("s", SECRET.as_bytes());
    // Killed after the new key was written, and with one file half written aside.
    let mut keys = rig.keys.read_all().unwrap();
    keys.insert(0, super::keys::new_key().unwrap());
    rig.keys.write(&keys).unwrap();
    fs::write(rig.at("s.sealed.new"), "half").unwrap();
    let second = rig.sealed("t", SECRET.as_bytes());
    for path in [&first, &second] {
        assert_eq!(rig.opened(path).unwrap(), SECRET.as_bytes());
    }
    let rotated = rig
        .keys
        .rotate(&[rig.folder.path().join("states")])
        .unwrap();
    assert_eq!(rotated.retired.len(), 2);
    for path in [&first, &second] {
        assert_eq!(rig.opened(path).unwrap(), SECRET.as_bytes());
    }
    assert!(!rig.at("s.sealed.new").exists());
}

#[test]
fn a_key_stays_while_something_needs_it() {
    let rig = Rig::new();
    let path = rig.sealed("s", SECRET.as_bytes());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let old = names(&rig.keys);
    let rotated = rig
        .keys
        .rotate(&[rig.folder.path().join("states")])
        .unwrap();
    assert_eq!((rotated.left.len(), rotated.retired.len()), (1, 0));
    assert!(names(&rig.keys).ends_with(&old));
}

#[test]
fn what_is_sealed_during_a_rotation_can_be_opened_after_it() {
    let rig = Rig::new();
    let folders = [rig.folder.path().join("states")];
    std::thread::scope(|scope| {
        let turning = scope.spawn(|| {
            for _ in 0..20 {
                rig.keys.rotate(&folders).unwrap();
            }
        });
        let mut round = 0;
        while !turning.is_finished() {
            let path = rig.sealed("s", format!("{round}").as_bytes());
            assert_eq!(rig.opened(&path).unwrap(), format!("{round}").as_bytes());
            round += 1;
        }
    });
    assert_eq!(names(&rig.keys).len(), 1);
}
