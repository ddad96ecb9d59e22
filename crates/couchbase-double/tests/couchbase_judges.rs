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

/// `gocbcore/v10`, whose DCP agent Couchbase's own tools use, and `gocb/v2`.
mod go {
    async fn check(check: &str) {
        super::run(super::Command::new(super::from_environment("TIDELOCK_JUDGE_GO")), check).await;
    }

    #[tokio::test]
    async fn dcp_streams() {
        check("dcp-streams").await;
    }

    #[tokio::test]
    async fn dcp_filter() {
        check("dcp-filter").await;
    }

    #[tokio::test]
    async fn dcp_rollback() {
        check("dcp-rollback").await;
    }

    #[tokio::test]
    async fn dcp_resume() {
        check("dcp-resume").await;
    }

    #[tokio::test]
    async fn sdk_values() {
        check("sdk-values").await;
    }

    #[tokio::test]
    async fn sdk_xattrs() {
        check("sdk-xattrs").await;
    }
}

/// The wheel `couchbase`.
mod python {
    async fn check(check: &str) {
        let mut judge = super::Command::new(super::from_environment("TIDELOCK_JUDGE_PYTHON"));
        judge.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/judges/python/judge.py"));
        super::run(judge, check).await;
    }

    #[tokio::test]
    async fn sdk_values() {
        check("sdk-values").await;
    }

    #[tokio::test]
    async fn sdk_xattrs() {
        check("sdk-xattrs").await;
    }
}

/// The npm package `couchbase`.
mod node {
    async fn check(check: &str) {
        let mut judge = super::Command::new("node");
        judge.arg(super::from_environment("TIDELOCK_JUDGE_NODE"));
        super::run(judge, check).await;
    }

    #[tokio::test]
    async fn sdk_values() {
        check("sdk-values").await;
    }

    #[tokio::test]
    async fn sdk_xattrs() {
        check("sdk-xattrs").await;
    }
}
