//! The command of `bwrap`: namespaces of a run's own, and a disk with nothing on it but what is named.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::toolchain::{OPENSSL, PROGRAMS, SETTINGS};
use super::{Confinement, Lifetime, Network};

/// What stands at a place of the new disk.
#[derive(Debug, PartialEq, Eq)]
enum Mount {
    /// A link with this target.
    Link(PathBuf),
    /// What is at this path outside, to be read.
    Read(PathBuf),
    /// What is at this path outside, to be written.
    Write(PathBuf),
}

/// `bwrap` with all its arguments; `program` and its own follow.
///
/// Its environment must be empty but for what the run may see: a process in the sandbox reads that
/// of `bwrap` in `/proc/1/environ`, whatever `--clearenv` says.
///
/// Where the run has not the machine's network, `helper` is what follows, and starts the program.
pub(super) fn command(
    bwrap: &Path,
    helper: &Path,
    program: &Path,
    confinement: &Confinement,
) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![bwrap.into()];
    let mut add = |words: &[&str]| argv.extend(words.iter().map(OsString::from));
    add(&[
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        // Root would keep every right in its namespace, and could make a read-only mount writable.
        "--cap-drop",
        "ALL",
    ]);
    match confinement.lifetime {
        Lifetime::WithParent => add(&["--die-with-parent"]),
        Lifetime::OnItsOwn => {}
    }
    if confinement.network == Network::Door {
        add(&["--unshare-net"]);
    }
    add(&["--proc", "/proc", "--dev", "/dev"]);
    // A `tmpfs` would be memory that no limit counts: the private folder serves as `/tmp` too.
    argv.push("--bind".into());
    argv.push(confinement.tmp_dir.clone().into());
    argv.push("/tmp".into());
    let mut mounts = mounts(program, confinement);
    if confinement.network != Network::Shared {
        mounts.insert(helper.to_owned(), Mount::Read(helper.to_owned()));
    }
    for (place, mount) in mounts {
        match mount {
            Mount::Link(target) => argv.extend(["--symlink".into(), target.into()]),
            Mount::Read(source) => argv.extend(["--ro-bind-try".into(), source.into()]),
            Mount::Write(source) => argv.extend(["--bind-try".into(), source.into()]),
        }
        argv.push(place.into());
    }
    // The new disk's own folders are memory, too: nothing is written there.
    for made in ["/dev", "/"] {
        argv.extend(["--remount-ro".into(), made.into()]);
    }
    argv.push("--chdir".into());
    argv.push(confinement.cwd.clone().into());
    argv.push("--".into());
    argv
}

/// What stands where, a folder before what is in it.
fn mounts(program: &Path, confinement: &Confinement) -> BTreeMap<PathBuf, Mount> {
    let mut mounts = BTreeMap::new();
    for top in PROGRAMS.map(Path::new) {
        match fs::symlink_metadata(top) {
            Ok(metadata) if metadata.is_symlink() => {
                if let Ok(target) = fs::read_link(top) {
                    mounts.insert(top.to_owned(), Mount::Link(target));
                }
            }
            Ok(_) => {
                mounts.insert(top.to_owned(), Mount::Read(top.to_owned()));
            }
            Err(_) => {}
        }
    }
    for setting in SETTINGS.iter().copied().chain([OPENSSL]).map(Path::new) {
        // Often a link to a place that is not there inside, as `/run/systemd/resolve`.
        if let Ok(real) = setting.canonicalize() {
            mounts.insert(setting.to_owned(), Mount::Read(real));
        }
    }
    let has = |mounts: &BTreeMap<PathBuf, Mount>, path: &Path| {
        path.ancestors().any(|above| mounts.contains_key(above))
    };
    // Where it is a link, its target has to be there as well.
    for path in [program.canonicalize().ok(), Some(program.to_owned())]
        .into_iter()
        .flatten()
    {
        if !has(&mounts, &path) {
            mounts.insert(path.clone(), Mount::Read(path));
        }
    }
    for path in &confinement.read {
        // Laying a part of `/usr` over itself gains nothing, and fails where a link is on the way.
        if !has(&mounts, path) {
            mounts.insert(path.clone(), Mount::Read(path.clone()));
        }
    }
    for path in confinement.write.iter().chain([&confinement.tmp_dir]) {
        mounts.insert(path.clone(), Mount::Write(path.clone()));
    }
    // Ordered by their parts, so that `/a/b` comes after `/a`.
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(lifetime: Lifetime) -> Vec<String> {
        arguments_with(lifetime, Network::Shared)
    }

    fn arguments_with(lifetime: Lifetime, network: Network) -> Vec<String> {
        let confinement = Confinement {
            cwd: "/data/checkout/network".into(),
            tmp_dir: "/tmp/mst-x".into(),
            read: vec!["/data/states/one".into(), "/usr/share/x".into()],
            write: vec!["/data/states/one/inner".into(), "/data/checkout".into()],
            lifetime,
            network,
        };
        command(
            Path::new("bwrap"),
            Path::new("/opt/bin/mainstay"),
            Path::new("/opt/bin/terraform"),
            &confinement,
        )
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect()
    }

    fn at(arguments: &[String], words: &[&str]) -> usize {
        arguments
            .windows(words.len())
            .position(|window| window == words)
            .unwrap_or_else(|| panic!("{words:?} is not in {arguments:?}"))
    }

    #[test]
    fn an_inner_folder_is_laid_over_the_outer_one() {
        let arguments = arguments(Lifetime::WithParent);
        let outer = ["--ro-bind-try", "/data/states/one", "/data/states/one"];
        let inner = [
            "--bind-try",
            "/data/states/one/inner",
            "/data/states/one/inner",
        ];
        assert!(at(&arguments, &outer) < at(&arguments, &inner));
    }

    #[test]
    fn a_plan_dies_with_its_parent_and_an_apply_does_not() {
        let dies = |lifetime| arguments(lifetime).contains(&"--die-with-parent".to_owned());
        assert!(dies(Lifetime::WithParent));
        assert!(!dies(Lifetime::OnItsOwn));
    }

    #[test]
    fn root_inside_has_no_rights_and_its_own_disk_is_not_written() {
        let arguments = arguments(Lifetime::OnItsOwn);
        at(&arguments, &["--cap-drop", "ALL"]);
        at(
            &arguments,
            &["--unshare-user", "--unshare-pid", "--unshare-ipc"],
        );
        let sealed = at(&arguments, &["--remount-ro", "/dev", "--remount-ro", "/"]);
        let last = arguments
            .iter()
            .rposition(|word| word.ends_with("bind-try"));
        assert!(last < Some(sealed));
        assert_eq!(arguments.last().map(String::as_str), Some("--"));
    }

    #[test]
    fn a_run_without_the_machines_network_is_started_by_our_own_program() {
        let shared = arguments(Lifetime::OnItsOwn);
        assert!(!shared.contains(&"--unshare-net".to_owned()));
        assert!(!shared.contains(&"/opt/bin/mainstay".to_owned()));
        let door = arguments_with(Lifetime::OnItsOwn, Network::Door);
        at(&door, &["--unshare-net"]);
        let helper = ["--ro-bind-try", "/opt/bin/mainstay", "/opt/bin/mainstay"];
        at(&door, &helper);
    }

    #[test]
    fn nothing_but_what_is_named_is_mounted() {
        let arguments = arguments(Lifetime::OnItsOwn);
        let sources = arguments
            .windows(2)
            .filter(|pair| pair[0].contains("bind"))
            .map(|pair| pair[1].as_str());
        for source in sources {
            assert!(
                !["/", "/data", "/etc", "/root", "/home", "/var"].contains(&source),
                "{source}"
            );
        }
        assert!(!arguments.contains(&"/usr/share/x".to_owned()));
        at(
            &arguments,
            &["--ro-bind-try", "/opt/bin/terraform", "/opt/bin/terraform"],
        );
    }
}
