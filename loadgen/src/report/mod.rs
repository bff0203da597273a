//! What a run leaves behind: numbers as a value, a table, JSON, a page, and `.hgrm` files.

pub mod data;
mod hgrm;
mod html;
mod manifest;
mod svg;
mod table;

use std::path::Path;

use crate::error::Error;

pub use data::{Report, RunReport};
pub use manifest::Manifest;
pub use table::{comparison_table, limits_table, run_table, summary_table};

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
    joined.ratios = data::ratios_of_first_and_others(&joined.runs);
    joined
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
