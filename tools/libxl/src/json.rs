//! `xl list -l`: a domain's configuration as JSON, with libxl's field names, order and omissions.
use crate::{Action, CpuList, Disk, DomainConfig, Host, Result, Vif};
use serde_json::{Map, Value, json};
use xen_abi::DomId;
use xenctrl::DomainInfo;

/// libxl's booleans are words.
fn word(b: bool) -> Value {
    json!(if b { "True" } else { "False" })
}

impl Host<'_> {
    /// The record of one domain: `domid` and `config`.
    pub fn json(&self, dom: DomId) -> Result<Value> {
        let info = self.info(dom)?;
        let sched = self.sched_json(dom);
        let config = match self.saved_config(dom)? {
            Some(mut c) => {
                // What has changed since it was made.
                if let Some(name) = self.name(dom)? {
                    c.name = name;
                }
                c.memory_kib = self.target(dom).unwrap_or(c.memory_kib);
                c.maxmem_kib = self.limit(dom).unwrap_or(c.maxmem_kib);
                let running = Running {
                    sched,
                    online: self.online(dom, &info),
                };
                c.record(Some(running))
            }
            // Not made by us, such as dom0: what can be asked for.
            None => self.unmade(&info, sched)?,
        };
        Ok(json!({ "domid": dom.0, "config": config }))
    }

    fn unmade(&self, info: &DomainInfo, sched: Value) -> Result<Value> {
        let kind = if info.state.hvm { "hvm" } else { "pv" };
        let dom0 = if info.domid == DomId::DOM0 {
            "Domain-0"
        } else {
            ""
        };
        let name = self.name(info.domid)?.unwrap_or_else(|| dom0.into());
        let mut c_info = Map::new();
        c_info.insert("type".into(), json!(kind));
        c_info.insert("name".into(), json!(name));
        if info.handle != [0; 16] {
            c_info.insert("uuid".into(), json!(crate::Uuid(info.handle).to_string()));
        }
        Ok(json!({
            "c_info": c_info,
            "b_info": {
                "max_memkb": info.max_pages.saturating_mul(4),
                "target_memkb": self.target(info.domid).unwrap_or(info.tot_pages * 4),
                "sched_params": sched,
                format!("type.{kind}"): {},
                "arch_arm": {},
                "arch_x86": {},
            },
        }))
    }

    fn sched_json(&self, dom: DomId) -> Value {
        match self.hv.share(dom) {
            Ok(p) => json!({ "sched": "credit2", "weight": p.weight, "cap": p.cap }),
            Err(_) => json!({}),
        }
    }
}

/// What only a living domain has.
struct Running {
    sched: Value,
    online: Vec<u32>,
}

impl DomainConfig {
    /// The `config` part of a domain to be.
    pub fn json(&self) -> Value {
        self.record(None)
    }

    fn record(&self, running: Option<Running>) -> Value {
        let mut all = Map::new();
        let mut put = |k: &str, v: Value| drop(all.insert(k.into(), v));
        put("c_info", self.c_info(running.is_some()));
        put("b_info", self.b_info(running));
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
            // That one goes without saying.
            if action != Action::Destroy {
                put(key, json!(action.name().replace('-', "_")));
            }
        }
        Value::Object(all)
    }

    fn c_info(&self, running: bool) -> Value {
        let mut c = Map::new();
        let mut put = |k: &str, v: Value| drop(c.insert(k.into(), v));
        put("type", json!(self.kind.name()));
        put("name", json!(self.name));
        if running {
            // No particular number was asked for.
            put("domid", json!(u32::MAX));
        }
        put("uuid", json!(self.uuid.to_string()));
        if let Some(pool) = &self.shares.pool {
            put("pool_name", json!(pool));
        }
        put("run_hotplug_scripts", word(true));
        Value::Object(c)
    }

    fn b_info(&self, running: Option<Running>) -> Value {
        let mut b = Map::new();
        let mut put = |k: &str, v: Value| drop(b.insert(k.into(), v));
        let alive = running.is_some();
        let (online, sched) = match running {
            Some(r) => (r.online, r.sched),
            None => ((0..self.vcpus).collect(), self.wanted_share()),
        };
        put("max_vcpus", json!(self.max_vcpus));
        put("avail_vcpus", json!(online));
        for (key, lists) in [
            ("vcpu_hard_affinity", &self.cpus),
            ("vcpu_soft_affinity", &self.cpus_soft),
        ] {
            if !lists.is_empty() {
                put(key, affinity(lists, self.max_vcpus));
            }
        }
        let pinned = !self.cpus.is_empty() || !self.cpus_soft.is_empty();
        if pinned && !alive {
            put("numa_placement", word(false));
        }
        if let Some(mode) = ["", "always_emulate", "native"].get(self.tsc_mode as usize)
            && !mode.is_empty()
        {
            put("tsc_mode", json!(mode));
        }
        put("max_memkb", json!(self.maxmem_kib));
        put("target_memkb", json!(self.memory_kib));
        if alive {
            put("video_memkb", json!(0));
        }
        if self.shares.time_offset != 0 {
            put("rtc_timeoffset", json!(self.shares.time_offset));
        }
        if self.shares.localtime {
            put("localtime", word(true));
        }
        if self.max_grant_frames >= 0 {
            put("max_grant_frames", json!(self.max_grant_frames));
        }
        if self.max_maptrack_frames >= 0 {
            put("max_maptrack_frames", json!(self.max_maptrack_frames));
        }
        put("sched_params", sched);
        put("claim_mode", word(self.shares.claim.unwrap_or(true)));
        put("kernel", json!(self.kernel));
        put("cmdline", json!(self.cmdline));
        if let Some(r) = &self.ramdisk {
            put("ramdisk", json!(r));
        }
        put(&format!("type.{}", self.kind.name()), json!({}));
        put("arch_arm", json!({}));
        let relaxed = if alive {
            json!({ "msr_relaxed": "False" })
        } else {
            json!({})
        };
        put("arch_x86", relaxed);
        Value::Object(b)
    }

    fn wanted_share(&self) -> Value {
        let mut s = Map::new();
        for (key, value) in [("weight", self.shares.weight), ("cap", self.shares.cap)] {
            if let Some(v) = value {
                s.insert(key.into(), json!(v));
            }
        }
        Value::Object(s)
    }
}

/// A list of CPUs for each vcpu, as far as numbers go without knowing the machine.
fn affinity(lists: &[CpuList], vcpus: u32) -> Value {
    // As many as libxl has in its smallest map.
    let one = |l: &CpuList| match l.resolve(&vec![0; l.highest() as usize / 8 * 8 + 8]) {
        Ok(map) => map.iter().collect::<Vec<u32>>(),
        Err(_) => vec![],
    };
    match lists {
        [all] => json!(vec![one(all); vcpus as usize]),
        _ => json!(lists.iter().map(one).collect::<Vec<_>>()),
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

impl Vif {
    /// Its record; without a number of its own, as the first.
    pub fn json(&self) -> Value {
        nic(0, self)
    }
}

fn nic(position: usize, v: &Vif) -> Value {
    let devid = v.devid.map_or(position, |d| d as usize);
    let mut nic = Map::new();
    nic.insert("devid".into(), json!(devid));
    let optional = [
        ("mac", v.mac.map(|m| m.to_string())),
        ("ip", v.ip.clone()),
        ("bridge", v.bridge.clone()),
        ("ifname", v.vifname.clone()),
        ("script", v.script.clone()),
        ("model", v.model.clone()),
        ("gatewaydev", v.gatewaydev.clone()),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(k, v)| v.map(|v| (k.to_string(), json!(v))));
    nic.extend(given);
    if let Some(mtu) = v.mtu {
        nic.insert("mtu".into(), json!(mtu));
    }
    if let Some((bytes, usecs)) = v.rate {
        nic.insert("rate_bytes_per_interval".into(), json!(bytes));
        nic.insert("rate_interval_usecs".into(), json!(usecs));
    }
    Value::Object(nic)
}

#[cfg(test)]
mod tests {
    use crate::cfg::{Diagnostics, parse};

    #[test]
    fn a_configuration_as_libxl_writes_it() {
        let mut d = Diagnostics::default();
        let text = "name='guest'\nkernel='/k'\nmemory=128\nvcpus=1\nmaxvcpus=2\ncpus='0'\ncpu_weight=300\nlocaltime=1\n\
                    uuid='05043ff8-e6df-11f1-bb59-1dfc751db053'\non_poweroff='preserve'\n";
        let config = crate::DomainConfig::from_cfg(&parse("g", text, &mut d), &mut d).unwrap();
        assert_eq!(
            config.json().to_string(),
            r#"{"c_info":{"type":"pv","name":"guest","uuid":"05043ff8-e6df-11f1-bb59-1dfc751db053","run_hotplug_scripts":"True"},"#
                .to_owned()
                + r#""b_info":{"max_vcpus":2,"avail_vcpus":[0],"vcpu_hard_affinity":[[0],[0]],"numa_placement":"False","#
                + r#""max_memkb":131072,"target_memkb":131072,"localtime":"True","sched_params":{"weight":300},"#
                + r#""claim_mode":"True","kernel":"/k","cmdline":"","type.pv":{},"arch_arm":{},"arch_x86":{}},"#
                + r#""on_poweroff":"preserve","on_reboot":"restart","on_soft_reset":"soft_reset"}"#
        );
    }
}
