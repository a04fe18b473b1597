//! Event channel operations and shared layouts (`public/event_channel.h`), two-level and FIFO.
use crate::handle::Payload32;
use crate::types::{DomId, Gfn, Pirq, Port, VcpuId};

consts! { OPS: u32 {
    BIND_INTERDOMAIN = 0, "EVTCHNOP_bind_interdomain";
    BIND_VIRQ = 1, "EVTCHNOP_bind_virq";
    BIND_PIRQ = 2, "EVTCHNOP_bind_pirq";
    CLOSE = 3, "EVTCHNOP_close";
    SEND = 4, "EVTCHNOP_send";
    STATUS = 5, "EVTCHNOP_status";
    ALLOC_UNBOUND = 6, "EVTCHNOP_alloc_unbound";
    BIND_IPI = 7, "EVTCHNOP_bind_ipi";
    BIND_VCPU = 8, "EVTCHNOP_bind_vcpu";
    UNMASK = 9, "EVTCHNOP_unmask";
    RESET = 10, "EVTCHNOP_reset";
    INIT_CONTROL = 11, "EVTCHNOP_init_control";
    EXPAND_ARRAY = 12, "EVTCHNOP_expand_array";
    SET_PRIORITY = 13, "EVTCHNOP_set_priority";
} }

consts! { STATUSES: u32 {
    EVTCHNSTAT_CLOSED = 0, "EVTCHNSTAT_closed";
    EVTCHNSTAT_UNBOUND = 1, "EVTCHNSTAT_unbound";
    EVTCHNSTAT_INTERDOMAIN = 2, "EVTCHNSTAT_interdomain";
    EVTCHNSTAT_PIRQ = 3, "EVTCHNSTAT_pirq";
    EVTCHNSTAT_VIRQ = 4, "EVTCHNSTAT_virq";
    EVTCHNSTAT_IPI = 5, "EVTCHNSTAT_ipi";
} }

consts! { LIMITS: u32 {
    BIND_PIRQ__WILL_SHARE = 1, "BIND_PIRQ__WILL_SHARE";
    /// Ports of the two-level ABI.
    EVTCHN_2L_NR_CHANNELS = 4096, "EVTCHN_2L_NR_CHANNELS";
    /// The most urgent queue.
    EVTCHN_FIFO_PRIORITY_MAX = 0, "EVTCHN_FIFO_PRIORITY_MAX";
    EVTCHN_FIFO_PRIORITY_DEFAULT = 7, "EVTCHN_FIFO_PRIORITY_DEFAULT";
    EVTCHN_FIFO_PRIORITY_MIN = 15, "EVTCHN_FIFO_PRIORITY_MIN";
    EVTCHN_FIFO_MAX_QUEUES = 16, "EVTCHN_FIFO_MAX_QUEUES";
    /// Bit number in a FIFO event word.
    EVTCHN_FIFO_PENDING = 31, "EVTCHN_FIFO_PENDING";
    /// Bit number in a FIFO event word.
    EVTCHN_FIFO_MASKED = 30, "EVTCHN_FIFO_MASKED";
    /// Bit number in a FIFO event word.
    EVTCHN_FIFO_LINKED = 29, "EVTCHN_FIFO_LINKED";
    /// Bit number in a FIFO event word.
    EVTCHN_FIFO_BUSY = 28, "EVTCHN_FIFO_BUSY";
    /// Low bits of an event word: the next port in its queue.
    EVTCHN_FIFO_LINK_BITS = 17, "EVTCHN_FIFO_LINK_BITS";
    EVTCHN_FIFO_LINK_MASK = 131071, "EVTCHN_FIFO_LINK_MASK";
    EVTCHN_FIFO_NR_CHANNELS = 131072, "EVTCHN_FIFO_NR_CHANNELS";
} }

abi_structs! { LAYOUT {
    /// A port of `dom` that `remote_dom` may bind to.
    struct AllocUnbound = "struct evtchn_alloc_unbound", 8 {
        0 => dom: DomId,
        2 => remote_dom: DomId,
        /// Out.
        4 => port: Port,
    }
    /// Connects a new local port to a remote domain's unbound one.
    struct BindInterdomain = "struct evtchn_bind_interdomain", 12 {
        0 => remote_dom: DomId,
        2 => _pad2: u16,
        4 => remote_port: Port,
        /// Out.
        8 => local_port: Port,
    }
    /// A port for a virtual interrupt.
    struct BindVirq = "struct evtchn_bind_virq", 12 {
        0 => virq: u32,
        4 => vcpu: VcpuId,
        /// Out.
        8 => port: Port,
    }
    /// A port for a physical interrupt.
    struct BindPirq = "struct evtchn_bind_pirq", 12 {
        0 => pirq: Pirq,
        4 => flags: u32,
        /// Out.
        8 => port: Port,
    }
    /// A port that signals a vcpu of the same domain.
    struct BindIpi = "struct evtchn_bind_ipi", 8 {
        0 => vcpu: VcpuId,
        /// Out.
        4 => port: Port,
    }
    /// Closes a local port.
    struct Close = "struct evtchn_close", 4 {
        0 => port: Port,
    }
    /// Signals the other end of a local port.
    struct Send = "struct evtchn_send", 4 {
        0 => port: Port,
    }
    /// What a port is: one of `EVTCHNSTAT_*`.
    struct Status = "struct evtchn_status", 24 {
        0 => dom: DomId,
        2 => _pad2: u16,
        4 => port: Port,
        /// Out.
        8 => status: u32,
        /// Out: the vcpu it notifies.
        12 => vcpu: VcpuId,
        /// Out: [`Interdomain`], or by its first word the unbound domid, pirq or virq.
        16 => u: Payload32<2>,
    }
    /// The peer of an interdomain port.
    struct Interdomain = "__typeof__(((struct evtchn_status *)0)->u.interdomain)", 8 {
        0 => dom: DomId,
        2 => _pad2: u16,
        4 => port: Port,
    }
    /// Moves the notifications of a port to a vcpu.
    struct BindVcpu = "struct evtchn_bind_vcpu", 8 {
        0 => port: Port,
        4 => vcpu: VcpuId,
    }
    /// Unmasks a local port and delivers what is pending.
    struct Unmask = "struct evtchn_unmask", 4 {
        0 => port: Port,
    }
    /// Closes all ports of a domain.
    struct Reset = "struct evtchn_reset", 2 {
        0 => dom: DomId,
    }
    /// Registers a vcpu's FIFO control block.
    struct InitControl = "struct evtchn_init_control", 24 {
        0 => control_gfn: Gfn,
        8 => offset: u32,
        12 => vcpu: VcpuId,
        /// Out: bits of the link field.
        16 => link_bits: u8,
        17 => _pad: [u8; 7],
    }
    /// Adds a page to the FIFO event array.
    struct ExpandArray = "struct evtchn_expand_array", 8 {
        0 => array_gfn: Gfn,
    }
    /// Chooses the FIFO queue of a port.
    struct SetPriority = "struct evtchn_set_priority", 8 {
        0 => port: Port,
        4 => priority: u32,
    }
    /// Argument of the old `event_channel_op_compat` call.
    struct Op = "struct evtchn_op", 28 {
        0 => cmd: u32,
        4 => u: Payload32<6>,
    }
    /// A vcpu's queue heads, shared with the guest.
    struct FifoControlBlock = "struct evtchn_fifo_control_block", 72 {
        /// Bitmap of queues with events.
        0 => ready: u32,
        4 => _rsvd: u32,
        8 => head: [u32; 16],
    }
} }

/// `event_word_t`: one port in the FIFO event array.
pub type EventWord = u32;
