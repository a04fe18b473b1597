//! `/dev/xen/xenbus_backend`: the page and the port through which this domain's own kernel talks to a
//! XenStore server that runs here. `/proc/xen/xsd_{kva,port}` (xenfs) are the same by other names.
use crate::mapping::Mapped;
use crate::sys::{self, Map, ioc};
use crate::{Error, Result, SharedMem};
use std::io;
use xen_abi::Port;
use xen_abi::types::PAGE_SIZE;

const BACKEND: &str = "/dev/xen/xenbus_backend";
const KVA: &str = "/proc/xen/xsd_kva";
const PORT: &str = "/proc/xen/xsd_port";
const IOC_EVTCHN: u64 = ioc(b'B', 0, 0);

/// Maps the kernel's XenStore page.
pub fn xenbus_page() -> Result<Box<dyn SharedMem>> {
    let map = |path| sys::open(path, false).and_then(|f| Map::new(Some(&f), PAGE_SIZE, true, 0));
    let page = map(BACKEND).or_else(|_| map(KVA));
    let page = page.map_err(|e| Error::new("mapping the kernel's XenStore page", e))?;
    Ok(Box::new(Mapped::new(page, true)))
}

/// The port that the kernel left open for the server.
pub fn xenbus_port() -> Result<Port> {
    let number = backend_port().or_else(|_| {
        let text = std::fs::read_to_string(PORT)?;
        text.trim()
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    });
    number
        .map(Port)
        .map_err(|e| Error::new("asking for the kernel's XenStore port", e))
}

fn backend_port() -> io::Result<u32> {
    let file = sys::open(BACKEND, false)?;
    // SAFETY: the request takes no record; the argument is ignored.
    let port = unsafe { sys::ioctl(&file, IOC_EVTCHN, &mut [0u32; 1]) }?;
    u32::try_from(port).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
