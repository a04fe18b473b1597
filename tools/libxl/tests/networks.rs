//! Network interfaces: what is refused before a domain exists, what is undone after, on a machine of a few lines.
mod common;

use common::tempdir::TempDir;
use common::{Machine, config, interface};
use libxl::{Host, Vif};
use std::os::unix::fs::PermissionsExt;

fn refused(host: &Host, more: &str) -> String {
    let c = config(more);
    let result = host.prepare(&c).map(drop);
    result.unwrap_err().to_string()
}

fn script(dir: &TempDir, name: &str, body: &str) -> String {
    let path = dir.0.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A host with a bridge, where the first domain's interface 0 will appear at once.
fn bridged(dir: &TempDir) {
    interface(dir, "xenbr0", 2, true);
    for (i, name) in ["vif1.0", "vif1.1", "vif2.0"].iter().enumerate() {
        interface(dir, name, 10 + i as u32, false);
    }
}

fn links(m: &Machine) -> Vec<String> {
    let calls = m.calls.borrow();
    calls
        .iter()
        .filter(|c| c.starts_with("link "))
        .cloned()
        .collect()
}

#[test]
fn an_interface_whose_attributes_come_after_its_name_is_waited_for() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let index = dir.0.join("sys/class/net/vif1.0/ifindex");
    std::fs::remove_file(&index).unwrap();
    let host = m.host(&dir);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            std::fs::write(&index, "10\n").unwrap();
        });
        host.create_and_start(&config("vif=['']")).unwrap();
    });
    assert_eq!(links(&m).last().unwrap(), "link 10 Up(true)");
}

#[test]
fn an_interface_is_named_and_put_on_its_bridge() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    host.create_and_start(&config(
        "vif=['vifname=fred,rate=10Mb/s,mac=00:16:3e:01:02:03']",
    ))
    .unwrap();
    assert_eq!(
        links(&m),
        [
            "link 10 Up(false)",
            "link 10 Name(\"fred\")",
            "link 10 Address(Mac([254, 255, 255, 255, 255, 255]))",
            "link 10 Mtu(1500)",
            "link 10 Bridge(2)",
            "link 10 Up(true)",
        ]
    );
    let node = |n: &str| {
        let path = format!("/local/domain/0/backend/vif/1/0/{n}");
        m.nodes.borrow().get(&path).map(|v| v.0.clone())
    };
    assert_eq!(node("rate").as_deref(), Some("62500,50000"));
    assert_eq!(node("bridge").as_deref(), Some("xenbr0"));
    assert_eq!(node("hotplug-status").as_deref(), Some("connected"));
    assert_eq!(node("script").as_deref(), Some(""));
}

#[test]
fn without_a_name_the_only_bridge_is_taken_and_others_are_listed() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    assert!(refused(&host, "vif=['']").contains("no bridge \"xenbr0\"; there is none"));
    interface(&dir, "lan", 2, true);
    assert!(host.prepare(&config("vif=['']")).is_ok());
    assert!(refused(&host, "vif=['bridge=wan']").contains("no bridge \"wan\"; there is lan"));
    interface(&dir, "dmz", 3, true);
    interface(&dir, "eth0", 4, false);
    let text = refused(&host, "vif=['']");
    assert!(text.contains("there are dmz, lan"), "{text}");
    assert!(refused(&host, "vif=['bridge=eth0']").contains("eth0 is no bridge"));
}

#[test]
fn addresses_and_names_that_clash_are_refused_beforehand() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let mac = "mac=00:16:3e:01:02:03";
    let twice = refused(&host, &format!("vif=['{mac}','{mac}']"));
    assert!(twice.contains("is the address of vif 0"), "{twice}");
    let first = format!("vif=['{mac},vifname=fred']");
    let dom = host.create_and_start(&config(&first)).unwrap();
    let before = m.snapshot();
    let other = |vif: &str| refused(&host, &format!("name='h'\nvif=['{vif}']"));
    assert_eq!(
        other(mac),
        "vif 0 (00:16:3e:01:02:03): 00:16:3e:01:02:03 is the address of vif 0 of domain g too \
         (give each its own mac=..., or leave mac out to have one made)"
    );
    assert!(other("vifname=fred").contains("vifname fred is that of vif 0 of domain g"));
    assert!(other("vifname=xenbr0").contains("has an interface xenbr0 already"));
    assert!(other("backend=driver").contains("back ends outside dom0"));
    assert_eq!(m.snapshot(), before);
    // On another bridge it disturbs nobody; and a dead domain sends nothing.
    interface(&dir, "lan", 3, true);
    assert!(
        host.prepare(&config(&format!("name='h'\nvif=['{mac},bridge=lan']")))
            .is_ok()
    );
    m.shut_down(dom, xenctrl::ShutdownReason::Crash);
    assert!(
        host.prepare(&config(&format!("name='h'\nvif=['{mac}']")))
            .is_ok()
    );
}

#[test]
fn whichever_step_fails_no_interface_is_left() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    let vif = Vif::default();
    host.attach_vif(dom, &vif).unwrap();
    host.detach_vif(dom, "0", true).unwrap();
    let before = m.snapshot();
    for n in 0.. {
        m.arm(n);
        let result = host.attach_vif(dom, &vif);
        if m.fail_at.take().is_some() {
            break;
        }
        // A failed step may be one that does not matter; then the interface is there.
        if result.is_ok() {
            host.detach_vif(dom, "0", true).unwrap();
        }
        assert_eq!(m.snapshot(), before, "step {n}");
        assert!(n < 200);
    }
}

#[test]
fn a_back_end_that_never_connects_and_a_guest_that_clings() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    m.no_backend.set(true);
    let text = host
        .attach_vif(dom, &Vif::default())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("vif 0 of d1: no back end took it on within"),
        "{text}"
    );
    assert!(host.interfaces(dom).unwrap().is_empty());
    m.no_backend.set(false);
    assert_eq!(host.attach_vif(dom, &Vif::default()).unwrap(), 0);
    m.connect(dom, "vif/0");
    m.clinging.set(true);
    let text = host.detach_vif(dom, "0", false).unwrap_err().to_string();
    assert!(text.contains("did not let it go"), "{text}");
    assert_eq!(host.interfaces(dom).unwrap().len(), 1);
    m.clinging.set(false);
    let mac = host.interfaces(dom).unwrap()[0].mac.clone();
    assert!(mac.starts_with("00:16:3e:"), "{mac}");
    host.detach_vif(dom, &mac.to_uppercase(), false).unwrap();
    let text = host.detach_vif(dom, "0", false).unwrap_err().to_string();
    assert!(
        text.contains("d1 has no interface 0; it has none"),
        "{text}"
    );
}

#[test]
fn scripts_that_fail_or_hang_leave_no_domain() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let first = host.create_and_start(&config("")).unwrap();
    host.destroy(first).unwrap();
    // Its domain would be the second.
    let before = m.snapshot();
    for (body, said) in [
        (
            "[ $1 = offline ] && exit 0\necho no such vlan; exit 3",
            "no such vlan",
        ),
        ("[ $1 = offline ] && exit 0\nsleep 60", "did not end within"),
    ] {
        for id in 2..5 {
            interface(&dir, &format!("vif{id}.0"), 20 + id, false);
        }
        let path = script(&dir, "vif-test", body);
        let c = config(&format!("vif=['script={path}']"));
        let text = host.create_and_start(&c).unwrap_err().to_string();
        assert!(
            text.contains("hotplug script") && text.contains(said),
            "{text}"
        );
        assert_eq!(m.snapshot(), before);
    }
    let text = refused(&host, "vif=['script=/no/such']");
    assert!(
        text.contains("hotplug script /no/such: No such file"),
        "{text}"
    );
}

#[test]
fn scripts_are_told_what_xl_tells_them() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let log = dir.0.join("log");
    let body = format!(
        "echo \"$* $XENBUS_TYPE $XENBUS_PATH $vif $netdev\" >>{}",
        log.display()
    );
    let path = script(&dir, "vif-test", &body);
    let c = config(&format!("vif=['script={path},gatewaydev=eth1']"));
    let dom = host.create_and_start(&c).unwrap();
    host.destroy(dom).unwrap();
    assert!(links(&m).is_empty());
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "online type_if=vif vif backend/vif/1/0 vif1.0 eth1\noffline type_if=vif vif backend/vif/1/0 vif1.0 eth1\n"
    );
}

#[test]
fn what_is_attached_is_there_after_a_reboot() {
    let (m, dir) = (Machine::new(), TempDir::new());
    bridged(&dir);
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("vif=['']")).unwrap();
    let first = host.interfaces(dom).unwrap();
    assert_eq!(
        host.attach_vif(dom, &Vif::parse("mtu=1400").unwrap())
            .unwrap(),
        1
    );
    host.detach_vif(dom, "0", true).unwrap();
    let kept = host.saved_config(dom).unwrap().unwrap().vifs;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].devid, kept[0].mtu), (Some(1), Some(1400)));
    assert_ne!(kept[0].mac.unwrap().to_string(), first[0].mac);
}
