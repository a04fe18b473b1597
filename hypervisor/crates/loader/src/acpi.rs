//! [`tables`]: the ACPI tables of a PVH Domain-0. They are the machine's own, where they lie, but for the MADT: its processors are the
//! domain's vcpus, and the 8259s are gone (ACPI 6.4, 5.2.5 to 5.2.12).
use alloc::vec::Vec;

const RSDP_LEN: usize = 36;
/// Bytes of the RSDP that its first checksum covers.
const RSDP_V1: usize = 20;
const HEADER: usize = 36;
/// MADT: address of the local APICs, flags; the entries follow.
const MADT_ENTRIES: usize = HEADER + 8;
const LOCAL_APIC: u8 = 0;
const IO_APIC: u8 = 1;
const OVERRIDE: u8 = 2;
const LAPIC_BASE: u32 = 0xfee0_0000;
const OEM: &[u8] = b"CORTEN";

/// RSDP, XSDT and MADT as they are to lie at `base`. `kept`: addresses of the machine's tables that go along; `madt`: its MADT,
/// whose I/O APICs and overrides stay.
pub fn tables(base: u64, kept: &[u64], madt: &[u8], vcpus: u32) -> Vec<u8> {
    let xsdt_at = RSDP_LEN.next_multiple_of(16);
    let madt_at = (xsdt_at + HEADER + (kept.len() + 1) * 8).next_multiple_of(16);
    let mut image = rsdp(base + xsdt_at as u64);
    image.resize(xsdt_at, 0);
    let mut pointers: Vec<u64> = kept.to_vec();
    pointers.push(base + madt_at as u64);
    let body: Vec<u8> = pointers.iter().flat_map(|p| p.to_le_bytes()).collect();
    image.extend(table(b"XSDT", 1, &body));
    image.resize(madt_at, 0);
    image.extend(table(b"APIC", 4, &madt_body(madt, vcpus)));
    image
}

fn rsdp(xsdt: u64) -> Vec<u8> {
    let mut r = Vec::from(*b"RSD PTR ");
    r.push(0);
    r.extend_from_slice(OEM);
    r.push(2);
    r.extend_from_slice(&0u32.to_le_bytes());
    r.extend_from_slice(&(RSDP_LEN as u32).to_le_bytes());
    r.extend_from_slice(&xsdt.to_le_bytes());
    r.resize(RSDP_LEN, 0);
    let first = checksum(r.get(..RSDP_V1).unwrap_or(&[]));
    set(&mut r, 8, first);
    let all = checksum(&r);
    set(&mut r, 32, all);
    r
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0u8, |sum, b| sum.wrapping_add(*b))
        .wrapping_neg()
}

fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut t = Vec::from(*signature);
    t.extend_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
    t.extend_from_slice(&[revision, 0]);
    t.extend_from_slice(OEM);
    t.extend_from_slice(b"DOM0    ");
    t.extend_from_slice(&1u32.to_le_bytes());
    t.extend_from_slice(b"CRTN");
    t.extend_from_slice(&1u32.to_le_bytes());
    t.extend_from_slice(body);
    let sum = checksum(&t);
    set(&mut t, 9, sum);
    t
}

fn madt_body(machine: &[u8], vcpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&LAPIC_BASE.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    // Identifiers above 254 would need another kind of entry; there are not that many.
    for vcpu in 0..vcpus.min(127) as u8 {
        body.extend_from_slice(&[LOCAL_APIC, 8, vcpu, vcpu * 2, 1, 0, 0, 0]);
    }
    let mut rest = machine.get(MADT_ENTRIES..).unwrap_or(&[]);
    while let [kind, len, ..] = *rest {
        let Some((entry, behind)) = rest.split_at_checked(usize::from(len).max(2)) else {
            break;
        };
        if matches!(kind, IO_APIC | OVERRIDE) {
            body.extend_from_slice(entry);
        }
        rest = behind;
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_add_up_and_the_machines_controllers_stay() {
        let io_apic = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
        let over = [2, 10, 0, 0, 2, 0, 0, 0, 0, 0];
        let mut machine = alloc::vec![0u8; MADT_ENTRIES];
        machine.extend_from_slice(&[0, 8, 0, 0, 1, 0, 0, 0]);
        machine.extend_from_slice(&io_apic);
        machine.extend_from_slice(&over);
        // A broken last entry.
        machine.extend_from_slice(&[1, 12, 0]);
        let image = tables(0x10_0000, &[0x1234], &machine, 3);
        assert_eq!(checksum(&image[..RSDP_V1]), 0);
        assert_eq!(checksum(&image[..RSDP_LEN]), 0);
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
        let xsdt = word(24) - 0x10_0000;
        assert_eq!(checksum(&image[xsdt..xsdt + HEADER + 16]), 0);
        assert_eq!(word(xsdt + HEADER), 0x1234);
        let madt = word(xsdt + HEADER + 8) - 0x10_0000;
        assert_eq!(checksum(&image[madt..]), 0);
        let entries = &image[madt + MADT_ENTRIES..];
        assert_eq!(entries[16..24], [0, 8, 2, 4, 1, 0, 0, 0]);
        assert_eq!(entries[24..36], io_apic);
        assert_eq!(entries[36..], over);
    }
}
