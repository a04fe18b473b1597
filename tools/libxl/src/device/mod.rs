//! A device's life, whatever its kind: both ends' nodes appear in one transaction, the back end connects, and one
//! day both ends are taken apart, with the guest's consent or without.
//!
//! [`Handle`] names a device, [`Device`] is one about to be; `vbd` and `vif` know what is peculiar to theirs.
mod kept;
mod qdisk;
mod sharing;
pub(crate) mod vbd;
pub(crate) mod vif;

pub use vif::NetworkInterface;

use crate::{DomainConfig, Error, Host, Result, StoreContext, Uuid, nodes};
use std::path::Path;
use std::time::{Duration, Instant};
use xen_abi::DomId;
use xenstore::{Perm, Store};

/// States of either end (`public/io/xenbus.h`), as the store holds them.
pub(crate) mod state {
    pub const INIT_WAIT: u32 = 2;
    pub const CONNECTED: u32 = 4;
    pub const CLOSING: u32 = 5;
    pub const CLOSED: u32 = 6;
}

/// How long others may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A back end, to take a new device on.
    pub backend: Duration,
    /// A process that serves disks, to start and do so.
    pub process: Duration,
    /// A hotplug script, to end.
    pub hotplug: Duration,
    /// A guest, to let a device go.
    pub detach: Duration,
    /// A back end, to let go what no guest uses any more.
    pub release: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            backend: Duration::from_secs(10),
            process: Duration::from_secs(60),
            hotplug: Duration::from_secs(40),
            detach: Duration::from_secs(10),
            release: Duration::from_secs(3),
        }
    }
}

/// Which device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Handle {
    /// Whose.
    pub dom: DomId,
    /// Kind of the back end: `vbd`, `qdisk`, `vif`.
    pub kind: String,
    /// Number within its kind.
    pub id: u32,
}

impl Handle {
    pub(crate) fn new(dom: DomId, kind: &str, id: u32) -> Handle {
        let kind = kind.into();
        Handle { dom, kind, id }
    }

    /// What the guest calls this kind: it does not see which back end serves a disk.
    pub fn front_kind(&self) -> &str {
        match &*self.kind {
            "qdisk" => "vbd",
            kind => kind,
        }
    }

    /// The back end's nodes, without the domain's own directory in front: `backend/vbd/1/51712`.
    pub fn back_relative(&self) -> String {
        format!("backend/{}/{}/{}", self.kind, self.dom.0, self.id)
    }

    /// The back end's nodes.
    pub fn back(&self) -> String {
        format!("/local/domain/0/{}", self.back_relative())
    }

    /// The front end's nodes.
    pub fn front(&self) -> String {
        let base = nodes::dom_path(self.dom);
        format!("{base}/device/{}/{}", self.front_kind(), self.id)
    }

    /// What the toolstack notes about it, out of the guest's reach.
    pub fn libxl(&self) -> String {
        let base = nodes::libxl_path(self.dom);
        format!("{base}/device/{}/{}", self.front_kind(), self.id)
    }

    /// The kernel's directory of the back end's device.
    fn sysfs(&self, host: &Host) -> std::path::PathBuf {
        let name = format!("{}-{}-{}", self.kind, self.dom.0, self.id);
        host.sys_dir.join("bus/xen-backend/devices").join(name)
    }
}

/// Nodes below one end.
pub(crate) type Values = Vec<(&'static str, String)>;

/// A device about to be.
pub(crate) struct Device {
    pub handle: Handle,
    pub front: Values,
    pub back: Values,
}

/// What the toolstack notes about a disk; each node more costs time when there are many disks.
const NOTED: &[&str] = &["params", "dev", "mode", "script", PRIVATE];
/// What is for the toolstack only.
const PRIVATE: &str = "spec";

impl Device {
    fn write(&self, s: &dyn Store) -> xenstore::Result<()> {
        let (front, back, libxl) = (self.handle.front(), self.handle.back(), self.handle.libxl());
        let dom = self.handle.dom.0;
        nodes::make(s, &front, &[Perm::none(dom), Perm::read(0)])?;
        nodes::make(s, &back, &[Perm::none(0), Perm::read(dom)])?;
        nodes::make(s, &libxl, &[Perm::none(0)])?;
        let put = |end: &str, k: &str, v: &str| s.write(&format!("{end}/{k}"), v);
        put(&front, "backend", &back)?;
        put(&front, "backend-id", "0")?;
        put(&front, "state", "1")?;
        self.front.iter().try_for_each(|(k, v)| put(&front, k, v))?;
        put(&back, "frontend", &front)?;
        put(&back, "frontend-id", &dom.to_string())?;
        put(&back, "online", "1")?;
        put(&back, "state", "1")?;
        for (k, v) in &self.back {
            if *k != PRIVATE {
                put(&back, k, v)?;
            }
            // What listings and clean-up go by.
            if self.handle.kind == "vif" || NOTED.contains(k) {
                put(&libxl, k, v)?;
            }
        }
        put(&libxl, "frontend", &front)?;
        put(&libxl, "backend", &back)
    }
}

/// Lets devices appear to both kernels at once.
pub(crate) fn publish(
    host: &Host,
    devices: &[impl std::borrow::Borrow<Device>],
    what: &str,
) -> Result<()> {
    let mut write = |s: &dyn Store| devices.iter().try_for_each(|d| d.borrow().write(s));
    host.xs
        .atomically(&mut write)
        .during(|| format!("connecting {what}"))
}

/// Waits, in short steps that grow, until `look` has found something.
pub(crate) fn poll<T>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    let mut step = Duration::from_millis(1);
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(step);
        step = (step * 2).min(Duration::from_millis(50));
    }
}

/// The state at one end; `None` where there is none.
pub(crate) fn state_of(host: &Host, end: &str) -> Result<Option<u32>> {
    let value = host.xs.read_opt(&format!("{end}/state"));
    let value = value.during(|| format!("reading {end}/state"))?;
    Ok(value.and_then(|v| v.trim().parse().ok()))
}

/// What dom0's kernel has noted about a back end that failed.
fn kernel_error(host: &Host, h: &Handle) -> Option<String> {
    let path = format!("/local/domain/0/error/{}/error", h.back_relative());
    host.xs.read_opt(&path).ok().flatten()
}

/// Waits until the back end has taken the device on: it waits for the guest, or is connected.
pub(crate) fn wait_ready(host: &Host, h: &Handle, name: &str) -> Result<()> {
    wait_ready_within(host, h, name, host.limits.backend)
}

/// The same with another limit, for many devices that come at once.
pub(crate) fn wait_ready_within(
    host: &Host,
    h: &Handle,
    name: &str,
    limit: Duration,
) -> Result<()> {
    let back = h.back();
    let failed = |why: String| Error::new(format!("{name}: the back end refused it: {why}"));
    let ready = poll(limit, || {
        if h.kind == "qdisk" && qdisk::has_died(host, h.dom) {
            return Err(failed("its qemu has ended".into()).hint(qdisk::last_words(host, h.dom)));
        }
        match state_of(host, &back)? {
            Some(s) if s >= state::CLOSING => {
                let why = kernel_error(host, h).unwrap_or_else(|| format!("its state is {s}"));
                Err(failed(why))
            }
            Some(s) if s >= state::INIT_WAIT => Ok(Some(())),
            _ => Ok(None),
        }
    })?;
    ready.ok_or_else(|| {
        let seconds = limit.as_secs_f32();
        let message = format!("{name}: no back end took it on within {seconds} s");
        Error::new(message).hint(match &*h.kind {
            "qdisk" => qdisk::last_words(host, h.dom),
            kind => format!(
                "is module {} loaded? dmesg may say more",
                driver_module(kind)
            ),
        })
    })
}

/// The module with the back ends of a kind.
fn driver_module(kind: &str) -> &'static str {
    if kind == "vif" {
        "xen-netback"
    } else {
        "xen-blkback"
    }
}

/// Checks that dom0's kernel has a back end of this kind, loading it if need be. Before anything exists.
pub(crate) fn check_driver(host: &Host, kind: &str, name: &str) -> Result<()> {
    let bus = host.sys_dir.join("bus/xen-backend");
    let driver = bus.join("drivers").join(kind);
    // Without the bus this is no dom0, but a test.
    if !bus.exists() || driver.exists() {
        return Ok(());
    }
    let module = driver_module(kind);
    let why = match run(std::process::Command::new("modprobe").arg(module)) {
        Ok(()) if driver.exists() => return Ok(()),
        Ok(()) => "it was loaded but offers no driver".into(),
        Err(e) => e,
    };
    let message = format!("{name}: dom0's kernel has no back end for it, module {module}: {why}");
    Err(Error::new(message).hint(format!("install and load {module}")))
}

/// Runs a program to its end; what it said, if it failed.
pub(crate) fn run(command: &mut std::process::Command) -> std::result::Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| format!("running {program}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    match String::from_utf8_lossy(&out.stderr).trim() {
        "" => Err(format!("{program}: {}", out.status)),
        text => Err(text.into()),
    }
}

/// Checks everything about a configuration's devices, before anything exists.
/// `exempt`: what the domain of this UUID has is no hindrance.
pub(crate) fn check(host: &Host, config: &DomainConfig, exempt: Option<Uuid>) -> Result<()> {
    vbd::check(host, &config.disks, None, exempt)?;
    vif::check(host, config, exempt)
}

/// Connects all devices of a domain that is built.
pub(crate) fn attach_all(host: &Host, dom: DomId, config: &DomainConfig) -> Result<()> {
    vbd::attach(host, dom, &config.disks)?;
    vif::attach_all(host, dom, config)
}

/// All devices of a domain that dom0 serves, consoles left out.
pub(crate) fn handles(host: &Host, dom: DomId) -> Result<Vec<Handle>> {
    let all = nodes::backends(host.xs, dom).during(|| format!("listing devices of {dom}"))?;
    let known = all.into_iter().filter(|(kind, ..)| kind != "console");
    Ok(known
        .filter_map(|(kind, id, _)| Some(Handle::new(dom, &kind, id.parse().ok()?)))
        .collect())
}

impl Host<'_> {
    /// Removes a device of a running domain: with its guest's consent, or by force without asking. `name` is for messages.
    pub fn detach_device(&self, h: &Handle, name: &str, force: bool) -> Result<()> {
        if force {
            return detach_forced(self, std::slice::from_ref(h));
        }
        detach(self, h, name)
    }
}

/// Asks the guest to let a device go, and removes it. If the guest does not, the device is as it was.
fn detach(host: &Host, h: &Handle, name: &str) -> Result<()> {
    let (back, front) = (h.back(), h.front());
    let what = || format!("disconnecting {name}");
    let old = state_of(host, &back)?;
    let in_use = |s: u32| (state::INIT_WAIT..=state::CLOSING).contains(&s);
    // Nobody is left at this end to let it go when the guest does.
    let orphan = h.kind == "qdisk" && qdisk::has_died(host, h.dom);
    if orphan || !state_of(host, &front)?.is_some_and(in_use) {
        // No driver of the guest's has it.
        return detach_forced(host, std::slice::from_ref(h));
    }
    let set = |online: &str, state: u32| {
        let mut write = |s: &dyn Store| {
            s.write(&format!("{back}/online"), online)?;
            s.write(&format!("{back}/state"), &state.to_string())
        };
        host.xs.atomically(&mut write).during(what)
    };
    set("0", state::CLOSING)?;
    let closed = poll(host.limits.detach, || {
        Ok((state_of(host, &back)?.unwrap_or(state::CLOSED) == state::CLOSED).then_some(()))
    })?;
    if closed.is_none() {
        set("1", old.unwrap_or(state::CONNECTED))?;
        let seconds = host.limits.detach.as_secs_f32();
        let message =
            format!("{name}: the guest did not let it go within {seconds} s; it stays attached");
        return Err(Error::new(message)
            .hint("stop its use in the guest (unmount it, take it down), or detach with --force"));
    }
    let unplugged = unplug(host, h);
    erase(host, std::slice::from_ref(h))?;
    unplugged
}

/// Takes devices away without asking the guest. Goes on where a step fails; the first failure is returned.
pub(crate) fn detach_forced(host: &Host, all: &[Handle]) -> Result<()> {
    for h in all {
        // To the back end this is a guest that closed the device by itself.
        let mut close = |s: &dyn Store| {
            let (back, front) = (h.back(), h.front());
            if s.exists(&back)? {
                s.write(&format!("{back}/online"), "0")?;
            }
            match s.exists(&front)? {
                true => s.write(&format!("{front}/state"), &state::CLOSED.to_string()),
                false => Ok(()),
            }
        };
        // If this fails, the removal of the nodes will do.
        let _ = host.xs.atomically(&mut close);
    }
    let deadline = Instant::now() + host.limits.release;
    // A process closes its disks when it ends.
    for h in all.iter().filter(|h| h.sysfs(host).exists()) {
        let _ = poll(deadline.saturating_duration_since(Instant::now()), || {
            let state = state_of(host, &h.back())?.unwrap_or(state::CLOSED);
            Ok((state == state::CLOSED || !h.sysfs(host).exists()).then_some(()))
        });
    }
    let mut first = Ok(());
    for h in all {
        first = first.and(unplug(host, h));
    }
    first.and(erase(host, all))
}

/// What is to be undone on the host when a device goes, besides its nodes.
fn unplug(host: &Host, h: &Handle) -> Result<()> {
    match &*h.kind {
        "vbd" | "qdisk" => vbd::unplug(host, h),
        "vif" => vif::unplug(host, h),
        _ => Ok(()),
    }
}

/// Where a device's nodes are.
fn directories(h: &Handle) -> [String; 4] {
    let error = format!("/local/domain/0/error/{}", h.back_relative());
    [h.libxl(), h.front(), h.back(), error].map(|p| {
        let dir = Path::new(&p).parent().unwrap_or(Path::new("/"));
        dir.to_string_lossy().into_owned()
    })
}

/// Removes all nodes of devices, and the directories that become empty.
pub(crate) fn erase(host: &Host, all: &[Handle]) -> Result<()> {
    let mut remove = |s: &dyn Store| -> xenstore::Result<()> {
        for h in all {
            let error = format!("/local/domain/0/error/{}", h.back_relative());
            for path in [h.libxl(), h.front(), h.back(), error] {
                nodes::remove(s, &path)?;
            }
        }
        // Directories that are empty now, once for all of them.
        let mut dirs: Vec<String> = all.iter().flat_map(directories).collect();
        dirs.sort();
        dirs.dedup();
        for dir in dirs {
            if s.exists(&dir)? && nodes::children(s, &dir)?.is_empty() {
                nodes::remove(s, &dir)?;
            }
        }
        Ok(())
    };
    let names = || format!("removing the nodes of {} devices", all.len());
    host.xs.atomically(&mut remove).during(names)
}

/// Takes a domain's devices away, without asking it.
pub(crate) fn detach_all(host: &Host, dom: DomId) -> Result<()> {
    let detached = handles(host, dom).and_then(|all| detach_forced(host, &all));
    detached.and(qdisk::stop(host, dom))
}
