//! What the declaration macros record about each constant and struct, for the test against the C headers.

/// One constant: Rust name, C name, value (sign-extended) and size of its Rust type in bytes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Const {
    pub name: &'static str,
    pub c: &'static str,
    pub value: u64,
    pub size: usize,
}

/// One struct: Rust name, C type, size in bytes, and (field, offset) pairs; padding fields start with `_`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct StructLayout {
    pub name: &'static str,
    pub c: &'static str,
    pub size: usize,
    pub fields: &'static [(&'static str, usize)],
}

/// The Rust name of the constant of `list` that has `value`: a name to print for a hypercall or sub-op number.
pub fn name_of(list: &[Const], value: u64) -> Option<&'static str> {
    list.iter().find(|c| c.value == value).map(|c| c.name)
}
