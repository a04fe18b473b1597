//! The nodes of a domain in the xenstore: their places, first values and permissions.
use crate::{DomainConfig, Uuid};
use std::path::Path;
use xen_abi::{DomId, Port};
use xenguest::BuildResult;
use xenstore::{Perm, Store};

/// `/local/domain/N`.
pub fn dom_path(dom: DomId) -> String {
    format!("/local/domain/{}", dom.0)
}

/// `/libxl/N`.
pub fn libxl_path(dom: DomId) -> String {
    format!("/libxl/{}", dom.0)
}

/// `/vm/UUID`.
pub fn vm_path(uuid: Uuid) -> String {
    format!("/vm/{uuid}")
}

/// Directories that a guest may only read.
const READ_ONLY: &[&str] = &["cpu", "memory", "device", "control", "backend"];
/// Nodes that belong to the guest.
const OWNED: &[&str] = &[
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];

/// A node that `dom` may read, and only dom0 write.
fn readable(dom: DomId) -> [Perm; 2] {
    [Perm::none(0), Perm::read(dom.0)]
}

/// Gives a domain that was another name and another UUID. What is at the old UUID is left to who has that from now on.
pub fn set_aside(s: &dyn Store, dom: DomId, uuid: Uuid, name: &str) -> xenstore::Result<()> {
    let (base, vm) = (dom_path(dom), vm_path(uuid));
    let old = s.read_opt(&format!("{base}/vm"))?.unwrap_or_default();
    let started = s.read_opt(&format!("{old}/start_time"))?;
    make(s, &vm, &readable(dom))?;
    s.write(&format!("{vm}/uuid"), &uuid.to_string())?;
    s.write(&format!("{vm}/domid"), &dom.0.to_string())?;
    s.write(&format!("{vm}/name"), name)?;
    if let Some(time) = started {
        s.write(&format!("{vm}/start_time"), &time)?;
    }
    s.write(&format!("{base}/vm"), &vm)?;
    s.write(&format!("{base}/name"), name)
}

/// Creates a domain's skeleton; whatever an earlier domain of this id left is removed.
pub fn create(s: &dyn Store, dom: DomId, config: &DomainConfig) -> xenstore::Result<()> {
    let (base, libxl, vm) = (dom_path(dom), libxl_path(dom), vm_path(config.uuid));
    for stale in [&base, &libxl, &vm] {
        remove(s, stale)?;
    }
    make(s, &base, &readable(dom))?;
    make(s, &vm, &readable(dom))?;
    make(s, &libxl, &[Perm::none(0)])?;
    for name in READ_ONLY {
        make(s, &format!("{base}/{name}"), &readable(dom))?;
    }
    for name in OWNED {
        make(s, &format!("{base}/{name}"), &[Perm::none(dom.0)])?;
    }
    s.write(&format!("{base}/vm"), &vm)?;
    s.write(&format!("{base}/name"), &config.name)?;
    s.write(&format!("{base}/domid"), &dom.0.to_string())?;
    s.write(
        &format!("{base}/control/platform-feature-multiprocessor-suspend"),
        "1",
    )?;
    s.write(
        &format!("{base}/control/platform-feature-xs_reset_watches"),
        "1",
    )?;
    s.write(&format!("{vm}/uuid"), &config.uuid.to_string())?;
    // Whose it is: while a domain moves within its host, two have the same UUID.
    s.write(&format!("{vm}/domid"), &dom.0.to_string())?;
    s.write(&format!("{vm}/name"), &config.name)?;
    s.write(&format!("{libxl}/type"), config.kind.name())
}

/// Writes what is known once the guest is built.
pub fn complete(
    s: &dyn Store,
    dom: DomId,
    config: &DomainConfig,
    built: &BuildResult,
    ports: (Port, Port),
) -> xenstore::Result<()> {
    let base = dom_path(dom);
    let (store, console) = ports;
    s.write(
        &format!("{base}/memory/static-max"),
        &config.maxmem_kib.to_string(),
    )?;
    s.write(
        &format!("{base}/memory/target"),
        &config.memory_kib.to_string(),
    )?;
    s.write(&format!("{base}/memory/videoram"), "0")?;
    s.write(&format!("{base}/store/port"), &store.0.to_string())?;
    s.write(
        &format!("{base}/store/ring-ref"),
        &built.store_mfn.0.to_string(),
    )?;
    for v in 0..config.max_vcpus {
        let state = if v < config.vcpus {
            "online"
        } else {
            "offline"
        };
        s.write(&format!("{base}/cpu/{v}/availability"), state)?;
    }
    image(s, config)?;
    console_nodes(s, dom, built, console)
}

fn image(s: &dyn Store, config: &DomainConfig) -> xenstore::Result<()> {
    let vm = vm_path(config.uuid);
    s.write(&format!("{vm}/image/ostype"), "linux")?;
    s.write(
        &format!("{vm}/image/kernel"),
        &config.kernel.to_string_lossy(),
    )?;
    if let Some(r) = &config.ramdisk {
        s.write(&format!("{vm}/image/ramdisk"), &r.to_string_lossy())?;
    }
    s.write(&format!("{vm}/image/cmdline"), &config.cmdline)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    s.write(
        &format!("{vm}/start_time"),
        &format!("{}.{:02}", now.as_secs(), now.subsec_millis() / 10),
    )
}

/// Console 0, by whose nodes xenconsoled finds it.
fn console_nodes(
    s: &dyn Store,
    dom: DomId,
    built: &BuildResult,
    port: Port,
) -> xenstore::Result<()> {
    let front = format!("{}/console", dom_path(dom));
    let back = format!("/local/domain/0/backend/console/{}/0", dom.0);
    let libxl = format!("{}/device/console/0", libxl_path(dom));
    make(s, &front, &readable(dom))?;
    for (node, value) in [
        ("backend", back.as_str()),
        ("backend-id", "0"),
        ("limit", "1048576"),
        ("type", "xenconsoled"),
        ("output", "pty"),
        ("tty", ""),
        ("port", &port.0.to_string()),
        // Last: it is what the daemon waits for.
        ("ring-ref", &built.console_mfn.0.to_string()),
    ] {
        s.write(&format!("{front}/{node}"), value)?;
    }
    make(s, &back, &readable(dom))?;
    for (node, value) in [
        ("frontend", front.as_str()),
        ("frontend-id", &dom.0.to_string()),
        ("online", "1"),
        ("state", "1"),
        ("protocol", "vt100"),
    ] {
        s.write(&format!("{back}/{node}"), value)?;
    }
    s.write(&format!("{libxl}/frontend"), &front)?;
    s.write(&format!("{libxl}/backend"), &back)
}

/// Shows a boot loader's terminal as console 0, until [`complete`] hands that to xenconsoled.
pub fn bootloader_console(s: &dyn Store, dom: DomId, tty: &Path) -> xenstore::Result<()> {
    let front = format!("{}/console", dom_path(dom));
    make(s, &front, &readable(dom))?;
    s.write(&format!("{front}/tty"), &tty.to_string_lossy())
}

/// Makes a node, or makes an existing one right.
pub fn make(s: &dyn Store, path: &str, perms: &[Perm]) -> xenstore::Result<()> {
    s.mkdir(path)?;
    s.set_perms(path, perms)
}

/// Removes a node and all below it; fine if there is none.
pub fn remove(s: &dyn Store, path: &str) -> xenstore::Result<()> {
    match s.rm(path) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Back ends of `dom` in dom0: kind, device number, path.
pub fn backends(s: &dyn Store, dom: DomId) -> xenstore::Result<Vec<(String, String, String)>> {
    let base = "/local/domain/0/backend";
    let mut all = Vec::new();
    for kind in children(s, base)? {
        for device in children(s, &format!("{base}/{kind}/{}", dom.0))? {
            let path = format!("{base}/{kind}/{}/{device}", dom.0);
            all.push((kind.clone(), device, path));
        }
    }
    Ok(all)
}

/// A node's children; none if there is no such node.
pub fn children(s: &dyn Store, path: &str) -> xenstore::Result<Vec<String>> {
    match s.directory(path) {
        Ok(names) => Ok(names.into_iter().filter(|n| !n.is_empty()).collect()),
        Err(e) if e.is_not_found() => Ok(vec![]),
        Err(e) => Err(e),
    }
}

/// Removes everything that is about a domain.
pub fn erase(s: &dyn Store, dom: DomId, uuid: Option<Uuid>) -> xenstore::Result<()> {
    let base = dom_path(dom);
    let vm = s
        .read_opt(&format!("{base}/vm"))?
        .filter(|v| v.starts_with("/vm/"));
    for vm in vm.into_iter().chain(uuid.map(vm_path)) {
        let owner = s.read_opt(&format!("{vm}/domid"))?;
        if owner.is_none_or(|o| o == dom.0.to_string()) {
            remove(s, &vm)?;
        }
    }
    for kind in children(s, "/local/domain/0/backend")? {
        remove(s, &format!("/local/domain/0/backend/{kind}/{}", dom.0))?;
    }
    remove(s, &libxl_path(dom))?;
    remove(s, &base)
}
