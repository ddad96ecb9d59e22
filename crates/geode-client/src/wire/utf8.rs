//! Java's modified UTF-8: the zero character as two bytes, and each half of a surrogate pair as three.

use super::Malformed;

/// Appends `text` in modified UTF-8.
pub(crate) fn encode(text: &str, out: &mut Vec<u8>) {
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for unit in text.encode_utf16() {
        let low = |shift: u16| u8::try_from((unit >> shift) & 0x3F).unwrap_or_default() | 0x80;
        match unit {
            1..=0x7F => out.push(u8::try_from(unit).unwrap_or_default()),
            0 | 0x80..=0x7FF => {
                out.push(0xC0 | u8::try_from(unit >> 6).unwrap_or_default());
                out.push(low(0));
            }
            0x800.. => {
                out.push(0xE0 | u8::try_from(unit >> 12).unwrap_or_default());
                out.push(low(6));
                out.push(low(0));
            }
        }
    }
}

/// The number of bytes that [`encode`] appends.
pub(crate) fn encoded_len(text: &str) -> usize {
    text.chars()
        .map(|one| match one {
            '\0' => 2,
            '\u{10000}'.. => 6,
            _ => one.len_utf8(),
        })
        .sum()
}

/// Whether modified UTF-8 and ASCII are the same for this text.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (1..0x80).contains(&byte))
}

/// Reads modified UTF-8. Half a surrogate pair, which Java allows in a string and Unicode does not, is refused.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Malformed> {
    if bytes.iter().all(|byte| (1..0x80).contains(byte)) {
        return String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("text"));
    }
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(first) = rest.next() {
        let mut next = || match rest.next() {
            Some(byte) if byte & 0xC0 == 0x80 => Ok(u16::from(byte & 0x3F)),
            _ => Err(Malformed("text in modified UTF-8")),
        };
        units.push(match first {
            0..0x80 => u16::from(first),
            0xC0..0xE0 => (u16::from(first & 0x1F) << 6) | next()?,
            0xE0..0xF0 => (u16::from(first & 0x0F) << 12) | (next()? << 6) | next()?,
            _ => return Err(Malformed("text in modified UTF-8")),
        });
    }
    String::from_utf16(&units).map_err(|_| Malformed("text with half a surrogate pair"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, bytes: &[u8]) {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out, bytes, "{text}");
        assert_eq!(encoded_len(text), bytes.len(), "{text}");
        assert_eq!(decode(bytes).unwrap(), text);
    }

    #[test]
    fn java_writes_zero_and_surrogates_in_its_own_way() {
        check("abc", b"abc");
        check("a\0b", b"a\xC0\x80b");
        check("é€", b"\xC3\xA9\xE2\x82\xAC");
        check("😀", b"\xED\xA0\xBD\xED\xB8\x80");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [&b"\xED\xA0\xBD"[..], b"\xC3", b"\xF0\x9F\x98\x80", b"\xE2\x82", b"\x80"] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
