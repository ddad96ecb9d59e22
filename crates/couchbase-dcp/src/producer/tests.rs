//! A connection whose encryption holds back what it is given.

use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::*;
use crate::output::tests::{Buffering, PATIENCE};

/// A close is a header alone.
const CLOSE_BYTES: usize = 24;

#[tokio::test]
async fn requests_do_not_stay_in_the_encryption() {
    let (io, mut node) = Buffering::new();
    let config = Arc::new(Config::new("couchbase://u:p@h/b").unwrap());
    let (batches, _incoming) = mpsc::channel(1);
    let shared = Shared { config, topologies: watch::Sender::new(Arc::default()), batches };
    let (orders, commands) = mpsc::channel(1);
    let window = Arc::new(Window::new(1 << 20));
    let address = Address { host: "h".into(), port: 1 };
    let mut session = Session::new(1, address, shared, window, Ids::All);
    let reading = async {
        for vbucket in 0..20_u16 {
            orders.send(Command::Close { vbucket }).await.unwrap();
            let mut found = [0; CLOSE_BYTES];
            let read = timeout(PATIENCE, node.read_exact(&mut found)).await;
            read.expect("the request comes without a further one").unwrap();
            assert_eq!((found[1], &found[6..8]), (opcode::DCP_CLOSE_STREAM, &vbucket.to_be_bytes()[..]));
        }
    };
    tokio::select! {
        ended = session.stream(Connection::over(Box::new(io)), commands) => panic!("{ended:?}"),
        () = reading => {}
    }
}
