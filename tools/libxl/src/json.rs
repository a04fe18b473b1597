//! `xl list -l`: a domain's configuration as JSON, with libxl's field names.
use crate::{Disk, DomainConfig, Host, Result, Vif};
use serde_json::{Map, Value, json};
use xen_abi::DomId;

impl Host<'_> {
    /// The record of one domain: `domid` and `config`.
    pub fn json(&self, dom: DomId) -> Result<Value> {
        let info = self.info(dom)?;
        let config = match self.saved_config(dom)? {
            Some(c) => c.json(),
            // Not made by us, such as dom0: what can be asked for.
            None => {
                let kind = if info.state.hvm { "hvm" } else { "pv" };
                let name = self.name(dom)?.unwrap_or_else(|| {
                    if dom == DomId::DOM0 {
                        "Domain-0".into()
                    } else {
                        String::new()
                    }
                });
                json!({
                    "c_info": { "type": kind, "name": name, "uuid": crate::Uuid(info.handle).to_string() },
                    "b_info": {
                        "max_vcpus": info.max_vcpu_id.map_or(0, |m| m + 1),
                        "max_memkb": info.max_pages.saturating_mul(4),
                        "target_memkb": info.tot_pages * 4,
                        "sched_params": {},
                        format!("type.{kind}"): {},
                    },
                })
            }
        };
        Ok(json!({ "domid": dom.0, "config": config }))
    }
}

impl DomainConfig {
    /// The `config` part.
    pub fn json(&self) -> Value {
        let mut b_info = Map::new();
        let mut put = |k: &str, v: Value| drop(b_info.insert(k.into(), v));
        put("max_vcpus", json!(self.max_vcpus));
        put("avail_vcpus", json!((0..self.vcpus).collect::<Vec<_>>()));
        put("max_memkb", json!(self.maxmem_kib));
        put("target_memkb", json!(self.memory_kib));
        put("sched_params", json!({}));
        put("kernel", json!(self.kernel));
        if let Some(r) = &self.ramdisk {
            put("ramdisk", json!(r));
        }
        put("cmdline", json!(self.cmdline));
        put("type.pv", json!({}));
        put("arch_arm", json!({}));
        put("arch_x86", json!({}));
        let mut all = Map::new();
        let mut put = |k: &str, v: Value| drop(all.insert(k.into(), v));
        put(
            "c_info",
            json!({ "type": "pv", "name": self.name, "uuid": self.uuid.to_string() }),
        );
        put("b_info", Value::Object(b_info));
        if !self.disks.is_empty() {
            put("disks", self.disks.iter().map(Disk::json).collect());
        }
        if !self.vifs.is_empty() {
            put(
                "nics",
                self.vifs
                    .iter()
                    .enumerate()
                    .map(|(i, v)| nic(i, v))
                    .collect(),
            );
        }
        let a = &self.actions;
        for (key, action) in [
            ("on_poweroff", a.poweroff),
            ("on_reboot", a.reboot),
            ("on_watchdog", a.watchdog),
            ("on_crash", a.crash),
            ("on_soft_reset", a.soft_reset),
        ] {
            put(key, json!(action.name().replace('-', "_")));
        }
        Value::Object(all)
    }
}

impl Disk {
    /// Its record.
    pub fn json(&self) -> Value {
        let mut disk = Map::new();
        let mut put = |k: &str, v: Value| drop(disk.insert(k.into(), v));
        if !self.target.is_empty() {
            put("pdev_path", json!(self.target));
        }
        put("vdev", json!(self.vdev.name));
        if let Some(b) = &self.backendtype {
            put("backend", json!(b));
        }
        put("format", json!(self.format.name()));
        if let Some(s) = &self.script {
            put("script", json!(s));
        }
        // As libxl prints them: what is as usual is left out.
        let usual = self.writable;
        for (key, there) in [
            ("removable", self.cdrom),
            ("readwrite", self.writable),
            ("is_cdrom", self.cdrom),
        ] {
            if there {
                put(key, json!(1));
            }
        }
        if self.direct_io_safe {
            put("direct_io_safe", json!(true));
        }
        if self.discard != usual {
            put(
                "discard_enable",
                json!(if self.discard { "True" } else { "False" }),
            );
        }
        Value::Object(disk)
    }
}

fn nic(devid: usize, v: &Vif) -> Value {
    let mut nic = Map::new();
    nic.insert("devid".into(), json!(devid));
    let optional = [
        ("mac", v.mac.map(|m| m.to_string())),
        ("bridge", v.bridge.clone()),
        ("ip", v.ip.clone()),
    ];
    nic.extend(
        optional
            .into_iter()
            .filter_map(|(k, v)| v.map(|v| (k.to_string(), json!(v)))),
    );
    Value::Object(nic)
}
