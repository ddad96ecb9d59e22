//! The double as a program: prints one line of JSON with its addresses, and runs until its input ends.

use std::io::{self, Write as _};

use clap::Parser;
use serde_json::json;
use tidelock_couchbase_double::{Double, Options};
use tokio::io::AsyncReadExt as _;

#[derive(Parser)]
#[command(about = "A double of a Couchbase cluster for tests, on ports of 127.0.0.1; ends when its input ends")]
struct Arguments {
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    #[arg(long, default_value_t = 64)]
    vbuckets: u16,
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    #[arg(long, default_value = "default")]
    bucket: String,
    #[arg(long, default_value = "Administrator")]
    user: String,
    #[arg(long, default_value = "password")]
    password: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        nodes: arguments.nodes,
        vbuckets: arguments.vbuckets,
        replicas: arguments.replicas,
        bucket: arguments.bucket,
        user: arguments.user,
        password: arguments.password,
        ..Options::default()
    };
    let (bucket, user, password) = (options.bucket.clone(), options.user.clone(), options.password.clone());
    let nodes = options.nodes;
    let double = Double::start(options).await?;
    let management: Vec<String> = (0..nodes).map(|node| double.management(node)).collect();
    let line = json!({
        "connection_string": double.connection_string(),
        "kv_ports": double.kv_ports(),
        "management": management,
        "bucket": bucket,
        "user": user,
        "password": password,
    });
    writeln!(io::stdout(), "{line}")?;
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 256];
    while input.read(&mut ignored).await? > 0 {}
    Ok(())
}
