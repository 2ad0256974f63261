//! Series from files: arrivals per second, single arrivals with a size, or capacity that drifts.
//!
//! Three shapes, told apart by the first line:
//! - one number a line: arrivals per second, one value each second (Autothrottle);
//! - a header with `TIMESTAMP`: single arrivals, other columns are sizes (Azure LLM inference); or one column of
//!   milliseconds since the first arrival under the header `arrival_ms`, with an optional second column `size`;
//! - a header with `value`: measured capacity, one value a line, in order of `starttime` if there is one
//!   (Azure PostgreSQL).

use std::fmt;

/// What a file holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Series {
    /// Per second, one value a second.
    Rates(Vec<f64>),
    /// Seconds since the first arrival, and its size with mean 1.
    Arrivals(Vec<(f64, f64)>),
    /// Capacity as a factor of its median.
    Capacity(Vec<f64>),
}

/// Why a file is no series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotASeries {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for NotASeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Values beyond this are mistakes: the laboratory would spend its day on one second.
const VALUE_MAX: f64 = 1e9;

/// Reads any of the three shapes.
pub fn read(text: &str) -> Result<Series, NotASeries> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let Some((first_line, first)) = lines.next() else {
        return Err(NotASeries { line: 1, message: "the file is empty".into() });
    };
    if number(first).is_some() {
        let rates: Result<Vec<f64>, _> =
            std::iter::once((first_line, first)).chain(lines).map(|(n, line)| wanted(n, line)).collect();
        return rates.map(Series::Rates);
    }
    let header: Vec<&str> = first.split(',').map(str::trim).collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    if let Some(at) = column("TIMESTAMP") {
        let sizes: Vec<usize> = (0..header.len()).filter(|i| *i != at).collect();
        return arrivals(lines, |cells, n| {
            let stamp = cells.get(at).and_then(|text| stamp_s(text));
            let stamp = stamp.ok_or_else(|| bad(n, "TIMESTAMP must be like 2023-11-16 18:15:46.6805900"))?;
            let size = sizes.iter().map(|i| cells.get(*i).map_or(Ok(0.0), |c| wanted(n, c))).sum::<Result<f64, _>>()?;
            Ok((stamp, if sizes.is_empty() { 1.0 } else { size }))
        });
    }
    if let Some(at) = column("arrival_ms") {
        let size = column("size");
        return arrivals(lines, |cells, n| {
            let ms = wanted(n, cells.get(at).copied().unwrap_or_default())?;
            let size = size.map_or(Ok(1.0), |i| wanted(n, cells.get(i).copied().unwrap_or_default()))?;
            Ok((ms / 1_000.0, size))
        });
    }
    if let Some(at) = column("value") {
        let start = column("starttime");
        let mut values = Vec::new();
        for (n, line) in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let value = wanted(n, cells.get(at).copied().unwrap_or_default())?;
            let when = start.and_then(|i| cells.get(i)).and_then(|text| stamp_s(text)).unwrap_or(0.0);
            values.push((when, value));
        }
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sorted: Vec<f64> = values.iter().map(|v| v.1).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        if median <= 0.0 {
            return Err(bad(first_line, "the values have no positive median"));
        }
        return Ok(Series::Capacity(values.into_iter().map(|v| v.1 / median).collect()));
    }
    Err(bad(first_line, "neither a number nor a header with TIMESTAMP, arrival_ms or value"))
}

fn bad(line: usize, message: impl Into<String>) -> NotASeries {
    NotASeries { line, message: message.into() }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite() && (0.0..=VALUE_MAX).contains(n))
}

fn wanted(line: usize, text: &str) -> Result<f64, NotASeries> {
    number(text).ok_or_else(|| bad(line, format!("\"{}\" is not a number from 0 to {VALUE_MAX:e}", text.trim())))
}

fn arrivals<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
    one: impl Fn(&[&str], usize) -> Result<(f64, f64), NotASeries>,
) -> Result<Series, NotASeries> {
    let mut list = Vec::new();
    let mut last = 1;
    for (n, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        list.push(one(&cells, n)?);
        last = n;
    }
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(first) = list.first().map(|a| a.0) else { return Err(bad(last, "a header and no arrivals")) };
    let mean = list.iter().map(|a| a.1).sum::<f64>() / list.len() as f64;
    if mean <= 0.0 {
        return Err(bad(last, "all sizes are 0"));
    }
    Ok(Series::Arrivals(list.into_iter().map(|(at, size)| (at - first, size / mean)).collect()))
}

/// Seconds of `YYYY-MM-DD hh:mm:ss.fff`, with any number of digits after the point.
fn stamp_s(text: &str) -> Option<f64> {
    let (date, time) = text.trim().split_once([' ', 'T'])?;
    let time = time.trim_end_matches('Z');
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let whole = model::Timestamp::parse_rfc3339(&format!("{date}T{time}Z"))?;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(whole.as_millis() as f64 / 1_000.0 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_told_from_its_first_line() {
        assert_eq!(read("157\n158\n\n159\n"), Ok(Series::Rates(vec![157.0, 158.0, 159.0])));
        let llm = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.1805900,100,318\n";
        let Ok(Series::Arrivals(list)) = read(llm) else { panic!("{:?}", read(llm)) };
        assert_eq!(list.len(), 2);
        assert!((list[1].0 - 0.5).abs() < 1e-6 && (list[0].1 - 1.0).abs() < 1e-9, "{list:?}");
        let capacity = "value,runtime,starttime,VM_id\n600.0,1,2023-05-30 05:12:44.730,0\n300,1,2023-05-29 13:32:13.060,0\n400,1,2023-05-31 00:00:00,1\n";
        assert_eq!(read(capacity), Ok(Series::Capacity(vec![0.75, 1.5, 1.0])));
        assert_eq!(read("arrival_ms\n5\n0\n"), Ok(Series::Arrivals(vec![(0.0, 1.0), (0.005, 1.0)])));
    }

    #[test]
    fn a_wrong_file_says_where() {
        let said = |text| read(text).map_err(|e| e.to_string());
        assert_eq!(said(""), Err("line 1: the file is empty".into()));
        assert_eq!(said("1\nx\n"), Err("line 2: \"x\" is not a number from 0 to 1e9".into()));
        assert_eq!(said("1\n-4\n"), Err("line 2: \"-4\" is not a number from 0 to 1e9".into()));
        assert!(said("a,b\n1,2\n").is_err_and(|e| e.starts_with("line 1: neither")));
        assert!(said("value\n0\n0\n").is_err());
        assert!(said("TIMESTAMP,a\nyesterday,1\n").is_err_and(|e| e.starts_with("line 2: TIMESTAMP")));
    }
}
