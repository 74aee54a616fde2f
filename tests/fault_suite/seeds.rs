//! Chance that can be replayed: one number decides what a run does.
//!
//! Two runs with one seed do the same things in the same order. When exactly each of them
//! happens is the machine's to say, so that what comes of them may differ.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The variable that names the seed of a run; without it the clock gives one.
pub(crate) const SEED: &str = "MAINSTAY_FAULT_SEED";

/// The variable that says how often the random run kills, instead of 300 times.
pub(crate) const KILLS: &str = "MAINSTAY_FAULT_KILLS";

/// The seed of this run, of the environment or of the clock.
pub(crate) fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // Six digits are enough to differ, and can be typed.
        since.map_or(0, |since| u64::from(since.subsec_micros()))
    })
}

/// How often the random run kills.
pub(crate) fn kills() -> usize {
    number(KILLS).map_or(300, |kills| {
        usize::try_from(kills).expect("the kills can be counted")
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name} is `{text}`, which is no whole number: {error}"),
    }
}

/// A source of numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// One for the part of a run that has this number.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        let mut chance = Self(seed);
        let first = chance.next();
        Self(first ^ part.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which is not empty.
    pub(crate) fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A place in a list of that length, which is not empty.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).expect("a length is a number");
        usize::try_from(self.of(0..length)).expect("it is less than a length")
    }

    /// One of them.
    pub(crate) fn one<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.index(all.len())]
    }

    /// Whether something happens that happens so often in a hundred.
    pub(crate) fn happens(&mut self, in_a_hundred: u64) -> bool {
        self.of(0..100) < in_a_hundred
    }

    /// So many milliseconds.
    pub(crate) fn milliseconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }
}

#[test]
fn one_seed_gives_one_run_and_another_part_another() {
    let draw = |seed, part| {
        let mut chance = Chance::new(seed, part);
        (0..8).map(|_| chance.of(0..1000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7, 1), draw(7, 1));
    assert_ne!(draw(7, 1), draw(7, 2));
    assert_ne!(draw(7, 1), draw(8, 1));
}
