//! [`Ports`]: storage, allocation and look-up of ports.
use crate::fifo::Queues;
use crate::poll::Pollers;
use crate::types::{Abi, Binding, Consumer, Limits, Send};
use crate::{FIFO_PORTS, NR_VIRQS, PRIORITY_DEFAULT, SharedEvents, TWO_LEVEL_PORTS};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32};
use xen_abi::{DomId, Errno, Pirq, Port, VcpuId};

/// Slots are allocated this many at a time.
const CHUNK: usize = 128;

/// One port.
#[derive(Default)]
pub(crate) struct Slot {
    pub binding: Binding,
    pub consumer: Option<Consumer>,
    pub vcpu: VcpuId,
    pub priority: u8,
    /// FIFO: the queue the port was last linked on, packed by `fifo::QueueId`.
    pub last_queue: AtomicU32,
    /// FIFO: raised before the guest added the page with its event word.
    pub early: AtomicBool,
}

/// The event channel ports of one domain.
///
/// Readers (`send`, `set_pending`, …) take `&self`, so the owner keeps it behind a reader-writer lock.
/// Deliveries happen in interrupt context: take that lock with interrupts off.
pub struct Ports {
    pub(crate) dom: DomId,
    pub(crate) limits: Limits,
    pub(crate) abi: Abi,
    chunks: Vec<Vec<Slot>>,
    /// No port below this one is free.
    first_free: u32,
    /// Ports that are neither free nor reserved.
    in_use: u32,
    /// Per vcpu: the port of each virtual interrupt, 0 for none. Global ones are filed under vcpu 0.
    pub(crate) virqs: Vec<[u32; NR_VIRQS as usize]>,
    /// The port of each physical interrupt, 0 for none; grows on demand.
    pub(crate) pirqs: Vec<u32>,
    pub(crate) queues: Vec<Queues>,
    pub(crate) array_pages: u32,
    pub(crate) pollers: Pollers,
}

/// A vector of `n` values, or ENOMEM.
pub(crate) fn try_vec<T>(n: usize, mut make: impl FnMut() -> T) -> Result<Vec<T>, Errno> {
    let mut v = Vec::new();
    v.try_reserve_exact(n).map_err(|_| Errno::ENOMEM)?;
    v.resize_with(n, &mut make);
    Ok(v)
}

impl Ports {
    /// An empty table for `dom`. ENOMEM if the per-vcpu state does not fit.
    pub fn new(dom: DomId, mut limits: Limits) -> Result<Ports, Errno> {
        limits.ports = limits.ports.min(FIFO_PORTS);
        let vcpus = limits.vcpus as usize;
        Ok(Ports {
            dom,
            limits,
            abi: Abi::TwoLevel,
            chunks: Vec::new(),
            first_free: 1,
            in_use: 0,
            virqs: try_vec(vcpus, || [0; NR_VIRQS as usize])?,
            pirqs: Vec::new(),
            queues: Vec::new(),
            array_pages: 0,
            pollers: Pollers::new(vcpus)?,
        })
    }

    /// The domain this table belongs to.
    pub fn dom(&self) -> DomId {
        self.dom
    }

    /// The delivery ABI in use.
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// Ports in use.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Ports the current ABI and the domain's limit allow, port 0 included.
    pub fn capacity(&self) -> u32 {
        match self.abi {
            Abi::TwoLevel => self.limits.ports.min(TWO_LEVEL_PORTS),
            Abi::Fifo => self.limits.ports,
        }
    }

    /// One past the highest port that was ever in use.
    pub fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    pub(crate) fn slot(&self, port: Port) -> Option<&Slot> {
        let i = port.0 as usize;
        self.chunks.get(i / CHUNK)?.get(i % CHUNK)
    }

    pub(crate) fn slot_mut(&mut self, port: Port) -> Option<&mut Slot> {
        let i = port.0 as usize;
        self.chunks.get_mut(i / CHUNK)?.get_mut(i % CHUNK)
    }

    pub(crate) fn check_vcpu(&self, vcpu: VcpuId) -> Result<(), Errno> {
        if vcpu.0 < self.limits.vcpus {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// What `port` is bound to (`Free` beyond the end of the table).
    pub fn binding(&self, port: Port) -> Binding {
        self.slot(port).map_or(Binding::Free, |s| s.binding)
    }

    /// Binding and notified vcpu for `EVTCHNOP_status`. EINVAL: no such port.
    pub fn status(&self, port: Port) -> Result<(Binding, VcpuId), Errno> {
        let slot = self.slot(port).ok_or(Errno::EINVAL)?;
        Ok((slot.binding, slot.vcpu))
    }

    /// The port bound to virtual interrupt `virq` of `vcpu`; global ones are filed under vcpu 0.
    pub fn virq_port(&self, vcpu: VcpuId, virq: u32) -> Option<Port> {
        let port = *self.virqs.get(vcpu.0 as usize)?.get(virq as usize)?;
        (port != 0).then_some(Port(port))
    }

    /// The port bound to physical interrupt `pirq`.
    pub fn pirq_port(&self, pirq: Pirq) -> Option<Port> {
        let port = *self.pirqs.get(pirq.0 as usize)?;
        (port != 0).then_some(Port(port))
    }

    /// Where a send on `port` goes. EINVAL: no such port, or one that cannot be sent on.
    pub fn send(&self, port: Port) -> Result<Send, Errno> {
        let slot = self.slot(port).ok_or(Errno::EINVAL)?;
        if slot.consumer.is_some() {
            return Err(Errno::EINVAL);
        }
        self.destination(slot, port)
    }

    /// Where the hypervisor's own send on a consumer's `port` goes.
    pub fn send_as_consumer(&self, port: Port) -> Result<Send, Errno> {
        let slot = self.slot(port).ok_or(Errno::EINVAL)?;
        self.destination(slot, port)
    }

    fn destination(&self, slot: &Slot, port: Port) -> Result<Send, Errno> {
        match slot.binding {
            Binding::Interdomain {
                remote,
                remote_port,
            } if remote == self.dom => Ok(Send::Local(remote_port)),
            Binding::Interdomain {
                remote,
                remote_port,
            } => Ok(Send::Remote {
                dom: remote,
                port: remote_port,
            }),
            Binding::Ipi => Ok(Send::Local(port)),
            Binding::Unbound { .. } => Ok(Send::Nothing),
            Binding::Free | Binding::Reserved | Binding::Pirq(_) | Binding::Virq(_) => {
                Err(Errno::EINVAL)
            }
        }
    }

    /// Takes the lowest free port for `binding`. ENOSPC: the limit is reached; ENOMEM.
    pub(crate) fn alloc(
        &mut self,
        shared: &impl SharedEvents,
        binding: Binding,
        vcpu: VcpuId,
    ) -> Result<Port, Errno> {
        let capacity = self.capacity();
        let mut all_taken = true;
        let mut i = self.first_free;
        while i < capacity {
            let port = Port(i);
            if i >= self.end() {
                self.grow()?;
            }
            let free = self.slot(port).is_some_and(|s| s.binding == Binding::Free);
            // A free port whose word is still linked must not be reused: it would show up on a foreign queue.
            let busy = free && self.is_linked(shared, port);
            if free && !busy {
                if all_taken {
                    self.first_free = i + 1;
                }
                let slot = self.slot_mut(port).ok_or(Errno::ENOSPC)?;
                slot.binding = binding;
                slot.consumer = None;
                slot.vcpu = vcpu;
                slot.priority = PRIORITY_DEFAULT;
                *slot.early.get_mut() = false;
                self.in_use += 1;
                return Ok(port);
            }
            all_taken &= !free;
            i += 1;
        }
        Err(Errno::ENOSPC)
    }

    /// Adds one chunk of free slots.
    fn grow(&mut self) -> Result<(), Errno> {
        let first = self.chunks.is_empty();
        let mut chunk = try_vec(CHUNK, Slot::default)?;
        if first && let Some(zero) = chunk.first_mut() {
            zero.binding = Binding::Reserved;
        }
        self.chunks.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Returns `port` to the free ones; the caller has undone its binding.
    pub(crate) fn release(&mut self, port: Port) {
        if let Some(slot) = self.slot_mut(port) {
            slot.binding = Binding::Free;
            slot.consumer = None;
            slot.vcpu = VcpuId(0);
            *slot.early.get_mut() = false;
            self.in_use = self.in_use.saturating_sub(1);
            self.first_free = self.first_free.min(port.0);
        }
    }
}
