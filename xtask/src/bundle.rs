//! The size of the browser package as it travels: gzip of every script and WASM file that a page loads.

use std::fs;

use crate::build::DIST;
use crate::project::{Project, files_below};

/// The budget for the whole package, WASM included; `docs/decisions/0007-size-of-the-browser-core.md` tells how it is kept.
pub(crate) const BUDGET_BYTES: u64 = 150_000;

/// One file of the package.
pub(crate) struct Part {
    /// Path below the package's `dist`.
    pub(crate) name: String,
    pub(crate) gzip_bytes: u64,
}

/// A script that no page loads beside the others: it is `index.js` again, for script tags without modules.
const COPY: &str = "tidelock.js";

/// The files that a page loads, largest first: no source maps, no types, no [`COPY`].
pub(crate) fn parts(project: &Project) -> Result<Vec<Part>, String> {
    let dist = project.root.join(DIST);
    let mut parts = Vec::new();
    for path in files_below(&dist, "") {
        let name = path.strip_prefix(&dist).unwrap_or(&path).to_string_lossy().into_owned();
        if !is_loaded(&name) {
            continue;
        }
        let content = fs::read(&path).map_err(|error| format!("{} is unreadable: {error}", path.display()))?;
        parts.push(Part { name, gzip_bytes: gzip_bytes(&content) });
    }
    if parts.is_empty() {
        return Err(format!("{DIST} holds no script: run `cargo xtask build`"));
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.gzip_bytes));
    Ok(parts)
}

/// The length of `content` after gzip at its best level.
pub(crate) fn gzip_bytes(content: &[u8]) -> u64 {
    /// Header and trailer of RFC 1952 around the deflated data.
    const FRAME_BYTES: u64 = 18;
    const BEST: u8 = 9;
    let deflated = miniz_oxide::deflate::compress_to_vec(content, BEST);
    deflated.len() as u64 + FRAME_BYTES
}

fn is_loaded(name: &str) -> bool {
    let script = [".js", ".mjs", ".wasm"].iter().any(|suffix| name.ends_with(suffix));
    script && name != COPY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_page_loads_counts() {
        assert!(is_loaded("index.js"));
        assert!(is_loaded("tidelock_core_bg.wasm"));
        for name in ["index.d.ts", "index.js.map", "tidelock.js", "README.md"] {
            assert!(!is_loaded(name), "{name}");
        }
    }

    #[test]
    fn repetition_compresses() {
        assert!(gzip_bytes(&[b'a'; 10_000]) < 100);
    }
}
