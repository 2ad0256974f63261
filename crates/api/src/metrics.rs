//! Families of numbers as the Prometheus text format 0.0.4.

use std::fmt::Write as _;

use runtime::report::{Family, FamilyKind, SampleValue};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families without samples are left out: a name appears when there is something to say.
pub(crate) fn render(families: &[Family]) -> String {
    let mut out = String::with_capacity(families.len() * 256);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let kind = match family.kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        // Writing into a string cannot fail.
        let _ = writeln!(out, "# HELP {} {}", family.name, family.help.replace('\\', "\\\\").replace('\n', "\\n"));
        let _ = writeln!(out, "# TYPE {} {kind}", family.name);
        for (labels, value) in &family.samples {
            match value {
                SampleValue::Number(n) => line(&mut out, family.name, "", labels, None, *n),
                SampleValue::Histogram { buckets, sum, count } => {
                    for (bound, below) in buckets.iter().filter(|(bound, _)| bound.is_finite()) {
                        line(&mut out, family.name, "_bucket", labels, Some(*bound), *below as f64);
                    }
                    line(&mut out, family.name, "_bucket", labels, Some(f64::INFINITY), *count as f64);
                    line(&mut out, family.name, "_sum", labels, None, *sum);
                    line(&mut out, family.name, "_count", labels, None, *count as f64);
                }
            }
        }
    }
    out
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &[(&'static str, String)], le: Option<f64>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() || le.is_some() {
        out.push('{');
        for (place, (label, text)) in labels.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            let _ = write!(out, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    other => out.push(other),
                }
            }
            out.push('"');
        }
        if let Some(le) = le {
            let _ = write!(out, "{}le=\"{}\"", if labels.is_empty() { "" } else { "," }, number(le));
        }
        out.push('}');
    }
    let _ = writeln!(out, " {}", number(value));
}

fn number(n: f64) -> String {
    if n.is_nan() {
        "NaN".into()
    } else if n.is_infinite() {
        if n > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_read_as_prometheus_wants_them() {
        let families = [
            Family {
                name: "tidegate_live",
                help: "Live transactions,\nby state.",
                kind: FamilyKind::Gauge,
                samples: vec![
                    (vec![("state", "wai\"ting\\".into())], SampleValue::Number(3.0)),
                    (vec![], SampleValue::Number(f64::NAN)),
                ],
            },
            Family { name: "nothing", help: "", kind: FamilyKind::Counter, samples: vec![] },
            Family {
                name: "decision_ms",
                help: "From acceptance to outcome.",
                kind: FamilyKind::Histogram,
                samples: vec![(
                    vec![("definition", "top-up".into())],
                    SampleValue::Histogram { buckets: vec![(0.5, 1), (10.0, 4)], sum: 12.5, count: 5 },
                )],
            },
        ];
        assert_eq!(
            render(&families),
            "# HELP tidegate_live Live transactions,\\nby state.\n# TYPE tidegate_live gauge\n\
             tidegate_live{state=\"wai\\\"ting\\\\\"} 3\ntidegate_live NaN\n\
             # HELP decision_ms From acceptance to outcome.\n# TYPE decision_ms histogram\n\
             decision_ms_bucket{definition=\"top-up\",le=\"0.5\"} 1\ndecision_ms_bucket{definition=\"top-up\",le=\"10\"} 4\n\
             decision_ms_bucket{definition=\"top-up\",le=\"+Inf\"} 5\n\
             decision_ms_sum{definition=\"top-up\"} 12.5\ndecision_ms_count{definition=\"top-up\"} 5\n"
        );
    }
}
