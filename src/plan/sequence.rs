//! The shortest way from one sequence to another.

/// One step of the way from one sequence to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The item at this index of the old sequence stays.
    Keep(usize),
    /// The item at this index of the old sequence goes.
    Remove(usize),
    /// The item at this index of the new sequence comes.
    Add(usize),
}

/// Beyond this many comparisons two sequences are shown as wholly different in
/// the middle, where they differ, rather than compared item by item.
const COMPARISONS: usize = 1_000_000;

/// The steps from `old` to `new` that keep the most, what goes before what comes.
pub(super) fn steps<T: PartialEq>(old: &[T], new: &[T]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut steps: Vec<Step> = (0..head).map(Step::Keep).collect();
    middle(&old[head..old_end], &new[head..new_end], head, &mut steps);
    steps.extend((old_end..old.len()).map(Step::Keep));
    steps
}

/// The steps between what is left when common ends are taken off.
fn middle<T: PartialEq>(old: &[T], new: &[T], offset: usize, steps: &mut Vec<Step>) {
    let (rows, columns) = (old.len(), new.len());
    if rows.saturating_mul(columns) > COMPARISONS {
        steps.extend((0..rows).map(|i| Step::Remove(offset + i)));
        steps.extend((0..columns).map(|j| Step::Add(offset + j)));
        return;
    }
    // longest[i][j]: how many items can be kept of old[i..] and new[j..].
    let width = columns + 1;
    let mut longest = vec![0_u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < rows || j < columns {
        if i < rows && j < columns && old[i] == new[j] {
            steps.push(Step::Keep(offset + i));
            i += 1;
            j += 1;
        } else if i < rows
            && (j == columns || longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            steps.push(Step::Remove(offset + i));
            i += 1;
        } else {
            steps.push(Step::Add(offset + j));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stays_is_kept_and_what_goes_stands_before_what_comes() {
        assert_eq!(
            steps(b"abcd", b"abxd"),
            [
                Step::Keep(0),
                Step::Keep(1),
                Step::Remove(2),
                Step::Add(2),
                Step::Keep(3)
            ]
        );
    }

    #[test]
    fn sequences_that_are_too_long_to_compare_are_replaced_whole() {
        let old: Vec<usize> = (0..1_500).collect();
        let new: Vec<usize> = (0..1_500).map(|n| n * 2 + 1).collect();
        let steps = steps(&old, &new);
        assert_eq!(steps.len(), 3_000);
        assert_eq!(steps[0], Step::Remove(0));
    }

    proptest! {
        #[test]
        fn the_steps_lead_from_the_old_to_the_new(
            old in proptest::collection::vec(0..5_u8, 0..20),
            new in proptest::collection::vec(0..5_u8, 0..20),
        ) {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for step in steps(&old, &new) {
                match step {
                    Step::Keep(i) => { from.push(old[i]); to.push(old[i]); }
                    Step::Remove(i) => from.push(old[i]),
                    Step::Add(j) => to.push(new[j]),
                }
            }
            prop_assert_eq!(from, old);
            prop_assert_eq!(to, new);
        }
    }
}
