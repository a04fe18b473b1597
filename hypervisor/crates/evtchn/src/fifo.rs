//! The FIFO ABI: one word per port, linked into a queue per vcpu and priority.
//!
//! The guest takes from the heads without locks; producers here serialise per vcpu with a short spin lock over
//! its queue tails. Links are written with a bounded number of attempts whatever the guest does to the words.
use crate::deliver::{Raised, mark_upcall};
use crate::table::Slot;
use crate::{Ports, SharedEvents};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use spin::{Mutex, MutexGuard};
use xen_abi::event_channel as abi;
use xen_abi::{Port, VcpuId};

const PENDING: u32 = 1 << abi::EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << abi::EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << abi::EVTCHN_FIFO_LINKED;
const LINK_MASK: u32 = abi::EVTCHN_FIFO_LINK_MASK;
/// Attempts at replacing a link before falling back to a wait-free update.
const LINK_TRIES: usize = 16;

/// The last port of each of one vcpu's queues, 0 for none.
type Tails = [u32; 16];

/// One vcpu's queues, the hypervisor's end.
#[derive(Default)]
pub(crate) struct Queues {
    tails: Mutex<Tails>,
}

/// A queue: vcpu and priority, packed into a word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct QueueId(u32);

impl QueueId {
    fn new(vcpu: VcpuId, priority: u8) -> QueueId {
        QueueId(vcpu.0 << 4 | u32::from(priority & 15))
    }
    fn vcpu(self) -> usize {
        (self.0 >> 4) as usize
    }
    fn priority(self) -> usize {
        (self.0 & 15) as usize
    }
}

impl Ports {
    fn fifo_bit(&self, shared: &impl SharedEvents, port: Port, bit: u32) -> Option<bool> {
        Some(shared.event_word(port)?.load(SeqCst) & bit != 0)
    }

    pub(crate) fn fifo_pending(&self, shared: &impl SharedEvents, port: Port) -> bool {
        self.fifo_bit(shared, port, PENDING)
            .unwrap_or_else(|| self.slot(port).is_some_and(|s| s.early.load(Relaxed)))
    }

    pub(crate) fn fifo_masked(&self, shared: &impl SharedEvents, port: Port) -> bool {
        self.fifo_bit(shared, port, MASKED).unwrap_or(true)
    }

    pub(crate) fn fifo_linked(&self, shared: &impl SharedEvents, port: Port) -> bool {
        self.fifo_bit(shared, port, LINKED).unwrap_or(false)
    }

    pub(crate) fn clear_fifo(&self, shared: &impl SharedEvents, port: Port) {
        if let Some(word) = shared.event_word(port) {
            word.fetch_and(!PENDING, SeqCst);
        }
    }

    pub(crate) fn raise_fifo(&self, shared: &impl SharedEvents, slot: &Slot, port: Port) -> Raised {
        let Some(word) = shared.event_word(port) else {
            let fresh = !slot.early.swap(true, Relaxed);
            return Raised { fresh, kick: false };
        };
        let old = word.fetch_or(PENDING, SeqCst);
        Raised {
            fresh: old & PENDING == 0,
            kick: old & (MASKED | LINKED) == 0 && self.enqueue(shared, slot, port, word),
        }
    }

    pub(crate) fn unmask_fifo(&self, shared: &impl SharedEvents, slot: &Slot, port: Port) -> bool {
        let Some(word) = shared.event_word(port) else {
            return false;
        };
        let old = word.fetch_and(!MASKED, SeqCst);
        old & PENDING != 0 && old & LINKED == 0 && self.enqueue(shared, slot, port, word)
    }

    /// Queues a pending port that is on no queue; true if its vcpu must be kicked.
    pub(crate) fn requeue(&self, shared: &impl SharedEvents, slot: &Slot, port: Port) -> bool {
        let Some(word) = shared.event_word(port) else {
            return false;
        };
        let old = word.load(SeqCst);
        old & (PENDING | MASKED | LINKED) == PENDING && self.enqueue(shared, slot, port, word)
    }

    /// Appends the port to its queue; true if its vcpu must be kicked.
    fn enqueue(
        &self,
        shared: &impl SharedEvents,
        slot: &Slot,
        port: Port,
        word: &AtomicU32,
    ) -> bool {
        let to = QueueId::new(slot.vcpu, slot.priority);
        let Some(control) = shared.control_block(slot.vcpu) else {
            return false;
        };
        let last = slot.last_queue.load(Acquire);
        let Some(mut tails) = self.lock_queues(QueueId(last), to) else {
            return false;
        };
        // Another producer linked the port after we made it pending: the guest will see our event too.
        if slot.last_queue.load(Acquire) != last || word.fetch_or(LINKED, SeqCst) & LINKED != 0 {
            return false;
        }
        let from = QueueId(last);
        if from != to {
            // An unlinked port that is still the tail of its old queue would tie the two queues together.
            tails.forget(from, port);
            slot.last_queue.store(to.0, Release);
        }
        let tail = tails.append(to, port);
        // The port itself as the old tail was consumed meanwhile: its queue is empty.
        let linked = tail != 0
            && tail != port.0
            && shared
                .event_word(Port(tail))
                .is_some_and(|w| set_link(w, port));
        if linked {
            return false;
        }
        let priority = to.priority();
        if let Some(head) = control.heads.get(priority) {
            head.store(port.0, SeqCst);
        }
        drop(tails);
        let ready = 1 << priority;
        control.ready.fetch_or(ready, SeqCst) & ready == 0
            && mark_upcall(shared.vcpu_events(slot.vcpu))
    }

    /// Locks the tails of both queues' vcpus, in order of vcpu.
    fn lock_queues(&self, from: QueueId, to: QueueId) -> Option<Locked<'_>> {
        let lock = |q: QueueId| Some(self.queues.get(q.vcpu())?.tails.lock());
        if from.vcpu() == to.vcpu() {
            return Some(Locked {
                to: lock(to)?,
                from: None,
            });
        }
        let (to_guard, from_guard) = if from.vcpu() < to.vcpu() {
            let f = lock(from)?;
            (lock(to)?, f)
        } else {
            let t = lock(to)?;
            (t, lock(from)?)
        };
        Some(Locked {
            to: to_guard,
            from: Some(from_guard),
        })
    }
}

/// The tails a link operation needs; `from` is `None` if both queues are the same vcpu's.
struct Locked<'a> {
    to: MutexGuard<'a, Tails>,
    from: Option<MutexGuard<'a, Tails>>,
}

impl Locked<'_> {
    /// Empties queue `from` if `port` is its tail.
    fn forget(&mut self, from: QueueId, port: Port) {
        let tails = self.from.as_mut().unwrap_or(&mut self.to);
        if let Some(tail) = tails.get_mut(from.priority())
            && *tail == port.0
        {
            *tail = 0;
        }
    }

    /// Makes `port` the tail of `to`; returns the tail before.
    fn append(&mut self, to: QueueId, port: Port) -> u32 {
        match self.to.get_mut(to.priority()) {
            Some(tail) => core::mem::replace(tail, port.0),
            None => 0,
        }
    }
}

/// Links `word` to `port` if `word` is still on its queue.
fn set_link(word: &AtomicU32, port: Port) -> bool {
    let mut old = word.load(Acquire);
    for _ in 0..LINK_TRIES {
        if old & LINKED == 0 {
            return false;
        }
        let new = old & !LINK_MASK | port.0 & LINK_MASK;
        match word.compare_exchange(old, new, SeqCst, Acquire) {
            Ok(_) => return true,
            Err(now) => old = now,
        }
    }
    // The guest changes the word all the time. In a sane one the link of a tail is 0, so setting bits is enough.
    let old = word.fetch_or(port.0 & LINK_MASK, SeqCst);
    if old & LINKED == 0 {
        word.fetch_and(!LINK_MASK, SeqCst);
        return false;
    }
    true
}
