//! Network interfaces through `xen-netback`: the interface is put on a bridge by the host's hotplug script where
//! there is one, else by `ip`.
use super::{Device, Handle, check_driver, publish, run, wait_ready};
use crate::hotplug::{self, Script, locate};
use crate::{DomainConfig, Error, Host, Mac, Result, StoreContext, Uuid, Vif};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xen_abi::DomId;

/// The bridge of an interface that names none.
const DEFAULT_BRIDGE: &str = "xenbr0";

/// Checks bridges, before anything exists.
pub(crate) fn check(host: &Host, vifs: &[Vif]) -> Result<()> {
    if !vifs.is_empty() {
        check_driver(host, "vif", "vif")?;
    }
    for vif in vifs {
        if let Some(script) = &vif.script {
            hotplug::check(&locate(script), "vif")?;
        }
        bridge(vif)?;
    }
    Ok(())
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

/// Connects the interfaces of a domain that is built.
pub(crate) fn attach_all(host: &Host, dom: DomId, config: &DomainConfig) -> Result<()> {
    for (i, vif) in config.vifs.iter().enumerate() {
        attach_vif(host, dom, config.uuid, i as u32, vif)?;
    }
    Ok(())
}

/// Undoes what was done on the host, while the nodes are still there.
pub(crate) fn unplug(_host: &Host, _handle: &Handle) -> Result<()> {
    // The kernel takes its interface off the bridge when it goes.
    Ok(())
}

fn attach_vif(host: &Host, dom: DomId, uuid: Uuid, id: u32, vif: &Vif) -> Result<()> {
    let bridge = bridge(vif)?;
    let mac = vif.mac.unwrap_or_else(|| made_up_mac(uuid, id)).to_string();
    let script = vif.script.clone().unwrap_or_else(|| "vif-bridge".into());
    let script = locate(&script).to_string_lossy().into_owned();
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
    let handle = Handle::new(dom, "vif", id);
    let name = format!("vif {id} of {dom}");
    let device = Device {
        handle,
        front,
        back,
    };
    publish(host, std::slice::from_ref(&device), &name)?;
    wait_ready(host, &device.handle, &name)?;
    let netdev = format!("vif{}.{id}", dom.0);
    wait_for_netdev(host, &netdev)?;
    let script = locate(&script);
    if script.exists() {
        Script {
            handle: &device.handle,
            path: script,
            args: vec!["online".into(), "type_if=vif".into()],
            env: vec![("vif", netdev)],
            name: &name,
        }
        .run(host)?;
    } else {
        run(Command::new("ip").args(["link", "set", &netdev, "master", &bridge, "up"]))
            .map_err(|e| Error::new(format!("{name}: putting {netdev} on {bridge}: {e}")))?;
    }
    let path = format!("{}/hotplug-status", device.handle.back());
    host.xs
        .write(&path, "connected")
        .during(|| format!("connecting {name}"))
}

fn wait_for_netdev(host: &Host, name: &str) -> Result<()> {
    let deadline = Instant::now() + host.limits.backend;
    while !Path::new("/sys/class/net").join(name).exists() {
        if Instant::now() > deadline {
            return Err(Error::new(format!("the back end did not make {name}"))
                .hint("is module xen-netback loaded?"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
