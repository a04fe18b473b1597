//! [`text_of_json`]: the configuration that another `xl` saved as JSON, in the grammar of `xl.cfg`.
//!
//! The other way round of [`crate::json`], whose field names these are.
use serde_json::Value;
use std::fmt::Write;

/// Text that makes the same PV domain. What it cannot say is left out.
pub fn text_of_json(config: &Value) -> String {
    let (c, b) = (&config["c_info"], &config["b_info"]);
    let mut out = String::new();
    for (key, value) in [
        ("type", &c["type"]),
        ("name", &c["name"]),
        ("uuid", &c["uuid"]),
        ("pool", &c["pool_name"]),
        ("kernel", &b["kernel"]),
        ("ramdisk", &b["ramdisk"]),
        ("cmdline", &b["cmdline"]),
        ("tsc_mode", &b["tsc_mode"]),
    ] {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            setting(&mut out, key, &quoted(text));
        }
    }
    for key in [
        "on_poweroff",
        "on_reboot",
        "on_crash",
        "on_watchdog",
        "on_soft_reset",
    ] {
        // That is what is not said.
        let word = config[key].as_str().unwrap_or("destroy").replace('_', "-");
        setting(&mut out, key, &quoted(&word));
    }
    let mib = |v: &Value| v.as_u64().map(|kib| kib.div_ceil(1024));
    let online = b["avail_vcpus"].as_array().map(|l| l.len() as u64);
    for (key, value) in [
        ("memory", mib(&b["target_memkb"])),
        ("maxmem", mib(&b["max_memkb"])),
        ("maxvcpus", b["max_vcpus"].as_u64()),
        (
            "vcpus",
            online.filter(|n| *n != 0).or(b["max_vcpus"].as_u64()),
        ),
        ("cpu_weight", b["sched_params"]["weight"].as_u64()),
        ("cap", b["sched_params"]["cap"].as_u64()),
        ("max_grant_frames", b["max_grant_frames"].as_u64()),
        ("max_maptrack_frames", b["max_maptrack_frames"].as_u64()),
        ("max_event_channels", b["event_channels"].as_u64()),
    ] {
        if let Some(n) = value {
            setting(&mut out, key, &n.to_string());
        }
    }
    list(&mut out, "disk", &config["disks"], disk);
    list(&mut out, "vif", &config["nics"], vif);
    out
}

fn setting(out: &mut String, key: &str, value: &str) {
    // Writing to text does not fail.
    let _ = writeln!(out, "{key} = {value}");
}

/// As the grammar has it: there are no escapes, so that the quote is one that does not occur.
fn quoted(text: &str) -> String {
    match text.contains('"') {
        true => format!("'{}'", text.replace('\'', "")),
        false => format!("\"{text}\""),
    }
}

fn list(out: &mut String, key: &str, items: &Value, item: fn(&Value) -> String) {
    let Some(items) = items.as_array().filter(|i| !i.is_empty()) else {
        return;
    };
    let all: Vec<String> = items.iter().map(|i| quoted(&item(i))).collect();
    setting(out, key, &format!("[ {} ]", all.join(", ")));
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

fn disk(d: &Value) -> String {
    let mut parts = Vec::new();
    for (key, field) in [
        ("vdev", "vdev"),
        ("format", "format"),
        ("backendtype", "backend"),
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

    fn read(text: &str) -> DomainConfig {
        let mut d = Diagnostics::default();
        let cfg = parse("t", text, &mut d);
        DomainConfig::from_cfg(&cfg, &mut d).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn there_and_back() {
        let text = "name='guest'\nkernel='/k'\nramdisk='/r'\ncmdline='a=\"b\"'\nmemory=128\nmaxmem=256\nvcpus=1\nmaxvcpus=2\n\
                    uuid='05043ff8-e6df-11f1-bb59-1dfc751db053'\non_crash='coredump-restart'\ncpu_weight=300\n\
                    disk=['/a.img,raw,xvda,w','/b.iso,raw,xvdb,cdrom,untrusted,no-discard']\nvif=['mac=00:16:3e:01:02:03,bridge=br0,untrusted']\n";
        let there = read(text);
        let back = read(&text_of_json(&there.json()));
        assert_eq!(back.json(), there.json());
    }
}
