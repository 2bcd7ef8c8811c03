//! What a partition holds, as `load` answers it: values in name order, ready to be read by a core.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::commit::{Cas, Token};
use super::name::Name;

/// One document: its version and its value, whose meaning is the caller's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Its version.
    pub cas: Cas,
    /// Its value.
    pub value: Bytes,
}

/// A time-limited grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Who holds it.
    pub holder: u64,
    /// Until when, by the store's clock (Unix time, ms); expired from this moment on.
    pub until_ms: u64,
}

impl Lease {
    /// Whether it is expired when the store's clock shows `store_ms`.
    pub fn expired(&self, store_ms: u64) -> bool {
        store_ms >= self.until_ms
    }
}

/// A partition at one moment. One that was never written is empty, with [`Token::NONE`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionView {
    /// The token of its last commit.
    pub token: Token,
    /// Its documents.
    pub docs: BTreeMap<Name, Document>,
    /// Its epochs; one that is not here is 0.
    pub epochs: BTreeMap<Name, u64>,
    /// Its leases, expired ones too.
    pub leases: BTreeMap<Name, Lease>,
    /// The store's clock when it was read, Unix time in ms.
    pub store_ms: u64,
}

impl PartitionView {
    /// The value of a document.
    pub fn doc(&self, name: &str) -> Option<&Bytes> {
        self.docs.get(name).map(|document| &document.value)
    }

    /// The version of a document, as a precondition needs it.
    pub fn cas(&self, name: &str) -> Option<Cas> {
        self.docs.get(name).map(|document| document.cas)
    }

    /// The value of an epoch, 0 when it was never raised.
    pub fn epoch(&self, name: &str) -> u64 {
        self.epochs.get(name).copied().unwrap_or(0)
    }
}
