//! Names of virtual disks, and the numbers by which guests know them.
use std::fmt;

/// A virtual block device: its name and the number that its front end is known by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualDevice {
    /// As it was written.
    pub name: String,
    /// The device number (`xen-vbd-interface`): major << 8 | minor, or 1 << 28 | disk << 8 | partition.
    pub number: u32,
}

impl VirtualDevice {
    /// Reads `xvda1`, `sda`, `hdc`, `d0p1` or a bare number.
    pub fn parse(name: &str) -> Result<VirtualDevice, String> {
        let bad = || format!("\"{name}\" is no virtual device, as in xvda, sda1, hdc or d0p1");
        let number = Self::number(name).ok_or_else(bad)?;
        Ok(VirtualDevice {
            name: name.into(),
            number,
        })
    }

    fn number(name: &str) -> Option<u32> {
        if let Some(n) = crate::cfg::parse_int(name) {
            return u32::try_from(n).ok();
        }
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        if let Some(rest) = name.strip_prefix("xvd") {
            let (disk, part) = letters(rest)?;
            return xvd(disk, part);
        }
        if let Some(rest) = name.strip_prefix("hd") {
            return match letters(rest)? {
                (disk @ 0..=1, part @ 0..=63) => Some(3 << 8 | disk << 6 | part),
                (disk @ 2..=3, part @ 0..=63) => Some(22 << 8 | (disk - 2) << 6 | part),
                _ => None,
            };
        }
        if let Some(rest) = name.strip_prefix("sd") {
            return match letters(rest)? {
                (disk @ 0..=15, part @ 0..=15) => Some(8 << 8 | disk << 4 | part),
                _ => None,
            };
        }
        let (disk, part) = name.strip_prefix('d')?.split_once('p')?;
        xvd(disk.parse().ok()?, part.parse().ok()?)
    }
}

fn xvd(disk: u32, part: u32) -> Option<u32> {
    match (disk, part) {
        (0..=15, 0..=15) => Some(202 << 8 | disk << 4 | part),
        (0..=0xf_ffff, 0..=255) => Some(1 << 28 | disk << 8 | part),
        _ => None,
    }
}

/// `a` is disk 0, `z` 25, `aa` 26; then perhaps a partition.
fn letters(rest: &str) -> Option<(u32, u32)> {
    let end = rest
        .find(|c: char| !c.is_ascii_lowercase())
        .unwrap_or(rest.len());
    let (word, part) = rest.split_at(end);
    if word.is_empty() || word.len() > 4 {
        return None;
    }
    let disk = word
        .bytes()
        .fold(0, |n, b| n * 26 + u32::from(b - b'a') + 1)
        - 1;
    let part = if part.is_empty() {
        0
    } else {
        part.parse().ok().filter(|p| *p > 0)?
    };
    Some((disk, part))
}

impl fmt::Display for VirtualDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_interface() {
        let n = |s: &str| VirtualDevice::parse(s).map(|v| v.number).ok();
        assert_eq!(n("xvda"), Some(0xca00));
        assert_eq!(n("xvdp15"), Some(0xcaff));
        assert_eq!(n("xvdq"), Some(1 << 28 | 16 << 8));
        assert_eq!(n("xvdaa1"), Some(1 << 28 | 26 << 8 | 1));
        assert_eq!(n("xvda16"), Some(1 << 28 | 16));
        assert_eq!(n("d1p2"), n("xvdb2"));
        assert_eq!(n("sdb1"), Some(0x811));
        assert_eq!(n("hdd2"), Some(0x1642));
        assert_eq!(n("51712"), Some(51712));
        for bad in [
            "", "xvd", "xvda0", "hde", "sdq", "sda16", "foo", "d1", "xvdA", "-1",
        ] {
            assert_eq!(n(bad), None, "{bad}");
        }
    }
}
