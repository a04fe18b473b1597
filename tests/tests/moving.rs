//! Guests that are saved and restored, and that move while they run.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    what_is_saved_goes_on_where_it_was: product | tools, hypervisor;
    a_guest_moves_while_it_runs: product | tools, hypervisor;
    a_guest_whose_move_fails_stays: product | tools;
    what_cannot_be_restored_leaves_nothing_behind: product | tools;
    a_guest_that_cannot_be_saved_goes_on: product | tools;
}

const SOON: Duration = Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(180);

/// What the guest does at its start: a shell on port 3, and somebody who counts.
const START: &str = "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; nc -ll -p 3 -e /bin/sh & (while :; do n=$((n+1)); echo $n >/n; mv /n /count; sleep 0.1; done) &";
/// `in_guest COMMAND`; `counts`: says "on" if the counter in the guest goes on.
const FUNCTIONS: &str = r#"in_guest() { echo "$1" | nc -w 20 10.0.0.2 3; }; counts() { a=$(in_guest 'cat /count'); sleep 3; b=$(in_guest 'cat /count'); [ "$b" -gt "$a" ] && echo on || echo "stuck: $a $b"; }"#;
/// A bridge, a disk, and a guest with [`START`], whose two vcpus both have work.
const MAKE: &str = "modprobe -a loop bridge; ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.0.0.1/24 dev xenbr0; truncate -s 4M /tmp/a.img; \
    \
    (grep -v -e ramdisk -e vcpus /etc/xen/guest.cfg; echo 'ramdisk=\"/tmp/initrd\"'; echo 'vcpus=2'; echo \"vif=['bridge=xenbr0']\"; echo \"disk=['/tmp/a.img,raw,xvda,w']\") >/tmp/t.cfg";

/// A host on which the guest runs and answers.
fn begin(host: Builder) -> qemu::Result<Host> {
    let host = host.networks().dom0_mem("768M,max:768M");
    let mut host = Host::boot(host.guest_start(START))?;
    host.dom0(FUNCTIONS)?.ok()?;
    host.dom0(MAKE)?.ok()?;
    host.dom0_within("xl create -q /tmp/t.cfg", LONG)?.ok()?;
    host.until("in_guest 'echo up'", "up", LONG)?;
    // What it has in memory, on its disk, and who it is.
    host.dom0("known=$(in_guest 'head -c 4194304 /dev/urandom >/r; head -c 65536 /r >/dev/xvda; sync; md5sum </r; cat /proc/sys/kernel/random/boot_id')")?
        .ok()?;
    host.dom0("echo \"$known\" | wc -l")?.shows("2")?;
    Ok(host)
}

/// It is who it was, counts on, has its disk and both vcpus, and dom0 knows it as one domain.
fn is_the_same(host: &mut Host) -> Story {
    host.until("in_guest 'echo up'", "up", SOON)?;
    host.dom0("[ \"$known\" = \"$(in_guest 'md5sum </r; cat /proc/sys/kernel/random/boot_id')\" ] && echo same")?
        .shows("same")?;
    host.dom0("counts")?.shows("on")?;
    host.dom0("[ \"$(in_guest 'head -c 65536 /r | md5sum')\" = \"$(in_guest 'head -c 65536 /dev/xvda | md5sum')\" ] && echo same")?
        .shows("same")?;
    host.dom0("in_guest 'head -c 65536 /r | tr a-y b-z | dd of=/dev/xvda bs=64k seek=2 conv=notrunc,fsync 2>/dev/null; dd if=/dev/xvda bs=64k skip=2 count=1 2>/dev/null | md5sum; head -c 65536 /r | tr a-y b-z | md5sum' | uniq | wc -l")?
        .shows("1")?;
    host.dom0("in_guest 'grep -c ^processor /proc/cpuinfo'")?
        .shows("2")?;
    host.dom0("xl list | wc -l")?.shows("3")?;
    host.dom0("losetup -a | wc -l")?.shows("1")?;
    host.dom0("xl list guest")?.ok()?;
    Ok(())
}

/// No domain, loop device, interface or node is left.
fn is_clean(host: &mut Host) -> Story {
    host.until("losetup -a | wc -l", "0", SOON)?;
    host.until("xl list | wc -l", "2", SOON)?;
    host.dom0("xenstore-ls -f | grep -E 'backend/(vbd|vif)/|device/v|^/vm/.*name'")?
        .fails()?;
    host.dom0("ls /sys/class/net | grep vif")?.fails()?;
    host.dom0("ls /var/lib/xen | grep 'userdata-.[.][1-9]'")?
        .fails()?;
    Ok(())
}

fn what_is_saved_goes_on_where_it_was(host: Builder) -> Story {
    let mut host = begin(host)?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0_within("xl save guest /tmp/saved 2>&1", LONG)?
        .ok()?
        .shows("Saving to /tmp/saved new xl format (info 0x3/0x0/")?;
    is_clean(&mut host)?;
    host.dom0_within("xl restore /tmp/saved 2>&1", LONG)?
        .ok()?
        .shows("Loading new save file /tmp/saved (new xl fmt info 0x3/0x0/")?
        .shows("Parsing config from <saved>")?;
    is_the_same(&mut host)?;
    // Copies of one that goes on.
    host.dom0_within("rm /tmp/saved; xl save -c guest /tmp/saved", LONG)?
        .ok()?;
    is_the_same(&mut host)?;
    host.dom0_within(
        "rm /tmp/saved; xl save -p guest /tmp/saved && xl list guest",
        LONG,
    )?
    .ok()?
    .shows("--p---")?;
    host.dom0("xl unpause guest")?.ok()?;
    is_the_same(&mut host)?;
    // Whoever saved it without ending it need not be watching it any more: Debian's xl is not.
    host.dom0_within("xl shutdown -w guest", LONG)?.ok()?;
    host.dom0("xl destroy guest 2>&1")?;
    is_clean(&mut host)?;
    host.until(
        &format!("[ $(xl info | awk '/^free_memory/ {{print $3}}') -ge {free} ] && echo back"),
        "back",
        SOON,
    )?;
    host.power_off()
}

fn a_guest_moves_while_it_runs(host: Builder) -> Story {
    let mut host = begin(host)?;
    // Somebody writes to memory all the time, and to the disk.
    host.dom0("in_guest '(while sleep 0.2; do cat /r >/r2; head -c 65536 /r | dd of=/dev/xvda bs=64k conv=notrunc,fsync 2>/dev/null; done) >/dev/null 2>&1 & echo begun'")?
        .shows("begun")?;
    host.dom0_within("xl migrate -s '' guest 'xl migrate-receive' 2>&1", LONG)?
        .ok()?
        .shows("Target reports successful startup")?
        .shows("Migration successful")?;
    is_the_same(&mut host)?;
    host.dom0("xl destroy guest")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

fn a_guest_whose_move_fails_stays(host: Builder) -> Story {
    let mut host = begin(host)?;
    // Nobody there; somebody else; somebody who hangs up in the midst of it: the guest stays where it was.
    let banner = "echo xl migration receiver ready, send binary domain data.";
    for (far, word) in [
        ("false".to_owned(), "hung up"),
        ("yes no".into(), "instead of"),
        (
            format!("{banner}; head -c 40000000 >/dev/null"),
            "Broken pipe",
        ),
    ] {
        host.dom0_within(&format!("xl migrate -l -s '' guest '{far}' 2>&1"), LONG)?
            .fails()?
            .shows(word)?;
        is_the_same(&mut host)?;
    }
    host.dom0("xl destroy guest")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

fn what_cannot_be_restored_leaves_nothing_behind(host: Builder) -> Story {
    let mut host = begin(host)?;
    // No room: the guest goes on, and there is no half of a file.
    host.dom0("mkdir /tmp/small; mount -t tmpfs -o size=3m none /tmp/small")?
        .ok()?;
    host.dom0_within("xl save guest /tmp/small/saved 2>&1", LONG)?
        .fails()?
        .shows("No space left")?
        .shows("resuming")?;
    host.dom0("ls -A /tmp/small | wc -l")?.shows("0")?;
    is_the_same(&mut host)?;
    host.dom0("xl pause guest; xl save guest /tmp/saved 2>&1")?
        .fails()?
        .shows("paused")?
        .shows("xl unpause")?;
    host.dom0("ls /tmp/saved*")?.fails()?;
    host.dom0_within("xl unpause guest; xl save -c guest /tmp/saved", LONG)?
        .ok()?;
    host.dom0_within("xl restore /tmp/saved 2>&1", LONG)?
        .fails()?
        .shows("\"guest\" already exists")?;
    is_the_same(&mut host)?;
    host.dom0("xl destroy guest")?.ok()?;
    let refused: [(&str, &str, &[&str]); 6] = [
        ("echo", "/tmp/nothing", &["/tmp/nothing", "No such file"]),
        ("echo", "/etc/passwd", &["/etc/passwd", "saved domain"]),
        (
            "head -c 100 /tmp/saved >/tmp/part",
            "/tmp/part",
            &["/tmp/part", "ends within its head"],
        ),
        (
            "head -c 40000000 /tmp/saved >/tmp/part",
            "/tmp/part",
            &["ends early"],
        ),
        (
            "(head -c 3000000 /tmp/saved; head -c 1000000 /dev/urandom; tail -c +4000001 /tmp/saved) >/tmp/part; mv /tmp/a.img /tmp/b.img",
            "/tmp/part",
            &["disk xvda", "/tmp/a.img"],
        ),
        (
            "mv /tmp/b.img /tmp/a.img; ip link del xenbr0",
            "/tmp/saved",
            &["bridge", "xenbr0"],
        ),
    ];
    for (before, file, words) in refused {
        host.dom0_within(before, LONG)?.ok()?;
        let mut reply = host
            .dom0_within(&format!("xl restore {file} 2>&1"), LONG)?
            .fails()?;
        for word in words {
            reply = reply.shows(word)?;
        }
        is_clean(&mut host)?;
    }
    host.power_off()
}

/// A kernel that says nobody where its pages are.
fn a_guest_that_cannot_be_saved_goes_on(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("mute", "mute")?;
    host.dom0_within("xl save mute /tmp/saved 2>&1", LONG)?
        .fails()?
        .shows("has not said yet where its pages are")?;
    host.dom0("ls /tmp/saved*")?.fails()?;
    host.dom0("xl list mute && xl destroy mute")?.ok()?;
    host.power_off()
}
