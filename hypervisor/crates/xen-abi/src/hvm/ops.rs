//! `hvm_op` calls (`hvm/hvm_op.h`).
use crate::types::{DomId, Pfn, VcpuId};

consts! { OPS: u32 {
    SET_PARAM = 0, "HVMOP_set_param";
    GET_PARAM = 1, "HVMOP_get_param";
    FLUSH_TLBS = 5, "HVMOP_flush_tlbs";
    PAGETABLE_DYING = 9, "HVMOP_pagetable_dying";
    GET_TIME = 10, "HVMOP_get_time";
    XENTRACE = 11, "HVMOP_xentrace";
    SET_MEM_ACCESS = 12, "HVMOP_set_mem_access";
    GET_MEM_ACCESS = 13, "HVMOP_get_mem_access";
    GET_MEM_TYPE = 15, "HVMOP_get_mem_type";
    SET_EVTCHN_UPCALL_VECTOR = 23, "HVMOP_set_evtchn_upcall_vector";
    GUEST_REQUEST_VM_EVENT = 24, "HVMOP_guest_request_vm_event";
    ALTP2M = 25, "HVMOP_altp2m";
    ALTP2M_GET_DOMAIN_STATE = 1, "HVMOP_altp2m_get_domain_state";
    ALTP2M_SET_DOMAIN_STATE = 2, "HVMOP_altp2m_set_domain_state";
    ALTP2M_VCPU_ENABLE_NOTIFY = 3, "HVMOP_altp2m_vcpu_enable_notify";
    ALTP2M_CREATE_P2M = 4, "HVMOP_altp2m_create_p2m";
    ALTP2M_DESTROY_P2M = 5, "HVMOP_altp2m_destroy_p2m";
    ALTP2M_SWITCH_P2M = 6, "HVMOP_altp2m_switch_p2m";
    ALTP2M_SET_MEM_ACCESS = 7, "HVMOP_altp2m_set_mem_access";
    ALTP2M_CHANGE_GFN = 8, "HVMOP_altp2m_change_gfn";
    ALTP2M_SET_MEM_ACCESS_MULTI = 9, "HVMOP_altp2m_set_mem_access_multi";
    ALTP2M_SET_SUPPRESS_VE = 10, "HVMOP_altp2m_set_suppress_ve";
    ALTP2M_GET_SUPPRESS_VE = 11, "HVMOP_altp2m_get_suppress_ve";
    ALTP2M_GET_MEM_ACCESS = 12, "HVMOP_altp2m_get_mem_access";
    ALTP2M_VCPU_DISABLE_NOTIFY = 13, "HVMOP_altp2m_vcpu_disable_notify";
    ALTP2M_GET_P2M_IDX = 14, "HVMOP_altp2m_get_p2m_idx";
    ALTP2M_SET_SUPPRESS_VE_MULTI = 15, "HVMOP_altp2m_set_suppress_ve_multi";
    ALTP2M_SET_VISIBILITY = 16, "HVMOP_altp2m_set_visibility";
} }

consts! { MEM_TYPES: u16 {
    HVMMEM_RAM_RW = 0, "HVMMEM_ram_rw";
    HVMMEM_RAM_RO = 1, "HVMMEM_ram_ro";
    HVMMEM_MMIO_DM = 2, "HVMMEM_mmio_dm";
    HVMMEM_UNUSED = 3, "HVMMEM_unused";
    HVMMEM_IOREQ_SERVER = 4, "HVMMEM_ioreq_server";
} }

consts! { IOREQ_SERVER: u8 {
    IOREQSRV_BUFIOREQ_OFF = 0, "HVM_IOREQSRV_BUFIOREQ_OFF";
    IOREQSRV_BUFIOREQ_LEGACY = 1, "HVM_IOREQSRV_BUFIOREQ_LEGACY";
    IOREQSRV_BUFIOREQ_ATOMIC = 2, "HVM_IOREQSRV_BUFIOREQ_ATOMIC";
} }

abi_structs! { LAYOUT_OPS {
    /// Reads or writes a parameter.
    struct Param = "struct xen_hvm_param", 16 {
        0 => domid: DomId,
        2 => pad: u16,
        4 => index: u32,
        /// In or out.
        8 => value: u64,
    }
    /// Hint: a page table will be freed.
    struct PagetableDying = "struct xen_hvm_pagetable_dying", 16 {
        0 => domid: DomId,
        2 => pad: [u16; 3],
        8 => gpa: u64,
    }
    /// Asks for the system time.
    struct GetTime = "struct xen_hvm_get_time", 8 {
        0 => now: u64,
    }
    /// What kind of memory is a frame?
    struct GetMemType = "struct xen_hvm_get_mem_type", 16 {
        0 => domid: DomId,
        2 => mem_type: u16,
        4 => pad: [u16; 2],
        8 => pfn: Pfn,
    }
    /// Vector that announces events to one vcpu.
    struct EvtchnUpcallVector = "struct xen_hvm_evtchn_upcall_vector", 8 {
        0 => vcpu: VcpuId,
        4 => vector: u8,
        5 => _pad5: [u8; 3],
    }
} }
