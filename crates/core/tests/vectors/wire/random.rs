//! Round trips of random frames, and random bytes.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use tidelock_core::ids::{
    ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, Offset, Sequence, SubscriptionId, Version,
};
use tidelock_core::wire::{
    Changes, ClientFrame, Columns, ConflictNote, Cursor, Difference, DocumentChange, DocumentState, ErrorCode,
    FieldPatch, Hello, Operation, Outcome, Packed, Push, PushResult, ServerFrame, Snapshot, Subscribe, Symbols, decode,
    encode, unpack_changes,
};

use super::recorded;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", any::<String>()]
}

fn id() -> impl Strategy<Value = DocumentId> {
    (name(), name()).prop_map(|(collection, key)| DocumentId { collection, key })
}

fn operation() -> impl Strategy<Value = Operation> {
    let patch =
        (vec(name(), 0..3), of(bytes()), of(bytes())).prop_map(|(path, base, value)| FieldPatch { path, base, value });
    prop_oneof![
        bytes().prop_map(Operation::Put),
        Just(Operation::Delete),
        vec(patch, 0..4).prop_map(Operation::Patch),
        bytes().prop_map(Operation::Offer),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let change = (id(), any::<u64>(), operation()).prop_map(|(id, base, operation)| DocumentChange {
        id,
        base: Version(base),
        operation,
        whole: None,
    });
    (any::<[u64; 3]>(), vec(change, 0..4), any::<bool>(), of(any::<bool>())).prop_map(
        |([sequence, acknowledged, edited_ms], changes, more, before)| Push {
            sequence: Sequence(sequence),
            acknowledged: Sequence(acknowledged),
            edited_ms,
            changes,
            more,
            before,
        },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    let numbers = (any::<[u16; 2]>(), any::<[u8; 16]>(), any::<[u64; 2]>(), of(any::<u64>()), any::<u32>());
    (numbers, name(), name(), vec(name(), 0..3), of(any::<(u64, u64)>()), of(any::<bool>())).prop_map(
        |(numbers, database, token, collections, history, restoring)| {
            let ([protocol, protocol_min], client, [incarnation, acknowledged], epoch, credit_bytes) = numbers;
            Hello {
                protocol,
                protocol_min,
                database,
                token,
                client: ClientId(client),
                incarnation: Incarnation(incarnation),
                acknowledged: Sequence(acknowledged),
                epoch: epoch.map(Epoch),
                credit_bytes,
                collections,
                history: history.map(|(history, offset)| (History(history), Offset(offset))),
                restoring,
            }
        },
    )
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let cursor = (any::<[u64; 2]>(), of((name(), name()))).prop_map(|([changelog, offset], snapshot)| Cursor {
        changelog: ChangelogId(changelog),
        offset: Offset(offset),
        snapshot,
    });
    let names = (vec(name(), 0..3), of(vec(name(), 0..3)), vec(name(), 0..3));
    (any::<u64>(), names, of(cursor), bytes()).prop_map(|(id, (collections, channels, held), cursor, have)| Subscribe {
        id: SubscriptionId(id),
        collections,
        channels,
        cursor,
        held,
        have,
        reconcile: None,
    })
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        hello().prop_map(ClientFrame::Hello),
        subscribe().prop_map(ClientFrame::Subscribe),
        push().prop_map(ClientFrame::Push),
        packed().prop_map(ClientFrame::Pushes),
        (any::<[u64; 2]>(), bytes(), packed(), any::<bool>()).prop_map(|([subscription, round], lacks, only, more)| {
            let subscription = SubscriptionId(subscription);
            ClientFrame::Difference(Difference { subscription, round, lacks, only, more })
        }),
    ]
}

fn packed() -> impl Strategy<Value = Packed> {
    bytes().prop_map(Packed)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let state = || {
        (id(), any::<u64>(), of(bytes())).prop_map(|(id, version, body)| DocumentState {
            id,
            version: Version(version),
            body,
        })
    };
    let note = (id(), vec(name(), 0..3), name(), [of(bytes()), of(bytes()), of(bytes()), of(bytes())]).prop_map(
        |(id, path, strategy, [base, mine, theirs, outcome])| ConflictNote {
            id,
            path,
            strategy,
            base,
            mine,
            theirs,
            outcome,
        },
    );
    prop_oneof![
        Just(Outcome::Accepted),
        (vec(state(), 0..3), vec(note, 0..3)).prop_map(|(states, notes)| Outcome::Merged(states, notes)),
        (prop::sample::select(ErrorCode::ALL), name(), vec(state(), 0..3))
            .prop_map(|(code, message, states)| Outcome::Rejected(code, message, states)),
        vec(state(), 0..3).prop_map(Outcome::Resolve),
    ]
}

fn server_frame() -> impl Strategy<Value = ServerFrame> {
    let changes = (any::<[u64; 3]>(), vec(any::<u64>(), 0..3), any::<[bool; 2]>(), bytes().prop_map(Columns)).prop_map(
        |([changelog, from, to], subscriptions, [last, more], changes)| Changes {
            changelog: ChangelogId(changelog),
            subscriptions: subscriptions.into_iter().map(SubscriptionId).collect(),
            from: Offset(from),
            to: Offset(to),
            last,
            changes,
            more,
        },
    );
    let bound = || of((name(), name()));
    let snapshot = (any::<[u64; 3]>(), bound(), bound(), bytes().prop_map(Columns), vec(name(), 0..3)).prop_map(
        |([changelog, subscription, offset], after, through, changes, channels)| Snapshot {
            changelog: ChangelogId(changelog),
            subscription: SubscriptionId(subscription),
            offset: Offset(offset),
            after,
            through,
            changes,
            channels,
        },
    );
    prop_oneof![
        (any::<[u64; 2]>(), outcome()).prop_map(|([sequence, offset], outcome)| {
            ServerFrame::Result(PushResult { sequence: Sequence(sequence), offset: Offset(offset), outcome })
        }),
        changes.prop_map(ServerFrame::Changes),
        snapshot.prop_map(ServerFrame::Snapshot),
        (any::<[u64; 4]>(), any::<u32>(), bytes(), any::<bool>()).prop_map(|(numbers, first, symbols, last)| {
            let [subscription, round, offset, documents] = numbers;
            let (subscription, offset) = (SubscriptionId(subscription), Offset(offset));
            ServerFrame::Symbols(Symbols { subscription, round, offset, documents, first, symbols, last })
        }),
    ]
}

proptest! {
    #[test]
    fn client_frames_round_trip(frame in client_frame()) {
        prop_assert_eq!(decode::<ClientFrame>(&encode(&frame)), Ok(frame));
    }

    #[test]
    fn server_frames_round_trip(frame in server_frame()) {
        prop_assert_eq!(decode::<ServerFrame>(&encode(&frame)), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<ClientFrame>(&bytes);
        let _ = decode::<ServerFrame>(&bytes);
        let _ = unpack_changes(&Columns(bytes));
    }

    #[test]
    fn frames_cut_and_joined_never_panic(picks in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)) {
        let [client, server] = recorded();
        let frames = [client, server].concat();
        let joined: Vec<u8> = picks
            .iter()
            .flat_map(|(frame, length)| {
                let frame = &frames[frame.index(frames.len())];
                frame[..=length.index(frame.len())].to_vec()
            })
            .collect();
        let _ = decode::<ClientFrame>(&joined);
        let _ = decode::<ServerFrame>(&joined);
    }
}
