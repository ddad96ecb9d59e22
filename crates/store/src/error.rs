//! What a caller of a store can react to.

/// Why a store did not do what was asked. Nothing was committed unless a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room. Reads still work; writes work again once there is room.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// The store does not answer, or answers that it cannot serve; the outcome of a commit is unknown, repeating it is safe.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The data cannot be read, or the platform below refuses what it is asked for: repeating it does not help.
    #[error("the store is damaged, or refuses: {0}")]
    Corrupt(String),
}
