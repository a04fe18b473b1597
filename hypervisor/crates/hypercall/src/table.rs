//! THE TABLE of hypercalls.
use crate::{Args, Cx, Ret, Stop};
use crate::{
    console, control, descriptors, event_channel, grant_table, hvm, memory, misc, mmu, mmuext,
    multicall,
};
use crate::{physdev, platform, sched, vcpu, version};
use alloc::sync::Arc;
use domain::{Domain, Host, Vcpu};
use xen_abi::Errno;
use xen_abi::hypercall as nr;

macro_rules! table {
    ($( $number:path => $name:literal, $handler:path; )*) => {
        /// Runs hypercall `number`. Numbers that are not in the table return `ENOSYS`.
        #[inline]
        pub fn call<H: Host>(h: &H, dom: &Arc<Domain>, v: &Vcpu, number: u64, args: Args) -> Ret {
            let cx = Cx { h, dom, v, args };
            if dom.is_hvm() && !for_hardware_guests(number) && !(dom.privileged && for_hardware_dom0(number)) {
                return Err(Stop::Error(Errno::ENOSYS));
            }
            match u32::try_from(number) {
                $( Ok($number) => $handler(&cx), )*
                _ => Err(Stop::Error(Errno::ENOSYS)),
            }
        }

        /// The name of a hypercall, for logs.
        pub fn name(number: u64) -> &'static str {
            match u32::try_from(number) {
                $( Ok($number) => $name, )*
                _ => "unknown",
            }
        }
    };
}

/// The calls of guests that have page tables, descriptors and interrupts of their own.
fn for_hardware_guests(number: u64) -> bool {
    let also = [
        nr::MEMORY_OP,
        nr::MULTICALL,
        nr::SET_TIMER_OP,
        nr::XEN_VERSION,
        nr::CONSOLE_IO,
        nr::GRANT_TABLE_OP,
        nr::VM_ASSIST,
        nr::VCPU_OP,
        nr::SCHED_OP,
        nr::EVENT_CHANNEL_OP,
        nr::HVM_OP,
    ];
    also.iter().any(|n| u64::from(*n) == number)
}

/// The calls of the one among them that runs the machine and the other guests.
fn for_hardware_dom0(number: u64) -> bool {
    let also = [
        nr::PLATFORM_OP,
        nr::PHYSDEV_OP,
        nr::SYSCTL,
        nr::DOMCTL,
        nr::MMU_UPDATE,
        nr::MMUEXT_OP,
    ];
    also.iter().any(|n| u64::from(*n) == number)
}

table! {
    nr::SET_TRAP_TABLE => "set_trap_table", descriptors::set_trap_table;
    nr::MMU_UPDATE => "mmu_update", mmu::mmu_update;
    nr::SET_GDT => "set_gdt", descriptors::set_gdt;
    nr::STACK_SWITCH => "stack_switch", descriptors::stack_switch;
    nr::SET_CALLBACKS => "set_callbacks", descriptors::set_callbacks;
    nr::FPU_TASKSWITCH => "fpu_taskswitch", misc::fpu_taskswitch;
    nr::PLATFORM_OP => "platform_op", platform::platform_op;
    nr::SET_DEBUGREG => "set_debugreg", misc::set_debugreg;
    nr::GET_DEBUGREG => "get_debugreg", misc::get_debugreg;
    nr::UPDATE_DESCRIPTOR => "update_descriptor", descriptors::update_descriptor;
    nr::MEMORY_OP => "memory_op", memory::memory_op;
    nr::MULTICALL => "multicall", multicall::multicall;
    nr::UPDATE_VA_MAPPING => "update_va_mapping", mmu::update_va_mapping;
    nr::UPDATE_VA_MAPPING_OTHERDOMAIN => "update_va_mapping_otherdomain", mmu::update_va_mapping_otherdomain;
    nr::SET_TIMER_OP => "set_timer_op", vcpu::set_timer_op;
    nr::XEN_VERSION => "xen_version", version::xen_version;
    nr::CONSOLE_IO => "console_io", console::console_io;
    nr::GRANT_TABLE_OP => "grant_table_op", grant_table::grant_table_op;
    nr::VM_ASSIST => "vm_assist", misc::vm_assist;
    nr::VCPU_OP => "vcpu_op", vcpu::vcpu_op;
    nr::SET_SEGMENT_BASE => "set_segment_base", misc::set_segment_base;
    nr::MMUEXT_OP => "mmuext_op", mmuext::mmuext_op;
    nr::NMI_OP => "nmi_op", misc::nmi_op;
    nr::SCHED_OP => "sched_op", sched::sched_op;
    nr::HVM_OP => "hvm_op", hvm::hvm_op;
    nr::CALLBACK_OP => "callback_op", descriptors::callback_op;
    nr::EVENT_CHANNEL_OP => "event_channel_op", event_channel::event_channel_op;
    nr::PHYSDEV_OP => "physdev_op", physdev::physdev_op;
    nr::SYSCTL => "sysctl", control::sysctl;
    nr::DOMCTL => "domctl", control::domctl;
}
