//! Figures as a picture: an SVG that any browser shows.
//!
//! Not here: what is drawn. Written plainly, since two axes and a line need no library. Invariant: a
//! picture of nothing is still a picture.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Where the axes stand.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 340.0;

/// Points on a line, with their axes.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: String,
    /// What goes to the right.
    pub(super) across: String,
    /// What goes up.
    pub(super) up: String,
    /// Where the line goes through, each place between 0 and 1 of the way to the right, and how high.
    pub(super) points: Vec<(f64, f64)>,
    /// Marks of the axis to the right.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Plot {
    /// The picture.
    pub(super) fn svg(&self) -> String {
        let top = self.points.iter().map(|point| point.1).fold(0.0, f64::max);
        let top = nice(top);
        let x = |share: f64| LEFT + (RIGHT - LEFT) * share;
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / top;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
            escaped(&self.title)
        );
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let height = y(value);
            // Writing to a String cannot fail, here and below.
            let _infallible = writeln!(
                out,
                "<path d=\"M{LEFT} {height:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                height + 4.0,
                figure(value)
            );
        }
        for (share, words) in &self.ticks {
            let place = x(*share);
            let _infallible = writeln!(
                out,
                "<path d=\"M{place:.1} {TOP}V{BOTTOM}\" stroke=\"#eee\"/>\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 16.0,
                escaped(words)
            );
        }
        let line: Vec<String> = self
            .points
            .iter()
            .map(|&(share, value)| format!("{:.1},{:.1}", x(share), y(value)))
            .collect();
        let _infallible = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#0b62a4\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"380\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n\
             </svg>\n",
            line.join(" "),
            (LEFT + RIGHT) / 2.0,
            escaped(&self.across),
            (TOP + BOTTOM) / 2.0,
            escaped(&self.up)
        );
        out
    }
}

/// The next number upwards that a person would put at the end of an axis.
fn nice(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let fits = steps.into_iter().find(|step| step * power >= value);
    fits.unwrap_or(10.0) * power
}

fn figure(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{value:.3}"),
        ..20.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.0}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_words_and_its_line() {
        let plot = Plot {
            title: "a < b".to_owned(),
            across: "percentile".to_owned(),
            up: "ms".to_owned(),
            points: vec![(0.0, 0.0), (1.0, 7.0)],
            ticks: vec![(0.5, "90 %".to_owned())],
        };
        let svg = plot.svg();
        for words in ["a &lt; b", "percentile", "90 %", "80.0,340.0 700.0,77.5"] {
            assert!(svg.contains(words), "{words} is missing in {svg}");
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let check = |value, expected| assert_eq!(nice(value), expected);
        check(7.0, 8.0);
        check(0.0, 1.0);
        check(101.0, 200.0);
        check(f64::NAN, 1.0);
    }
}
