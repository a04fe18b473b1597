//! `event_channel_op` on behalf of other domains.
use crate::{Error, Result, Xenctrl};
use xen_abi::event_channel::{ALLOC_UNBOUND, AllocUnbound, STATUS, Status};
use xen_abi::{DomId, Port, hypercall};

impl Xenctrl {
    /// Allocates a port in `dom` that `remote` may connect to (`EVTCHNOP_alloc_unbound`).
    pub fn evtchn_alloc_unbound(&self, dom: DomId, remote: DomId) -> Result<Port> {
        let mut arg = AllocUnbound {
            dom,
            remote_dom: remote,
            port: Port(0),
        };
        self.call_struct(hypercall::EVENT_CHANNEL_OP, ALLOC_UNBOUND, &mut arg)
            .map(|_| arg.port)
            .map_err(|e| {
                Error::new(
                    format!("allocating an event channel in {dom} for {remote}"),
                    e,
                )
            })
    }

    /// What a port of `dom` is: its `EVTCHNSTAT_*` (`EVTCHNOP_status`).
    pub fn evtchn_status(&self, dom: DomId, port: Port) -> Result<u32> {
        let mut arg = Status {
            dom,
            port,
            ..Default::default()
        };
        self.call_struct(hypercall::EVENT_CHANNEL_OP, STATUS, &mut arg)
            .map(|_| arg.status)
            .map_err(|e| Error::new(format!("asking about {port} of {dom}"), e))
    }
}
