//! Merges, held against git's own.

use git2::{ObjectType, Oid, Repository, Signature};

use super::rig::Rig;
use crate::id::ObjectId;
use crate::source::{Merge, Remedy, SourceError};

/// A rig whose `main` and `feature` went their ways from one commit with a file of ten lines.
fn forked(ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> Rig {
    let rig = Rig::empty();
    let lines: String = (0..10).map(|n| format!("line {n}\n")).collect();
    rig.commit(&[("a.tf", &lines), ("b.tf", "b\n")], "Fork");
    rig.git(&["checkout", "-q", "-b", "feature"]);
    rig.commit(theirs, "Theirs");
    rig.git(&["checkout", "-q", "main"]);
    rig.commit(ours, "Ours");
    rig.fetch().unwrap();
    rig
}

fn merge(rig: &Rig, base: &str, head: &str) -> Merge {
    rig.mirror.merge(&rig.sha(base), &rig.sha(head)).unwrap()
}

fn tree(rig: &Rig, revision: &str) -> ObjectId {
    rig.git(&["rev-parse", &format!("{revision}^{{tree}}")])
        .parse()
        .unwrap()
}

#[test]
fn a_clean_merge_gives_the_tree_that_git_gives() {
    let rig = forked(
        &[("ours.tf", "1\n")],
        &[("b.tf", "b\nmore\n"), ("theirs.tf", "2\n")],
    );
    let expected = rig.git(&["merge-tree", "--write-tree", "main", "feature"]);
    let merged = merge(&rig, "main", "feature");
    assert_eq!(merged, Merge::Clean(expected.parse().unwrap()));
    let Merge::Clean(tree) = merged else {
        unreachable!()
    };
    assert!(rig.mirror.tree(&tree).is_ok(), "the tree was written");
}

#[test]
fn a_conflict_names_its_paths() {
    let rig = forked(
        &[("b.tf", "ours\n"), ("new.tf", "1\n")],
        &[("b.tf", "theirs\n"), ("new.tf", "2\n"), ("c.tf", "fine\n")],
    );
    assert_eq!(
        merge(&rig, "main", "feature"),
        Merge::Conflict(vec!["b.tf".to_owned(), "new.tf".to_owned()])
    );
}

#[test]
fn what_is_merged_already_gives_the_tree_of_the_base() {
    let rig = forked(&[("ours.tf", "1\n")], &[("theirs.tf", "2\n")]);
    rig.git(&["merge", "-q", "-m", "Merge", "feature"]);
    rig.fetch().unwrap();
    assert_eq!(
        merge(&rig, "main", "feature"),
        Merge::Clean(tree(&rig, "main"))
    );
    assert_eq!(
        merge(&rig, "main", "main"),
        Merge::Clean(tree(&rig, "main"))
    );
}

#[test]
fn what_only_adds_to_the_base_gives_the_tree_of_the_head() {
    let rig = Rig::new();
    rig.git(&["checkout", "-q", "-b", "feature"]);
    rig.commit(&[("x", "1")], "More");
    rig.fetch().unwrap();
    assert_eq!(
        merge(&rig, "main", "feature"),
        Merge::Clean(tree(&rig, "feature"))
    );
}

#[test]
fn branches_that_were_merged_crosswise_merge_as_git_does_it() {
    let lines = |changed: &[(usize, &str)]| -> String {
        (0..10)
            .map(|n| match changed.iter().find(|(line, _)| *line == n) {
                Some((_, text)) => format!("{text}\n"),
                None => format!("line {n}\n"),
            })
            .collect()
    };
    let rig = forked(
        &[("a.tf", &lines(&[(0, "ours")]))],
        &[("a.tf", &lines(&[(9, "theirs")]))],
    );
    let (ours, theirs) = (rig.sha("main"), rig.sha("feature"));
    rig.git(&["merge", "-q", "-m", "Theirs into ours", theirs.as_str()]);
    rig.git(&["checkout", "-q", "feature"]);
    rig.git(&["merge", "-q", "-m", "Ours into theirs", ours.as_str()]);
    rig.commit(
        &[("a.tf", &lines(&[(0, "ours again"), (9, "theirs")]))],
        "Go on",
    );
    rig.git(&["checkout", "-q", "main"]);
    rig.commit(
        &[("a.tf", &lines(&[(0, "ours"), (9, "theirs again")]))],
        "Go on",
    );
    assert_eq!(
        rig.git(&["merge-base", "--all", "main", "feature"])
            .lines()
            .count(),
        2
    );
    rig.fetch().unwrap();
    let expected = rig.git(&["merge-tree", "--write-tree", "main", "feature"]);
    assert_eq!(
        merge(&rig, "main", "feature"),
        Merge::Clean(expected.parse().unwrap())
    );
}

#[test]
fn histories_without_a_common_commit_are_refused() {
    let rig = Rig::new();
    rig.git(&["checkout", "-q", "--orphan", "other"]);
    rig.commit(&[("x", "1")], "Another beginning");
    rig.fetch().unwrap();
    let error = rig
        .mirror
        .merge(&rig.sha("main"), &rig.sha("other"))
        .unwrap_err();
    assert!(matches!(error, SourceError::Unrelated { .. }), "{error}");
}

#[test]
fn the_commit_that_both_have_is_found() {
    let rig = forked(&[("ours.tf", "1\n")], &[("theirs.tf", "2\n")]);
    let base = rig
        .mirror
        .merge_base(&rig.sha("main"), &rig.sha("feature"))
        .unwrap();
    assert_eq!(base, Some(rig.sha("main~1")));
}

#[test]
fn a_hostile_head_is_refused_before_it_is_merged() {
    let rig = forked(&[("ours.tf", "1\n")], &[("theirs.tf", "2\n")]);
    let repo = Repository::open(rig.top().join("mirror")).unwrap();
    let blob = repo.blob(b"evil").unwrap();
    let mut bytes = b"100644 .git\0".to_vec();
    bytes.extend(blob.as_bytes());
    let tree = repo.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap();
    let tree = repo.find_tree(tree).unwrap();
    let parent = repo
        .find_commit(Oid::from_str(rig.sha("feature").as_str()).unwrap())
        .unwrap();
    let eve = Signature::now("Eve", "eve@example.com").unwrap();
    let head = repo
        .commit(None, &eve, &eve, "Evil", &tree, &[&parent])
        .unwrap();
    let error = rig
        .mirror
        .merge(&rig.sha("main"), &head.to_string().parse().unwrap())
        .unwrap_err();
    assert!(matches!(error, SourceError::Hostile { .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::ChangeCommit);
}
