//! What a setting's text may be.

use std::net::SocketAddr;
use std::time::Duration;

/// The kind of a value.
#[derive(Debug)]
pub(super) enum Kind {
    Path,
    /// Empty: none.
    MaybePath,
    Address,
    /// A whole number, both ends included.
    Count(u64, u64),
    /// `64MiB`, `1GiB`, `4096`.
    Bytes,
    /// As in definition files: `500ms`, `10s`, `7d`.
    Duration,
    Word(&'static [&'static str]),
    Text,
}

impl Kind {
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        match self {
            Self::Path if text.is_empty() => Err("it must be a path".into()),
            Self::Text if text.is_empty() => Err("it must not be empty".into()),
            Self::Path | Self::MaybePath | Self::Text => Ok(()),
            Self::Address => text
                .parse::<SocketAddr>()
                .map(drop)
                .map_err(|_| "it must be an address and a port, such as 127.0.0.1:7410".into()),
            Self::Count(least, most) => match text.parse::<u64>() {
                Ok(n) if (*least..=*most).contains(&n) => Ok(()),
                _ => Err(format!("it must be a whole number from {least} to {most}")),
            },
            Self::Bytes => match bytes_of(text) {
                Some(n) if n > 0 => Ok(()),
                _ => Err("it must be a size, such as 65536, 512KiB, 64MiB or 8GiB".into()),
            },
            Self::Duration => {
                duration_of(text).map(drop).ok_or_else(|| "it must be a duration, such as 500ms, 10s or 7d".into())
            }
            Self::Word(words) if words.contains(&text) => Ok(()),
            Self::Word(words) => Err(format!("it must be one of {}", words.join(", "))),
        }
    }
}

pub(super) fn duration_of(text: &str) -> Option<Duration> {
    model::parse_duration(text)
}

pub(super) fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim_start() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}
