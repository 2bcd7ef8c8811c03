//! The policies that run side by side. A new one needs a variant of [`PolicyName`] and a line in [`PolicyName::build`].

mod activity_window;
mod atoll;
mod buffer;
mod clairvoyant;
mod first_fit;
mod utilisation;

use clap::ValueEnum;

use super::allocation::{Allocation, Terms};

/// A policy, as `--policy` names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum PolicyName {
    /// Knows the queue and gets islands at once: the yardstick.
    Clairvoyant,
    /// Atoll's own: provides for arrivals before they come.
    Atoll,
    /// Keeps a fixed number of free seats.
    Buffer,
    /// Opens islands at 80 % of the seats taken.
    Utilisation,
    /// Fills islands by the users of a day, of whom few are expected to be online.
    ActivityWindow,
}

impl PolicyName {
    /// A policy at its start.
    pub fn build(self, terms: Terms) -> Box<dyn Allocation> {
        match self {
            Self::Clairvoyant => Box::new(clairvoyant::policy(terms)),
            Self::Atoll => Box::new(atoll::policy(terms)),
            Self::Buffer => Box::new(buffer::policy(terms)),
            Self::Utilisation => Box::new(utilisation::policy(terms)),
            Self::ActivityWindow => Box::new(activity_window::ActivityWindow::new(terms)),
        }
    }
}
