//! The console ring (`io/console.h`): `in` is towards the guest, `out` from it. Indices run freely.

abi_structs! { LAYOUT {
    /// The ring page.
    struct Interface = "struct xencons_interface", 3088 {
        0 => r#in: [u8; 1024],
        1024 => out: [u8; 2048],
        3072 => in_cons: u32,
        3076 => in_prod: u32,
        3080 => out_cons: u32,
        3084 => out_prod: u32,
    }
} }
