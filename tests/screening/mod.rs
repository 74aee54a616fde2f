//! Takes out of a text what differs from one run of a test to the next.

/// A text with durations (`0.1 s`) replaced.
pub(crate) fn times(text: &str) -> String {
    each_line(text, |words| {
        let mut shown: Vec<String> = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let unit = words
                .get(i + 1)
                .map(|next| next.trim_end_matches([':', ',', '.']));
            let is_time = word.parse::<f64>().is_ok() && word.contains('.') && unit == Some("s");
            shown.push(if is_time { "N" } else { word }.to_owned());
        }
        shown.join(" ")
    })
}

/// A text without which sandbox there is on this machine.
pub(crate) fn sandbox(text: &str) -> String {
    let names = ["in bubblewrap", "in landlock", "without a sandbox"];
    names.iter().fold(text.to_owned(), |text, name| {
        text.replace(name, "in SANDBOX")
    })
}

/// A table whose times past (`1.2 s ago`, `just now`) are replaced, and whose columns, which are
/// as wide as those times, stand one blank apart.
pub(crate) fn past(text: &str) -> String {
    each_line(text, |words| {
        let mut shown: Vec<String> = Vec::new();
        for word in words.iter().filter(|word| !word.is_empty()) {
            let plain = word.trim_end_matches([')', ',', ':']);
            let is_now = plain == "now" && shown.last().is_some_and(|last| last == "just");
            if plain != "ago" && !is_now {
                shown.push((*word).to_owned());
                continue;
            }
            while shown.last().is_some_and(|last| is_part_of_time(last)) {
                shown.pop();
            }
            shown.push(format!("AGO{}", &word[plain.len()..]));
        }
        shown.join(" ")
    })
}

/// A text whose numbers of runs and pull requests are replaced: which came first may differ.
pub(crate) fn numbers(text: &str) -> String {
    let mut shown = text.to_owned();
    for before in ["Run ", "runs/", "mainstay run ", "#"] {
        let mut parts = shown.split(before).map(str::to_owned);
        let first = parts.next().unwrap_or_default();
        shown = parts.fold(first, |so_far, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = if rest.len() < part.len() { "N" } else { "" };
            format!("{so_far}{before}{number}{rest}")
        });
    }
    shown
}

fn is_part_of_time(word: &str) -> bool {
    ["just", "s", "min", "h", "d"].contains(&word) || word.parse::<f64>().is_ok()
}

fn each_line(text: &str, change: impl Fn(&[&str]) -> String) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        change(&words)
    });
    lines.collect::<Vec<_>>().join("\n")
}
