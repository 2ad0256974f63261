//! JSON text: a value has one canonical text, which reads back as the same value; and what a general reader takes
//! for JSON differs from us only by our declared limits.

use model::json::{self, Error};

pub(crate) fn run(data: &[u8]) {
    match json::parse(data) {
        Ok(value) => {
            let mut text = Vec::new();
            json::write(&value, &mut text);
            assert_eq!(json::parse(&text).as_ref(), Ok(&value), "{}", String::from_utf8_lossy(&text));
            let mut second = Vec::new();
            json::write(&value, &mut second);
            assert_eq!(second, text);
            let theirs = serde_json::from_slice::<serde_json::Value>(data);
            assert!(theirs.is_ok(), "taken here, refused by another reader: {theirs:?}");
        }
        Err(Error::Syntax { line, column, what }) => {
            assert!(!what.is_empty() && line <= data.len() + 1 && column <= data.len() + 1);
            let theirs = serde_json::from_slice::<serde_json::Value>(data);
            assert!(theirs.is_err(), "refused here ({what} at {line}:{column}), taken by another reader");
        }
        Err(limit) => assert!(!limit.to_string().is_empty()),
    }
}
