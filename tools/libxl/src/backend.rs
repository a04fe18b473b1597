//! Disks and network interfaces through dom0's own back ends, `xen-blkback` and `xen-netback`.
//!
//! A disk is a block device, or a raw file behind a loop device; an interface is put on a bridge by the host's
//! hotplug script where there is one, else by `ip`.
use crate::{Disk, DomainConfig, Error, Format, Host, Mac, Result, StoreContext, Uuid, Vif, nodes};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xen_abi::DomId;
use xenstore::{Perm, Store};

/// How long a back end may take to show up.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The bridge of an interface that names none.
const DEFAULT_BRIDGE: &str = "xenbr0";

/// Checks targets and bridges, before anything exists.
pub(crate) fn check(_host: &Host, config: &DomainConfig) -> Result<()> {
    config.disks.iter().try_for_each(check_disk)?;
    config.vifs.iter().try_for_each(|v| bridge(v).map(drop))
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

/// The bridge of an interface; an error that lists those there are.
fn bridge(vif: &Vif) -> Result<String> {
    let is_bridge = |b: &str| Path::new("/sys/class/net").join(b).join("bridge").exists();
    let wanted = vif.bridge.clone().unwrap_or_else(|| DEFAULT_BRIDGE.into());
    if vif.gatewaydev.is_some() || vif.script.is_some() || is_bridge(&wanted) {
        return Ok(wanted);
    }
    let names = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let bridges: Vec<String> = names
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| is_bridge(n))
        .collect();
    let there = if bridges.is_empty() {
        "there is none".into()
    } else {
        format!("there is {}", bridges.join(", "))
    };
    Err(Error::new(format!(
        "vif: this host has no bridge \"{wanted}\"; {there}"
    ))
    .hint("name one with bridge=..., or make one with ip link add NAME type bridge"))
}

/// Connects all devices of a domain that is built.
pub(crate) fn attach_all(host: &Host, dom: DomId, config: &DomainConfig) -> Result<()> {
    for disk in &config.disks {
        attach_disk(host, dom, disk)?;
    }
    for (i, vif) in config.vifs.iter().enumerate() {
        attach_vif(host, dom, config.uuid, i as u32, vif)?;
    }
    Ok(())
}

/// Both ends' nodes: a device appears to both kernels at once.
struct Device<'a> {
    dom: DomId,
    kind: &'a str,
    id: u32,
    front: Vec<(&'a str, String)>,
    back: Vec<(&'a str, String)>,
}

impl Device<'_> {
    fn back_path(&self) -> String {
        format!(
            "/local/domain/0/backend/{}/{}/{}",
            self.kind, self.dom.0, self.id
        )
    }

    fn write(&self, s: &dyn Store) -> xenstore::Result<()> {
        let front = format!(
            "{}/device/{}/{}",
            nodes::dom_path(self.dom),
            self.kind,
            self.id
        );
        let back = self.back_path();
        let libxl = format!(
            "{}/device/{}/{}",
            nodes::libxl_path(self.dom),
            self.kind,
            self.id
        );
        nodes::make(s, &front, &[Perm::none(self.dom.0), Perm::read(0)])?;
        nodes::make(s, &back, &[Perm::none(0), Perm::read(self.dom.0)])?;
        let common = |end: &str, other: &str, id: &str, value: u16| {
            [
                (end.to_string(), other.to_string()),
                (id.to_string(), value.to_string()),
                ("state".into(), "1".into()),
            ]
        };
        for (k, v) in common("backend", &back, "backend-id", 0) {
            s.write(&format!("{front}/{k}"), &v)?;
        }
        for (k, v) in common("frontend", &front, "frontend-id", self.dom.0) {
            s.write(&format!("{back}/{k}"), &v)?;
        }
        self.front
            .iter()
            .try_for_each(|(k, v)| s.write(&format!("{front}/{k}"), v))?;
        s.write(&format!("{back}/online"), "1")?;
        self.back
            .iter()
            .try_for_each(|(k, v)| s.write(&format!("{back}/{k}"), v))?;
        s.write(&format!("{libxl}/frontend"), &front)?;
        s.write(&format!("{libxl}/backend"), &back)
    }
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
    let device = Device {
        dom,
        kind: "vbd",
        id: disk.vdev.number,
        front,
        back,
    };
    host.xs
        .atomically(&mut |s| device.write(s))
        .during(|| format!("connecting disk {} of {dom}", disk.vdev))
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

fn attach_vif(host: &Host, dom: DomId, uuid: Uuid, id: u32, vif: &Vif) -> Result<()> {
    let bridge = bridge(vif)?;
    let mac = vif.mac.unwrap_or_else(|| made_up_mac(uuid, id)).to_string();
    let script = vif.script.clone().unwrap_or_else(|| "vif-bridge".into());
    let script = if script.starts_with('/') {
        script
    } else {
        format!("/etc/xen/scripts/{script}")
    };
    let mut back = vec![
        ("script", script.clone()),
        ("mac", mac.clone()),
        ("bridge", bridge.clone()),
        ("handle", id.to_string()),
        ("type", "vif".into()),
        ("hotplug-status", String::new()),
    ];
    let optional = [
        ("ip", vif.ip.clone()),
        ("vifname", vif.vifname.clone()),
        ("mtu", vif.mtu.map(|m| m.to_string())),
    ];
    back.extend(optional.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))));
    if let Some((bytes, interval)) = vif.rate {
        back.push(("rate", format!("{bytes},{interval}")));
    }
    let mut front = vec![("handle", id.to_string()), ("mac", mac)];
    front.extend(vif.mtu.map(|m| ("mtu", m.to_string())));
    let device = Device {
        dom,
        kind: "vif",
        id,
        front,
        back,
    };
    let what = || format!("connecting vif {id} of {dom}");
    host.xs.atomically(&mut |s| device.write(s)).during(what)?;
    let netdev = format!("vif{}.{id}", dom.0);
    wait_for_netdev(&netdev)?;
    let back = device.back_path();
    let plugged = if Path::new(&script).exists() {
        run(Command::new(&script)
            .arg("online")
            .env("XENBUS_PATH", &back[1..])
            .env("vif", &netdev))
    } else {
        run(Command::new("ip").args(["link", "set", &netdev, "master", &bridge, "up"]))
    };
    plugged.map_err(|e| Error::new(format!("vif {id}: putting {netdev} on {bridge}: {e}")))?;
    host.xs
        .write(&format!("{back}/hotplug-status"), "connected")
        .during(what)
}

fn wait_for_netdev(name: &str) -> Result<()> {
    let deadline = Instant::now() + BACKEND_TIMEOUT;
    while !Path::new("/sys/class/net").join(name).exists() {
        if Instant::now() > deadline {
            return Err(Error::new(format!("the back end did not make {name}"))
                .hint("is module xen-netback loaded?"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn run(command: &mut Command) -> std::result::Result<(), String> {
    let out = command
        .output()
        .map_err(|e| format!("running {}: {e}", command.get_program().to_string_lossy()))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).trim().to_string())
    }
}

/// An address below Xen's prefix that is the same whenever the same domain starts.
fn made_up_mac(uuid: Uuid, id: u32) -> Mac {
    // FNV-1a, 32 bits.
    let bytes = uuid.0.iter().copied().chain(id.to_le_bytes());
    let h = bytes.fold(0x811c_9dc5u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = h.to_be_bytes();
    Mac([0x00, 0x16, 0x3e, (a ^ d) & 0x7f, b, c])
}

/// Takes a domain's devices away: the back ends let go when their nodes vanish.
pub(crate) fn detach_all(host: &Host, dom: DomId) -> Result<()> {
    let what = || format!("disconnecting devices of {dom}");
    for (kind, device, path) in nodes::backends(host.xs, dom).during(what)? {
        let loop_device = host.xs.read_opt(&format!("{path}/loop")).during(what)?;
        let front = format!("{}/device/{kind}/{device}", nodes::dom_path(dom));
        let erased = host.xs.atomically(&mut |s| {
            nodes::remove(s, &path)?;
            nodes::remove(s, &front)
        });
        erased.during(what)?;
        if let Some(l) = loop_device {
            // While the back end still holds it, this only marks it to go with the last user.
            let _ = run(Command::new("losetup").args(["-d", &l]));
        }
    }
    Ok(())
}
