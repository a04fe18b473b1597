//! Whether disks are somebody else's already: two systems that write one disk, or one that reads what another writes,
//! destroy or misread it.
//!
//! [`Identity`] is what makes two specifications the same disk, whatever paths lead to it.
use super::{Handle, vbd};
use crate::hotplug::locate;
use crate::migrate::is_exempt;
use crate::{Disk, Error, Host, Result, StoreContext, Uuid, nodes};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use xen_abi::DomId;

/// What makes two disks the same.
#[derive(PartialEq, Eq, Debug)]
enum Identity {
    Block(u64),
    File(u64, u64),
    /// Only a script knows what it is.
    Scripted(PathBuf, String),
}

fn identity(disk: &Disk) -> Option<Identity> {
    let Some(script) = &disk.script else {
        return of_path(Path::new(&disk.target));
    };
    // Scripts such as "block" take paths too: what is there is the same disk with a script as without.
    let path = disk
        .target
        .trim_start_matches("phy:")
        .trim_start_matches("file:");
    of_path(Path::new(path))
        .or_else(|| Some(Identity::Scripted(locate(script), disk.target.clone())))
}

fn of_path(path: &Path) -> Option<Identity> {
    let m = std::fs::metadata(path).ok()?;
    Some(match m.file_type().is_block_device() {
        true => Identity::Block(m.rdev()),
        false => Identity::File(m.dev(), m.ino()),
    })
}

/// A disk in use.
struct Use {
    who: String,
    identity: Identity,
    writable: bool,
}

/// Checks that no disk is in use in a way that does not go together with ours.
/// `exempt`: the domain of this UUID is the same guest.
pub(crate) fn check(
    host: &Host,
    disks: &[Disk],
    dom: Option<DomId>,
    exempt: Option<Uuid>,
) -> Result<()> {
    let wanted: Vec<_> = disks
        .iter()
        .filter(|d| !d.shared && !d.target.is_empty())
        .filter_map(|d| Some((d, identity(d)?)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut uses = others(host, dom, exempt)?;
    for (disk, identity) in wanted {
        let clash = |u: &&Use| u.identity == identity && (u.writable || disk.writable);
        if let Some(u) = uses.iter().find(clash) {
            let ours = if disk.writable { "write to" } else { "read" };
            let theirs = if u.writable { "writes to" } else { "reads" };
            let message = format!(
                "{}: {} {theirs} it; a guest that is to {ours} it too would see or do damage",
                vbd::named(disk),
                u.who
            );
            return Err(Error::new(message)
                .hint("give each its own disk, or shut that one down; access w! overrides"));
        }
        uses.push(Use {
            who: format!("disk {} of the same guest", disk.vdev),
            identity,
            writable: disk.writable,
        });
    }
    Ok(())
}

/// The disks of all domains, and files that dom0 itself has behind loop devices.
fn others(host: &Host, dom: Option<DomId>, exempt: Option<Uuid>) -> Result<Vec<Use>> {
    let what = || "looking for other users of the disks".to_string();
    let mut all = Vec::new();
    for kind in ["vbd", "qdisk"] {
        let base = format!("/local/domain/0/backend/{kind}");
        for id in nodes::children(host.xs, &base).during(what)? {
            let Ok(id) = id.parse::<u16>() else { continue };
            if !alive(host, DomId(id), exempt)? {
                continue;
            }
            for device in nodes::children(host.xs, &format!("{base}/{id}")).during(what)? {
                let Ok(device) = device.parse() else { continue };
                let handle = Handle::new(DomId(id), kind, device);
                all.extend(of_device(host, &handle, dom)?);
            }
        }
    }
    Ok(all)
}

/// A domain that has ended, or that is no more, writes nothing.
fn alive(host: &Host, dom: DomId, exempt: Option<Uuid>) -> Result<bool> {
    let info = host.hv.domain_info(dom)?;
    let counts = |i: xenctrl::DomainInfo| {
        i.state.shutdown.is_none() && !i.state.dying && !is_exempt(i.handle, exempt)
    };
    Ok(info.is_some_and(counts))
}

fn of_device(host: &Host, h: &Handle, ours: Option<DomId>) -> Result<Option<Use>> {
    let what = || format!("reading {}", h.back());
    let node = |n: &str| {
        let value = host.xs.read_opt(&format!("{}/{n}", h.back()));
        value.during(what).map(Option::unwrap_or_default)
    };
    let (params, mode) = (node("params")?, node("mode")?);
    let script = node("script")?;
    // A qdisk's has the format in front.
    let target = match &*h.kind {
        "qdisk" => params.split_once(':').map_or(&*params, |p| p.1),
        _ => params
            .trim_start_matches("phy:")
            .trim_start_matches("file:"),
    };
    let identity = match of_path(Path::new(target)) {
        Some(i) => i,
        None if !script.is_empty() => Identity::Scripted(script.into(), target.into()),
        None => return Ok(None),
    };
    let vdev = node("dev")?;
    let who = match host.name(h.dom)? {
        _ if ours == Some(h.dom) => format!("disk {vdev} of the same guest"),
        Some(name) => format!("guest \"{name}\" ({}, disk {vdev})", h.dom),
        None => format!("{} (disk {vdev})", h.dom),
    };
    Ok(Some(Use {
        who,
        identity,
        writable: mode.starts_with('w'),
    }))
}
