//! What a fetch keeps, forgets and repairs.

use std::collections::BTreeSet;

use super::rig::{Rig, main};
use crate::modules::Tree;
use crate::source::{Ancestry, Heads, Merge, Mirror, SourceError, Tidied};

#[test]
fn a_deleted_branch_is_forgotten_and_may_become_a_folder() {
    let rig = Rig::new();
    rig.git(&["branch", "a"]);
    rig.git(&["branch", "b"]);
    assert_eq!(rig.fetch().unwrap().proposals.len(), 2);
    rig.git(&["branch", "-D", "a"]);
    rig.git(&["branch", "a/b"]);
    rig.fetch().unwrap();
    assert_eq!(
        rig.mirror
            .proposals()
            .unwrap()
            .into_keys()
            .collect::<Vec<_>>(),
        ["a/b", "b"]
    );
}

#[test]
fn a_forced_push_is_followed_and_seen() {
    let rig = Rig::new();
    let first = rig.fetch().unwrap().base;
    let second = rig.commit(&[("a", "1")], "Second");
    rig.fetch().unwrap();
    assert_eq!(
        rig.mirror.ancestry(&first, &second).unwrap(),
        Ancestry::Descends
    );
    rig.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let other = rig.commit(&[("a", "2")], "Other");
    assert_eq!(rig.fetch().unwrap().base, other);
    assert_eq!(
        rig.mirror.ancestry(&second, &other).unwrap(),
        Ancestry::Apart
    );
    assert_eq!(
        rig.mirror.ancestry(&other, &first).unwrap(),
        Ancestry::Apart
    );
    assert_eq!(rig.mirror.ancestry(&other, &other).unwrap(), Ancestry::Same);
    assert!(
        rig.mirror.has(&second),
        "what was seen before is still there"
    );
}

#[test]
fn of_pull_requests_only_the_open_ones_are_fetched() {
    let rig = Rig::new();
    let mut heads = Vec::new();
    for number in 1..=3 {
        rig.git(&["checkout", "-q", "--detach", "main"]);
        heads.push(rig.commit(&[("a", &number.to_string())], "Pull"));
        rig.git(&["update-ref", &format!("refs/pull/{number}/head"), "HEAD"]);
        rig.git(&["update-ref", &format!("refs/pull/{number}/merge"), "main"]);
    }
    rig.git(&["checkout", "-q", "main"]);
    let open = BTreeSet::from(["2".to_owned(), "4".to_owned()]);
    let fetch = |heads| {
        rig.mirror
            .fetch(&rig.remote(), &main(), "refs/pull/*/head", heads)
            .unwrap()
            .proposals
    };
    let fetched: Vec<_> = fetch(Heads::Only(&open)).into_iter().collect();
    assert_eq!(fetched, [("2".to_owned(), heads[1].clone())]);
    assert!(rig.mirror.has(&heads[1]));
    assert!(!rig.mirror.has(&heads[0]) && !rig.mirror.has(&heads[2]));
    assert_eq!(
        fetch(Heads::All).into_keys().collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
}

#[test]
fn an_empty_repository_has_no_heads_and_no_branch() {
    let rig = Rig::empty();
    assert_eq!(rig.mirror.heads(&rig.remote()).unwrap(), []);
    let error = rig.fetch().unwrap_err();
    assert!(matches!(error, SourceError::NoSuchBranch { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "{} has no branch `main`; push it, or correct `branch` in the declaration",
            rig.repo().display()
        )
    );
}

#[test]
fn commits_between_follow_the_branch_and_end_with_the_newest() {
    let rig = Rig::new();
    let first = rig.sha("main");
    rig.git(&["checkout", "-q", "-b", "feature"]);
    rig.commit(&[("f", "1")], "On the feature");
    rig.git(&["checkout", "-q", "main"]);
    rig.commit(&[("m", "1")], "Second");
    rig.git(&["merge", "-q", "--no-ff", "-m", "Merge feature", "feature"]);
    rig.commit(&[("m", "2")], "Third\n\nWith a body.");
    let last = rig.fetch().unwrap().base;
    let between = rig.mirror.commits_between(&first, &last).unwrap();
    let subjects: Vec<&str> = between
        .iter()
        .map(|commit| commit.subject.as_str())
        .collect();
    assert_eq!(subjects, ["Second", "Merge feature", "Third"]);
    assert_eq!(between[1].parents.len(), 2);
    assert_eq!(between[2].author, "Ada");
    assert_eq!(between[2], rig.mirror.info(&last).unwrap());
    assert_eq!(rig.mirror.commits_between(&last, &last).unwrap(), []);
}

#[test]
fn a_commit_that_is_not_there_is_named() {
    let rig = Rig::new();
    let here = rig.fetch().unwrap().base;
    let gone = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    assert!(!rig.mirror.has(&gone));
    for error in [
        rig.mirror.info(&gone).unwrap_err(),
        rig.mirror.ancestry(&gone, &here).unwrap_err(),
        rig.mirror.merge(&here, &gone).unwrap_err(),
    ] {
        assert!(
            matches!(&error, SourceError::NoSuchCommit { commit, .. } if *commit == gone),
            "{error:?}"
        );
    }
}

#[test]
fn a_damaged_mirror_is_put_aside_and_made_anew() {
    let rig = Rig::new();
    rig.fetch().unwrap();
    let path = rig.top().join("mirror");
    let damage: [&dyn Fn(); 4] = [
        &|| std::fs::write(path.join("HEAD"), "garbage").unwrap(),
        &|| {
            for pack in std::fs::read_dir(path.join("objects/pack")).unwrap() {
                std::fs::remove_file(pack.unwrap().path()).unwrap();
            }
        },
        &|| std::fs::remove_dir_all(path.join("objects")).unwrap(),
        &|| {
            std::fs::remove_dir_all(&path).unwrap();
            std::fs::write(&path, "a file").unwrap();
        },
    ];
    for (number, damage) in (1..).zip(damage) {
        damage();
        let mirror = Mirror::open(&path).unwrap();
        assert!(rig.top().join(format!("mirror.broken-{number}")).exists());
        assert_eq!(mirror.base(&main()).unwrap(), None);
        rig.fetch().unwrap();
        assert!(mirror.has(&rig.sha("main")));
    }
    Mirror::open(&path).unwrap();
    assert!(
        !rig.top().join("mirror.broken-5").exists(),
        "a sound mirror stays"
    );
}

#[test]
fn what_a_killed_fetch_left_is_cleared_away() {
    let rig = Rig::new();
    rig.fetch().unwrap();
    let mirror = rig.top().join("mirror");
    let leftovers = [
        mirror.join("refs/mainstay/base/main.lock"),
        mirror.join("packed-refs.lock"),
        mirror.join("objects/pack/pack_git2_0123456789"),
    ];
    for leftover in &leftovers {
        std::fs::write(leftover, "").unwrap();
    }
    let head = rig.commit(&[("a", "1")], "Second");
    assert_eq!(rig.fetch().unwrap().base, head);
    assert!(leftovers.iter().all(|leftover| !leftover.exists()));
}

#[test]
fn fetches_at_the_same_time_wait_for_each_other() {
    let rig = Rig::new();
    for n in 0..20 {
        rig.git(&["branch", &format!("b{n}")]);
    }
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| rig.fetch().map(drop)))
            .collect();
        for fetch in fetches {
            fetch.join().unwrap().unwrap();
        }
    });
    assert_eq!(rig.mirror.proposals().unwrap().len(), 20);
}

#[test]
fn a_branch_that_is_no_commit_is_no_proposal() {
    let rig = Rig::new();
    let blob = rig.git(&["hash-object", "-w", "main.tf"]);
    rig.git(&["update-ref", "refs/pull/1/head", &blob]);
    rig.git(&["update-ref", "refs/pull/2/head", "main"]);
    let fetched = rig
        .mirror
        .fetch(&rig.remote(), &main(), "refs/pull/*/head", Heads::All)
        .unwrap();
    assert_eq!(fetched.proposals.into_keys().collect::<Vec<_>>(), ["2"]);
}

#[test]
fn tidying_leaves_few_packs_and_loses_nothing() {
    let rig = Rig::new();
    rig.fetch().unwrap();
    assert_eq!(rig.mirror.tidy().unwrap(), Tidied::Nothing);
    let mut commits = Vec::new();
    for n in 0..60 {
        commits.push(rig.commit(&[("a", &n.to_string())], "More"));
        rig.fetch().unwrap();
    }
    rig.git(&["checkout", "-q", "-b", "side", "HEAD~5"]);
    rig.commit(&[("b", "1")], "Side");
    rig.fetch().unwrap();
    let merged = rig
        .mirror
        .merge(&rig.sha("main"), &rig.sha("side"))
        .unwrap();
    let Merge::Clean(merged) = merged else {
        panic!("{merged:?}")
    };
    let leftover = rig.top().join("mirror/tidying-x");
    std::fs::create_dir(&leftover).unwrap();

    assert!(matches!(
        rig.mirror.tidy().unwrap(),
        Tidied::Packed {
            packs: 50..,
            loose: 1..
        }
    ));
    let files = std::fs::read_dir(rig.top().join("mirror/objects/pack"))
        .unwrap()
        .count();
    assert_eq!(files, 2, "one pack and its index");
    assert!(!leftover.exists());
    for commit in &commits {
        let tree = rig
            .mirror
            .tree(&rig.mirror.tree_of(commit).unwrap())
            .unwrap();
        assert!(tree.read("a").is_ok());
    }
    assert_eq!(rig.mirror.tree(&merged).unwrap().read("b").unwrap(), b"1");
    let head = rig.commit(&[("c", "1")], "After");
    rig.fetch().unwrap();
    assert!(rig.mirror.has(&head));
}

#[test]
fn a_mirror_that_many_make_at_once_is_one() {
    let rig = Rig::new();
    let path = rig.top().join("deep/new");
    std::thread::scope(|scope| {
        let opens: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Mirror::open(&path).map(drop)))
            .collect();
        for open in opens {
            open.join().unwrap().unwrap();
        }
    });
    assert_eq!(
        std::fs::read_dir(rig.top().join("deep")).unwrap().count(),
        1
    );
}

#[test]
fn a_mirror_is_not_taken_for_damaged_while_it_is_fetched() {
    let rig = Rig::new();
    let path = rig.top().join("mirror");
    for round in 0..5 {
        for n in 0..30 {
            rig.git(&["branch", "-f", &format!("b{round}-{n}"), "main"]);
        }
        std::thread::scope(|scope| {
            let fetch = scope.spawn(|| rig.fetch().map(drop));
            while !fetch.is_finished() {
                Mirror::open(&path).unwrap();
            }
            fetch.join().unwrap().unwrap();
        });
        rig.git(&[
            "for-each-ref",
            "--shell",
            "--format=git update-ref -d %(refname)",
            "refs/heads/b*",
        ])
        .lines()
        .for_each(|line| {
            let name = line.rsplit(' ').next().unwrap().trim_matches('\'');
            rig.git(&["update-ref", "-d", name]);
        });
    }
    assert!(!rig.top().join("mirror.broken-1").exists());
}
