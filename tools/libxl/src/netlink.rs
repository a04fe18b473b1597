//! Changes to the kernel's network interfaces, over rtnetlink.
//!
//! [`Links`] is what libxl asks for, [`Rtnetlink`] the kernel's answer to it. What interfaces there are is read off sysfs, by `bridge`.
use crate::Mac;
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// What is to become of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is called this.
    Name(String),
    /// It carries frames of up to this many bytes.
    Mtu(u32),
    /// It has this address.
    Address(Mac),
    /// It is a port of the bridge with this index; 0 is none.
    Bridge(u32),
    /// It is up, or down.
    Up(bool),
}

/// The kernel's network interfaces.
pub trait Links {
    /// Changes the interface with this index.
    fn change(&self, index: u32, change: &Change) -> io::Result<()>;
}

/// The running kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Rtnetlink;

impl Links for Rtnetlink {
    fn change(&self, index: u32, change: &Change) -> io::Result<()> {
        request(message(index, change))
    }
}

fn message(index: u32, change: &Change) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.header.index = index;
    message.attributes.extend(match change {
        Change::Name(name) => Some(LinkAttribute::IfName(name.clone())),
        Change::Mtu(mtu) => Some(LinkAttribute::Mtu(*mtu)),
        Change::Address(mac) => Some(LinkAttribute::Address(mac.0.to_vec())),
        Change::Bridge(bridge) => Some(LinkAttribute::Controller(*bridge)),
        Change::Up(up) => {
            message.header.change_mask = LinkFlags::Up;
            if *up {
                message.header.flags = LinkFlags::Up;
            }
            None
        }
    });
    message
}

/// Sends one request and reads its acknowledgement, which the kernel has queued when the sending returns.
fn request(message: LinkMessage) -> io::Result<()> {
    let mut packet = NetlinkMessage::from(RouteNetlinkMessage::SetLink(message));
    packet.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    packet.header.sequence_number = 1;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    match answer.payload {
        NetlinkPayload::Error(e) if e.code.is_some() => Err(e.to_io()),
        NetlinkPayload::Error(_) => Ok(()),
        other => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the kernel answered {other:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        // There is no such interface, and without privilege no permission either.
        let error = Rtnetlink.change(0x7fff_fff0, &Change::Mtu(1500));
        let kind = error.unwrap_err().raw_os_error();
        assert!(matches!(kind, Some(1 | 19)), "{kind:?}");
    }

    #[test]
    fn flags_say_what_they_change() {
        let up = message(3, &Change::Up(true)).header;
        assert_eq!((up.flags, up.change_mask), (LinkFlags::Up, LinkFlags::Up));
        let down = message(3, &Change::Up(false)).header;
        assert_eq!(
            (down.flags, down.change_mask),
            (LinkFlags::empty(), LinkFlags::Up)
        );
    }
}
