//! `cargo xtask bench NAME`: runs a bench program, prints its rows as a table and writes `target/bench/NAME.json`.
//!
//! A bench program prints one JSON object per row on standard output, `{"name", "value", "unit", "budget", "ok"}`
//! (`budget` may be null for a figure without one), or one array of them; its other lines are progress.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidelock_geode_cluster::{Artifacts, Cluster, Regions, Version};

use crate::build::{self, Profile};
use crate::process::{self, Echo};
use crate::project::Project;
use crate::stage::couchbase::go_client;
use crate::{TaskResult, bundle, setup};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A bench, or `all`.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(
        BENCHES.iter().map(|bench| bench.name).chain(["all"])
    ))]
    name: String,
}

struct Bench {
    name: &'static str,
    program: Program,
}

#[derive(Clone, Copy)]
enum Program {
    /// Measured here.
    Bundle,
    /// `packages/tidelock/bench/NAME.ts` with Chromium and the release binary.
    Browser,
    /// The crate `tidelock-bench`, called with the bench's name.
    Native,
    /// The same, beside a cluster of Apache Geode, and `packages/tidelock/bench/geode.ts` on it.
    Geode,
    /// The same, beside the double of Couchbase and a program of gocbcore.
    Couchbase,
}

/// Every bench, in the order in which `all` runs them.
const BENCHES: &[Bench] = &[
    Bench { name: "bundle", program: Program::Bundle },
    Bench { name: "wire", program: Program::Browser },
    Bench { name: "push", program: Program::Browser },
    Bench { name: "capture", program: Program::Browser },
    Bench { name: "first-sync", program: Program::Browser },
    Bench { name: "live", program: Program::Browser },
    Bench { name: "commits", program: Program::Native },
    Bench { name: "fan-out", program: Program::Native },
    Bench { name: "idle", program: Program::Native },
    Bench { name: "reconcile", program: Program::Native },
    Bench { name: "geode", program: Program::Geode },
    Bench { name: "couchbase", program: Program::Couchbase },
];

/// The crate of the native bench programs.
const NATIVE_CRATE: &str = "tidelock-bench";

pub(crate) fn run(project: &Project, arguments: &Arguments) -> bool {
    let chosen = BENCHES.iter().filter(|bench| arguments.name == "all" || arguments.name == bench.name);
    let mut ok = true;
    for bench in chosen {
        // One bench that cannot run does not keep the others from running.
        match measure(project, bench).and_then(|rows| report(project, bench.name, &rows)) {
            Ok(within) => ok &= within,
            Err(sentence) => {
                println!("error: {sentence}");
                ok = false;
            }
        }
    }
    ok
}

fn measure(project: &Project, bench: &Bench) -> Result<Vec<Row>, String> {
    match bench.program {
        Program::Bundle => {
            setup::for_build(project)?;
            build::all(project)?;
            bundle_rows(project)
        }
        Program::Browser => browser_rows(project, bench.name, &[]),
        Program::Native => native_rows(project, bench.name, &[]),
        Program::Geode => geode_rows(project, bench.name),
        Program::Couchbase => {
            let gocbcore = go_client(project, "follow", "follow").map_err(|trouble| trouble.to_string())?;
            let double = build::binary_named(project, Profile::Release, "tidelock-couchbase-double")?;
            let env = [("TIDELOCK_COUCHBASE_FOLLOW", gocbcore.as_path()), ("TIDELOCK_COUCHBASE_DOUBLE", &double)];
            native_rows(project, bench.name, &env)
        }
    }
}

fn geode_rows(project: &Project, name: &str) -> Result<Vec<Row>, String> {
    setup::java(project)?;
    println!("   > Geode's jars from Maven Central, and a cluster: one locator, two servers");
    let folder = project.target_dir.join("geode");
    let artifacts = Artifacts::prepare(&folder, Version::V1_15_1)?;
    let cluster = Cluster::start(&artifacts, &folder.join("bench"), Regions::Tests, &[])?;
    let mut rows = native_rows(project, name, &[("TIDELOCK_GEODE_CLUSTER", cluster.folder())])?;
    rows.extend(browser_rows(project, name, &[("TIDELOCK_TEST_GEODE", Path::new(&cluster.locator()))])?);
    Ok(rows)
}

fn bundle_rows(project: &Project) -> Result<Vec<Row>, String> {
    let parts = bundle::parts(project)?;
    let total: u64 = parts.iter().map(|part| part.gzip_bytes).sum();
    let mut rows: Vec<Row> = parts
        .into_iter()
        .map(|part| Row {
            name: part.name,
            value: json!(part.gzip_bytes),
            unit: "B".into(),
            budget: Value::Null,
            ok: true,
        })
        .collect();
    rows.push(Row {
        name: "bundle, gzip".into(),
        value: json!(total),
        unit: "B".into(),
        budget: json!(bundle::BUDGET_BYTES),
        ok: total <= bundle::BUDGET_BYTES,
    });
    Ok(rows)
}

fn browser_rows(project: &Project, name: &str, env: &[(&str, &Path)]) -> Result<Vec<Row>, String> {
    let program = format!("packages/tidelock/bench/{name}.ts");
    if !project.root.join(&program).is_file() {
        return Err(format!("the bench `{name}` has no program: write {program}"));
    }
    setup::for_build(project)?;
    let chromium = setup::chromium(project)?;
    build::all(project)?;
    let binary = build::binary(project, Profile::Release)?;
    let mut command = project.command("node");
    command.args(["--import", "tsx", &program]);
    command.env("TIDELOCK_CHROMIUM", chromium).env("TIDELOCK_BIN", binary);
    command.env("TIDELOCK_DIST", project.root.join(build::DIST)).envs(env.iter().copied());
    rows_of(name, &mut command)
}

/// `env` names what the bench finds beside the server's binary.
fn native_rows(project: &Project, name: &str, env: &[(&str, &Path)]) -> Result<Vec<Row>, String> {
    if !project.has_crate(NATIVE_CRATE) {
        return Err(format!("the bench `{name}` has no program: the workspace has no crate {NATIVE_CRATE}"));
    }
    let mut compile = project.cargo();
    process::must(
        &format!("cargo build {NATIVE_CRATE} (release)"),
        compile.args(["build", "--release", "--package", NATIVE_CRATE]),
    )?;
    let binary = build::binary(project, Profile::Release)?;
    let mut command = project.cargo();
    command.args(["run", "--quiet", "--release", "--package", NATIVE_CRATE, "--", name]).env("TIDELOCK_BIN", binary);
    command.envs(env.iter().copied());
    rows_of(name, &mut command)
}

fn rows_of(name: &str, command: &mut std::process::Command) -> Result<Vec<Row>, String> {
    println!("   > bench {name}");
    let finished = process::run(name, command, Echo::Quiet)?;
    let rows = parse_rows(&finished.stdout)?;
    if !finished.ok {
        println!("{}", finished.output.trim_end());
        return Err(format!("the bench `{name}` failed ({}); its output is above", finished.status));
    }
    if rows.is_empty() {
        println!("{}", finished.output.trim_end());
        return Err(format!("the bench `{name}` printed no row: it must print JSON rows on standard output"));
    }
    Ok(rows)
}

/// One measurement.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    value: Value,
    unit: String,
    budget: Value,
    ok: bool,
}

impl Row {
    fn parse(row: &Value) -> Result<Self, String> {
        let field = |name: &str| row.get(name).ok_or_else(|| format!("a bench row lacks `{name}`: {row}"));
        let wrong = |name: &str, wanted: &str| format!("`{name}` of a bench row is no {wanted}: {row}");
        let value = field("value")?;
        if !value.is_number() {
            return Err(wrong("value", "number"));
        }
        Ok(Self {
            name: field("name")?.as_str().ok_or_else(|| wrong("name", "text"))?.to_owned(),
            value: value.clone(),
            unit: field("unit")?.as_str().ok_or_else(|| wrong("unit", "text"))?.to_owned(),
            budget: row.get("budget").cloned().unwrap_or(Value::Null),
            ok: field("ok")?.as_bool().ok_or_else(|| wrong("ok", "boolean"))?,
        })
    }

    fn to_json(&self) -> Value {
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "budget": self.budget, "ok": self.ok })
    }
}

fn parse_rows(stdout: &str) -> Result<Vec<Row>, String> {
    if let Ok(Value::Array(rows)) = serde_json::from_str(stdout) {
        return rows.iter().map(Row::parse).collect();
    }
    stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(Value::is_object)
        .map(|row| Row::parse(&row))
        .collect()
}

/// Prints the table, writes the file, and says whether every row is within its budget.
fn report(project: &Project, name: &str, rows: &[Row]) -> TaskResult {
    println!("\n{}", table(name, rows));
    let folder = project.target_dir.join("bench");
    let file = folder.join(format!("{name}.json"));
    let list: Vec<Value> = rows.iter().map(Row::to_json).collect();
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, format!("{:#}\n", Value::Array(list))))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("written: {}", file.display());
    Ok(rows.iter().all(|row| row.ok))
}

fn table(name: &str, rows: &[Row]) -> String {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let budget = match row.budget.as_str() {
                Some(text) => text.to_owned(),
                None if row.budget.is_null() => "-".to_owned(),
                None => row.budget.to_string(),
            };
            let verdict = if row.ok { "ok" } else { "OVER BUDGET" };
            [row.name.clone(), row.value.to_string(), row.unit.clone(), budget, verdict.to_owned()]
        })
        .collect();
    let header = [format!("bench {name}"), "value".into(), "unit".into(), "budget".into(), String::new()];
    let all: Vec<&[String; 5]> = std::iter::once(&header).chain(&cells).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let [first, value, unit, budget] = [width(0), width(1), width(2), width(3)];
    all.iter()
        .map(|[a, b, c, d, e]| format!("{a:<first$}  {b:>value$} {c:<unit$}  {d:>budget$}  {e}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_lines_among_progress() {
        let out = "warming up\n{\"name\":\"a\",\"value\":1.5,\"unit\":\"ms\",\"budget\":3,\"ok\":true}\n100%\n";
        let rows = parse_rows(out).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].name.as_str(), rows[0].ok), ("a", true));
    }

    #[test]
    fn rows_are_read_from_an_array() {
        let rows = parse_rows(r#"[{"name":"a","value":1,"unit":"B","budget":null,"ok":false}]"#).unwrap();
        assert!(!rows[0].ok);
    }

    #[test]
    fn a_row_without_a_verdict_is_an_error() {
        let sentence = parse_rows(r#"{"name":"a","value":1,"unit":"B","budget":3}"#).unwrap_err();
        assert!(sentence.contains("`ok`"), "{sentence}");
    }

    #[test]
    fn the_table_marks_a_row_over_its_budget() {
        let rows = parse_rows(r#"[{"name":"bytes","value":10,"unit":"B","budget":3,"ok":false}]"#).unwrap();
        assert_eq!(table("x", &rows), "bench x  value unit  budget\nbytes       10 B          3  OVER BUDGET");
    }
}
