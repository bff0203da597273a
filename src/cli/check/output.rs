//! What a check says: a table for people and grep, or one JSON object.
//!
//! The object's fields, in schema 1 (fields may be added, none changes its meaning):
//!
//! ```text
//! schema                1
//! directory             absolute path
//! cluster_id, node_id   of meta.properties, or null
//! clean                 whether the last stop was clean
//! adopted               whether another broker (Apache Kafka) was the last to write
//! deep                  whether records were decoded
//! partitions, segments, batches, records, bytes   what was looked at; records only with deep
//! errors, warnings, notes                         how many findings of each severity
//! findings              [{severity, kind, topic, partition, file, position, offset, message}], null where there is none
//! repair                null, or {actions, dropped, left, before}:
//!   actions             [{topic, partition, message}] in order
//!   dropped             [{topic, partition, first_offset, end_offset}], the end exclusive
//!   left                [{topic, partition, message}]: partitions that stay as they were
//!   before              the findings that the repair began with; `findings` are those that are left
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::log::check::{Finding, FindingKind, Severity};
use crate::types::TopicPartition;

use super::inspect::Inspection;
use super::repair::Outcome;

/// Notes of one kind that the table shows; tens of thousands of partitions can have one each.
const NOTES_OF_A_KIND_MAX: usize = 10;

/// A check with what came of a repair.
pub struct Result<'a> {
    pub inspection: &'a Inspection,
    pub deep: bool,
    /// What was found before, and what was done.
    pub repair: Option<(&'a Inspection, &'a Outcome)>,
}

pub fn table(result: &Result<'_>, color: bool) -> String {
    let mut out = String::new();
    if let Some((before, outcome)) = result.repair {
        findings_table(before, color, &mut out);
        actions(outcome, color, &mut out);
    }
    findings_table(result.inspection, color, &mut out);
    summary(result, &mut out);
    out
}

fn findings_table(inspection: &Inspection, color: bool, out: &mut String) {
    let paint = |style: Style| if color { style } else { Style::new() };
    let mut shown: Vec<&Finding> = Vec::new();
    let mut left_out: HashMap<FindingKind, usize> = HashMap::new();
    let mut notes: HashMap<FindingKind, usize> = HashMap::new();
    for finding in &inspection.findings {
        let count = notes.entry(finding.kind).or_default();
        *count += usize::from(finding.severity == Severity::Note);
        if finding.severity == Severity::Note && *count > NOTES_OF_A_KIND_MAX {
            *left_out.entry(finding.kind).or_default() += 1;
        } else {
            shown.push(finding);
        }
    }
    if shown.is_empty() {
        return;
    }
    let rows: Vec<[String; 5]> = shown.iter().map(|finding| row(inspection, finding)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (files, bytes, offsets) = (width(1), width(2).max(4), width(3).max(6));
    let bold = paint(Style::new().bold());
    let _ =
        writeln!(out, "{bold}{:7}  {:files$}  {:>bytes$}  {:>offsets$}  WHAT{bold:#}", "", "FILE", "BYTE", "OFFSET");
    for (finding, [severity, file, byte, offset, what]) in shown.iter().zip(&rows) {
        let style = paint(match finding.severity {
            Severity::Error => AnsiColor::Red.on_default().bold(),
            Severity::Warning => AnsiColor::Yellow.on_default(),
            Severity::Note => AnsiColor::BrightBlack.on_default(),
        });
        let _ =
            writeln!(out, "{style}{severity:7}{style:#}  {file:files$}  {byte:>bytes$}  {offset:>offsets$}  {what}");
    }
    let mut more: Vec<_> = left_out.into_iter().map(|(kind, count)| (kind.name(), count)).collect();
    more.sort_unstable();
    for (kind, count) in more {
        let _ = writeln!(out, "note     and {count} more notes of kind {kind} (--output json has them all)");
    }
    out.push('\n');
}

fn row(inspection: &Inspection, finding: &Finding) -> [String; 5] {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let file = finding.file.strip_prefix(&inspection.directory).unwrap_or(&finding.file);
    let file = if file.as_os_str().is_empty() { finding.file.display() } else { file.display() };
    [
        finding.severity.name().to_owned(),
        file.to_string(),
        number(finding.position.map(|position| position as i64)),
        number(finding.offset.map(|offset| offset.0)),
        format!("{}: {}", finding.kind.name(), finding.what),
    ]
}

fn actions(outcome: &Outcome, color: bool, out: &mut String) {
    let bold = if color { Style::new().bold() } else { Style::new() };
    let of = |partition: &Option<TopicPartition>| {
        partition.as_ref().map_or_else(String::new, |partition| format!("{partition}: "))
    };
    let _ = writeln!(out, "{bold}REPAIR{bold:#}");
    for (partition, what) in &outcome.actions {
        let _ = writeln!(out, "done     {}{what}", of(partition));
    }
    for (partition, why) in &outcome.left {
        let _ = writeln!(out, "left     {partition}: {why}");
    }
    if outcome.actions.is_empty() && outcome.left.is_empty() {
        let _ = writeln!(out, "nothing to repair");
    }
    out.push('\n');
}

fn summary(result: &Result<'_>, out: &mut String) {
    let inspection = result.inspection;
    let (totals, state) = (inspection.totals, inspection.root.state);
    let stopped = if state.clean { "stopped cleanly" } else { "not stopped cleanly" };
    let by = if state.adopted { ", last written by another broker" } else { "" };
    let many = |count: u64, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let records = if result.deep { format!(" with {}", many(totals.records, "record")) } else { String::new() };
    let batches = if totals.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", totals.batches) };
    let _ = writeln!(
        out,
        "{} ({stopped}{by}): {}, {}, {batches}{records}, {} bytes: {}, {}, {}{}",
        inspection.directory.display(),
        many(totals.partitions, "partition"),
        many(totals.segments, "segment"),
        totals.bytes,
        many(inspection.count(Severity::Error) as u64, "error"),
        many(inspection.count(Severity::Warning) as u64, "warning"),
        many(inspection.count(Severity::Note) as u64, "note"),
        if result.repair.is_some() { " left after the repair" } else { "" },
    );
}

pub fn json(result: &Result<'_>) -> String {
    let inspection = result.inspection;
    let totals = inspection.totals;
    let properties = inspection.root.properties.as_ref();
    let value = json!({
        "schema": 1,
        "directory": inspection.directory.display().to_string(),
        "cluster_id": properties.map(|properties| &properties.cluster_id),
        "node_id": properties.map(|properties| properties.node_id),
        "clean": inspection.root.state.clean,
        "adopted": inspection.root.state.adopted,
        "deep": result.deep,
        "partitions": totals.partitions,
        "segments": totals.segments,
        "batches": totals.batches,
        "records": result.deep.then_some(totals.records),
        "bytes": totals.bytes,
        "errors": inspection.count(Severity::Error),
        "warnings": inspection.count(Severity::Warning),
        "notes": inspection.count(Severity::Note),
        "findings": findings_json(inspection),
        "repair": result.repair.map(|(before, outcome)| repair_json(before, outcome)),
    });
    let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
    text.push('\n');
    text
}

fn findings_json(inspection: &Inspection) -> Vec<Value> {
    let rows = inspection.findings.iter().map(|finding| {
        json!({
            "severity": finding.severity.name(),
            "kind": finding.kind.name(),
            "topic": finding.partition.as_ref().map(|of| &*of.topic),
            "partition": finding.partition.as_ref().map(|of| of.partition),
            "file": finding.file.display().to_string(),
            "position": finding.position,
            "offset": finding.offset.map(|offset| offset.0),
            "message": finding.what,
        })
    });
    rows.collect()
}

fn repair_json(before: &Inspection, outcome: &Outcome) -> Value {
    let said = |of: Option<&TopicPartition>, message: &str| json!({ "topic": of.map(|of| &*of.topic), "partition": of.map(|of| of.partition), "message": message });
    let actions: Vec<Value> = outcome.actions.iter().map(|(of, what)| said(of.as_ref(), what)).collect();
    let left: Vec<Value> = outcome.left.iter().map(|(of, why)| said(Some(of), why)).collect();
    let dropped = outcome.dropped.iter().map(|(of, first, end)| {
        json!({ "topic": &*of.topic, "partition": of.partition, "first_offset": first.0, "end_offset": end.0 })
    });
    let dropped: Vec<Value> = dropped.collect();
    json!({ "actions": actions, "dropped": dropped, "left": left, "before": findings_json(before) })
}
