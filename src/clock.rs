//! Time: points in it, spans as people write them, and schedules.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A point in time, in UTC.
pub type Timestamp = DateTime<Utc>;

/// The time now.
pub fn now() -> Timestamp {
    Utc::now()
}

/// The units of a duration with their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text was no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no duration: {fault}")]
pub struct InvalidDuration {
    /// What was given.
    pub given: String,
    /// What is wrong with it.
    pub fault: DurationFault,
}

/// What is wrong with a text that should be a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationFault {
    /// There is no text.
    #[error("it is empty; write `30s`, `5m`, `1h` or `1d`")]
    Empty,
    /// A number was expected and something else stands there.
    #[error("`{0}` is no whole number; write `30s`, `5m`, `1h` or `1d`")]
    NoNumber(String),
    /// A number has no unit.
    #[error("`{0}` has no unit; write `{0}s`, `{0}m`, `{0}h` or `{0}d`")]
    NoUnit(String),
    /// A unit is none of those known.
    #[error("the unit `{0}` is not known; the units are `ms`, `s`, `m`, `h` and `d`")]
    UnknownUnit(String),
    /// A larger unit follows a smaller one, or one stands twice.
    #[error("`{0}` stands in the wrong place; each unit stands once, the largest first")]
    Order(String),
    /// It lasts no time at all.
    #[error("it lasts no time")]
    Zero,
    /// It has more milliseconds than a `u64` counts.
    #[error("it is too long")]
    TooLong,
}

/// Reads a duration as people write it in settings: `500ms`, `30s`, `5m`, `1h`,
/// `1d`, or several of these with the largest unit first, `1h30m`.
///
/// # Errors
///
/// [`InvalidDuration`] says what is wrong. Zero is refused: nothing that takes a
/// duration here means something useful with it.
pub fn parse_duration(given: &str) -> Result<Duration, InvalidDuration> {
    total_milliseconds(given)
        .map(Duration::from_millis)
        .map_err(|fault| InvalidDuration {
            given: given.to_owned(),
            fault,
        })
}

fn total_milliseconds(given: &str) -> Result<u64, DurationFault> {
    if given.is_empty() {
        return Err(DurationFault::Empty);
    }
    let mut total: u64 = 0;
    let mut allowed = &UNITS[..];
    let mut rest = given;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
        if number.is_empty() {
            return Err(DurationFault::NoNumber(rest.to_owned()));
        }
        let letters = after.find(|c: char| c.is_ascii_digit());
        let (unit, after) = after.split_at(letters.unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(DurationFault::NoUnit(number.to_owned()));
        }
        if unit.starts_with(['.', ',']) {
            return Err(DurationFault::NoNumber(rest.to_owned()));
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationFault::UnknownUnit(unit.to_owned()));
        }
        let Some(place) = allowed.iter().position(|(name, _)| *name == unit) else {
            return Err(DurationFault::Order(format!("{number}{unit}")));
        };
        let milliseconds = allowed[place].1;
        allowed = &allowed[place + 1..];
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(milliseconds))
            .and_then(|part| total.checked_add(part))
            .ok_or(DurationFault::TooLong)?;
        rest = after;
    }
    if total == 0 {
        return Err(DurationFault::Zero);
    }
    Ok(total)
}

/// Writes a duration as settings have it: `1h30m`.
///
/// What is read back by [`parse_duration`] is the same, to the millisecond; what
/// is finer is left out, and less than a millisecond is `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, milliseconds) in UNITS {
        let count = rest / u128::from(milliseconds);
        rest %= u128::from(milliseconds);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Writes how long something took, as a reader wants it: `0.8 s`, `2 min 5 s`,
/// `1 h 12 min`, `3 d 4 h`. It is rounded to what is shown.
pub fn human_duration(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (duration.as_millis() + 500) / 1_000;
    if seconds < 3_600 {
        return two_parts(seconds / 60, "min", seconds % 60, "s");
    }
    let minutes = (seconds + 30) / 60;
    if minutes < 24 * 60 {
        return two_parts(minutes / 60, "h", minutes % 60, "min");
    }
    let hours = (minutes + 30) / 60;
    two_parts(hours / 24, "d", hours % 24, "h")
}

fn two_parts(large: u128, large_unit: &str, small: u128, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// When something is due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// This long after the last time.
    Every(Duration),
    /// At the times of a cron line (five fields, UTC).
    Cron(CronLine),
}

/// A cron line of five fields that names at least one time to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronLine(Box<Cron>);

/// A text was no schedule.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchedule {
    /// It looks like an interval and is none.
    #[error(
        "an interval is written `30m`, `1h` or `1d`, a cron line in five fields like `0 3 * * *`"
    )]
    Interval(#[source] InvalidDuration),
    /// It has blanks like a cron line, and not five fields.
    #[error(
        "`{given}` is no cron line: it has {fields} fields and not five (minute, hour, day of the month, month, day of the week)"
    )]
    Fields {
        /// What was given.
        given: String,
        /// How many fields it has.
        fields: usize,
    },
    /// A field of the cron line is wrong.
    #[error("`{given}` is no cron line")]
    Cron {
        /// What was given.
        given: String,
        /// What is wrong with it.
        #[source]
        source: croner::errors::CronError,
    },
    /// The cron line is well formed and its time never comes.
    #[error("the time of the cron line `{given}` never comes")]
    Never {
        /// What was given.
        given: String,
    },
}

impl Schedule {
    /// Reads an interval (`1h`) or a cron line of five fields (`0 3 * * *`, in UTC).
    ///
    /// # Errors
    ///
    /// [`InvalidSchedule`] where it is neither, or a cron line whose time never
    /// comes, like the 30th of February.
    pub fn parse(given: &str) -> Result<Self, InvalidSchedule> {
        let given = given.trim();
        let fields = given.split_whitespace().count();
        if fields < 2 {
            return parse_duration(given)
                .map(Self::Every)
                .map_err(InvalidSchedule::Interval);
        }
        if fields != 5 {
            return Err(InvalidSchedule::Fields {
                given: given.to_owned(),
                fields,
            });
        }
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(given)
            .map_err(|source| InvalidSchedule::Cron {
                given: given.to_owned(),
                source,
            })?;
        // From a fixed point, so that a line is valid at all times or at none.
        cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false)
            .map_err(|_| InvalidSchedule::Never {
                given: given.to_owned(),
            })?;
        Ok(Self::Cron(CronLine(Box::new(cron))))
    }

    /// The first time after `at` that is due, or `None` where the calendar ends before.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => TimeDelta::from_std(*every)
                .ok()
                .and_then(|every| at.checked_add_signed(every)),
            Self::Cron(CronLine(cron)) => cron.find_next_occurrence(&at, false).ok(),
        }
    }

    /// Whether something that ran at `last` is due at `now`. What never ran is due.
    ///
    /// However many times were missed, it is due once.
    pub fn due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| self.next_after(last).is_some_and(|next| next <= now))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => f.write_str(&format_duration(*every)),
            Self::Cron(CronLine(cron)) => f.write_str(cron.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (given, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
        ] {
            assert_eq!(
                parse_duration(given),
                Ok(Duration::from_millis(milliseconds)),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        let faults: Vec<String> = [
            "",
            "30",
            "0s",
            "h",
            "1.5h",
            "1h30",
            "30m1h",
            "1h1h",
            "5 m",
            "5min",
            "-5m",
            "99999999999999999999d",
            "999999999999d",
        ]
        .iter()
        .map(|given| parse_duration(given).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(faults.join("\n"), @r"
        `` is no duration: it is empty; write `30s`, `5m`, `1h` or `1d`
        `30` is no duration: `30` has no unit; write `30s`, `30m`, `30h` or `30d`
        `0s` is no duration: it lasts no time
        `h` is no duration: `h` is no whole number; write `30s`, `5m`, `1h` or `1d`
        `1.5h` is no duration: `1.5h` is no whole number; write `30s`, `5m`, `1h` or `1d`
        `1h30` is no duration: `30` has no unit; write `30s`, `30m`, `30h` or `30d`
        `30m1h` is no duration: `1h` stands in the wrong place; each unit stands once, the largest first
        `1h1h` is no duration: `1h` stands in the wrong place; each unit stands once, the largest first
        `5 m` is no duration: the unit ` m` is not known; the units are `ms`, `s`, `m`, `h` and `d`
        `5min` is no duration: the unit `min` is not known; the units are `ms`, `s`, `m`, `h` and `d`
        `-5m` is no duration: `-5m` is no whole number; write `30s`, `5m`, `1h` or `1d`
        `99999999999999999999d` is no duration: it is too long
        `999999999999d` is no duration: it is too long
        ");
    }

    #[test]
    fn spans_in_reports_are_short_and_rounded() {
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (49, "0.0 s"),
            (812, "0.8 s"),
            (4_060, "4.1 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min"),
            (125_000, "2 min 5 s"),
            (3_599_600, "1 h"),
            (4_320_000, "1 h 12 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(human_duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn what_never_ran_is_due() {
        let now = at("2025-03-01T12:00:00Z");
        for schedule in ["1h", "0 3 * * *"] {
            assert!(
                Schedule::parse(schedule).unwrap().due(None, now),
                "{schedule}"
            );
        }
    }

    #[test]
    fn an_interval_is_due_once_it_has_passed() {
        let hourly = Schedule::parse("1h").unwrap();
        let last = at("2025-03-01T12:00:00Z");
        assert!(!hourly.due(Some(last), at("2025-03-01T12:59:59Z")));
        assert!(hourly.due(Some(last), at("2025-03-01T13:00:00Z")));
    }

    #[test]
    fn a_cron_line_is_due_where_its_time_lies_after_the_last_and_not_after_now() {
        let nightly = Schedule::parse("0 3 * * *").unwrap();
        let three = at("2025-03-02T03:00:00Z");
        assert!(!nightly.due(
            Some(at("2025-03-01T12:00:00Z")),
            at("2025-03-02T02:59:59.9Z")
        ));
        assert!(nightly.due(Some(at("2025-03-02T02:59:59.5Z")), three));
        assert!(!nightly.due(Some(three), at("2025-03-03T02:59:00Z")));
        assert_eq!(nightly.next_after(three), Some(at("2025-03-03T03:00:00Z")));
    }

    #[test]
    fn a_cron_line_has_five_fields_and_a_time_that_comes() {
        for bad in [
            "0 3 * *",
            "0 0 3 * * *",
            "0 0 3 * * * 2030",
            "61 3 * * *",
            "0 0 30 2 *",
            "@ @ @ @ @",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
        for good in ["*/15 * * * *", "0 3 * * MON-FRI", "0 0 29 2 *"] {
            let schedule = Schedule::parse(good).unwrap();
            assert_eq!(Schedule::parse(&schedule.to_string()).unwrap(), schedule);
        }
    }

    #[test]
    fn an_interval_that_the_calendar_cannot_hold_never_comes_again() {
        let forever = Schedule::Every(Duration::from_millis(u64::MAX));
        let now = at("2025-03-01T12:00:00Z");
        assert_eq!(forever.next_after(now), None);
        assert!(!forever.due(Some(now), now));
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(milliseconds in 1..u64::MAX) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,40}|[0-9 */,@LW#a-z-]{0,20}") {
            let _ = parse_duration(&text);
            let _ = Schedule::parse(&text);
        }

        #[test]
        fn what_ran_just_now_is_not_due(
            line in prop_oneof![Just("5m"), Just("*/5 * * * *"), Just("0 3 * * 1")],
            seconds in 0_i64..4_000_000_000,
        ) {
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            prop_assert!(!Schedule::parse(line).unwrap().due(Some(now), now));
        }
    }
}
