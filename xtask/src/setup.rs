//! Set-up of a machine that has only Rust and Node: each task calls what it needs before it starts.
//!
//! What can be installed through the machine's ordinary clients is installed; for the rest the error is one sentence
//! that says what to do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process;
use crate::project::Project;

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The oldest Node whose test runner and module loader the packages use.
const NODE_MINIMUM: (u32, u32) = (20, 19);
const CHROMIUM_NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// A copy of the lock file that `node_modules` was installed from.
const NPM_STAMP: &str = "node_modules/.installed-from-lock.json";

/// What building the binary, the browser's core and the npm packages needs.
pub(crate) fn for_build(project: &Project) -> Result<(), String> {
    c_compiler(project)?;
    wasm_target(project)?;
    npm_modules(project)
}

/// What the stage `check` needs: no browser.
pub(crate) fn for_check(project: &Project) -> Result<(), String> {
    rust_component(project, "rustfmt", &["fmt", "--version"])?;
    rust_component(project, "clippy", &["clippy", "--version"])?;
    for_build(project)
}

/// The path of a Chromium or Chrome: `TIDELOCK_CHROMIUM`, else one on PATH, else Debian's, installed when root.
pub(crate) fn chromium(project: &Project) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("TIDELOCK_CHROMIUM").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("TIDELOCK_CHROMIUM names {}, which is no file: correct or unset it", path.display()))
        };
    }
    if let Some(path) = CHROMIUM_NAMES.iter().find_map(|name| on_path(name)) {
        return Ok(path);
    }
    apt_install(project, "chromium")?;
    on_path("chromium").ok_or_else(|| missing("Chromium", "chromium"))
}

/// A JDK and Maven, for a real Geode cluster: those on PATH, else Debian's, installed when root.
pub(crate) fn java(project: &Project) -> Result<(), String> {
    if on_path("javac").is_none() || on_path("java").is_none() {
        apt_install(project, "openjdk-17-jdk-headless")?;
    }
    if on_path("mvn").is_none() {
        apt_install(project, "maven")?;
    }
    Ok(())
}

/// Installs the npm packages of the lock file when `node_modules` is missing or was installed from another lock.
pub(crate) fn npm_modules(project: &Project) -> Result<(), String> {
    node()?;
    let lock = fs::read(project.root.join("package-lock.json"))
        .map_err(|error| format!("package-lock.json is unreadable ({error}): restore it with git"))?;
    let stamp = project.root.join(NPM_STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    process::must("npm ci (the npm packages)", project.command("npm").args(["ci", "--no-audit", "--no-fund"]))?;
    fs::write(&stamp, lock).map_err(|error| format!("{} cannot be written: {error}", stamp.display()))
}

fn node() -> Result<(), String> {
    let wanted = format!("{}.{} or later", NODE_MINIMUM.0, NODE_MINIMUM.1);
    let output = Command::new("node").arg("--version").output();
    let output = output.map_err(|_| format!("Node is missing: install Node {wanted} from nodejs.org"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match node_version(&version) {
        Some(found) if found >= NODE_MINIMUM => Ok(()),
        _ => Err(format!("Node is {version}, too old: install Node {wanted} from nodejs.org")),
    }
}

/// `v20.19.4` becomes (20, 19).
fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn wasm_target(project: &Project) -> Result<(), String> {
    let sysroot = project.command("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map_err(|error| format!("rustc could not be started ({error}): install Rust"))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib").join(WASM_TARGET).is_dir() {
        return Ok(());
    }
    rustup(project, &["target", "add", WASM_TARGET], &format!("the Rust target {WASM_TARGET}"))
}

fn rust_component(project: &Project, name: &str, probe: &[&str]) -> Result<(), String> {
    let found = project.cargo().args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    rustup(project, &["component", "add", name], name)
}

fn rustup(project: &Project, arguments: &[&str], what: &str) -> Result<(), String> {
    if on_path("rustup").is_none() {
        return Err(format!("{what} is missing and there is no rustup: install it the way you installed Rust"));
    }
    process::must(&format!("rustup {}", arguments.join(" ")), project.command("rustup").args(arguments)).map(drop)
}

/// The C compiler that builds the bundled SQLite.
fn c_compiler(project: &Project) -> Result<(), String> {
    if env::var_os("CC").is_some() || on_path("cc").is_some() {
        return Ok(());
    }
    apt_install(project, "build-essential")
}

/// Installs a Debian package when this process may; otherwise says what to install.
fn apt_install(project: &Project, package: &str) -> Result<(), String> {
    if on_path("apt-get").is_none() || !is_root() {
        return Err(missing(package, package));
    }
    let mut update = project.command("apt-get");
    process::must("apt-get update", update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = project.command("apt-get");
    install.args(["install", "-y", package]).env("DEBIAN_FRONTEND", "noninteractive");
    process::must(&format!("apt-get install {package}"), &mut install).map(drop)
}

fn missing(what: &str, package: &str) -> String {
    format!("{what} is missing: install it, on Debian with `sudo apt-get install {package}`, and start again")
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The first executable of that name on PATH.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| is_executable(candidate))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_compared_as_numbers() {
        assert_eq!(node_version("v20.19.4"), Some((20, 19)));
        assert!(node_version("v20.9.0").unwrap() < NODE_MINIMUM);
        assert!(node_version("v22.1.0").unwrap() > NODE_MINIMUM);
        assert_eq!(node_version("20"), None);
    }

    #[test]
    fn programs_are_found_on_path() {
        assert!(on_path("sh").is_some());
        assert_eq!(on_path("tidelock-no-such-program"), None);
    }
}
