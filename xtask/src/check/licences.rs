//! The licences of every dependency, Rust and npm, development tools included.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Check, Verdict, spdx};
use crate::project::{Project, read_json};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "licences of crates", advice: ADVICE, run: |project| Ok(crates(project)) },
    Check { name: "licences of npm packages", advice: ADVICE, run: npm_packages },
];

const ADVICE: &str =
    "use another dependency; a further permissive licence is added in xtask/src/check/licences.rs, with a decision";

/// Permissive licences, and MPL-2.0, which binds only its own files.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    // Of two small packages that PouchDB brings, which the benches alone install.
    "WTFPL",
    "Zlib",
];

/// Names from before SPDX that old npm packages still carry, and what they mean.
const SPELLINGS: &[(&str, &str)] = &[("Apache 2", "Apache-2.0"), ("BSD", "BSD-3-Clause")];

fn crates(project: &Project) -> Verdict {
    let findings: Vec<String> = project
        .crates
        .iter()
        .filter(|one| !one.is_ours)
        .filter_map(|one| finding(&format!("{} {}", one.name, one.version), one.license.as_deref()))
        .collect();
    Verdict::of(&findings)
}

fn npm_packages(project: &Project) -> Result<Verdict, String> {
    let lock = read_json(&project.root.join("package-lock.json")).ok_or("package-lock.json is unreadable")?;
    let packages = lock.get("packages").and_then(Value::as_object).ok_or("package-lock.json lists no packages")?;
    let mut findings = BTreeSet::new();
    for (path, entry) in packages {
        let is_link = entry.get("link").and_then(Value::as_bool) == Some(true);
        if !path.contains("node_modules/") || is_link {
            continue;
        }
        // A package for another platform is in the lock file and not on the disk.
        let manifest = read_json(&project.root.join(path).join("package.json"));
        let licence = manifest.as_ref().and_then(npm_licence).or_else(|| npm_licence(entry));
        let name = path.rsplit("node_modules/").next().unwrap_or(path);
        findings.extend(finding(name, licence.as_deref()));
    }
    Ok(Verdict::of(&findings.into_iter().collect::<Vec<_>>()))
}

/// `license: "MIT"`, and the older forms `license: {type}` and `licenses: [{type}]`.
fn npm_licence(manifest: &Value) -> Option<String> {
    let named = |value: &Value| Some(value.as_str().or_else(|| value.get("type")?.as_str())?.to_owned());
    if let Some(licence) = manifest.get("license").and_then(named) {
        return Some(licence);
    }
    let any: Vec<String> = manifest.get("licenses")?.as_array()?.iter().filter_map(named).collect();
    (!any.is_empty()).then(|| any.join(" OR "))
}

fn finding(name: &str, licence: Option<&str>) -> Option<String> {
    let Some(licence) = licence else { return Some(format!("{name}: states no licence")) };
    let spelled = SPELLINGS.iter().find(|(old, _)| *old == licence).map_or(licence, |(_, expression)| expression);
    match spdx::is_allowed(spelled, ALLOWED) {
        Ok(true) => None,
        Ok(false) => Some(format!("{name}: {licence} is not in the list")),
        Err(sentence) => Some(format!("{name}: {sentence}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_npm_licences_are_read() {
        assert_eq!(npm_licence(&json!({"license": "MIT"})).as_deref(), Some("MIT"));
        assert_eq!(npm_licence(&json!({"license": {"type": "ISC"}})).as_deref(), Some("ISC"));
        let several = json!({"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]});
        assert_eq!(npm_licence(&several).as_deref(), Some("MIT OR GPL-2.0"));
        assert_eq!(npm_licence(&json!({})), None);
    }

    #[test]
    fn a_dependency_without_a_licence_is_a_finding() {
        assert_eq!(finding("a", None).as_deref(), Some("a: states no licence"));
        assert_eq!(finding("a", Some("MIT OR Apache-2.0")), None);
        assert!(finding("a", Some("SEE LICENSE IN FILE")).is_some());
    }
}
