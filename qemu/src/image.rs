//! A CD image that boots a host through GRUB, on BIOS and on UEFI, as a Debian installation would from its disk.

use crate::dist::copy_if_changed;
use crate::host::HostSpec;
use crate::kernel::Kernel;
use crate::{Context, Result, debian, initrd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// UEFI firmware of Debian's package ovmf.
pub const OVMF: &str = "/usr/share/ovmf/OVMF.fd";

/// How GRUB starts the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What Bochs's BIOS gets on with.
    Multiboot1,
    /// What our package's menu entries use.
    Multiboot2,
}

/// GRUB's menu: serial console, one entry.
fn grub_cfg(spec: &HostSpec, protocol: Protocol) -> String {
    let n = if protocol == Protocol::Multiboot2 {
        "2"
    } else {
        ""
    };
    format!(
        "insmod all_video
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=1
set default=0
menuentry \"Debian GNU/Linux, with Corten hypervisor\" {{
    {commands}
    echo \"Loading Corten ...\"
    multiboot{n} /boot/corten placeholder {args}
    echo \"Loading Linux ...\"
    module{n} /boot/vmlinuz placeholder root=/dev/ram0 {dom0}
    echo \"Loading initial ramdisk ...\"
    module{n} --nounzip /boot/initrd.img
}}
",
        commands = spec.grub_commands,
        args = spec.hypervisor_args,
        dom0 = spec.dom0_cmdline(),
    )
}

/// Makes (or finds unchanged) the image `<name>.iso` in `dir` for `spec`.
pub fn cdrom(dir: &Path, name: &str, spec: &HostSpec, protocol: Protocol) -> Result<PathBuf> {
    let hypervisor = spec
        .hypervisor_file()?
        .context("an image without a hypervisor makes no sense")?;
    let kernel = match &spec.kernel_root {
        Some(root) => Kernel::below(root)?,
        None => Kernel::debian()?,
    };
    let image = spec.kernel.as_ref().unwrap_or(&kernel.image);
    let tree = dir.join(format!("image/{name}"));
    let iso = dir.join(format!("{name}.iso"));
    let mut changed = !iso.exists();
    let read = |path: &Path| std::fs::read(path).context(path.display());
    for (data, to) in [
        (read(&hypervisor)?, "boot/corten"),
        (read(image)?, "boot/vmlinuz"),
        (initrd::dom0(spec, &kernel)?, "boot/initrd.img"),
        (grub_cfg(spec, protocol).into_bytes(), "boot/grub/grub.cfg"),
    ] {
        changed |= copy_if_changed(&data, &tree.join(to), 0o644)?;
    }
    if changed {
        // A stale image must not survive an interruption here.
        let part = iso.with_extension("iso.part");
        debian::quietly(
            Command::new("grub-mkrescue")
                .arg("-o")
                .arg(&part)
                .arg(&tree),
        )?;
        std::fs::rename(&part, &iso).context(iso.display())?;
    }
    Ok(iso)
}
