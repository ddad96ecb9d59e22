//! Stores around another one, which do something of their own in a method or two.

/// Methods of [`Store`](crate::Store) that a store leaves to the one in a field of its own: `forward_store! { store: read traces }`
/// within the `impl`. The crate that calls it depends on `tidelock-core`.
#[macro_export]
macro_rules! forward_store {
    ($field:ident: $($method:ident)*) => {
        $($crate::forward_store! { @$method $field })*
    };
    (@capabilities $field:ident) => {
        fn capabilities(&self) -> $crate::Capabilities {
            self.$field.capabilities()
        }
    };
    (@epoch $field:ident) => {
        fn epoch(&self) -> ::tidelock_core::ids::Epoch {
            self.$field.epoch()
        }
    };
    (@read $field:ident) => {
        fn read<'a>(
            &'a self,
            ids: &'a [::tidelock_core::ids::DocumentId],
        ) -> $crate::BoxFuture<'a, Result<$crate::ReadSet, $crate::StoreError>> {
            self.$field.read(ids)
        }
    };
    (@traces $field:ident) => {
        fn traces<'a>(
            &'a self,
            ids: &'a [::tidelock_core::ids::DocumentId],
        ) -> $crate::BoxFuture<'a, Result<Vec<$crate::Trace>, $crate::StoreError>> {
            self.$field.traces(ids)
        }
    };
    (@commit $field:ident) => {
        fn commit(
            &self,
            commit: $crate::Commit,
        ) -> $crate::BoxFuture<'_, Result<$crate::CommitOutcome, $crate::StoreError>> {
            self.$field.commit(commit)
        }
    };
    (@client $field:ident) => {
        fn client(
            &self,
            client: ::tidelock_core::ids::ClientId,
            incarnation: ::tidelock_core::ids::Incarnation,
        ) -> $crate::BoxFuture<'_, Result<$crate::ClientRecord, $crate::StoreError>> {
            self.$field.client(client, incarnation)
        }
    };
    (@outcomes $field:ident) => {
        fn outcomes(
            &self,
            client: ::tidelock_core::ids::ClientId,
            incarnation: ::tidelock_core::ids::Incarnation,
            after: ::tidelock_core::ids::Sequence,
        ) -> $crate::BoxFuture<'_, Result<Vec<$crate::Recorded>, $crate::StoreError>> {
            self.$field.outcomes(client, incarnation, after)
        }
    };
    (@scan $field:ident) => {
        fn scan<'a>(
            &'a self,
            collection: &'a str,
            after: Option<&'a str>,
            limit: usize,
        ) -> $crate::BoxFuture<'a, Result<Vec<(String, $crate::Document)>, $crate::StoreError>> {
            self.$field.scan(collection, after, limit)
        }
    };
    (@conflicts $field:ident) => {
        fn conflicts<'a>(
            &'a self,
            query: &'a $crate::ConflictQuery,
        ) -> $crate::BoxFuture<'a, Result<Vec<$crate::ConflictRecord>, $crate::StoreError>> {
            self.$field.conflicts(query)
        }
    };
}
