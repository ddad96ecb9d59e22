//! Base64 (RFC 4648), strict: one text for one byte string.

use crate::prelude::*;

/// Which alphabet and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `+/` with padding, as `btoa` writes it: values.
    Standard,
    /// `-_` without padding: keys.
    Url,
}

impl Variant {
    fn alphabet(self) -> &'static [u8; 64] {
        match self {
            Variant::Standard => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Variant::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }

    fn value(self, byte: u8) -> Option<u32> {
        let value = match (byte, self) {
            (b'A'..=b'Z', _) => byte - b'A',
            (b'a'..=b'z', _) => byte - b'a' + 26,
            (b'0'..=b'9', _) => byte - b'0' + 52,
            (b'+', Variant::Standard) | (b'-', Variant::Url) => 62,
            (b'/', Variant::Standard) | (b'_', Variant::Url) => 63,
            _ => return None,
        };
        Some(value.into())
    }
}

/// Encodes bytes.
pub fn encode(bytes: &[u8], variant: Variant) -> String {
    let alphabet = variant.alphabet();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| (group << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            let index = (group >> (18 - 6 * position)) & 63;
            text.push(alphabet.get(index as usize).map_or('A', |byte| char::from(*byte)));
        }
        if variant == Variant::Standard {
            text.extend(core::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    text
}

/// Decodes the text that [`encode`] writes; `None` for any other.
pub fn decode(text: &str, variant: Variant) -> Option<Vec<u8>> {
    let digits = match variant {
        Variant::Standard if text.len().is_multiple_of(4) => text.trim_end_matches('='),
        Variant::Standard => return None,
        Variant::Url => text,
    };
    let padding = text.len() - digits.len();
    if variant == Variant::Standard && (digits.len() + padding).saturating_sub(digits.len().next_multiple_of(4)) > 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0;
        for byte in chunk {
            group = (group << 6) | variant.value(*byte)?;
        }
        let bits_left_over = match chunk.len() {
            4 => 0,
            3 => 2,
            2 => 4,
            _ => return None,
        };
        if group & ((1 << bits_left_over) - 1) != 0 {
            return None;
        }
        let group = group >> bits_left_over;
        bytes.extend(group.to_be_bytes().iter().skip(5 - chunk.len()));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for variant in [Variant::Standard, Variant::Url] {
                prop_assert_eq!(decode(&encode(&bytes, variant), variant), Some(bytes.clone()));
            }
        }

        #[test]
        fn one_text_for_one_byte_string(text in "[A-Ca-c0-3+/=_-]{0,9}") {
            for variant in [Variant::Standard, Variant::Url] {
                if let Some(bytes) = decode(&text, variant) {
                    prop_assert_eq!(encode(&bytes, variant), text.clone());
                }
            }
        }
    }

    #[test]
    fn known_texts() {
        assert_eq!(encode(b"", Variant::Standard), "");
        assert_eq!(encode(b"f", Variant::Standard), "Zg==");
        assert_eq!(encode(b"fo", Variant::Url), "Zm8");
        assert_eq!(encode(&[0xfb, 0xff], Variant::Url), "-_8");
        for bad in ["Z", "Zg", "Zg=", "Zh==", "====", "Zg==Zg==", "Z g=", "Zg===", "Zm8=====", "Zm9v===="] {
            assert_eq!(decode(bad, Variant::Standard), None, "{bad}");
        }
    }
}
