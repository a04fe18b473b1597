//! Disks that a qemu process serves: one process for each domain, started with its first such disk, ended with it.
use crate::{Error, Host, Result, StoreContext, nodes};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use xen_abi::DomId;

/// Where a qemu with Xen's back ends is: Debian's package, Xen's own, anybody's.
const PROGRAMS: &[&str] = &[
    "/usr/libexec/xen-qemu-system-i386",
    "/usr/lib/xen-4.17/bin/qemu-system-i386",
    "/usr/lib/xen/bin/qemu-system-i386",
    "/usr/bin/qemu-system-i386",
];
const LOG_DIR: &str = "/var/log/xen";
/// How long it may take to end when asked.
const END: Duration = Duration::from_secs(3);

/// The program; an error that says what to install.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let found = PROGRAMS.iter().map(PathBuf::from).find(|p| p.exists());
    found.ok_or_else(|| {
        let message = format!("{name}: its format needs qemu, which is not installed");
        Error::new(message)
            .hint("apt install qemu-system-xen, or convert the image with qemu-img convert -O raw")
    })
}

fn log_path(domain: &str) -> PathBuf {
    Path::new(LOG_DIR).join(format!("qemu-{}.log", domain.replace('/', "_")))
}

/// What the process said last, and where.
pub(crate) fn last_words(host: &Host, dom: DomId) -> String {
    let name = host.name(dom).ok().flatten().unwrap_or_default();
    let path = log_path(&name);
    let said = std::fs::read(&path).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    match said.lines().rfind(|l| !l.trim().is_empty()) {
        Some(last) => format!("{}: {last}", path.display()),
        None => format!("{} is empty", path.display()),
    }
}

fn pid_node(dom: DomId) -> String {
    format!("{}/qdisk-pid", nodes::libxl_path(dom))
}

/// The domain's process, if it runs.
fn running(host: &Host, dom: DomId) -> Result<Option<u32>> {
    let pid = host.xs.read_opt(&pid_node(dom));
    let pid = pid.during(|| format!("looking for the qemu of {dom}"))?;
    Ok(pid
        .and_then(|p| p.parse().ok())
        .filter(|p| is_ours(*p, dom)))
}

/// Whether a process is the qemu of a domain, and not another that got its number. Dead ones have neither command line nor
/// program; one that is just being started has only the latter yet.
fn is_ours(pid: u32, dom: DomId) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if words.is_empty() {
        return std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    }
    let words: Vec<&[u8]> = words.split(|b| *b == 0).collect();
    let id = dom.0.to_string();
    words
        .windows(2)
        .any(|w| w[0] == b"-xen-domid" && w[1] == id.as_bytes())
}

/// Starts the domain's process, if it does not run already.
pub(crate) fn ensure(host: &Host, dom: DomId, name: &str) -> Result<()> {
    if running(host, dom)?.is_some() {
        return Ok(());
    }
    let domain = host.name(dom)?.unwrap_or_else(|| dom.0.to_string());
    let log = log_path(&domain);
    let fail = |why: String| {
        let message = format!("{name}: starting qemu for it: {why}");
        Error::new(message).hint(format!("see {}", log.display()))
    };
    // The log of the one before stays for comparison.
    let _ = std::fs::rename(&log, log.with_extension("log.1"));
    let output = std::fs::create_dir_all(LOG_DIR)
        .and_then(|()| File::options().create(true).append(true).open(&log))
        .and_then(|out| Ok((out.try_clone()?, out)))
        .map_err(|e| fail(format!("{}: {e}", log.display())))?;
    let _ = std::fs::create_dir_all("/run/xen");
    let monitor = format!(
        "socket,id=libxl-cmd,path=/run/xen/qmp-libxl-{},server=on,wait=off",
        dom.0
    );
    let mut child = Command::new(program(name)?)
        .args(["-xen-domid", &dom.0.to_string(), "-xen-attach"])
        .args(["-chardev", &monitor])
        .args(["-mon", "chardev=libxl-cmd,mode=control"])
        .args(["-no-shutdown", "-nodefaults", "-no-user-config"])
        .args(["-name", &domain, "-display", "none"])
        .args(["-machine", "xenpv", "-m", "32"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.0)
        .stderr(output.1)
        // Signals from a terminal are for xl, not for it.
        .process_group(0)
        .spawn()
        .map_err(|e| fail(e.to_string()))?;
    let pid = child.id();
    // Where xl lives on as supervisor, a dead child must not stay a zombie.
    std::thread::spawn(move || child.wait());
    host.xs
        .write(&pid_node(dom), &pid.to_string())
        .during(|| format!("noting the qemu of {dom}"))
}

/// Why a disk was not taken on, if that is because the process ended.
pub(crate) fn has_died(host: &Host, dom: DomId) -> bool {
    let noted = host.xs.exists(&pid_node(dom)).unwrap_or(false);
    noted && matches!(running(host, dom), Ok(None))
}

impl Host<'_> {
    /// What became of a domain's disks, if the qemu process that served some of them has ended while it runs.
    pub fn dead_qemu(&self, dom: DomId) -> Option<String> {
        if !has_died(self, dom) {
            return None;
        }
        let disks = self.disks(dom).ok()?;
        let names: Vec<String> = disks
            .iter()
            .filter(|(h, _)| h.kind == "qdisk")
            .map(|(h, d)| d.as_ref().map_or(h.id.to_string(), |d| d.vdev.to_string()))
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(format!(
            "the qemu of {dom} has ended, which served disk {}: the guest's reads and writes wait in vain; \
             xl block-detach it and attach it again, or xl destroy the guest ({})",
            names.join(", "),
            last_words(self, dom)
        ))
    }
}

/// Ends the domain's process.
pub(crate) fn stop(host: &Host, dom: DomId) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let Some(raw) = running(host, dom)? else {
        return Ok(());
    };
    let Some(pid) = i32::try_from(raw).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let _ = kill_process(pid, signal);
        if super::poll(END, || Ok((!is_ours(raw, dom)).then_some(())))?.is_some() {
            let _ = std::fs::remove_file(format!("/run/xen/qmp-libxl-{}", dom.0));
            return Ok(());
        }
    }
    Err(Error::new(format!(
        "the qemu of {dom}, process {raw}, does not end"
    )))
}
