//! The words and signs of an expression, before any grammar: where they are, how brackets pair, that bounds hold.
//!
//! The grammar's parser recurses and recovers on its own terms; what reaches it has been bounded and is made of
//! whole tokens, so that neither depth nor garbage is its problem.

use crate::source::Span;

use super::{NESTING_MAX, TOKENS_MAX, Wrong};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Word,
    Number,
    Text,
    Sign,
}

/// The tokens of one expression.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) all: Vec<(Token, Span)>,
    /// Where it ends: at the `}` that closes `${`, or at the end of the text.
    pub(super) end: usize,
    /// For every opening bracket (by byte) the byte of its partner, sorted.
    pairs: Vec<(usize, usize)>,
}

impl Tokens {
    pub(super) fn partner(&self, open: usize) -> Option<usize> {
        self.pairs.binary_search_by_key(&open, |p| p.0).ok().map(|at| self.pairs[at].1)
    }

    /// The first token at or after a byte.
    pub(super) fn from(&self, byte: usize) -> Option<Span> {
        let at = self.all.partition_point(|(_, span)| span.start < byte);
        self.all.get(at).map(|(_, span)| *span)
    }
}

/// Reads tokens up to the `}` that was not opened here, or to the end.
pub(super) fn tokens(text: &str) -> Result<Tokens, Wrong> {
    let bytes = text.as_bytes();
    let mut found = Tokens::default();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if byte == b'}' && open.is_empty() {
            break;
        }
        let (token, end) = match byte {
            b'"' | b'\'' => (Token::Text, text_end(bytes, at, false)?),
            b'r' | b'R' if matches!(bytes.get(at + 1), Some(b'"' | b'\'')) => {
                (Token::Text, text_end(bytes, at + 1, true)?)
            }
            b'b' | b'B' if matches!(bytes.get(at + 1), Some(b'"' | b'\'')) => {
                return Err(wrong(at, at + 2, "bytes are not part of the language; use text"));
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => (Token::Word, word_end(bytes, at)),
            b'0'..=b'9' => (Token::Number, number_end(bytes, at)?),
            b'.' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) && !follows_value(&found) => {
                (Token::Number, number_end(bytes, at)?)
            }
            _ => (Token::Sign, sign_end(text, at)?),
        };
        match byte {
            b'(' | b'[' | b'{' => {
                open.push(at);
                if open.len() > NESTING_MAX {
                    let message = format!("brackets nested deeper than {NESTING_MAX} levels");
                    return Err(Wrong { too_large: true, span: Span::new(at, at + 1), message });
                }
            }
            b')' | b']' | b'}' if token == Token::Sign => match open.pop() {
                Some(partner) if closes(bytes[partner], byte) => found.pairs.push((partner, at)),
                Some(partner) => return Err(wrong(partner, partner + 1, "this bracket is not closed")),
                None => return Err(wrong(at, at + 1, "this bracket was not opened")),
            },
            _ => {}
        }
        found.all.push((token, Span::new(at, end)));
        if found.all.len() > TOKENS_MAX {
            let message = format!("an expression of more than {TOKENS_MAX} words and signs");
            return Err(Wrong { too_large: true, span: Span::new(at, end), message });
        }
        at = end;
    }
    if let Some(last) = open.pop() {
        return Err(wrong(last, last + 1, "this bracket is not closed"));
    }
    found.end = at;
    found.pairs.sort_unstable();
    Ok(found)
}

pub(super) fn wrong(start: usize, end: usize, message: &str) -> Wrong {
    Wrong { too_large: false, span: Span::new(start, end), message: message.to_owned() }
}

fn closes(open: u8, close: u8) -> bool {
    matches!((open, close), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

fn follows_value(found: &Tokens) -> bool {
    found.all.last().is_some_and(|(token, _)| *token != Token::Sign)
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

fn number_end(bytes: &[u8], at: usize) -> Result<usize, Wrong> {
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end;
    if bytes[at] == b'0' && bytes.get(at + 1) == Some(&b'x') {
        end = at + 2 + bytes[at + 2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if end == at + 2 {
            return Err(wrong(at, end, "a number needs digits after 0x"));
        }
    } else {
        end = digits(at);
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end = digits(signed);
            if end == signed {
                return Err(wrong(at, end, "a number needs digits in its exponent"));
            }
        }
    }
    if matches!(bytes.get(end), Some(b'u' | b'U')) {
        end += 1;
    }
    if bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return Err(wrong(at, end + 1, "a number ends where a word begins"));
    }
    Ok(end)
}

/// The byte after the text that opens at `quote`; triple quotes as in CEL.
fn text_end(bytes: &[u8], quote: usize, raw: bool) -> Result<usize, Wrong> {
    let mark = bytes[quote];
    let triple = bytes[quote..].starts_with(&[mark; 3]);
    let mut at = quote + if triple { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !raw => {
                let kind = *bytes.get(at + 1).unwrap_or(&b' ');
                let more = match kind {
                    b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'?' | b'"' | b'\'' | b'`' => 0,
                    b'x' | b'X' => 2,
                    b'u' => 4,
                    b'U' => 8,
                    b'0'..=b'3' => 2,
                    _ => return Err(wrong(at, at + 2, "an escape that CEL does not have")),
                };
                let octal = kind.is_ascii_digit();
                let fits = |b: &u8| if octal { (b'0'..=b'7').contains(b) } else { b.is_ascii_hexdigit() };
                let digits = bytes.get(at + 2..at + 2 + more).unwrap_or_default();
                if digits.len() != more || !digits.iter().all(fits) {
                    return Err(wrong(at, at + 2, "an escape that is not complete"));
                }
                at += 2 + more;
            }
            b if b == mark && !triple => return Ok(at + 1),
            b if b == mark && bytes[at..].starts_with(&[mark; 3]) => return Ok(at + 3),
            b'\n' | b'\r' if !triple => break,
            _ => at += 1,
        }
    }
    Err(wrong(quote, quote + 1, "this text has no end"))
}

fn sign_end(text: &str, at: usize) -> Result<usize, Wrong> {
    const SIGNS: [&str; 22] = [
        "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ",", ".", "(", ")", "[",
        "]",
    ];
    if let Some(sign) = SIGNS.iter().find(|s| text[at..].starts_with(**s)) {
        return Ok(at + sign.len());
    }
    let c = text[at..].chars().next().unwrap_or(' ');
    match c {
        '{' | '}' => Ok(at + 1),
        '=' => Err(wrong(at, at + 1, "to compare, write ==")),
        '&' | '|' => Err(wrong(at, at + 1, "write && and ||")),
        _ => Err(wrong(at, at + c.len_utf8(), "this sign is not part of an expression")),
    }
}
