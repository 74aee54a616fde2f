//! Takes out of a text what differs from one run of a test to the next.

/// A text with durations (`0.1 s`) replaced.
pub(crate) fn times(text: &str) -> String {
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let mut shown: Vec<String> = Vec::new();
            for (i, word) in words.iter().enumerate() {
                let is_time = word.parse::<f64>().is_ok()
                    && word.contains('.')
                    && words.get(i + 1).is_some_and(|next| next.starts_with('s'));
                shown.push(if is_time {
                    "N".to_owned()
                } else {
                    (*word).to_owned()
                });
            }
            shown.join(" ")
        })
        .collect::<Vec<_>>()
        .join("\n")
}
