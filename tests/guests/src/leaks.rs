//! Attempts to make the hypervisor lose count of pages, to hang it with timers, and to start a vcpu in an impossible state.

use crate::hammer::Random;
use crate::{hv, mmu, say};
use xen_abi::arch_x86::{VGCF_IN_KERNEL, VcpuGuestContext, pfn_to_cr3};
use xen_abi::event_channel::{
    BIND_VIRQ, BindVirq, EXPAND_ARRAY, ExpandArray, INIT_CONTROL, InitControl,
};
use xen_abi::hypercall::*;
use xen_abi::memory::{
    DECREASE_RESERVATION, EXCHANGE, MemoryExchange, MemoryReservation, POPULATE_PHYSMAP,
};
use xen_abi::sched::{POLL, Poll};
use xen_abi::start_info::StartInfo;
use xen_abi::vcpu::*;
use xen_abi::xen::VIRQ_TIMER;
use xen_abi::{DomId, Gfn, GuestHandle, Port, VcpuId};

/// Pages that must not be counted twice, or never given back.
pub fn run(info: &StartInfo) {
    let shared = info.shared_info >> 12;
    let mut breaches = 0;
    let mut refuse = |what: &str, result: i64| {
        if result >= 0 {
            breaches += 1;
            say!("leaks: BREACH: {what} returned {result}");
        }
    };
    for _ in 0..8 {
        let mut place = RegisterVcpuInfo {
            mfn: Gfn(shared),
            offset: 0x800,
            rsvd: 0,
        };
        refuse(
            "vcpu info in shared info",
            hv::call(
                VCPU_OP,
                [REGISTER_VCPU_INFO.into(), 0, &raw mut place as u64, 0, 0],
            ),
        );
    }
    let mut control = InitControl {
        control_gfn: Gfn(shared),
        offset: 0x800,
        vcpu: VcpuId(0),
        ..InitControl::default()
    };
    refuse(
        "a control block in shared info",
        hv::op(EVENT_CHANNEL_OP, INIT_CONTROL, &mut control),
    );
    control.control_gfn = Gfn(mmu::window_mfn());
    let fifo = hv::op(EVENT_CHANNEL_OP, INIT_CONTROL, &mut control);
    for _ in 0..200 {
        let mut array = ExpandArray {
            array_gfn: Gfn(mmu::window_mfn()),
        };
        hv::op(EVENT_CHANNEL_OP, EXPAND_ARRAY, &mut array);
    }
    let mfn = [mmu::window_mfn(); 2];
    mmu::map_window(0);
    let pfn = [1u64];
    let mut exchange = MemoryExchange {
        r#in: reservation(&mfn, 0),
        out: reservation(&pfn, 1),
        ..Default::default()
    };
    refuse(
        "the same page twice",
        hv::call(
            MEMORY_OP,
            [EXCHANGE.into(), &raw mut exchange as u64, 0, 0, 0],
        ),
    );
    let mut more = reservation(&pfn, 0);
    let got = hv::call(
        MEMORY_OP,
        [POPULATE_PHYSMAP.into(), &raw mut more as u64, 0, 0, 0],
    );
    let shared_list = [shared];
    let mut give = reservation(&shared_list, 0);
    let given = hv::call(
        MEMORY_OP,
        [DECREASE_RESERVATION.into(), &raw mut give as u64, 0, 0, 0],
    );

    say!("leaks: fifo {fifo}, populated {got}, gave shared info {given}, {breaches} BREACHES");
}

fn reservation(list: &[u64], order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestHandle::new(list.as_ptr() as u64),
        nr_extents: list.len() as u64,
        extent_order: order,
        mem_flags: 0,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    }
}

/// System time when this vcpu was last put on a CPU.
fn about_now() -> u64 {
    let mut state = RunstateInfo::default();
    let place = &raw mut state as u64;
    hv::call(VCPU_OP, [GET_RUNSTATE_INFO.into(), 0, place, 0, 0]);
    state.state_entry_time
}

/// The well-behaved one: says a number twice a second, for ever.
pub fn tick() {
    const HALF: u64 = 500_000_000;
    for n in 0u64.. {
        let mut poll = Poll {
            timeout: about_now() + HALF,
            ..Poll::default()
        };
        hv::op(SCHED_OP, POLL, &mut poll);
        say!("tick={n}");
    }
}

/// A poll that an event ends before its own timeout; and timers in the past, at the end of time, and very often.
pub fn poll() {
    const MS: u64 = 1_000_000;
    let mut bind = BindVirq {
        virq: VIRQ_TIMER,
        ..BindVirq::default()
    };
    let bound = hv::op(EVENT_CHANNEL_OP, BIND_VIRQ, &mut bind);
    let port = [bind.port];
    for round in 0..20 {
        let now = about_now();
        let first = [0, now + 5 * MS, now + 20 * MS, u64::MAX >> 1, 1][round % 5];
        hv::call(SET_TIMER_OP, [first, 0, 0, 0, 0]);
        let mut poll = Poll {
            ports: GuestHandle::new(port.as_ptr() as u64),
            nr_ports: 1,
            timeout: now + 40 * MS,
            ..Poll::default()
        };
        hv::op(SCHED_OP, POLL, &mut poll);
    }
    let mut often = SetPeriodicTimer { period_ns: MS };
    hv::call(
        VCPU_OP,
        [SET_PERIODIC_TIMER.into(), 0, &raw mut often as u64, 0, 0],
    );
    let _: Port = port[0];
    say!("leaks: bound {bound}, polled");
}

/// Starts the other vcpus with contexts in which some words are wrong.
pub fn context(info: &StartInfo, seed: u64) {
    let mut random = Random::new(seed);
    let (mut refused, mut started) = (0, 0);
    for vcpu in 1..8 {
        for _ in 0..200 {
            wrong_context(info, &mut random);
            let context = &raw mut CONTEXT as u64;
            if hv::call(VCPU_OP, [INITIALISE.into(), vcpu, context, 0, 0]) == 0 {
                started += u32::from(hv::call(VCPU_OP, [UP.into(), vcpu, 0, 0, 0]) == 0);
                break;
            }
            refused += 1;
        }
    }
    say!("leaks: {refused} contexts refused, {started} vcpus started");
}

// SAFETY: all zeros are a valid context: it is plain data.
static mut CONTEXT: VcpuGuestContext = unsafe { core::mem::zeroed() };

/// Makes [`CONTEXT`] that of a spinning vcpu, then changes words of it at random.
fn wrong_context(info: &StartInfo, random: &mut Random) {
    let context = &raw mut CONTEXT;
    // SAFETY: plain data of ours that only this code touches; the hypervisor copies it.
    unsafe {
        context.write_bytes(0, 1);
        (*context).flags = VGCF_IN_KERNEL | random.below(2);
        (*context).user_regs.rip = crate::probe::spin_address();
        (*context).user_regs.cs = crate::probe::KERNEL_CS;
        (*context).user_regs.ss = crate::probe::KERNEL_SS;
        (*context).ctrlreg[3] = pfn_to_cr3(mmu::virt_to_mfn(info.pt_base));
        let words = context.cast::<u64>();
        for _ in 0..1 + random.below(12) {
            // The FPU image, the registers, tables and bases, or the trap table.
            let at = match random.below(4) {
                0 => random.below(64),
                1 => 65 + random.below(25),
                2 => 602 + random.below(44),
                _ => 90 + random.below(512),
            };
            let value = match random.below(5) {
                0 => random.below(64),
                1 => 0xffff_8000_0000_0000 | random.next(),
                2 => 1 << random.below(64),
                3 => 0x8000_0000_0000,
                _ => random.next(),
            };
            words.add(at as usize).write(value);
        }
    }
}
