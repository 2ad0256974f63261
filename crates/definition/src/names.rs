//! Names: what they may look like, and which one was meant.

/// What people call a name's rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// Definitions and participants: `[a-z][a-z0-9-]{0,62}`.
    Dashed,
    /// Steps, results and signals, which stand in expressions: `[a-z][a-z0-9_]{0,62}`.
    Underscored,
    /// Locks: both.
    Either,
}

/// Names have at most so many characters.
pub(crate) const NAME_MAX: usize = 63;

impl NameRule {
    pub fn allows(self, name: &str) -> bool {
        let inner = |b: u8| match b {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'-' => self != Self::Underscored,
            b'_' => self != Self::Dashed,
            _ => false,
        };
        name.len() <= NAME_MAX && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(inner)
    }

    pub fn describe(self) -> &'static str {
        match self {
            Self::Dashed => "a-z, 0-9 and -, a letter first, at most 63 characters",
            Self::Underscored => "a-z, 0-9 and _, a letter first, at most 63 characters",
            Self::Either => "a-z, 0-9, - and _, a letter first, at most 63 characters",
        }
    }

    /// The name as it could be written, if that is close.
    pub fn mend(self, name: &str) -> Option<String> {
        let mut mended = String::new();
        for (at, c) in name.chars().enumerate() {
            match c {
                'A'..='Z' => {
                    if at > 0 && !mended.ends_with(['_', '-']) {
                        mended.push(if self == Self::Dashed { '-' } else { '_' });
                    }
                    mended.push(c.to_ascii_lowercase());
                }
                '-' | '_' | ' ' | '.' => mended.push(if self == Self::Dashed { '-' } else { '_' }),
                c => mended.push(c),
            }
        }
        self.allows(&mended).then_some(mended)
    }
}

/// The candidate that is a typing mistake away, the nearest one.
pub fn did_you_mean<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const CHARS_MAX: usize = 64;
    if written.chars().count() > CHARS_MAX {
        return None;
    }
    let folded = fold(written);
    let near = |candidate: &str| {
        let other = fold(candidate);
        let allowed = (other.len().max(folded.len()) / 3).max(1);
        let distance = distance(&folded, &other);
        (distance <= allowed).then_some(distance)
    };
    candidates.into_iter().filter_map(|c| Some((near(c)?, c))).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// `maxInFlight` and `max-in-flight` are `max_in_flight`.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant() {
        let fields = ["participant", "method", "path", "query", "headers", "body"];
        for (written, meant) in [
            ("particpant", Some("participant")),
            ("paht", Some("path")),
            ("header", Some("headers")),
            ("Method", Some("method")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(written, fields), meant, "{written}");
        }
        assert_eq!(did_you_mean("maxInFlight", ["max_in_flight", "max_per_second"]), Some("max_in_flight"));
    }

    #[test]
    fn names_are_mended_where_that_is_clear() {
        assert_eq!(NameRule::Underscored.mend("port-time").as_deref(), Some("port_time"));
        assert_eq!(NameRule::Dashed.mend("topUp").as_deref(), Some("top-up"));
        assert_eq!(NameRule::Dashed.mend("ü"), None);
        assert!(!NameRule::Dashed.allows("top_up"));
        assert!(!NameRule::Underscored.allows("1st"));
        assert!(!NameRule::Either.allows(&"a".repeat(64)));
    }
}
