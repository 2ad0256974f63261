//! Golden views.
