//! The demo on a Couchbase bucket.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::build::{self, Profile};
use crate::process;
use crate::project::Project;

/// The bucket of a cluster that names none.
const BUCKET: &str = "default";

/// A cluster with the collections of the demo application.
pub(super) struct Couchbase {
    /// The double: it ends when its input does, which is when this is dropped.
    _double: Option<Child>,
    is_double: bool,
    /// Without the password.
    address: String,
    user: String,
    bucket: String,
    config: PathBuf,
}

impl Couchbase {
    /// Takes the cluster that is named, or starts a double, and creates what the database needs.
    pub(super) fn start(project: &Project, cluster: Option<&str>, tidelock: &Path) -> Result<Self, String> {
        let (double, text) = if let Some(text) = cluster {
            (None, text.to_owned())
        } else {
            let (double, text) = start_double(project)?;
            (Some(double), text)
        };
        let form = "write the cluster as couchbase://user:password@host/bucket";
        let (rest, bucket) = match text.rsplit_once('@').ok_or(form)?.1.split_once('/') {
            Some((hosts, bucket)) if !bucket.is_empty() => (hosts, bucket),
            Some((hosts, _)) => (hosts, BUCKET),
            None => (text.rsplit_once('@').ok_or(form)?.1, BUCKET),
        };
        let (user, password) =
            text.strip_prefix("couchbase://").and_then(|text| text.rsplit_once('@')?.0.split_once(':')).ok_or(form)?;
        let address = format!("couchbase://{rest}");
        let of_cluster = format!(
            "\n[databases.board.cluster]\nkind = \"couchbase\"\naddresses = [{address:?}]\nnode = \"demo\"\nuser = {user:?}\n\
             password = {password:?}\n[databases.board.cluster.options]\nbucket = {bucket:?}\nscope = \"board\"\n"
        );
        let folder = project.target_dir.join("couchbase-demo");
        fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        // The changelog of a cluster that is gone is of no use to the next one.
        for file in ["board.db", "board.db-wal", "board.db-shm"] {
            let _ = fs::remove_file(folder.join(file));
        }
        let config = folder.join("tidelock.toml");
        let written = fs::write(&config, super::board(project)? + &of_cluster);
        written.map_err(|error| format!("{} cannot be written: {error}", config.display()))?;
        process::must("tidelock init", Command::new(tidelock).arg("init").arg("--config").arg(&config))?;
        let (user, bucket) = (user.to_owned(), bucket.to_owned());
        Ok(Self { is_double: double.is_some(), _double: double, address, user, bucket, config })
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where the cards are, and how to look at them.
    pub(super) fn about(&self) -> String {
        let Self { address, user, bucket, .. } = self;
        let mut about = format!(
            "The cards are documents of {bucket}.board.cards on {address}, user {user}.\n\
             Any SDK reads and writes them: cluster.bucket({bucket:?}).scope(\"board\").collection(\"cards\")."
        );
        if self.is_double {
            about.push_str(
                "\nThis is NOT Couchbase Server but the double of it that our tests use: it keeps everything in memory, and ends with the\n\
                 demo. For a real one: cargo xtask demo --store couchbase --cluster couchbase://user:password@host/bucket",
            );
        }
        about
    }
}

fn start_double(project: &Project) -> Result<(Child, String), String> {
    let program = build::binary_named(project, Profile::Release, "tidelock-couchbase-double")?;
    let mut command = Command::new(program);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut double = started.map_err(|error| format!("the double of Couchbase could not be started: {error}"))?;
    let output = double.stdout.take().ok_or("the double has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| format!("the double said nothing: {error}"))?;
    let said: Value = serde_json::from_str(&line).map_err(|error| format!("the double said {line:?}: {error}"))?;
    let text = said.get("connection_string").and_then(Value::as_str).ok_or("the double did not say where it is")?;
    Ok((double, text.to_owned()))
}
