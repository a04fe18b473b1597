//! Disks of PV guests: given at creation and later, many, in other formats, and all that can be wrong with them.

use integration::{Builder, Host, Story, matrix, typed};
use qemu::paths::Scratch;
use std::process::Command;
use std::time::Duration;

matrix! {
    disks_come_and_go: product | tools, hypervisor;
    a_guest_has_64_disks: product | tools;
    what_cannot_work_leaves_nothing_behind: product | tools;
    a_hotplug_script_that_fails_or_hangs_is_survived: product | tools;
    qemu_serves_other_formats: product | tools;
    what_a_guest_writes_is_there: product | tools;
    a_script_makes_disks_and_access_is_kept: product | tools;
    ends_that_do_not_meet_leave_nothing_behind: product | tools;
}

const SOON: Duration = Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(180);

/// What Debian's script does, for a dom0 with neither bash nor udev. One line, as dom0 takes commands.
const BLOCK: &str = r#"[ $1 = remove ] && exit 0; d=$(xenstore-read $XENBUS_PATH/params); xenstore-write $XENBUS_PATH/physical-device $(stat -L -c %t:%T $d); xenstore-write $XENBUS_PATH/hotplug-status connected"#;

/// Puts a hotplug script into dom0.
fn script(host: &mut Host, name: &str, body: &str) -> Story {
    let path = format!("/etc/xen/scripts/{name}");
    host.dom0("mkdir -p /etc/xen/scripts")?.ok()?;
    host.dom0(&format!(
        "echo '#!/bin/sh' >{path}; echo '{body}' >>{path}; chmod +x {path}"
    ))?
    .ok()
    .map(drop)
}

/// No domain, loop device or node of a disk is left.
fn is_clean(host: &mut Host) -> Story {
    host.until("losetup -a | wc -l", "0", SOON)?;
    host.until("xl list | wc -l", "2", SOON)?;
    host.dom0("xenstore-ls -f | grep -E 'backend/(vbd|qdisk)/|device/vbd/'")?
        .fails()?;
    host.dom0("ls /var/lib/xen | grep 'userdata-.[.][1-9]'")?
        .fails()?;
    Ok(())
}

fn refuses(host: &mut Host, disk: &str, words: &[&str]) -> Story {
    let command = format!("xl create -q /etc/xen/guest.cfg 'disk=[{disk}]' 2>&1");
    let mut reply = host.dom0_within(&command, LONG)?.fails()?;
    for word in words {
        reply = reply.shows(word)?;
    }
    Ok(())
}

fn disks_come_and_go(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    script(&mut host, "block", BLOCK)?;
    host.dom0("modprobe loop; cd /tmp; for i in 0 1 2; do truncate -s 4M $i.img; losetup $(losetup -f) $i.img; done")?
        .ok()?;
    host.dom0("xl create -q /etc/xen/guest.cfg 'disk=[\"phy:/dev/loop0,xvda,w\",\"/dev/loop1,raw,xvdb,r\"]'")?
        .ok()?;
    let connected = "4     8      8        /local/domain/0/backend/vbd/1/51712";
    host.until("xl block-list guest", connected, SOON)?
        .shows("Vdev  BE  handle state evt-ch ring-ref BE-path")?;
    // The guest has looked for partitions.
    let read = "awk '$1 >= 8 { print \"has read\" }' /sys/bus/xen-backend/devices/vbd-1-51712/statistics/rd_sect";
    host.until(read, "has read", SOON)?;
    host.dom0("xl -N block-attach guest phy:/dev/loop2,xvdc,w")?
        .ok()?
        .shows(
            "\"pdev_path\": \"/dev/loop2\",\n    \"vdev\": \"xvdc\",\n    \"format\": \"raw\",",
        )?;
    host.dom0("xl block-list guest")?.lacks("51744")?;
    host.dom0("xl block-attach guest phy:/dev/loop2,xvdc,w")?
        .ok()?;
    host.until(
        "xl block-list guest | grep 51744",
        "51744 0   1      4",
        SOON,
    )?;
    host.dom0("xl block-attach guest phy:/dev/loop2,xvdc,w 2>&1")?
        .fails()?;
    host.dom0("xl block-attach guest phy:/dev/nope,xvdd,w 2>&1")?
        .fails()?
        .shows("/dev/nope")?;
    host.dom0("xl block-attach nobody phy:/dev/loop2,xvdd,w 2>&1")?
        .fails()?
        .shows("nobody is an invalid domain identifier")?;
    host.dom0("xl block-detach guest xvdc")?.ok()?;
    host.dom0("xl block-detach guest 51728")?.ok()?;
    host.dom0("xl block-detach guest xvdq 2>&1")?.fails()?;
    host.dom0("xl block-list guest | wc -l")?.shows("2")?;
    host.dom0("xl block-detach --force guest xvda")?.ok()?;
    host.dom0("xl destroy guest")?.ok()?;
    host.dom0("for i in 0 1 2; do losetup -d /dev/loop$i; done")?
        .ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

/// Sparse images, as files.
fn a_guest_has_64_disks(host: Builder) -> Story {
    // Its kernel keeps some megabytes for each.
    let mut host = Host::boot(host.memory(3072))?;
    host.dom0("(cat /etc/xen/guest.cfg; echo 'memory=768'; echo 'disk=['; for i in $(seq 0 63); do truncate -s 1G /tmp/$i.img; echo \"'file:/tmp/$i.img,d${i}p0,w',\"; done; echo ']') >/tmp/many.cfg")?
        .ok()?;
    host.dom0_within("xl create -q /tmp/many.cfg", LONG)?.ok()?;
    host.dom0("losetup -a | wc -l")?.shows("64")?;
    let connected = "xl block-list guest | awk '$4 == 4' | wc -l";
    host.until(connected, "64", LONG)?;
    host.dom0_within("xl destroy guest", LONG)?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

fn what_cannot_work_leaves_nothing_behind(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("cd /tmp; truncate -s 4M a.img; truncate -s 4M b.img; : >empty.img")?
        .ok()?;
    let a = "\"/tmp/a.img,raw,xvda,w\"";
    // No module of loop devices, none of back ends.
    host.dom0("mkdir /away; m=/lib/modules/$(uname -r)/kernel/drivers/block; mv $m/loop.ko $m/xen-blkback /away; rmmod xen-blkback")?
        .ok()?;
    refuses(
        &mut host,
        a,
        &["disk xvda (/tmp/a.img)", "module xen-blkback", "install"],
    )?;
    host.dom0("insmod /away/xen-blkback/xen-blkback.ko")?.ok()?;
    refuses(
        &mut host,
        a,
        &["disk xvda", "no loop devices", "modprobe loop"],
    )?;
    host.dom0("insmod /away/loop.ko")?.ok()?;

    let missing = "\"phy:/dev/vg0/root,xvda1,w\"";
    refuses(&mut host, missing, &["xvda1", "/dev/vg0/root", "lvs"])?;
    let missing = "\"file:/srv/xen/nope.img,xvdb,w\"";
    refuses(
        &mut host,
        missing,
        &["xvdb", "/srv/xen/nope.img", "truncate"],
    )?;
    let empty = "\"file:/tmp/empty.img,xvdb,w\"";
    refuses(&mut host, empty, &["xvdb", "empty"])?;
    refuses(&mut host, "\"/tmp,raw,xvda,w\"", &["neither a file nor"])?;
    let qcow = "\"/tmp/a.img,qcow2,xvda,w\"";
    refuses(&mut host, qcow, &["xvda", "qemu", "apt install"])?;
    // The kernel's back end is there, but cannot take the disk: it is in use by dom0.
    host.dom0("d=$(losetup -f); losetup $d /tmp/b.img; mkswap $d; swapon $d; ln -s $d /dev/used")?
        .ok()?;
    refuses(
        &mut host,
        "\"phy:/dev/used,xvda,w\"",
        &["dom0 itself uses it", "unmount"],
    )?;
    host.dom0("swapoff /dev/used; losetup -d $(readlink /dev/used)")?
        .ok()?;
    // Where the kept configuration does not fit any more.
    host.dom0("mkdir -p /var/lib/xen; mount -t tmpfs -o size=8k none /var/lib/xen; dd if=/dev/zero of=/var/lib/xen/full bs=4k 2>/dev/null; true")?
        .ok()?;
    refuses(&mut host, a, &["/var/lib/xen", "No space"])?;
    host.dom0("umount /var/lib/xen")?.ok()?;
    is_clean(&mut host)?;

    host.dom0(&format!("xl create -q /etc/xen/guest.cfg 'disk=[{a}]'"))?
        .ok()?;
    host.until("xl block-list guest", " 4     8 ", SOON)?;
    host.dom0("sed 's/\"guest\"/\"other\"/' /etc/xen/guest.cfg >/tmp/other.cfg")?
        .ok()?;
    host.dom0(&format!("xl create -q /tmp/other.cfg 'disk=[{a}]' 2>&1"))?
        .fails()?
        .shows("guest \"guest\" (d2, disk xvda)")?
        .shows("w!")?;
    host.dom0("xl list other")?.fails()?;
    host.dom0("xl create -q /tmp/other.cfg 'disk=[\"/tmp/a.img,raw,xvda,w!\"]'")?
        .ok()?;
    host.dom0("xl destroy other")?.ok()?;
    // A guest that does not answer.
    host.dom0("xl pause guest; xl block-detach guest xvda 2>&1")?
        .fails()?
        .shows("disk xvda (/tmp/a.img) of d2")?
        .shows("--force")?;
    host.dom0("xl block-list guest")?
        .shows("51712 0   2      4")?;
    // One whose front end is gone.
    host.dom0("xenstore-rm /local/domain/2/device/vbd/51712; xl block-detach guest xvda")?
        .ok()?;
    host.dom0("xl block-list guest | wc -l")?.shows("1")?;
    host.dom0("xl destroy guest")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

fn a_hotplug_script_that_fails_or_hangs_is_survived(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    script(
        &mut host,
        "block-bad",
        "echo no such target >&2; xenstore-write $XENBUS_PATH/hotplug-error \"lun 7 is gone\"; exit 1",
    )?;
    script(
        &mut host,
        "block-hang",
        "[ $1 = add ] && sleep 1000; exit 0",
    )?;
    script(
        &mut host,
        "block-wrong",
        "xenstore-write $XENBUS_PATH/physical-device 99:99",
    )?;
    let disk = |s: &str| format!("\"script={s},vdev=xvda,access=w,target=iqn:x\"");
    refuses(
        &mut host,
        &disk("block-bad"),
        &["disk xvda (iqn:x)", "block-bad add failed", "lun 7 is gone"],
    )?;
    refuses(
        &mut host,
        &disk("block-hang"),
        &["block-hang add", "was killed"],
    )?;
    refuses(
        &mut host,
        &disk("block-wrong"),
        &["disk xvda (iqn:x)", "back end"],
    )?;
    refuses(
        &mut host,
        &disk("block-none"),
        &["no hotplug script \"block-none\" in /etc/xen/scripts or /usr/lib/corten/scripts"],
    )?;
    is_clean(&mut host)?;
    host.dom0("ps | grep '[s]leep 1000'")?.fails()?;
    host.power_off()
}

fn qemu_serves_other_formats(host: Builder) -> Story {
    let scratch = Scratch::new()?;
    let mut builder = host.qdisk().dom0_mem("640M,max:640M");
    for (format, name) in [("qcow2", "a.qcow2"), ("vpc", "b.vhd")] {
        let image = scratch.path().join(name);
        let mut create = Command::new("qemu-img");
        create
            .args(["create", "-q", "-f", format])
            .arg(&image)
            .arg("32M");
        qemu::debian::quietly(&mut create)?;
        builder = builder.file(image, &format!("/tmp/{name}"));
    }
    let mut host = Host::boot(builder)?;
    host.dom0_within("truncate -s 1M /tmp/c.img; xl create -q /etc/xen/guest.cfg 'disk=[\"/tmp/a.qcow2,qcow2,xvda,w\",\"/tmp/b.vhd,vhd,xvdb,w\",\"/tmp/c.img,raw,xvdc,w\"]'", LONG)?
        .ok()?;
    let connected = "xl block-list guest | awk '$4 == 4' | wc -l";
    host.until(connected, "3", LONG)?;
    host.dom0("xl block-list guest")?
        .shows("backend/qdisk/1/51712")?
        .shows("backend/vbd/1/51744")?;
    host.dom0("xenstore-read /local/domain/0/backend/qdisk/1/51712/sectors")?
        .shows("65536")?;
    host.dom0("xl block-detach guest xvdb && xl block-list guest")?
        .ok()?
        .lacks("51728")?;
    host.dom0("xl destroy guest")?.ok()?;
    host.dom0("ps | grep '[x]en-domid'")?.fails()?;
    is_clean(&mut host)?;
    host.power_off()
}

/// What the guest does at its start: a shell on port 3.
const START: &str =
    "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; nc -ll -p 3 -e /bin/sh &";
/// `in_guest COMMAND`; `write DISK`: a random MiB at 1 MiB of it, whose sum is printed; `read`: the sum of what is there.
const FUNCTIONS: &str = r#"in_guest() { echo "$1" | nc -w 20 10.0.0.2 3; }; write() { in_guest "head -c 1048576 /dev/urandom >/r; dd if=/r of=/dev/$1 bs=64k seek=16 conv=notrunc,fsync 2>/dev/null; md5sum </r | cut -c-32"; }; read_at() { in_guest "dd if=/dev/$1 bs=64k skip=16 count=16 2>/dev/null | md5sum | cut -c-32"; }; sum() { dd if=$1 bs=64k skip=16 count=16 2>/dev/null | md5sum | cut -c-32; }; same() { [ ${#1} = 32 ] && [ "$1" = "$2" ] && echo same || echo "differ: $1 $2"; }"#;
/// A bridge, disks of three kinds, one on a file system that is too small for it, a CD, and a guest with [`START`].
const MAKE: &str = "modprobe -a loop bridge; ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.0.0.1/24 dev xenbr0; cd /tmp; truncate -s 4M a.img; truncate -s 4M b.img; losetup /dev/loop7 b.img; \
    mkdir small; mount -t tmpfs -o size=3m none small; truncate -s 16M small/d.img; head -c 65536 /dev/urandom >one.iso; head -c 65536 /dev/urandom >two.iso; \
    \
    (grep -v ramdisk /etc/xen/guest.cfg; echo 'ramdisk=\"/tmp/initrd\"'; echo \"vif=['bridge=xenbr0']\"; echo \"disk=['/tmp/a.img,raw,xvda,w','phy:/dev/loop7,xvdb,w','/tmp/q.qcow2,qcow2,xvdc,w','/tmp/small/d.img,raw,xvdd,w','/tmp/one.iso,raw,xvde,cdrom']\") >/tmp/t.cfg";

fn what_a_guest_writes_is_there(host: Builder) -> Story {
    let scratch = Scratch::new()?;
    let image = scratch.path().join("q");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2"]).arg(&image);
    qemu::debian::quietly(create.arg("32M"))?;
    let host = host.qdisk().networks().dom0_mem("768M,max:768M");
    let host = host.guest_start(START);
    let mut host = Host::boot(host.file(image, "/tmp/q.qcow2"))?;
    host.dom0(FUNCTIONS)?.ok()?;
    host.dom0(MAKE)?.ok()?;
    host.dom0_within("xl create -q /tmp/t.cfg", LONG)?.ok()?;
    host.until("in_guest 'echo up'", "up", LONG)?;
    for (disk, at) in [("xvda", "/tmp/a.img"), ("xvdb", "/tmp/b.img")] {
        host.dom0(&format!("same $(write {disk}) $(sum {at})"))?
            .shows("same")?;
    }
    host.dom0("written=$(write xvdc); same $written $(read_at xvdc)")?
        .shows("same")?;
    discs(&mut host)?;
    no_room_below_a_sparse_image(&mut host)?;
    // Another life of the guest: the qcow2 image holds what was written in the one before.
    host.dom0_within("xl destroy guest && xl create -q /tmp/t.cfg", LONG)?
        .ok()?;
    host.until("in_guest 'echo up'", "up", LONG)?;
    host.dom0("same $written $(read_at xvdc)")?.shows("same")?;
    its_qemu_is_killed(&mut host)?;
    host.dom0("losetup -d /dev/loop7")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

fn discs(host: &mut Host) -> Story {
    let disc = "in_guest 'md5sum </dev/xvde | cut -c-32'";
    host.dom0(&format!(
        "same $({disc}) $(md5sum </tmp/one.iso | cut -c-32)"
    ))?
    .shows("same")?;
    host.dom0("xl cd-insert guest xvda /tmp/two.iso 2>&1")?
        .fails()?
        .shows("not a CD drive")?;
    host.dom0("xl cd-insert guest xvde /tmp/nope.iso 2>&1")?
        .fails()?
        .shows("/tmp/nope.iso")?;
    host.dom0("xl cd-insert guest xvde /tmp/two.iso")?.ok()?;
    host.until(
        &format!("same $({disc}) $(md5sum </tmp/two.iso | cut -c-32)"),
        "same",
        SOON,
    )?;
    host.dom0("losetup -a")?.lacks("one.iso")?;
    host.dom0("xl cd-eject guest xvde && losetup -a")?
        .ok()?
        .lacks("two.iso")
        .map(drop)
}

/// The guest is told of it, dom0's log says so, and the other disks go on.
fn no_room_below_a_sparse_image(host: &mut Host) -> Story {
    host.dom0(
        "in_guest 'dd if=/dev/zero of=/dev/xvdd bs=64k count=128 conv=fsync 2>&1; echo rc=$?'",
    )?
    .shows("Input/output error")?
    .shows("rc=1")?;
    host.dom0("dmesg | tail -n 20; df /tmp/small")?
        .shows("I/O error, dev loop")?
        .shows("100%")?;
    host.dom0("same $(write xvda) $(sum /tmp/a.img)")?
        .shows("same")
        .map(drop)
}

fn its_qemu_is_killed(host: &mut Host) -> Story {
    host.dom0("kill -9 $(ps | awk '/[x]en-domid/ { print $1 }'); xl block-list guest 2>&1")?
        .shows("warning: the qemu of d2 has ended, which served disk xvdc")?
        .shows("block-detach")?;
    host.until(
        "cat /var/log/xen/xl-guest.log",
        "the qemu of d2 has ended",
        SOON,
    )?;
    host.dom0("same $(write xvda) $(sum /tmp/a.img)")?
        .shows("same")?;
    host.dom0("xl block-detach guest xvdc; xl block-list guest 2>&1")?
        .lacks("qdisk")?
        .lacks("warning")?;
    host.dom0_within("xl block-attach guest /tmp/q.qcow2,qcow2,xvdf,w", LONG)?
        .ok()?;
    host.until("same $written $(read_at xvdf)", "same", SOON)?;
    host.dom0("kill -9 $(ps | awk '/[x]en-domid/ { print $1 }'); xl destroy guest")?
        .ok()?;
    Ok(())
}

/// Disks that our package's `block` makes of a file and of a device, one that is read-only, a drive in xend's spelling.
const SCRIPTED: &str = "modprobe -a loop bridge; rm -r /etc/xen/scripts; ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.0.0.1/24 dev xenbr0; cd /tmp; for i in a b c d; do truncate -s 4M $i.img; done; losetup /dev/loop7 b.img; head -c 65536 /dev/urandom >one.iso; \
    \
    (grep -v ramdisk /etc/xen/guest.cfg; echo 'ramdisk=\"/tmp/initrd\"'; echo \"vif=['bridge=xenbr0']\"; echo \"disk=['script=block,vdev=xvda,untrusted,target=/tmp/a.img','script=block,vdev=xvdb,target=phy:/dev/loop7','/tmp/c.img,raw,xvdc,r','file:/tmp/one.iso,xvde:cdrom,r']\") >/tmp/t.cfg";

fn a_script_makes_disks_and_access_is_kept(host: Builder) -> Story {
    let mut host = Host::boot(host.networks().guest_start(START))?;
    host.dom0(FUNCTIONS)?.ok()?;
    host.dom0(SCRIPTED)?.ok()?;
    host.dom0_within("xl create -q /tmp/t.cfg 2>&1", LONG)?
        .ok()?;
    host.until("in_guest 'echo up'", "up", LONG)?;
    for (disk, at) in [("xvda", "/tmp/a.img"), ("xvdb", "/tmp/b.img")] {
        host.dom0(&format!("same $(write {disk}) $(sum {at})"))?
            .shows("same")?;
    }
    host.dom0("b=backend/vbd/1/51712; xenstore-read $b/script $b/hotplug-status /local/domain/1/device/vbd/51712/trusted $b/physical-device-path")?
        .shows("/usr/lib/corten/scripts/block\nconnected\n0\n/dev/loop")?;
    // What is read-only stays as it is, whatever the guest's kernel is told.
    host.dom0("c=$(sum /tmp/c.img); in_guest 'cat /sys/block/xvdc/ro; blockdev --setrw /dev/xvdc; dd if=/dev/urandom of=/dev/xvdc bs=64k seek=16 count=16 conv=fsync 2>&1; echo rc=$?'; same $c $(sum /tmp/c.img)")?
        .shows("1\n")?
        .shows("rc=1")?
        .shows("same")?;
    host.dom0("same $(in_guest 'md5sum </dev/xvde | cut -c-32') $(md5sum </tmp/one.iso | cut -c-32); xenstore-read /local/domain/1/device/vbd/51776/device-type")?
        .shows("same\ncdrom\n")?;
    host.dom0("xl block-attach guest script=block vdev=xvdf access=w target=/tmp/d.img")?
        .ok()?;
    host.until("same $(write xvdf) $(sum /tmp/d.img)", "same", SOON)?;
    host.dom0("xl block-detach guest xvdf && losetup -a")?
        .ok()?
        .lacks("d.img")?;
    for disk in [
        "script=block,vdev=xvda,target=/tmp/a.img",
        "/tmp/a.img,raw,xvda,w",
    ] {
        let create =
            format!("xl create -q /etc/xen/guest.cfg 'name=\"b\"' 'disk=[\"{disk}\"]' 2>&1");
        host.dom0(&create)?
            .fails()?
            .shows("guest \"guest\" (d1, disk xvda) writes to it")?;
    }
    host.dom0("xl destroy guest; losetup -d /dev/loop7")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

/// A back end that does not come up leaves nothing behind; nor do a disk that is taken while a program has it open, which Linux
/// allows, and a front end that the guest has taken away itself.
fn ends_that_do_not_meet_leave_nothing_behind(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("modprobe loop; truncate -s 4M /tmp/a.img")?
        .ok()?;
    script(
        &mut host,
        "block-idle",
        "[ $1 = remove ] || xenstore-write $XENBUS_PATH/hotplug-status connected",
    )?;
    refuses(
        &mut host,
        "\"script=block-idle,vdev=xvda,target=x\"",
        &["xvda"],
    )?;
    is_clean(&mut host)?;
    host.dom0("xl create -q /etc/xen/guest.cfg 'disk=[\"/tmp/a.img,raw,xvda,w\"]'")?
        .ok()?;
    host.guest_speaks("guest")?;
    host.dom0(&typed("guest", "sleep 1000 </dev/xvda &"))?
        .ok()?;
    host.dom0_within("xl block-detach guest xvda", SOON)?.ok()?;
    host.until("losetup -a | wc -l", "0", SOON)?;
    host.dom0("xl block-list guest")?.lacks("51712")?;
    host.dom0("xl block-attach guest /tmp/a.img,raw,xvdb,w")?
        .ok()?;
    host.until("xl block-list guest", " 4 ", SOON)?;
    host.dom0(&typed(
        "guest",
        "echo vbd-51728 >/sys/bus/xen/drivers/vbd/unbind",
    ))?
    .ok()?;
    host.dom0_within("xl block-detach guest xvdb 2>&1", SOON)?;
    host.dom0("xl destroy guest")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}
