//! Network interfaces through `xen-netback`. The host's side is put on a bridge in-process; where a script is
//! configured, that does it.
//!
//! [`Place`] says which, for one interface. `bridge` knows the host's interfaces, `hotplug` runs scripts.
use super::{Device, Handle, check_driver, detach_forced, handles, poll, publish, wait_ready};
use crate::bridge::Net;
use crate::hotplug::{self, Script};
use crate::migrate::is_exempt;
use crate::{DomainConfig, Error, Host, Mac, Result, StoreContext, Uuid, Vif};
use std::path::PathBuf;
use xen_abi::DomId;

/// What connects an interface on the host's side.
enum Place {
    /// We do, to this bridge.
    Bridge(String),
    /// This script does.
    Script(PathBuf),
}

/// `vif 0 of "guest"` for messages, before there is a domain.
fn named(vif: &Vif, id: u32) -> String {
    match (&vif.vifname, vif.mac) {
        (Some(name), _) => format!("vif {id} ({name})"),
        (None, Some(mac)) => format!("vif {id} ({mac})"),
        _ => format!("vif {id}"),
    }
}

/// Gives each interface its number: its own, or the lowest that is free. `taken` are others'.
fn numbered(vifs: &[Vif], mut taken: Vec<u32>) -> Result<Vec<(u32, &Vif)>> {
    for vif in vifs {
        if let Some(id) = vif.devid {
            if taken.contains(&id) {
                let error = Error::new(format!("vif {id}: this device number is taken"));
                return Err(error.hint("leave devid out, or choose another"));
            }
            taken.push(id);
        }
    }
    let number = |vif| {
        let vif: &Vif = vif;
        let id = vif.devid.or_else(|| (0..).find(|n| !taken.contains(n)));
        let id = id.unwrap_or_default();
        if vif.devid.is_none() {
            taken.push(id);
        }
        (id, vif)
    };
    Ok(vifs.iter().map(number).collect())
}

/// A configuration's interfaces with the numbers and addresses that the domain has given them.
fn with_numbers(config: &DomainConfig) -> Vec<Vif> {
    let all = numbered(&config.vifs, vec![]).unwrap_or_default();
    let noted = |(id, vif): (u32, &Vif)| Vif {
        devid: Some(id),
        mac: Some(mac_of(vif, config.uuid, id)),
        ..vif.clone()
    };
    all.into_iter().map(noted).collect()
}

/// Checks a configuration's interfaces, before anything exists.
/// `exempt`: the domain of this UUID is the same guest.
pub(crate) fn check(host: &Host, config: &DomainConfig, exempt: Option<Uuid>) -> Result<()> {
    check_new(host, &numbered(&config.vifs, vec![])?, config.uuid, exempt)
}

fn check_new(host: &Host, vifs: &[(u32, &Vif)], uuid: Uuid, exempt: Option<Uuid>) -> Result<()> {
    let Some((first, vif)) = vifs.first() else {
        return Ok(());
    };
    check_driver(host, "vif", &named(vif, *first))?;
    let mut seen: Vec<Known> = known(host, exempt)?;
    for (id, vif) in vifs {
        let name = named(vif, *id);
        if !matches!(vif.backend.as_deref(), None | Some("0" | "Domain-0")) {
            let error = Error::new(format!("{name}: back ends outside dom0 are not supported"));
            return Err(error.hint("leave \"backend\" out"));
        }
        let bridge = match place(host, vif, &name)? {
            Place::Bridge(b) => Some(b),
            Place::Script(_) => vif.bridge.clone(),
        };
        let new = Known {
            owner: format!("{name} of this configuration"),
            mac: mac_of(vif, uuid, *id).to_string(),
            vifname: vif.vifname.clone(),
            bridge,
        };
        clash(&new, &seen, &name)?;
        check_name_free(host, vif, &name)?;
        seen.push(new);
    }
    Ok(())
}

/// What connects an interface, if that is there.
fn place(host: &Host, vif: &Vif, name: &str) -> Result<Place> {
    match &vif.script {
        Some(script) => Ok(Place::Script(hotplug::find(script, name)?)),
        None => {
            let bridge = Net::of(host).bridge(vif.bridge.as_deref(), name)?;
            Ok(Place::Bridge(bridge))
        }
    }
}

/// An interface, as far as another could get into its way.
struct Known {
    owner: String,
    mac: String,
    vifname: Option<String>,
    bridge: Option<String>,
}

/// Interfaces of the domains that run. One that is dead and kept for examination sends nothing.
fn known(host: &Host, exempt: Option<Uuid>) -> Result<Vec<Known>> {
    let mut all = Vec::new();
    for d in host.hv.domains()? {
        let is_over = d.state.shutdown.is_some() || d.state.dying;
        if d.domid == DomId::DOM0 || is_over || is_exempt(d.handle, exempt) {
            continue;
        }
        for h in handles(host, d.domid)? {
            if h.kind == "vif" {
                let read = |node: &str| read(host, &h, node);
                let domain = host.name(d.domid)?.unwrap_or_else(|| d.domid.to_string());
                all.push(Known {
                    owner: format!("vif {} of domain {domain}", h.id),
                    mac: read("mac")?.unwrap_or_default(),
                    vifname: read("vifname")?,
                    bridge: read("bridge")?,
                });
            }
        }
    }
    Ok(all)
}

/// What the toolstack noted about an interface.
fn read(host: &Host, h: &Handle, node: &str) -> Result<Option<String>> {
    let path = format!("{}/{node}", h.libxl());
    let value = host.xs.read_opt(&path);
    value.during(|| format!("reading {path}"))
}

/// Two interfaces with one address on one bridge take each other's frames.
fn clash(new: &Known, others: &[Known], name: &str) -> Result<()> {
    for other in others {
        let owner = &other.owner;
        if other.mac.eq_ignore_ascii_case(&new.mac) && other.bridge == new.bridge {
            let error = Error::new(format!("{name}: {} is the address of {owner} too", new.mac));
            return Err(error.hint("give each its own mac=..., or leave mac out to have one made"));
        }
        if new.vifname.is_some() && other.vifname == new.vifname {
            let vifname = new.vifname.as_deref().unwrap_or_default();
            let error = Error::new(format!("{name}: vifname {vifname} is that of {owner}"));
            return Err(error.hint("choose another vifname"));
        }
    }
    Ok(())
}

/// Checks that the host has no interface of this name. One that was a domain's goes a moment after the domain.
fn check_name_free(host: &Host, vif: &Vif, name: &str) -> Result<()> {
    let Some(wanted) = &vif.vifname else {
        return Ok(());
    };
    let net = Net::of(host);
    let free = poll(host.limits.release, || {
        Ok((!net.exists(wanted)).then_some(()))
    })?;
    free.ok_or_else(|| {
        let error = Error::new(format!(
            "{name}: this host has an interface {wanted} already"
        ));
        error.hint("choose another vifname, see ip link")
    })
}

/// Connects the interfaces of a domain that is built.
pub(crate) fn attach_all(host: &Host, dom: DomId, config: &DomainConfig) -> Result<()> {
    let vifs = numbered(&config.vifs, vec![])?;
    vifs.into_iter()
        .try_for_each(|(id, vif)| attach(host, dom, config.uuid, id, vif))
}

/// The kernel's name of an interface.
fn netdev(h: &Handle) -> String {
    format!("vif{}.{}", h.dom.0, h.id)
}

/// Undoes what was done on the host, while the nodes are still there.
pub(crate) fn unplug(host: &Host, h: &Handle) -> Result<()> {
    let script = read(host, h, "script")?.filter(|s| !s.is_empty());
    let vifname = read(host, h, "vifname")?;
    let Some(script) = script else {
        let net = Net::of(host);
        for name in [Some(netdev(h)), vifname].into_iter().flatten() {
            // Of that name there may be another's.
            if net.is_back_end(&name, h) {
                net.leave(&name);
            }
        }
        return Ok(());
    };
    let gateway = read(host, h, "gatewaydev")?;
    let name = format!("vif {} of {}", h.id, h.dom);
    call(h, PathBuf::from(script), "offline", gateway, &name).run(host)
}

/// A script's call as xl makes it.
fn call<'a>(
    handle: &'a Handle,
    path: PathBuf,
    event: &str,
    gateway: Option<String>,
    name: &'a str,
) -> Script<'a> {
    let mut env = vec![("vif", netdev(handle))];
    env.extend(gateway.map(|g| ("netdev", g)));
    let args = vec![event.into(), "type_if=vif".into()];
    Script {
        handle,
        path,
        args,
        env,
        name,
    }
}

fn device(dom: DomId, id: u32, mac: Mac, vif: &Vif, place: &Place) -> Device {
    let mac = mac.to_string();
    let (script, bridge) = match place {
        Place::Bridge(b) => (String::new(), Some(b.clone())),
        Place::Script(path) => (path.to_string_lossy().into_owned(), vif.bridge.clone()),
    };
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let mut back = vec![
        ("mac", mac.clone()),
        ("handle", id.to_string()),
        ("type", "vif".into()),
        ("hotplug-status", String::new()),
        // The kernel insists on this node; empty, it says that no script is in charge.
        ("script", script),
    ];
    let optional = [
        ("bridge", bridge),
        ("gatewaydev", vif.gatewaydev.clone()),
        ("ip", vif.ip.clone()),
        ("vifname", vif.vifname.clone()),
        ("mtu", number(vif.mtu)),
        ("vlan", vif.vlan.clone()),
        (
            "rate",
            vif.rate
                .map(|(bytes, interval)| format!("{bytes},{interval}")),
        ),
    ];
    back.extend(optional.into_iter().filter_map(|(k, v)| Some((k, v?))));
    let mut front = vec![("handle", id.to_string()), ("mac", mac)];
    front.extend(number(vif.mtu).map(|m| ("mtu", m)));
    let trusted = vif.trusted.unwrap_or(true);
    front.push(("trusted", u32::from(trusted).to_string()));
    Device {
        handle: Handle::new(dom, "vif", id),
        front,
        back,
    }
}

fn attach(host: &Host, dom: DomId, uuid: Uuid, id: u32, vif: &Vif) -> Result<()> {
    let name = format!("vif {id} of {dom}");
    let place = place(host, vif, &name)?;
    let device = device(dom, id, mac_of(vif, uuid, id), vif, &place);
    let h = &device.handle;
    publish(host, std::slice::from_ref(&device), &name)?;
    wait_ready(host, h, &name)?;
    let netdev = netdev(h);
    let net = Net::of(host);
    let there = poll(host.limits.backend, || {
        Ok(net.is_complete(&netdev).then_some(()))
    })?;
    there.ok_or_else(|| {
        let error = Error::new(format!("{name}: the back end did not make {netdev}"));
        error.hint("is module xen-netback loaded? dmesg may say more")
    })?;
    match place {
        Place::Bridge(b) => net.join(&netdev, vif.vifname.as_deref(), &b, vif.mtu, &name)?,
        Place::Script(path) => {
            call(h, path, "online", vif.gatewaydev.clone(), &name).run(host)?;
        }
    }
    let path = format!("{}/hotplug-status", h.back());
    let written = host.xs.write(&path, "connected");
    written.during(|| format!("connecting {name}"))
}

/// The address of an interface: the configured one, or one below Xen's prefix that is the same whenever the same
/// domain starts.
fn mac_of(vif: &Vif, uuid: Uuid, id: u32) -> Mac {
    vif.mac.unwrap_or_else(|| {
        // FNV-1a, 32 bits.
        let bytes = uuid.0.iter().copied().chain(id.to_le_bytes());
        let h = bytes.fold(0x811c_9dc5u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        let [a, b, c, d] = h.to_be_bytes();
        Mac([0x00, 0x16, 0x3e, (a ^ d) & 0x7f, b, c])
    })
}

/// A domain's interface, as listings show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkInterface {
    /// Which.
    pub handle: Handle,
    /// Its address.
    pub mac: String,
}

impl Host<'_> {
    /// A domain's interfaces, by number.
    pub fn interfaces(&self, dom: DomId) -> Result<Vec<NetworkInterface>> {
        let mut all = Vec::new();
        for handle in handles(self, dom)? {
            if handle.kind == "vif" {
                let mac = read(self, &handle, "mac")?.unwrap_or_default();
                all.push(NetworkInterface { handle, mac });
            }
        }
        all.sort_by_key(|i| i.handle.id);
        Ok(all)
    }

    /// Checks an interface for a running domain, and says what it would become. Changes nothing.
    pub fn check_vif(&self, dom: DomId, vif: &Vif) -> Result<Vif> {
        if dom == DomId::DOM0 {
            return Err(Error::new("dom0 gets no interfaces from itself"));
        }
        let uuid = Uuid(self.info(dom)?.handle);
        let taken = self.interfaces(dom)?.iter().map(|i| i.handle.id).collect();
        let vifs = std::slice::from_ref(vif);
        let numbered = numbered(vifs, taken)?;
        check_new(self, &numbered, uuid, None)?;
        let id = numbered.first().map(|(id, _)| *id);
        let mac = Some(mac_of(vif, uuid, id.unwrap_or_default()));
        Ok(Vif {
            devid: id,
            mac,
            ..vif.clone()
        })
    }

    /// Connects an interface to a running domain. If that fails, everything is undone. Returns its number.
    pub fn attach_vif(&self, dom: DomId, vif: &Vif) -> Result<u32> {
        let vif = self.check_vif(dom, vif)?;
        let id = vif.devid.unwrap_or_default();
        let uuid = Uuid(self.info(dom)?.handle);
        match attach(self, dom, uuid, id, &vif) {
            Ok(()) => {
                self.change_config(dom, |c| {
                    let kept = with_numbers(c).into_iter().filter(|v| v.devid != Some(id));
                    c.with_vifs(kept.chain([vif]).collect())
                })?;
                Ok(id)
            }
            Err(e) => {
                let undone = detach_forced(self, &[Handle::new(dom, "vif", id)]);
                // The failure is what matters; what cannot be undone either is said with it.
                Err(match undone {
                    Ok(()) => e,
                    Err(u) => Error::new(format!("{e}; and undoing it failed: {u}")),
                })
            }
        }
    }

    /// Takes an interface from a running domain, named by its number or its address.
    pub fn detach_vif(&self, dom: DomId, which: &str, force: bool) -> Result<()> {
        let all = self.interfaces(dom)?;
        let wanted = Mac::parse(which).map(|m| m.to_string());
        let fits = |i: &&NetworkInterface| match &wanted {
            Some(mac) => i.mac.eq_ignore_ascii_case(mac),
            None => i.handle.id.to_string() == which,
        };
        let Some(found) = all.iter().find(fits) else {
            let list: Vec<_> = all
                .iter()
                .map(|i| format!("{} ({})", i.handle.id, i.mac))
                .collect();
            let message = match list.as_slice() {
                [] => format!("{dom} has no interface {which}; it has none"),
                list => format!("{dom} has no interface {which}; it has {}", list.join(", ")),
            };
            return Err(Error::new(message).hint("see xl network-list"));
        };
        let name = format!("vif {} of {dom} ({})", found.handle.id, found.mac);
        self.detach_device(&found.handle, &name, force)?;
        let id = Some(found.handle.id);
        self.change_config(dom, |c| {
            let kept = with_numbers(c).into_iter().filter(|v| v.devid != id);
            c.with_vifs(kept.collect())
        })
    }
}
