//! Bridges of this host: which there are, which one an interface belongs on, and joining it.
//!
//! [`Net`] sees the host's interfaces through sysfs and changes them through [`Links`].
use crate::netlink::{Change, Links};
use crate::{Error, Host, Mac, Result};
use std::path::PathBuf;

/// The bridge of an interface that names none, as xl has it.
const DEFAULT: &str = "xenbr0";
/// The address of a back end's interface: the highest there is, so that a bridge never takes it for its own.
const PORT_MAC: Mac = Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
/// Longest name of an interface (`IFNAMSIZ`, less the zero).
const LONGEST_NAME: usize = 15;

/// Whether the kernel would take this as an interface's name.
pub(crate) fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    (1..=LONGEST_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.chars().all(plain)
}

/// The host's network.
pub(crate) struct Net<'a> {
    dir: PathBuf,
    links: &'a dyn Links,
}

impl<'a> Net<'a> {
    pub fn of(host: &Host<'a>) -> Net<'a> {
        Net {
            dir: host.sys_dir.join("class/net"),
            links: host.links,
        }
    }

    /// Whether there is an interface of this name.
    pub fn exists(&self, name: &str) -> bool {
        valid_name(name) && self.dir.join(name).exists()
    }

    /// Whether it is there with all that belongs to it: the kernel makes the name first and its attributes after that.
    pub fn is_complete(&self, name: &str) -> bool {
        valid_name(name) && self.number(name, "ifindex").is_some()
    }

    fn is_bridge(&self, name: &str) -> bool {
        self.exists(name) && self.dir.join(name).join("bridge").exists()
    }

    /// The bridges there are, in order.
    pub fn bridges(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut bridges: Vec<String> = names.filter(|n| self.is_bridge(n)).collect();
        bridges.sort();
        bridges
    }

    /// The bridge to put an interface on: the wanted one, else `xenbr0`, else the only one there is. `vif` is for messages.
    pub fn bridge(&self, wanted: Option<&str>, vif: &str) -> Result<String> {
        let name = wanted.unwrap_or(DEFAULT);
        if self.is_bridge(name) {
            return Ok(name.into());
        }
        let mut bridges = self.bridges();
        if wanted.is_none() && bridges.len() == 1 {
            return Ok(bridges.remove(0));
        }
        let there = match bridges.as_slice() {
            [] => "there is none".into(),
            [one] => format!("there is {one}"),
            all => format!("there are {}", all.join(", ")),
        };
        let message = match self.exists(name) {
            true => format!("{vif}: {name} is no bridge; {there}"),
            false => format!("{vif}: this host has no bridge \"{name}\"; {there}"),
        };
        let hint = "name one with bridge=..., or make one with ip link add NAME type bridge";
        Err(Error::new(message).hint(hint))
    }

    fn number(&self, name: &str, what: &str) -> Option<u32> {
        let text = std::fs::read_to_string(self.dir.join(name).join(what)).ok()?;
        text.trim().parse().ok()
    }

    fn index(&self, name: &str) -> Result<u32> {
        let gone = || Error::new(format!("there is no interface {name} any more"));
        self.number(name, "ifindex").ok_or_else(gone)
    }

    /// Puts a back end's interface on a bridge and up, under the name it is to have. An MTU that is not given is the
    /// bridge's. `vif` is for messages.
    pub fn join(
        &self,
        netdev: &str,
        rename: Option<&str>,
        bridge: &str,
        mtu: Option<u32>,
        vif: &str,
    ) -> Result<()> {
        let index = self.index(netdev)?;
        let mtu = mtu.or_else(|| self.number(bridge, "mtu"));
        let mut steps = vec![Change::Up(false)];
        steps.extend(rename.map(|n| Change::Name(n.into())));
        steps.push(Change::Address(PORT_MAC));
        steps.extend(mtu.map(Change::Mtu));
        steps.extend([Change::Bridge(self.index(bridge)?), Change::Up(true)]);
        for step in &steps {
            self.links.change(index, step).map_err(|e| {
                let what = match step {
                    Change::Name(n) => format!("naming {netdev} {n}"),
                    Change::Mtu(m) => format!("giving {netdev} MTU {m}"),
                    Change::Address(a) => format!("giving {netdev} address {a}"),
                    Change::Bridge(_) => format!("putting {netdev} on bridge {bridge}"),
                    Change::Up(true) => format!("bringing {netdev} up"),
                    Change::Up(false) => format!("bringing {netdev} down"),
                };
                let error = Error::new(format!("{vif}: {what}: {e}"));
                match step {
                    Change::Name(_) => error.hint("choose another vifname"),
                    Change::Mtu(_) => error.hint("choose an MTU that the back end carries"),
                    _ => error.hint("dmesg may say more"),
                }
            })?;
        }
        Ok(())
    }

    /// Whether an interface belongs to this back end.
    pub fn is_back_end(&self, name: &str, h: &crate::Handle) -> bool {
        let device = std::fs::read_link(self.dir.join(name).join("device")).ok();
        let wanted = format!("{}-{}-{}", h.kind, h.dom.0, h.id);
        device.is_some_and(|d| d.file_name().is_some_and(|n| *n == *wanted))
    }

    /// Takes an interface off its bridge and down, if it is still there.
    pub fn leave(&self, netdev: &str) {
        let Some(index) = self.number(netdev, "ifindex") else {
            return;
        };
        // The kernel does the same when the interface goes, which may be right now.
        for step in [Change::Up(false), Change::Bridge(0)] {
            let _ = self.links.change(index, &step);
        }
    }
}
