//! The made-up subscriber behind any number, so that every msisdn works and tests can choose one.
//!
//! | digits | meaning |
//! |---|---|
//! | the last two | the balance: 250 minor units times their remainder by 8 |
//! | the last: 5 | already on tariff FLEX_20 |
//! | the last: odd | changing the tariff costs 499 minor units |
//! | the last but one: 9 | 1,290 minor units of open debt |
//! | the third and fourth from the end: 99 | the account is blocked |

/// A number of 8 to 15 digits that does not begin with 0.
pub(crate) fn is_msisdn(text: &str) -> bool {
    (8..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

fn digit(msisdn: &str, from_end: usize) -> u8 {
    let digits = msisdn.as_bytes();
    digits.len().checked_sub(from_end).and_then(|place| digits.get(place)).map_or(0, |d| d.saturating_sub(b'0'))
}

pub(crate) fn balance_minor(msisdn: &str) -> i64 {
    i64::from((digit(msisdn, 2) * 10 + digit(msisdn, 1)) % 8) * 250
}

pub(crate) fn is_blocked(msisdn: &str) -> bool {
    digit(msisdn, 3) == 9 && digit(msisdn, 4) == 9
}

pub(crate) fn tariff(msisdn: &str) -> &'static str {
    match digit(msisdn, 1) {
        0..=2 => "BASIC_5",
        5 => "FLEX_20",
        9 => "PRO_40",
        _ => "FLEX_10",
    }
}

pub(crate) fn change_fee_minor(msisdn: &str) -> i64 {
    if digit(msisdn, 1) % 2 == 1 { 499 } else { 0 }
}

pub(crate) fn debt_minor(msisdn: &str) -> i64 {
    if digit(msisdn, 2) == 9 { 1290 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_decide() {
        let all = |m| (balance_minor(m), is_blocked(m), tariff(m), change_fee_minor(m), debt_minor(m));
        assert_eq!(all("491701234567"), (750, false, "FLEX_10", 499, 0));
        assert_eq!(all("491701239995"), (1750, true, "FLEX_20", 499, 1290));
        assert_eq!(all("491701234560"), (1000, false, "BASIC_5", 0, 0));
        for bad in ["", "1234567", "0491701234", "49170123456x", "1234567890123456"] {
            assert!(!is_msisdn(bad), "{bad}");
        }
    }
}
