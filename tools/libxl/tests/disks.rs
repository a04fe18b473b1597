//! Disks: what is refused before a domain exists, what is undone after, on a machine of a few lines.
//!
//! Scripts stand for the disks here: they need neither loop devices nor block devices.
mod common;

use common::tempdir::TempDir;
use common::{Machine, config};
use libxl::{Disk, Host, VirtualDevice};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use xen_abi::DomId;

/// A block script in `dir`, and the specification of a disk that it provides.
fn scripted(dir: &TempDir, name: &str, body: &str, vdev: &str, rest: &str) -> String {
    let path = dir.0.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("script={},vdev={vdev}{rest}", path.display())
}

fn with_disks(specs: &[String]) -> libxl::DomainConfig {
    let list: Vec<String> = specs.iter().map(|s| format!("{s:?}")).collect();
    config(&format!("disk=[{}]", list.join(",")))
}

fn refused(host: &Host, specs: &[&str]) -> String {
    let specs: Vec<String> = specs.iter().map(|s| s.to_string()).collect();
    let c = with_disks(&specs);
    let result = host.prepare(&c).map(drop);
    result.unwrap_err().to_string()
}

#[test]
fn a_script_hears_what_xl_tells_it_and_the_nodes_are_xls() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let log = dir.0.join("log");
    let body = format!(
        "echo \"$* $XENBUS_PATH $XENBUS_TYPE $XENBUS_BASE_PATH $script\" >>{}",
        log.display()
    );
    let spec = scripted(&dir, "s", &body, "xvda", ",access=r,target=a:b");
    let before = m.snapshot();
    let dom = host.create_and_start(&with_disks(&[spec])).unwrap();
    let back = "/local/domain/0/backend/vbd/1/51712";
    for (node, value) in [
        ("params", "a:b"),
        ("mode", "r"),
        ("dev", "xvda"),
        ("type", "phy"),
        ("online", "1"),
        ("state", "2"),
        ("device-type", "disk"),
        ("discard-enable", "0"),
        ("frontend", "/local/domain/1/device/vbd/51712"),
    ] {
        assert_eq!(m.nodes.borrow()[&format!("{back}/{node}")].0, value);
    }
    assert_eq!(m.nodes.borrow()[back].1, "n0,r1");
    assert_eq!(
        m.nodes.borrow()["/local/domain/1/device/vbd/51712"].1,
        "n1,r0"
    );
    host.destroy(dom).unwrap();
    assert_eq!(m.snapshot(), before);
    let script = dir.0.join("s");
    let common = format!("backend/vbd/1/51712 vbd backend {}", script.display());
    let heard = std::fs::read_to_string(log).unwrap();
    assert_eq!(heard, format!("add {common}\nremove {common}\n"));
}

#[test]
fn what_cannot_work_is_refused_before_a_domain_exists() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let before = m.snapshot();
    let file = |name: &str, len: u64| {
        let path = dir.0.join(name);
        std::fs::File::create(&path).unwrap().set_len(len).unwrap();
        path.display().to_string()
    };
    let (empty, plain) = (file("empty", 0), file("plain", 4096));
    let folder = dir.0.display();
    for (specs, parts) in [
        (
            vec!["phy:/dev/vg0/root,xvda,w".to_string()],
            vec!["disk xvda (/dev/vg0/root)", "No such file", "lvs"],
        ),
        (
            vec![format!("file:{folder}/nope.img,sda1,w")],
            vec!["disk sda1", "nope.img", "truncate -s"],
        ),
        (vec![format!("{folder},raw,xvda,w")], vec!["neither a file"]),
        (
            vec![format!("{empty},raw,xvda,w")],
            vec!["the file is empty"],
        ),
        (
            vec![format!("script=nowhere,vdev=xvda,target=x")],
            vec![
                "disk xvda (x)",
                "\"nowhere\" in /etc/xen/scripts or /usr/lib/corten/scripts",
            ],
        ),
        (
            vec![format!("script={plain},vdev=xvda,target=x")],
            vec!["not executable", "chmod"],
        ),
        (
            vec![format!("{plain},raw,xvda,w,backendtype=tap")],
            vec!["backendtype tap"],
        ),
        (
            vec![format!("{plain},qcow2,xvda,w,backendtype=phy")],
            vec!["cannot serve format qcow2"],
        ),
        (
            vec![format!("{plain},raw,xvda,w,backend=other")],
            vec!["outside dom0"],
        ),
    ] {
        let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
        let e = refused(&host, &specs);
        for part in parts {
            assert!(e.contains(part), "{specs:?}: {e}");
        }
    }
    assert_eq!(m.snapshot(), before);
    assert!(m.calls.borrow().is_empty(), "nothing was done");
}

#[test]
fn a_missing_back_end_module_is_named() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    std::fs::create_dir_all(dir.0.join("sys/bus/xen-backend/drivers")).unwrap();
    let spec = scripted(&dir, "s", "", "xvda", ",target=x");
    let e = refused(&host, &[&spec]);
    for part in ["disk xvda (x)", "xen-blkback"] {
        assert!(e.contains(part), "{e}");
    }
    std::fs::create_dir_all(dir.0.join("sys/bus/xen-backend/drivers/vbd")).unwrap();
    host.prepare(&with_disks(&[spec])).map(drop).unwrap();
}

#[test]
fn one_disk_is_not_given_to_two_guests() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let spec = |vdev: &str, rest: &str| scripted(&dir, "s", "", vdev, rest);
    let first = with_disks(&[spec("xvda", ",access=w,target=lun1")]);
    let one = host.create_and_start(&first).unwrap();
    let second = |rest: &str| {
        let text = format!("name='h'\ndisk=[{:?}]", spec("xvdb", rest));
        let c = config(&text);
        host.prepare(&c).map(drop).map_err(|e| e.to_string())
    };
    for rest in [",access=w,target=lun1", ",access=r,target=lun1"] {
        let e = second(rest).unwrap_err();
        for part in ["disk xvdb (lun1)", "guest \"g\" (d1, disk xvda)", "w!"] {
            assert!(e.contains(part), "{e}");
        }
    }
    second(",access=w!,target=lun1").unwrap();
    second(",access=w,target=lun2").unwrap();
    // One that has ended writes nothing any more.
    m.shut_down(one, xenctrl::ShutdownReason::Poweroff);
    second(",access=w,target=lun1").unwrap();
    host.destroy(one).unwrap();
    // Nor does one guest get it twice, or two disks by one name.
    let twice = [
        spec("xvda", ",access=w,target=a"),
        spec("xvdb", ",access=r,target=a"),
    ];
    let e = host.prepare(&with_disks(&twice)).map(drop).unwrap_err();
    assert!(e.to_string().contains("disk xvda of the same guest"), "{e}");
    let twice = [spec("xvda", ",target=a"), spec("xvda", ",target=b")];
    let e = host.prepare(&with_disks(&twice)).map(drop).unwrap_err();
    assert!(e.to_string().contains("two disks xvda"), "{e}");
}

#[test]
fn scripts_that_fail_or_hang_leave_no_domain() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let before = m.snapshot();
    let bad = scripted(
        &dir,
        "bad",
        "echo no such target >&2\nexit 3",
        "xvda",
        ",target=x",
    );
    let hang = scripted(
        &dir,
        "hang",
        "[ $1 = add ] && { echo here; sleep 60; }; true",
        "xvda",
        ",target=x",
    );
    for (spec, parts) in [
        (bad, ["bad add", "exit status: 3", "no such target"]),
        (hang, ["hang add", "was killed", "here"]),
    ] {
        let start = Instant::now();
        let e = host.create_and_start(&with_disks(&[spec])).unwrap_err();
        let e = e.to_string();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(e.contains("disk xvda (x)"), "{e}");
        for part in parts {
            assert!(e.contains(part), "{e}");
        }
        assert_eq!(m.snapshot(), before);
        assert!(m.introduced.borrow().is_empty());
    }
}

#[test]
fn a_back_end_that_never_connects_is_not_waited_for_for_ever() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let before = m.snapshot();
    m.no_backend.set(true);
    let spec = scripted(&dir, "s", "", "xvda", ",target=x");
    let start = Instant::now();
    let e = host.create_and_start(&with_disks(&[spec])).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(e.to_string().contains("no back end took it on"), "{e}");
    assert_eq!(m.snapshot(), before);
}

#[test]
fn disks_come_and_go_and_are_remembered() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    let before = m.snapshot();
    let disk = Disk::parse(&scripted(&dir, "s", "", "xvdb", ",target=x")).unwrap();
    host.attach_disk(dom, &disk).unwrap();
    assert_eq!(host.disks(dom).unwrap()[0].1.as_ref(), Some(&disk));
    let kept = host.saved_config(dom).unwrap().unwrap();
    assert_eq!(kept.disks, std::slice::from_ref(&disk));
    let e = host.attach_disk(dom, &disk).unwrap_err().to_string();
    assert!(e.contains("d1 already has a disk xvdb"), "{e}");
    let other = VirtualDevice::parse("xvdq").unwrap();
    let e = host.detach_disk(dom, &other, false).unwrap_err();
    assert!(e.to_string().contains("it has xvdb"), "{e}");
    m.connect(dom, "vbd/51728");
    host.detach_disk(dom, &disk.vdev, false).unwrap();
    assert_eq!(m.snapshot(), before);
    assert!(host.saved_config(dom).unwrap().unwrap().disks.is_empty());
}

#[test]
fn a_guest_that_clings_keeps_its_disk_until_forced() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    let before = m.snapshot();
    let disk = Disk::parse(&scripted(&dir, "s", "", "xvdb", ",target=x")).unwrap();
    host.attach_disk(dom, &disk).unwrap();
    m.connect(dom, "vbd/51728");
    m.clinging.set(true);
    let attached = m.snapshot();
    let e = host.detach_disk(dom, &disk.vdev, false).unwrap_err();
    for part in ["disk xvdb (x) of d1", "did not let it go", "--force"] {
        assert!(e.to_string().contains(part), "{e}");
    }
    assert_eq!(m.snapshot(), attached, "as it was");
    host.detach_disk(dom, &disk.vdev, true).unwrap();
    assert_eq!(m.snapshot(), before);
}

#[test]
fn a_guest_that_removes_its_front_end_loses_the_disk_only() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    let before = m.snapshot();
    let disk = Disk::parse(&scripted(&dir, "s", "", "xvdb", ",target=x")).unwrap();
    host.attach_disk(dom, &disk).unwrap();
    let front = "/local/domain/1/device/vbd";
    m.nodes.borrow_mut().retain(|k, _| !k.starts_with(front));
    m.clinging.set(true);
    host.detach_disk(dom, &disk.vdev, false).unwrap();
    assert_eq!(m.snapshot(), before);
    assert_eq!(host.disks(dom).unwrap(), []);
}

#[test]
fn every_failure_while_attaching_is_undone() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    let before = m.snapshot();
    let disk = Disk::parse(&scripted(&dir, "s", "", "xvdb", ",target=x")).unwrap();
    for n in 0.. {
        m.arm(n);
        let result = host.attach_disk(dom, &disk);
        if m.fail_at.take().is_some() {
            result.unwrap();
            assert!(n > 10, "{n} steps");
            break;
        }
        result.unwrap_err();
        assert_eq!(m.snapshot(), before, "after step {n}");
    }
    assert_eq!(host.disks(dom).unwrap()[0].0.dom, DomId(1));
}
