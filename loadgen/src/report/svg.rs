//! Charts as inline SVG, drawn here so that a report needs no network and no script.

use std::fmt::Write;

use super::table::number;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

pub struct Line {
    /// Which colour, from 0.
    pub color: usize,
    pub label: String,
    /// In the order of x.
    pub points: Vec<(f64, f64)>,
    pub dashed: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum XAxis {
    /// Quantiles from 0 to 1, each nine as wide as the one before.
    Quantile,
    /// Seconds, and up to which the run warmed up.
    Seconds { warm_up: f64 },
}

#[derive(Clone, Copy, PartialEq)]
pub enum YAxis {
    /// From nought.
    Linear,
    /// Decades.
    Logarithmic,
}

pub struct Chart<'a> {
    pub what: &'a str,
    pub x: XAxis,
    pub y: YAxis,
    pub unit: &'a str,
    pub lines: Vec<Line>,
}

/// A number of colours as the style sheet has them (`--c0` and so on).
pub const COLORS: usize = 6;

impl Chart<'_> {
    /// The chart; nothing where there is nothing to show.
    pub fn svg(&self) -> Option<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        points().next()?;
        let x_max = points().map(|(x, _)| self.place_x(*x)).fold(0.0, f64::max).max(1e-9);
        let (low, high) = self.range(points().map(|(_, y)| *y));
        let to_x = |x: f64| LEFT + self.place_x(x) / x_max * (WIDTH - LEFT - RIGHT);
        let scale = |y: f64| match self.y {
            YAxis::Linear => (y - low) / (high - low),
            YAxis::Logarithmic => (y.max(low) / low).log10() / (high / low).log10(),
        };
        let to_y = |y: f64| HEIGHT - BOTTOM - scale(y) * (HEIGHT - TOP - BOTTOM);
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            super::html::escape(self.what)
        );
        if let XAxis::Seconds { warm_up } = self.x
            && warm_up > 0.0
        {
            let end = to_x(warm_up);
            let _ = write!(
                out,
                "<rect class=\"warm\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/><text class=\"tick\" x=\"{:.1}\" \
                 y=\"{}\">warm-up</text>",
                end - LEFT,
                HEIGHT - TOP - BOTTOM,
                LEFT + 4.0,
                TOP + 11.0
            );
        }
        for y in self.y_ticks(low, high) {
            let at = to_y(y);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick end\" x=\"{}\" \
                 y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 3.5,
                number(y)
            );
        }
        for (x, text) in self.x_ticks(x_max) {
            let at = to_x(x);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/><text class=\"tick mid\" x=\"{at:.1}\" \
                 y=\"{}\">{text}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 14.0
            );
        }
        let below = match self.x {
            XAxis::Quantile => "percentile",
            XAxis::Seconds { .. } => "seconds of the run",
        };
        let _ = write!(
            out,
            "<text class=\"tick mid\" x=\"{:.1}\" y=\"{}\">{below}</text><text class=\"tick mid\" \
             transform=\"translate(12 {:.1}) rotate(-90)\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 6.0,
            f64::midpoint(TOP, HEIGHT - BOTTOM),
            self.unit
        );
        for line in &self.lines {
            self.draw(&mut out, line, &to_x, &to_y);
        }
        out.push_str("</svg>");
        Some(out)
    }

    fn draw(&self, out: &mut String, line: &Line, to_x: &dyn Fn(f64) -> f64, to_y: &dyn Fn(f64) -> f64) {
        let mut path = String::new();
        for (at, (x, y)) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, to_x(*x), to_y(*y));
        }
        let dashed = if line.dashed { " dashed" } else { "" };
        let color = line.color % COLORS;
        let label = super::html::escape(&line.label);
        let _ = write!(out, "<path class=\"line s{color}{dashed}\" d=\"{path}\"><title>{label}</title></path>");
        // Places to hover over, not too many.
        let every = line.points.len().div_ceil(40).max(1);
        for (x, y) in line.points.iter().step_by(every) {
            let shown = match self.x {
                XAxis::Quantile => format!("p{}", percentile(*x)),
                XAxis::Seconds { .. } => format!("second {x:.0}"),
            };
            let _ = write!(
                out,
                "<circle class=\"dot f{color}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{label}, {shown}: {} {}</title></circle>",
                to_x(*x),
                to_y(*y),
                number(*y),
                self.unit
            );
        }
    }

    fn place_x(&self, x: f64) -> f64 {
        match self.x {
            XAxis::Quantile => -(1.0 - x.min(1.0 - 1e-7)).log10(),
            XAxis::Seconds { .. } => x,
        }
    }

    fn x_ticks(&self, x_max: f64) -> Vec<(f64, String)> {
        match self.x {
            XAxis::Quantile => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                .into_iter()
                .filter(|quantile| self.place_x(*quantile) <= x_max + 1e-9)
                .map(|quantile| (quantile, percentile(quantile)))
                .collect(),
            XAxis::Seconds { .. } => {
                let step = nice_step(x_max, 8.0).max(1.0);
                (0..=(x_max / step) as u32).map(|at| f64::from(at) * step).map(|x| (x, format!("{x:.0}"))).collect()
            }
        }
    }

    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values {
            if value > 0.0 {
                low = low.min(value);
            }
            high = high.max(value);
        }
        if !low.is_finite() {
            return (if self.y == YAxis::Linear { 0.0 } else { 0.1 }, 1.0);
        }
        match self.y {
            YAxis::Linear => {
                let step = nice_step(high, 5.0);
                (0.0, (high / step).ceil() * step)
            }
            YAxis::Logarithmic => {
                let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
                (low, if high > low { high } else { low * 10.0 })
            }
        }
    }

    fn y_ticks(&self, low: f64, high: f64) -> Vec<f64> {
        match self.y {
            YAxis::Linear => {
                let step = nice_step(high, 5.0);
                (0..=(high / step).round() as u32).map(|at| f64::from(at) * step).collect()
            }
            YAxis::Logarithmic => {
                let decades = (high / low).log10().round() as i32;
                (0..=decades).map(|decade| low * 10_f64.powi(decade)).collect()
            }
        }
    }
}

fn percentile(quantile: f64) -> String {
    let text = format!("{:.4}", quantile * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// 1, 2 or 5 times a power of ten, such that about `count` of them make `max`.
fn nice_step(max: f64, count: f64) -> f64 {
    let raw = (max / count).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let digit = raw / power;
    power
        * if digit <= 1.0 {
            1.0
        } else if digit <= 2.0 {
            2.0
        } else if digit <= 5.0 {
            5.0
        } else {
            10.0
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_makes_no_chart_and_one_point_makes_one() {
        let chart = |points| Chart {
            what: "latency",
            x: XAxis::Quantile,
            y: YAxis::Logarithmic,
            unit: "ms",
            lines: vec![Line { color: 0, label: "a < b".to_owned(), points, dashed: false }],
        };
        assert!(chart(Vec::new()).svg().is_none());
        let svg = chart(vec![(0.5, 1.0)]).svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("a &lt; b"), "{svg}");
        let svg = chart(vec![(0.0, 0.0), (1.0, 0.0)]).svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn steps_are_round_numbers() {
        assert_eq!((nice_step(100.0, 5.0), nice_step(33.0, 5.0), nice_step(0.7, 5.0)), (20.0, 10.0, 0.2));
        assert_eq!((percentile(0.999), percentile(0.0), percentile(0.5)), ("99.9".into(), "0".into(), "50".into()));
    }
}
