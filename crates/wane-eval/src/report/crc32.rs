//! The cyclic sum of gzip and PNG (RFC 1952, section 8; ISO/IEC 15948, annex D).

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut value, mut bit) = (i as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

/// The sum of everything so far and `bytes`; begin with 0.
pub(super) fn extend(sum: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!sum, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 255) as usize] ^ (sum >> 8))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_check_value() {
        assert_eq!(super::extend(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(super::extend(super::extend(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
