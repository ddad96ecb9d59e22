//! A key-value connection: reads commands, writes answers, and lets DCP streams send.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Shared;
use crate::dcp::{self, Pumped};
use crate::session::{After, Session};
use crate::wire::Packet;

/// How many bytes one read takes.
const READ_BYTES: usize = 64 << 10;

/// Serves the connections of one node, until the task is ended; the connections end with it.
pub(crate) async fn serve(shared: Arc<Shared>, node: usize, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(run(Arc::clone(&shared), node, stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn run(shared: Arc<Shared>, node: usize, mut stream: TcpStream) {
    // Without it answers would wait for acknowledgements of earlier ones; a socket that has it not still works.
    let _ = stream.set_nodelay(true);
    let id = shared.state().take_connection();
    let mut session = Session::new(id, node);
    let mut documents = shared.documents.subscribe();
    let mut cluster = shared.cluster.subscribe();
    let mut input = Vec::with_capacity(READ_BYTES);
    let mut output = Vec::new();
    loop {
        let mut more = false;
        if !hang(&shared, &session, &mut cluster).await {
            return;
        }
        if session.dcp.is_some() {
            let mut pumped = dcp::pump(&mut session, &shared.state(), &mut output);
            if let Some(dcp) = &mut session.dcp
                && !dcp.tick(Instant::now(), &mut output)
            {
                pumped = Pumped::Closed;
            }
            match pumped {
                Pumped::Closed => return,
                Pumped::More => more = true,
                Pumped::Idle => {}
            }
        }
        if !output.is_empty() {
            if stream.write_all(&output).await.is_err() {
                return;
            }
            output.clear();
        }
        let tick = session.dcp.as_ref().and_then(dcp::Producer::next_tick);
        tokio::select! {
            biased;
            read = stream.read_buf(&mut input) => {
                if !matches!(read, Ok(bytes) if bytes > 0) {
                    return;
                }
                if !hang(&shared, &session, &mut cluster).await {
                    return;
                }
                let delay = shared.state().faults.kv_delay;
                if !delay.is_zero() && session.dcp.is_none() {
                    tokio::time::sleep(delay).await;
                }
                if let After::Close = take_packets(&shared, &mut session, &mut input, &mut output) {
                    let _ = stream.write_all(&output).await;
                    return;
                }
            }
            () = std::future::ready(()), if more => {}
            Ok(()) = cluster.changed() => {
                if session.is_bucket_gone(&shared.state()) {
                    return;
                }
                if let Some(push) = session.notification(&shared.state()) {
                    push.write(&mut output);
                }
            }
            Ok(()) = documents.changed(), if session.dcp.is_some() => {}
            () = until(tick), if tick.is_some() => {}
        }
    }
}

/// Waits while the connection is to do nothing. `false`: the double has ended.
async fn hang(shared: &Shared, session: &Session, cluster: &mut watch::Receiver<u64>) -> bool {
    let is_hung = || {
        let faults = &shared.state().faults;
        faults.hung_node == Some(session.node) || session.dcp.is_some() && faults.is_dcp_mute
    };
    while is_hung() {
        if cluster.changed().await.is_err() {
            return false;
        }
    }
    true
}

async fn until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant.into()).await;
    }
}

/// Carries out the whole packets at the front of `input`.
fn take_packets(shared: &Shared, session: &mut Session, input: &mut Vec<u8>, output: &mut Vec<u8>) -> After {
    let mut taken = 0;
    let after = loop {
        match Packet::read(input.get(taken..).unwrap_or_default()) {
            Ok(Some((packet, length))) => {
                taken += length;
                if let After::Close = session.handle(shared, &packet, output) {
                    break After::Close;
                }
            }
            Ok(None) => break After::GoOn,
            Err(_) => break After::Close,
        }
    };
    input.drain(..taken);
    after
}
