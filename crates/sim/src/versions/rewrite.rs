//! Messages as another minor version would have sent them: with fields that nobody here knows, or without those that were appended.

use super::shape::Shape;
use crate::random::Random;

/// How a message is rewritten.
pub(super) enum Edit<'r> {
    /// Without the fields that were appended since the first minor version.
    Older,
    /// With fields, of all kinds, that a later minor version has appended.
    Newer(&'r mut Random),
    /// A hello that offers these protocol versions, the newest and the oldest.
    Offers(u8, u8),
}

/// Why a message was not rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no frame: something has cut it.
    Cut,
    /// It has fields or variants that the shapes do not name.
    Undescribed,
}

/// Rewrites one item that takes all of `bytes`.
pub(super) fn rewrite(shape: &Shape, bytes: &[u8], edit: &mut Edit<'_>) -> Result<Vec<u8>, Refused> {
    let mut rewriter = Rewriter { bytes, at: 0, out: Vec::with_capacity(bytes.len() + 64), edit };
    rewriter.item(shape)?;
    if rewriter.at < bytes.len() { Err(Refused::Cut) } else { Ok(rewriter.out) }
}

/// What a later version may have appended: numbers, texts, bytes, lists, maps, null, booleans, and what nests them.
const UNKNOWN: [&[u8]; 8] = [
    &[0x07],
    &[0x1B, 0xFF, 0, 0, 0, 0, 0, 0, 1],
    &[0x65, b'l', b'a', b't', b'e', b'r'],
    &[0x42, 0xFF, 0x00],
    &[0x83, 0x01, 0x81, 0x61, b'x', 0xF6],
    &[0xA1, 0x61, b'k', 0x82, 0x20, 0x40],
    &[0xF6],
    &[0xF5],
];
/// Most fields that are appended to a struct.
const APPENDED_MAX: u64 = 3;

const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

struct Rewriter<'b, 'e, 'r> {
    bytes: &'b [u8],
    at: usize,
    out: Vec<u8>,
    edit: &'e mut Edit<'r>,
}

impl<'b> Rewriter<'b, '_, '_> {
    fn take(&mut self, length: u64) -> Result<&'b [u8], Refused> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(Refused::Cut)?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Major type and argument.
    fn head(&mut self) -> Result<(u8, u64), Refused> {
        let initial = self.take(1)?.first().copied().unwrap_or_default();
        let argument = match initial & 0x1F {
            small @ 0..=23 => u64::from(small),
            size @ 24..=27 => {
                let bytes = self.take(1 << (size - 24))?;
                bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
            }
            _ => return Err(Refused::Cut),
        };
        Ok((initial >> 5, argument))
    }

    /// The head of an item of this type; `None`, and nothing is read, where another one (null) stands.
    fn head_of(&mut self, major: u8) -> Result<Option<u64>, Refused> {
        let at = self.at;
        let (found, argument) = self.head()?;
        if found == major {
            return Ok(Some(argument));
        }
        self.at = at;
        Ok(None)
    }

    fn skip(&mut self) -> Result<(), Refused> {
        let mut left = 1_u64;
        while left > 0 {
            let (major, argument) = self.head()?;
            left -= 1;
            left = left.saturating_add(match major {
                BYTES | TEXT => {
                    self.take(argument)?;
                    0
                }
                ARRAY => argument,
                MAP => argument.saturating_mul(2),
                TAG => 1,
                _ => 0,
            });
        }
        Ok(())
    }

    fn copy(&mut self) -> Result<(), Refused> {
        let from = self.at;
        self.skip()?;
        self.out.extend_from_slice(self.bytes.get(from..self.at).unwrap_or_default());
        Ok(())
    }

    fn item(&mut self, shape: &Shape) -> Result<(), Refused> {
        match shape {
            Shape::Leaf => self.copy(),
            Shape::Newest => self.offer(|edit| match edit {
                Edit::Older => None,
                Edit::Newer(_) => Some(2),
                Edit::Offers(newest, _) => Some(*newest),
            }),
            Shape::Oldest => self.offer(|edit| if let Edit::Offers(_, oldest) = edit { Some(*oldest) } else { None }),
            Shape::List(one) => {
                let Some(count) = self.head_of(ARRAY)? else { return self.copy() };
                write_head(&mut self.out, ARRAY, count);
                (0..count).try_for_each(|_| self.item(one))
            }
            Shape::Fields(first, appended) => self.fields(first, appended),
            Shape::Variants(variants) => {
                if self.head_of(ARRAY)? != Some(2) {
                    return Err(Refused::Cut);
                }
                let (_, number) = self.head()?;
                let fields = usize::try_from(number).ok().and_then(|number| variants.get(number));
                write_head(&mut self.out, ARRAY, 2);
                write_head(&mut self.out, 0, number);
                self.fields(fields.ok_or(Refused::Undescribed)?, &[])
            }
            Shape::Packed(one) => self.inside(|inner| {
                while inner.at < inner.bytes.len() {
                    inner.item(one)?;
                }
                Ok(())
            }),
            Shape::Columns => {
                self.inside(|inner| if inner.bytes.is_empty() { Ok(()) } else { inner.fields(&COLUMNS, &[]) })
            }
        }
    }

    fn offer(&mut self, offered: impl Fn(&Edit<'_>) -> Option<u8>) -> Result<(), Refused> {
        let Some(version) = offered(self.edit) else { return self.copy() };
        write_head(&mut self.out, 0, version.into());
        self.skip()
    }

    fn fields(&mut self, first: &[Shape], appended: &[Shape]) -> Result<(), Refused> {
        let Some(count) = self.head_of(ARRAY)? else { return self.copy() };
        let known = first.len() + appended.len();
        let count = usize::try_from(count).ok().filter(|count| *count <= known).ok_or(Refused::Undescribed)?;
        let kept = if matches!(self.edit, Edit::Older) { count.min(first.len()) } else { count };
        // What is appended comes after everything that is known.
        let more = match &mut self.edit {
            Edit::Newer(random) if count == known => random.below(APPENDED_MAX + 1),
            Edit::Newer(_) | Edit::Older | Edit::Offers(..) => 0,
        };
        write_head(&mut self.out, ARRAY, kept as u64 + more);
        for shape in first.iter().chain(appended).take(kept) {
            self.item(shape)?;
        }
        for _ in kept..count {
            self.skip()?;
        }
        for _ in 0..more {
            if let Edit::Newer(random) = &mut self.edit {
                self.out.extend_from_slice(random.pick(&UNKNOWN).copied().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Rewrites what is within a byte string.
    fn inside(
        &mut self,
        rewrite: impl FnOnce(&mut Rewriter<'b, '_, '_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let Some(length) = self.head_of(BYTES)? else { return self.copy() };
        let bytes = self.take(length)?;
        let mut inner = Rewriter { bytes, at: 0, out: Vec::new(), edit: &mut *self.edit };
        rewrite(&mut inner)?;
        let out = inner.out;
        write_head(&mut self.out, BYTES, out.len() as u64);
        self.out.extend_from_slice(&out);
        Ok(())
    }
}

/// The columns of changes, the last of them an array.
const COLUMNS: [Shape; 10] = [const { Shape::Leaf }; 10];

/// Major type and argument, in the shortest form.
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let bytes = argument.to_be_bytes();
    let (short, size) = match argument {
        0..=23 => (bytes[7], 0),
        24..=0xFF => (24, 1),
        0x100..=0xFFFF => (25, 2),
        0x1_0000..=0xFFFF_FFFF => (26, 4),
        _ => (27, 8),
    };
    out.push((major << 5) | short);
    out.extend_from_slice(bytes.get(8 - size..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidelock_core::wire::{Cbor, ClientFrame, Columns, Push, ServerFrame, decode, unpack, unpack_changes};

    use super::super::shape::{OF_CLIENT, OF_SERVER};
    use super::*;

    /// The bytes of an example of every frame and variant.
    fn examples(section: &str) -> Vec<Vec<u8>> {
        let file: Value =
            serde_json::from_str(include_str!("../../../../testdata/wire-v1.json")).expect("a vector file");
        let section = file.get(section).and_then(Value::as_array).expect("a section");
        let texts = section.iter().filter_map(|example| example.get("bytes")?.as_str());
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16).expect("hex");
        texts.map(|text| text.as_bytes().chunks(2).map(byte).collect()).collect()
    }

    /// What a newer version sends is understood as what it appends to, whatever kind it is of; what an older one sends is understood.
    fn check<T: Cbor>(shape: &Shape, section: &str, view: fn(T) -> String) {
        let mut grown = 0;
        let decoded = |bytes: &[u8]| view(decode::<T>(bytes).expect("a frame"));
        for example in examples(section) {
            for seed in 0..8 {
                let mut random = Random::new(seed);
                let newer = rewrite(shape, &example, &mut Edit::Newer(&mut random)).expect("a frame that is described");
                grown += usize::from(newer.len() > example.len());
                let offered = decoded(&newer).replace("Hello { protocol: 2", "Hello { protocol: 1");
                assert_eq!(offered, decoded(&example));
            }
            let older = rewrite(shape, &example, &mut Edit::Older).expect("a frame that is described");
            assert!(decode::<T>(&older).is_ok() && older.len() <= example.len());
            // Once more is nothing new: they are gone, not null.
            assert_eq!(rewrite(shape, &older, &mut Edit::Older), Ok(older));
        }
        assert!(grown > 0, "something is appended");
    }

    #[test]
    fn every_frame_is_understood_by_other_minor_versions() {
        check::<ClientFrame>(&OF_CLIENT, "client_frames", |frame| {
            if let ClientFrame::Pushes(pushes) = &frame {
                return format!("{:?}", unpack::<Push>(pushes));
            }
            format!("{frame:?}")
        });
        check::<ServerFrame>(&OF_SERVER, "server_frames", |mut frame| {
            let mut columns = Vec::new();
            if let ServerFrame::Changes(changes) = &mut frame {
                columns = std::mem::take(&mut changes.changes.0);
            } else if let ServerFrame::Snapshot(snapshot) = &mut frame {
                columns = std::mem::take(&mut snapshot.changes.0);
            } else if let ServerFrame::Reconciled(reconciled) = &mut frame {
                columns = std::mem::take(&mut reconciled.changes.0);
            }
            format!("{frame:?} {:?}", unpack_changes(&Columns(columns)))
        });
    }

    #[test]
    fn an_older_push_lacks_what_was_appended() {
        let appended = |bytes: &[u8]| match decode::<ClientFrame>(bytes) {
            Ok(ClientFrame::Push(push)) => {
                usize::from(push.before.is_some()) + push.changes.iter().filter(|change| change.whole.is_some()).count()
            }
            Ok(ClientFrame::Hello(hello)) => usize::from(hello.history.is_some()),
            _ => 0,
        };
        let of_this: usize = examples("client_frames").iter().map(|example| appended(example)).sum();
        let older = |example: &Vec<u8>| rewrite(&OF_CLIENT, example, &mut Edit::Older).expect("a frame");
        let of_older: usize = examples("client_frames").iter().map(|example| appended(&older(example))).sum();
        assert!(of_this > 0 && of_older == 0, "{of_this} and {of_older}");
    }

    #[test]
    fn what_is_cut_or_unknown_is_told() {
        let hello = examples("client_frames").into_iter().next().expect("an example");
        let cut = hello.get(..hello.len() - 1).expect("bytes");
        assert_eq!(rewrite(&OF_CLIENT, cut, &mut Edit::Older), Err(Refused::Cut));
        let mut random = Random::new(3);
        let newer = rewrite(&OF_CLIENT, &hello, &mut Edit::Newer(&mut random)).expect("a frame");
        assert_eq!(rewrite(&OF_CLIENT, &newer, &mut Edit::Older), Err(Refused::Undescribed));
        let offers = rewrite(&OF_CLIENT, &hello, &mut Edit::Offers(9, 8)).expect("a frame");
        let Ok(ClientFrame::Hello(hello)) = decode(&offers) else { panic!("a hello") };
        assert_eq!((hello.protocol, hello.protocol_min), (9, 8));
    }
}
