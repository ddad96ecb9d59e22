//! The jars: Geode's from Maven Central, and the Java application, compiled.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which regions a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Those of the tests.
    Tests,
    /// Those of the demo application.
    Board,
    /// One of an application that has never heard of Tidelock.
    Application,
    /// Those of the tests' first collection, on servers whose settings do not suit.
    Unsuited,
}

/// Which Geode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.15.1: cluster, gfsh and Java client; Maven Central lacks the parts for HTTP.
    V1_15_1,
    /// 1.14.4, with REST and gfsh over HTTP.
    V1_14_4,
}

impl Version {
    fn maven_arguments(self) -> &'static [&'static str] {
        match self {
            Self::V1_15_1 => &[],
            Self::V1_14_4 => &["-Dgeode.version=1.14.4", "-Dspring.version=5.3.8", "-Phttp"],
        }
    }
}

/// A folder with all jars.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Fetches and compiles into `folder`, unless that was done from the same sources before. `mvn` and a JDK must be
    /// on PATH. An error is one sentence.
    pub fn prepare(folder: &Path, version: Version) -> Result<Self, String> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("java");
        let artifacts = Self { folder: folder.to_owned() };
        let stamp = folder.join("prepared-from");
        let wanted = format!("{version:?}\n{}", fingerprint(&sources)?);
        if fs::read_to_string(&stamp).is_ok_and(|prepared| prepared == wanted) {
            return Ok(artifacts);
        }
        fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let lib = artifacts.lib();
        let _ = fs::remove_dir_all(&lib);
        let to_lib = format!("-DoutputDirectory={}", lib.display());
        maven(&sources, &[&["dependency:copy-dependencies", &to_lib], version.maven_arguments()].concat())?;
        artifacts.move_wars()?;
        artifacts.compile(&sources)?;
        fs::write(&stamp, wanted).map_err(|error| format!("{} cannot be written: {error}", stamp.display()))?;
        Ok(artifacts)
    }

    /// What was prepared in this folder before.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn lib(&self) -> PathBuf {
        self.folder.join("lib")
    }

    /// What Geode takes for its installation, when there are parts for HTTP.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        let home = self.folder.join("home");
        home.is_dir().then_some(home)
    }

    /// The web applications go where Geode looks for them.
    fn move_wars(&self) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let extensions = self.folder.join("home/tools/Extensions");
        for entry in fs::read_dir(self.lib()).map_err(wrong)? {
            let war = entry.map_err(wrong)?.path();
            if let (Some("war"), Some(name)) = (war.extension().and_then(OsStr::to_str), war.file_name()) {
                fs::create_dir_all(&extensions).map_err(wrong)?;
                fs::rename(&war, extensions.join(name)).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn classes(&self) -> PathBuf {
        self.folder.join("classes")
    }

    /// The class path for `java`.
    pub(crate) fn class_path(&self) -> String {
        format!("{}:{}/*", self.classes().display(), self.lib().display())
    }

    /// What the servers are configured from.
    pub(crate) fn cache_xml(regions: Regions) -> PathBuf {
        let name = match regions {
            Regions::Tests => "cache.xml",
            Regions::Board => "board.xml",
            Regions::Application => "application.xml",
            Regions::Unsuited => "unsuited.xml",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("java").join(name)
    }

    fn compile(&self, sources: &Path) -> Result<(), String> {
        let folder = sources.join("src/main/java/tidelock/testing");
        let files = java_files(&folder)?;
        let mut command = Command::new("javac");
        command.args(["--release", "11", "-encoding", "UTF-8", "-cp", &self.class_path(), "-d"]);
        run("javac", command.arg(self.classes()).args(files))
    }
}

fn maven(project: &Path, arguments: &[&str]) -> Result<(), String> {
    run("mvn", Command::new("mvn").current_dir(project).args(["-B", "-q"]).args(arguments))
}

fn run(program: &str, command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("`{program}` could not be started ({error}): install it"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("`{program}` failed ({}): {}", output.status, String::from_utf8_lossy(&text).trim()))
}

fn java_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{} is unreadable: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        files.push(entry.map_err(unreadable)?.path());
    }
    files.sort();
    Ok(files)
}

/// All sources, one after the other: when they are the same, the jars are.
fn fingerprint(sources: &Path) -> Result<String, String> {
    let mut files = java_files(&sources.join("src/main/java/tidelock/testing"))?;
    files.push(sources.join("pom.xml"));
    let mut text = String::new();
    for file in files {
        text += &fs::read_to_string(&file).map_err(|error| format!("{} is unreadable: {error}", file.display()))?;
    }
    Ok(text)
}
