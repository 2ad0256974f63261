//! Percent-encoding for paths and queries (RFC 3986).

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What may not stand in a path at all. An author's own `%2F` is left as it is.
const LITERAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Appends a value: as one piece, whatever stands in it.
pub(super) fn component(text: &str, out: &mut String) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        out.extend(utf8_percent_encode(text, COMPONENT));
    }
}

/// Appends what the author of a path wrote.
pub(super) fn literal(text: &str, out: &mut String) {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')) {
        out.push_str(text);
    } else {
        out.extend(utf8_percent_encode(text, LITERAL));
    }
}
