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
        let (builder, at) = of("builder");
        // PVH guests came when "builder" was gone already.
        let agrees = match builder {
            Some("generic" | "linux") => matches!(word, None | Some("pv")),
            Some("hvm") => matches!(word, None | Some("hvm")),
            _ => true,
        };
        match builder {
            None | Some("generic" | "linux") if agrees => {}
            Some("hvm") if word.is_none() => diags
                .error(&at, "HVM guests are not supported yet")
                .help(help),
            Some(b @ ("generic" | "linux" | "hvm")) if !agrees => diags
                .error(
                    &at,
                    format!(
                        "\"builder\" is \"{b}\", and \"type\" is \"{}\": they contradict each other",
                        word.unwrap_or_default()
                    ),
                )
                .help("leave \"builder\" out: \"type\" is what counts today"),
            Some("hvm") => {}
            _ => diags
                .error(&at, "\"builder\" is \"generic\" or \"hvm\"")
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
    use crate::cfg::parse;

    fn read(text: &str) -> (GuestKind, Vec<String>) {
        let mut d = Diagnostics::default();
        let kind = GuestKind::read(&parse("g", text, &mut d), &mut d);
        (kind, d.0.iter().map(|d| d.to_string()).collect())
    }

    #[test]
    fn builder_and_type_agree_or_are_refused() {
        for (text, kind) in [
            ("", GuestKind::Pv),
            ("builder='generic'", GuestKind::Pv),
            ("builder='generic'\ntype='pv'", GuestKind::Pv),
            ("type='pvh'", GuestKind::Pvh),
        ] {
            assert_eq!(read(text), (kind, vec![]), "{text}");
        }
        for text in [
            "builder='hvm'\ntype='pv'",
            "builder='hvm'\ntype='pvh'",
            "builder='generic'\ntype='pvh'",
            "type='hvm'\nbuilder='generic'",
        ] {
            let said = read(text).1.join("; ");
            assert!(said.contains("contradict each other"), "{text}: {said}");
        }
        for (text, word) in [
            ("builder='hvm'", "HVM guests"),
            ("builder='x'", "\"generic\" or"),
        ] {
            let said = read(text).1;
            assert!(
                said.len() == 1 && said[0].contains(word),
                "{text}: {said:?}"
            );
        }
    }

    #[test]
    fn paging_by_hardware_is_what_pvh_guests_have() {
        let (kind, said) = read("type='pvh'\nhap=0\n");
        assert_eq!(kind, GuestKind::Pvh);
        let said = said.join("; ");
        assert!(said.starts_with("g:2:5: error: \"hap\" is 0,"), "{said}");
        for fine in ["type='pvh'\nhap=1\n", "type='pvh'\n", "hap=0\n"] {
            assert_eq!(read(fine).1, Vec::<String>::new(), "{fine}");
        }
    }
}
