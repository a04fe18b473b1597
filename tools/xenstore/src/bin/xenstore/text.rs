//! Values on a terminal: what does not print is shown as an escape, and read back from it.

/// The value with `\`, control and non-ASCII bytes as `\\`, `\n`, `\t`, `\r` or `\ooo`.
pub fn escape(value: &[u8]) -> String {
    let mut out = String::new();
    for b in value {
        match b {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x20..=0x7e => out.push(char::from(*b)),
            _ => out.push_str(&format!("\\{b:03o}")),
        }
    }
    out
}

/// The bytes an escaped value stands for; also takes `\xHH`.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((b, tail)) = rest.split_first() {
        rest = tail;
        if *b != b'\\' {
            out.push(*b);
            continue;
        }
        let number = |digits: &[u8], radix| {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|d| u8::from_str_radix(d, radix).ok())
        };
        let (byte, used) = match tail {
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'r', ..] => (b'\r', 1),
            [b'x', a, b, ..] if number(&[*a, *b], 16).is_some() => {
                (number(&[*a, *b], 16).unwrap_or_default(), 3)
            }
            [a, b, c, ..] if number(&[*a, *b, *c], 8).is_some() => {
                (number(&[*a, *b, *c], 8).unwrap_or_default(), 3)
            }
            [other, ..] => (*other, 1),
            [] => (b'\\', 0),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back_as_written() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), all);
        assert_eq!(escape(b"a\nb\x01"), "a\\nb\\001");
        assert_eq!(unescape("\\x41\\"), b"A\\");
    }
}
