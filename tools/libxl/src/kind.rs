//! [`GuestKind`]: what sort of guest it is, and what a host must be able to do for it.
use crate::cfg::{Cfg, Diagnostics, Pos};
use crate::{Error, Result};
use xen_abi::arch_x86::X86_EMU_LAPIC;
use xen_abi::domctl::{CDF_HAP, CDF_HVM};
use xen_abi::sysctl::{PHYSCAP_HAP, PHYSCAP_HVM};
use xenctrl::PhysInfo;

/// The sorts of guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GuestKind {
    /// Runs without help of the processor; its kernel knows the hypervisor.
    #[default]
    Pv,
    /// Runs in a virtual machine of the processor's, without firmware and emulated devices.
    Pvh,
}

impl GuestKind {
    /// The configuration's word for it.
    pub fn name(self) -> &'static str {
        match self {
            GuestKind::Pv => "pv",
            GuestKind::Pvh => "pvh",
        }
    }

    /// What `type`, or the older `builder`, says.
    pub(crate) fn read(cfg: &Cfg, diags: &mut Diagnostics) -> GuestKind {
        let of = |key: &str| {
            let setting = cfg.get(key);
            let pos = setting.map_or_else(Pos::nowhere, |s| s.value.pos.clone());
            (setting.and_then(|s| s.value.as_str()), pos)
        };
        let help =
            "this release starts PV and PVH guests; take type = \"pvh\" if the kernel can be one";
        let (word, pos) = of("type");
        let kind = match word {
            None | Some("pv") => GuestKind::Pv,
            Some("pvh") => GuestKind::Pvh,
            Some("hvm") => {
                diags
                    .error(&pos, "this type of guest is not supported yet")
                    .help(help);
                GuestKind::Pv
            }
            Some(_) => {
                diags.error(&pos, "\"type\" is \"pv\", \"pvh\" or \"hvm\"");
                GuestKind::Pv
            }
        };
        let given = word.is_some();
        match of("builder") {
            (None | Some("generic" | "linux"), _) => {}
            // The newer key is the one that counts.
            (Some("hvm"), _) if given => {}
            (Some("hvm"), pos) => diags
                .error(&pos, "HVM guests are not supported yet")
                .help(help),
            (Some(_), pos) => diags
                .error(&pos, "\"builder\" is \"generic\" or \"hvm\"")
                .help("better use \"type\""),
        }
        let hap = cfg.get("hap");
        if let (GuestKind::Pvh, Some(s)) = (kind, hap.filter(|s| s.value.as_int() == Some(0))) {
            let message =
                "\"hap\" is 0, and PVH guests without hardware-assisted paging are not there";
            diags
                .error(&s.value.pos, message)
                .help("leave it out, or take type = \"pv\" if the kernel can be one");
        }
        kind
    }

    /// Refuses what this host cannot run.
    pub(crate) fn check(self, phys: &PhysInfo) -> Result<()> {
        let can = |cap: u32| phys.capabilities & cap != 0;
        if self == GuestKind::Pv || can(PHYSCAP_HVM) && can(PHYSCAP_HAP) {
            return Ok(());
        }
        let lacks = match can(PHYSCAP_HVM) {
            false => "this host has no hardware virtualization",
            true => "this host's hardware virtualization has no nested paging",
        };
        let message = format!("{lacks}, which type = \"pvh\" needs (\"virt_caps\" of xl info)");
        Err(Error::new(message).hint(
            "switch on AMD-V or VT-x in the machine's firmware setup and see xl dmesg, or take type = \"pv\"",
        ))
    }

    /// `createdomain`'s flags and emulated devices.
    pub(crate) fn creation(self) -> (u32, u32) {
        match self {
            GuestKind::Pv => (0, 0),
            GuestKind::Pvh => (CDF_HVM | CDF_HAP, X86_EMU_LAPIC),
        }
    }
}

/// Memory for a guest's second-level page tables unless its configuration says otherwise, MiB: as Xen's own toolstack has it.
pub(crate) fn paging_mib(memory_kib: u64, vcpus: u32) -> u32 {
    let kib = 4 * (256 * u64::from(vcpus) + 2 * (memory_kib / 1024));
    u32::try_from(kib.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paging_by_hardware_is_what_pvh_guests_have() {
        let read = |text: &str| {
            let mut diags = Diagnostics::default();
            let cfg = crate::cfg::parse("g.cfg", text, &mut diags);
            let kind = GuestKind::read(&cfg, &mut diags);
            (
                kind,
                diags.0.iter().map(|d| d.to_string()).collect::<String>(),
            )
        };
        let (kind, said) = read("type='pvh'\nhap=0\n");
        assert_eq!(kind, GuestKind::Pvh);
        assert!(
            said.starts_with("g.cfg:2:5: error: \"hap\" is 0,"),
            "{said}"
        );
        for fine in ["type='pvh'\nhap=1\n", "type='pvh'\n", "hap=0\n"] {
            assert_eq!(read(fine).1, "", "{fine}");
        }
    }
}
