//! The page: everything in one file, no network and no script. What a reader asks first comes first: the comparison, the
//! figures, then how they came about, then where.

use std::fmt::Write;

use super::{
    data::{Latencies, Ratio, Report, RunReport, SecondReport, Spread},
    svg::{COLORS, Chart, Line, XAxis, YAxis},
    table::{number, rate},
};
use crate::quick::beside_limits;

/// How Kafka writes that something is not done at all.
const NEVER: &str = "9223372036854775807";
const STYLE: &str = include_str!("page.css");

pub fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    let title = escape(&report.title);
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style>\
         </head><body><h1>{title}</h1><p class=\"soft\">{}, {} on {}, {} cores ({})</p>",
        escape(&report.manifest.when),
        escape(&report.manifest.file_system),
        escape(&report.manifest.kernel),
        report.manifest.cores,
        escape(&report.manifest.cpu)
    );
    ratios(&mut out, &report.ratios);
    figures(&mut out, report);
    warnings(&mut out, report);
    let labels = labels(report);
    for workload in workloads(report) {
        charts(&mut out, report, &workload, &labels);
    }
    limits(&mut out, report);
    notes(&mut out, report);
    manifest(&mut out, report);
    out.push_str("</body></html>\n");
    out
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn labels(report: &Report) -> Vec<String> {
    let mut labels = Vec::new();
    for run in &report.runs {
        if !labels.contains(&run.broker.label) {
            labels.push(run.broker.label.clone());
        }
    }
    labels
}

fn workloads(report: &Report) -> Vec<String> {
    let mut names = Vec::new();
    for run in &report.runs {
        if !names.contains(&run.workload.name) {
            names.push(run.workload.name.clone());
        }
    }
    names
}

fn ratios(out: &mut String, ratios: &[Ratio]) {
    if ratios.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Side by side</h2><p>A divided by B: the median of the pairs measured one behind the other, with the smallest and \
         the largest. Green is where A is better by more than a tenth, red where it is worse by as much. Runs that the \
         generator held back, and latencies of runs that did not keep their rate, give no ratio.</p><div class=\"scroll\"><table><thead><tr><th class=\"t\">workload</th>\
         <th class=\"t\">measure</th><th class=\"t\">A</th><th>median (range)</th><th class=\"t\">B</th><th>median (range)</th>\
         <th>A / B</th><th>range</th><th class=\"t\">better is</th><th class=\"t\"></th></tr></thead><tbody>",
    );
    let mut last = ("", "", "");
    for ratio in ratios {
        let head = (ratio.workload.as_str(), ratio.a.label.as_str(), ratio.b.label.as_str());
        let first = if head == last { "" } else { " class=\"first\"" };
        let shown = |text: &str| if first.is_empty() { String::new() } else { escape(text) };
        let class = match ratio.ratio {
            Some(value) if (value > 1.1) == ratio.higher_is_better && !(0.9..=1.1).contains(&value) => "good",
            Some(value) if !(0.9..=1.1).contains(&value) => "bad",
            _ => "",
        };
        let spread = |s: &Spread| {
            if s.values.len() < 2 {
                return number(s.median);
            }
            format!("{} <span class=\"soft\">({} to {})</span>", number(s.median), number(s.min), number(s.max))
        };
        let range = match (ratio.ratio_min, ratio.ratio_max) {
            (Some(min), Some(max)) if ratio.a.values.len() > 1 => format!("{min:.2} to {max:.2}"),
            _ => String::new(),
        };
        let _ = write!(
            out,
            "<tr{first}><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td>{}</td><td class=\"t\">{}</td>\
             <td>{}</td><td class=\"{class}\">{}</td><td class=\"soft\">{range}</td><td class=\"t soft\">{}</td>\
             <td class=\"t soft\">{}</td></tr>",
            shown(&ratio.workload),
            escape(&ratio.measure),
            shown(&ratio.a.label),
            spread(&ratio.a),
            shown(&ratio.b.label),
            spread(&ratio.b),
            ratio.ratio.map_or("no ratio".to_owned(), |value| format!("{value:.2}")),
            if ratio.higher_is_better { "more" } else { "less" },
            escape(&ratio.note)
        );
        last = head;
    }
    out.push_str("</tbody></table></div>");
}

fn figures(out: &mut String, report: &Report) {
    out.push_str(
        "<h2>Figures</h2><p>Latencies in milliseconds, from the moment a record was due by the schedule; without a schedule \
         (as many as it takes) from when it was sent, so that they say how much was under way. MB are 10<sup>6</sup> bytes of \
         values.</p><div class=\"scroll\"><table><thead><tr><th class=\"t\" rowspan=\"2\">workload</th><th class=\"t\" \
         rowspan=\"2\">broker</th><th rowspan=\"2\">round</th><th rowspan=\"2\">records/s</th><th rowspan=\"2\">MB/s in</th>\
         <th rowspan=\"2\">MB/s out</th><th colspan=\"4\">publish latency</th><th colspan=\"4\">end-to-end latency</th>\
         <th colspan=\"3\">broker</th><th rowspan=\"2\">generator<br>busy</th></tr><tr><th>p50</th><th>p99</th><th>p99.9</th>\
         <th>max</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th><th>busy</th><th>CPU-s/GB</th><th>RSS MiB</th></tr></thead><tbody>",
    );
    let mut last = ("", "");
    for run in &report.runs {
        let head = (run.workload.name.as_str(), run.broker.label.as_str());
        let (first, name, broker) = if head == last {
            ("", String::new(), String::new())
        } else {
            let name = if head.0 == last.0 { String::new() } else { escape(head.0) };
            (if name.is_empty() { "" } else { " class=\"first\"" }, name, escape(head.1))
        };
        last = head;
        let flow = |value: f64| if value > 0.0 { number(value) } else { "-".to_owned() };
        let of = |l: Option<&Latencies>, f: fn(&Latencies) -> f64| l.map_or("-".to_owned(), |l| number(f(l)));
        let records = if run.produced.records_per_second > 0.0 { run.produced } else { run.consumed };
        let _ = write!(
            out,
            "<tr{first} title=\"{}\"><td class=\"t\">{name}</td><td class=\"t\">{broker}</td><td>{}</td>",
            escape(&run.workload.summary()),
            run.round
        );
        let usage = run.broker_usage;
        let cells = [
            flow(records.records_per_second),
            flow(run.produced.mb_per_second),
            flow(run.consumed.mb_per_second),
            of(run.publish.as_ref(), |l| l.p50),
            of(run.publish.as_ref(), |l| l.p99),
            of(run.publish.as_ref(), |l| l.p999),
            of(run.publish.as_ref(), |l| l.max),
            of(run.end_to_end.as_ref(), |l| l.p50),
            of(run.end_to_end.as_ref(), |l| l.p99),
            of(run.end_to_end.as_ref(), |l| l.p999),
            of(run.end_to_end.as_ref(), |l| l.max),
            usage.map_or("-".to_owned(), |usage| format!("{:.0} %", usage.busy() * 100.0)),
            run.broker_cpu_seconds_per_gb.map_or("-".to_owned(), number),
            usage.map_or("-".to_owned(), |usage| (usage.rss_bytes >> 20).to_string()),
            format!("{:.0} %", run.generator_busy * 100.0),
        ];
        for cell in &cells {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    if let Some(limits) = &report.limits {
        out.push_str("<h3>Beside the machine's limits</h3><ul>");
        for run in &report.runs {
            let _ = write!(out, "<li>{}: {}</li>", escape(&run.label()), escape(&beside_limits(run, limits)));
        }
        out.push_str("</ul>");
    }
}

fn warnings(out: &mut String, report: &Report) {
    for run in &report.runs {
        let mut lines: Vec<String> = run.warnings.clone();
        if let Some(findings) = &run.findings {
            lines.push(if findings.is_clean() {
                format!(
                    "verified: all {} acknowledged records came once, in order and unaltered",
                    findings.acknowledged
                )
            } else {
                format!(
                    "VERIFICATION FAILED: {} lost, {} duplicated, {} reordered, {} altered",
                    findings.lost, findings.duplicated, findings.reordered, findings.altered
                )
            });
        }
        for line in lines {
            let _ = write!(out, "<p class=\"warning\"><b>{}</b>: {}</p>", escape(&run.label()), escape(&line));
        }
    }
}

/// What is drawn of each second, and whether dashed.
type Curve = (fn(&SecondReport) -> f64, bool);

fn charts(out: &mut String, report: &Report, workload: &str, labels: &[String]) {
    let runs: Vec<&RunReport> = report.runs.iter().filter(|run| run.workload.name == workload).collect();
    let Some(first) = runs.first() else { return };
    let _ = write!(
        out,
        "<h2>{}</h2><p class=\"soft\">{}</p><div class=\"legend\">",
        escape(workload),
        escape(&first.workload.summary())
    );
    for (color, label) in labels.iter().enumerate() {
        if runs.iter().any(|run| run.broker.label == *label) {
            let _ = write!(out, "<span><i class=\"b{}\"></i>{}</span>", color % COLORS, escape(label));
        }
    }
    out.push_str("</div><div class=\"charts\">");
    let color = |run: &RunReport| labels.iter().position(|label| *label == run.broker.label).unwrap_or(0);
    let quantiles = |what: &str, of: fn(&RunReport) -> &Option<Latencies>| {
        let line = |run: &&RunReport| {
            let latencies = of(run).as_ref()?;
            // The largest of a thousand says nothing about one in a million: the line ends where the records do.
            let end = 1.0 - 1.0 / latencies.count.max(2) as f64;
            let points = latencies.curve.iter().map(|(quantile, ms, _)| (quantile.min(end), *ms)).collect();
            Some(Line { color: color(run), label: run.label(), points, dashed: false })
        };
        let lines = runs.iter().filter_map(line).collect();
        Chart { what, x: XAxis::Quantile, y: YAxis::Logarithmic, unit: "ms", lines }.svg()
    };
    let warm_up = first.workload.warm_up_seconds;
    let over_time = |what: &str, y: YAxis, unit: &'static str, of: &[Curve]| {
        let mut lines = Vec::new();
        for run in &runs {
            for &(value, dashed) in of {
                // The last second is cut short.
                let seconds = &run.series[..run.series.len().saturating_sub(1)];
                let points: Vec<_> = seconds.iter().map(|s| (s.second as f64, value(s))).collect();
                // A single second makes no line.
                if points.len() > 1 && points.iter().any(|(_, y)| *y > 0.0) {
                    lines.push(Line { color: color(run), label: run.label(), points, dashed });
                }
            }
        }
        Chart { what, x: XAxis::Seconds { warm_up }, y, unit, lines }.svg()
    };
    let all = [
        ("Publish latency by percentile", quantiles("publish latency", |run| &run.publish)),
        ("End-to-end latency by percentile", quantiles("end-to-end latency", |run| &run.end_to_end)),
        (
            "Throughput over time: produced, and consumed (dashed)",
            over_time("throughput", YAxis::Linear, "MB/s", &[(|s| s.produced_mb, false), (|s| s.consumed_mb, true)]),
        ),
        (
            "Publish latency over time: p99 of each second, and its largest (dashed)",
            over_time("latency", YAxis::Logarithmic, "ms", &[(|s| s.publish_p99, false), (|s| s.publish_max, true)]),
        ),
    ];
    for (caption, svg) in all {
        if let Some(svg) = svg {
            let _ = write!(out, "<figure><figcaption>{caption}</figcaption>{svg}</figure>");
        }
    }
    out.push_str("</div>");
}

fn limits(out: &mut String, report: &Report) {
    let Some(limits) = &report.limits else { return };
    out.push_str(
        "<h2>The machine's limits</h2><p>Measured in the same run; no broker can be faster here.</p><table><tbody>",
    );
    for limit in limits.all() {
        let _ = write!(
            out,
            "<tr><td class=\"t\">{}</td><td>{}</td><td class=\"t soft\">{}</td></tr>",
            escape(&limit.name),
            if limit.unit == "MB/s" {
                rate(limit.value)
            } else {
                format!("{} {}", number(limit.value), escape(&limit.unit))
            },
            escape(&limit.note)
        );
    }
    out.push_str("</tbody></table>");
}

fn notes(out: &mut String, report: &Report) {
    if report.notes.is_empty() {
        return;
    }
    out.push_str("<h2>Notes</h2><ul>");
    for note in &report.notes {
        let _ = write!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul>");
}

fn manifest(out: &mut String, report: &Report) {
    out.push_str("<h2>Where this was measured</h2><table><tbody>");
    for (name, value) in report.manifest.rows() {
        let _ = write!(out, "<tr><td class=\"t\">{name}</td><td class=\"w\">{}</td></tr>", escape(&value));
    }
    out.push_str("</tbody></table>");
    let mut shown = Vec::new();
    out.push_str(
        "<h3>Brokers</h3><div class=\"scroll\"><table><thead><tr><th class=\"t\">broker</th><th class=\"t\">version</th>\
         <th class=\"t\">acks=all means</th><th class=\"t\">settings</th></tr></thead><tbody>",
    );
    for run in &report.runs {
        let broker = &run.broker;
        if shown.contains(&&broker.label) {
            continue;
        }
        shown.push(&broker.label);
        let set = broker.settings.iter().filter(|(_, value)| !value.is_empty() && *value != NEVER);
        let settings: Vec<String> = set.map(|(key, value)| format!("{key}={value}")).collect();
        let _ = write!(
            out,
            "<tr><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"w soft\">{}</td></tr>",
            escape(&broker.label),
            escape(&broker.version),
            escape(&broker.durability),
            escape(&settings.join(" "))
        );
    }
    out.push_str("</tbody></table></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_page_stands_alone_and_shows_text_as_text() {
        let mut report = Report { title: "<b>x</b>".to_owned(), ..Report::default() };
        report.runs.push(RunReport { workload: Workload::default(), ..RunReport::default() });
        let page = page(&report);
        assert!(page.contains("&lt;b&gt;x&lt;/b&gt;") && !page.contains("<b>x</b>"));
        for outside in ["http://", "https://", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
