//! Notes on commits, over every way to reach a remote.

use std::collections::BTreeMap;

use super::rig::{Manners, Rig, Server, git, remote, script};
use crate::clock::now;
use crate::id::CommitSha;
use crate::source::{Mirror, Network, Noted, SourceError};

const NAME: &str = "refs/notes/mainstay";

fn notes(of: &[(&CommitSha, &str)]) -> BTreeMap<CommitSha, String> {
    of.iter()
        .map(|(commit, text)| ((*commit).clone(), format!("{text}\n")))
        .collect()
}

/// What every transport has to do, over `url`.
fn carries_notes(rig: &Rig, url: &str, network: Network) {
    let mirror = rig.mirror.clone().with_network(network);
    rig.fetch().unwrap();
    let first = rig.sha("main");
    let write = |of| mirror.write_notes(&remote(url), NAME, of, now());

    let one = notes(&[(&first, "network: applied")]);
    assert_eq!(write(&one).unwrap(), Noted::Written);
    assert_eq!(write(&one).unwrap(), Noted::AsWanted, "it is there already");
    let log = rig.git(&["log", "-1", "--show-notes=mainstay", "main"]);
    assert!(log.contains("network: applied"), "{log}");

    // Somebody else writes a note of another commit there; both stay.
    rig.git(&["commit", "-q", "--allow-empty", "-m", "Second"]);
    rig.git(&["notes", "--ref=mainstay", "add", "-m", "by hand", "HEAD"]);
    let changed = notes(&[(&first, "network: failed")]);
    assert_eq!(write(&changed).unwrap(), Noted::Written);
    let log = rig.git(&["log", "-2", "--show-notes=mainstay", "main"]);
    assert!(
        log.contains("by hand") && log.contains("network: failed"),
        "{log}"
    );
    assert!(!log.contains("network: applied"), "{log}");
    // Each writing is a commit on top of the one before: nothing was forced.
    assert_eq!(rig.git(&["rev-list", "--count", NAME]).trim(), "3");
}

#[test]
fn a_path_takes_notes() {
    let rig = Rig::new();
    carries_notes(&rig, rig.repo().to_str().unwrap(), Network::default());
}

#[test]
fn http_takes_notes() {
    let rig = Rig::new();
    rig.git(&["config", "http.receivepack", "true"]);
    let server = Server::start(rig.top(), Manners::default());
    carries_notes(&rig, &server.url("infra/.git"), Network::default());
}

#[test]
fn ssh_takes_notes() {
    let rig = Rig::new();
    let program = rig.top().join("ssh");
    script(
        &program,
        "#!/bin/sh\nfor last; do :; done\nexec sh -c \"$last\"\n",
    );
    let url = format!("host:{}", rig.repo().display());
    carries_notes(&rig, &url, Network::default().with_ssh(program));
}

#[test]
fn a_server_that_takes_nothing_is_an_error_that_says_which_right_is_missing() {
    let rig = Rig::new();
    // Git's own server refuses who is not known to it.
    rig.git(&["config", "http.receivepack", "false"]);
    rig.fetch().unwrap();
    let server = Server::start(rig.top(), Manners::default());
    let one = notes(&[(&rig.sha("main"), "network: applied")]);
    let refused = rig
        .mirror
        .write_notes(&remote(&server.url("infra/.git")), NAME, &one, now())
        .unwrap_err();
    assert!(
        matches!(refused, SourceError::MayNotPush { .. }),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("right to write contents"),
        "{refused}"
    );
}

#[test]
fn a_hook_that_refuses_is_told_in_its_words() {
    let rig = Rig::new();
    let hooks = rig.repo().join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    script(&hooks.join("pre-receive"), "#!/bin/sh\nexit 1\n");
    rig.git(&["config", "http.receivepack", "true"]);
    rig.fetch().unwrap();
    let server = Server::start(rig.top(), Manners::default());
    let one = notes(&[(&rig.sha("main"), "network: applied")]);
    let refused = rig
        .mirror
        .write_notes(&remote(&server.url("infra/.git")), NAME, &one, now())
        .unwrap_err();
    assert!(refused.to_string().contains("hook declined"), "{refused}");
}

#[test]
fn notes_of_many_commits_are_written_at_once_and_read_by_git_however_many_there_are() {
    let rig = Rig::new();
    let mut wanted = BTreeMap::new();
    for number in 0..300 {
        rig.git(&["commit", "-q", "--allow-empty", "-m", &format!("{number}")]);
        wanted.insert(rig.sha("main"), format!("number {number}\n"));
    }
    rig.fetch().unwrap();
    let path = rig.repo();
    let url = remote(path.to_str().unwrap());
    let other = Mirror::open(&rig.top().join("other")).unwrap();
    rig.mirror.write_notes(&url, NAME, &wanted, now()).unwrap();
    assert_eq!(
        other.write_notes(&url, NAME, &wanted, now()).unwrap(),
        Noted::AsWanted
    );
    let shown = git(&path, &["notes", "--ref=mainstay", "show", "main~299"]);
    assert_eq!(shown, "number 0");
}
