//! What a repository cannot have git do here, and how much it can bring.

use std::fs;

use super::rig::{Manners, Rig, Server, fetch, git_output, remote, script};
use crate::config::Limits;
use crate::modules::{Entry, Tree};
use crate::source::{Links, Mirror, SourceError};

fn limited(rig: &Rig, limits: Limits) -> Mirror {
    rig.mirror.clone().with_limits(limits)
}

#[test]
fn no_hook_and_no_filter_runs_at_a_checkout_though_git_itself_would_run_both() {
    let rig = Rig::new();
    rig.commit(
        &[
            (
                ".gitattributes",
                "*.tf filter=evil ident eol=crlf\n*.bin filter=lfs\n",
            ),
            ("main.tf", "# $Id$\n"),
            (
                "big.bin",
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            ),
        ],
        "Filters",
    );
    let fetched = rig.fetch().unwrap();
    // The filters and the hook are there, as an operator's own settings may have them.
    let canary = rig.top().join("canary");
    let mirror = rig.top().join("mirror");
    let sing = format!("echo sang >> '{}'", canary.display());
    for filter in ["evil", "lfs"] {
        for way in ["smudge", "clean", "process"] {
            let key = format!("filter.{filter}.{way}");
            let command = format!("{sing}; cat");
            git_output(&mirror, &["config", &key, &command]);
        }
        git_output(
            &mirror,
            &["config", "--unset", &format!("filter.{filter}.process")],
        );
    }
    fs::create_dir_all(mirror.join("hooks")).unwrap();
    script(
        &mirror.join("hooks/post-checkout"),
        &format!("#!/bin/sh\n{sing}\n"),
    );

    let tree = rig.mirror.tree_of(&fetched.base).unwrap();
    let into = rig.top().join("out");
    rig.mirror
        .checkout(&tree, None, &into, Links::Within)
        .unwrap();
    assert!(!canary.exists(), "something of the repository's ran");
    assert_eq!(fs::read(into.join("main.tf")).unwrap(), b"# $Id$\n");
    assert!(
        fs::read(into.join("big.bin"))
            .unwrap()
            .starts_with(b"version")
    );
    assert!(!into.join(".git").exists());

    // git itself runs them: the test above is no accident.
    let work = rig.top().join("work");
    fs::create_dir(&work).unwrap();
    let git_dir = format!("--git-dir={}", mirror.display());
    let work_tree = format!("--work-tree={}", work.display());
    let commit = fetched.base.to_string();
    git_output(
        &work,
        &[
            &git_dir,
            &work_tree,
            "-c",
            "core.bare=false",
            "checkout",
            "-f",
            &commit,
        ],
    );
    assert!(canary.exists(), "git ran neither filter nor hook");
}

/// What is in a mirror's folder of packs.
fn packs(rig: &Rig) -> Vec<String> {
    let folder = fs::read_dir(rig.top().join("mirror/objects/pack"));
    let names = folder.into_iter().flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_fetch_that_is_too_large_leaves_the_mirror_as_it_was() {
    let rig = Rig::new();
    let before = rig.fetch().unwrap();
    let had = packs(&rig);
    // Text that does not shrink when it is packed.
    let noise: String = (0..20_000_u64)
        .map(|n| hex::encode(n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()))
        .collect();
    rig.commit(&[("noise", &noise)], "Noise");
    let small = limited(
        &rig,
        Limits {
            pack: 64 << 10,
            ..Limits::default()
        },
    );
    let server = Server::start(rig.top(), Manners::default());
    for url in [rig.remote(), remote(&server.url("infra"))] {
        let error = fetch(&small, &url).unwrap_err();
        let SourceError::PackTooLarge { limit, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(limit.to_string(), "64 KiB");
        assert!(
            error.to_string().contains("`pack` in `[limits]`"),
            "{error}"
        );
        assert_eq!(
            small.base(&super::rig::main()).unwrap(),
            Some(before.base.clone())
        );
        assert_eq!(packs(&rig), had);
    }
    assert_eq!(rig.fetch().unwrap().base, rig.sha("main"));
}

#[test]
fn a_commit_that_was_too_large_is_remembered_until_more_is_allowed() {
    let rig = Rig::new();
    let commit = rig.sha("main");
    let small = limited(
        &rig,
        Limits {
            pack: 1 << 20,
            ..Limits::default()
        },
    );
    assert_eq!(small.refused(&commit).unwrap(), None);
    small.refuse(&commit).unwrap();
    assert_eq!(
        small.refused(&commit).unwrap().unwrap().to_string(),
        "1 MiB"
    );
    assert_eq!(rig.mirror.refused(&commit).unwrap(), None);
    assert!(rig.mirror.is_marked(&commit));
    small.forgive(&commit).unwrap();
    assert!(!small.is_marked(&commit));
    assert_eq!(small.refused(&commit).unwrap(), None);
}

#[test]
fn a_tree_has_limits_of_files_of_bytes_and_of_one_file_and_each_is_named() {
    let rig = Rig::new();
    rig.commit(
        &[("a/b", &"x".repeat(3_000)), ("c", &"y".repeat(3_000))],
        "Files",
    );
    let fetched = rig.fetch().unwrap();
    let tree = rig.mirror.tree_of(&fetched.base).unwrap();
    let into = rig.top().join("out");
    for (limits, key) in [
        (
            Limits {
                files: 3,
                ..Limits::default()
            },
            "`files`",
        ),
        (
            Limits {
                tree: 4_096,
                ..Limits::default()
            },
            "`tree`",
        ),
        (
            Limits {
                file: 2_048,
                ..Limits::default()
            },
            "`file`",
        ),
    ] {
        let error = limited(&rig, limits)
            .checkout(&tree, None, &into, Links::Within)
            .unwrap_err();
        assert!(
            error.to_string().contains(&format!("{key} in `[limits]`")),
            "{error}"
        );
        let _ = fs::remove_dir_all(&into);
    }
    // What is read into memory is held to the same.
    let small = limited(
        &rig,
        Limits {
            file: 2_048,
            ..Limits::default()
        },
    );
    let listed = small.tree(&tree).unwrap();
    assert!(matches!(listed.files().get("c"), Some(Entry { .. })));
    assert!(listed.read("c").is_err());
    assert_eq!(listed.read("main.tf").unwrap(), b"one\n");
}

#[test]
fn names_that_others_take_for_the_same_are_refused_only_where_they_are_asked_for() {
    let rig = Rig::new();
    rig.commit(
        &[
            ("net/Main.tf", ""),
            ("net/main.tf", ""),
            ("dns/main.tf", ""),
        ],
        "Case",
    );
    let fetched = rig.fetch().unwrap();
    let tree = rig.mirror.tree_of(&fetched.base).unwrap();
    let into = rig.top().join("out");
    let error = rig
        .mirror
        .checkout(&tree, None, &into, Links::Within)
        .unwrap_err();
    assert!(
        matches!(&error, SourceError::Hostile { path, .. } if path == "net/main.tf"),
        "{error:?}"
    );
    let dns = ["dns/main.tf".to_owned()].into();
    rig.mirror
        .checkout(&tree, Some(&dns), &into, Links::Within)
        .unwrap();
}

#[test]
fn a_link_out_of_the_tree_is_written_only_where_that_is_allowed() {
    let rig = Rig::new();
    std::os::unix::fs::symlink("/etc/hostname", rig.repo().join("link")).unwrap();
    rig.commit(&[], "Link");
    let fetched = rig.fetch().unwrap();
    let tree = rig.mirror.tree_of(&fetched.base).unwrap();
    let into = rig.top().join("out");
    let refused = rig.mirror.checkout(&tree, None, &into, Links::Within);
    assert!(matches!(refused, Err(SourceError::EscapingLink { .. })));
    fs::remove_dir_all(&into).unwrap();
    rig.mirror
        .checkout(&tree, None, &into, Links::Anywhere)
        .unwrap();
    // The attack as it would be: what is read is the machine's file.
    let machine = fs::read("/etc/hostname").ok();
    assert_eq!(fs::read(into.join("link")).ok(), machine);
}
