//! Couchbase's own clients as judges: each connects to a double, writes, reads and follows the feed as it would with a real server. What
//! makes one of them fail is a bug of the double. `cargo xtask test --stage couchbase` builds them and names them in the environment.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use tidelock_couchbase_double::{Double, Options};
use tokio::process::Command;
use tokio::time::timeout;

/// A judge takes a second or two; it waits 15 s for what does not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn from_environment(name: &str) -> PathBuf {
    let path = env::var_os(name).map(PathBuf::from);
    path.unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test --stage couchbase` runs the judges"))
}

/// Lets a judge run one check against a cluster of its own.
async fn run(mut judge: Command, check: &str) {
    let double = Double::start(Options::default()).await.unwrap();
    let address = double.connection_string();
    let (_, hosts) = address.rsplit_once('@').unwrap();
    judge.args([check, hosts, &double.management(0)]).kill_on_drop(true);
    let output = timeout(PATIENCE, judge.output()).await.expect("the judge ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{check}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

/// Tests that let a judge run the check of the same name, with hyphens.
macro_rules! checks {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            super::run(judge(), &stringify!($name).replace('_', "-")).await;
        })*
    };
}

/// `gocbcore/v10`, whose DCP agent Couchbase's own tests use, and `gocb/v2`.
mod go {
    fn judge() -> super::Command {
        super::Command::new(super::from_environment("TIDELOCK_JUDGE_GO"))
    }

    checks! { dcp_streams dcp_filter dcp_rollback dcp_resume dcp_failover sdk_values sdk_xattrs }
}

/// The crate `couchbase`.
mod rust {
    fn judge() -> super::Command {
        super::Command::new(super::from_environment("TIDELOCK_JUDGE_RUST"))
    }

    checks! { sdk_values sdk_xattrs sdk_management }
}

/// The wheel `couchbase`.
mod python {
    fn judge() -> super::Command {
        let mut judge = super::Command::new(super::from_environment("TIDELOCK_JUDGE_PYTHON"));
        judge.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/judges/python/judge.py"));
        judge
    }

    checks! { sdk_values sdk_xattrs }
}

/// The npm package `couchbase`.
mod node {
    fn judge() -> super::Command {
        let mut judge = super::Command::new("node");
        judge.arg(super::from_environment("TIDELOCK_JUDGE_NODE"));
        judge
    }

    checks! { sdk_values sdk_xattrs }
}
