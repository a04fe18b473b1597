//! Interfaces of PV guests: the layouts of the howtos with data through them, keys, scripts, and all that can be wrong.

use integration::{Builder, Host, Story, matrix};
use qemu::paths::Scratch;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

matrix! {
    a_bridge_on_a_card_and_one_with_translation: product | tools, hypervisor;
    interfaces_come_and_go: product | tools, hypervisor;
    scripts_connect_interfaces: product | tools, hypervisor;
    our_own_scripts_route_and_translate: product | tools;
    what_cannot_work_leaves_nothing_behind: product | tools;
    a_script_that_fails_or_hangs_is_survived: product | tools;
}

const SOON: Duration = Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(120);

/// What a guest does: `net0=ADDRESS/LEN` of its command line for eth0 and so on, `gw=`; md5sum on port 1, 2 MB on 2, a shell on 3.
const START: &str = r#"for n in 0 1 2; do eval a=\$net$n; [ -n "$a" ] && ip link set eth$n up && ip addr add $a dev eth$n; done; [ -n "$gw" ] && ip route add default via $gw; head -c 2097152 /dev/urandom >/big; nc -ll -p 1 -e /bin/md5sum & nc -ll -p 2 -e /bin/cat /big & nc -ll -p 3 -e /bin/sh &"#;

/// Functions of dom0's shell: `in_guest ADDRESS COMMAND`; `both ADDRESS`: data to a guest and from it, "same" twice if they arrive.
const FUNCTIONS: &str = r#"in_guest() { echo "$2" | nc -w 10 $1 3; }; sum() { md5sum | cut -c-32; }; same() { [ ${#1} = 32 ] && [ "$1" = "$2" ] && echo same || echo "differ: $1 $2"; }; both() { head -c 2097152 /dev/urandom >/tmp/big; same $(sum </tmp/big) $(nc -w 10 $1 1 </tmp/big | cut -c-32); same $(in_guest $1 'md5sum /big | cut -c-32') $(nc -w 10 $1 2 | sum); }"#;

/// A host whose guests start with [`START`].
fn boot(host: Builder) -> qemu::Result<Host> {
    let mut host = Host::boot(host.networks().guest_start(START))?;
    host.dom0("modprobe bridge")?.ok()?;
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
    let take = program(&scratch, "take", "head -c 524288 | md5sum")?;
    let data = scratch.path().join("data");
    let bytes: Vec<u8> = (0..1u32 << 17)
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
            "same $(head -c 524288 /tmp/data | sum) $(in_guest {guest} 'nc -w 10 10.0.2.100 2 | nc 10.0.2.100 1 | cut -c-32')"
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

/// A host with the bridges xenbr0 (10.1.0.1) and xenbr2 (10.2.0.1).
fn bridged(host: Builder) -> qemu::Result<Host> {
    let mut host = boot(host)?;
    host.dom0("for n in 0 2; do ip link add xenbr$n type bridge && ip link set xenbr$n up && ip addr add 10.$((n ? n : 1)).0.1/24 dev xenbr$n; done")?
        .ok()?;
    Ok(host)
}

/// Waits until a guest that runs [`START`] answers.
fn answers(host: &mut Host, address: &str) -> Story {
    host.until(
        &format!("ping -c 1 -W 1 {address}"),
        " 0% packet loss",
        SOON,
    )?;
    host.until(&format!("in_guest {address} 'echo up'"), "up", SOON)?;
    Ok(())
}

/// A back end's node.
fn node(dom: u32, vif: u32, name: &str) -> String {
    format!("xenstore-read /local/domain/0/backend/vif/{dom}/{vif}/{name}")
}

fn interfaces_come_and_go(host: Builder) -> Story {
    let mut host = bridged(host)?;
    let vifs = "\"mac=00:16:3e:01:02:03,bridge=xenbr0,rate=4Mb/s,vifname=fred,model=e1000\",\"bridge=xenbr2,ip=10.2.0.2\"";
    host.dom0(&create("guest", "net0=10.1.0.2/24 net1=10.2.0.2/24", vifs))?
        .ok()?;
    answers(&mut host, "10.1.0.2")?;
    answers(&mut host, "10.2.0.2")?;
    host.dom0("ls /sys/class/net/xenbr0/brif")?
        .shows("fred\n")?;
    host.dom0("ls /sys/class/net/xenbr2/brif")?
        .shows("vif1.1\n")?;
    host.dom0(&node(1, 0, "rate"))?.shows("25000,50000")?;
    host.dom0(&node(1, 0, "mac"))?.shows("00:16:3e:01:02:03")?;
    host.dom0(&node(1, 1, "ip"))?.shows("10.2.0.2")?;
    host.dom0(&node(1, 1, "hotplug-status"))?
        .shows("connected")?;
    // 2 MB at half a MB a second, when they come from the guest.
    host.dom0("t=$(date +%s); nc 10.1.0.2 2 | wc -c; [ $(($(date +%s) - t)) -ge 3 ]")?
        .ok()?
        .shows("2097152")?;
    // As Debian's xl prints it.
    host.dom0("xl network-list guest >/tmp/list; head -1 /tmp/list; awk 'NR > 1 { print length($0) }' /tmp/list")?
        .shows("Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n93\n93\n")?;
    host.dom0("grep -E '^0   0  00:16:3e:01:02:03     0     4 +-?[0-9]+ +[0-9]+/[0-9]+ +/local/domain/0/backend/vif/1/0$' /tmp/list")?
        .ok()?;

    let attach = "xl network-attach guest bridge=xenbr2 mac=00:16:3e:01:02:05";
    host.dom0(&attach.replace("xl ", "xl -N "))?
        .ok()?
        .shows("\"mac\": \"00:16:3e:01:02:05\"")?;
    host.dom0("xl network-list guest | wc -l")?.shows("3")?;
    host.dom0(attach)?.ok()?;
    host.until(
        "xl network-list guest",
        "2   0  00:16:3e:01:02:05     2     4",
        SOON,
    )?;
    host.dom0("in_guest 10.1.0.2 'ip addr flush dev eth1; ip link set eth2 up; ip addr add 10.2.0.3/24 dev eth2'")?
        .ok()?;
    answers(&mut host, "10.2.0.3")?;
    host.dom0_within("both 10.2.0.3", LONG)?
        .shows("same\nsame\n")?;
    host.dom0("xl list -l guest | grep '\"mac\"' | wc -l")?
        .shows("3")?;

    host.dom0("xl network-detach guest 00:16:3e:01:02:05")?
        .ok()?;
    host.until(
        "in_guest 10.1.0.2 'ls /sys/class/net | xargs'",
        "eth0 eth1 lo\n",
        SOON,
    )?;
    host.dom0("xl network-detach guest 1")?.ok()?;
    host.until("xl network-list guest | wc -l", "2", SOON)?;
    host.until("ls /sys/class/net | grep -c vif", "0\n", SOON)?;
    host.dom0("xl network-detach guest 7 2>&1")?.fails()?;
    host.dom0("xl network-detach guest 00:16:3e:77:77:77 2>&1")?
        .fails()?;
    host.dom0("xl network-attach nobody bridge=xenbr0 2>&1")?
        .fails()?
        .shows("nobody is an invalid domain identifier")?;
    host.dom0("xl network-attach guest bridge=xenbr0 mac=00:16:3e:zz 2>&1")?
        .fails()?;
    host.dom0("xl network-attach guest bridge=xenbr0 rate=quick 2>&1")?
        .fails()?;
    host.dom0("xl network-list guest | wc -l")?.shows("2")?;
    // It keeps what it has through a reboot.
    host.dom0(attach)?.ok()?;
    host.dom0("xl reboot -F guest || xl reboot guest")?.ok()?;
    host.until("xl network-list guest 2>&1", "/backend/vif/2/", SOON)?;
    host.until("xl network-list guest 2>&1 | grep -c ' 4 '", "2", SOON)?;
    answers(&mut host, "10.1.0.2")?;
    host.dom0("xl destroy guest")?.ok()?;
    is_clean(&mut host)?;
    host.power_off()
}

/// Puts a hotplug script into dom0.
fn script(host: &mut Host, name: &str, body: &str) -> Story {
    let path = format!("/etc/xen/scripts/{name}");
    host.dom0(&format!(
        "echo '#!/bin/sh' >{path}; echo '{body}' >>{path}; chmod +x {path}"
    ))?
    .ok()
    .map(drop)
}

fn scripts_connect_interfaces(host: Builder) -> Story {
    let mut host = bridged(host)?;
    script(
        &mut host,
        "vif-own",
        r#"echo "$@, $vif, $XENBUS_PATH, $XENBUS_TYPE, $script, $netdev, $(xenstore-read $XENBUS_PATH/bridge)" >>/tmp/calls; [ $1 = online ] && ip link set $vif up master xenbr2 && xenstore-write $XENBUS_PATH/hotplug-status connected; exit 0"#,
    )?;
    let vifs = "\"script=vif-bridge,bridge=xenbr0\",\"script=vif-own,bridge=mine,gatewaydev=xenbr2\",\"script=vif-route,gatewaydev=xenbr0,ip=10.3.0.2\"";
    let made = create("guest", "net0=10.1.0.2/24 net1=10.2.0.2/24", vifs);
    host.dom0_within(&format!("{made} 2>&1"), LONG)?.ok()?;
    answers(&mut host, "10.1.0.2")?;
    answers(&mut host, "10.2.0.2")?;
    host.dom0_within("both 10.2.0.2", LONG)?
        .shows("same\nsame\n")?;
    host.dom0("cat /tmp/calls")?.shows("online type_if=vif, vif1.1, backend/vif/1/1, vif, /etc/xen/scripts/vif-own, xenbr2, mine\n")?;
    host.dom0("ls /sys/class/net/xenbr0/brif")?
        .shows("vif1.0\n")?;
    host.dom0("ip route")?.shows("10.3.0.2 dev vif1.2")?;
    host.dom0(&node(1, 0, "hotplug-status"))?
        .shows("connected")?;
    host.dom0(&node(1, 0, "script"))?
        .shows("/etc/xen/scripts/vif-bridge")?;
    host.dom0("xl network-attach guest script=vif-own bridge=late")?
        .ok()?;
    host.dom0("cat /tmp/calls")?
        .shows("online type_if=vif, vif1.3, backend/vif/1/3, vif")?;
    host.dom0("xl network-detach guest 3")?.ok()?;
    host.until(
        "cat /tmp/calls",
        "offline type_if=vif, vif1.3, backend/vif/1/3, vif",
        SOON,
    )?;
    host.dom0("xl destroy guest")?.ok()?;
    host.until(
        "cat /tmp/calls",
        "offline type_if=vif, vif1.1, backend/vif/1/1, vif",
        SOON,
    )?;
    host.until("ip route | grep -c 10.3.0.2", "0\n", SOON)?;
    is_clean(&mut host)?;
    host.power_off()
}

/// The scripts of our package: a bridge and a route to one guest, and another behind dom0's addresses.
fn our_own_scripts_route_and_translate(host: Builder) -> Story {
    let mut host = bridged(host)?;
    host.dom0("mv /etc/xen/scripts /away; for m in crc32c_generic nft_chain_nat nft_masq; do modprobe $m; done")?
        .ok()?;
    let vifs =
        "\"script=vif-bridge,vifname=fred\",\"script=vif-route,gatewaydev=xenbr2,ip=10.2.0.9\"";
    let made = create("guest", "net0=10.1.0.2/24 net1=10.2.0.9/24", vifs);
    host.dom0_within(&format!("{made} 2>&1"), LONG)?.ok()?;
    let vifs = "\"script=vif-nat,ip=10.7.0.2,untrusted\"";
    let made = create("inner", "net0=10.7.0.2/24 gw=10.7.0.129", vifs);
    host.dom0_within(&format!("{made} 2>&1"), LONG)?.ok()?;
    for guest in ["10.1.0.2", "10.2.0.9", "10.7.0.2"] {
        answers(&mut host, guest)?;
    }
    host.dom0_within("both 10.2.0.9", LONG)?
        .shows("same\nsame\n")?;
    host.dom0("ls /sys/class/net/xenbr0/brif")?
        .shows("fred\n")?;
    host.dom0("ip route")?
        .shows("10.2.0.9 dev vif1.1")?
        .shows("10.7.0.2 dev vif2.0")?;
    for vif in ["/usr/lib/corten/scripts/vif-bridge", "connected"] {
        host.dom0(&format!(
            "{}; {}",
            node(1, 0, "script"),
            node(1, 0, "hotplug-status")
        ))?
        .shows(vif)?;
    }
    host.dom0("xenstore-read /local/domain/1/device/vif/0/trusted /local/domain/2/device/vif/0/trusted | xargs")?
        .shows("1 0\n")?;
    // The other guest has no route to this one: it hears from dom0.
    host.dom0("in_guest 10.7.0.2 'ping -c 2 10.1.0.2'")?
        .shows(" 0% packet loss")?;
    host.dom0("nft list table ip corten")?.shows("10.7.0.2")?;
    host.dom0("xl network-attach guest script=vif-nowhere 2>&1")?
        .fails()?
        .shows("there are block, vif-bridge, vif-nat, vif-openvswitch, vif-route")?;
    host.dom0("xl destroy guest && xl destroy inner")?.ok()?;
    host.dom0("nft list table ip corten; ip route")?
        .lacks("10.7.0.2")?
        .lacks("10.2.0.9")?;
    is_clean(&mut host)?;
    host.power_off()
}

/// `xl create` with these interfaces fails, and its message has all the words.
fn refuses(host: &mut Host, vifs: &str, words: &[&str]) -> Story {
    let command = format!("{} 2>&1", create("bad", "", vifs));
    let mut reply = host.dom0_within(&command, LONG)?.fails()?;
    for word in words {
        reply = reply.shows(word)?;
    }
    Ok(())
}

fn what_cannot_work_leaves_nothing_behind(host: Builder) -> Story {
    let mut host = bridged(host)?;
    let xenbr0 = "\"bridge=xenbr0\"";
    host.dom0("mkdir /away; m=/lib/modules/$(uname -r)/kernel/drivers/net; mv $m/xen-netback /away; rmmod xen-netback")?
        .ok()?;
    refuses(
        &mut host,
        xenbr0,
        &["vif 0", "module xen-netback", "install"],
    )?;
    host.dom0("insmod /away/xen-netback/xen-netback.ko")?.ok()?;
    // There is a back end, but it never takes on what it is to serve.
    host.dom0("echo 0 >/sys/bus/xen-backend/drivers_autoprobe")?
        .ok()?;
    refuses(
        &mut host,
        xenbr0,
        &["vif 0", "no back end took it on", "dmesg"],
    )?;
    is_clean(&mut host)?;
    host.dom0("echo 1 >/sys/bus/xen-backend/drivers_autoprobe; modprobe dummy; ip link show dummy0 >/dev/null || ip link add dummy0 type dummy")?
        .ok()?;
    refuses(
        &mut host,
        "\"bridge=nope\"",
        &[
            "vif 0",
            "no bridge \"nope\"",
            "there are xenbr0, xenbr2",
            "ip link add",
        ],
    )?;
    refuses(&mut host, "\"bridge=dummy0\"", &["dummy0 is no bridge"])?;
    refuses(
        &mut host,
        "\"bridge=xenbr0,vifname=dummy0\"",
        &[
            "vif 0 (dummy0)",
            "has an interface dummy0",
            "another vifname",
        ],
    )?;
    refuses(
        &mut host,
        "\"bridge=xenbr0,vifname=a-name-far-too-long\"",
        &["a-name-far-too-long", "1 to 15"],
    )?;
    refuses(
        &mut host,
        "\"bridge=xenbr0,mac=00:16\"",
        &["00:16", "no MAC address"],
    )?;
    refuses(
        &mut host,
        "\"bridge=xenbr0,mac=01:16:3e:00:00:01\"",
        &["multicast"],
    )?;
    refuses(&mut host, "\"bridge=xenbr0,rate=quick\"", &["quick"])?;
    let one = "\"bridge=xenbr0,mac=00:16:3e:00:00:01\"";
    refuses(
        &mut host,
        &format!("{one},{one}"),
        &["vif 1", "00:16:3e:00:00:01", "vif 0"],
    )?;
    is_clean(&mut host)?;

    beside_a_guest(&mut host, one)?;
    is_clean(&mut host)?;
    host.power_off()
}

/// What goes wrong with a guest's interfaces while it runs does not disturb it.
fn beside_a_guest(host: &mut Host, one: &str) -> Story {
    host.dom0(&create("guest", "net0=10.1.0.2/24", one))?.ok()?;
    answers(host, "10.1.0.2")?;
    refuses(
        host,
        one,
        &["00:16:3e:00:00:01", "vif 0 of domain guest", "mac="],
    )?;
    host.dom0("xl list | wc -l")?.shows("3")?;
    for (words, message) in [
        ("bridge=nope", "no bridge \"nope\""),
        (
            "bridge=xenbr0 mac=00:16:3e:00:00:01",
            "vif 0 of domain guest",
        ),
        ("bridge=xenbr0 vifname=xenbr2", "has an interface xenbr2"),
    ] {
        host.dom0(&format!("xl network-attach guest {words} 2>&1"))?
            .fails()?
            .shows(message)?;
    }
    host.dom0("xl network-list guest | wc -l")?.shows("2")?;
    host.dom0("xenstore-ls -f | grep vif/[0-9]*/1")?.fails()?;
    // A guest that does not answer keeps its interface, and it works.
    let id = host.dom0("xl domid guest")?.number("")?;
    host.dom0("xl pause guest; xl network-detach guest 0 2>&1")?
        .fails()?
        .shows(&format!("vif 0 of d{id} (00:16:3e:00:00:01)"))?
        .shows("--force")?;
    host.dom0("xl unpause guest")?.ok()?;
    host.until("xl network-list guest", " 0     4", SOON)?;
    answers(host, "10.1.0.2")?;
    // One that lets it go by itself, and one whose front end's nodes are gone.
    host.dom0("xl network-attach guest bridge=xenbr2")?.ok()?;
    host.until("xl network-list guest", "1     4", SOON)?;
    host.dom0("in_guest 10.1.0.2 'echo vif-1 >/sys/bus/xen/drivers/vif/unbind'; xl network-detach guest 1")?
        .ok()?;
    host.dom0(&format!(
        "xenstore-rm /local/domain/{id}/device/vif/0; xl network-detach guest 0"
    ))?
    .ok()?;
    host.dom0("xl network-list guest | wc -l")?.shows("1")?;
    host.until("ls /sys/class/net | grep -c vif", "0\n", SOON)?;
    // A bridge that goes while it is used.
    host.dom0("xl network-attach guest bridge=xenbr2; ip link del xenbr2; xl destroy guest")?
        .ok()?;
    Ok(())
}

fn a_script_that_fails_or_hangs_is_survived(host: Builder) -> Story {
    let mut host = bridged(host)?;
    script(
        &mut host,
        "vif-bad",
        "[ $1 = offline ] && exit 0; echo no such switch >&2; xenstore-write $XENBUS_PATH/hotplug-error \"port 7 is gone\"; exit 1",
    )?;
    script(
        &mut host,
        "vif-hang",
        "[ $1 = online ] && sleep 1000; exit 0",
    )?;
    script(&mut host, "vif-stays", "exit $([ $1 = offline ] && echo 3)")?;
    script(&mut host, "vif-plain", "exit 0")?;
    host.dom0("chmod -x /etc/xen/scripts/vif-plain")?.ok()?;
    refuses(
        &mut host,
        "\"script=vif-bad\"",
        &[
            "vif 0 of d",
            "vif-bad online",
            "port 7 is gone",
            "no such switch",
        ],
    )?;
    refuses(
        &mut host,
        "\"script=vif-none\"",
        &["vif 0", "\"vif-none\" in /etc/xen/scripts or"],
    )?;
    refuses(
        &mut host,
        "\"script=vif-plain\"",
        &["vif 0", "not executable", "chmod +x"],
    )?;
    refuses(
        &mut host,
        "\"bridge=xenbr0\",\"script=vif-hang\"",
        &["vif 1 of d", "vif-hang online", "was killed"],
    )?;
    is_clean(&mut host)?;
    host.dom0("ps | grep '[s]leep 1000'")?.fails()?;
    // The end of a domain does not depend on a script.
    host.dom0(&create("guest", "", "\"script=vif-stays\""))?
        .ok()?;
    host.dom0("xl destroy guest 2>&1")?
        .shows("vif-stays offline")?;
    is_clean(&mut host)?;
    host.power_off()
}

/// No domain, interface or node of one is left.
fn is_clean(host: &mut Host) -> Story {
    host.until("ls /sys/class/net | grep -c vif", "0\n", SOON)?;
    host.dom0("xl list | wc -l")?.shows("2")?;
    host.dom0("xenstore-ls -f | grep -E 'backend/vif/|device/vif/[0-9]'")?
        .fails()?;
    host.dom0("ls /var/lib/xen | grep 'userdata-.[.][1-9]'")?
        .fails()?;
    Ok(())
}
