//! Stories about whole hosts: [`host::Host`] boots one in an emulator and talks to its dom0. The stories are in `tests/tests/`.
//!
//! Stories that need an emulator are `#[ignore]`d for a plain `cargo test`; `tests/run` runs each as a process of its own, a few at a time.
//! A story that both hypervisors and both sets of tools must bear out is told with [`matrix!`].

pub mod host;
pub mod installed;
pub mod micro;
pub mod xentools;

pub use host::{Builder, Host, Reply, Story, console_until, corten, typed, xen};
pub use installed::{Installed, debian, installed};

/// Debian's Xen with Debian's tools: that a story is true at all.
pub fn reference() -> Builder {
    xen()
}

/// Debian's Xen with our tools: that our tools are right.
pub fn tools() -> Builder {
    xen().our_tools()
}

/// Corten with Debian's tools: that our hypervisor is right.
pub fn hypervisor() -> Builder {
    corten().debian_tools()
}

/// Corten with our tools.
pub fn product() -> Builder {
    corten()
}

/// Makes a test of a story (`fn(Builder) -> Story`) for each of the named hosts. Those behind a `|` are in a module `more`,
/// which only `tests/run --more` tells: other stories have borne out on those hosts most of what they would.
#[macro_export]
macro_rules! matrix {
    ($($story:ident: $($host:ident),* $(| $($more:ident),+)?;)+) => {
        $(mod $story {
            $(#[test]
            #[ignore = "emulator"]
            fn $host() -> $crate::Story {
                super::$story($crate::$host())
            })*
            $(mod more {
                $(#[test]
                #[ignore = "emulator"]
                fn $more() -> $crate::Story {
                    super::super::$story($crate::$more())
                })+
            })?
        })+
    };
}
