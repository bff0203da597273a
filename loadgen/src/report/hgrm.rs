//! Latencies in the text form that HdrHistogram's plotting tools read (`.hgrm`), in milliseconds.

use std::fmt::Write;

use super::data::Latencies;

pub fn text(latencies: &Latencies) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for &(quantile, value, below) in &latencies.curve {
        if quantile < 1.0 {
            let _ = writeln!(out, "{value:12.3} {quantile:2.12} {below:10} {:14.2}", 1.0 / (1.0 - quantile));
        } else {
            let _ = writeln!(out, "{value:12.3} {quantile:2.12} {below:10}");
        }
    }
    let _ = writeln!(out, "#[Mean    = {:12.3}, StdDeviation   = {:>12}]", latencies.mean, "-");
    let _ = writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", latencies.max, latencies.count);
    out
}
