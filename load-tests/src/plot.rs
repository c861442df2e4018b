//! Plots as SVG: bars for cases, lines for distributions and for what happens over time.
//!
//! Drawn by hand, for two kinds of picture do not need a library. They carry their own background, so that they can be read in
//! light and dark pages alike.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
/// Colours that the colour-blind can tell apart (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What is seen.
    pub title: String,
    /// What is told, and how.
    pub shape: Shape,
}

/// The kinds of picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A bar for each label.
    Bars(Vec<(String, f64)>),
    /// Lines of points from left to right, each with its name.
    Lines {
        /// What the horizontal axis tells.
        axis: &'static str,
        /// The lines.
        lines: Vec<(String, Vec<(f64, f64)>)>,
    },
}

impl Plot {
    /// Bars under a title, which names the unit.
    #[must_use]
    pub fn bars(title: &str, bars: Vec<(String, f64)>) -> Self {
        Self { title: title.to_owned(), shape: Shape::Bars(bars) }
    }

    /// Lines under a title, which names the unit.
    #[must_use]
    pub fn lines(title: &str, axis: &'static str, lines: Vec<(String, Vec<(f64, f64)>)>) -> Self {
        Self { title: title.to_owned(), shape: Shape::Lines { axis, lines } }
    }

    /// The picture as an SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        let legend = match &self.shape {
            Shape::Bars(_) => 0,
            Shape::Lines { lines, .. } => lines.len(),
        };
        let bottom = 44.0 + 18.0 * crate::statistics::count(legend);
        let mut svg = Canvas::new(HEIGHT + bottom);
        svg.text(LEFT, 24.0, "start", 15.0, &self.title);
        match &self.shape {
            Shape::Bars(bars) => svg.bars(bars),
            Shape::Lines { axis, lines } => svg.lines(axis, lines),
        }
        svg.end()
    }
}

/// The points of a sample's distribution: so many percent of it do not exceed a value.
#[must_use]
pub fn distribution(sample: &[f64]) -> Vec<(f64, f64)> {
    let at = |percent: f64| crate::statistics::percentile(sample, percent).map(|value| (percent, value));
    (0..=100).filter_map(|percent| at(f64::from(percent))).collect()
}

struct Canvas(String);

impl Canvas {
    fn new(height: f64) -> Self {
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">
<rect width="{WIDTH}" height="{height}" fill="white"/>"#
        );
        Self(svg)
    }

    fn bars(&mut self, bars: &[(String, f64)]) {
        let top = nice_top(bars.iter().map(|(_, value)| *value));
        self.scale(top);
        let slot = (WIDTH - LEFT - RIGHT) / crate::statistics::count(bars.len().max(1));
        for (n, (label, value)) in bars.iter().enumerate() {
            let x = LEFT + slot * crate::statistics::count(n);
            let y = height_of(*value, top);
            let _ = writeln!(
                self.0,
                r#"<rect x="{:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{}"/>"#,
                x + slot * 0.15,
                slot * 0.7,
                HEIGHT - y,
                COLOURS[0]
            );
            let middle = x + slot / 2.0;
            self.text(middle, y - 5.0, "middle", 11.0, &short(*value));
            // Neighbours' labels stand on different lines, so that long ones have room.
            let line = crate::statistics::count(n % 3);
            self.text(middle, HEIGHT + 16.0 + 13.0 * line, "middle", 11.0, label);
        }
    }

    fn lines(&mut self, axis: &str, lines: &[(String, Vec<(f64, f64)>)]) {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let top = nice_top(points().map(|(_, y)| *y));
        let (low, high) =
            points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
        if !low.is_finite() {
            return;
        }
        let span = if high > low { high - low } else { 1.0 };
        self.scale(top);
        for (x, anchor) in [(low, "start"), (f64::midpoint(low, high), "middle"), (high, "end")] {
            let at = LEFT + (WIDTH - LEFT - RIGHT) * (x - low) / span;
            self.text(at, HEIGHT + 16.0, anchor, 11.0, &short(x));
        }
        self.text(WIDTH / 2.0, HEIGHT + 32.0, "middle", 11.0, axis);
        for (n, (name, points)) in lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let place = |(x, y): &(f64, f64)| {
                format!("{:.1},{:.1}", LEFT + (WIDTH - LEFT - RIGHT) * (x - low) / span, height_of(*y, top))
            };
            let places: Vec<String> = points.iter().map(place).collect();
            let _ = writeln!(
                self.0,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                places.join(" ")
            );
            let y = HEIGHT + 50.0 + 18.0 * crate::statistics::count(n);
            let _ = writeln!(self.0, r#"<rect x="{LEFT}" y="{:.1}" width="14" height="4" fill="{colour}"/>"#, y - 6.0);
            self.text(LEFT + 20.0, y, "start", 11.0, name);
        }
    }

    /// The vertical axis, with four lines across.
    fn scale(&mut self, top: f64) {
        for quarter in 0..=4 {
            let value = top * f64::from(quarter) / 4.0;
            let y = height_of(value, top);
            let _ = writeln!(
                self.0,
                r##"<line x1="{LEFT}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="#ddd"/>"##,
                WIDTH - RIGHT
            );
            self.text(LEFT - 6.0, y + 4.0, "end", 11.0, &short(value));
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ =
            writeln!(self.0, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#);
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

fn height_of(value: f64, top: f64) -> f64 {
    HEIGHT - (HEIGHT - TOP) * (value / top).clamp(0.0, 1.0)
}

/// The next 1, 2, 4 or 8 times a power of ten that nothing exceeds.
fn nice_top(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 8.0].into_iter().map(|times| times * power).find(|top| *top >= most).unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 10_000.0 => format!("{:.0}k", value / 1_000.0),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_the_next_round_number() {
        assert_eq!(nice_top([3.0, 41.0].into_iter()), 80.0);
        assert_eq!(nice_top([0.09].into_iter()), 0.1);
        assert_eq!(nice_top([1_000.0].into_iter()), 1_000.0);
        assert_eq!(nice_top(std::iter::empty()), 1.0);
    }

    #[test]
    fn each_bar_is_as_high_as_its_value() {
        let svg = Plot::bars("keys/s", vec![("a<b".to_owned(), 50.0), ("c".to_owned(), 100.0)]).svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"), "{svg}");
        assert!(svg.contains(r#"height="150.0""#) && svg.contains(r#"height="300.0""#), "{svg}");
    }

    #[test]
    fn lines_span_the_whole_width() {
        let svg = Plot::lines("ms", "percent", vec![("one".to_owned(), vec![(0.0, 0.0), (100.0, 8.0)])]).svg();
        assert!(svg.contains(r#"points="64.0,340.0 744.0,40.0""#), "{svg}");
        assert!(!Plot::lines("ms", "percent", Vec::new()).svg().contains("polyline"));
    }

    #[test]
    fn a_distribution_rises_from_the_least_to_the_most() {
        let points = distribution(&[5.0, 1.0, 3.0]);
        assert_eq!((points.first(), points.last(), points.len()), (Some(&(0.0, 1.0)), Some(&(100.0, 5.0)), 101));
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }
}
