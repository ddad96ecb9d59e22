//! Frames as people read them, for the trace of a replayed seed.

use tidelock_core::wire::{
    ChangeKind, ClientFrame, Columns, DocumentState, Outcome, Push, ServerFrame, decode, unpack, unpack_changes,
};

/// A message of a client.
pub(crate) fn client_message(bytes: &[u8]) -> String {
    match decode::<ClientFrame>(bytes) {
        Ok(ClientFrame::Push(push)) => push_text(&push),
        Ok(ClientFrame::Pushes(packed)) => {
            unpack::<Push>(&packed).unwrap_or_default().iter().map(push_text).collect::<Vec<_>>().join("; ")
        }
        Ok(ClientFrame::Subscribe(subscribe)) => {
            let (cursor, reconcile) = (&subscribe.cursor, &subscribe.reconcile);
            format!("subscribe cursor {cursor:?} have {} reconcile {reconcile:?}", subscribe.have.len() / 8)
        }
        Ok(ClientFrame::Hello(hello)) => format!("hello acknowledged {}", hello.acknowledged),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

/// A message of a server.
pub(crate) fn server_message(bytes: &[u8]) -> String {
    match decode::<ServerFrame>(bytes) {
        Ok(ServerFrame::Changes(frame)) => {
            let items = changes_text(&frame.changes);
            format!("changes {}..{} last {} more {}: {items}", frame.from, frame.to, frame.last, frame.more)
        }
        Ok(ServerFrame::Snapshot(frame)) => {
            let items = changes_text(&frame.changes);
            format!("snapshot {} {:?}..{:?}: {items}", frame.offset, frame.after, frame.through)
        }
        Ok(ServerFrame::Reconciled(frame)) => {
            format!("reconciled {} last {}: {}", frame.offset, frame.last, changes_text(&frame.changes))
        }
        Ok(ServerFrame::Symbols(frame)) => {
            format!("symbols {} of {} from {} last {}", frame.offset, frame.documents, frame.first, frame.last)
        }
        Ok(ServerFrame::Result(result)) => {
            let outcome = match &result.outcome {
                Outcome::Accepted => "accepted".into(),
                Outcome::Merged(states, _) => format!("merged {}", states_text(states)),
                Outcome::Rejected(code, _, states) => format!("rejected {} {}", code.name(), states_text(states)),
                Outcome::Resolve(states) => format!("resolve {}", states_text(states)),
            };
            format!("result {} at {}: {outcome}", result.sequence, result.offset)
        }
        Ok(ServerFrame::Welcome(welcome)) => {
            format!("welcome session {} finished {}", welcome.session, welcome.finished)
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn push_text(push: &Push) -> String {
    let changes: Vec<String> = push
        .changes
        .iter()
        .map(|change| format!("{} base {:x} {:?}", change.id, change.base.0 >> 48, readable(&change.operation)))
        .collect();
    format!("push {} more {}: {}", push.sequence, push.more, changes.join(", "))
}

fn readable(operation: &tidelock_core::wire::Operation) -> String {
    use tidelock_core::wire::Operation;
    match operation {
        Operation::Put(body) | Operation::Offer(body) => String::from_utf8_lossy(body).into_owned(),
        Operation::Delete => "delete".into(),
        Operation::Patch(fields) => {
            let text = |value: &Option<Vec<u8>>| {
                value.as_ref().map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned())
            };
            let fields = fields
                .iter()
                .map(|field| format!("{}: {} -> {}", field.path.join("."), text(&field.base), text(&field.value)));
            fields.collect::<Vec<_>>().join(", ")
        }
    }
}

fn changes_text(columns: &Columns) -> String {
    let changes = unpack_changes(columns).unwrap_or_default();
    let text = changes.iter().map(|change| {
        let kind = match &change.kind {
            ChangeKind::Put(version, body) => format!("{:x} {}", version.0 >> 48, String::from_utf8_lossy(body)),
            ChangeKind::Delete | ChangeKind::Leave | ChangeKind::Same(_) => format!("{:?}", change.kind),
        };
        format!("@{} {}/{} {kind}", change.offset, change.collection, change.key)
    });
    text.collect::<Vec<_>>().join(", ")
}

fn states_text(states: &[DocumentState]) -> String {
    let text = states.iter().map(|state| {
        let body = state.body.as_deref().map_or("absent".into(), String::from_utf8_lossy);
        format!("{} {:x} {body}", state.id, state.version.0 >> 48)
    });
    text.collect::<Vec<_>>().join(", ")
}
