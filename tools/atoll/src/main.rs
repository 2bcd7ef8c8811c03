//! `atoll`: a whole cluster or one role of it.
fn main() {}
