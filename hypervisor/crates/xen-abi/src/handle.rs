//! Guest handles, union payloads and other shapes that recur in the ABI's structs.
use core::{fmt, marker::PhantomData};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `XEN_GUEST_HANDLE(T)`: the address of `T`s in the caller's address space. An allegation until validated.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestHandle<T> {
    addr: u64,
    target: PhantomData<T>,
}

/// `XEN_GUEST_HANDLE_64(T)`: the same thing for a 64-bit caller.
pub type GuestHandle64<T> = GuestHandle<T>;

impl<T> GuestHandle<T> {
    /// The null handle.
    pub const NULL: GuestHandle<T> = GuestHandle::new(0);

    /// A handle that alleges `T`s at `addr`.
    pub const fn new(addr: u64) -> Self {
        GuestHandle {
            addr,
            target: PhantomData,
        }
    }
    /// The alleged address, in bytes.
    pub const fn addr(self) -> u64 {
        self.addr
    }
    /// True for the null handle, which many calls read as "just tell me the count".
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }
    /// The handle of the `n`th element, or `None` when its address overflows.
    pub const fn nth(self, n: u64) -> Option<Self> {
        let Some(bytes) = n.checked_mul(size_of::<T>() as u64) else {
            return None;
        };
        match self.addr.checked_add(bytes) {
            Some(addr) => Some(GuestHandle::new(addr)),
            None => None,
        }
    }
    /// The same address, seen as another type's.
    pub const fn cast<U>(self) -> GuestHandle<U> {
        GuestHandle::new(self.addr)
    }
}

// By hand, for `derive` would ask the same of `T`.
impl<T> Clone for GuestHandle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for GuestHandle<T> {}
impl<T> PartialEq for GuestHandle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}
impl<T> Eq for GuestHandle<T> {}
impl<T> Default for GuestHandle<T> {
    fn default() -> Self {
        GuestHandle::NULL
    }
}
impl<T> fmt::Debug for GuestHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {:#x}", self.addr)
    }
}

macro_rules! payload {
    ($(#[$m:meta])* $name:ident, $word:ty) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(transparent)]
        pub struct $name<const WORDS: usize>(pub [$word; WORDS]);

        impl<const WORDS: usize> $name<WORDS> {
            /// The union's start read as a `T`; a `T` larger than the union does not compile.
            pub fn get<T: FromBytes>(&self) -> T {
                const { assert!(size_of::<T>() <= WORDS * size_of::<$word>()) };
                match T::read_from_prefix(self.as_bytes()) {
                    Ok((value, _)) => value,
                    Err(_) => T::new_zeroed(), // unreachable: the size is checked above
                }
            }
            /// Overwrites the union's start with `value` and leaves the rest as it was.
            pub fn set<T: IntoBytes + Immutable>(&mut self, value: T) {
                const { assert!(size_of::<T>() <= WORDS * size_of::<$word>()) };
                let written = value.write_to_prefix(self.as_mut_bytes());
                debug_assert!(written.is_ok());
            }
            /// A union that starts with `value`, its remaining bytes zero.
            pub fn of<T: IntoBytes + Immutable>(value: T) -> Self {
                let mut payload = Self::default();
                payload.set(value);
                payload
            }
        }
        impl<const WORDS: usize> Default for $name<WORDS> {
            fn default() -> Self {
                Self::new_zeroed()
            }
        }
        impl<const WORDS: usize> fmt::Debug for $name<WORDS> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "union of {} bytes", WORDS * size_of::<$word>())
            }
        }
    };
}

payload!(
    /// A union of alignment 8, as so many 64-bit words.
    Payload, u64
);
payload!(
    /// A union of alignment 4, as so many 32-bit words.
    Payload32, u32
);

/// `xen_domain_handle_t`: a domain's UUID.
pub type DomainHandle = [u8; 16];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_round_trips_and_keeps_the_rest() {
        let mut p = Payload([!0u64; 2]);
        p.set(7u32);
        assert_eq!(p.get::<u32>(), 7);
        assert_eq!(p.get::<[u32; 4]>(), [7, !0, !0, !0]);
        assert_eq!(Payload::<2>::of(7u32).get::<[u32; 4]>(), [7, 0, 0, 0]);
    }

    #[test]
    fn nth_refuses_to_wrap() {
        let h = GuestHandle::<u64>::new(0x1000);
        assert_eq!(h.nth(2).map(|h| h.addr()), Some(0x1010));
        assert_eq!(h.nth(u64::MAX), None);
        assert_eq!(GuestHandle::<u64>::new(!7).nth(1), None);
    }
}
