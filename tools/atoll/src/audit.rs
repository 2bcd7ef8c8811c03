//! The auditor: reads ledger and documents by their serialised form and says what can't be right. One half runs beside
//! a cluster (`watch`), the other is `atoll audit` (`complete`). It shares no code with what makes commits, and
//! changes nothing.

pub(crate) mod accounts;
mod checks;
pub(crate) mod command;
pub(crate) mod complete;
pub(crate) mod finding;
mod limits;
pub(crate) mod part;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod watch;
