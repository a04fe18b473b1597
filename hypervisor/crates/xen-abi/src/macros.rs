//! Macros that declare ABI constants and structs once: the value, its C name as documentation, compile-time size and
//! offset assertions, and a table for the test that compares them all with the C headers (`tests/layout.rs`).

/// Declares constants of one type, plus a table of them named after the list.
macro_rules! consts {
    ($list:ident: $t:ty { $( $(#[$m:meta])* $name:ident = $val:expr, $c:literal; )* }) => {
        $(
            #[doc = concat!("`", $c, "`")]
            #[doc = ""]
            $(#[$m])*
            pub const $name: $t = $val;
        )*
        /// The constants of this list, with their C names.
        pub const $list: &[$crate::layout::Const] = &[
            $( $crate::layout::Const {
                name: stringify!($name), c: $c, value: $name as u64, size: size_of::<$t>(),
            }, )*
        ];
    };
}

/// Declares `repr(C)` structs with explicit padding; each field is written `offset => name: Type`.
macro_rules! abi_structs {
    ($list:ident { $(
        $(#[$m:meta])*
        struct $name:ident = $c:literal, $size:literal { $( $(#[$fm:meta])* $off:literal => $f:ident: $t:ty, )* }
    )* }) => {
        $(
            $(#[$m])*
            #[doc = ""]
            #[doc = concat!("`", $c, "`, ", $size, " bytes.")]
            #[derive(
                Clone, Copy, PartialEq, Eq, Debug,
                zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
            )]
            #[repr(C)]
            #[allow(missing_docs)]
            pub struct $name { $( $(#[$fm])* pub $f: $t, )* }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $( assert!(core::mem::offset_of!($name, $f) == $off); )*
            };

            impl Default for $name {
                fn default() -> Self {
                    zerocopy::FromZeros::new_zeroed()
                }
            }
        )*
        /// Sizes and offsets of this list's structs, with their C names.
        pub const $list: &[$crate::layout::StructLayout] = &[
            $( $crate::layout::StructLayout {
                name: stringify!($name), c: $c, size: $size, fields: &[ $( (stringify!($f), $off) ),* ],
            }, )*
        ];
    };
}

#[allow(unused_macros)]
/// Typed readers and writers of a union field `u`: `name, set_name: Type;`.
macro_rules! union_accessors {
    ($owner:ty { $( $get:ident, $set:ident: $t:ty; )* }) => {
        impl $owner {
            $(
                #[doc = concat!("The union read as `", stringify!($t), "`.")]
                pub fn $get(&self) -> $t {
                    self.u.get()
                }
                #[doc = concat!("Overwrites the union's start with a `", stringify!($t), "`.")]
                pub fn $set(&mut self, v: $t) {
                    self.u.set(v)
                }
            )*
        }
    };
}
