//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::generator::Live;

/// Between two plain lines of one phase.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    last_line: Option<(String, Instant)>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { bar: std::io::stderr().is_terminal().then(bar), what: String::new(), last_line: None }
    }

    /// Names what comes next.
    pub fn begin(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        self.last_line = None;
        match &self.bar {
            Some(bar) => {
                bar.set_position(0);
                bar.set_message(what.to_owned());
                bar.tick();
            }
            None => eprintln!("{what}"),
        }
    }

    /// Shows how it goes.
    pub fn show(&mut self, phase: &str, live: &Live) {
        let rate = |counts: crate::generator::measure::Counts| {
            format!("{:.0} records/s, {:.0} MB/s", counts.records as f64, counts.bytes as f64 / 1e6)
        };
        let mut text = String::new();
        if live.produced.records > 0 {
            text = format!("in {}, p99 {:.2} ms", rate(live.produced), live.p99_ms);
        }
        if live.consumed.records > 0 {
            text = format!("{text}{}out {}", if text.is_empty() { "" } else { "; " }, rate(live.consumed));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(((live.total_seconds * 10.0) as u64).max(1));
            bar.set_position((live.elapsed_seconds.min(live.total_seconds) * 10.0) as u64);
            bar.set_message(format!("{} ({phase}): {text}", self.what));
            return;
        }
        let due = self.last_line.as_ref().is_none_or(|(of, at)| of != phase || at.elapsed() >= LINE_EVERY);
        if due && !text.is_empty() {
            let of = if live.total_seconds > 0.0 { format!(" of {:.0}", live.total_seconds) } else { String::new() };
            eprintln!("  {phase}, {:.0}{of} s: {text}", live.elapsed_seconds);
            self.last_line = Some((phase.to_owned(), Instant::now()));
        }
    }

    /// Prints something for good, above the bar.
    pub fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}
