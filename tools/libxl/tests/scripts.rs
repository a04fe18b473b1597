//! The hotplug scripts that come with the toolstack, run with programs of a few lines in the place of the host's.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The store: a file for each node, below `store`. What else is called is logged.
const XENSTORE_READ: &str = "cat \"$(dirname \"$0\")/../store/$1\" 2>/dev/null";
const XENSTORE_WRITE: &str =
    "f=$(dirname \"$0\")/../store/$1; mkdir -p \"$(dirname \"$f\")\"; printf %s \"$2\" >\"$f\"";
const LOGGED: &str = "echo \"${0##*/} $*\" >>\"$(dirname \"$0\")/../log\"";

/// A directory with those programs in `bin`.
struct World(PathBuf);

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    fn new(nodes: &[(&str, &str)]) -> World {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hotplug-{}-{number}", std::process::id());
        let world = World(std::env::temp_dir().join(name));
        for name in ["ip", "ovs-vsctl", "losetup", "modprobe"] {
            world.program(name, LOGGED);
        }
        world.program("xenstore-read", XENSTORE_READ);
        world.program("xenstore-write", XENSTORE_WRITE);
        for (name, value) in nodes {
            let path = world.path("store/dev").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        std::fs::create_dir_all(self.path("bin")).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn node(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("store/dev").join(name)).unwrap_or_default()
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("log"));
        text
    }

    fn run(&self, script: &str, args: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = Command::new(scripts().join(script));
        command.args(args).env("PATH", path);
        command.env("XENBUS_PATH", "dev").env("vif", "lo");
        command.output().unwrap()
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../package/root/usr/lib/corten/scripts")
}

#[test]
fn all_of_them_are_shell_and_can_be_run() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(scripts()).unwrap() {
        let path = entry.unwrap().path();
        let parsed = Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(parsed.success(), "{path:?}");
        let runs = path.metadata().unwrap().permissions().mode() & 0o111 != 0;
        assert_eq!(runs, path.extension().is_none(), "{path:?}");
        names.extend(runs.then(|| path.file_name().unwrap().to_owned()));
    }
    names.sort();
    assert_eq!(
        names,
        [
            "block",
            "vif-bridge",
            "vif-nat",
            "vif-openvswitch",
            "vif-route"
        ]
    );
}

#[test]
fn a_file_gets_a_loop_device_and_loses_it() {
    let w = World::new(&[("params", ""), ("mode", "r")]);
    // The only device whose number is the same everywhere.
    w.program(
        "losetup",
        &format!("{LOGGED}; [ \"$1\" != -f ] || echo /dev/null"),
    );
    let image = w.path("image");
    std::fs::write(&image, "data").unwrap();
    let target = format!("file:{}", image.display());
    std::fs::write(w.path("store/dev/params"), target).unwrap();
    let out = w.run("block", &["add"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(w.node("physical-device"), "1:3");
    assert_eq!(w.node("physical-device-path"), "/dev/null");
    assert_eq!(w.node("hotplug-status"), "connected");
    let bound = format!("losetup -r /dev/null {}\n", image.display());
    assert!(w.log().contains(&bound));
    assert!(w.run("block", &["remove"]).status.success());
    assert_eq!(w.log(), "losetup -d /dev/null\n");
}

#[test]
fn what_a_disk_cannot_be_is_said() {
    let w = World::new(&[("params", "vg0/nope"), ("mode", "w")]);
    assert!(!w.run("block", &["add"]).status.success());
    assert_eq!(w.node("hotplug-status"), "error");
    assert_eq!(
        w.node("hotplug-error"),
        "/dev/vg0/nope is neither a block device nor a file"
    );
}

#[test]
fn a_port_of_open_vswitch() {
    let w = World::new(&[
        ("bridge", "ovs0.7:8:9"),
        ("mac", "00:16:3e:00:00:01"),
        ("mtu", "1400"),
    ]);
    let out = w.run("vif-openvswitch", &["online", "type_if=vif"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(w.node("hotplug-status"), "connected");
    let log = w.log();
    for part in [
        "ip link set dev lo down\n",
        "ip link set dev lo address fe:ff:ff:ff:ff:ff\n",
        "ip link set dev lo mtu 1400\n",
        "del-port lo -- add-port ovs0 lo tag=7 trunks=8,9 -- set interface lo",
        "external-ids:attached-mac=\"00:16:3e:00:00:01\"",
        "ip link set dev lo up\n",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(
        w.run("vif-openvswitch", &["offline", "type_if=vif"])
            .status
            .success()
    );
    assert!(w.log().contains("--if-exists del-port lo"));
}

#[test]
fn what_an_interface_cannot_be_is_said() {
    let w = World::new(&[("bridge", "no-such-bridge"), ("ip", "fe80::1")]);
    for (script, event, said) in [
        (
            "vif-bridge",
            "online",
            "there is no bridge \"no-such-bridge\"; there are: ",
        ),
        (
            "vif-nat",
            "online",
            "vif-nat takes one IPv4 address, not ip=fe80::1",
        ),
        (
            "vif-route",
            "sideways",
            "\"sideways\" is none of online, offline, add, remove",
        ),
    ] {
        let out = w.run(script, &[event]);
        assert_eq!(out.status.code(), Some(1), "{script}: {out:?}");
        let error = w.node("hotplug-error");
        assert!(error.starts_with(said), "{script}: {error}");
        assert_eq!(w.node("hotplug-status"), "error");
    }
    // What fails without a word of the script's own.
    w.program("ip", "echo Operation not permitted >&2; exit 2");
    assert!(!w.run("vif-bridge", &["online"]).status.success());
    let error = w.node("hotplug-error");
    assert_eq!(error, "ip link set dev lo down: Operation not permitted");
}
