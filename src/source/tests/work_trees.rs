//! Folders as they lie on the disk.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::rig::{Rig, git, script};
use crate::modules::{EntryKind, Tree};
use crate::source::{SourceError, WorkTree};

fn names(tree: &impl Tree) -> Vec<&str> {
    tree.files().keys().map(String::as_str).collect()
}

fn put(top: &Path, files: &[&str]) {
    for name in files {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn an_untouched_checkout_is_the_tree_of_its_commit() {
    let rig = Rig::new();
    script(&rig.repo().join("run.sh"), "#!/bin/sh\n");
    symlink("main.tf", rig.repo().join("link.tf")).unwrap();
    let commit = rig.commit(&[("a/b/c.tf", "c\n")], "All kinds");
    rig.fetch().unwrap();
    let committed = rig
        .mirror
        .tree(&rig.mirror.tree_of(&commit).unwrap())
        .unwrap();
    let tree = WorkTree::open(&rig.repo()).unwrap();
    assert_eq!(tree.files(), committed.files());
    assert_eq!(tree.read("link.tf").unwrap(), b"main.tf");
    assert_eq!(tree.files()["run.sh"].kind, EntryKind::Executable);
}

#[test]
fn edits_and_new_files_count_and_ignored_files_do_not_but_variable_files_do() {
    let rig = Rig::new();
    rig.commit(
        &[
            (".gitignore", "*.tfvars\n*.log\nbuild/\nkept/\n"),
            ("kept/x.tf", ""),
        ],
        "Ignore",
    );
    rig.git(&["add", "-f", "kept/x.tf"]);
    rig.git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "Tracked all the same",
    ]);
    put(
        &rig.repo(),
        &[
            "new.tf",
            "prod.tfvars",
            "a.log",
            "build/x",
            "build/y.auto.tfvars.json",
            "a/.terraform/providers/x",
            "kept/y",
        ],
    );
    fs::write(rig.repo().join("main.tf"), "edited\n").unwrap();
    let tree = WorkTree::open(&rig.repo()).unwrap();
    assert_eq!(
        names(&tree),
        [
            ".gitignore",
            "build/y.auto.tfvars.json",
            "kept/x.tf",
            "main.tf",
            "new.tf",
            "prod.tfvars"
        ]
    );
    assert_eq!(tree.read("main.tf").unwrap(), b"edited\n");
}

#[test]
fn a_folder_without_git_is_a_work_tree_too() {
    let dir = TempDir::new().unwrap();
    put(dir.path(), &["main.tf", ".terraform/x", "a/b.tf"]);
    let tree = WorkTree::open(dir.path()).unwrap();
    assert_eq!(names(&tree), ["a/b.tf", "main.tf"]);
    let error = WorkTree::repo_root(dir.path()).unwrap_err();
    assert!(
        matches!(error, SourceError::NotARepository { .. }),
        "{error}"
    );
    let error = WorkTree::base_tree(dir.path(), None).unwrap_err();
    assert!(
        matches!(error, SourceError::NotARepository { .. }),
        "{error}"
    );
}

#[test]
fn the_root_is_found_from_a_folder_below() {
    let rig = Rig::new();
    rig.commit(&[("a/b/c.tf", "")], "Deep");
    let root = WorkTree::repo_root(&rig.repo().join("a/b")).unwrap();
    assert_eq!(root, fs::canonicalize(rig.repo()).unwrap());
}

#[test]
fn a_copy_is_the_checkout_as_it_is() {
    let rig = Rig::new();
    rig.commit(
        &[(".gitignore", "*.tfstate\n*.zip\n"), ("live/main.tf", "")],
        "Ignore",
    );
    put(
        &rig.repo(),
        &[
            "live/terraform.tfstate",
            "live/sub/x.zip",
            "live/.terraform/x",
            "other/x.zip",
            "../outside.txt",
        ],
    );
    script(&rig.repo().join("live/run.sh"), "#!/bin/sh\n");
    symlink("../main.tf", rig.repo().join("live/inside")).unwrap();
    symlink("../../outside.txt", rig.repo().join("live/outside")).unwrap();
    fs::write(rig.repo().join("main.tf"), "edited\n").unwrap();
    let dest = rig.top().join("copy");
    WorkTree::open(&rig.repo())
        .unwrap()
        .copy_to(&dest, &["live".to_owned()])
        .unwrap();

    assert_eq!(
        fs::read_to_string(dest.join("main.tf")).unwrap(),
        "edited\n"
    );
    assert!(dest.join("live/terraform.tfstate").exists() && dest.join("live/sub/x.zip").exists());
    assert!(!dest.join("other/x.zip").exists());
    assert!(!dest.join("live/.terraform").exists() && !dest.join(".git").exists());
    let mode = fs::metadata(dest.join("live/run.sh"))
        .unwrap()
        .permissions()
        .mode();
    assert_ne!(mode & 0o100, 0);
    assert_eq!(
        fs::read_link(dest.join("live/inside")).unwrap(),
        Path::new("../main.tf")
    );
    assert_eq!(
        fs::read_to_string(dest.join("live/outside")).unwrap(),
        "../outside.txt"
    );
}

#[test]
fn submodules_are_one_entry_and_are_copied_whole() {
    let rig = Rig::new();
    let other = Rig::new();
    let url = other.repo();
    rig.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        url.to_str().unwrap(),
        "sub",
    ]);
    rig.commit(&[], "Submodule");
    let tree = WorkTree::open(&rig.repo()).unwrap();
    assert_eq!(names(&tree), [".gitmodules", "main.tf", "sub"]);
    assert_eq!(tree.files()["sub"].kind, EntryKind::Submodule);
    assert_eq!(tree.files()["sub"].id.as_str(), other.sha("main").as_str());
    let dest = rig.top().join("copy");
    tree.copy_to(&dest, &[]).unwrap();
    assert!(dest.join("sub/main.tf").exists() && !dest.join("sub/.git").exists());
}

#[test]
fn the_base_is_where_the_branch_left_the_default_one() {
    let rig = Rig::new();
    let fork = rig.sha("main");
    rig.git(&["checkout", "-q", "-b", "feature"]);
    rig.commit(&[("f.tf", "")], "Feature");
    rig.git(&["checkout", "-q", "main"]);
    rig.commit(&[("m.tf", "")], "Main goes on");
    rig.git(&["checkout", "-q", "feature"]);
    let base = WorkTree::base_tree(&rig.repo(), None).unwrap();
    assert_eq!((base.commit, base.revision.as_str()), (fork, "main"));
    assert_eq!(names(&base.tree), ["main.tf"]);
    assert_eq!(base.tree.read("main.tf").unwrap(), b"one\n");
    let head = WorkTree::base_tree(&rig.repo(), Some("HEAD")).unwrap();
    assert_eq!(head.commit, rig.sha("feature"));
}

#[test]
fn the_default_branch_is_what_the_remote_says() {
    let rig = Rig::new();
    rig.git(&["checkout", "-q", "-b", "trunk"]);
    let trunk = rig.commit(&[("t.tf", "")], "Trunk");
    let clone = rig.top().join("clone");
    git(rig.top(), &["clone", "-q", "infra", "clone"]);
    git(&clone, &["checkout", "-q", "-b", "mine"]);
    let base = WorkTree::base_tree(&clone, None).unwrap();
    assert_eq!(
        (base.commit, base.revision.as_str()),
        (trunk, "origin/trunk")
    );
}

#[test]
fn an_unknown_revision_is_answered_with_names_like_it() {
    let rig = Rig::new();
    rig.git(&["branch", "staging"]);
    let error = WorkTree::base_tree(&rig.repo(), Some("stagging")).unwrap_err();
    let SourceError::UnknownRevision { near, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(near[0], "staging");
    assert!(
        error.to_string().contains("`stagging` names no commit"),
        "{error}"
    );
    assert!(error.to_string().contains("is it `staging`"), "{error}");
}

#[test]
fn a_repository_without_commits_says_so() {
    let rig = Rig::empty();
    let error = WorkTree::base_tree(&rig.repo(), None).unwrap_err();
    assert!(matches!(error, SourceError::NoCommits { .. }), "{error}");
}
