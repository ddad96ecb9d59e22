//! Properties of the merge for any documents and policies.

use super::tests::{change, server, version_of};
use super::*;
use crate::wire::Policy;

/// The rebase shows what the server makes of the same edit.
#[track_caller]
pub(super) fn assert_rebase_agrees(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    policy: &Policy,
) {
    let rebased = rebase(base, mine, theirs, policy);
    assert_eq!(rebased.dirty, rebased.value.as_ref() != theirs || rebased.undecided);
    let Some(operation) = diff(base, mine, policy) else {
        assert_eq!(rebased.value.as_ref(), theirs);
        return;
    };
    match server(theirs, &change(base, operation), policy) {
        Merged::Unchanged => assert_eq!(rebased.value.as_ref(), theirs),
        Merged::Fast { value } | Merged::Merged { value, .. } => assert_eq!(rebased.value, value),
        Merged::Rejected { .. } => assert!(rebased.undecided && rebased.value.as_ref() == mine),
        // The client pushes what the rebase yields.
        Merged::Resolve => assert_eq!(rebased.value.as_ref(), mine),
    }
    let _ = version_of(base);
}
