//! Which crate may depend on which: the core on nothing of ours, and only the binary on every store.

use super::{Check, Verdict};
use crate::project::{Crate, Project};
use crate::source::{Language, Source};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "dependency directions",
        advice: "move the code to the crate it belongs to; the table is in xtask/src/check/dependencies.rs",
        run: |project| Ok(directions(project)),
    },
    Check {
        name: "store names",
        advice: "only the composition in crates/tidelock knows which stores exist: use the Store trait",
        run: store_names,
    },
];

/// What each crate may depend on among ours. Tests may use more (dev-dependencies).
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("tidelock-core", &[]),
    ("tidelock-store", &["tidelock-core"]),
    ("tidelock-server", &["tidelock-core", "tidelock-store"]),
    ("tidelock-wasm", &["tidelock-core"]),
    ("tidelock-sim", &["tidelock-core", "tidelock-store", "tidelock-server"]),
    ("tidelock-geode-client", &[]),
    ("tidelock-geode-cluster", &[]),
    ("tidelock-couchbase-dcp", &[]),
    ("tidelock-couchbase-double", &[]),
    ("tidelock-store-geode", &["tidelock-core", "tidelock-store", "tidelock-geode-client"]),
    ("tidelock-store-couchbase", &["tidelock-core", "tidelock-store", "tidelock-couchbase-dcp"]),
    (
        "tidelock-trials",
        &[
            "tidelock-core",
            "tidelock-server",
            "tidelock-sim",
            "tidelock-geode-client",
            "tidelock-geode-cluster",
            "tidelock-couchbase-dcp",
            "tidelock-couchbase-double",
        ],
    ),
    ("xtask", &["tidelock-geode-cluster"]),
];

/// The ends of the graph: they may depend on everything.
const COMPOSITION: &[&str] = &["tidelock", "tidelock-bench"];

/// The rooms that must work with any store, and the names they must not know.
const STORE_FREE: &[&str] = &["crates/core/src/", "crates/server/src/", "crates/wasm/src/"];
const STORE_NAMES: &[&str] = &["sqlite", "geode", "couchbase", "::embedded", "memorystore"];

fn directions(project: &Project) -> Verdict {
    let ours: Vec<&str> = project.our_crates().map(|one| one.name.as_str()).collect();
    let findings: Vec<String> = project.our_crates().flat_map(|one| wrong_edges(one, &ours)).collect();
    Verdict::of(&findings)
}

fn wrong_edges(one: &Crate, ours: &[&str]) -> Vec<String> {
    if COMPOSITION.contains(&one.name.as_str()) {
        return Vec::new();
    }
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == one.name) else {
        return vec![format!("{} is not in the table: say what it may depend on", one.name)];
    };
    one.dependencies
        .iter()
        .filter(|edge| !edge.is_dev && ours.contains(&edge.name.as_str()) && !allowed.contains(&edge.name.as_str()))
        .map(|edge| format!("{} depends on {}", one.name, edge.name))
        .collect()
}

fn store_names(project: &Project) -> Result<Verdict, String> {
    let mut findings = Vec::new();
    for file in project.files()? {
        if !STORE_FREE.iter().any(|room| file.starts_with(room)) || !is_product_source(&file) {
            continue;
        }
        let Some(text) = project.read(&file) else { continue };
        findings.extend(named_stores(&text).into_iter().map(|(line, name)| format!("{file}:{line}: names {name}")));
    }
    Ok(Verdict::of(&findings))
}

/// Rust of the product, not of its tests.
pub(super) fn is_product_source(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    Language::of(name) == Some(Language::Rust)
        && name != "tests.rs"
        && !name.ends_with("_tests.rs")
        && !file.contains("/tests/")
}

fn named_stores(text: &str) -> Vec<(usize, &'static str)> {
    let code = Source::parse(text, Language::Rust).code_without_tests().to_lowercase();
    let lines = code.lines().enumerate();
    lines
        .flat_map(|(at, line)| STORE_NAMES.iter().filter(|name| line.contains(**name)).map(move |name| (at + 1, *name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Dependency;

    fn check(name: &str, edges: &[(&str, bool)], expected: &[&str]) {
        let dependencies =
            edges.iter().map(|(name, is_dev)| Dependency { name: (*name).into(), is_dev: *is_dev }).collect();
        let one = Crate {
            name: name.into(),
            version: String::new(),
            license: None,
            is_ours: true,
            dependencies,
            test_targets: Vec::new(),
        };
        assert_eq!(wrong_edges(&one, &["tidelock-core", "tidelock-store", "tidelock-server"]), expected);
    }

    #[test]
    fn edges_against_the_direction_are_found() {
        check("tidelock-core", &[("blake3", false)], &[]);
        check("tidelock-core", &[("tidelock-store", false)], &["tidelock-core depends on tidelock-store"]);
        check("tidelock-store", &[("tidelock-core", false), ("tidelock-server", true)], &[]);
        check("tidelock-new", &[], &["tidelock-new is not in the table: say what it may depend on"]);
        check("tidelock", &[("tidelock-store", false)], &[]);
    }

    #[test]
    fn stores_are_named_in_code_not_in_prose() {
        let text = "// SQLite commits in groups.\nuse tidelock_store::Store;\nlet a = SqliteStore::open();\n#[cfg(test)]\nmod tests { use x::MemoryStore; }";
        assert_eq!(named_stores(text), [(3, "sqlite")]);
    }
}
