//! Permissions: a list of [`Perm`], the first naming the owner and what everybody else may do.
use crate::XsError;
use std::fmt;

/// What a domain may do with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Access {
    /// `r` or `b`.
    pub read: bool,
    /// `w` or `b`.
    pub write: bool,
}

impl Access {
    /// `n`.
    pub const NONE: Access = Access {
        read: false,
        write: false,
    };
    /// `r`.
    pub const READ: Access = Access {
        read: true,
        write: false,
    };
    /// `w`.
    pub const WRITE: Access = Access {
        read: false,
        write: true,
    };
    /// `b`.
    pub const BOTH: Access = Access {
        read: true,
        write: true,
    };

    /// Are all of `want`'s rights here?
    pub fn covers(self, want: Access) -> bool {
        (self.read || !want.read) && (self.write || !want.write)
    }
}

/// One entry of a permission list, written like `n0`, `r5`, `w3`, `b12`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Perm {
    /// The domain.
    pub domid: u16,
    /// Its rights; in the first entry, everybody else's.
    pub access: Access,
}

impl Perm {
    /// `n<domid>`: as first entry, owned by `domid`, others get nothing.
    pub const fn none(domid: u16) -> Perm {
        Perm {
            domid,
            access: Access::NONE,
        }
    }
    /// `r<domid>`.
    pub const fn read(domid: u16) -> Perm {
        Perm {
            domid,
            access: Access::READ,
        }
    }
    /// `w<domid>`.
    pub const fn write(domid: u16) -> Perm {
        Perm {
            domid,
            access: Access::WRITE,
        }
    }
    /// `b<domid>`.
    pub const fn both(domid: u16) -> Perm {
        Perm {
            domid,
            access: Access::BOTH,
        }
    }

    /// Parse one entry; `EINVAL` if it is not a letter of `rwbn` and a decimal domain id.
    pub fn parse(raw: &[u8]) -> Result<Perm, XsError> {
        let (letter, id) = raw.split_first().ok_or(XsError::EINVAL)?;
        let access = match letter {
            b'n' => Access::NONE,
            b'r' => Access::READ,
            b'w' => Access::WRITE,
            b'b' => Access::BOTH,
            _ => return Err(XsError::EINVAL),
        };
        let domid = parse_number(id)?;
        Ok(Perm { domid, access })
    }

    /// Parse a NUL-separated list; `EINVAL` if it is empty or any entry is malformed.
    pub fn parse_list<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Perm>, XsError> {
        let list = parts.map(Perm::parse).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            Err(XsError::EINVAL)
        } else {
            Ok(list)
        }
    }
}

/// A plain decimal number, digits only; `EINVAL` otherwise or when too large.
pub fn parse_number<T: std::str::FromStr>(raw: &[u8]) -> Result<T, XsError> {
    let s = std::str::from_utf8(raw).map_err(|_| XsError::EINVAL)?;
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
        return Err(XsError::EINVAL);
    }
    s.parse().map_err(|_| XsError::EINVAL)
}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match (self.access.read, self.access.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        write!(f, "{letter}{}", self.domid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_permissions_are_einval() {
        for bad in ["", "n", "x0", "r-1", "r+1", "r65536", "r 1", "rr1"] {
            assert_eq!(Perm::parse(bad.as_bytes()), Err(XsError::EINVAL), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn permissions_read_back_as_written(domid in any::<u16>(), read in any::<bool>(), write in any::<bool>()) {
            let p = Perm { domid, access: Access { read, write } };
            prop_assert_eq!(Perm::parse(p.to_string().as_bytes()), Ok(p));
        }
    }
}
