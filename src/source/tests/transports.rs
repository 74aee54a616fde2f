//! Every way to reach a remote, and every way that it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rig::{
    Manners, Rig, Server, Silent, Version, all_of, fetch, git_output, main, remote, script,
};
use crate::modules::Tree;
use crate::redact::Secret;
use crate::source::error::Login;
use crate::source::{Heads, Mirror, Network, Remedy, RemoteAddress, SourceError};

/// What every transport has to do, over `url`.
fn carries(rig: &Rig, url: &str, network: Network) {
    let mirror = Mirror::open(&rig.top().join("other"))
        .unwrap()
        .with_network(network);
    rig.git(&["checkout", "-q", "-b", "feature/x"]);
    let feature = rig.commit(&[("x.tf", "x\n")], "Feature");
    rig.git(&["checkout", "-q", "main"]);

    let first = fetch(&mirror, &remote(url)).unwrap();
    assert_eq!(first.base, rig.sha("main"));
    assert_eq!(first.proposals["feature/x"], feature);
    assert_eq!(mirror.base(&main()).unwrap(), Some(first.base.clone()));
    let tree = mirror.tree(&mirror.tree_of(&feature).unwrap()).unwrap();
    assert_eq!(tree.read("x.tf").unwrap(), b"x\n");

    // Again, with nothing new.
    assert_eq!(fetch(&mirror, &remote(url)).unwrap(), first);

    // Again, with a change to a file that is there: a thin pack, where there are packs.
    let long: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
    rig.commit(&[("long.tf", &long)], "Long");
    fetch(&mirror, &remote(url)).unwrap();
    rig.commit(&[("long.tf", &(long + "more\n"))], "Longer");
    let last = fetch(&mirror, &remote(url)).unwrap();
    assert_eq!(last.base, rig.sha("main"));
    let tree = mirror.tree(&mirror.tree_of(&last.base).unwrap()).unwrap();
    assert!(tree.read("long.tf").unwrap().ends_with(b"more\n"));

    let heads = mirror.heads(&remote(url)).unwrap();
    assert_eq!(
        heads,
        [
            ("refs/heads/feature/x".to_owned(), feature),
            ("refs/heads/main".to_owned(), last.base)
        ]
    );
    let none = mirror.fetch(
        &remote(url),
        &"gone".parse().unwrap(),
        "refs/heads/*",
        Heads::All,
    );
    assert!(
        matches!(none, Err(SourceError::NoSuchBranch { .. })),
        "{none:?}"
    );
    let missing = mirror.heads(&remote(&url.replace("infra", "absent")));
    assert!(
        matches!(missing, Err(SourceError::NoSuchRepository { .. })),
        "{missing:?}"
    );
}

#[test]
fn a_path_carries_commits() {
    let rig = Rig::new();
    carries(&rig, rig.repo().to_str().unwrap(), Network::default());
}

#[test]
fn a_file_url_carries_commits() {
    let rig = Rig::new();
    carries(
        &rig,
        &format!("file://{}", rig.repo().display()),
        Network::default(),
    );
}

#[test]
fn http_carries_commits() {
    let rig = Rig::new();
    let server = Server::start(rig.top(), Manners::default());
    carries(&rig, &server.url("infra/.git"), Network::default());
}

#[test]
fn http_carries_commits_in_the_old_protocol() {
    let rig = Rig::new();
    let server = Server::start(
        rig.top(),
        Manners {
            version: Version::Zero,
            ..Manners::default()
        },
    );
    carries(&rig, &server.url("infra/.git"), Network::default());
}

#[test]
fn https_carries_commits_where_the_certificate_is_trusted() {
    let rig = Rig::new();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let server = Server::start_tls(rig.top(), Arc::new(config));
    let untrusted = rig.mirror.heads(&remote(&server.url("infra/.git")));
    assert!(
        matches!(untrusted, Err(SourceError::Unreachable { .. })),
        "{untrusted:?}"
    );
    let network = Network::default().with_roots(vec![cert.der().clone()]);
    carries(&rig, &server.url("infra/.git"), network);
}

/// A stand-in for `ssh` that runs the command here, and notes how it was called.
fn ssh(rig: &Rig, before: &str) -> Network {
    let program = rig.top().join("ssh");
    let log = rig.top().join("ssh.log");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >> '{}'\n{before}\nfor last; do :; done\nexec sh -c \"$last\"\n",
        log.display()
    );
    script(&program, &text);
    Network::default().with_ssh(program)
}

#[test]
fn ssh_carries_commits_and_gets_nothing_that_could_be_an_option() {
    let rig = Rig::new();
    let network = ssh(&rig, "");
    carries(
        &rig,
        &format!("ssh://git@host.example:2222{}", rig.repo().display()),
        network,
    );
    let log = std::fs::read_to_string(rig.top().join("ssh.log")).unwrap();
    let first: Vec<&str> = log.lines().take(11).collect();
    let upload = format!("git-upload-pack '{}'", rig.repo().display());
    assert_eq!(
        first,
        [
            "-o",
            "BatchMode=yes",
            "-o",
            "SendEnv=GIT_PROTOCOL",
            "-o",
            "ConnectTimeout=30",
            "-p",
            "2222",
            "--",
            "git@host.example",
            &upload,
        ]
    );
}

#[test]
fn ssh_carries_commits_in_the_old_protocol() {
    let rig = Rig::new();
    let network = ssh(&rig, "unset GIT_PROTOCOL");
    carries(&rig, &format!("git@host:{}", rig.repo().display()), network);
}

#[test]
fn a_path_with_quotes_reaches_the_other_end_of_ssh_unharmed() {
    let rig = Rig::new();
    let odd = rig.top().join("it's $(touch pwned) x");
    std::fs::rename(rig.repo(), &odd).unwrap();
    let mirror = rig.mirror.clone().with_network(ssh(&rig, ""));
    let heads = mirror
        .heads(&remote(&format!("host:{}", odd.display())))
        .unwrap();
    assert_eq!(heads.len(), 1);
    assert!(!rig.top().join("pwned").exists());
}

#[test]
fn what_ssh_complains_of_decides_the_error() {
    let rig = Rig::new();
    let complain = |words: &str| {
        let network = ssh(&rig, &format!("echo '{words}' >&2; exit 255"));
        rig.mirror
            .clone()
            .with_network(network)
            .heads(&remote("git@host:infra"))
            .unwrap_err()
    };
    let refused = complain("git@host: Permission denied (publickey).");
    assert!(
        matches!(
            refused,
            SourceError::AuthRefused {
                login: Login::Ssh,
                ..
            }
        ),
        "{refused}"
    );
    let refused = complain("Host key verification failed.");
    assert!(
        matches!(refused, SourceError::AuthRefused { .. }),
        "{refused}"
    );
    let missing = complain("ERROR: Repository not found.");
    assert!(
        matches!(missing, SourceError::NoSuchRepository { .. }),
        "{missing}"
    );
    let unreachable = complain("ssh: Could not resolve hostname host: Name or service not known");
    assert!(
        matches!(unreachable, SourceError::Unreachable { .. }),
        "{unreachable}"
    );
    assert!(all_of(&unreachable).contains("Could not resolve hostname"));
    let missing = rig
        .mirror
        .clone()
        .with_network(Network::default().with_ssh("/nonexistent/ssh"));
    let missing = missing.heads(&remote("git@host:infra")).unwrap_err();
    assert!(all_of(&missing).contains("/nonexistent/ssh"), "{missing}");
}

fn with_login(url: String, password: &str) -> RemoteAddress {
    RemoteAddress {
        url,
        login: Some(("bot".to_owned(), Secret::new(password))),
    }
}

/// `bot:hunter2`
const HUNTER2: &str = "Basic Ym90Omh1bnRlcjI=";

#[test]
fn credentials_are_sent_at_once_and_wrong_ones_end_at_once() {
    let rig = Rig::new();
    let manners = Manners {
        authorization: Some(HUNTER2.to_owned()),
        ..Manners::default()
    };
    let server = Server::start(rig.top(), manners);
    let url = server.url("infra/.git");

    fetch(&rig.mirror, &with_login(url.clone(), "hunter2")).unwrap();
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some(HUNTER2))
    );

    let before = server.seen().len();
    let wrong = fetch(&rig.mirror, &with_login(url.clone(), "swordfish")).unwrap_err();
    assert!(
        matches!(&wrong, SourceError::AuthRefused { login: Login::User(user), .. } if user == "bot")
    );
    assert_eq!(server.seen().len(), before + 1, "it was tried again");
    assert_eq!(wrong.remedy(), Remedy::AskHuman);

    let nobody = fetch(&rig.mirror, &remote(&url)).unwrap_err();
    assert!(
        matches!(
            nobody,
            SourceError::AuthRefused {
                login: Login::Nobody,
                ..
            }
        ),
        "{nobody}"
    );
}

#[test]
fn no_error_holds_the_password() {
    let rig = Rig::new();
    let closed = "http://127.0.0.1:9/infra".to_owned();
    let refusing = Server::start(
        rig.top(),
        Manners {
            authorization: Some("Basic x".to_owned()),
            ..Manners::default()
        },
    );
    let failing = Server::start(
        rig.top(),
        Manners {
            fixed: Some(("503 Busy", "come back")),
            ..Manners::default()
        },
    );
    let cutting = Server::start(
        rig.top(),
        Manners {
            cut: Some(60),
            ..Manners::default()
        },
    );
    let urls = [
        closed,
        refusing.url("infra/.git"),
        failing.url("infra/.git"),
        cutting.url("infra/.git"),
        "http://bot:swordfish@127.0.0.1:9/x".to_owned(),
        "nothing://swordfish@x".to_owned(),
    ];
    for url in urls {
        let error = fetch(&rig.mirror, &with_login(url.clone(), "swordfish")).unwrap_err();
        let text = all_of(&error);
        // `bot:swordfish` in base64.
        assert!(
            !text.contains("swordfish") && !text.contains("Ym90OnN3b3JkZmlzaA"),
            "{text}"
        );
    }
}

#[test]
fn a_redirect_on_the_same_server_keeps_the_credentials() {
    let rig = Rig::new();
    let moved = Server::start(
        rig.top(),
        Manners {
            redirect: Some("/infra/.git".to_owned()),
            ..Manners::default()
        },
    );
    // It redirects for ever, with credentials every time.
    let error = fetch(&rig.mirror, &with_login(moved.url("old/.git"), "hunter2")).unwrap_err();
    assert!(
        error.to_string().contains("redirects more than 5 times"),
        "{error}"
    );
    assert!(
        moved
            .seen()
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some(HUNTER2))
    );
    assert_eq!(
        moved.seen()[1].target,
        "/infra/.git/info/refs?service=git-upload-pack"
    );
}

#[test]
fn a_redirect_to_another_server_is_followed_without_the_credentials() {
    let rig = Rig::new();
    let other = Server::start(rig.top(), Manners::default());
    let manners = Manners {
        redirect: Some(other.url("infra/.git")),
        ..Manners::default()
    };
    let server = Server::start(rig.top(), manners);
    fetch(&rig.mirror, &with_login(server.url("old"), "hunter2")).unwrap();
    assert!(server.seen()[0].authorization.is_some());
    assert!(other.seen().len() >= 2, "greeting and pack come from there");
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[test]
fn a_login_page_is_no_repository() {
    let rig = Rig::new();
    let page = Server::start(
        rig.top(),
        Manners {
            fixed: Some(("200 OK", "<html>log in</html>")),
            ..Manners::default()
        },
    );
    let error = rig.mirror.heads(&remote(&page.url("infra"))).unwrap_err();
    assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
    let busy = Server::start(
        rig.top(),
        Manners {
            fixed: Some(("503 Busy", "come\nback \u{1b}[31mlater")),
            ..Manners::default()
        },
    );
    let error = rig.mirror.heads(&remote(&busy.url("infra"))).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("503 Service Unavailable come back [31mlater"),
        "{error}"
    );
    assert_eq!(error.remedy(), Remedy::Retry);
}

#[test]
fn a_transfer_that_breaks_off_changes_nothing_and_can_be_repeated() {
    let rig = Rig::new();
    let before = rig.fetch().unwrap();
    let noise: String = (0..20_000)
        .map(|n| format!("{}\n", n * 7919 % 10_007))
        .collect();
    rig.commit(&[("noise", &noise)], "Noise");
    let whole = Server::start(rig.top(), Manners::default());
    for cut in [0, 3, 30, 500, 5_000] {
        let server = Server::start(
            rig.top(),
            Manners {
                cut: Some(cut),
                ..Manners::default()
            },
        );
        // The listing is a POST as well in the newer protocol, so that some cuts end that one.
        let error = fetch(&rig.mirror, &remote(&server.url("infra/.git"))).unwrap_err();
        assert!(
            matches!(error, SourceError::Interrupted { .. }),
            "{cut}: {error:?}"
        );
        assert_eq!(error.remedy(), Remedy::Retry);
        assert_eq!(rig.mirror.base(&main()).unwrap(), Some(before.base.clone()));
    }
    let packs = std::fs::read_dir(rig.top().join("mirror/objects/pack")).unwrap();
    let names: Vec<_> = packs
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().all(|name| name.starts_with("pack-")),
        "{names:?}"
    );
    let after = fetch(&rig.mirror, &remote(&whole.url("infra/.git"))).unwrap();
    assert_eq!(after.base, rig.sha("main"));
}

#[test]
fn silence_ends() {
    let rig = Rig::new();
    let patience = Duration::from_millis(300);
    let started = Instant::now();
    let server = Server::start(
        rig.top(),
        Manners {
            silent: Silent::Yes,
            ..Manners::default()
        },
    );
    let mirror = rig
        .mirror
        .clone()
        .with_network(Network::default().with_patience(patience));
    let error = mirror.heads(&remote(&server.url("infra"))).unwrap_err();
    assert!(
        matches!(error, SourceError::Unreachable { .. }),
        "{error:?}"
    );

    let network = ssh(&rig, "exec sleep 60").with_patience(patience);
    let error = rig
        .mirror
        .clone()
        .with_network(network)
        .heads(&remote("h:x"))
        .unwrap_err();
    assert!(
        matches!(error, SourceError::Interrupted { .. }),
        "{error:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn nobody_listening_is_unreachable() {
    let rig = Rig::new();
    let error = rig
        .mirror
        .heads(&remote("http://127.0.0.1:9/infra"))
        .unwrap_err();
    assert!(
        matches!(error, SourceError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "cannot reach http://127.0.0.1:9/infra to list its branches; \
         check the address, the network, and any proxy in between"
    );
}

#[test]
fn a_repository_with_sha256_is_refused_in_words() {
    let rig = Rig::new();
    let dir = rig.top().join("sha256");
    std::fs::create_dir(&dir).unwrap();
    let made = git_output(&dir, &["init", "-q", "--object-format=sha256"]);
    assert!(made.status.success());
    let server = Server::start(rig.top(), Manners::default());
    let error = rig
        .mirror
        .heads(&remote(&server.url("sha256/.git")))
        .unwrap_err();
    assert!(error.to_string().contains("sha256"), "{error}");
}
