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

/// How a cluster is named.
const FORM: &str = "write the cluster as couchbase://user:password@host/bucket, or with couchbases:// and --ca; what has a meaning there is \
                    percent-encoded (%40 is an @)";

/// A cluster as it is named on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// Without user and bucket.
    address: String,
    is_tls: bool,
    user: String,
    password: String,
    bucket: String,
}

impl Named {
    fn read(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let is_tls = match scheme {
            "couchbase" => false,
            "couchbases" => true,
            _ => return Err(FORM.into()),
        };
        let (rest, options) = rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
        let (login, rest) = rest.rsplit_once('@').ok_or(FORM)?;
        let (user, password) = login.split_once(':').ok_or(FORM)?;
        let (hosts, bucket) = rest.split_once('/').unwrap_or((rest, ""));
        let options = options.map(|options| format!("?{options}")).unwrap_or_default();
        let address = format!("{scheme}://{hosts}{options}");
        let bucket = if bucket.is_empty() { BUCKET.to_owned() } else { decoded(bucket)? };
        Ok(Self { address, is_tls, user: decoded(user)?, password: decoded(password)?, bucket })
    }

    /// The part of a server's configuration that is about the cluster.
    fn configuration(&self, ca_file: Option<&Path>) -> Result<String, String> {
        let ca_file = match (self.is_tls, ca_file) {
            (true, None) => return Err("couchbases:// needs the cluster's root certificates: --ca FILE".into()),
            (false, Some(_)) => return Err("--ca is for couchbases://".into()),
            (_, None) => String::new(),
            (_, Some(path)) => {
                // The configuration is in another folder.
                let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
                format!("ca_file = {}\n", quoted(path.to_str().ok_or("the name of the file of --ca is no text")?))
            }
        };
        let [address, user, password, bucket] =
            [&self.address, &self.user, &self.password, &self.bucket].map(|text| quoted(text));
        Ok(format!(
            "\n[databases.board.cluster]\nkind = \"couchbase\"\naddresses = [{address}]\nnode = \"demo\"\nuser = {user}\n\
             password = {password}\n[databases.board.cluster.options]\nbucket = {bucket}\nscope = \"board\"\n{ca_file}"
        ))
    }
}

/// `%40` and so on.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(FORM.into()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| FORM)?);
        rest = tail.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| FORM.into())
}

/// A string of TOML. JSON writes it the same way, but for one character that TOML has only escaped.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

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
    pub(super) fn start(
        project: &Project,
        cluster: Option<&str>,
        ca_file: Option<&Path>,
        tidelock: &Path,
    ) -> Result<Self, String> {
        let (double, text) = if let Some(text) = cluster {
            (None, text.to_owned())
        } else {
            let (double, text) = start_double(project)?;
            (Some(double), text)
        };
        let named = Named::read(&text)?;
        let of_cluster = named.configuration(ca_file)?;
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
        let Named { address, user, password, bucket, .. } = named;
        let login = if double.is_some() { format!("{user}, password {password}") } else { user };
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

    #[test]
    fn a_cluster_is_named_by_a_connection_string() {
        let named =
            |text: &str| Named::read(text).map(|named| (named.address, named.user, named.password, named.bucket));
        let expected = |parts: [&str; 4]| {
            let [address, user, password, bucket] = parts.map(str::to_owned);
            Ok((address, user, password, bucket))
        };
        assert_eq!(
            named("couchbase://us%40er:p%3Aw%2F%25%22@a:1,b/travel?network=external"),
            expected(["couchbase://a:1,b?network=external", "us@er", "p:w/%\"", "travel"])
        );
        assert_eq!(named("couchbases://u:@h"), expected(["couchbases://h", "u", "", "default"]));
        assert_eq!(
            named("couchbases://u:p@h/?network=auto"),
            expected(["couchbases://h?network=auto", "u", "p", "default"])
        );
        for wrong in
            ["h", "http://u:p@h", "couchbase://h/b", "couchbase://u@h", "couchbase://u:%4@h", "couchbase://u:%zz@h"]
        {
            assert_eq!(named(wrong), Err(FORM.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_written_as_toml_has_it() {
        let named = Named::read("couchbase://a%22%5C%0A%7F:%C3%A4'@h/b").unwrap();
        let text = named.configuration(None).unwrap();
        assert!(text.contains("\nuser = \"a\\\"\\\\\\n\\u007f\"\npassword = \"ä'\"\n"), "{text}");
        assert!(!text.contains("ca_file"), "{text}");
    }

    #[test]
    fn tls_comes_with_root_certificates() {
        let plain = Named::read("couchbase://u:p@h").unwrap();
        let tls = Named::read("couchbases://u:p@h").unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(tls.configuration(None).unwrap_err().contains("--ca"));
        assert!(plain.configuration(Some(&here)).unwrap_err().contains("couchbases://"));
        let text = tls.configuration(Some(&here)).unwrap();
        assert!(text.contains("[\"couchbases://h\"]") && text.ends_with("xtask/Cargo.toml\"\n"), "{text}");
    }
}
