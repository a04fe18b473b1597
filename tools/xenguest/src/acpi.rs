//! The ACPI tables of a PVH guest: hardware-reduced, with nothing but processors in them. Made by the crate `acpi_tables`.
//!
//! All vcpus that may ever be online are enabled in the MADT: the guest takes those offline that `cpu/N/availability`
//! says are, and finds their APICs when they are wanted.
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::madt::{EnabledStatus, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::{Aml, aml, rsdp::Rsdp, sdt::Sdt, xsdt::XSDT};
use zerocopy::{Immutable, IntoBytes};

const OEM: [u8; 6] = *b"CORTEN";
const TABLE: [u8; 8] = *b"PVH     ";
const REVISION: u32 = 1;
const LAPIC_BASE: u32 = 0xfee0_0000;
/// Identifiers up to here fit the xAPIC's entry; above it takes the x2APIC's.
const LAST_XAPIC_ID: u32 = 0xfe;
/// Boot architecture flags: neither VGA nor a CMOS clock is to be looked for.
const NO_VGA: u16 = 1 << 2;
const NO_CMOS_RTC: u16 = 1 << 5;
const ALIGN: usize = 16;

/// APIC identifier of a vcpu: even numbers, as the hypervisor's CPUID leaves have it.
pub fn apic_id(vcpu: u32) -> u32 {
    vcpu * 2
}

/// MADT entry of a processor whose identifier needs more than eight bits.
#[repr(C, packed)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct LocalX2Apic {
    r#type: u8,
    length: u8,
    reserved: u16,
    id: u32,
    flags: u32,
    uid: u32,
}

impl Aml for LocalX2Apic {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(self.as_bytes());
    }
}

/// The tables of a guest of `vcpus`, as they are to lie at `base`, which is also where the RSDP is.
pub fn tables(base: u64, vcpus: u32) -> Vec<u8> {
    let mut image = Image {
        base,
        data: vec![0; Rsdp::len()],
    };
    let dsdt = image.place(dsdt(vcpus).as_slice());
    let fadt = image.table(&fadt(dsdt));
    let madt = image.table(&madt(vcpus));
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = image.table(&xsdt);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    image.data[..rsdp.len()].copy_from_slice(&rsdp);
    image.data
}

/// Tables behind one another.
struct Image {
    base: u64,
    data: Vec<u8>,
}

impl Image {
    /// Adds a table; returns its address.
    fn place(&mut self, table: &[u8]) -> u64 {
        self.data.resize(self.data.len().next_multiple_of(ALIGN), 0);
        let at = self.base + self.data.len() as u64;
        self.data.extend_from_slice(table);
        at
    }

    fn table(&mut self, table: &dyn Aml) -> u64 {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        self.place(&bytes)
    }
}

fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (NO_VGA | NO_CMOS_RTC).into();
    fadt.finalize()
}

fn madt(vcpus: u32) -> MADT {
    let at = LocalInterruptController::Address(LAPIC_BASE);
    let mut madt = MADT::new(OEM, TABLE, REVISION, at);
    for vcpu in 0..vcpus {
        let id = apic_id(vcpu);
        match (u8::try_from(vcpu), u8::try_from(id)) {
            (Ok(uid), Ok(small)) if id <= LAST_XAPIC_ID => {
                madt.add_structure(ProcessorLocalApic::new(uid, small, EnabledStatus::Enabled));
            }
            _ => madt.add_structure(LocalX2Apic {
                r#type: 9,
                length: 16,
                reserved: 0,
                id,
                flags: 1,
                uid: vcpu,
            }),
        }
    }
    madt
}

/// A processor device for each vcpu, by the identifier that the MADT gives it.
fn dsdt(vcpus: u32) -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, TABLE, REVISION);
    let mut body = Vec::new();
    for vcpu in 0..vcpus {
        let uid = aml::Name::new("_UID".into(), &vcpu);
        let hid = aml::Name::new("_HID".into(), &"ACPI0007");
        let name = format!("C{vcpu:03X}");
        aml::Device::new(name.as_str().into(), vec![&hid, &uid]).to_aml_bytes(&mut body);
    }
    let mut scoped = Vec::new();
    let raw = Raw(body);
    aml::Scope::new("\\_SB_".into(), vec![&raw]).to_aml_bytes(&mut scoped);
    dsdt.append_slice(&scoped);
    dsdt
}

struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xfc00_0000;

    fn u32_at(data: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(data[at..at + 4].try_into().unwrap())
    }

    /// A table at an address, its checksum checked.
    fn at(data: &[u8], address: u64) -> &[u8] {
        let rest = &data[(address - BASE) as usize..];
        let table = &rest[..u32_at(rest, 4) as usize];
        assert_eq!(table.iter().fold(0u8, |a, b| a.wrapping_add(*b)), 0);
        table
    }

    fn u64_at(data: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn every_vcpu_is_found_from_the_rsdp() {
        for vcpus in [1, 2, 128, 200] {
            let data = tables(BASE, vcpus);
            assert!(data.starts_with(b"RSD PTR "));
            let xsdt = at(&data, u64_at(&data, 24));
            let found: Vec<_> = xsdt[36..]
                .chunks(8)
                .map(|e| at(&data, u64_at(e, 0)))
                .collect();
            assert_eq!([&found[0][..4], &found[1][..4]], [b"FACP", b"APIC"]);
            assert_eq!(&at(&data, u64_at(found[0], 140))[..4], b"DSDT");
            let (mut entries, mut ids) = (&found[1][44..], vec![]);
            while let [kind, len, ..] = *entries {
                ids.push(match kind {
                    0 => u32::from(entries[3]),
                    _ => u32_at(entries, 4),
                });
                entries = &entries[len as usize..];
            }
            assert_eq!(ids, (0..vcpus).map(apic_id).collect::<Vec<_>>());
        }
    }
}
