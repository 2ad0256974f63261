//! An NDJSON body that arrives in pieces: however it is cut, its lines have the same numbers and the same bytes, and
//! each is a submission or a problem of its own.

use api::intake;

use super::api_bodies::heard;

const BYTES_MAX: usize = 2_048;

/// Two bytes that say how it is cut, then the stream.
pub(crate) fn run(data: &[u8]) {
    let Some(([first, second], stream)) = data.split_first_chunk::<2>() else { return };
    let whole = intake::lines(&[stream], BYTES_MAX);
    let mut pieces = Vec::new();
    let mut rest = stream;
    let sizes = [usize::from(*first) + 1, usize::from(*second) % 16 + 1];
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(rest.len().min(*size));
        pieces.push(piece);
        rest = behind;
    }
    let cut = intake::lines(&pieces, BYTES_MAX);
    if stream.len() <= BYTES_MAX {
        assert_eq!(cut, whole, "a stream is its bytes, not its pieces");
        let broken = stream.split(|b| *b == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count();
        assert_eq!(whole.len(), broken, "one answer for each line that is not blank");
    } else {
        // A piece is taken whole or not at all, so only what comes before the bound agrees.
        assert!(whole.last().is_some_and(|(_, line)| line.is_err()), "too large, and nobody said so");
        assert!(cut.last().is_some_and(|(_, line)| line.is_err()), "too large, and nobody said so");
    }
    assert!(cut.windows(2).all(|pair| pair[0].0 < pair[1].0), "each line once, in order");
    for (_, line) in cut {
        match line {
            Ok(line) => drop(heard(intake::line(&line))),
            Err(document) => drop(heard::<()>(Err(document))),
        }
    }
}
