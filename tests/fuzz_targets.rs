//! The fuzz targets, run on their corpus and on changes of it by a fixed seed. For longer runs:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz render`.

#[path = "fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

/// So many changed inputs are tried for each of the corpus.
const CHANGES: u64 = 60;

/// Runs a target on its corpus and on changes of it.
fn runs(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for (nth, file) in files.iter().enumerate() {
        let input = fs::read(file).unwrap();
        body(&input);
        for change in 0..CHANGES {
            body(&changed(&input, (nth as u64) << 32 | change));
        }
    }
}

/// An input with some bytes replaced, doubled, dropped or put in, by a seed.
fn changed(input: &[u8], seed: u64) -> Vec<u8> {
    /// What tends to matter to one of the readers.
    const TOKENS: [&[u8]; 14] = [
        b"`",
        b"```",
        b"<",
        b"-->",
        b"@all",
        b"\xff",
        b"\n",
        b"|",
        b"\"",
        b"{",
        b"}",
        b"\xe2\x80\xae",
        b"\x1b[2J",
        b"\0",
    ];
    let mut state = seed;
    let mut next = |below: usize| {
        // SplitMix64, by Guy Steele and others (2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below.max(1) as u64).unwrap()
    };
    let mut output = input.to_vec();
    for _ in 0..=next(6) {
        let at = next(output.len() + 1);
        let end = (at + next(8)).min(output.len());
        match next(3) {
            0 => drop(output.drain(at..end)),
            1 => {
                let again = output[at..end].to_vec();
                output.splice(at..at, again);
            }
            _ => drop(output.splice(at..at, TOKENS[next(TOKENS.len())].iter().copied())),
        }
    }
    output
}

#[test]
fn comments_are_commands_refusals_or_text() {
    runs("command", bodies::command);
}

#[test]
fn any_configuration_is_read_or_refused_with_its_file() {
    runs("configuration", bodies::configuration);
}

#[test]
fn any_hcl_leaves_a_workspace_within_its_repository() {
    runs("modules", bodies::modules);
}

#[test]
fn any_plan_is_read_whole_or_not_at_all() {
    runs("plan", bodies::plan);
}

#[test]
fn no_text_of_a_plan_becomes_structure_of_its_comment() {
    runs("render", bodies::render);
}
