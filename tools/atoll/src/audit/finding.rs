//! Something that can't be right, as every part of the auditor tells it.

use std::fmt::Display;

/// Two findings of one name are the same one, whatever counts are in their texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    /// Which check, and what it is about.
    pub(crate) name: String,
    /// What is wrong, for people.
    pub(crate) text: String,
}

impl Finding {
    /// What `check` says of `about`.
    pub(crate) fn new(check: &str, about: impl Display, text: impl Into<String>) -> Self {
        Self { name: format!("{check}: {about}"), text: text.into() }
    }

    /// One whose text has no counts that change.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { name: text.clone(), text }
    }
}
