//! `SCHEDOP_poll`: vcpus that block until one of some ports becomes pending, masked or not.
use crate::table::try_vec;
use crate::{Ports, SharedEvents};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicU32, AtomicUsize};
use xen_abi::{Errno, Port, VcpuId};

/// A vcpu that does not poll.
const NOT: u32 = 0;
/// A vcpu that polls several ports: woken by any.
const ANY: u32 = u32::MAX;

/// Who polls what.
pub(crate) struct Pollers {
    count: AtomicUsize,
    /// Per vcpu: the port it polls, [`ANY`] or [`NOT`].
    port: Vec<AtomicU32>,
}

impl Pollers {
    pub(crate) fn new(vcpus: usize) -> Result<Pollers, Errno> {
        Ok(Pollers {
            count: AtomicUsize::new(0),
            port: try_vec(vcpus, || AtomicU32::new(NOT))?,
        })
    }

    pub(crate) fn any(&self) -> bool {
        self.count.load(SeqCst) != 0
    }

    fn set(&self, vcpu: VcpuId, what: u32) {
        let Some(entry) = self.port.get(vcpu.0 as usize) else {
            return;
        };
        let was = entry.swap(what, SeqCst);
        match (was == NOT, what == NOT) {
            (true, false) => drop(self.count.fetch_add(1, SeqCst)),
            (false, true) => drop(self.count.fetch_sub(1, SeqCst)),
            _ => {}
        }
    }
}

impl Ports {
    /// Registers `vcpu` as polling `ports`. True: none is pending, block it (it is registered);
    /// false: one is pending, do not block (it is not registered). EINVAL: a port does not exist.
    pub fn poll_begin(
        &self,
        shared: &impl SharedEvents,
        vcpu: VcpuId,
        ports: impl IntoIterator<Item = Port>,
    ) -> Result<bool, Errno> {
        self.check_vcpu(vcpu)?;
        // Registered before looking, so that an event raised in between finds the poller.
        self.pollers.set(vcpu, ANY);
        let mut only = None;
        for (i, port) in ports.into_iter().enumerate() {
            if self.slot(port).is_none() {
                self.poll_end(vcpu);
                return Err(Errno::EINVAL);
            }
            if self.is_pending(shared, port) {
                self.poll_end(vcpu);
                return Ok(false);
            }
            only = (i == 0).then_some(port);
        }
        if let Some(port) = only.filter(|p| p.0 != NOT) {
            self.pollers.set(vcpu, port.0);
        }
        Ok(true)
    }

    /// `vcpu` polls no more (woken, timed out or dying).
    pub fn poll_end(&self, vcpu: VcpuId) {
        self.pollers.set(vcpu, NOT);
    }

    /// The vcpus to wake because `port` became pending; call [`Ports::poll_end`] for each.
    pub fn pollers(&self, port: Port) -> impl Iterator<Item = VcpuId> + '_ {
        self.pollers
            .port
            .iter()
            .enumerate()
            .filter_map(move |(i, p)| {
                let polled = p.load(SeqCst);
                (polled == ANY || (polled != NOT && polled == port.0)).then_some(VcpuId(i as u32))
            })
    }
}
