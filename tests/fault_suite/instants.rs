//! Kills at random instants: of the daemon, of Terraform, of both; ends in order between them, and
//! in one of the worlds a forge that fails as well.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::checker;
use crate::covered::Covered;
use crate::forge::mishap;
use crate::record::Record;
use crate::seeds::{Chance, KILLS, SEED, kills, seed};
use crate::shim::Start;
use crate::stage::{Forge, Keeper, Stage};

/// So many worlds share the kills. Their runs mostly wait for each other's processes, and the
/// kills of one world do not disturb another.
const WORLDS: u64 = 3;

/// A life that waits for something ends without it after this time.
const LONG_LIFE: Duration = Duration::from_secs(2);

/// How often it looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[test]
fn kills_at_random_instants_lose_nothing_and_do_nothing_twice() {
    let (seed, kills) = (seed(), kills());
    let replay = format!("{SEED}={seed} {KILLS}={kills}");
    println!("{replay}");
    let worlds: Vec<_> = (0..WORLDS)
        .map(|part| {
            let shares = usize::try_from(WORLDS).expect("there are few");
            let more = usize::from(part < (kills % shares) as u64);
            let share = kills / shares + more;
            let first = if part == 0 {
                Keeper::Provider
            } else {
                Keeper::Commands
            };
            let forge = if part + 1 == WORLDS {
                Forge::Faulty
            } else {
                Forge::Honest
            };
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = runtime.expect("a runtime can be made");
                runtime.block_on(world(Chance::new(seed, part), share, first, forge))
            })
        })
        .collect();
    let ended: Vec<_> = worlds.into_iter().map(|world| world.join()).collect();
    let mut covered = Covered::default();
    let mut wrong = Vec::new();
    for ended in ended {
        let (of_world, complaints) =
            ended.unwrap_or_else(|_| panic!("a world did not come to its end: {replay}"));
        covered.add(of_world);
        wrong.extend(complaints);
    }
    println!("{covered}");
    assert!(wrong.is_empty(), "{replay}\n{}", wrong.join("\n"));
    let sum: usize = Blow::ALL
        .iter()
        .map(|blow| covered.count(blow.name()))
        .sum();
    assert_eq!(sum, kills);
}

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Daemon,
    Terraform,
    Both,
}

impl Blow {
    const ALL: [Self; 3] = [Self::Daemon, Self::Terraform, Self::Both];

    fn name(self) -> &'static str {
        match self {
            Self::Daemon => "killed: the daemon",
            Self::Terraform => "killed: Terraform",
            Self::Both => "killed: the daemon and all it started",
        }
    }
}

async fn world(
    mut chance: Chance,
    kills: usize,
    first: Keeper,
    forge: Forge,
) -> (Covered, Vec<String>) {
    let mut stage = Stage::new(first).await;
    stage.forge = forge;
    let mut covered = Covered::default();
    let began = Instant::now();
    for _ in 0..kills {
        if chance.happens(50) {
            stage.people(&mut chance);
        }
        if chance.happens(15) {
            stage.look_after();
        }
        if chance.happens(8) {
            // In order, and in the middle of whatever there is to do.
            let status = stage.s.stop();
            // One that has just begun does not listen yet, and has nothing to end.
            let ended = status.success() || status.signal() == Some(Signal::TERM.as_raw());
            assert!(ended, "{status}: {}", stage.s.log());
            covered.met("stopped in order: the daemon");
            stage.s.start();
        }
        if forge == Forge::Faulty && chance.happens(60) {
            let (called, fault) = mishap(&mut chance);
            stage.s.hub.fault(fault);
            covered.met(called);
        }
        let blow = match chance.of(0..100) {
            0..=79 => Blow::Daemon,
            80..=89 => Blow::Terraform,
            _ => Blow::Both,
        };
        let aim = match (blow, chance.of(0..10)) {
            (Blow::Terraform, 0..=4) | (_, 0) => Aim::AtTerraform,
            (Blow::Terraform, _) | (_, 1 | 2) => Aim::AtAnApply,
            (_, 3..=5) => Aim::AfterMore(chance.of(1..12)),
            _ => Aim::AtAnyTime,
        };
        live(&stage, aim, &mut chance).await;
        strike(&mut stage, blow, &mut chance, &mut covered);
    }
    stage.s.hub.clear_faults();
    println!("{kills} kills took {:?}", began.elapsed());
    stage.settle().await;
    println!("and the rest {:?}", began.elapsed());
    let wrong = checker::complaints(&stage);
    stage.s.end_of_many();
    (covered, wrong)
}

/// When a kill comes. Only by aiming can every instant be met on a machine of any speed.
#[derive(Debug, Clone, Copy)]
enum Aim {
    AtAnyTime,
    /// After so many more events and processes.
    AfterMore(u64),
    AtTerraform,
    AtAnApply,
}

/// Lets the daemon live until the kill shall come.
async fn live(stage: &Stage, aim: Aim, chance: &mut Chance) {
    let progress = || Record::open(&stage.s.data_dir()).map_or(0, |r| r.progress());
    let more = match aim {
        Aim::AtAnyTime => chance.milliseconds(50..400),
        Aim::AfterMore(more) => {
            let enough = progress() + i64::try_from(more).expect("it is small");
            until(|| progress() >= enough).await;
            chance.milliseconds(0..50)
        }
        Aim::AtTerraform => {
            until(|| !stage.shim.alive().is_empty()).await;
            chance.milliseconds(0..100)
        }
        Aim::AtAnApply => {
            let applies = || stage.shim.alive().iter().any(Start::applies);
            if !applies() {
                let place = chance.index(stage.places.len());
                let delay = chance.milliseconds(200..700);
                stage.push(stage.places[place].repo, &[place], delay);
            }
            until(applies).await;
            chance.milliseconds(0..250)
        }
    };
    tokio::time::sleep(more).await;
}

/// Waits for something, and not longer than a life lasts.
async fn until(come: impl Fn() -> bool) {
    let began = Instant::now();
    while !come() && began.elapsed() < LONG_LIFE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn strike(stage: &mut Stage, blow: Blow, chance: &mut Chance, covered: &mut Covered) {
    covered.met(blow.name());
    if let Blow::Terraform = blow {
        let what = stage.kill_terraform(chance);
        covered.met(match what {
            Some(step) => format!("Terraform at: {step}"),
            None => "Terraform at: nothing".to_owned(),
        });
        return;
    }
    stage.s.freeze();
    let standing = Record::open(&stage.s.data_dir()).map(|record| {
        let told = if record.tells() {
            vec!["something untold".to_owned()]
        } else {
            Vec::new()
        };
        [record.standing(), told].concat()
    });
    match standing.as_deref() {
        None | Some([]) => covered.met("the daemon at: nothing"),
        Some(standing) => standing
            .iter()
            .for_each(|what| covered.met(format!("the daemon at: {what}"))),
    }
    match blow {
        Blow::Both => stage.kill_everything(),
        _ => stage.s.kill(),
    }
    stage.s.start();
}
