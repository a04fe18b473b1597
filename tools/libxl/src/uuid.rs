//! Domain UUIDs.
use std::fmt;

/// A UUID, in the order in which it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A random one (version 4), from the kernel.
    pub fn random() -> std::io::Result<Uuid> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        Uuid::parse(text.trim()).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    /// Reads 32 hexadecimal digits; dashes between them are ignored.
    pub fn parse(text: &str) -> Option<Uuid> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != '-')
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect::<Option<_>>()?;
        let mut uuid = [0; 16];
        if digits.len() != 32 {
            return None;
        }
        for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Uuid(uuid))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{b:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_read_back_as_written() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(Uuid::parse(text).unwrap().to_string(), text);
        assert_eq!(
            Uuid::parse("00112233445566778899aabbccddeeff")
                .unwrap()
                .to_string(),
            text
        );
        assert_eq!(Uuid::parse("0011"), None);
        assert_eq!(Uuid::parse("g0112233445566778899aabbccddeeff"), None);
    }
}
