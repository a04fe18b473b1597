//! Sizes as people write them: `512M`, `0x20000000`, `1G`, `262144` (KiB by default).

/// Parses a size with an optional unit (`b`, `k`, `m`, `g`, `t`, any case) and returns bytes.
/// Without a unit the number counts `default_unit` bytes. `None` for anything else, or on overflow.
#[must_use]
pub fn parse_size(text: &str, default_unit: u64) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_lowercase() {
        // A hexadecimal number may end in `b`: then it is a digit.
        b'b' if !is_hex(text) => (&text[..text.len() - 1], 1),
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        b'g' => (&text[..text.len() - 1], 1 << 30),
        b't' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, default_unit),
    };
    parse_number(digits)?.checked_mul(unit)
}

/// Decimal, or hexadecimal with `0x`.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

fn is_hex(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn units() {
        assert_eq!(parse_size("512M", 1024), Some(512 << 20));
        assert_eq!(parse_size("1g", 1024), Some(1 << 30));
        assert_eq!(parse_size("2t", 1024), Some(2 << 40));
        assert_eq!(parse_size("4096", 1024), Some(4 << 20));
        assert_eq!(parse_size("10b", 1024), Some(10));
        assert_eq!(parse_size("0x10b", 1), Some(0x10b));
        assert_eq!(parse_size("0x10M", 1), Some(16 << 20));
    }

    #[test]
    fn nonsense() {
        for bad in [
            "",
            "M",
            "x",
            "1MM",
            "-5M",
            "+5M",
            "99999999999999999999",
            "99999999999999T",
            "é",
        ] {
            assert_eq!(parse_size(bad, 1024), None, "{bad}");
        }
    }
}
