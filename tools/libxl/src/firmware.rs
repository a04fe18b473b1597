//! `firmware="pvgrub64"`: a PV guest's kernel is GRUB, which finds the real one on the guest's own disk.
//!
//! [`read`] is the key, [`locate`] the image of GRUB on this host.
use crate::cfg::{Cfg, Diagnostics};
use crate::{Error, GuestKind, Result};
use std::path::{Path, PathBuf};

/// What the configuration has for a kernel then, as Xen's own toolstack calls the file.
pub(crate) const PVGRUB64: &str = "pvgrub64.bin";
/// Where the image is: Xen's directory for firmware, as Debian and Xen itself have it, then Debian's package of GRUB.
const PLACES: &[&str] = &[
    "/usr/lib/xen-4.17/boot/pvgrub64.bin",
    "/usr/lib/xen/boot/pvgrub64.bin",
    "/usr/local/lib/xen/boot/pvgrub64.bin",
    "/usr/lib/grub-xen/grub-x86_64-xen.bin",
];

/// The kernel that `firmware` stands for, if it is given and right.
pub(crate) fn read(cfg: &Cfg, kind: GuestKind, diags: &mut Diagnostics) -> Option<&'static str> {
    let setting = cfg.get("firmware")?;
    let word = setting.value.as_str().filter(|w| !w.is_empty())?;
    let pos = &setting.value.pos;
    if let Some(kernel) = cfg.get("kernel") {
        diags
            .error(pos, "both \"kernel\" and \"firmware\" are given")
            .help(format!("leave one out; \"kernel\" is at {}", kernel.pos));
        return None;
    }
    match (word, kind) {
        ("pvgrub64", GuestKind::Pv) => return Some(PVGRUB64),
        ("pvgrub32" | "pvgrub64", GuestKind::Pvh) => diags
            .error(pos, format!("{word} starts PV guests, and this is a PVH guest"))
            .help("kernel = \"/usr/lib/grub-xen/grub-i386-xen_pvh.bin\" of grub-xen-host is the same for PVH"),
        ("pvgrub32", _) => diags
            .error(pos, "pvgrub32 makes a 32-bit PV guest, which this toolstack does not start")
            .help("take pvgrub64, with a 64-bit kernel on the guest's disk"),
        _ => diags
            .error(pos, format!("\"firmware\" is \"pvgrub64\" for PV guests, not \"{word}\""))
            .help("or leave it out and name a kernel of this host with kernel = ..."),
    }
    None
}

/// The file that a configuration's kernel is.
pub(crate) fn locate(kernel: &Path) -> Result<PathBuf> {
    locate_in(PLACES, kernel)
}

fn locate_in(places: &[&str], kernel: &Path) -> Result<PathBuf> {
    if kernel != Path::new(PVGRUB64) {
        return Ok(kernel.into());
    }
    let found = places.iter().map(PathBuf::from).find(|p| p.is_file());
    found.ok_or_else(|| {
        let message = format!(
            "firmware \"pvgrub64\" is not on this host: it is none of {}",
            places.join(", ")
        );
        Error::new(message).hint("apt install grub-xen-host")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DomainConfig;
    use crate::cfg::parse;

    fn config(text: &str) -> std::result::Result<PathBuf, String> {
        let mut d = Diagnostics::default();
        let cfg = parse("g.cfg", &format!("name='g'\nmemory=64\n{text}"), &mut d);
        let config = DomainConfig::from_cfg(&cfg, &mut d);
        config.map(|c| c.kernel).map_err(|_| d.0[0].to_string())
    }

    #[test]
    fn it_is_the_kernel_of_pv_guests() {
        assert_eq!(config("firmware='pvgrub64'\n"), Ok(PVGRUB64.into()));
        for (text, said) in [
            (
                "firmware='pvgrub32'\n",
                "3:10: error: pvgrub32 makes a 32-bit PV guest",
            ),
            (
                "firmware='ovmf'\n",
                "3:10: error: \"firmware\" is \"pvgrub64\"",
            ),
            (
                "firmware='pvgrub64'\nkernel='/k'\n",
                "3:10: error: both \"kernel\" and \"firmware\"",
            ),
            ("firmware='pvgrub64'\ntype='pvh'\n", "grub-i386-xen_pvh.bin"),
        ] {
            let e = config(text).unwrap_err();
            assert!(e.contains(said), "{text}: {e}");
        }
    }

    #[test]
    fn it_is_found_in_one_place_or_the_other() {
        let kernel = Path::new(PVGRUB64);
        assert_eq!(locate_in(&[], Path::new("/k")).unwrap(), Path::new("/k"));
        let there = "/proc/self/status";
        assert_eq!(
            locate_in(&["/nowhere", there], kernel).unwrap(),
            Path::new(there)
        );
        let e = locate_in(&["/nowhere", "/there"], kernel)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("/nowhere, /there") && e.contains("grub-xen-host"),
            "{e}"
        );
    }
}
