//! `ioports=`, `iomem=` and `irqs=`: the machine's own hardware that a guest may use, as [`Hardware`].
use crate::cfg::{Cfg, Diagnostics, Pos};
use crate::host::Host;
use crate::{Error, GuestKind, Result};
use xen_abi::{DomId, Errno};

/// What a guest may use besides what is virtual.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hardware {
    /// First port, and how many.
    pub ports: Vec<(u32, u32)>,
    /// First frame of I/O memory, and how many.
    pub frames: Vec<(u64, u64)>,
    /// Interrupts of the I/O APICs.
    pub irqs: Vec<u32>,
}

/// I/O ports of a PC.
const PORTS: u32 = 0x1_0000;
/// Frames of the widest physical address, 52 bits.
const FRAMES: u64 = 1 << 40;
/// More interrupt lines than any machine has.
const IRQS: i64 = 4096;

impl Hardware {
    /// Reads the three keys.
    pub(crate) fn read(cfg: &Cfg, kind: GuestKind, diags: &mut Diagnostics) -> Hardware {
        let mut hw = Hardware::default();
        each(cfg, "ioports", diags, |text| {
            hw.ports.push(port_range(text)?);
            Ok(())
        });
        each(cfg, "iomem", diags, |text| {
            hw.frames.push(frame_range(text)?);
            Ok(())
        });
        each(cfg, "irqs", diags, |text| {
            let n = text.parse::<i64>().ok();
            match n.filter(|n| (0..IRQS).contains(n)) {
                Some(n) => hw.irqs.push(n as u32),
                None => return Err(format!("\"{text}\" is no interrupt from 0 to {}", IRQS - 1)),
            }
            Ok(())
        });
        if kind != GuestKind::Pv && !hw.is_empty() {
            let first = ["ioports", "iomem", "irqs"]
                .into_iter()
                .find_map(|k| cfg.get(k));
            if let Some(s) = first {
                let message = format!("\"{}\" is for PV guests in this release", s.key);
                diags
                    .error(&s.pos, message)
                    .help("leave it out, or take type = \"pv\"");
            }
        }
        hw
    }

    fn is_empty(&self) -> bool {
        *self == Hardware::default()
    }

    /// Gives it to a new domain.
    pub(crate) fn grant(&self, host: &Host, dom: DomId) -> Result<()> {
        let hv = host.hv;
        for &(first, count) in &self.ports {
            let given = hv.permit_ports(dom, first, count);
            given.map_err(|e| explain(e, "ioports"))?;
        }
        for &(first, count) in &self.frames {
            let given = hv.permit_frames(dom, first, count);
            given.map_err(|e| explain(e, "iomem"))?;
        }
        for &irq in &self.irqs {
            hv.permit_irq(dom, irq).map_err(|e| explain(e, "irqs"))?;
        }
        Ok(())
    }
}

/// A hypervisor that keeps all hardware for Domain-0 says so with a number; which key is to go is said here.
fn explain(e: xenctrl::Error, key: &str) -> Error {
    if e.errno != Errno::EOPNOTSUPP {
        return e.into();
    }
    Error::new(format!(
        "\"{key}\": this hypervisor gives the machine's hardware to Domain-0 alone: {e}"
    ))
    .hint(format!("leave \"{key}\" out"))
}

/// Each atom of a list, with its errors where they are.
fn each(
    cfg: &Cfg,
    key: &str,
    diags: &mut Diagnostics,
    mut read: impl FnMut(&str) -> std::result::Result<(), String>,
) {
    let Some(setting) = cfg.get(key) else { return };
    for v in setting.value.as_list().unwrap_or_default() {
        if let Err(e) = read(v.as_str().unwrap_or_default().trim()) {
            let pos: &Pos = &v.pos;
            diags.error(pos, format!("in \"{key}\": {e}"));
        }
    }
}

fn hex(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match digits.starts_with('+') {
        true => None,
        false => u64::from_str_radix(digits, 16).ok(),
    }
}

/// `2f8` or `2f8-2ff`: first and count.
fn port_range(text: &str) -> std::result::Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |t| {
        hex(t)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n < PORTS)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last - first + 1)),
        _ => Err(format!(
            "\"{text}\" is no range of ports, as in \"2f8-2ff\" (hexadecimal, 0 to ffff)"
        )),
    }
}

/// `START,COUNT`: in frames. A PV guest maps them where it likes, so that `@GFN` is for other guests.
fn frame_range(text: &str) -> std::result::Result<(u64, u64), String> {
    let (range, gfn) = match text.split_once('@') {
        Some((range, gfn)) => (range, Some(gfn)),
        None => (text, None),
    };
    let parsed = range.split_once(',').map(|(a, b)| (hex(a), hex(b)));
    let gfn_reads = gfn.is_none_or(|g| hex(g).is_some());
    match parsed {
        Some((Some(first), Some(count)))
            if gfn_reads && count > 0 && first < FRAMES && count <= FRAMES - first =>
        {
            Ok((first, count))
        }
        _ => Err(format!(
            "\"{text}\" is no range of frames, as in \"fed00,1\": first frame and how many, hexadecimal"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_their_mistakes_told() {
        assert_eq!(port_range("2f8-2ff"), Ok((0x2f8, 8)));
        assert_eq!(port_range("0x2f8"), Ok((0x2f8, 1)));
        assert_eq!(frame_range("fed00,1"), Ok((0xfed00, 1)));
        assert_eq!(frame_range("fed00,10@20"), Ok((0xfed00, 16)));
        for wrong in ["", "2ff-2f8", "10000", "+1", "2f8-", "x"] {
            assert!(port_range(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "1", "1,0", "1,1@", "ffffffffff,2", "10000000000,1"] {
            assert!(frame_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_keys_are_read() {
        let mut d = Diagnostics::default();
        let text = "ioports=['2f8-2ff','x']\niomem=['fed00,1']\nirqs=[4,\"5\",-1]\n";
        let cfg = crate::cfg::parse("t.cfg", text, &mut d);
        let hw = Hardware::read(&cfg, GuestKind::Pv, &mut d);
        assert_eq!(
            (hw.ports, hw.frames, hw.irqs),
            (vec![(0x2f8, 8)], vec![(0xfed00, 1)], vec![4, 5])
        );
        let said: Vec<String> = d.0.iter().map(|d| d.to_string()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("t.cfg:1:20: error: in \"ioports\": \"x\""),
            "{said:?}"
        );
    }
}
