//! Checkouts, of honest trees and of others.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use git2::{ObjectType, Oid, Repository};

use super::rig::{Rig, script};
use crate::id::ObjectId;
use crate::modules::{EntryKind, Tree};
use crate::source::{Links, SourceError};

fn head(rig: &Rig) -> ObjectId {
    rig.mirror.tree_of(&rig.fetch().unwrap().base).unwrap()
}

#[test]
fn modes_and_links_are_kept_and_line_endings_left_alone() {
    let rig = Rig::new();
    let crlf = "a\r\nb\r\n$Id$\n";
    fs::create_dir(rig.repo().join("bin")).unwrap();
    script(&rig.repo().join("bin/run"), "#!/bin/sh\n");
    symlink("../main.tf", rig.repo().join("bin/link")).unwrap();
    symlink("nowhere", rig.repo().join("dangling")).unwrap();
    fs::write(rig.repo().join("x.txt"), crlf).unwrap();
    rig.git(&["-c", "core.autocrlf=false", "add", "-A"]);
    rig.commit(
        &[(
            ".gitattributes",
            "*.txt text eol=lf ident\n*.tf filter=evil\n",
        )],
        "All kinds",
    );
    let tree = head(&rig);
    let into = rig.top().join("out/deep");
    rig.mirror
        .checkout(&tree, None, &into, Links::Within)
        .unwrap();
    let mode = |path: &str| fs::metadata(into.join(path)).unwrap().permissions().mode() & 0o111;
    assert_ne!(mode("bin/run"), 0);
    assert_eq!(mode("main.tf"), 0);
    assert_eq!(
        fs::read_link(into.join("bin/link")).unwrap(),
        PathBuf::from("../main.tf")
    );
    assert_eq!(fs::read_to_string(into.join("bin/link")).unwrap(), "one\n");
    assert!(
        fs::symlink_metadata(into.join("dangling"))
            .unwrap()
            .is_symlink()
    );
    // As the blob has it; git made it LF when it was added.
    let blob = rig.mirror.tree(&tree).unwrap().read("x.txt").unwrap();
    assert_eq!(fs::read(into.join("x.txt")).unwrap(), blob);
    assert!(!into.join(".git").exists());
}

#[test]
fn of_two_thousand_files_only_those_asked_for_are_written() {
    let rig = Rig::new();
    let files: Vec<(String, String)> = (0..2_000)
        .map(|n| (format!("d{}/f{n}.tf", n % 40), format!("{n}\n")))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    rig.commit(&files, "Many");
    let tree = head(&rig);
    let listed = rig.mirror.tree(&tree).unwrap();
    assert_eq!(listed.files().len(), 2_001);
    let wanted: BTreeSet<String> = listed
        .files()
        .keys()
        .filter(|path| path.starts_with("d7/"))
        .cloned()
        .collect();
    let into = rig.top().join("out");
    rig.mirror
        .checkout(&tree, Some(&wanted), &into, Links::Within)
        .unwrap();
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1);
    assert_eq!(fs::read_dir(into.join("d7")).unwrap().count(), 50);
    assert_eq!(fs::read_to_string(into.join("d7/f47.tf")).unwrap(), "47\n");
}

#[test]
fn a_checkout_wants_an_empty_folder() {
    let rig = Rig::new();
    let tree = head(&rig);
    let into = rig.top().join("out");
    rig.mirror
        .checkout(&tree, None, &into, Links::Within)
        .unwrap();
    let again = rig.mirror.checkout(&tree, None, &into, Links::Within);
    assert!(matches!(again, Err(SourceError::Io { .. })), "{again:?}");
}

#[test]
fn submodules_are_noted_and_skipped() {
    let rig = Rig::new();
    let commit = rig.sha("main");
    rig.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{commit},sub"),
    ]);
    rig.git(&["commit", "-q", "-m", "Submodule"]);
    let tree = head(&rig);
    let listed = rig.mirror.tree(&tree).unwrap();
    assert_eq!(listed.files()["sub"].kind, EntryKind::Submodule);
    rig.mirror
        .checkout(&tree, None, &rig.top().join("out"), Links::Within)
        .unwrap();
    assert!(!rig.top().join("out/sub").exists());
}

#[test]
fn a_tree_can_be_read_in_another_thread() {
    let rig = Rig::new();
    let tree = rig.mirror.tree(&head(&rig)).unwrap();
    let read = std::thread::spawn(move || tree.read("main.tf").unwrap())
        .join()
        .unwrap();
    assert_eq!(read, b"one\n");
}

/// Writes objects that git itself would refuse to write.
struct Forge {
    rig: Rig,
    repo: Repository,
}

impl Forge {
    fn new() -> Self {
        let rig = Rig::new();
        let repo = Repository::open(rig.top().join("mirror")).unwrap();
        Self { rig, repo }
    }

    fn blob(&self, content: &str) -> Oid {
        self.repo.blob(content.as_bytes()).unwrap()
    }

    fn tree(&self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend(mode.bytes());
            bytes.push(b' ');
            bytes.extend(*name);
            bytes.push(0);
            bytes.extend(id.as_bytes());
        }
        self.repo
            .odb()
            .unwrap()
            .write(ObjectType::Tree, &bytes)
            .unwrap()
    }

    fn checkout(&self, tree: Oid) -> Result<(), SourceError> {
        let id: ObjectId = tree.to_string().parse().unwrap();
        self.rig
            .mirror
            .checkout(&id, None, &self.rig.top().join("a/b/out"), Links::Within)
    }

    /// Everything but the checkout's folder is as it was.
    fn is_untouched(&self) -> bool {
        let top = self.rig.top();
        let names = |path: PathBuf| -> BTreeSet<String> {
            fs::read_dir(path)
                .map(|dir| {
                    dir.map(|e| e.unwrap().file_name().into_string().unwrap())
                        .collect()
                })
                .unwrap_or_default()
        };
        names(top.join("a")).is_subset(&["b".to_owned()].into())
            && names(top.join("a/b")).is_subset(&["out".to_owned()].into())
            && names(top.to_owned()).is_subset(&["a", "infra", "mirror"].map(str::to_owned).into())
    }
}

#[test]
fn names_that_leave_the_folder_or_are_gits_own_are_refused() {
    let names: [&[u8]; 14] = [
        b"..",
        b".",
        b"",
        b"../x",
        b"a/../../x",
        b"/etc/x",
        b".git",
        b".GIT",
        b".Git ",
        b"git~1",
        b".git.",
        b".git . .",
        b".git::$INDEX_ALLOCATION",
        ".g\u{200c}it".as_bytes(),
    ];
    for name in names {
        let forge = Forge::new();
        let blob = forge.blob("evil");
        let hooks = forge.tree(&[("100755", b"post-checkout", blob)]);
        for entry in [("100644", name, blob), ("40000", name, hooks)] {
            for tree in [forge.tree(&[entry]), {
                let inner = forge.tree(&[entry]);
                forge.tree(&[("40000", b"inner", inner)])
            }] {
                let error = forge.checkout(tree).unwrap_err();
                let refused = match &error {
                    SourceError::Hostile { .. } => true,
                    // libgit2 itself takes no tree with an empty name.
                    SourceError::Corrupt { .. } => name.is_empty(),
                    _ => false,
                };
                assert!(refused, "{}: {error:?}", name.escape_ascii());
                assert!(forge.is_untouched(), "{}", name.escape_ascii());
            }
        }
    }
}

#[test]
fn links_that_leave_the_tree_are_refused_by_name() {
    for (target, deep) in [
        ("/etc", ""),
        ("/etc/passwd", ""),
        ("..", ""),
        ("../../x", ""),
        ("a/../../x", ""),
        ("up/../..", "a/up"),
    ] {
        let forge = Forge::new();
        let link = forge.blob(target);
        let inner = forge.tree(&[("120000", b"up", forge.blob(".."))]);
        let tree = forge.tree(&[
            ("40000", b"a", inner),
            ("120000", b"link", link),
            ("120000", b"up", forge.blob("a/up")),
        ]);
        let error = forge.checkout(tree).unwrap_err();
        assert!(
            matches!(&error, SourceError::EscapingLink { path, .. } if path == "link"),
            "{target} {deep}: {error:?}"
        );
        assert!(!forge.rig.top().join("a/b/out/link").exists());
        assert!(error.to_string().contains("`link`"), "{error}");
    }
}

#[test]
fn a_link_and_a_folder_of_one_name_are_refused() {
    let forge = Forge::new();
    let inner = forge.tree(&[("100644", b"x", forge.blob("evil"))]);
    let tree = forge.tree(&[
        ("120000", b"a", forge.blob("../../..")),
        ("40000", b"a", inner),
    ]);
    let error = forge.checkout(tree).unwrap_err();
    assert!(matches!(error, SourceError::Hostile { .. }), "{error:?}");
    assert!(forge.is_untouched());
}

#[test]
fn a_circle_of_links_is_refused() {
    let forge = Forge::new();
    let tree = forge.tree(&[
        ("120000", b"a", forge.blob("b")),
        ("120000", b"b", forge.blob("a")),
    ]);
    let error = forge.checkout(tree).unwrap_err();
    assert!(matches!(error, SourceError::Hostile { .. }), "{error:?}");
}

#[test]
fn a_tree_that_spells_out_billions_of_files_is_refused() {
    let forge = Forge::new();
    let mut tree = forge.blob("x");
    let mut mode = "100644";
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|name| (mode, name.as_bytes(), tree))
            .collect();
        tree = forge.tree(&entries);
        mode = "40000";
    }
    let error = forge.checkout(tree).unwrap_err();
    assert!(matches!(error, SourceError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_very_deep_tree_is_refused() {
    let forge = Forge::new();
    let mut tree = forge.tree(&[("100644", b"x", forge.blob("x"))]);
    for _ in 0..3_000 {
        tree = forge.tree(&[("40000", b"d", tree)]);
    }
    let error = forge.checkout(tree).unwrap_err();
    assert!(matches!(error, SourceError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_name_that_is_no_text_is_listed_and_refused_only_where_it_is_asked_for() {
    let forge = Forge::new();
    let blob = forge.blob("x");
    let inner = forge.tree(&[("100644", b"y", blob)]);
    let tree = forge.tree(&[
        ("40000", b"d\xff", inner),
        ("100644", b"fine", blob),
        ("100644", b"\xfe", blob),
    ]);
    let id: ObjectId = tree.to_string().parse().unwrap();
    let listed = forge.rig.mirror.tree(&id).unwrap();
    assert_eq!(listed.files().len(), 3);
    let error = forge.checkout(tree).unwrap_err();
    assert!(matches!(error, SourceError::Hostile { .. }), "{error:?}");
    let fine = BTreeSet::from(["fine".to_owned()]);
    forge
        .rig
        .mirror
        .checkout(
            &id,
            Some(&fine),
            &forge.rig.top().join("a/fine"),
            Links::Within,
        )
        .unwrap();
    let names: Vec<_> = fs::read_dir(forge.rig.top().join("a/fine"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    assert_eq!(names, [b"fine"]);
}
