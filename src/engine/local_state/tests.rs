use super::*;

struct Rig {
    folder: tempfile::TempDir,
    state: KeptState,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::of(folder.path(), None);
        keys.ready().unwrap();
        let state = KeptState {
            path: folder.path().join("states/a/s.tfstate"),
            keys,
            repo: "acme/infra".parse().unwrap(),
            workspace: "network".parse().unwrap(),
            commit: Some("c".repeat(40)),
        };
        state.prepare().unwrap();
        Self { folder, state }
    }

    /// One whose state has that serial number.
    fn with(serial: u64) -> Self {
        let rig = Self::new();
        rig.put(serial);
        rig
    }

    /// Has an apply leave that state.
    fn put(&self, serial: u64) {
        fs::write(self.state.opened(), state(serial)).unwrap();
        self.state.settle(1).unwrap();
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn look(&self) -> Condition {
        self.state.look(&self.copy()).unwrap()
    }

    /// Whether no file of the state's folder holds anything in the clear.
    fn is_at_rest(&self) -> bool {
        let mut open = vec![self.folder.path().join("states")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("xyzzy") {
                    return false;
                }
            }
        }
        true
    }
}

fn state(serial: u64) -> String {
    format!(
        r#"{{"version":4,"serial":{serial},"lineage":"l","resources":[],"outputs":{{"p":{{"value":"xyzzy"}}}}}}"#
    )
}

#[test]
fn an_empty_or_cut_state_is_corrupt() {
    let rig = Rig::new();
    assert_eq!(rig.look(), Condition::Absent);
    assert!(!rig.copy().exists());
    fs::write(rig.state.opened(), state(7)).unwrap();
    assert_eq!(rig.look(), Condition::Sound(7));
    for bad in ["", "{", "{}", "not a state", &state(7)[..40]] {
        fs::write(rig.state.opened(), bad).unwrap();
        assert_eq!(rig.look(), Condition::Corrupt, "{bad:?}");
        // It is not sealed in the place of a whole one either.
        rig.state.settle(1).unwrap();
        assert!(rig.state.opened().exists() && !rig.state.sealed().exists());
    }
}

#[test]
fn a_state_that_rests_is_sealed_and_a_plan_gets_it_as_it_was() {
    let rig = Rig::with(7);
    assert!(rig.is_at_rest());
    assert!(!rig.state.opened().exists());
    assert_eq!(rig.look(), Condition::Sound(7));
    assert_eq!(fs::read_to_string(rig.copy()).unwrap(), state(7));
    let mode = fs::metadata(rig.copy()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mark = mark(&rig.state.path).unwrap();
    assert_eq!((mark.lineage.as_str(), mark.serial), ("l", 7));
}

/// Does the steps of an apply up to `step`, in the order of the table above, and stops there as a
/// kill would.
fn apply_killed_after(step: usize, rig: &Rig) {
    let KeptState { keys, .. } = &rig.state;
    let opened = rig.state.opened();
    let aside = rig.folder.path().join("states/a/s.tfstate.sealed.new");
    let steps: [&dyn Fn(); 7] = [
        &|| _ = rig.state.keep(7, 1000).unwrap(),
        &|| rig.state.open().unwrap(),
        &|| fs::write(&opened, state(8)).unwrap(),
        &|| fs::write(&aside, "mainstay sealed 1\nhalf").unwrap(),
        &|| {
            let head = read_head(&opened).unwrap();
            let label = rig.state.label(Kind::State, head);
            keys.seal(&opened, &rig.state.sealed(), &label).unwrap();
        },
        &|| remove(&opened).unwrap(),
        &|| {},
    ];
    for done in &steps[..step] {
        done();
    }
}

#[test]
fn a_kill_between_any_two_steps_of_an_apply_loses_nothing() {
    for step in 0..=7 {
        let rig = Rig::with(7);
        apply_killed_after(step, &rig);
        // Readers without the workspace see it before it is settled, too.
        let serial = if step < 3 { 7 } else { 8 };
        assert_eq!(rig.look(), Condition::Sound(serial), "after step {step}");
        assert_eq!(mark(&rig.state.path).unwrap().serial, serial);
        for _ in 0..2 {
            rig.state.settle(2000).unwrap();
            assert_eq!(rig.look(), Condition::Sound(serial), "after step {step}");
            assert_eq!(fs::read_to_string(rig.copy()).unwrap(), state(serial));
        }
        assert!(rig.is_at_rest(), "after step {step}");
        let versions = versions(&rig.state.path).unwrap();
        assert_eq!(versions.len(), usize::from(step > 0));
    }
}

#[test]
fn a_kill_in_the_middle_of_terraforms_write_puts_the_version_back_and_that_is_noted() {
    let rig = Rig::with(7);
    apply_killed_after(2, &rig);
    let whole = state(8);
    let cut = &whole[..whole.len() - 2];
    fs::write(rig.state.opened(), cut).unwrap();
    rig.state.settle(2000).unwrap();
    assert_eq!(rig.look(), Condition::Corrupt);
    let kept = versions(&rig.state.path).unwrap().remove(0);
    assert_eq!(restored(&rig.state.path), None);
    rig.state.restore(&kept, 2000).unwrap();
    assert_eq!(rig.look(), Condition::Sound(7));
    assert_eq!(
        restored(&rig.state.path).as_deref(),
        Some("s.tfstate.7-1000.backup")
    );
    assert!(rig.is_at_rest());
    let damaged = sealed_name(&rig.state.beside(".2000.damaged"));
    let mut was = Vec::new();
    rig.state.keys.show(&damaged, &mut was).unwrap();
    assert_eq!(String::from_utf8(was).unwrap(), cut);
    is_whole_again(&rig.state.path).unwrap();
    is_whole_again(&rig.state.path).unwrap();
    assert_eq!(restored(&rig.state.path), None);
}

#[test]
fn a_damaged_seal_makes_way_for_the_newest_version() {
    let rig = Rig::with(7);
    let kept = rig.state.keep(7, 1000).unwrap();
    fs::write(rig.state.sealed(), "mainstay").unwrap();
    assert_eq!(rig.look(), Condition::Corrupt);
    rig.state.restore(&kept, 2000).unwrap();
    assert_eq!(rig.look(), Condition::Sound(7));
}

#[test]
fn a_state_that_was_kept_in_the_clear_is_sealed_with_its_versions() {
    let rig = Rig::new();
    fs::write(&rig.state.path, state(7)).unwrap();
    fs::write(rig.state.beside(".6-1000.backup"), state(6)).unwrap();
    assert_eq!(rig.look(), Condition::Sound(7));
    rig.state.settle_former().unwrap();
    assert!(rig.is_at_rest());
    assert_eq!(rig.look(), Condition::Sound(7));
    let kept = versions(&rig.state.path).unwrap();
    assert_eq!(kept.len(), 1);
    let mut version = Vec::new();
    rig.state.keys.show(&kept[0], &mut version).unwrap();
    assert_eq!(String::from_utf8(version).unwrap(), state(6));
}

#[test]
fn a_state_in_the_clear_that_does_not_continue_the_sealed_one_stops_the_run() {
    let rig = Rig::with(7);
    for other in [state(6), state(9).replace("\"l\"", "\"other\"")] {
        fs::write(&rig.state.path, &other).unwrap();
        rig.state.settle(1).unwrap_err();
        assert_eq!(fs::read_to_string(&rig.state.path).unwrap(), other);
    }
    fs::write(&rig.state.path, state(8)).unwrap();
    rig.state.settle(1).unwrap();
    assert_eq!(rig.look(), Condition::Sound(8));
}

#[test]
fn an_open_state_that_a_terraform_has_locked_is_left_alone() {
    let rig = Rig::with(7);
    rig.state.open().unwrap();
    // The kernel's locks of this kind are a process's: another one has to hold it.
    let code = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print(1,flush=True); sys.stdin.read()";
    let Ok(mut other) = std::process::Command::new("python3")
        .args(["-c", code])
        .arg(rig.state.opened())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    else {
        eprintln!("NOTE: not tested, there is no python3 to hold the lock");
        return;
    };
    let mut line = [0];
    io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert!(rig.state.is_being_written().unwrap());
    rig.state.settle(1).unwrap();
    assert!(rig.state.opened().exists());
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(!rig.state.is_being_written().unwrap());
    rig.state.settle(1).unwrap();
    assert!(!rig.state.opened().exists());
}

#[test]
fn the_newest_fifty_versions_are_kept_and_the_rest_dropped() {
    let rig = Rig::new();
    for number in 0..60_u64 {
        rig.put(number);
        let unix = 1000 + i64::try_from(number).unwrap();
        rig.state.keep(number, unix).unwrap();
    }
    let kept = versions(&rig.state.path).unwrap();
    assert_eq!(kept.len(), VERSIONS);
    assert!(kept[0].ends_with("s.tfstate.59-1059.backup.sealed"));
    let folder = rig.state.path.parent().unwrap();
    // The state, its versions and the folder for applies, nothing half made.
    assert_eq!(fs::read_dir(folder).unwrap().count(), VERSIONS + 2);
}

#[test]
fn the_folders_of_a_state_are_its_owners_alone() {
    let rig = Rig::new();
    for folder in rig.state.open_folder().ancestors().take(2) {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_state_by_hand_must_continue_the_kept_one() {
    let rig = Rig::with(7);
    let new = rig.folder.path().join("new");
    let push = |text: String, force| {
        fs::write(&new, text).unwrap();
        rig.state.push(&new, force, 1000, || Ok(()))
    };
    let other = state(9).replace("\"l\"", "\"other\"");
    assert!(matches!(
        push(state(7), Force::No),
        Err(PushError::Serial { .. })
    ));
    assert!(matches!(
        push(other, Force::No),
        Err(PushError::Lineage { .. })
    ));
    assert!(matches!(
        push("{}".into(), Force::Yes),
        Err(PushError::NoState { .. })
    ));
    assert_eq!(rig.look(), Condition::Sound(7));
    push(state(8), Force::No).unwrap();
    assert_eq!(rig.look(), Condition::Sound(8));
    push(state(2), Force::Yes).unwrap();
    assert_eq!(rig.look(), Condition::Sound(2));
    // What it replaced is kept.
    assert_eq!(versions(&rig.state.path).unwrap().len(), 2);
}

#[test]
fn a_state_by_hand_waits_for_an_apply() {
    let rig = Rig::with(7);
    rig.state.open().unwrap();
    let new = rig.folder.path().join("new");
    fs::write(&new, state(8)).unwrap();
    for force in [Force::No, Force::Yes] {
        let refused = rig.state.push(&new, force, 1000, || Ok(()));
        assert!(matches!(refused, Err(PushError::Open)));
    }
    // What an apply left cut may be replaced, by force.
    fs::write(rig.state.opened(), "").unwrap();
    rig.state
        .push(&new, Force::No, 1000, || Ok(()))
        .unwrap_err();
    rig.state.push(&new, Force::Yes, 1000, || Ok(())).unwrap();
    assert_eq!(rig.look(), Condition::Sound(8));
}
