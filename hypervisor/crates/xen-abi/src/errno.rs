//! Error numbers of the hypercall ABI (`public/errno.h`). A hypercall returns them negated.
use core::fmt;

macro_rules! errnos {
    ($($name:ident = $val:literal, $text:literal;)*) => {
        /// A Xen error number; the values are Linux's.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        #[allow(missing_docs)]
        pub enum Errno { $($name = $val,)* }

        impl Errno {
            /// The error for a positive errno number, if the ABI knows it.
            pub const fn from_raw(raw: i32) -> Option<Errno> {
                match raw { $($val => Some(Errno::$name),)* _ => None }
            }
            /// A short description for people.
            pub const fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such object";
    ESRCH = 3, "no such domain";
    EINTR = 4, "interrupted";
    EIO = 5, "I/O error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "executable format error";
    EBADF = 9, "bad handle";
    ECHILD = 10, "no child";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "interface version not supported or access denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "already exists";
    EXDEV = 18, "cross-device link";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "table overflow";
    EMFILE = 24, "too many open";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    EMLINK = 31, "too many links";
    EDOM = 33, "argument out of domain";
    ERANGE = 34, "result out of range";
    EDEADLK = 35, "would deadlock";
    ENAMETOOLONG = 36, "name too long";
    ENOLCK = 37, "no locks";
    ENOSYS = 38, "not implemented";
    ENOTEMPTY = 39, "not empty";
    ENODATA = 61, "no data";
    ETIME = 62, "timer expired";
    EBADMSG = 74, "bad message";
    EOVERFLOW = 75, "value too large";
    EILSEQ = 84, "illegal sequence";
    ERESTART = 85, "restart";
    ENOTSOCK = 88, "not a socket";
    EMSGSIZE = 90, "message too long";
    EOPNOTSUPP = 95, "not supported";
    EADDRINUSE = 98, "address in use";
    EADDRNOTAVAIL = 99, "address not available";
    ENOBUFS = 105, "no buffer space";
    EISCONN = 106, "already connected";
    ENOTCONN = 107, "not connected";
    ETIMEDOUT = 110, "timed out";
    ECONNREFUSED = 111, "connection refused";
}

impl Errno {
    /// The value a hypercall returns for this error: the negated number.
    pub const fn as_ret(self) -> i64 {
        -(self as i32 as i64)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.text())
    }
}
