//! The Java application that shares the cluster.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::artifacts::Artifacts;
use crate::java;

/// A client of the cluster, written in Java, that does as it is told. `Foreign.java` lists its commands.
#[derive(Debug)]
pub struct Foreign {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Foreign {
    /// The words of the command that starts the application, for programs that are not written in Rust; the locator's
    /// address is as Geode writes it. One argument follows, the id of the process that it ends with.
    pub fn command_line(artifacts: &Artifacts, locator: &str) -> Vec<String> {
        let command = Self::command(artifacts, locator);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn command(artifacts: &Artifacts, locator: &str) -> Command {
        let mut command = java::command(artifacts, "Foreign", 128, &[]);
        command.arg(locator);
        command
    }

    /// Starts the application; its log goes to `folder`.
    pub fn start(artifacts: &Artifacts, locator_port: u16, folder: &Path) -> Result<Self, String> {
        Self::start_on(artifacts, &format!("127.0.0.1[{locator_port}]"), folder)
    }

    /// As [`start`](Self::start), with the locator's address as Geode writes it.
    pub fn start_on(artifacts: &Artifacts, locator: &str, folder: &Path) -> Result<Self, String> {
        Self::start_with(artifacts, locator, folder, None)
    }

    /// Starts the application with a durable queue of this name, for the commands `listen`, `drain` and `leave`.
    pub fn start_listener(artifacts: &Artifacts, locator: &str, folder: &Path, queue: &str) -> Result<Self, String> {
        Self::start_with(artifacts, locator, folder, Some(queue))
    }

    fn start_with(artifacts: &Artifacts, locator: &str, folder: &Path, queue: Option<&str>) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("the Java application could not be started: {error}");
        fs::create_dir_all(folder).map_err(wrong)?;
        let log = File::create(folder.join("foreign.log")).map_err(wrong)?;
        let mut command = Self::command(artifacts, locator);
        command.arg(std::process::id().to_string()).args(queue);
        command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(wrong)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the Java application has no pipes".to_owned());
        };
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Gives a command, and waits for the answer. No word may hold a tab or the end of a line.
    pub fn run(&mut self, words: &[&str]) -> Result<String, String> {
        let gone = |error: std::io::Error| format!("the Java application is gone: {error}");
        writeln!(self.input, "{}", words.join("\t")).map_err(gone)?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(gone)?;
        match line.trim_end_matches('\n').split_once('\t') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some((_, sentence)) => Err(sentence.to_owned()),
            None => Err(format!("the Java application is gone: {line:?}")),
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
