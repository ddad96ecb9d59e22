//! The checksums of the protocol: CRC-32 chooses a key's vbucket, CRC-32C is a document's `value_crc32c`.

/// Reversed polynomial of CRC-32C (Castagnoli).
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// CRC-32C of a document's body, without its xattrs (`daemon/subdocument_context.cc`, `computeValueCRC32C`).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ CASTAGNOLI } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
