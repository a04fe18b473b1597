//! THE TABLE of configuration keys: name, type, whether it has an effect yet, and what it is for.
pub use super::nearest::nearest;
use super::{Cfg, Diagnostics, Value, ValueKind};

/// What values a key takes. An atom is a string or a number; where a number is wanted, a string that spells one will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Text.
    Str,
    /// An integer.
    Int,
    /// 0 or 1.
    Bool,
    /// Text or an integer.
    StrOrInt,
    /// A list of text.
    StrList,
    /// A list of integers.
    IntList,
    /// Text, or a list of text.
    StrOrList,
    /// 0, 1, or a list of text.
    BoolOrList,
    /// A list of anything.
    List,
}

/// What becomes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It has its effect.
    Used,
    /// It is checked, and a warning says that it has no effect yet.
    Later,
    /// It is checked, and a warning says that only HVM guests, which are not there yet, have a use for it.
    Hvm,
    /// It is checked, and a warning says what to do instead.
    Never,
    /// What it gives is not there yet, and a guest that counts on it is better not started without.
    Absent,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Whether it has an effect.
    pub status: Status,
    /// What it is for, one sentence.
    pub doc: &'static str,
}

const fn key(name: &'static str, ty: Type, status: Status, doc: &'static str) -> Key {
    Key {
        name,
        ty,
        status,
        doc,
    }
}

use Status::*;
use Type::*;

/// Every key that xl knows, in alphabetical order.
pub const KEYS: &[Key] = &[
    key("acpi", Bool, Used, "Whether a PVH guest gets ACPI tables."),
    key("acpi_firmware", Str, Hvm, "ACPI file."),
    key("acpi_laptop_slate", Bool, Hvm, "Laptop or slate."),
    key("acpi_s3", Bool, Hvm, "ACPI S3."),
    key("acpi_s4", Bool, Hvm, "ACPI S4."),
    key("altp2m", Str, Hvm, "Alternate p2m."),
    key("altp2m_count", Int, Hvm, "Alternate p2m tables."),
    key("altp2mhvm", Bool, Hvm, "Alternate p2m."),
    key("apic", Bool, Hvm, "APIC."),
    key("arm_sci", Str, Never, "Of other machines."),
    key("bios", Str, Hvm, "Firmware kind."),
    key("bios_path_override", Str, Hvm, "Firmware file."),
    key("boot", Str, Hvm, "Boot order."),
    key(
        "bootloader",
        Str,
        Used,
        "Program that finds the kernel on the guest's first disk: pygrub, or a path.",
    ),
    key(
        "bootloader_args",
        StrOrList,
        Used,
        "Arguments of the bootloader.",
    ),
    key(
        "bootloader_restrict",
        Bool,
        Later,
        "Confine the bootloader.",
    ),
    key(
        "bootloader_user",
        Str,
        Later,
        "User the bootloader runs as.",
    ),
    key(
        "builder",
        Str,
        Used,
        "Old form of type: 'generic' or 'hvm'.",
    ),
    key("cap", Int, Used, "Scheduler cap, percent of one CPU."),
    key("channel", StrList, Later, "Console channels."),
    key("claim_mode", Bool, Used, "Claim memory before building."),
    key(
        "cmdline",
        Str,
        Used,
        "Kernel command line; overrides root and extra.",
    ),
    key("console", StrOrList, Never, "Consoles have their own keys."),
    key("cpu_weight", Int, Used, "Scheduler weight."),
    key(
        "cpuid",
        StrOrList,
        Used,
        "What CPUID shows the guest: \"host,FEATURE=0,...\", or a list of leaves with their bits.",
    ),
    key(
        "cpus",
        StrOrList,
        Used,
        "CPUs that the vcpus may run on: one string for all, or a list with one for each.",
    ),
    key(
        "cpus_soft",
        StrOrList,
        Used,
        "CPUs that the vcpus prefer, in the same form.",
    ),
    key("device_model", Str, Never, "Write device_model_override."),
    key(
        "device_model_args",
        StrList,
        Later,
        "Device model arguments.",
    ),
    key(
        "device_model_args_hvm",
        StrList,
        Hvm,
        "Device model arguments, HVM.",
    ),
    key(
        "device_model_args_pv",
        StrList,
        Later,
        "Device model arguments, PV.",
    ),
    key("device_model_override", Str, Hvm, "Device model file."),
    key(
        "device_model_stubdomain_override",
        Bool,
        Hvm,
        "Device model in a stub domain.",
    ),
    key(
        "device_model_stubdomain_seclabel",
        Str,
        Hvm,
        "XSM label of the stub domain.",
    ),
    key(
        "device_model_user",
        Str,
        Hvm,
        "User the device model runs as.",
    ),
    key("device_model_version", Str, Hvm, "Device model."),
    key("device_tree", Str, Never, "Of other machines."),
    key(
        "disk",
        StrList,
        Used,
        "Disks: target, format, vdev, access. A script=... is looked for in /etc/xen/scripts, then in \
         /usr/lib/corten/scripts, which has 'block'.",
    ),
    key("display", Str, Later, "X display."),
    key("dm_restrict", Bool, Hvm, "Confine the device model."),
    key(
        "driver_domain",
        Bool,
        Later,
        "The domain serves devices to others.",
    ),
    key("dtdev", StrList, Never, "Of other machines."),
    key(
        "e820_host",
        Bool,
        Later,
        "Show the host's memory layout to the guest.",
    ),
    key("extra", Str, Used, "Adds to the kernel command line."),
    key("extratime", Int, Never, "Of a scheduler that is gone."),
    key(
        "firmware",
        Str,
        Used,
        "'pvgrub64': GRUB as a PV guest's kernel, which boots from the guest's own disk.",
    ),
    key("firmware_override", Str, Hvm, "hvmloader file."),
    key("gfx_passthru", StrOrInt, Hvm, "Graphics passthrough."),
    key("gic_version", Str, Never, "Of other machines."),
    key("hap", Bool, Used, "Paging by hardware (PVH): always on."),
    key("hdtype", Str, Hvm, "Disk controller."),
    key("hpet", Bool, Hvm, "HPET."),
    key("hvm_pirq", Bool, Hvm, "Interrupts over event channels."),
    key("init_seclabel", Str, Later, "XSM label while it is built."),
    key(
        "iomem",
        StrList,
        Used,
        "I/O memory that a PV guest may map: \"START,COUNT\" in frames, hexadecimal.",
    ),
    key(
        "ioports",
        StrList,
        Used,
        "I/O ports that a PV guest may use: \"2f8-2ff\", hexadecimal.",
    ),
    key(
        "irqs",
        IntList,
        Used,
        "Interrupt lines that a PV guest may have.",
    ),
    key("kernel", Str, Used, "Path of the kernel in this host."),
    key("keymap", Str, Later, "Keyboard map."),
    key("latency", Int, Never, "Of a scheduler that is gone."),
    key("llc_colors", StrList, Never, "Of other machines."),
    key("localtime", Bool, Used, "Clock in local time."),
    key(
        "max_event_channels",
        Int,
        Used,
        "Highest event channel number.",
    ),
    key("max_grant_frames", Int, Used, "Grant table frames."),
    key(
        "max_grant_version",
        Int,
        Used,
        "Highest grant table version; the hypervisor's highest if absent.",
    ),
    key(
        "max_maptrack_frames",
        Int,
        Used,
        "Grant mappings, in frames of the tracking table.",
    ),
    key("maxmem", Int, Used, "Memory it may grow to, in MiB."),
    key(
        "maxvcpus",
        Int,
        Used,
        "Vcpus that can be brought online; as many as vcpus if absent.",
    ),
    key("mca_caps", StrList, Later, "Machine check capabilities."),
    key(
        "memory",
        Int,
        Used,
        "Memory at start, in MiB; maxmem if absent, or 32.",
    ),
    key("mmio_hole", Int, Hvm, "MMIO hole, in MiB."),
    key("ms_vm_genid", Str, Hvm, "Generation id."),
    key("msr_relaxed", Bool, Later, "Tolerate unknown MSRs."),
    key("name", Str, Used, "The domain's name, unique on the host."),
    key("ne2000", Bool, Never, "Write model=ne2k_pci in vif."),
    key("nestedhvm", Bool, Hvm, "Nested virtualisation."),
    key("nographic", Bool, Hvm, "No display."),
    key(
        "nomigrate",
        Bool,
        Used,
        "Never save or migrate this domain.",
    ),
    key("nr_spis", Int, Never, "Of other machines."),
    key("nx", Bool, Hvm, "NX."),
    key("on_crash", Str, Used, "What happens after a crash."),
    key(
        "on_poweroff",
        Str,
        Used,
        "What happens after a power-off: destroy, restart, rename-restart, preserve, ...",
    ),
    key("on_reboot", Str, Used, "What happens after a reboot."),
    key("on_soft_reset", Str, Used, "What happens on a soft reset."),
    key(
        "on_watchdog",
        Str,
        Used,
        "What happens when the guest's watchdog fires.",
    ),
    key("oos", Bool, Hvm, "Out-of-sync shadow pages."),
    key("opengl", Bool, Later, "OpenGL."),
    key("p9", StrList, Later, "9p file systems."),
    key("pae", Bool, Hvm, "PAE."),
    key("passthrough", Str, Later, "How devices reach memory."),
    key("pci", StrList, Absent, "PCI devices passed through."),
    key(
        "pci_msitranslate",
        Bool,
        Later,
        "Default of msitranslate for pci.",
    ),
    key(
        "pci_permissive",
        Bool,
        Later,
        "Default of permissive for pci.",
    ),
    key(
        "pci_power_mgmt",
        Bool,
        Later,
        "Default of power_mgmt for pci.",
    ),
    key("pci_seize", Bool, Later, "Default of seize for pci."),
    key("period", Int, Never, "Of a scheduler that is gone."),
    key("pool", Str, Used, "CPU pool."),
    key("pvcalls", StrList, Later, "PV calls."),
    key("pvh", Bool, Never, "Write type = 'pvh'."),
    key("pvshim", Bool, Later, "PV in PVH."),
    key("pvshim_cmdline", Str, Later, "Shim command line."),
    key("pvshim_extra", Str, Later, "More shim command line."),
    key("pvshim_path", Str, Later, "Shim file."),
    key(
        "ramdisk",
        Str,
        Used,
        "Path of the initial RAM disk in this host.",
    ),
    key("rdm", Str, Hvm, "Reserved device memory."),
    key(
        "rdm_mem_boundary",
        Int,
        Hvm,
        "Reserved device memory boundary.",
    ),
    key(
        "root",
        Str,
        Used,
        "Adds root=... to the kernel command line.",
    ),
    key("rtc_timeoffset", Int, Used, "Clock offset in seconds."),
    key("sdl", Bool, Later, "SDL display."),
    key("seclabel", Str, Later, "XSM label."),
    key("serial", StrOrList, Hvm, "Serial ports."),
    key(
        "shadow_memory",
        Int,
        Used,
        "Memory for a PVH guest's page tables, in MiB.",
    ),
    key("slice", Int, Never, "Of a scheduler that is gone."),
    key("smbios", StrList, Hvm, "SMBIOS strings."),
    key("smbios_firmware", Str, Hvm, "SMBIOS file."),
    key("soundhw", Str, Hvm, "Sound card."),
    key("spice", Bool, Hvm, "Spice."),
    key("spice_clipboard_sharing", Bool, Hvm, "Spice clipboard."),
    key("spice_image_compression", Str, Hvm, "Spice compression."),
    key("spice_streaming_video", Str, Hvm, "Spice video."),
    key("spiceagent_mouse", Bool, Hvm, "Spice mouse."),
    key("spicedisable_ticketing", Bool, Hvm, "Spice tickets."),
    key("spicehost", Str, Hvm, "Spice address."),
    key("spicepasswd", Str, Hvm, "Spice password."),
    key("spiceport", Int, Hvm, "Spice port."),
    key("spicetls_port", Int, Hvm, "Spice TLS port."),
    key("spiceusbredirection", Int, Hvm, "Spice USB."),
    key("spicevdagent", Bool, Hvm, "Spice agent."),
    key("stdvga", Bool, Hvm, "Standard VGA."),
    key("stubdomain_cmdline", Str, Hvm, "Stub domain command line."),
    key("stubdomain_kernel", Str, Hvm, "Stub domain kernel."),
    key("stubdomain_memory", Int, Hvm, "Stub domain memory."),
    key("stubdomain_ramdisk", Str, Hvm, "Stub domain RAM disk."),
    key("sve", Str, Never, "Of other machines."),
    key("tee", Str, Never, "Of other machines."),
    key("timer_mode", StrOrInt, Hvm, "Timer mode."),
    key("trap_unmapped_accesses", Bool, Never, "Of other machines."),
    key(
        "tsc_mode",
        StrOrInt,
        Used,
        "Time stamp counter: 'default', 'native', 'always_emulate'.",
    ),
    key(
        "type",
        Str,
        Used,
        "Kind of guest: 'pv', 'pvh'; 'hvm' is not there yet.",
    ),
    key("usb", Bool, Hvm, "Emulated USB."),
    key("usbctrl", StrList, Absent, "USB controllers."),
    key("usbdev", StrList, Absent, "USB devices."),
    key("usbdevice", StrOrList, Hvm, "Emulated USB devices."),
    key("usbversion", Int, Hvm, "USB version."),
    key("uuid", Str, Used, "The domain's UUID; random if absent."),
    key("vcpus", Int, Used, "Vcpus online at start; 1 if absent."),
    key("vdispl", StrList, Later, "Virtual displays."),
    key("vendor_device", Str, Hvm, "Vendor device."),
    key("vfb", StrList, Later, "Virtual framebuffers."),
    key("vga", Str, Hvm, "Video card."),
    key("videoram", Int, Hvm, "Video memory, in MiB."),
    key(
        "vif",
        StrList,
        Used,
        "Network interfaces. A script=... is looked for in /etc/xen/scripts, then in /usr/lib/corten/scripts, which \
         has 'vif-bridge', 'vif-route', 'vif-nat' and 'vif-openvswitch'.",
    ),
    key("vif2", StrList, Never, "Write vif."),
    key("viridian", BoolOrList, Hvm, "Hyper-V enlightenments."),
    key("virtio", StrList, Later, "Virtio devices."),
    key("vkb", StrList, Later, "Virtual keyboards."),
    key("vkb_device", Bool, Hvm, "Virtual keyboard."),
    key("vmtrace_buf_kb", Int, Later, "Trace buffer."),
    key("vnc", Bool, Later, "VNC server."),
    key("vncdisplay", Int, Later, "VNC display number."),
    key("vnclisten", Str, Later, "VNC listen address."),
    key("vncpasswd", Str, Later, "VNC password."),
    key("vncunused", Bool, Later, "Use a free VNC display."),
    key("vncviewer", Bool, Never, "Use xl create -V."),
    key("vnuma", List, Later, "Virtual NUMA nodes."),
    key("vpmu", Bool, Later, "Performance counters."),
    key("vpt_align", Bool, Hvm, "Align timers."),
    key("vsnd", List, Later, "Virtual sound cards."),
    key("vtpm", StrList, Later, "Virtual TPMs."),
    key("vuart", Str, Never, "Of other machines."),
    key("xauthority", Str, Later, "X authority."),
    key("xen_platform_pci", Bool, Hvm, "Platform device."),
    key(
        "xen_platform_pci_bar_uc",
        Bool,
        Hvm,
        "Platform BAR uncached.",
    ),
    key(
        "xend_suspend_evtchn_compat",
        Bool,
        Later,
        "Suspend channel.",
    ),
    key("xenstore_feature_mask", Int, Later, "Xenstore features."),
    key("xenstore_quota", StrList, Later, "Xenstore quota."),
];

/// Looks a key up.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|k| k.name.cmp(name))
        .ok()
        .and_then(|i| KEYS.get(i))
}

/// Checks all settings against the table: unknown keys and keys without effect are warnings, wrong types are errors.
pub fn check(cfg: &Cfg, diags: &mut Diagnostics) {
    for s in &cfg.settings {
        let Some(key) = find(&s.key) else {
            let d = diags.warn(&s.pos, format!("unknown key \"{}\" is ignored", s.key));
            if let Some(near) = nearest(&s.key, KEYS.iter().map(|k| k.name)) {
                d.help(format!("did you mean \"{near}\"?"));
            }
            continue;
        };
        if let Err((pos, message)) = check_type(key, &s.value) {
            diags.error(&pos, message);
            continue;
        }
        match key.status {
            Used => {}
            // Without it is what there is.
            Later if key.ty == Bool && s.value.as_int() == Some(0) => {}
            Later => drop(diags.warn(&s.pos, format!("\"{}\" has no effect yet", s.key))),
            Hvm => drop(diags.warn(
                &s.pos,
                format!("\"{}\" is for HVM guests; here it has no effect", s.key),
            )),
            Never => diags
                .warn(&s.pos, format!("\"{}\" has no effect", s.key))
                .help(key.doc),
            Absent if s.value.as_list() == Some(&[]) => {}
            Absent => diags
                .error(
                    &s.pos,
                    format!("\"{}\": devices cannot be passed through yet", s.key),
                )
                .help(format!(
                    "take \"{}\" out to start the guest without them",
                    s.key
                )),
        }
    }
}

fn check_type(key: &Key, value: &Value) -> Result<(), (super::Pos, String)> {
    let wrong = |v: &Value, wanted: &str| {
        Err((
            v.pos.clone(),
            format!("\"{}\" takes {wanted}, not {}", key.name, v.kind_name()),
        ))
    };
    let atom_list = |l: &[Value]| match l.iter().find(|v| v.as_str().is_none()) {
        Some(v) => wrong(v, "a list of strings"),
        None => Ok(()),
    };
    match (key.ty, &value.kind) {
        (Str | StrOrInt | StrOrList, ValueKind::Str(_) | ValueKind::Num(_)) => Ok(()),
        (Str, _) => wrong(value, "a string"),
        (StrOrInt, _) => wrong(value, "a string or a number"),
        (Int, ValueKind::List(_)) => wrong(value, "a number"),
        (Int, _) => value
            .as_int()
            .map(drop)
            .ok_or(())
            .or_else(|()| wrong(value, "a number")),
        (Bool, ValueKind::List(_)) => wrong(value, "0 or 1"),
        (Bool | BoolOrList, ValueKind::Str(_) | ValueKind::Num(_)) => match value.as_int() {
            Some(0 | 1) => Ok(()),
            Some(n) => Err((
                value.pos.clone(),
                format!("\"{}\" takes 0 or 1, not {n}", key.name),
            )),
            None => wrong(value, "0 or 1"),
        },
        (StrList | StrOrList | BoolOrList, ValueKind::List(l)) => atom_list(l),
        (StrList, _) => wrong(value, "a list of strings, as in [ \"...\" ]"),
        (IntList, ValueKind::List(l)) => match l.iter().find(|v| v.as_int().is_none()) {
            Some(v) => wrong(v, "a list of numbers"),
            None => Ok(()),
        },
        (List, ValueKind::List(_)) => Ok(()),
        (IntList | List, _) => wrong(value, "a list, as in [ ... ]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnose(text: &str) -> Vec<String> {
        let mut d = Diagnostics::default();
        let cfg = super::super::parse("t.cfg", text, &mut d);
        check(&cfg, &mut d);
        d.0.iter().map(|d| d.to_string()).collect()
    }

    #[test]
    fn the_table_is_sorted_and_every_key_is_documented() {
        assert!(KEYS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(KEYS.iter().all(|k| !k.doc.is_empty()));
        assert!(KEYS.len() > 170);
    }

    #[test]
    fn types_are_checked_and_unknown_keys_get_a_suggestion() {
        assert_eq!(
            diagnose(
                "maxcpus = 2\nmemroy = 1\nfrobnicate = 1\nmemory = \"lots\"\nname = [ 'a' ]\ndisk = 'a'\n\
                 nomigrate = 2\nvif = [ [ 'a' ] ]\nvcpus = \"3\"\ncpus = [ 1, \"2-3\" ]\nname = 7\nvif2 = []\nhap = 1\n\
                 pci = [ '00:1a.0' ]\nusbdev = []\nvnc = 1\nsdl = 0\nstdvga = 1\n"
            ),
            [
                "t.cfg:1:1: warning: unknown key \"maxcpus\" is ignored (did you mean \"maxvcpus\"?)",
                "t.cfg:2:1: warning: unknown key \"memroy\" is ignored (did you mean \"memory\"?)",
                "t.cfg:3:1: warning: unknown key \"frobnicate\" is ignored",
                "t.cfg:4:10: error: \"memory\" takes a number, not a string",
                "t.cfg:6:8: error: \"disk\" takes a list of strings, as in [ \"...\" ], not a string",
                "t.cfg:7:13: error: \"nomigrate\" takes 0 or 1, not 2",
                "t.cfg:8:9: error: \"vif\" takes a list of strings, not a list",
                "t.cfg:12:1: warning: \"vif2\" has no effect (Write vif.)",
                "t.cfg:14:1: error: \"pci\": devices cannot be passed through yet (take \"pci\" out to start the guest without them)",
                "t.cfg:16:1: warning: \"vnc\" has no effect yet",
                "t.cfg:18:1: warning: \"stdvga\" is for HVM guests; here it has no effect",
            ]
        );
    }
}
