//! Reading an input as choices, where `arbitrary` itself has no word for it.

use arbitrary::{Result, Unstructured};

/// At most `most` bytes of the input as they are.
pub(crate) fn some_bytes<'b>(choices: &mut Unstructured<'b>, most: usize) -> Result<&'b [u8]> {
    let wanted = choices.int_in_range(0..=most)?;
    choices.bytes(wanted.min(choices.len()))
}
