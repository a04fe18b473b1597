//! How the table reaches words in guest-shared pages. What is read from them is never trusted.
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use xen_abi::{Port, VcpuId};

/// The event fields of one `struct vcpu_info`.
#[derive(Clone, Copy)]
pub struct VcpuEvents<'a> {
    /// `evtchn_upcall_pending`.
    pub upcall_pending: &'a AtomicU8,
    /// `evtchn_upcall_mask` (PV only; a translated guest's stays 0).
    pub upcall_mask: &'a AtomicU8,
    /// `evtchn_pending_sel`.
    pub pending_sel: &'a AtomicU64,
}

impl VcpuEvents<'_> {
    /// True if the vcpu should be interrupted: an upcall is pending and not masked.
    pub fn needs_delivery(&self) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.upcall_pending.load(SeqCst) != 0 && self.upcall_mask.load(SeqCst) == 0
    }
}

/// One vcpu's FIFO control block (`struct evtchn_fifo_control_block`).
#[derive(Clone, Copy)]
pub struct ControlBlock<'a> {
    /// Bit per priority whose queue is not empty.
    pub ready: &'a AtomicU32,
    /// First port of each queue.
    pub heads: &'a [AtomicU32; 16],
}

/// A domain's guest-shared event memory. Every method may say "not there".
pub trait SharedEvents {
    /// Word `i` (0..64) of `shared_info.evtchn_pending`.
    fn pending_word(&self, i: usize) -> Option<&AtomicU64>;
    /// Word `i` (0..64) of `shared_info.evtchn_mask`.
    fn mask_word(&self, i: usize) -> Option<&AtomicU64>;
    /// The event fields of `vcpu`'s info, wherever it is registered.
    fn vcpu_events(&self, vcpu: VcpuId) -> Option<VcpuEvents<'_>>;
    /// `port`'s word in the FIFO event array, if that page was added.
    fn event_word(&self, port: Port) -> Option<&AtomicU32>;
    /// `vcpu`'s FIFO control block, if registered.
    fn control_block(&self, vcpu: VcpuId) -> Option<ControlBlock<'_>>;
}
