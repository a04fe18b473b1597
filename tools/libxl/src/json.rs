//! `xl list -l`: a domain's configuration as JSON, with libxl's field names, order and omissions.
use crate::cfg::{self, Cfg, Diagnostics};
use crate::{Action, CpuList, Disk, DomainConfig, GuestKind, Host, Result, Vif};
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

/// Fields of a record, in their order.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.into(), value);
    }

    /// An empty list is left out.
    fn list(&mut self, key: &str, items: impl Iterator<Item = Value>) {
        let items: Vec<Value> = items.collect();
        if !items.is_empty() {
            self.put(key, items.into());
        }
    }
}

/// What the configuration says itself: of some keys libxl writes the value only then, were it the usual one.
struct Given(Cfg);

impl Given {
    fn of(config: &DomainConfig) -> Given {
        let mut unheard = Diagnostics::default();
        Given(cfg::parse(
            "kept configuration",
            &config.source,
            &mut unheard,
        ))
    }

    fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }
}

impl DomainConfig {
    /// The `config` part of a domain to be.
    pub fn json(&self) -> Value {
        self.record(None)
    }

    fn record(&self, running: Option<Running>) -> Value {
        let given = Given::of(self);
        let mut all = Fields::default();
        all.put("c_info", self.c_info(running.is_some(), &given));
        all.put("b_info", self.b_info(running, &given));
        all.list("disks", self.disks.iter().map(Disk::json));
        all.list("nics", self.vifs.iter().enumerate().map(|(i, v)| nic(i, v)));
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
                let name = match action {
                    Action::RenameRestart => "restart_rename".into(),
                    other => other.name().replace('-', "_"),
                };
                all.put(key, json!(name));
            }
        }
        Value::Object(all.0)
    }

    fn c_info(&self, running: bool, given: &Given) -> Value {
        let mut c = Fields::default();
        c.put("type", json!(self.kind.name()));
        if let (true, GuestKind::Pvh) = (given.has("hap"), self.kind) {
            c.put("hap", word(true));
        }
        c.put("name", json!(self.name));
        if running {
            // No particular number was asked for.
            c.put("domid", json!(u32::MAX));
        }
        c.put("uuid", json!(self.uuid.to_string()));
        if let Some(pool) = &self.shares.pool {
            c.put("pool_name", json!(pool));
        }
        c.put("run_hotplug_scripts", word(true));
        Value::Object(c.0)
    }

    fn b_info(&self, running: Option<Running>, given: &Given) -> Value {
        let mut b = Fields::default();
        let alive = running.is_some();
        let (online, sched) = match running {
            Some(r) => (r.online, r.sched),
            None => ((0..self.vcpus).collect(), self.wanted_share()),
        };
        self.vcpu_fields(&mut b, online, alive);
        self.memory_and_clock(&mut b, alive);
        self.limits(&mut b, given);
        b.put("sched_params", sched);
        self.hardware_fields(&mut b);
        b.put("claim_mode", word(self.shares.claim.unwrap_or(true)));
        if given.has("max_event_channels") {
            b.put("event_channels", json!(self.max_event_channels));
        }
        self.image_fields(&mut b, given);
        b.put(&format!("type.{}", self.kind.name()), json!({}));
        b.put("arch_arm", json!({}));
        let relaxed = if alive {
            json!({ "msr_relaxed": "False" })
        } else {
            json!({})
        };
        b.put("arch_x86", relaxed);
        Value::Object(b.0)
    }

    fn vcpu_fields(&self, b: &mut Fields, online: Vec<u32>, alive: bool) {
        b.put("max_vcpus", json!(self.max_vcpus));
        b.put("avail_vcpus", json!(online));
        for (key, lists) in [
            ("vcpu_hard_affinity", &self.cpus),
            ("vcpu_soft_affinity", &self.cpus_soft),
        ] {
            if !lists.is_empty() {
                b.put(key, affinity(lists));
            }
        }
        let pinned = !self.cpus.is_empty() || !self.cpus_soft.is_empty();
        if pinned && !alive {
            b.put("numa_placement", word(false));
        }
    }

    fn memory_and_clock(&self, b: &mut Fields, alive: bool) {
        if let Some(mode) = ["", "always_emulate", "native"].get(self.tsc_mode as usize)
            && !mode.is_empty()
        {
            b.put("tsc_mode", json!(mode));
        }
        b.put("max_memkb", json!(self.maxmem_kib));
        b.put("target_memkb", json!(self.memory_kib));
        if alive {
            b.put("video_memkb", json!(0));
        }
        if let Some(mib) = self.paging_mib {
            b.put("shadow_memkb", json!(u64::from(mib) * 1024));
        }
        if self.shares.time_offset != 0 {
            // libxl's field has no sign.
            b.put("rtc_timeoffset", json!(self.shares.time_offset as u32));
        }
        if self.shares.localtime {
            b.put("localtime", word(true));
        }
    }

    fn limits(&self, b: &mut Fields, given: &Given) {
        if given.has("nomigrate") {
            b.put("disable_migrate", word(self.nomigrate));
        }
        if !self.cpuid.is_empty() {
            b.put("cpuid", self.cpuid.json());
        }
        if self.max_grant_frames >= 0 {
            b.put("max_grant_frames", json!(self.max_grant_frames));
        }
        if self.max_maptrack_frames >= 0 {
            b.put("max_maptrack_frames", json!(self.max_maptrack_frames));
        }
        if let Some(version) = self.max_grant_version {
            b.put("max_grant_version", json!(version));
        }
    }

    fn hardware_fields(&self, b: &mut Fields) {
        let hw = &self.hardware;
        let ports = hw.ports.iter();
        let frames = hw.frames.iter();
        b.list(
            "ioports",
            ports.map(|(first, n)| json!({ "first": first, "number": n })),
        );
        b.list("irqs", hw.irqs.iter().map(|irq| json!(irq)));
        b.list(
            "iomem",
            frames.map(|(start, n)| json!({ "start": start, "number": n })),
        );
    }

    fn image_fields(&self, b: &mut Fields, given: &Given) {
        // Of a guest with a boot loader only that knows.
        if !self.kernel.as_os_str().is_empty() {
            b.put("kernel", json!(self.kernel));
        }
        b.put("cmdline", json!(self.cmdline));
        if let Some(r) = &self.ramdisk {
            b.put("ramdisk", json!(r));
        }
        if given.has("acpi") {
            b.put("acpi", word(self.acpi));
        }
        if let Some(boot) = &self.bootloader {
            b.put("bootloader", json!(boot.program));
            b.list("bootloader_args", boot.args.iter().map(|a| json!(a)));
        }
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
fn affinity(lists: &[CpuList]) -> Value {
    // As many as libxl has in its smallest map.
    let one = |l: &CpuList| match l.resolve(&vec![0; l.highest() as usize / 8 * 8 + 8]) {
        Ok(map) => map.iter().collect::<Vec<u32>>(),
        Err(_) => vec![],
    };
    json!(lists.iter().map(one).collect::<Vec<_>>())
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
        for (key, value) in [("discard_enable", self.discard), ("trusted", self.trusted)] {
            if let Some(on) = value {
                put(key, word(on));
            }
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
    let mut nic = Fields::default();
    nic.put("devid", json!(devid));
    if let Some(mtu) = v.mtu {
        nic.put("mtu", json!(mtu));
    }
    let mac = v.mac.map(|m| m.to_string());
    for (key, text) in [
        ("model", &v.model),
        ("mac", &mac),
        ("ip", &v.ip),
        ("bridge", &v.bridge),
        ("ifname", &v.vifname),
        ("script", &v.script),
    ] {
        if let Some(text) = text {
            nic.put(key, json!(text));
        }
    }
    if let Some((bytes, usecs)) = v.rate {
        nic.put("rate_bytes_per_interval", json!(bytes));
        nic.put("rate_interval_usecs", json!(usecs));
    }
    if let Some(device) = &v.gatewaydev {
        nic.put("gatewaydev", json!(device));
    }
    if let Some(trusted) = v.trusted {
        nic.put("trusted", word(trusted));
    }
    Value::Object(nic.0)
}

#[cfg(test)]
mod tests {
    use crate::cfg::{Diagnostics, parse};

    fn json(text: &str) -> serde_json::Value {
        let mut d = Diagnostics::default();
        let config = crate::DomainConfig::from_cfg(&parse("g", text, &mut d), &mut d);
        config.unwrap().json()
    }

    #[test]
    fn what_is_configured_is_told() {
        let b = json(
            "name='g'\nbootloader='pygrub'\nbootloader_args='-q -x'\nmemory=64\nnomigrate=0\nacpi=1\nmax_event_channels=1023\n\
             max_grant_version=1\nshadow_memory=2\nrtc_timeoffset=-60\nioports=['70-71']\nirqs=[8]\niomem=['fed00,1']\n\
             cpuid='host,sse3=0,avx2=s'\n",
        )["b_info"]
            .to_string();
        assert_eq!(
            b,
            r#"{"max_vcpus":1,"avail_vcpus":[0],"max_memkb":65536,"target_memkb":65536,"shadow_memkb":2048,"#
                .to_owned()
                + r#""rtc_timeoffset":4294967236,"disable_migrate":"False","#
                + r#""cpuid":{"cpuid":[{"leaf":1,"ecx":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0"},"#
                + r#"{"leaf":7,"subleaf":0,"ebx":"xxxxxxxxxxxxxxxxxxxxxxxxxxkxxxxx"}],"msr":[]},"#
                + r#""max_grant_version":1,"sched_params":{},"ioports":[{"first":112,"number":2}],"irqs":[8],"#
                + r#""iomem":[{"start":1043712,"number":1}],"claim_mode":"True","event_channels":1023,"cmdline":"","acpi":"True","#
                + r#""bootloader":"pygrub","bootloader_args":["-q","-x"],"type.pv":{},"arch_arm":{},"arch_x86":{}}"#
        );
        let vif = crate::Vif::parse("mac=00:16:3e:01:02:03,trusted=0,mtu=1400,bridge=br0").unwrap();
        assert_eq!(
            vif.json().to_string(),
            r#"{"devid":0,"mtu":1400,"mac":"00:16:3e:01:02:03","bridge":"br0","trusted":"False"}"#
        );
    }

    #[test]
    fn a_configuration_as_libxl_writes_it() {
        let text = "name='guest'\nkernel='/k'\nmemory=128\nvcpus=1\nmaxvcpus=2\ncpus='0'\ncpu_weight=300\nlocaltime=1\n\
                    uuid='05043ff8-e6df-11f1-bb59-1dfc751db053'\non_poweroff='preserve'\n";
        assert_eq!(
            json(text).to_string(),
            r#"{"c_info":{"type":"pv","name":"guest","uuid":"05043ff8-e6df-11f1-bb59-1dfc751db053","run_hotplug_scripts":"True"},"#
                .to_owned()
                + r#""b_info":{"max_vcpus":2,"avail_vcpus":[0],"vcpu_hard_affinity":[[0],[0]],"numa_placement":"False","#
                + r#""max_memkb":131072,"target_memkb":131072,"localtime":"True","sched_params":{"weight":300},"#
                + r#""claim_mode":"True","kernel":"/k","cmdline":"","type.pv":{},"arch_arm":{},"arch_x86":{}},"#
                + r#""on_poweroff":"preserve","on_reboot":"restart","on_soft_reset":"soft_reset"}"#
        );
    }
}
