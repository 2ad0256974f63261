//! The store's rooms from outside: what survives, what is found again, what damage is told.

mod catalog;
mod files;
mod history;
mod history_damage;
mod statelog;
mod statelog_crash;
