//! [`text_of_json`]: the configuration that another `xl` saved as JSON, in the grammar of `xl.cfg`.
//!
//! The other way round of [`crate::json`], whose field names these are.
use crate::cfg::{self, Cfg, Pos, Setting, ValueKind};
use serde_json::Value;

/// Text that makes the same domain. What it cannot say is left out.
pub fn text_of_json(config: &Value) -> String {
    let mut out = Settings(Cfg::default());
    out.identity(config);
    out.sizes(&config["b_info"]);
    out.clock_and_rights(&config["b_info"]);
    out.processors(&config["b_info"]);
    out.list("disk", &config["disks"], disk);
    out.list("vif", &config["nics"], vif);
    out.0.to_text()
}

/// What was read so far.
struct Settings(Cfg);

fn atom(kind: ValueKind) -> cfg::Value {
    let pos = Pos::nowhere();
    cfg::Value { pos, kind }
}

impl Settings {
    fn put(&mut self, key: &str, kind: ValueKind) {
        self.0.settings.push(Setting {
            key: key.into(),
            pos: Pos::nowhere(),
            value: atom(kind),
        });
    }

    fn text(&mut self, key: &str, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.put(key, ValueKind::Str(text.into()));
        }
    }

    fn number(&mut self, key: &str, value: Option<u64>) {
        if let Some(n) = value {
            self.put(key, ValueKind::Num(n.to_string()));
        }
    }

    /// A switch, if it is not left open.
    fn switch(&mut self, key: &str, value: &Value) {
        if !value.is_null() {
            self.number(key, Some(is_set(value).into()));
        }
    }

    /// Text for each item, if there are any.
    fn list(&mut self, key: &str, items: &Value, item: fn(&Value) -> String) {
        let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
        let all: Vec<_> = items
            .iter()
            .map(|i| atom(ValueKind::Str(item(i))))
            .filter(|v| v.as_str() != Some(""))
            .collect();
        if !all.is_empty() {
            self.put(key, ValueKind::List(all));
        }
    }

    /// Who it is, what it runs, and what happens when it ends.
    fn identity(&mut self, config: &Value) {
        let (c, b) = (&config["c_info"], &config["b_info"]);
        for (key, value) in [
            ("type", &c["type"]),
            ("name", &c["name"]),
            ("uuid", &c["uuid"]),
            ("pool", &c["pool_name"]),
            ("kernel", &b["kernel"]),
            ("ramdisk", &b["ramdisk"]),
            ("cmdline", &b["cmdline"]),
            ("bootloader", &b["bootloader"]),
            ("tsc_mode", &b["tsc_mode"]),
        ] {
            self.text(key, value);
        }
        self.list("bootloader_args", &b["bootloader_args"], |a| {
            a.as_str().unwrap_or_default().into()
        });
        for key in [
            "on_poweroff",
            "on_reboot",
            "on_crash",
            "on_watchdog",
            "on_soft_reset",
        ] {
            let word = match config[key].as_str() {
                // That is what is not said.
                None => "destroy".into(),
                Some("restart_rename") => "rename-restart".into(),
                Some(word) => word.replace('_', "-"),
            };
            self.put(key, ValueKind::Str(word));
        }
    }

    fn sizes(&mut self, b: &Value) {
        let mib = |v: &Value| v.as_u64().map(|kib| kib.div_ceil(1024));
        let online = b["avail_vcpus"].as_array().map(|l| l.len() as u64);
        for (key, value) in [
            ("memory", mib(&b["target_memkb"])),
            ("maxmem", mib(&b["max_memkb"])),
            ("shadow_memory", mib(&b["shadow_memkb"])),
            ("maxvcpus", b["max_vcpus"].as_u64()),
            (
                "vcpus",
                online.filter(|n| *n != 0).or(b["max_vcpus"].as_u64()),
            ),
            ("cpu_weight", b["sched_params"]["weight"].as_u64()),
            ("cap", b["sched_params"]["cap"].as_u64()),
            // Not `max_grant_version`: it may be but the most that the other hypervisor had, which no guest needs.
            ("max_grant_frames", b["max_grant_frames"].as_u64()),
            ("max_maptrack_frames", b["max_maptrack_frames"].as_u64()),
            ("max_event_channels", b["event_channels"].as_u64()),
        ] {
            self.number(key, value);
        }
    }

    fn clock_and_rights(&mut self, b: &Value) {
        self.switch("localtime", &b["localtime"]);
        self.switch("nomigrate", &b["disable_migrate"]);
        self.switch("claim_mode", &b["claim_mode"]);
        self.switch("acpi", &b["acpi"]);
        // An offset below zero is stored as a great number.
        if let Some(seconds) = b["rtc_timeoffset"].as_u64() {
            let seconds = seconds as u32 as i32;
            self.put("rtc_timeoffset", ValueKind::Num(seconds.to_string()));
        }
        self.list("ioports", &b["ioports"], |p| {
            let (first, count) = (p["first"].as_u64(), p["number"].as_u64());
            let first = first.unwrap_or(0);
            let last = first.saturating_add(count.unwrap_or(1)).saturating_sub(1);
            format!("{first:x}-{last:x}")
        });
        self.list("iomem", &b["iomem"], |m| {
            let (start, count) = (m["start"].as_u64(), m["number"].as_u64());
            format!("{:x},{:x}", start.unwrap_or(0), count.unwrap_or(0))
        });
        self.list("irqs", &b["irqs"], |i| {
            i.as_u64().map(|n| n.to_string()).unwrap_or_default()
        });
    }

    /// Where its vcpus run, and what they show.
    fn processors(&mut self, b: &Value) {
        let vcpus = b["max_vcpus"].as_u64().unwrap_or(1);
        for (key, field) in [
            ("cpus", "vcpu_hard_affinity"),
            ("cpus_soft", "vcpu_soft_affinity"),
        ] {
            let lists = b[field].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut each: Vec<String> = lists.iter().map(cpus).collect();
            match &each[..] {
                [] => {}
                [first, rest @ ..]
                    if each.len() as u64 >= vcpus && rest.iter().all(|l| l == first) =>
                {
                    self.put(key, ValueKind::Str(first.clone()));
                }
                _ => {
                    // Else a single list would be for all of them.
                    if (each.len() as u64) < vcpus {
                        each.push("all".into());
                    }
                    let all = each.into_iter().map(|l| atom(ValueKind::Str(l)));
                    self.put(key, ValueKind::List(all.collect()));
                }
            }
        }
        // Once the leaves alone, later an object of leaves and MSRs.
        let leaves = match &b["cpuid"] {
            object @ Value::Object(_) => &object["cpuid"],
            leaves => leaves,
        };
        self.list("cpuid", leaves, leaf);
    }
}

/// What is true in one of libxl's ways to say so.
fn is_set(v: &Value) -> bool {
    v.as_bool() == Some(true) || v.as_u64().is_some_and(|n| n != 0) || v.as_str() == Some("True")
}

/// What is said one way or the other.
fn stated(v: &Value) -> Option<bool> {
    match v.as_str() {
        Some("True") => Some(true),
        Some("False") => Some(false),
        _ => v.as_bool(),
    }
}

/// A list of CPUs; an empty one, which forbids nothing, is of all.
fn cpus(list: &Value) -> String {
    let numbers = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let numbers: Vec<String> = numbers
        .iter()
        .filter_map(|n| Some(n.as_u64()?.to_string()))
        .collect();
    match numbers.is_empty() {
        true => "all".into(),
        false => numbers.join(","),
    }
}

/// A leaf of `cpuid`: its registers have the same 32 characters there and here.
fn leaf(l: &Value) -> String {
    let subleaf = l["subleaf"].as_u64().map(|s| format!(",{s}"));
    let registers: Vec<String> = ["eax", "ebx", "ecx", "edx"]
        .iter()
        .filter_map(|r| Some(format!("{r}={}", l[*r].as_str()?)))
        .collect();
    match l["leaf"].as_u64() {
        Some(leaf) if !registers.is_empty() => {
            let subleaf = subleaf.unwrap_or_default();
            format!("{leaf}{subleaf}:{}", registers.join(","))
        }
        _ => String::new(),
    }
}

fn disk(d: &Value) -> String {
    let mut parts = Vec::new();
    for (key, field) in [
        ("vdev", "vdev"),
        ("format", "format"),
        ("backendtype", "backend"),
        ("backend", "backend_domname"),
        ("script", "script"),
    ] {
        if let Some(text) = d[field].as_str() {
            // "qdisk" and the like; what libxl leaves to itself has no name.
            if text != "unknown" {
                parts.push(format!("{key}={text}"));
            }
        }
    }
    parts.push(
        if is_set(&d["readwrite"]) {
            "access=rw"
        } else {
            "access=ro"
        }
        .into(),
    );
    if is_set(&d["is_cdrom"]) {
        parts.push("devtype=cdrom".into());
    }
    if is_set(&d["direct_io_safe"]) {
        parts.push("direct-io-safe".into());
    }
    for (field, on, off) in [
        ("discard_enable", "discard", "no-discard"),
        ("trusted", "trusted", "untrusted"),
    ] {
        if let Some(yes) = stated(&d[field]) {
            parts.push(if yes { on } else { off }.into());
        }
    }
    // Last: it takes all that follows.
    if let Some(path) = d["pdev_path"].as_str() {
        parts.push(format!("target={path}"));
    }
    parts.join(",")
}

fn vif(n: &Value) -> String {
    let mut parts = Vec::new();
    for (key, field) in [
        ("mac", "mac"),
        ("bridge", "bridge"),
        ("script", "script"),
        ("ip", "ip"),
        ("vifname", "ifname"),
        ("model", "model"),
        ("gatewaydev", "gatewaydev"),
        ("backend", "backend_domname"),
    ] {
        if let Some(text) = n[field].as_str().filter(|t| !t.is_empty()) {
            parts.push(format!("{key}={text}"));
        }
    }
    for (key, field) in [("devid", "devid"), ("mtu", "mtu")] {
        if let Some(number) = n[field].as_u64().filter(|n| *n != 0 || key == "devid") {
            parts.push(format!("{key}={number}"));
        }
    }
    let rate = |field: &str| n[field].as_u64().filter(|n| *n != 0);
    if let (Some(bytes), Some(usecs)) =
        (rate("rate_bytes_per_interval"), rate("rate_interval_usecs"))
    {
        let per_second = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(usecs));
        parts.push(format!("rate={per_second}B/s@{usecs}us"));
    }
    if let Some(yes) = stated(&n["trusted"]) {
        parts.push(if yes { "trusted" } else { "untrusted" }.into());
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DomainConfig;
    use crate::cfg::{Diagnostics, parse};
    use serde_json::json;

    fn read(text: &str) -> DomainConfig {
        let mut d = Diagnostics::default();
        let cfg = parse("t", text, &mut d);
        DomainConfig::from_cfg(&cfg, &mut d).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    const PLAIN: &str = "name='guest'\nmemory=128\nuuid='05043ff8-e6df-11f1-bb59-1dfc751db053'\nmax_event_channels=99\n";

    #[test]
    fn there_and_back() {
        let image = "kernel='/k'\nramdisk='/r'\ncmdline='a=\"b\\\\c\\''\nmaxmem=256\nvcpus=1\nmaxvcpus=2\n\
                    on_crash='coredump-restart'\non_watchdog='rename-restart'\ncpu_weight=300\ncpus=['0','1-2,^1']\n\
                    disk=['/a.img,raw,xvda,w,no-discard','/b.iso,raw,xvdb,cdrom,untrusted,no-discard']\n\
                    vif=['mac=00:16:3e:01:02:03,bridge=br0,rate=10Mb/s@20ms,trusted=0']\n";
        let boot = "bootloader='pygrub'\nbootloader_args=['-q','a b']\nnomigrate=1\nlocaltime=1\nrtc_timeoffset=-60\n\
                    cpus_soft='3'\nioports=['2f8-2ff','70']\nirqs=[4,5]\niomem=['fed00,10']\nvcpus=2\n\
                    cpuid='host,family=6,aes=0,avx512-ifma=k'\n";
        let pvh = "type='pvh'\nkernel='/k'\nacpi=0\nshadow_memory=12\nclaim_mode=0\n";
        for more in [image, boot, pvh] {
            let there = read(&format!("{PLAIN}{more}"));
            let text = text_of_json(&there.json());
            let back = read(&text);
            assert_eq!(back.json(), there.json(), "{text}");
            assert_eq!(back.disks, there.disks);
            assert_eq!((back.cpuid, back.hardware), (there.cpuid, there.hardware));
            assert_eq!(
                (back.bootloader, back.kernel),
                (there.bootloader, there.kernel)
            );
        }
    }

    #[test]
    fn what_only_others_write_is_read() {
        let text = text_of_json(&json!({
            "c_info": { "type": "pv", "name": "g" },
            "b_info": {
                "max_vcpus": 2,
                "target_memkb": 65536,
                "vcpu_hard_affinity": [[1]],
                "cpuid": [{ "leaf": 1, "ecx": format!("{:x<32}", "0") }, { "leaf": 2 }],
                "localtime": "False",
                "max_grant_version": 2,
                "kernel": "/k",
            },
            "on_crash": "restart_rename",
        }));
        let config = read(&text);
        assert!(text.contains("cpus = [ \"1\", \"all\" ]\n"), "{text}");
        assert!(!config.cpuid.is_empty() && !config.shares.localtime);
        assert_eq!(config.max_grant_version, None);
        assert_eq!(config.actions.crash, crate::Action::RenameRestart);
    }
}
