//! What a boot loader puts in front of the arguments in the strings of the kernel and of the modules.

/// Loaders that pass "path arguments", as Multiboot 1 suggests; GRUB 2 and others pass the arguments alone.
const PATH_FIRST: &[&str] = &[
    "qemu",
    "GNU GRUB 0.",
    "GRUB 0.",
    "iPXE",
    "PXELINUX",
    "SYSLINUX",
    "mboot",
];

/// The arguments in `text`, a kernel's or module's string handed over by the boot loader called `loader`.
/// Drops the path that some loaders put first, and the `placeholder` token that GRUB's configuration
/// scripts use to keep GRUB from dropping a first argument.
#[must_use]
pub fn arguments<'a>(loader: &str, text: &'a str) -> &'a str {
    let mut rest = text.trim();
    if PATH_FIRST
        .iter()
        .any(|name| starts_with_ignoring_case(loader, name))
    {
        rest = rest
            .split_once(char::is_whitespace)
            .map_or("", |(_, args)| args.trim_start());
    }
    while let Some(after) = rest.strip_prefix("placeholder") {
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn grub2_passes_arguments_only() {
        assert_eq!(
            arguments("GRUB 2.06-13+deb12u1", "dom0_mem=512M noreboot"),
            "dom0_mem=512M noreboot"
        );
        assert_eq!(
            arguments("GRUB 2.06", "placeholder root=/dev/sda1 ro "),
            "root=/dev/sda1 ro"
        );
        assert_eq!(arguments("GRUB 2.06", "placeholder"), "");
        assert_eq!(arguments("GRUB 2.06", "placeholders"), "placeholders");
    }

    #[test]
    fn qemu_passes_the_path_first() {
        assert_eq!(
            arguments("qemu", "vmlinuz root=/dev/sda1"),
            "root=/dev/sda1"
        );
        assert_eq!(arguments("qemu", "/boot/corten"), "");
        assert_eq!(arguments("", "a b"), "a b");
    }
}
