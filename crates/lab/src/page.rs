//! The report as one page of HTML that opens without a network: plots are SVG, nothing is loaded, nothing runs.
//!
//! `plot.rs` draws; this file decides what is shown: the ranking, what every arm reached everywhere, what we lose,
//! and for each scenario the day itself (goodput over the oracle's, calls in flight over the knee, calls a second)
//! with bars for p99, calls for each commit, and recovery.

mod plot;

use std::fmt::Write;

use crate::arms::{BASE, ORACLE, OURS};
use crate::report::{Cell, Report, ScenarioReport, mix_name, set_name};
use plot::{Bar, Line};

const STYLE: &str = include_str!("page/style.css");
/// Curves beside ours and the base's, the best of the others.
const RIVALS_DRAWN: usize = 2;

/// The whole page.
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(1 << 18);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(page, "<title>Tidegate lab</title>\n<style>{STYLE}</style></head><body><main>\n");
    head(&mut page, report);
    ranking(&mut page, report);
    everywhere(&mut page, report);
    calls(&mut page, report);
    losses(&mut page, report);
    page.push_str("<h2>Scenario by scenario</h2>\n");
    for scenario in &report.scenarios {
        one(&mut page, scenario);
    }
    page.push_str("</main></body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn number(n: Option<f64>, digits: usize) -> String {
    match n {
        None => "–".into(),
        Some(n) if n >= 100_000.0 => format!("{:.0} k", n / 1_000.0),
        Some(n) => format!("{n:.digits$}"),
    }
}

fn class_of(arm: &str) -> &'static str {
    match arm {
        OURS => " class=\"ours\"",
        ORACLE => " class=\"oracle\"",
        BASE => " class=\"base\"",
        _ => "",
    }
}

fn head(page: &mut String, report: &Report) {
    let arms = report.scenarios.first().map_or(0, |s| s.cells.len());
    let _ = writeln!(
        page,
        "<header><h1>Tidegate lab</h1><p class=\"lead\">{} scenarios, {arms} arms, {} seeds. Every arm meets the same arrivals, service times and faults. \
         Goodput is what commits before its deadline, as a share of what the oracle reaches: an arm that knows capacity, knee and quota at every instant.</p></header>",
        report.scenarios.len(),
        report.seeds
    );
    let ours: Vec<&Cell> = report.scenarios.iter().flat_map(|s| s.cells.iter().filter(|c| c.arm == OURS)).collect();
    if ours.is_empty() {
        return;
    }
    let worst = ours.iter().map(|c| c.figures.settled_over_oracle).fold(f64::INFINITY, f64::min);
    let mean = ours.iter().map(|c| c.figures.goodput_over_oracle).sum::<f64>() / ours.len() as f64;
    let metastable: Vec<&Cell> = report
        .scenarios
        .iter()
        .filter(|s| s.is_metastable)
        .flat_map(|s| s.cells.iter().filter(|c| c.arm == OURS))
        .collect();
    let back = metastable.iter().filter(|c| c.recovered_in_60s.is_some_and(|r| r >= 1.0)).count();
    let mut ratios: Vec<f64> = ours.iter().filter_map(|c| c.figures.inflight_over_knee).collect();
    ratios.sort_by(f64::total_cmp);
    let stress = report.calls.iter().find(|c| c.arm == OURS && c.mix == "stress").map(|c| c.r_calls_per_commit * 100.0);
    page.push_str("<dl class=\"tiles\">");
    let mut tile = |name: &str, value: String, note: &str| {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{value}</dd><p>{note}</p></div>");
    };
    tile("goodput over oracle", format!("{mean:.3}"), "mean over scenarios");
    tile("settled, at worst", format!("{worst:.3}"), "without 15 s after each change");
    tile("back within 60 s", format!("{back} of {}", metastable.len()), "metastable scenarios, every seed");
    tile("in flight over L*", number(ratios.get(ratios.len() / 2).copied(), 2), "median of medians");
    tile(
        "fewer calls for each commit",
        stress.map_or_else(|| "–".into(), |r| format!("{r:.0} %")),
        "than the static limit, stress mix",
    );
    tile("mean rank", number(report.mean_rank.get(OURS).copied(), 2), "of all arms but the oracle");
    page.push_str("</dl>\n");
}

fn ranking(page: &mut String, report: &Report) {
    let mut ranks: Vec<(&String, f64)> = report.mean_rank.iter().map(|(arm, rank)| (arm, *rank)).collect();
    ranks.sort_by(|a, b| a.1.total_cmp(&b.1));
    page.push_str(
        "<h2>Who is best</h2><p>Mean rank over scenarios, smaller is better. Goodput decides; where it is the same within 1 %, calls for each commit, then p99. \
         The test is Wilcoxon's over scenarios on the logarithm of goodput, corrected by Holm.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>arm</th><th>mean rank</th><th class=\"wide\"></th><th>we win</th><th>even</th><th>we lose</th><th>our goodput over theirs</th><th>p</th></tr></thead><tbody>",
    );
    let worst = ranks.last().map_or(1.0, |r| r.1);
    for (arm, rank) in ranks {
        let duel = report.duels.iter().find(|d| d.arm == *arm);
        let cells = duel.map_or_else(
            || "<td></td>".repeat(5),
            |d| {
                let p = if d.p < 0.001 { "&lt; 0.001".into() } else { format!("{:.3}", d.p) };
                format!(
                    "<td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{p}</td>",
                    d.won,
                    d.even,
                    d.lost,
                    d.log_ratio.exp()
                )
            },
        );
        let _ = write!(
            page,
            "<tr{}><th>{}</th><td>{rank:.2}</td><td class=\"wide\"><span class=\"bar\" style=\"width:{:.1}%\"></span></td>{cells}</tr>",
            class_of(arm),
            escaped(arm),
            100.0 * rank / worst
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn everywhere(page: &mut String, report: &Report) {
    let Some(first) = report.scenarios.first() else { return };
    page.push_str("<h2>Goodput over the oracle’s, everywhere</h2><div class=\"scroll\"><table class=\"heat\"><thead><tr><th></th>");
    for cell in first.cells.iter().filter(|c| c.arm != ORACLE) {
        let _ = write!(page, "<th class=\"turned\"><span>{}</span></th>", escaped(&cell.arm));
    }
    page.push_str("</tr></thead><tbody>");
    for scenario in &report.scenarios {
        let _ = write!(page, "<tr><th><a href=\"#{0}\">{0}</a></th>", escaped(&scenario.name));
        for cell in scenario.cells.iter().filter(|c| c.arm != ORACLE) {
            // Ten steps between nothing and the oracle, most of them near the oracle, where it matters.
            let step = (cell.figures.goodput_over_oracle.clamp(0.0, 1.0).powi(4) * 9.0).round() as u8;
            let _ = write!(page, "<td class=\"h{step}\">{:.2}</td>", cell.figures.goodput_over_oracle);
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>\n");
}

fn calls(page: &mut String, report: &Report) {
    if report.calls.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<h2>Calls</h2><p>All external calls (attempts, probes, undo) from the trigger until nothing is left to do, against <b>{BASE}</b>: \
         a declared limit, three attempts, exponential backoff with full jitter. Few calls count only beside goodput that is not less.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>mix</th><th>arm</th><th>fewer calls</th><th>fewer for each commit</th><th>goodput over its</th></tr></thead><tbody>"
    );
    for calls in &report.calls {
        let _ = write!(
            page,
            "<tr{}><td>{}</td><th>{}</th><td>{:.1} %</td><td>{:.1} %</td><td>{:.3}</td></tr>",
            class_of(&calls.arm),
            calls.mix,
            escaped(&calls.arm),
            calls.r_calls * 100.0,
            calls.r_calls_per_commit * 100.0,
            calls.goodput_over_base
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn losses(page: &mut String, report: &Report) {
    page.push_str("<h2>Where ours loses</h2>");
    if report.losses.is_empty() {
        page.push_str("<p>In no cell has another arm more than 1 % more goodput.</p>\n");
        return;
    }
    page.push_str("<p>Every cell in which another arm has more than 1 % more goodput.</p><div class=\"scroll\"><table><thead><tr><th>scenario</th><th>arm</th><th>ours</th><th>theirs</th><th></th></tr></thead><tbody>");
    for loss in &report.losses {
        let sure = if loss.is_certain { "" } else { "within noise" };
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{sure}</td></tr>",
            escaped(&loss.scenario),
            escaped(&loss.arm),
            loss.ours,
            loss.theirs
        );
    }
    page.push_str("</tbody></table></div>\n");
}

/// Ours, the base, and the best of the others.
fn drawn(scenario: &ScenarioReport) -> Vec<&Cell> {
    let named = |name: &str| scenario.cells.iter().find(|c| c.arm == name);
    let mut others: Vec<&Cell> = scenario
        .cells
        .iter()
        .filter(|c| c.arm != OURS && c.arm != BASE && c.arm != ORACLE && !c.arm.starts_with("mutant"))
        .collect();
    others.sort_by(|a, b| b.figures.goodput_over_oracle.total_cmp(&a.figures.goodput_over_oracle));
    [named(OURS), named(BASE)].into_iter().flatten().chain(others.into_iter().take(RIVALS_DRAWN)).collect()
}

fn one(page: &mut String, scenario: &ScenarioReport) {
    let name = escaped(&scenario.name);
    let _ = writeln!(
        page,
        "<section id=\"{name}\"><h3>{name}</h3><p>{} <span class=\"tag\">{}</span> <span class=\"tag\">{} mix</span>{}</p>",
        escaped(&scenario.about),
        set_name(scenario.set),
        mix_name(scenario.mix),
        if scenario.is_metastable { " <span class=\"tag\">metastable</span>" } else { "" }
    );
    let drawn = drawn(scenario);
    page.push_str("<p class=\"legend\">");
    for (n, cell) in drawn.iter().enumerate() {
        let _ = write!(page, "<span class=\"s{n}\"><i></i>{}</span>", escaped(&cell.arm));
    }
    page.push_str("</p><div class=\"plots\">");
    let every_s = drawn.first().map_or(1.0, |c| c.curves.every_s);
    let mut curves = |title: &str, most: Option<f64>, line: Option<f64>, of: &dyn Fn(&Cell) -> Vec<Option<f64>>| {
        let lines: Vec<Line> = drawn.iter().map(|cell| Line { points: of(cell) }).collect();
        page.push_str(&plot::curves(title, &lines, every_s, scenario.trigger, most, line));
    };
    curves("goodput over the oracle’s", Some(1.5), Some(1.0), &|c| c.curves.goodput_over_oracle.clone());
    curves("calls in flight over the knee L*", Some(6.0), Some(1.0), &|c| c.curves.inflight_over_knee.clone());
    curves("external calls a second", None, None, &|c| c.curves.calls_per_s.iter().map(|n| Some(*n)).collect());
    let mut bars = |title: &str, digits: usize, of: &dyn Fn(&Cell) -> Option<f64>| {
        let bars: Vec<Bar> = drawn
            .iter()
            .map(|cell| Bar { name: escaped(&cell.arm), value: of(cell), label: number(of(cell), digits) })
            .collect();
        page.push_str(&plot::bars(title, &bars));
    };
    bars("p99 from arrival to commit, ms", 0, &|c| c.figures.p99_ms);
    bars("external calls for each commit", 2, &|c| c.figures.calls_per_commit);
    if scenario.cells.iter().any(|c| c.recovered_in_60s.is_some()) {
        bars("seconds until throughput is back", 0, &|c| c.recovered_s);
    }
    page.push_str("</div>\n<details><summary>All arms</summary><div class=\"scroll\"><table><thead><tr>");
    for column in [
        "arm",
        "goodput",
        "settled",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "in flight / L*",
        "inside, max",
        "calls / commit",
        "fewer calls",
        "waste",
        "undone",
        "back, s",
        "Jain",
        "settle, windows",
        "rank",
    ] {
        let _ = write!(page, "<th>{column}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for cell in &scenario.cells {
        let fewer = cell.r_calls.map_or_else(|| "–".into(), |r| format!("{:.0} %", r * 100.0));
        let _ = write!(
            page,
            "<tr{}><th>{}</th><td>{:.3}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td><td>{fewer}</td><td>{:.2}</td><td>{:.0}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            class_of(&cell.arm),
            escaped(&cell.arm),
            cell.figures.goodput_over_oracle,
            cell.figures.settled_over_oracle,
            number(cell.figures.p50_ms, 0),
            number(cell.figures.p99_ms, 0),
            number(cell.figures.p999_ms, 0),
            number(cell.figures.inflight_over_knee, 2),
            cell.figures.inside_max,
            number(cell.figures.calls_per_commit, 2),
            cell.figures.waste_share,
            cell.figures.compensations,
            number(cell.recovered_s, 0),
            number(cell.figures.jain, 3),
            number(cell.figures.settle_windows, 1),
            number(cell.rank, 1),
        );
    }
    page.push_str("</tbody></table></div></details></section>\n");
}
