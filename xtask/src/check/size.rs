//! The size of what a page loads.

use super::{Check, Verdict};
use crate::bundle::{self, BUDGET_BYTES};
use crate::project::Project;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "bundle size",
    advice: "see what grew with `cargo xtask bench bundle` and make it smaller",
    run: bundle_size,
}];

fn bundle_size(project: &Project) -> Result<Verdict, String> {
    let total: u64 = bundle::parts(project)?.iter().map(|part| part.gzip_bytes).sum();
    Ok(if total <= BUDGET_BYTES {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("the browser package is {total} B after gzip, at most {BUDGET_BYTES} B are allowed"))
    })
}
