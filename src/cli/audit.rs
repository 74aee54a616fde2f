//! The audit log: `audit` lists it, `audit verify` looks for what was changed, `audit export` writes
//! what an auditor asks for.

use std::io::Write as _;

use anyhow::bail;
use serde_json::{Value, json};

use super::table::{Rows, counted, one_line, proposal};
use super::{ConfigArgument, Exit, ExportFormat, ListFormat, shown};
use crate::audit::{CSV_HEAD, Entry, Head, Record, change_log, csv_line};
use crate::clock::{Timestamp, now, parse_duration};
use crate::id::{RepoName, WorkspaceName};
use crate::store::Store;

/// Which records are meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AuditFilter {
    /// Not before: a date (2026-11-01), a time (2026-11-01T08:00:00Z), or so long ago (30d)
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a date, a time, or so long ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only of this workspace
    #[arg(long, short, value_name = "NAME")]
    workspace: Option<WorkspaceName>,
    /// Only of this repository
    #[arg(long, value_name = "NAME")]
    repo: Option<RepoName>,
}

impl AuditFilter {
    fn lets(
        &self,
        at: Timestamp,
        repo: Option<&RepoName>,
        workspace: Option<&WorkspaceName>,
    ) -> bool {
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && (self.repo.is_none() || self.repo.as_ref() == repo)
            && (self.workspace.is_none() || self.workspace.as_ref() == workspace)
    }
}

/// Reads a point in time. A date begins at midnight, UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<chrono::NaiveDate>() {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    parse_duration(text)
        .ok()
        .and_then(|ago| now().checked_sub_signed(chrono::TimeDelta::from_std(ago).ok()?))
        .ok_or_else(|| {
            "write a date (2026-11-01), a time (2026-11-01T08:00:00Z), or how long ago (30d)"
                .to_owned()
        })
}

/// Lists records, newest first.
pub(super) fn list(
    filter: &AuditFilter,
    limit: u32,
    format: ListFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
    let (mut records, _) = readable(&store)?;
    records.retain(|r| filter.lets(r.at, r.repository.as_ref(), r.workspace.as_ref()));
    records.reverse();
    if limit > 0 {
        records.truncate(limit as usize);
    }
    match format {
        ListFormat::Json => {
            let value = json!({ "schema": "mainstay.audit/1", "records": records });
            anstream::println!("{}", serde_json::to_string_pretty(&value)?);
        }
        ListFormat::Text if records.is_empty() => anstream::eprintln!("No such record is there."),
        ListFormat::Text => {
            let mut rows = Rows::new(&[
                "record",
                "when (UTC)",
                "what",
                "who",
                "workspace",
                "run",
                "commit",
                "why",
            ]);
            for record in &records {
                rows.add(row(record));
            }
            rows.print();
        }
    }
    Ok(Exit::Nothing)
}

fn row(record: &Record) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let why = record
        .reason
        .clone()
        .or_else(|| record.command.clone())
        .or_else(|| record.counts.map(|counts| counts.to_string()));
    let place = record
        .workspace
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| record.proposal.as_ref().map(proposal))
        .or_else(|| record.repository.as_ref().map(ToString::to_string));
    vec![
        record.number.to_string(),
        record.at.format("%Y-%m-%d %H:%M:%S").to_string(),
        record.what.to_string(),
        or_none(record.who.clone()),
        or_none(place),
        or_none(record.run.map(|run| run.to_string())),
        or_none(record.commit.as_ref().map(|c| c.short().to_owned())),
        why.map(|why| one_line(&why)).unwrap_or_default(),
    ]
}

/// Looks for records that were changed, dropped or cut off.
pub(super) fn verify(heads: &[Head], argument: &ConfigArgument) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
    let findings = store.audit_verify(heads)?;
    for fault in &findings.faults {
        anstream::println!("{fault}");
    }
    let head = &findings.head;
    if !findings.faults.is_empty() {
        anstream::println!("The audit log is not whole. Its head is {head}");
        return Ok(Exit::Error);
    }
    anstream::println!(
        "{} and none was changed, dropped or cut off. The head of the log is {head}",
        counted(usize::try_from(head.count).unwrap_or(usize::MAX), "record"),
    );
    Ok(Exit::Nothing)
}

/// Writes each change, and each that nobody authorised, for an auditor.
pub(super) fn export(
    filter: &AuditFilter,
    format: ExportFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    let (config, _) = shown::load(argument)?;
    let store = Store::open_existing(&config.data_dir)?;
    let findings = store.audit_verify(&[])?;
    let (records, unreadable) = readable(&store)?;
    let entries: Vec<Entry> = change_log(&records)
        .into_iter()
        .filter(|entry| {
            let (repo, workspace) = entry.place();
            filter.lets(entry.at(), Some(repo), Some(workspace))
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if format == ExportFormat::Csv {
        write!(out, "{CSV_HEAD}\r\n")?;
    }
    for entry in &entries {
        match format {
            ExportFormat::Jsonl => writeln!(out, "{}", line(entry)?)?,
            ExportFormat::Csv => write!(out, "{}\r\n", csv_line(entry))?,
        }
    }
    out.flush()?;
    if findings.faults.is_empty() && unreadable.is_empty() {
        return Ok(Exit::Nothing);
    }
    for fault in &findings.faults {
        anstream::eprintln!("{fault}");
    }
    bail!(
        "the audit log is not whole, so that the export may not be either: see `mainstay audit verify`"
    );
}

fn line(entry: &Entry) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(entry)?;
    if let Value::Object(map) = &mut value {
        map.insert("schema".to_owned(), json!("mainstay.audit-entry/1"));
    }
    serde_json::to_string(&value)
}

/// The records that can be read, oldest first, and the numbers of those that cannot.
fn readable(store: &Store) -> anyhow::Result<(Vec<Record>, Vec<u64>)> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    store.audit_each(|row| {
        match serde_json::from_str(&row.text) {
            Ok(record) => records.push(record),
            Err(_) => unreadable.push(row.number),
        }
        Ok(())
    })?;
    for number in &unreadable {
        anstream::eprintln!("record {number} cannot be read and is left out");
    }
    Ok((records, unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_a_time_or_so_long_ago() {
        let date = moment("2026-11-01").unwrap();
        assert_eq!(date.to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert!(moment("2026-11-01T08:00:00+02:00").unwrap() > date);
        assert!(moment("1d").unwrap() < now());
        assert!(moment("yesterday").is_err());
    }
}
