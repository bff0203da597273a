//! What a run leaves behind: numbers as a value, a table, JSON, a page, and `.hgrm` files.

pub mod data;
mod hgrm;
mod html;
mod manifest;
mod svg;
mod table;

use std::path::Path;

use crate::error::Error;

pub use data::{Ratio, Report, RunReport};
pub use manifest::Manifest;
pub use table::{comparison_table, limits_line, limits_table, rate, run_table, summary_table};

/// Writes `report.json`, `report.html` and a `.hgrm` file for each run's latencies into a directory.
pub fn write(report: &Report, directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(|error| Error::file(directory, &error))?;
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| Error::file(&path, &error))
    };
    let json = serde_json::to_string_pretty(report).map_err(|error| Error::Wrong(error.to_string()))?;
    put("report.json", &json)?;
    put("report.html", &html::page(report))?;
    for (at, run) in report.runs.iter().enumerate() {
        for (name, latencies) in [("publish", &run.publish), ("end-to-end", &run.end_to_end)] {
            if let Some(latencies) = latencies {
                let label: String =
                    run.label().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
                put(&format!("{:02}-{label}-{name}.hgrm", at + 1), &hgrm::text(latencies))?;
            }
        }
    }
    Ok(())
}

/// Lays reports beside each other: all runs, the manifest of the first, and ratios between runs of equal workloads.
pub fn join(reports: Vec<(String, Report)>) -> Report {
    if reports.len() == 1 {
        return reports.into_iter().map(|(_, report)| report).next().unwrap_or_default();
    }
    let mut joined =
        Report { format: 1, title: format!("{} reports side by side", reports.len()), ..Report::default() };
    for (at, (name, report)) in reports.into_iter().enumerate() {
        let manifest = &report.manifest;
        joined.notes.push(format!(
            "{}: {name}, {}, {} on {}, {}",
            letter(at),
            manifest.when,
            manifest.cpu,
            manifest.file_system,
            manifest.kernel
        ));
        joined.notes.extend(report.notes.iter().map(|note| format!("{}: {note}", letter(at))));
        if at == 0 {
            joined.manifest = report.manifest.clone();
            joined.limits.clone_from(&report.limits);
        }
        for mut run in report.runs {
            run.broker.label = format!("{}: {}", letter(at), run.broker.label);
            joined.runs.push(run);
        }
    }
    joined.ratios = ratios_to_the_first(&joined.runs);
    joined
}

/// The runs of the first report against those of each other of the same workload and broker; where both have one broker
/// for a workload, whatever it is called.
fn ratios_to_the_first(runs: &[RunReport]) -> Vec<Ratio> {
    let mut groups: Vec<(&str, &str, &str, Vec<&RunReport>)> = Vec::new();
    for run in runs {
        let (report, broker) = run.broker.label.split_once(": ").unwrap_or_default();
        let key = (report, run.workload.name.as_str(), broker);
        match groups.iter_mut().find(|group| (group.0, group.1, group.2) == key) {
            Some(group) => group.3.push(run),
            None => groups.push((key.0, key.1, key.2, vec![run])),
        }
    }
    let brokers = |report: &str, workload: &str| groups.iter().filter(|g| g.0 == report && g.1 == workload).count();
    let mut all = Vec::new();
    for (_, workload, broker, first) in groups.iter().filter(|group| group.0 == "A") {
        for (report, _, other, runs) in groups.iter().filter(|group| group.0 != "A" && group.1 == *workload) {
            if broker == other || (brokers("A", workload) == 1 && brokers(report, workload) == 1) {
                all.extend(data::ratios(first, runs));
            }
        }
    }
    all
}

fn letter(at: usize) -> char {
    char::from(b'A' + (at % 26) as u8)
}

/// Reads a report written before.
pub fn read(path: &Path) -> Result<Report, Error> {
    let path = if path.is_dir() { &path.join("report.json") } else { path };
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, &error))?;
    serde_json::from_str(&text).map_err(|error| Error::Wrong(format!("{} is no report: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(brokers: &[(&str, f64)]) -> Report {
        let run = |(label, rate): &(&str, f64)| {
            let mut run = RunReport { round: 1, ..RunReport::default() };
            (*label).clone_into(&mut run.broker.label);
            run.produced.mb_per_second = *rate;
            run
        };
        Report { runs: brokers.iter().map(run).collect(), ..Report::default() }
    }

    #[test]
    fn joined_reports_compare_a_broker_with_itself() {
        let before = report(&[("corelane", 100.0), ("kafka", 20.0)]);
        let after = report(&[("kafka", 10.0), ("corelane", 50.0)]);
        let ratios = join(vec![("x".to_owned(), before), ("y".to_owned(), after)]).ratios;
        let shown: Vec<_> = ratios.iter().map(|r| (r.a.label.as_str(), r.b.label.as_str(), r.ratio)).collect();
        assert_eq!(shown, [("A: corelane", "B: corelane", Some(2.0)), ("A: kafka", "B: kafka", Some(2.0))]);
        let ratios =
            join(vec![("x".to_owned(), report(&[("one", 3.0)])), ("y".to_owned(), report(&[("two", 1.0)]))]).ratios;
        assert_eq!(
            (ratios.len(), ratios[0].ratio),
            (1, Some(3.0)),
            "where there is one each, its name does not matter"
        );
    }
}
