//! `/dev/xen/evtchn`: event channels of this domain, owned by this process.
use crate::sys::{self, ioc};
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use xen_abi::{DomId, Port};

const PATH: &str = "/dev/xen/evtchn";
const IOC_BIND_VIRQ: u64 = ioc(b'E', 0, 4);
const IOC_BIND_INTERDOMAIN: u64 = ioc(b'E', 1, 8);
const IOC_BIND_UNBOUND: u64 = ioc(b'E', 2, 4);
const IOC_UNBIND: u64 = ioc(b'E', 3, 4);
const IOC_NOTIFY: u64 = ioc(b'E', 4, 4);

/// A set of bound ports. Readable (`poll`) when one of them is pending; dropped together with all of them.
pub struct EvtChn {
    file: File,
}

impl EvtChn {
    /// Opens the device in non-blocking mode.
    pub fn open() -> Result<EvtChn> {
        let file = sys::open(PATH, true).map_err(|e| Error::new(format!("opening {PATH}"), e))?;
        Ok(EvtChn { file })
    }

    /// Binds virtual interrupt `virq` (a `VIRQ_*` number) and returns the local port.
    pub fn bind_virq(&self, virq: u32) -> Result<Port> {
        let mut arg = [virq];
        self.ioctl(IOC_BIND_VIRQ, &mut arg, || format!("binding virq {virq}"))
            .map(port)
    }

    /// Connects to `remote`, a port that `dom` allocated for us.
    pub fn bind_interdomain(&self, dom: DomId, remote: Port) -> Result<Port> {
        let mut arg = [u32::from(dom.0), remote.0];
        self.ioctl(IOC_BIND_INTERDOMAIN, &mut arg, || {
            format!("binding {remote} of {dom}")
        })
        .map(port)
    }

    /// Allocates a port that `dom` may connect to.
    pub fn bind_unbound(&self, dom: DomId) -> Result<Port> {
        let mut arg = [u32::from(dom.0)];
        self.ioctl(IOC_BIND_UNBOUND, &mut arg, || {
            format!("allocating a port for {dom}")
        })
        .map(port)
    }

    /// Closes a port.
    pub fn unbind(&self, port: Port) -> Result<()> {
        self.ioctl(IOC_UNBIND, &mut [port.0], || format!("unbinding {port}"))
            .map(drop)
    }

    /// Sends an event.
    pub fn notify(&self, port: Port) -> Result<()> {
        self.ioctl(IOC_NOTIFY, &mut [port.0], || format!("notifying {port}"))
            .map(drop)
    }

    /// The next pending port, which stays masked until [`EvtChn::unmask`]; `None` if there is none.
    pub fn pending(&self) -> Result<Option<Port>> {
        let mut buf = [0u8; 4];
        match (&self.file).read(&mut buf) {
            Ok(4) => Ok(Some(Port(u32::from_ne_bytes(buf)))),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(Error::new("reading pending events", e)),
        }
    }

    /// Lets a port deliver again.
    pub fn unmask(&self, port: Port) -> Result<()> {
        (&self.file)
            .write_all(&port.0.to_ne_bytes())
            .map_err(|e| Error::new(format!("unmasking {port}"), e))
    }

    fn ioctl<const N: usize>(
        &self,
        nr: u64,
        arg: &mut [u32; N],
        what: impl Fn() -> String,
    ) -> Result<i64> {
        // SAFETY: every request of this device takes a record of 32-bit words, whose number `nr` encodes.
        unsafe { sys::ioctl(&self.file, nr, arg) }.map_err(|e| Error::new(what(), e))
    }
}

fn port(result: i64) -> Port {
    // Ports are below 2^17; the kernel returns them as positive numbers.
    Port(result as u32)
}

impl AsFd for EvtChn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for EvtChn {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
