//! Verbs about disks, interfaces and other devices of domains.
use super::Effect::{Changes, Looks, Rehearses};
use super::{Command, on, short};
use crate::cmd;

/// The verbs.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "block-attach",
        args: "<Domain> <disk-spec-component(s)>...",
        help: "Create a new virtual block device",
        min_args: 2,
        effect: Rehearses,
        flags: &[short('d', "Check it and show it as JSON, attach nothing.")],
        run: cmd::block_attach,
    },
    Command {
        name: "block-list",
        args: "<Domain(s)>",
        help: "List virtual block devices for a domain",
        min_args: 1,
        effect: Looks,
        flags: &[],
        run: cmd::block_list,
    },
    Command {
        name: "block-detach",
        args: "[option] <Domain> <DevId>",
        help: "Destroy a domain's virtual block device",
        min_args: 2,
        effect: Changes,
        flags: &[on(
            'f',
            "force",
            "do not wait for the domain to release the device",
        )],
        run: cmd::block_detach,
    },
    Command {
        name: "cd-insert",
        args: "<Domain> <VirtualDevice> <path>",
        help: "Insert a cdrom into a guest's cd drive",
        min_args: 3,
        effect: Rehearses,
        flags: &[],
        run: cmd::cd_insert,
    },
    Command {
        name: "cd-eject",
        args: "<Domain> <VirtualDevice>",
        help: "Eject a cdrom from a guest's cd drive",
        min_args: 2,
        effect: Rehearses,
        flags: &[],
        run: cmd::cd_eject,
    },
    Command {
        name: "network-attach",
        args: "<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] \
               [backend=<BackDomain>] [vifname=<name>] [rate=<rate>] [model=<model>] [accel=<accel>] [mtu=<mtu>]",
        help: "Create a new virtual network device",
        min_args: 1,
        effect: Rehearses,
        flags: &[],
        run: cmd::network_attach,
    },
    Command {
        name: "network-list",
        args: "<Domain(s)>",
        help: "List virtual network interfaces for a domain",
        min_args: 1,
        effect: Looks,
        flags: &[],
        run: cmd::network_list,
    },
    Command {
        name: "channel-list",
        args: "<Domain(s)>",
        help: "List virtual channel devices for a domain",
        min_args: 1,
        effect: Looks,
        flags: &[],
        run: cmd::channel_list,
    },
    Command {
        name: "network-detach",
        args: "<Domain> <DevId|mac>",
        help: "Destroy a domain's virtual network device",
        min_args: 2,
        effect: Changes,
        flags: &[on(
            'f',
            "force",
            "do not wait for the domain to release the device",
        )],
        run: cmd::network_detach,
    },
];
