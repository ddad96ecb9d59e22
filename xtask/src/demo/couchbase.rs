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

/// The place in the page for what everybody has to know who opens it (`packages/board/public/index.html`).
const NO_NOTICE: &str = r#"name="board-notice" content="""#;
/// What that is on the double.
const NOTICE: &str = "This board is on a double of Couchbase Server, not on Couchbase Server itself: the double keeps everything in memory, \
                      and ends with the demo.";

/// A cluster with the collections of the demo application.
pub(super) struct Couchbase {
    /// The double: it ends when its input does, which is when this is dropped.
    _double: Option<Child>,
    is_double: bool,
    /// Without the password.
    address: String,
    /// The user; of the double with the password, which is no secret.
    login: String,
    bucket: String,
    config: PathBuf,
    app: PathBuf,
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
        let mut app = project.root.join(super::APP);
        if double.is_some() {
            app = noted(&app, &folder.join("app"))?;
        }
        let login = if double.is_some() { format!("{user}, password {password}") } else { user.to_owned() };
        let bucket = bucket.to_owned();
        Ok(Self { is_double: double.is_some(), _double: double, address, login, bucket, config, app })
    }

    /// The demo application; on the double its page says so.
    pub(super) fn app(&self) -> &Path {
        &self.app
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where the cards are, and how to look at them.
    pub(super) fn about(&self) -> String {
        let Self { address, login, bucket, .. } = self;
        let mut about = format!(
            "The cards are documents of {bucket}.board.cards on {address}, user {login}.\n\
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

/// A copy of the demo application whose page has the notice.
fn noted(app: &Path, copy: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{} cannot be copied to {}: {error}", app.display(), copy.display());
    // There may be none of an earlier demo.
    let _ = fs::remove_dir_all(copy);
    copy_folder(app, copy).map_err(failed)?;
    let page = copy.join("index.html");
    let html = fs::read_to_string(&page).map_err(failed)?;
    fs::write(&page, with_notice(&html)?).map_err(failed)?;
    Ok(copy.to_owned())
}

fn with_notice(html: &str) -> Result<String, String> {
    if !html.contains(NO_NOTICE) {
        return Err("the demo's page has no place for a notice (packages/board/public/index.html)".into());
    }
    Ok(html.replace(NO_NOTICE, &NO_NOTICE.replace("\"\"", &format!("\"{NOTICE}\""))))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_demo_has_a_place_for_the_notice() {
        let page = with_notice(include_str!("../../../packages/board/public/index.html")).unwrap();
        assert!(page.contains("content=\"This board is on a double of Couchbase Server"), "{page}");
        assert!(with_notice("<p>").is_err());
    }
}
