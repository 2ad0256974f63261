//! Drives the pure rooms against clock, journal, store and connectors.
