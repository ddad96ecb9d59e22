//! Starts and ends Java programs.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::artifacts::Artifacts;

/// What Geode needs of a JDK 17, and what keeps it small.
const FLAGS: &[&str] = &[
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=4",
    "--add-exports=java.management/com.sun.jmx.remote.security=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "-Djava.net.preferIPv4Stack=true",
];

/// A program of the test package.
pub(crate) fn command(artifacts: &Artifacts, class: &str, heap_mb: u32, properties: &[String]) -> Command {
    let mut command = Command::new("java");
    command.args(FLAGS).arg(format!("-Xmx{heap_mb}m")).args(properties);
    if let Some(home) = artifacts.home() {
        command.env("GEODE_HOME", home);
    }
    command.args(["-cp", &artifacts.class_path(), &format!("tidelock.testing.{class}")]);
    command
}

/// A command line for a person that runs Geode's shell.
pub(crate) fn gfsh_command(artifacts: &Artifacts) -> String {
    let flags = FLAGS.join(" ");
    let class_path = artifacts.class_path();
    format!("java {flags} -cp '{class_path}' org.apache.geode.management.internal.cli.Launcher")
}

/// Starts a program in its own folder, with its output in a file there, and its process id in another.
pub(crate) fn start(command: &mut Command, folder: &Path) -> Result<Child, String> {
    let wrong = |error: std::io::Error| format!("a Java program could not be started in {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(wrong)?;
    let log = File::options().create(true).append(true).open(folder.join("output.log")).map_err(wrong)?;
    let errors = log.try_clone().map_err(wrong)?;
    let child = command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(wrong)?;
    fs::write(folder.join("process-id"), child.id().to_string()).map_err(wrong)?;
    Ok(child)
}

/// Sends a signal to a process.
pub(crate) fn signal(process_id: &str, name: &str) -> Result<(), String> {
    let status = Command::new("kill").args([name, process_id]).stderr(Stdio::null()).status();
    status.map(drop).map_err(|error| format!("`kill` could not be started: {error}"))
}
