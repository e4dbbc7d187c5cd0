//! The CRC-64 of Azure Storage (reflected, polynomial 0x9A6C9329AC4BC9B5, initial value and final XOR all
//! ones), eight bytes at a time.

const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A checksum being computed.
#[derive(Debug, Clone, Copy)]
pub struct Crc64(u64);

impl Default for Crc64 {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc64 {
    /// Adds bytes to the checksum.
    pub fn update(&mut self, bytes: &[u8]) {
        let at = |table: usize, byte: u64| TABLES[table][(byte & 0xff) as usize];
        let (words, rest) = bytes.as_chunks::<8>();
        let mut crc = self.0;
        for word in words {
            let x = crc ^ u64::from_le_bytes(*word);
            crc = at(7, x)
                ^ at(6, x >> 8)
                ^ at(5, x >> 16)
                ^ at(4, x >> 24)
                ^ at(3, x >> 32)
                ^ at(2, x >> 40)
                ^ at(1, x >> 48)
                ^ at(0, x >> 56);
        }
        for byte in rest {
            crc = crc >> 8 ^ at(0, crc ^ u64::from(*byte));
        }
        self.0 = crc;
    }

    /// Returns the checksum as it is encoded in headers, before base64.
    pub fn bytes(self) -> [u8; 8] {
        (!self.0).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_check_value_is_computed() {
        let mut crc = Crc64::default();
        crc.update(b"123456789");
        // CRC-64/NVME in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc.bytes(), 0xae8b_1486_0a79_9888_u64.to_le_bytes());
        assert_eq!(Crc64::default().bytes(), [0; 8]);
    }

    proptest! {
        #[test]
        fn parts_have_the_same_checksum_as_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0usize..100) {
            let (mut whole, mut parts) = (Crc64::default(), Crc64::default());
            whole.update(&bytes);
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            parts.update(first);
            parts.update(second);
            prop_assert_eq!(whole.bytes(), parts.bytes());
        }
    }
}
