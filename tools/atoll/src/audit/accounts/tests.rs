//! The balances: what is right stays silent, what is not is told.
