//! Small texts that come from outside: ids, times, durations, numbers. What is taken is written back the same.

use model::{Timestamp, TxId};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<TxId>() {
        assert_eq!(id.to_string(), text);
        assert!(id.partition().0 < model::id::PARTITIONS_MAX);
        let _ = id.began_at().to_string();
    }
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        let shown = at.to_string();
        // Shown to the millisecond, kept to the microsecond.
        assert_eq!(Timestamp::parse_rfc3339(&shown), Some(Timestamp(at.0 / 1_000 * 1_000)), "{text}: {shown}");
    }
    if let Some(duration) = model::parse_duration(text) {
        let ms = duration.as_millis();
        assert_eq!(model::parse_duration(&format!("{ms}ms")), Some(duration), "{text}");
    }
    if let Ok(number) = model::json::number(data) {
        let mut shown = Vec::new();
        model::json::write_number(&number, &mut shown);
        assert_eq!(model::json::number(&shown).as_ref(), Ok(&number), "{text}");
    }
}
