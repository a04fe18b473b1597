//! Switching to the FIFO ABI: `EVTCHNOP_init_control`, `EVTCHNOP_expand_array`.
use crate::deliver::mark_upcall;
use crate::fifo::Queues;
use crate::table::try_vec;
use crate::{Abi, CONTROL_BLOCK_SIZE, MAX_ARRAY_PAGES, Ports, SharedEvents, WORDS_PER_PAGE, Wake};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use xen_abi::types::PAGE_SIZE;
use xen_abi::{Errno, Port, VcpuId};

impl Ports {
    /// Checks `EVTCHNOP_init_control` before the caller maps the page. ENOENT: no such vcpu; EINVAL: the
    /// block would not lie aligned within its page. (A vcpu that has a block already: EINVAL, by the caller,
    /// who holds them.)
    pub fn check_control(&self, vcpu: VcpuId, offset: u32) -> Result<(), Errno> {
        self.check_vcpu(vcpu)?;
        if offset & 7 != 0 || offset > PAGE_SIZE as u32 - CONTROL_BLOCK_SIZE {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Commits the first `EVTCHNOP_init_control`: switches the domain to FIFO. Ports that are pending now
    /// stay so and are delivered when their event word appears. Does nothing if FIFO is on. ENOMEM.
    ///
    /// `shared` may already offer the new control block; event words it cannot have yet.
    pub fn init_fifo(&mut self, shared: &impl SharedEvents) -> Result<(), Errno> {
        if self.abi == Abi::Fifo {
            return Ok(());
        }
        let queues = try_vec(self.limits.vcpus as usize, Queues::default)?;
        for p in 0..self.end() {
            let pending = self.is_pending(shared, Port(p));
            if let Some(slot) = self.slot(Port(p)) {
                slot.early.store(pending, Relaxed);
                slot.last_queue.store(0, Relaxed);
            }
        }
        self.queues = queues;
        self.array_pages = 0;
        self.abi = Abi::Fifo;
        Ok(())
    }

    /// After `vcpu`'s control block was mapped and [`Ports::init_fifo`] called: queues what was raised for that
    /// vcpu while it had none; `wake` is told each time.
    pub fn control_added(
        &self,
        shared: &impl SharedEvents,
        vcpu: VcpuId,
        mut wake: impl FnMut(Wake),
    ) {
        for p in 0..self.end() {
            let Some(slot) = self.slot(Port(p)).filter(|s| s.vcpu == vcpu) else {
                continue;
            };
            if self.abi == Abi::Fifo && self.requeue(shared, slot, Port(p)) {
                wake(Wake {
                    kick: Some(vcpu),
                    ..Wake::NONE
                });
            }
        }
    }

    /// After `vcpu`'s info was moved to another page (`VCPUOP_register_vcpu_info`): makes it look at everything,
    /// so that no event is lost with the old page.
    pub fn vcpu_info_moved(&self, shared: &impl SharedEvents, vcpu: VcpuId) -> Wake {
        if let Some(events) = shared.vcpu_events(vcpu) {
            events.pending_sel.store(u64::MAX, SeqCst);
            if mark_upcall(Some(events)) {
                return Wake {
                    kick: Some(vcpu),
                    ..Wake::NONE
                };
            }
        }
        Wake::NONE
    }

    /// Checks `EVTCHNOP_expand_array` before the caller maps the page; tells which page of the array comes
    /// next. EOPNOTSUPP: not FIFO; ENOSPC: the array is complete.
    pub fn check_expand(&self) -> Result<u32, Errno> {
        match self.abi {
            Abi::TwoLevel => Err(Errno::EOPNOTSUPP),
            Abi::Fifo if self.array_pages >= MAX_ARRAY_PAGES => Err(Errno::ENOSPC),
            Abi::Fifo => Ok(self.array_pages),
        }
    }

    /// Commits `EVTCHNOP_expand_array` after the caller mapped the page, so that `shared` offers its words.
    /// Delivers what was raised too early; `wake` is told each time.
    pub fn expand_array(
        &mut self,
        shared: &impl SharedEvents,
        mut wake: impl FnMut(Wake),
    ) -> Result<(), Errno> {
        let page = self.check_expand()?;
        self.array_pages = page + 1;
        let first = page * WORDS_PER_PAGE;
        for p in first..first + WORDS_PER_PAGE {
            let Some(slot) = self.slot(Port(p)) else {
                break;
            };
            if slot.early.swap(false, Relaxed) {
                wake(self.set_pending(shared, Port(p)));
            }
        }
        Ok(())
    }
}
