//! Runs other programs: their output is kept, shown or held back, and a long step says that it is still alive.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A step that has printed nothing for this long says that it still runs.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long output is awaited after a program has ended: a grandchild may hold its pipe open for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// What happens to a program's output while it runs. It is kept in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Each line is printed as it comes.
    Shown,
    /// Held back; the caller prints it when the program failed.
    Quiet,
}

/// A program that has ended.
pub(crate) struct Finished {
    /// It exited with zero.
    pub(crate) ok: bool,
    /// How it ended, for a message: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub(crate) status: String,
    /// Standard output alone.
    pub(crate) stdout: String,
    /// Standard output and standard error, line by line as they came.
    pub(crate) output: String,
    pub(crate) elapsed: Duration,
}

#[derive(Default)]
struct Kept {
    stdout: String,
    output: String,
    last_line: Option<Instant>,
}

/// Runs `command` to its end. An error means that it could not be started.
pub(crate) fn run(step: &str, command: &mut Command, echo: Echo) -> Result<Finished, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{program}` could not be started ({error}): install it, or add it to PATH"))?;
    let kept = Arc::new(Mutex::new(Kept::default()));
    let (ended, readers) = mpsc::sync_channel::<()>(0);
    if let Some(pipe) = child.stdout.take() {
        follow(pipe, true, echo, &kept, ended.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        follow(pipe, false, echo, &kept, ended.clone());
    }
    drop(ended);

    let mut exited: Option<Instant> = None;
    let mut shown = started;
    loop {
        // Nothing is ever sent: the channel closes when both readers have ended.
        if readers.recv_timeout(POLL) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        if exited.is_none() && child.try_wait().map_err(|error| format!("`{program}`: {error}"))?.is_some() {
            exited = Some(Instant::now());
        }
        if exited.is_some_and(|at| at.elapsed() > DRAIN) {
            break;
        }
        let quiet_since = match echo {
            Echo::Shown => lock(&kept).last_line.map_or(shown, |line| line.max(shown)),
            Echo::Quiet => shown,
        };
        if quiet_since.elapsed() >= HEARTBEAT {
            println!("      ... {step}: still running, {} s", started.elapsed().as_secs());
            shown = Instant::now();
        }
    }
    let status = child.wait().map_err(|error| format!("`{program}`: {error}"))?;
    let mut kept = lock(&kept);
    Ok(Finished {
        ok: status.success(),
        status: status.to_string(),
        stdout: std::mem::take(&mut kept.stdout),
        output: std::mem::take(&mut kept.output),
        elapsed: started.elapsed(),
    })
}

/// Runs a step that must succeed: announced, held back, and printed with its output when it failed.
pub(crate) fn must(step: &str, command: &mut Command) -> Result<Finished, String> {
    println!("   > {step}");
    let finished = run(step, command, Echo::Quiet)?;
    if finished.ok {
        println!("     {step}: done in {}", seconds(finished.elapsed));
        return Ok(finished);
    }
    println!("{}", finished.output.trim_end());
    Err(format!("the step `{step}` failed ({}); its output is above", finished.status))
}

/// A duration for people: `0.4 s`, `83 s`.
pub(crate) fn seconds(elapsed: Duration) -> String {
    if elapsed < Duration::from_secs(10) {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} s", elapsed.as_secs())
    }
}

/// Removes terminal escapes (colours), so that output can be parsed.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            out.push(character);
        } else if characters.next() == Some('[') {
            // A control sequence ends with its first letter.
            while characters.next().is_some_and(|next| !next.is_ascii_alphabetic()) {}
        }
    }
    out
}

fn follow(
    pipe: impl Read + Send + 'static,
    is_stdout: bool,
    echo: Echo,
    kept: &Arc<Mutex<Kept>>,
    ended: mpsc::SyncSender<()>,
) {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            let mut kept = lock(&kept);
            if echo == Echo::Shown {
                println!("{text}");
            }
            // Writing to a String cannot fail.
            let _ = writeln!(kept.output, "{text}");
            if is_stdout {
                let _ = writeln!(kept.stdout, "{text}");
            }
            kept.last_line = Some(Instant::now());
            drop(kept);
            line.clear();
        }
        drop(ended);
    });
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_both_streams_and_the_exit_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run("shell", &mut command, Echo::Quiet).unwrap();
        assert!(!finished.ok);
        assert_eq!(finished.stdout, "out\n");
        assert!(finished.output.contains("err\n"), "{}", finished.output);
        assert!(finished.status.contains('3'), "{}", finished.status);
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_does_not_hang_the_step() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 30 & echo started"]);
        let finished = run("shell", &mut command, Echo::Quiet).unwrap();
        assert!(finished.ok);
        assert_eq!(finished.stdout, "started\n");
        assert!(finished.elapsed < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let sentence = run("nothing", &mut Command::new("tidelock-no-such-program"), Echo::Quiet).err().unwrap();
        assert!(sentence.contains("tidelock-no-such-program"), "{sentence}");
    }

    #[test]
    fn colours_are_removed() {
        assert_eq!(plain("\u{1b}[32mpass\u{1b}[39m 3"), "pass 3");
        assert_eq!(plain("plain"), "plain");
    }
}
