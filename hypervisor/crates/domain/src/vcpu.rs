//! A virtual CPU: [`Vcpu`]. Scheduling flags and guest-visible areas are atomics; the PV register state sits
//! in [`PvVcpu`] behind a lock that only its own CPU and the toolstack (while it is paused) take.
use crate::pv::PvVcpu;
use crate::tsc::Counter;
use crate::{HvmVcpu, Mutex};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use xen_abi::{DomId, Mfn, VcpuId};

/// The vcpu waits in `SCHEDOP_block` for an event.
pub const PF_BLOCKED: u32 = 1 << 0;
/// The vcpu is offline (never brought up, or `VCPUOP_down`).
pub const PF_DOWN: u32 = 1 << 1;
/// The vcpu waits in `SCHEDOP_poll`.
pub const PF_POLLING: u32 = 1 << 2;
/// The domain is being torn down; the vcpu never runs again.
pub const PF_RETIRED: u32 = 1 << 3;

/// Runstate accounting (`RUNSTATE_*`): current state, since when, and time spent in each of the four.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runstate {
    /// 0 running, 1 runnable, 2 blocked, 3 offline.
    pub state: u32,
    /// `now_ns` at entry into `state`.
    pub entered_ns: u64,
    /// Nanoseconds spent in each state.
    pub time_ns: [u64; 4],
}

impl Runstate {
    /// Moves to `state` at `now`, accounting the time that has passed.
    pub fn enter(&mut self, state: u32, now: u64) {
        if let Some(slot) = self.time_ns.get_mut(self.state as usize) {
            *slot = slot.saturating_add(now.saturating_sub(self.entered_ns));
        }
        self.state = state & 3;
        self.entered_ns = now;
    }
}

/// A place in guest memory that the hypervisor keeps writing to: a frame it holds a reference on, and an offset.
/// Packed into one word so that readers see both or neither; 0 = unset.
#[derive(Debug, Default)]
pub struct SharedSpot(AtomicU64);

impl SharedSpot {
    /// Frame and byte offset, if set.
    pub fn get(&self) -> Option<(Mfn, usize)> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            w => Some((Mfn((w >> 12) - 1), (w & 0xfff) as usize)),
        }
    }
    /// Sets the place; `offset` below the page size.
    pub fn set(&self, mfn: Mfn, offset: usize) {
        self.0.store(
            ((mfn.0 + 1) << 12) | (offset as u64 & 0xfff),
            Ordering::Release,
        );
    }
    /// Clears it and returns what it was.
    pub fn take(&self) -> Option<(Mfn, usize)> {
        match self.0.swap(0, Ordering::AcqRel) {
            0 => None,
            w => Some((Mfn((w >> 12) - 1), (w & 0xfff) as usize)),
        }
    }
}

/// One virtual CPU of a domain.
pub struct Vcpu {
    /// Index within the domain.
    pub id: VcpuId,
    /// The domain it belongs to.
    pub dom: DomId,
    /// Reasons of its own not to run (`PF_*`).
    pub flags: AtomicU32,
    /// Nested pauses by the toolstack or the hypervisor.
    pub pause_count: AtomicU32,
    /// Nested pauses of the whole domain.
    pub dom_pause_count: Arc<AtomicU32>,
    /// What the scheduler knows of it while it is in no run queue.
    pub parked: Mutex<Option<sched::Entity>>,
    /// A periodic timer's next deadline.
    pub periodic_next_ns: AtomicU64,
    /// A context was set (`VCPUOP_initialise`, `setvcpucontext`, or the dom0 builder).
    pub initialised: AtomicBool,
    /// Its registers are live on a CPU.
    pub running: AtomicBool,
    /// CPU it runs on, or last ran on.
    pub cpu: AtomicU32,
    /// Hard affinity.
    pub affinity: AtomicU64,
    /// The CPUs it may run on: hard affinity as far as the domain's pool allows. See [`crate::pool`].
    pub allowed: AtomicU64,
    /// Soft affinity.
    pub soft_affinity: AtomicU64,
    /// `vcpu_info`, when moved out of `shared_info` by registration.
    pub info: SharedSpot,
    /// FIFO event control block, once initialised. Holds a writable reference.
    pub fifo_control: SharedSpot,
    /// Guest virtual address of the registered runstate area, 0 = none.
    pub runstate_gva: AtomicU64,
    /// Guest virtual address of the registered secondary time area, 0 = none.
    pub time_gva: AtomicU64,
    /// The areas at these addresses are out of date: the guest's kernel, which can reach them, was not running.
    pub areas_stale: AtomicBool,
    /// Runstate accounting.
    pub runstate: Mutex<Runstate>,
    /// One-shot timer deadline in `now_ns` terms, 0 = off.
    pub timer_ns: AtomicU64,
    /// Periodic timer period, 0 = off.
    pub periodic_ns: AtomicU64,
    /// Deadline of a `SCHEDOP_poll`, 0 = none.
    pub poll_deadline_ns: AtomicU64,
    /// When the domain's watchdogs bite, 0 = not in use. They are the domain's; its first vcpu keeps them.
    pub watchdog_ns: [AtomicU64; 2],
    /// Port polled for, or 0 for several.
    pub poll_port: AtomicU32,
    /// An NMI is to be delivered.
    pub nmi_pending: AtomicBool,
    /// The guest runs its kernel (rather than its user mode).
    pub kernel_mode: AtomicBool,
    /// Kernel stack to switch to on entry from user mode, a guest virtual address. Its selector: `PvVcpu::kernel_ss`.
    pub kernel_sp: AtomicU64,
    /// L4 frame of the kernel address space, 0 = none. Holds a type reference.
    pub kernel_l4: AtomicU64,
    /// L4 frame of the user address space, 0 = none. Holds a type reference.
    pub user_l4: AtomicU64,
    /// Its time-stamp counter.
    pub tsc: Counter,
    /// Everything else of the PV architecture state.
    pub pv: Mutex<PvVcpu>,
    /// The state of a hardware-virtualised vcpu; `None`: it is a PV one.
    pub hvm: Option<Box<HvmVcpu>>,
}

impl Vcpu {
    /// A vcpu that is down and has no context yet.
    pub fn new(dom: DomId, id: VcpuId, dom_pause_count: Arc<AtomicU32>) -> Vcpu {
        Vcpu {
            id,
            dom,
            flags: AtomicU32::new(PF_DOWN),
            pause_count: AtomicU32::new(0),
            dom_pause_count,
            parked: Mutex::new(Some(sched::Entity::new(sched::Key { dom, vcpu: id }))),
            periodic_next_ns: AtomicU64::new(0),
            initialised: AtomicBool::new(false),
            running: AtomicBool::new(false),
            cpu: AtomicU32::new(0),
            affinity: AtomicU64::new(!0),
            allowed: AtomicU64::new(!0),
            soft_affinity: AtomicU64::new(!0),
            info: SharedSpot::default(),
            fifo_control: SharedSpot::default(),
            runstate_gva: AtomicU64::new(0),
            time_gva: AtomicU64::new(0),
            areas_stale: AtomicBool::new(false),
            runstate: Mutex::new(Runstate {
                state: 3,
                ..Runstate::default()
            }),
            timer_ns: AtomicU64::new(0),
            periodic_ns: AtomicU64::new(0),
            poll_deadline_ns: AtomicU64::new(0),
            watchdog_ns: [const { AtomicU64::new(0) }; 2],
            poll_port: AtomicU32::new(0),
            nmi_pending: AtomicBool::new(false),
            kernel_mode: AtomicBool::new(true),
            kernel_sp: AtomicU64::new(0),
            kernel_l4: AtomicU64::new(0),
            user_l4: AtomicU64::new(0),
            tsc: Counter::default(),
            pv: Mutex::new(PvVcpu::new()),
            hvm: None,
        }
    }

    /// The same, hardware-virtualised.
    pub fn new_hvm(dom: DomId, id: VcpuId, dom_pause_count: Arc<AtomicU32>) -> Vcpu {
        Vcpu {
            hvm: Some(Box::new(HvmVcpu::new(id.0))),
            ..Vcpu::new(dom, id, dom_pause_count)
        }
    }

    /// Nothing keeps it from running, its domain's pauses included. Sequentially consistent with `running`: whoever
    /// pauses and then sees it not running knows that it will not start.
    pub fn runnable(&self) -> bool {
        self.flags.load(Ordering::SeqCst) == 0
            && self.pause_count.load(Ordering::SeqCst) == 0
            && self.dom_pause_count.load(Ordering::SeqCst) == 0
    }

    /// The vcpu is offline.
    pub fn is_down(&self) -> bool {
        self.flags.load(Ordering::Acquire) & PF_DOWN != 0
    }

    /// Sets flags, returning the earlier ones.
    pub fn set_flags(&self, bits: u32) -> u32 {
        self.flags.fetch_or(bits, Ordering::SeqCst)
    }

    /// Clears flags, returning the earlier ones.
    pub fn clear_flags(&self, bits: u32) -> u32 {
        self.flags.fetch_and(!bits, Ordering::SeqCst)
    }

    /// The L4 of the mode the guest is in.
    pub fn active_l4(&self) -> Mfn {
        let l4 = if self.kernel_mode.load(Ordering::Relaxed) {
            &self.kernel_l4
        } else {
            &self.user_l4
        };
        Mfn(l4.load(Ordering::Relaxed))
    }
}
