//! The Java application that shares the cluster.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

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
    /// Starts the application; its log goes to `folder`.
    pub fn start(artifacts: &Artifacts, locator_port: u16, folder: &Path) -> Result<Self, String> {
        Self::start_on(artifacts, &format!("127.0.0.1[{locator_port}]"), folder)
    }

    /// As [`start`](Self::start), with the locator's address as Geode writes it.
    pub fn start_on(artifacts: &Artifacts, locator: &str, folder: &Path) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("the Java application could not be started: {error}");
        fs::create_dir_all(folder).map_err(wrong)?;
        let log = File::create(folder.join("foreign.log")).map_err(wrong)?;
        let mut command = java::command(artifacts, "Foreign", 128, &[]);
        command.args([locator, &std::process::id().to_string()]);
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
