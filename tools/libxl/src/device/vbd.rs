//! Disks: a block device, a raw file behind a loop device, what a block script provides, all through `xen-blkback`;
//! other formats through qemu (`qdisk`).
//!
//! [`Source`] is what serves a disk. Loop devices unbind themselves when the back end lets go, so none is left behind.
use super::{Device, Handle, check_driver, poll, publish, qdisk, sharing, wait_ready_within};
use crate::hotplug::{self, Script};
use crate::{Disk, Error, Format, Host, Result, StoreContext, Uuid};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xen_abi::DomId;
use xendev::{LOOP_CONTROL, LoopDevice};

/// What serves a disk.
enum Source {
    /// A block device.
    Block,
    /// A file, through a loop device.
    File,
    /// Whatever the script makes of the target.
    Script(PathBuf),
    /// A process.
    Qemu,
    /// Nothing: a CD drive without a disc.
    Empty,
}

impl Source {
    fn kind(&self) -> &'static str {
        match self {
            Source::Qemu => "qdisk",
            _ => "vbd",
        }
    }
}

/// `disk xvda (/dev/vg/guest)`
pub(crate) fn named(disk: &Disk) -> String {
    if disk.target.is_empty() {
        return format!("disk {}", disk.vdev);
    }
    format!("disk {} ({})", disk.vdev, disk.target)
}

/// Checks disks for a new or an existing domain, before anything changes.
pub(crate) fn check(
    host: &Host,
    disks: &[Disk],
    dom: Option<DomId>,
    exempt: Option<Uuid>,
) -> Result<()> {
    for (i, disk) in disks.iter().enumerate() {
        let name = named(disk);
        if disks[..i].iter().any(|d| d.vdev.number == disk.vdev.number) {
            let message = format!("{name}: there are two disks {}", disk.vdev);
            return Err(Error::new(message).hint("give each its own virtual device"));
        }
        match source(disk)? {
            Source::Qemu => {
                qdisk::program(&name)?;
            }
            other => {
                check_driver(host, other.kind(), &name)?;
                if matches!(other, Source::File) {
                    check_loop(&name)?;
                }
            }
        }
    }
    sharing::check(host, disks, dom, exempt)?;
    if exempt.is_some() {
        // It has them open as long as it is there.
        return Ok(());
    }
    disks.iter().try_for_each(check_access)
}

/// What will serve a disk; an error if its target is not there or not fit.
fn source(disk: &Disk) -> Result<Source> {
    let name = named(disk);
    let fail = |m: String| Error::new(format!("{name}: {m}"));
    if disk
        .backend
        .as_deref()
        .is_some_and(|b| !matches!(b, "0" | "Domain-0"))
    {
        return Err(
            fail("back ends outside dom0 are not supported".into()).hint("leave \"backend\" out")
        );
    }
    let qemu = match disk.backendtype.as_deref() {
        None => disk.format != Format::Raw && disk.format != Format::Empty,
        Some("phy") => false,
        Some("qdisk") => true,
        Some(other) => {
            return Err(fail(format!("backendtype {other} is not supported"))
                .hint("take phy or qdisk, or leave it out"));
        }
    };
    if !qemu && !matches!(disk.format, Format::Raw | Format::Empty) {
        let message = format!("backendtype phy cannot serve format {}", disk.format.name());
        return Err(fail(message).hint("leave backendtype out"));
    }
    if disk.format == Format::Empty {
        return Ok(Source::Empty);
    }
    if let Some(script) = &disk.script {
        return Ok(Source::Script(hotplug::find(script, &name)?));
    }
    match std::fs::metadata(&disk.target) {
        Err(e) => Err(fail(format!("{}: {e}", disk.target)).hint(missing(&disk.target))),
        Ok(m) if !m.is_file() && !m.file_type().is_block_device() => {
            Err(fail("it is neither a file nor a block device".into())
                .hint("correct its path in the disk specification"))
        }
        Ok(_) if qemu => Ok(Source::Qemu),
        Ok(m) if m.is_file() && m.len() < 512 => Err(fail("the file is empty".into()).hint(
            format!("give it a size with truncate -s 4G {}", disk.target),
        )),
        Ok(m) if m.is_file() => Ok(Source::File),
        Ok(_) => Ok(Source::Block),
    }
}

/// What to do about a target that is not there.
fn missing(target: &str) -> String {
    match target.strip_prefix("/dev/") {
        // "mapper/vg-lv" or "vg/lv".
        Some(volume) if volume.contains('/') => format!(
            "if /dev/{volume} is a logical volume: lvs lists those there are, lvchange -ay activates one, \
             lvcreate makes one"
        ),
        Some(_) => "see lsblk for the block devices there are".into(),
        None => format!("correct the path, or make an image with truncate -s 4G {target}"),
    }
}

/// Opens the target as the back end will, so that a refusal comes before the domain.
fn check_access(disk: &Disk) -> Result<()> {
    if disk.script.is_some() || disk.target.is_empty() {
        return Ok(());
    }
    let name = named(disk);
    let block = std::fs::metadata(&disk.target).is_ok_and(|m| m.file_type().is_block_device());
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(disk.writable);
    if block && disk.writable && !disk.shared {
        // Fails while dom0 itself has it mounted, swaps on it, or builds a volume of it.
        options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32);
    }
    let Err(e) = options.open(&disk.target) else {
        return Ok(());
    };
    let busy = e.kind() == std::io::ErrorKind::ResourceBusy;
    let message = match busy {
        true => format!("{name}: dom0 itself uses it"),
        false if disk.writable => format!("{name}: it cannot be opened for writing: {e}"),
        false => format!("{name}: it cannot be opened: {e}"),
    };
    Err(Error::new(message).hint(if busy {
        "unmount it, or swapoff, or vgchange -an first; access=w! overrides"
    } else {
        "check its permissions, or attach it with access=r"
    }))
}

/// Checks that there are loop devices, loading the module if need be.
fn check_loop(name: &str) -> Result<()> {
    if Path::new(LOOP_CONTROL).exists() {
        return Ok(());
    }
    let why = match super::run(Command::new("modprobe").arg("loop")) {
        Ok(()) if Path::new(LOOP_CONTROL).exists() => return Ok(()),
        Ok(()) => format!("{LOOP_CONTROL} is not there"),
        Err(e) => e,
    };
    let message = format!("{name}: this host has no loop devices for image files: {why}");
    Err(Error::new(message).hint("modprobe loop; or use a block device, or backendtype=qdisk"))
}

/// A disk on its way to a domain. The loop device must stay open until the back end has opened it too.
struct Attaching {
    source: Source,
    device: Device,
    name: String,
    _loop_device: Option<LoopDevice>,
}

/// Connects disks. If one fails, those of this call may be there in part: the caller takes them away.
pub(crate) fn attach(host: &Host, dom: DomId, disks: &[Disk]) -> Result<()> {
    let prepared: Result<Vec<_>> = disks.iter().map(|d| prepare(dom, d)).collect();
    let prepared = prepared?;
    let all: Vec<&Device> = prepared.iter().map(|a| &a.device).collect();
    publish(host, &all, &format!("the disks of {dom}"))?;
    if let Some(a) = prepared.iter().find(|a| matches!(a.source, Source::Qemu)) {
        qdisk::ensure(host, dom, &a.name)?;
    }
    // Many at once keep each other waiting.
    let many = u32::try_from(prepared.len() / 16).unwrap_or(u32::MAX);
    let limit = host.limits.backend.saturating_mul(many.saturating_add(1));
    for a in &prepared {
        let limit = match a.source {
            Source::Qemu => host.limits.process,
            _ => limit,
        };
        wait_ready_within(host, &a.device.handle, &a.name, limit)?;
        if let Source::Script(path) = &a.source {
            run_script(host, &a.device.handle, path, "add", &a.name)?;
        }
    }
    let opened = |a: &&Attaching| !matches!(a.source, Source::Qemu | Source::Empty);
    prepared
        .iter()
        .filter(opened)
        .try_for_each(|a| wait_opened(host, &a.device.handle, &a.name, limit))
}

fn prepare(dom: DomId, disk: &Disk) -> Result<Attaching> {
    let source = source(disk)?;
    let name = format!("{} of {dom}", named(disk));
    let mut loop_device = None;
    let mut own: super::Values = Vec::new();
    match &source {
        Source::Block => own.extend(physical(Path::new(&disk.target), &name)?),
        Source::File => {
            let target = Path::new(&disk.target);
            let bound = LoopDevice::bind(target, disk.writable, disk.direct_io_safe)
                .map_err(|e| Error::new(format!("{name}: no loop device for it: {e}")))
                .map_err(|e| e.hint("losetup -a lists those in use, losetup -d frees one"))?;
            own.extend(physical(bound.path(), &name)?);
            loop_device = Some(bound);
        }
        Source::Script(path) => own.push(("script", path.to_string_lossy().into_owned())),
        Source::Qemu | Source::Empty => {}
    }
    let handle = Handle::new(dom, source.kind(), disk.vdev.number);
    let (front, mut back) = values(disk, &source);
    back.append(&mut own);
    let device = Device {
        handle,
        front,
        back,
    };
    Ok(Attaching {
        source,
        device,
        name,
        _loop_device: loop_device,
    })
}

/// The nodes by which the kernel's back end finds its device.
fn physical(path: &Path, name: &str) -> Result<super::Values> {
    let meta = std::fs::metadata(path)
        .map_err(|e| Error::new(format!("{name}: {}: {e}", path.display())))?;
    let (major, minor) = (
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    );
    Ok(vec![
        ("physical-device-path", path.to_string_lossy().into_owned()),
        ("physical-device", format!("{major:x}:{minor:x}")),
        ("hotplug-status", "connected".into()),
    ])
}

fn values(disk: &Disk, source: &Source) -> (super::Values, super::Values) {
    let flag = |on: bool| if on { "1" } else { "0" }.to_string();
    let kind = if disk.cdrom { "cdrom" } else { "disk" };
    let params = match (source, disk.format) {
        (Source::Qemu, Format::Raw) => format!("aio:{}", disk.target),
        (Source::Qemu, f) => format!("{}:{}", f.name(), disk.target),
        _ => disk.target.clone(),
    };
    let back = vec![
        ("removable", flag(disk.cdrom)),
        ("bootable", "1".into()),
        ("dev", disk.vdev.name.clone()),
        (
            "type",
            if matches!(source, Source::Qemu) {
                "qdisk"
            } else {
                "phy"
            }
            .into(),
        ),
        ("mode", if disk.writable { "w" } else { "r" }.into()),
        ("device-type", kind.into()),
        (
            "discard-enable",
            flag(disk.discard.unwrap_or(disk.writable)),
        ),
        ("direct-io-safe", flag(disk.direct_io_safe)),
        ("specification", "xen".into()),
        ("params", params),
        // Ours, for listings and the next toolstack command.
        ("spec", disk.spec()),
    ];
    let front = vec![
        ("virtual-device", disk.vdev.number.to_string()),
        ("device-type", kind.into()),
        ("trusted", flag(disk.trusted.unwrap_or(true))),
    ];
    (front, back)
}

/// Waits until the kernel has opened the disk's device: this file appears when it could.
fn wait_opened(host: &Host, h: &Handle, name: &str, limit: Duration) -> Result<()> {
    let sysfs = h.sysfs(host);
    if !sysfs.exists() {
        return Ok(());
    }
    let failed = |why: String| {
        let message = format!("{name}: the back end cannot open it: {why}");
        Error::new(message).hint("dmesg may say more")
    };
    let opened = poll(limit, || {
        if sysfs.join("physical_device").exists() {
            return Ok(Some(()));
        }
        super::kernel_error(host, h).map_or(Ok(None), |why| Err(failed(why)))
    })?;
    opened.ok_or_else(|| failed("it did not within the time limit".into()))
}

fn run_script(host: &Host, handle: &Handle, path: &Path, event: &str, name: &str) -> Result<()> {
    let script = Script {
        handle,
        path: path.into(),
        args: vec![event.into()],
        env: vec![],
        name,
    };
    script.run(host)
}

/// Undoes what was done on the host, while the nodes are still there.
pub(crate) fn unplug(host: &Host, handle: &Handle) -> Result<()> {
    let what = || format!("disconnecting {}", handle.back());
    // From the copy that nobody but dom0 could change.
    let node = |n: &str| host.xs.read_opt(&format!("{}/{n}", handle.libxl()));
    let Some(script) = node("script").during(what)? else {
        return Ok(());
    };
    let vdev = node("dev").during(what)?.unwrap_or_default();
    let name = format!("disk {vdev} of {}", handle.dom);
    run_script(host, handle, Path::new(&script), "remove", &name)
}

impl Host<'_> {
    /// Disks of a domain as they were specified, with their handles.
    pub fn disks(&self, dom: DomId) -> Result<Vec<(Handle, Option<Disk>)>> {
        let mut all = Vec::new();
        for h in super::handles(self, dom)? {
            if h.front_kind() != "vbd" {
                continue;
            }
            let spec = self.xs.read_opt(&format!("{}/spec", h.libxl()));
            let spec = spec.during(|| format!("listing the disks of {dom}"))?;
            let disk = spec.and_then(|s| Disk::parse(&s).ok());
            all.push((h, disk));
        }
        all.sort_by_key(|(h, _)| h.id);
        Ok(all)
    }

    /// Checks that a disk could be given to a running domain. Changes nothing.
    pub fn check_disk(&self, dom: DomId, disk: &Disk) -> Result<()> {
        self.info(dom)?;
        let taken = |(h, _): &(Handle, _)| h.id == disk.vdev.number;
        if self.disks(dom)?.iter().any(taken) {
            let message = format!("{}: {dom} already has a disk {}", named(disk), disk.vdev);
            return Err(Error::new(message)
                .hint("choose another virtual device, or xl block-detach that one"));
        }
        check(self, std::slice::from_ref(disk), Some(dom), None)
    }

    /// Gives a disk to a running domain, and notes it for the domain's next start.
    pub fn attach_disk(&self, dom: DomId, disk: &Disk) -> Result<()> {
        self.check_disk(dom, disk)?;
        if let Err(e) = attach(self, dom, std::slice::from_ref(disk)) {
            let started = super::handles(self, dom)?;
            let ours: Vec<_> = started
                .into_iter()
                .filter(|h| h.front_kind() == "vbd" && h.id == disk.vdev.number)
                .collect();
            // The failure to connect is what the user must hear of.
            let _ = super::detach_forced(self, &ours);
            return Err(e);
        }
        self.change_config(dom, |c| c.with_disk(disk.vdev.number, Some(disk)))
    }

    /// Takes a disk from a running domain; `force` does not wait for the guest's consent.
    pub fn detach_disk(&self, dom: DomId, vdev: &crate::VirtualDevice, force: bool) -> Result<()> {
        let all = self.disks(dom)?;
        let Some((handle, disk)) = all.iter().find(|(h, _)| h.id == vdev.number) else {
            let there: Vec<_> = all
                .iter()
                .flat_map(|(_, d)| d)
                .map(|d| &*d.vdev.name)
                .collect();
            let message = format!("{dom} has no disk {vdev}");
            return Err(Error::new(message).hint(match there.is_empty() {
                true => "see xl block-list".into(),
                false => format!("it has {}", there.join(", ")),
            }));
        };
        let name = disk.as_ref().map_or(format!("disk {vdev}"), named);
        self.detach_device(handle, &format!("{name} of {dom}"), force)?;
        self.change_config(dom, |c| c.with_disk(vdev.number, None))
    }

    /// Puts a disc into a domain's CD drive, or takes it out (`None`). A PV guest has no drive with a door: for it,
    /// the drive goes and comes again.
    pub fn change_disc(
        &self,
        dom: DomId,
        vdev: &crate::VirtualDevice,
        image: Option<&str>,
    ) -> Result<()> {
        let all = self.disks(dom)?;
        let found = all.into_iter().find(|(h, _)| h.id == vdev.number);
        let Some((_, Some(old))) = found else {
            let message = format!("{dom} has no disk {vdev}");
            return Err(Error::new(message).hint("see xl block-list"));
        };
        if !old.cdrom {
            let message = format!("{} of {dom} is not a CD drive", named(&old));
            return Err(Error::new(message).hint("drives are configured with devtype=cdrom"));
        }
        let fresh = Disk {
            target: image.unwrap_or_default().into(),
            format: if image.is_some() {
                Format::Raw
            } else {
                Format::Empty
            },
            ..old.clone()
        };
        check(self, std::slice::from_ref(&fresh), Some(dom), None)?;
        self.detach_disk(dom, vdev, false)?;
        self.attach_disk(dom, &fresh)
    }
}
