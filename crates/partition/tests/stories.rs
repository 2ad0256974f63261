//! What a partition does, told as stories: what happens on the left, what it asks of the world on the right.

mod answers;
mod gone;
mod optional;
mod people;
mod pivot;
mod restarts;
mod shared;
mod toolate;
mod undo;
mod waits;
mod wishes;
