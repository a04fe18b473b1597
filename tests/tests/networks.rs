//! Interfaces of PV guests: the layouts of the howtos with data through them, keys, scripts, and all that can be wrong.

use integration::{Builder, Host, Story, matrix};
use qemu::paths::Scratch;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

matrix! {
    a_bridge_on_a_card_and_one_with_translation: product;
}

const SOON: Duration = Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(120);

/// What a guest does: `net0=ADDRESS/LEN` of its command line for eth0 and so on, `gw=`; md5sum on port 1, 4 MB on 2, a shell on 3.
const START: &str = r#"for n in 0 1 2; do eval a=\$net$n; [ -n "$a" ] && ip link set eth$n up && ip addr add $a dev eth$n; done; [ -n "$gw" ] && ip route add default via $gw; head -c 4194304 /dev/urandom >/big; nc -ll -p 1 -e /bin/md5sum & nc -ll -p 2 -e /bin/cat /big & nc -ll -p 3 -e /bin/sh &"#;

/// Functions of dom0's shell: `in_guest ADDRESS COMMAND`; `both ADDRESS`: data to a guest and from it, "same" twice if they arrive.
const FUNCTIONS: &str = r#"in_guest() { echo "$2" | nc -w 10 $1 3; }; sum() { md5sum | cut -c-32; }; same() { [ ${#1} = 32 ] && [ "$1" = "$2" ] && echo same || echo "differ: $1 $2"; }; both() { head -c 4194304 /dev/urandom >/tmp/big; same $(sum </tmp/big) $(nc -w 10 $1 1 </tmp/big | cut -c-32); same $(in_guest $1 'md5sum /big | cut -c-32') $(nc -w 10 $1 2 | sum); }"#;

/// A host whose guests start with [`START`]; `make NAME NETWORK-WORDS VIFS`
fn boot(host: Builder) -> qemu::Result<Host> {
    let scratch = Scratch::new()?;
    let start = scratch.path().join("start");
    std::fs::write(&start, START)?;
    let mut host = Host::boot(host.networks().file(start, "/tmp/g/etc/corten/start"))?;
    host.dom0("modprobe bridge; cd /tmp/g && (cat /boot/guest/initrd; find . | cpio -o -H newc) >/tmp/initrd 2>/dev/null; cd /")?
        .ok()?;
    host.dom0(FUNCTIONS)?.ok()?;
    Ok(host)
}

/// Creates a guest; `words` are for [`START`].
fn create(name: &str, words: &str, vifs: &str) -> String {
    format!(
        "xl create -q /etc/xen/guest.cfg 'name=\"{name}\"' 'ramdisk=\"/tmp/initrd\"' 'extra=\"console=hvc0 loglevel=4 {words}\"' 'vif=[{vifs}]'"
    )
}

/// A program of the machine outside, which an address of the emulated network leads to.
fn program(scratch: &Scratch, name: &str, body: &str) -> qemu::Result<String> {
    let path = scratch.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

fn a_bridge_on_a_card_and_one_with_translation(host: Builder) -> Story {
    let scratch = Scratch::new()?;
    let take = program(&scratch, "take", "head -c 2097152 | md5sum")?;
    let data = scratch.path().join("data");
    let bytes: Vec<u8> = (0..1u32 << 19)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect();
    std::fs::write(&data, bytes)?;
    let give = program(&scratch, "give", &format!("cat {}", data.display()))?;
    let card = format!(
        "-netdev user,id=n0,guestfwd=tcp:10.0.2.100:1-cmd:{take},guestfwd=tcp:10.0.2.100:2-cmd:{give} -device virtio-net-pci,netdev=n0"
    );
    let mut host = boot(host.device(&card).file(&data, "/tmp/data"))?;
    host.dom0("for m in virtio_pci virtio_net dummy crc32c_generic nft_chain_nat nft_masq; do modprobe $m; done")?
        .ok()?;
    // As ifupdown does it for `bridge_ports eth0`.
    host.dom0("ip link add br0 type bridge && ip link set eth0 up master br0 && ip addr add 10.0.2.15/24 dev br0 && ip link set br0 up && ip route add default via 10.0.2.2")?
        .ok()?;
    host.dom0("ip link add dummy0 type dummy; ip link add xenbr1 type bridge && ip link set dummy0 up master xenbr1 && ip addr add 192.168.77.1/24 dev xenbr1 && ip link set xenbr1 up && echo 1 >/proc/sys/net/ipv4/ip_forward")?
        .ok()?;
    host.dom0("nft add table ip nat && nft 'add chain ip nat post { type nat hook postrouting priority 100; }' && nft add rule ip nat post ip saddr 192.168.77.0/24 oifname br0 counter masquerade")?
        .ok()?;
    host.dom0(&create(
        "direct",
        "net0=10.0.2.16/24 gw=10.0.2.2",
        "\"bridge=br0\"",
    ))?
    .ok()?;
    host.dom0(&create(
        "inner",
        "net0=192.168.77.2/24 gw=192.168.77.1",
        "\"bridge=xenbr1,mac=00:16:3e:00:77:02\"",
    ))?
    .ok()?;
    for guest in ["10.0.2.16", "192.168.77.2"] {
        host.until(&format!("ping -c 1 -W 1 {guest}"), " 0% packet loss", SOON)?;
        host.until(&format!("in_guest {guest} 'echo up'"), "up", SOON)?;
        host.dom0_within(&format!("both {guest}"), LONG)?
            .shows("same\nsame\n")?;
        let outside = format!("in_guest {guest} 'ping -c 2 10.0.2.2'");
        host.dom0(&outside)?.shows(" 0% packet loss")?;
        let from = format!(
            "same $(sum </tmp/data) $(in_guest {guest} 'nc -w 10 10.0.2.100 2 | md5sum | cut -c-32')"
        );
        host.dom0_within(&from, LONG)?.shows("same")?;
        let to = format!(
            "same $(head -c 2097152 /tmp/data | sum) $(in_guest {guest} 'nc -w 10 10.0.2.100 2 | nc 10.0.2.100 1 | cut -c-32')"
        );
        host.dom0_within(&to, LONG)?.shows("same")?;
    }
    host.dom0("nft list table ip nat")?
        .ok()?
        .lacks("packets 0 ")?;
    host.dom0("xl destroy direct && xl destroy inner")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

/// No domain, interface or node of one is left.
fn is_clean(host: &mut Host) -> Story {
    host.until("ls /sys/class/net | grep -c vif", "0\n", SOON)?;
    host.dom0("xl list | wc -l")?.shows("2")?;
    host.dom0("xenstore-ls -f | grep -E 'backend/vif/|device/vif/'")?
        .fails()?;
    host.dom0("ls /var/lib/xen | grep userdata")?.fails()?;
    Ok(())
}
