//! What the tests share: expressions as text, a scope to read them in, and one whole saga.

pub(crate) mod cel;
pub(crate) mod top_up;
pub(crate) mod world;
