//! What a partition does, told as stories: what happens on the left, what it asks of the world on the right.

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/saga.rs"]
mod saga;
#[path = "support/story.rs"]
mod story;
#[path = "support/world.rs"]
mod world;

#[path = "stories/answers.rs"]
mod answers;
#[path = "stories/optional.rs"]
mod optional;
#[path = "stories/people.rs"]
mod people;
#[path = "stories/pivot.rs"]
mod pivot;
#[path = "stories/restarts.rs"]
mod restarts;
#[path = "stories/undo.rs"]
mod undo;
#[path = "stories/waits.rs"]
mod waits;
#[path = "stories/wishes.rs"]
mod wishes;
