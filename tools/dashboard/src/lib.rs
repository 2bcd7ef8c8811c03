//! The ops page, embedded.
