//! Disks through `xen-blkback`: a block device, or a raw file behind a loop device.
use super::{Device, Handle, check_driver, publish, run, wait_ready};
use crate::{Disk, Error, Format, Host, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use xen_abi::DomId;

/// Checks targets, before anything exists.
pub(crate) fn check(host: &Host, disks: &[Disk]) -> Result<()> {
    if let Some(d) = disks.first() {
        check_driver(host, "vbd", &format!("disk {}", d.vdev))?;
    }
    disks.iter().try_for_each(check_disk)
}

fn check_disk(disk: &Disk) -> Result<()> {
    let fail = |m: String| Err(Error::new(format!("disk {}: {m}", disk.vdev)));
    if disk
        .backend
        .as_deref()
        .is_some_and(|b| !matches!(b, "0" | "Domain-0"))
    {
        return fail("back ends outside dom0 are not supported yet".into());
    }
    if disk.format != Format::Raw {
        let message = format!("format {} is not supported yet", disk.format.name());
        return fail(message).map_err(|e| e.hint("convert it to raw with qemu-img convert -O raw"));
    }
    match std::fs::metadata(&disk.target) {
        Err(e) => fail(format!("{}: {e}", disk.target)),
        Ok(m) if m.is_file() || m.file_type().is_block_device() => Ok(()),
        Ok(_) => fail(format!(
            "{} is neither a file nor a block device",
            disk.target
        )),
    }
}

/// Connects disks.
pub(crate) fn attach(host: &Host, dom: DomId, disks: &[Disk]) -> Result<()> {
    disks.iter().try_for_each(|d| attach_disk(host, dom, d))
}

/// Undoes what was done on the host, while the nodes are still there.
pub(crate) fn unplug(host: &Host, handle: &Handle) -> Result<()> {
    if let Ok(Some(l)) = host.xs.read_opt(&format!("{}/loop", handle.back())) {
        // While the back end still holds it, this only marks it to go with the last user.
        let _ = run(Command::new("losetup").args(["-d", &l]));
    }
    Ok(())
}

fn attach_disk(host: &Host, dom: DomId, disk: &Disk) -> Result<()> {
    let fail = |m: String| Error::new(format!("disk {}: {m}", disk.vdev));
    let meta =
        std::fs::metadata(&disk.target).map_err(|e| fail(format!("{}: {e}", disk.target)))?;
    let path = if meta.is_file() {
        loop_device(disk).map_err(fail)?
    } else {
        disk.target.clone()
    };
    let rdev = std::fs::metadata(&path)
        .map_err(|e| fail(format!("{path}: {e}")))?
        .rdev();
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let text = |s: &str| s.to_string();
    let kind = if disk.cdrom { "cdrom" } else { "disk" };
    let mut back = vec![
        ("removable", text(if disk.cdrom { "1" } else { "0" })),
        ("bootable", text("1")),
        ("dev", disk.vdev.name.clone()),
        ("type", text("phy")),
        ("mode", text(if disk.writable { "w" } else { "r" })),
        ("device-type", text(kind)),
        ("discard-enable", text(if disk.discard { "1" } else { "0" })),
        ("params", disk.target.clone()),
        ("physical-device-path", path.clone()),
        ("hotplug-status", text("connected")),
        ("physical-device", format!("{major:x}:{minor:x}")),
    ];
    if meta.is_file() {
        // By this the loop device is found again when the disk goes.
        back.push(("loop", path));
    }
    let front = vec![
        ("virtual-device", disk.vdev.number.to_string()),
        ("device-type", text(kind)),
    ];
    let name = format!("disk {} of {dom}", disk.vdev);
    let device = Device {
        handle: Handle::new(dom, "vbd", disk.vdev.number),
        front,
        back,
    };
    publish(host, std::slice::from_ref(&device), &name)?;
    wait_ready(host, &device.handle, &name)
}

/// Puts a loop device in front of a file. In two steps, which every losetup knows: somebody else may take the free
/// device in between, so it is tried several times.
fn loop_device(disk: &Disk) -> std::result::Result<String, String> {
    if !Path::new("/dev/loop-control").exists() {
        // Where this does not help, losetup says why.
        let _ = run(Command::new("modprobe").arg("loop"));
    }
    let mut why = String::new();
    for _ in 0..5 {
        let out = Command::new("losetup")
            .arg("-f")
            .output()
            .map_err(|e| format!("running losetup: {e}"))?;
        let device = String::from_utf8_lossy(&out.stdout).trim().to_string();
        if !out.status.success() || !device.starts_with("/dev/") {
            why = String::from_utf8_lossy(&out.stderr).trim().to_string();
            break;
        }
        let mut losetup = Command::new("losetup");
        if !disk.writable {
            losetup.arg("-r");
        }
        match run(losetup.args([&device, &disk.target])) {
            Ok(()) => return Ok(device),
            Err(e) => why = e,
        }
    }
    Err(format!("no loop device for {}: {why}", disk.target))
}
