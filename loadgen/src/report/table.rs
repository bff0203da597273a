//! Tables for the terminal.

use super::data::{Latencies, Report, RunReport};
use crate::calibrate::{FLUSH_P50, Limit, Limits};

/// Columns as wide as what is in them; the first to the left, numbers to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - cell.chars().count());
            let (before, behind) = if at == 0 { ("", pad.as_str()) } else { (pad.as_str(), "") };
            line.push_str(if at == 0 { "" } else { "  " });
            line.push_str(before);
            line.push_str(cell);
            line.push_str(behind);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1e6 => format!("{:.2} M", value / 1e6),
        v if v >= 1e4 => format!("{:.1} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// 10^6 bytes a second, in the unit that reads best.
pub fn rate(mb_per_second: f64) -> String {
    if mb_per_second >= 1000.0 {
        format!("{:.2} GB/s", mb_per_second / 1000.0)
    } else {
        format!("{mb_per_second:.0} MB/s")
    }
}

/// All that is known of one run.
pub fn run_table(run: &RunReport) -> String {
    let mut rows = vec![["", "records/s", "MB/s", "wire MB/s", "requests/s"].map(str::to_owned).to_vec()];
    for (name, rates) in [("produced", run.produced), ("consumed", run.consumed)] {
        if rates.records_per_second > 0.0 {
            rows.push(vec![
                name.to_owned(),
                number(rates.records_per_second),
                number(rates.mb_per_second),
                number(rates.wire_mb_per_second),
                number(rates.requests_per_second),
            ]);
        }
    }
    let mut out = align(&rows);
    let head = ["latency, ms", "p50", "p75", "p95", "p99", "p99.9", "p99.99", "max"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, latencies) in
        [("publish", &run.publish), ("end to end", &run.end_to_end), ("send delay", &run.send_delay)]
    {
        if let Some(latencies) = latencies {
            rows.push([vec![name.to_owned()], latency_cells(latencies)].concat());
        }
    }
    if rows.len() > 1 {
        out.push('\n');
        out.push_str(&align(&rows));
    }
    let mut lines = Vec::new();
    if let Some(backlog) = &run.backlog {
        lines.push(format!(
            "backlog: {:.2} GB read in {:.2} s = {} MB/s{}{}",
            backlog.bytes as f64 / 1e9,
            backlog.read_in_seconds,
            number(backlog.bytes as f64 / 1e6 / backlog.read_in_seconds.max(1e-9)),
            if backlog.page_cache_dropped { ", page cache dropped before" } else { "" },
            if backlog.read_completely { "" } else { ", NOT to its end" },
        ));
    }
    lines.push(format!(
        "generator: {:.0} % of its busiest thread's core, {:.2} cores in all",
        run.generator_busy * 100.0,
        run.generator_cores
    ));
    if let Some(usage) = &run.broker_usage {
        let per_gb = run.broker_cpu_seconds_per_gb.map(|v| format!(", {} CPU-s per GB", number(v))).unwrap_or_default();
        let written =
            run.written_per_produced.map(|v| format!(", {v:.2} bytes to the device per byte")).unwrap_or_default();
        lines.push(format!(
            "broker: {:.0} % of {} core{}{per_gb}{written}, {} MiB resident (at most {})",
            usage.busy() * 100.0,
            usage.cores_allowed,
            if usage.cores_allowed == 1 { "" } else { "s" },
            usage.rss_bytes >> 20,
            usage.rss_peak_bytes >> 20
        ));
    }
    if let Some(findings) = &run.findings {
        lines.push(if findings.is_clean() {
            format!("verified: all {} acknowledged records came once, in order and unaltered", findings.acknowledged)
        } else {
            format!(
                "VERIFICATION FAILED: {} lost, {} duplicated, {} reordered, {} altered, {} gaps of offsets, of {} acknowledged",
                findings.lost,
                findings.duplicated,
                findings.reordered,
                findings.altered,
                findings.offset_gaps,
                findings.acknowledged
            )
        });
        lines.extend(findings.examples.iter().map(|example| format!("  {example}")));
    }
    lines.extend(run.warnings.iter().map(|warning| format!("warning: {warning}")));
    out.push('\n');
    out.push_str(&lines.join("\n"));
    out.push('\n');
    out
}

fn latency_cells(l: &Latencies) -> Vec<String> {
    [l.p50, l.p75, l.p95, l.p99, l.p999, l.p9999, l.max].iter().map(|value| number(*value)).collect()
}

/// One line for each run, beside the machine's limits where they are known.
pub fn summary_table(runs: &[RunReport], limits: Option<&Limits>) -> String {
    let head = [
        "run",
        "records/s",
        "MB/s in",
        "MB/s out",
        "publish p50",
        "p99",
        "p99.9 ms",
        "end-to-end p50",
        "p99",
        "p99.9 ms",
        "broker CPU-s/GB",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    if limits.is_some() {
        rows[0].push("of the machine's limit".to_owned());
    }
    let rate = |value: f64| if value > 0.0 { number(value) } else { "-".to_owned() };
    for run in runs {
        let of = |l: Option<&Latencies>, f: fn(&Latencies) -> f64| l.map_or("-".to_owned(), |l| number(f(l)));
        let records = if run.produced.records_per_second > 0.0 { run.produced } else { run.consumed };
        rows.push(vec![
            format!("{}{}", run.label(), if run.generator_bound { " (generator-bound)" } else { "" }),
            rate(records.records_per_second),
            rate(run.produced.mb_per_second),
            rate(run.consumed.mb_per_second),
            of(run.publish.as_ref(), |l| l.p50),
            of(run.publish.as_ref(), |l| l.p99),
            of(run.publish.as_ref(), |l| l.p999),
            of(run.end_to_end.as_ref(), |l| l.p50),
            of(run.end_to_end.as_ref(), |l| l.p99),
            of(run.end_to_end.as_ref(), |l| l.p999),
            run.broker_cpu_seconds_per_gb.map_or("-".to_owned(), number),
        ]);
        if let (Some(limits), Some(row)) = (limits, rows.last_mut()) {
            row.push(share_of_limits(run, limits));
        }
    }
    align(&rows)
}

/// How near a run came to what the machine can do, in a cell.
fn share_of_limits(run: &RunReport, limits: &Limits) -> String {
    if run.workload.is_open_loop() {
        let (publish, flush) = (run.publish.as_ref(), limits.get(FLUSH_P50).filter(|flush| *flush > 0.0));
        let (Some(publish), Some(flush)) = (publish, flush) else { return "-".to_owned() };
        return format!("{:.1} times a flush, {flush:.2} ms", publish.p50 / flush);
    }
    let parts = [
        ("in", run.produced.wire_mb_per_second, limits.of_produce()),
        ("out", run.consumed.wire_mb_per_second, limits.of_consume()),
    ];
    let share = |(way, reached, limit): &(&str, f64, Option<&Limit>)| {
        let limit = limit.filter(|_| *reached > 0.0)?;
        Some(format!("{way} {:.0} % of {}", reached / limit.value * 100.0, rate(limit.value)))
    };
    let shown: Vec<String> = parts.iter().filter_map(share).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

/// All limits in one sentence.
pub fn limits_line(limits: &Limits) -> String {
    let shown = limits.all().iter().map(|limit| match limit.unit.as_str() {
        "MB/s" => format!("{} {}", limit.name, rate(limit.value)),
        unit => format!("{} {} {unit}", limit.name, number(limit.value)),
    });
    format!("the machine's limits: {}", shown.collect::<Vec<_>>().join("; "))
}

pub fn limits_table(limits: &Limits) -> String {
    let mut rows = vec![["the machine's limits", "", "", ""].map(str::to_owned).to_vec()];
    for limit in limits.all() {
        let (value, unit) = match limit.unit.as_str() {
            "MB/s" => rate(limit.value).split_once(' ').map(|(v, u)| (v.to_owned(), u.to_owned())).unwrap_or_default(),
            unit => (number(limit.value), unit.to_owned()),
        };
        rows.push(vec![limit.name.clone(), value, unit, limit.note.clone()]);
    }
    let mut out = String::new();
    let widths: [usize; 3] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in rows {
        let line = format!(
            "{:a$}  {:>b$} {:c$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

pub fn comparison_table(report: &Report) -> String {
    let mut rows = vec![
        ["workload", "measure", "A", "median (min-max)", "B", "median (min-max)", "A/B", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for ratio in &report.ratios {
        let spread = |s: &super::data::Spread| {
            if s.values.len() < 2 {
                return number(s.median);
            }
            format!("{} ({}-{})", number(s.median), number(s.min), number(s.max))
        };
        rows.push(vec![
            ratio.workload.clone(),
            ratio.measure.clone(),
            ratio.a.label.clone(),
            spread(&ratio.a),
            ratio.b.label.clone(),
            spread(&ratio.b),
            ratio.ratio.map_or("-".to_owned(), |r| format!("{r:.2}")),
            ratio.note.clone(),
        ]);
    }
    align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shown: Vec<String> =
            [0.0, 0.1234, 1.234, 12.34, 123.4, 12_345.0, 1.5e6].iter().map(|v| number(*v)).collect();
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "12.3 k", "1.50 M"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "100".to_owned()]];
        assert_eq!(align(&rows), "a       1\nlong  100\n");
    }
}
