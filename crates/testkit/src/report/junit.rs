//! For CI systems: JUnit's XML, as Jenkins, GitLab, GitHub's reporters and Azure read it.

use std::fmt::Write as _;

use definition::Diagnostic;

use super::{Outcome, Report, finding};
use crate::run::call_word;

/// The whole report as one `testsuites` element: a file is a suite, a case (or a failure) is a test.
pub fn junit(report: &Report) -> String {
    let mut suites = String::new();
    let (mut tests_all, mut failed_all) = (0, 0);
    for file in &report.files {
        let mut body = String::new();
        let (mut tests, mut failed) = (0, 0);
        let mut test = |name: &str, findings: &[Diagnostic], broken: &[String], class: &str| {
            tests += 1;
            let _ = write!(body, "    <testcase name=\"{}\" classname=\"{}\"", escaped(name), escaped(class));
            if findings.is_empty() && broken.is_empty() {
                body.push_str("/>\n");
                return;
            }
            failed += 1;
            let first =
                findings.first().map(|found| found.message.as_str()).or_else(|| broken.first().map(String::as_str));
            let text: String =
                findings.iter().map(finding).chain(broken.iter().map(|line| format!("{line}\n"))).collect();
            let _ = write!(
                body,
                ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                escaped(&first.unwrap_or_default().replace('\n', " ")),
                escaped(&text)
            );
        };
        let suite = match file {
            Outcome::Cases(played) => {
                for case in &played.cases {
                    test(&case.name, &case.findings, &[], &played.suite.plan.name);
                }
                &played.suite
            }
            Outcome::Failures { suite, cases } => {
                for varied in cases {
                    let class = format!("{}.{}", suite.plan.name, varied.case);
                    for tried in varied.failures.iter().flat_map(|all| &all.tried) {
                        let name = format!("{}: {}", call_word(&suite.plan, tried.call), tried.fault.as_str());
                        let broken: Vec<String> =
                            tried.violations.iter().map(|v| format!("{}: {}", v.rule, v.what)).collect();
                        test(&name, &[], &broken, &class);
                    }
                    test("every failure together", &varied.findings, &[], &class);
                }
                suite
            }
        };
        let _ = write!(
            suites,
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">\n{body}  \
             </testsuite>\n",
            escaped(&suite.file.path)
        );
        tests_all += tests;
        failed_all += failed;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tidegate test\" tests=\"{tests_all}\" \
         failures=\"{failed_all}\" errors=\"0\" time=\"{:.3}\">\n{suites}</testsuites>\n",
        report.took.as_secs_f64()
    )
}

/// Text for XML 1.0: what it cannot hold becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
