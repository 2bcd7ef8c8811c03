//! How safe a commit has to be before it is answered. Asked for per commit, kept by the backends.

/// What must have happened to a commit before its asker hears that it is done; each level includes the ones before
/// it as far as the store has replicas. What each can still lose is said in `docs/durability.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Durability {
    /// The store has done it, in memory.
    Accepted,
    /// As many replicas as the store was opened for have it too. With none, the same as [`Persisted`](Self::Persisted).
    Replicated,
    /// It is on disk.
    #[default]
    Persisted,
}
