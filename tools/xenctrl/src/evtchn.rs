//! `event_channel_op` on behalf of other domains.
use crate::{Error, Result, Xenctrl};
use xen_abi::{DomId, Errno, Port};

impl Xenctrl {
    /// Allocates a port in `dom` that `remote` may connect to (`EVTCHNOP_alloc_unbound`).
    pub fn evtchn_alloc_unbound(&self, dom: DomId, remote: DomId) -> Result<Port> {
        Err(Error::new(
            format!("allocating an event channel in {dom} for {remote}"),
            Errno::ENOSYS,
        ))
    }
}
