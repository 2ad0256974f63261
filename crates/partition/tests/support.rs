//! What the tests share: sagas, a world to live in, what really happened there, and how it is told.

pub(crate) mod ledger;
pub(crate) mod saga;
pub(crate) mod story;
pub(crate) mod tape;
pub(crate) mod world;
