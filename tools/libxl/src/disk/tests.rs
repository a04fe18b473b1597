//! Disk specifications, right and wrong.
use super::*;

fn ok(spec: &str) -> (String, Format, u32, bool, bool) {
    let d = Disk::parse(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
    (d.target, d.format, d.vdev.number, d.writable, d.cdrom)
}

#[test]
fn documented_forms() {
    let lv = || "/dev/vg/guest".to_string();
    assert_eq!(
        ok("/dev/vg/guest,raw,xvda,rw"),
        (lv(), Format::Raw, 51712, true, false)
    );
    assert_eq!(
        ok("/dev/vg/guest,,hda"),
        (lv(), Format::Raw, 768, true, false)
    );
    assert_eq!(
        ok("format=raw, vdev=sda1, access=r, target=/dev/vg/guest"),
        (lv(), Format::Raw, 2049, false, false)
    );
    assert_eq!(
        ok("raw:/dev/vg/guest,hda,w"),
        (lv(), Format::Raw, 768, true, false)
    );
    assert_eq!(
        ok("phy:/dev/vg/guest,xvda1,w"),
        (lv(), Format::Raw, 51713, true, false)
    );
    assert_eq!(ok("file:/a.img,sda2,w").2, 2050);
    assert!(!ok("tap:aio:/a.img,xvdb,r").3);
    assert_eq!(ok("tap2:qcow2:/a,xvdb,w").1, Format::Qcow2);
    assert_eq!(
        ok("/a.iso,,hdc,cdrom"),
        ("/a.iso".into(), Format::Raw, 5632, false, true)
    );
    assert!(ok("file:/a.iso,hdc:cdrom,r").4);
    assert_eq!(
        ok(",empty,hdc,cdrom"),
        (String::new(), Format::Empty, 5632, false, true)
    );
    assert_eq!(ok("vdev=xvda,target=/a,b=c").0, "/a,b=c");
}

#[test]
fn a_specification_of_a_disk_makes_the_same_disk() {
    for spec in [
        "phy:/dev/vg/guest,xvda1,w!",
        "file:/a.iso,hdc:cdrom,r",
        ",empty,hdc,cdrom",
        "script=block-x,vdev=xvdb,backendtype=phy,discard,direct-io-safe,target=a,b=c",
        "drbd:res0,xvda,w",
    ] {
        let one = Disk::parse(spec).unwrap();
        assert_eq!(Disk::parse(&one.spec()).unwrap(), one, "{}", one.spec());
    }
    let drbd = Disk::parse("drbd:res0,xvda,w").unwrap();
    assert_eq!(
        (drbd.script.as_deref(), &*drbd.target),
        (Some("block-drbd"), "res0")
    );
}

#[test]
fn what_is_wrong_is_said() {
    for (spec, part) in [
        ("/a", "no virtual device"),
        ("/a,raw,xyz,w", "xyz"),
        ("/a,foo,xvda,w", "\"foo\" is no disk format"),
        ("/a,raw,xvda,q", "\"q\" is no access mode"),
        ("/a,raw,xvda,w,more", "\"more\""),
        ("/a,raw,xvda,colour=red", "\"colour\""),
        (",raw,xvda,w", "no target"),
        ("foo:/a,xvda,w", "\"foo:\" is no prefix of a target"),
        (
            "/a,raw,xvda,vdev=xvdb",
            "\"vdev\" is given twice, as \"xvda\" and \"xvdb\"",
        ),
        ("raw:/a,format=qcow2,xvda", "two formats, raw and qcow2"),
        ("/a,raw,hdc:floppy", "\"floppy\" after \"hdc:\""),
        ("/a,raw,xvda,w,specification=virtio", "no virtio disks"),
        (
            "/a,raw,xvda,w,grant_usage=1",
            "grant_usage is of virtio disks",
        ),
        ("/a,raw,xvda,w,colo", "no COLO"),
        ("/a,vdve=xvda", "\"vdve\"; did you mean \"vdev\"?"),
    ] {
        let e = Disk::parse(spec).unwrap_err();
        assert!(e.contains(part), "{spec}: {e}");
    }
}

fn all_words(words: &[&str]) -> Disk {
    Disk::parse_words(words.iter().copied()).unwrap_or_else(|e| panic!("{words:?}: {e}"))
}

fn plain(target: &str, vdev: &str) -> Disk {
    Disk::parse(&format!("vdev={vdev},target={target}")).unwrap()
}

/// Each specification means this disk.
fn mean(disk: &Disk, specs: &[&str]) {
    for spec in specs {
        assert_eq!(Disk::parse(spec).as_ref(), Ok(disk), "{spec}");
    }
}

/// What Xen's own test of disk specifications has.
#[test]
fn specifications_as_xen_has_them() {
    assert!(Disk::parse("foo").is_err());
    let lv = plain("/dev/vg/guest-volume", "hda");
    assert!(lv.writable && lv.format == Format::Raw);
    let forms = [
        "/dev/vg/guest-volume,,hda",
        "/dev/vg/guest-volume,raw,hda,rw",
        "format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume",
        "raw:/dev/vg/guest-volume,hda,w",
        "tapdisk:/dev/vg/guest-volume,hda,w",
        "tap:tapdisk:aio:/dev/vg/guest-volume,ioemu:hda,w",
    ];
    mean(&lv, &forms);
    let phy = Disk {
        backendtype: Some("phy".into()),
        ..lv
    };
    mean(
        &phy,
        &["backendtype=phy,vdev=hda,access=w,target=/dev/vg/guest-volume"],
    );
    let untrusted = Disk {
        trusted: Some(false),
        ..plain("/d.raw", "hda")
    };
    mean(&untrusted, &["untrusted,vdev=hda,target=/d.raw"]);
}

#[test]
fn drives_as_xen_has_them() {
    let iso = Disk {
        cdrom: true,
        writable: false,
        ..plain("/root/image.iso", "hdc")
    };
    let forms = [
        "/root/image.iso,,hdc,cdrom",
        "/root/image.iso,,hdc,,cdrom",
        "/root/image.iso,raw,hdc,devtype=cdrom",
        "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso",
        "raw:/root/image.iso,hdc:cdrom,ro",
    ];
    mean(&iso, &forms);
    let none = Disk {
        format: Format::Empty,
        target: String::new(),
        ..iso
    };
    let forms = [
        "devtype=cdrom,,,hdc",
        ",,hdc:cdrom,r",
        ",hdc:cdrom,r",
        "vdev=hdc,access=r,devtype=cdrom,target=",
        ",empty,hdc:cdrom,r",
        "vdev=hdc,access=r,devtype=cdrom,format=empty",
        "vdev=hdc,access=r,devtype=cdrom",
    ];
    mean(&none, &forms);
}

#[test]
fn scripts_as_xen_has_them() {
    let drbd = Disk {
        script: Some("block-drbd".into()),
        ..plain("app01", "hda")
    };
    mean(&drbd, &["drbd:app01,hda,w"]);
    let iqn = "iqn.2001-05.com.equallogic:0-8a0906-23fe93404-c82797962054a96d-examplehost";
    let iscsi = Disk {
        script: Some("block-iscsi".into()),
        ..plain(iqn, "xvda")
    };
    let (old, rest) = (format!("iscsi:{iqn},xvda,w"), format!("target={iqn}"));
    mean(&iscsi, &[&old]);
    assert_eq!(
        all_words(&["vdev=xvda,access=w,script=block-iscsi", &rest]),
        iscsi
    );
}

#[test]
fn words_of_a_command_line_go_on_where_others_end() {
    let words = [
        "format=raw",
        "vdev=hda",
        "access=rw",
        "target=/dev/vg/guest-volume",
    ];
    assert_eq!(all_words(&words), plain("/dev/vg/guest-volume", "hda"));
    // A target ends with its word.
    assert_eq!(
        all_words(&["target=/a,b", "vdev=hda"]),
        plain("/a,b", "hda")
    );
    let file = plain("/some/disk/image.raw", "hda");
    for (word, discard, trusted) in [
        ("discard", Some(true), None),
        ("no-discard", Some(false), None),
        ("trusted", None, Some(true)),
        ("untrusted", None, Some(false)),
    ] {
        let disk = all_words(&[word, "vdev=hda", "target=/some/disk/image.raw"]);
        let wanted = Disk {
            discard,
            trusted,
            ..file.clone()
        };
        assert_eq!(disk, wanted, "{word}");
    }
}
