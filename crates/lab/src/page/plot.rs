//! Curves and bars as SVG. Colours come from the page's style, so light and dark are the style's business.

use std::fmt::Write;

pub(super) struct Line {
    pub(super) points: Vec<Option<f64>>,
}

pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: Option<f64>,
    pub(super) label: String,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 38.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 22.0;
/// Seconds between marks of the time axis.
const TICKS_S: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 100.0, 120.0, 200.0, 300.0, 600.0];

/// A round number not below this one, for the end of an axis.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let ten = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .iter()
        .map(|m| m * ten)
        .find(|v| *v >= value * 0.999)
        .unwrap_or(10.0 * ten)
}

fn label(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Curves over time. `most` caps the axis, so that one that runs away does not press the others flat; `mark` is a
/// line across; `trigger` is shaded.
pub(super) fn curves(
    title: &str,
    lines: &[Line],
    every_s: f64,
    trigger: Option<(f64, f64)>,
    most: Option<f64>,
    mark: Option<f64>,
) -> String {
    let count = lines.iter().map(|l| l.points.len()).max().unwrap_or(0).max(2);
    let span_s = count as f64 * every_s;
    let greatest = lines.iter().flat_map(|l| l.points.iter().flatten()).copied().fold(mark.unwrap_or(0.0), f64::max);
    let top = round_up(most.map_or(greatest, |most| greatest.min(most)));
    let x = |s: f64| LEFT + (WIDTH - LEFT - 6.0) * (s / span_s);
    let y = |v: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (v / top).clamp(0.0, 1.0));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><text class=\"title\" x=\"0\" y=\"12\">{title}</text>"
    );
    if let Some((from, to)) = trigger {
        let to = to.min(span_s);
        let _ = write!(
            svg,
            "<rect class=\"trigger\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x(from),
            x(to) - x(from),
            HEIGHT - TOP - BOTTOM
        );
    }
    for tick in [0.0, top / 2.0, top] {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{1:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - 6.0,
            y(tick),
            LEFT - 4.0,
            y(tick) + 3.5,
            label(tick)
        );
    }
    let step_s = TICKS_S.iter().copied().find(|step| span_s / step <= 6.0).unwrap_or(span_s);
    let mut at_s = 0.0;
    while at_s <= span_s {
        let anchor = if at_s == 0.0 { "" } else { " middle" };
        let unit = if at_s == 0.0 { " s" } else { "" };
        let _ = write!(
            svg,
            "<text class=\"tick{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{at_s:.0}{unit}</text>",
            x(at_s),
            HEIGHT - 6.0
        );
        at_s += step_s;
    }
    if let Some(mark) = mark {
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{1:.1}\"/>",
            WIDTH - 6.0,
            y(mark)
        );
    }
    // The last drawn lies on top: ours.
    for (n, line) in lines.iter().enumerate().rev() {
        let mut path = String::new();
        let mut pen_is_up = true;
        for (at, point) in line.points.iter().enumerate() {
            match point {
                Some(value) => {
                    let _ = write!(
                        path,
                        "{}{:.1} {:.1}",
                        if pen_is_up { "M" } else { "L" },
                        x((at as f64 + 0.5) * every_s),
                        y(*value)
                    );
                    pen_is_up = false;
                }
                None => pen_is_up = true,
            }
        }
        let _ = write!(svg, "<path class=\"line s{n}\" d=\"{path}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Bars from the left, the longest the greatest value; none where there is no value.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const NAME: f64 = 108.0;
    const ROW: f64 = 24.0;
    const VALUE: f64 = 62.0;
    let height = TOP + ROW * bars.len() as f64 + 6.0;
    let greatest = bars.iter().filter_map(|b| b.value).fold(0.0, f64::max).max(1e-9);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><text class=\"title\" x=\"0\" y=\"12\">{title}</text>"
    );
    for (n, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let width = bar.value.map_or(0.0, |v| (WIDTH - NAME - VALUE) * (v / greatest)).max(if bar.value.is_some() {
            1.0
        } else {
            0.0
        });
        let said = if bar.value.is_some() { bar.label.clone() } else { "never".into() };
        let _ = write!(
            svg,
            "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text><rect class=\"fill s{n}\" x=\"{NAME}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/><text class=\"tick strong\" x=\"{:.1}\" y=\"{1:.1}\">{said}</text>",
            NAME - 6.0,
            y + 11.5,
            bar.name,
            y,
            NAME + width + 5.0,
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!([0.7, 1.0, 1.2, 340.0, 0.0].map(round_up), [0.8, 1.0, 1.5, 400.0, 1.0]);
    }

    #[test]
    fn a_gap_in_a_curve_stays_a_gap() {
        let line = Line { points: vec![Some(1.0), None, Some(1.0), Some(0.5)] };
        let svg = curves("t", &[line], 1.0, None, None, None);
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
    }
}
