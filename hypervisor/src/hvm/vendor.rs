//! AMD-V or VT-x: which of the two this machine has, and the few calls that differ by it.

use super::{VirtualCpu, run_on};
use crate::arch::x86::svm::{self, Svm};
use crate::arch::x86::vmx::{self, Vmx};
use ::mm::p2m::Format;
use alloc::sync::Arc;
use domain::tsc::Scaling;
use domain::{Domain, GuestPaging, Vcpu};

/// Can hardware guests be run?
pub fn available() -> bool {
    vmx::available() || svm::available()
}

/// How the CPU multiplies the TSC for guests, if it does.
pub fn tsc_scaling() -> Option<Scaling> {
    if vmx::available() {
        vmx::tsc_scaling()
    } else {
        svm::tsc_scaling()
    }
}

/// Sets this CPU up for them.
pub fn init_cpu() {
    svm::init_cpu();
    vmx::init_cpu();
}

/// The format of second-level page tables.
pub fn format() -> Format {
    if vmx::available() {
        Format::Ept
    } else {
        Format::Npt
    }
}

/// Puts a vcpu onto this CPU.
pub fn load(dom: &'static Arc<Domain>, v: &'static Vcpu) {
    if vmx::available() {
        vmx::state::load(dom, v);
    } else {
        svm::state::load(dom, v);
    }
}

/// Takes a vcpu off this CPU.
pub fn save(v: &Vcpu) {
    if vmx::available() {
        vmx::state::save(v);
    } else {
        svm::state::save(v);
    }
}

/// How the loaded vcpu translates addresses.
pub fn paging() -> GuestPaging {
    if vmx::available() {
        Vmx::this_cpu().paging()
    } else {
        Svm::this_cpu().paging()
    }
}

/// Has the loaded vcpu interrupts on?
pub fn interrupts_on() -> bool {
    if vmx::available() {
        Vmx::this_cpu().interrupts_on()
    } else {
        Svm::this_cpu().interrupts_on()
    }
}

/// Runs the loaded vcpu until this CPU should choose anew.
pub fn run(dom: &Domain, v: &Vcpu) {
    if vmx::available() {
        run_on(Vmx::this_cpu(), dom, v);
    } else {
        run_on(Svm::this_cpu(), dom, v);
    }
}
