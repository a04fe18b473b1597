//! GRUB legacy's `menu.lst` and `grub.conf`.

use super::{Entry, Menu, key_and_value, path};

/// Reads the menu. An entry whose kernel is a hypervisor boots the kernel that is its first module.
pub fn parse(text: &str) -> Menu {
    let mut menu = Menu::default();
    let mut entry: Option<Entry> = None;
    let mut titles = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = key_and_value(line);
        match (key.as_str(), &mut entry) {
            ("default", None) => menu.default = Some(value.to_owned()).filter(|v| v != "saved"),
            ("timeout", None) => menu.timeout = value.parse().ok(),
            ("title", _) => {
                let new = Entry {
                    title: value.to_owned(),
                    place: vec![titles],
                    ..Entry::default()
                };
                titles += 1;
                keep(&mut menu, entry.replace(new));
            }
            ("kernel", Some(e)) => image(e, value),
            ("module", Some(e)) if e.kernel.contains("xen") && e.initrds.is_empty() => {
                image(e, value);
            }
            ("module" | "initrd", Some(e)) => {
                e.initrds.extend(value.split_whitespace().map(path));
            }
            _ => {}
        }
    }
    keep(&mut menu, entry);
    menu
}

fn image(entry: &mut Entry, value: &str) {
    // Options such as --type=linux come first.
    let mut words = value.split_whitespace().skip_while(|w| w.starts_with("--"));
    entry.kernel = words.next().map(path).unwrap_or_default();
    entry.args = words.collect::<Vec<_>>().join(" ");
}

fn keep(menu: &mut Menu, entry: Option<Entry>) {
    menu.entries
        .extend(entry.filter(|e| !e.kernel.is_empty() && e.kernel != "/"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_update_grub_and_xen_tools_write_it() {
        let menu = parse(
            "# comment\ndefault\t1\ntimeout\t\t2\n\ntitle\t\tDebian 12\nroot\t\t(hd0,0)\nkernel\t\t/boot/vmlinuz root=/dev/xvda2 ro\n\
             initrd\t\t/boot/initrd.img\n\ntitle Old\nkernel --type=linux (hd0,0)/vmlinuz.old\n\
             title Xen\nkernel /xen.gz dom0_mem=1G\nmodule /vmlinuz-x console=hvc0\nmodule /initrd-x\n",
        );
        assert_eq!(
            (menu.default.as_deref(), menu.timeout),
            (Some("1"), Some(2))
        );
        let [debian, old, xen] = &menu.entries[..] else {
            panic!("{menu:?}");
        };
        assert_eq!(debian.title, "Debian 12");
        assert_eq!(debian.kernel, "/boot/vmlinuz");
        assert_eq!(debian.args, "root=/dev/xvda2 ro");
        assert_eq!(debian.initrds, ["/boot/initrd.img"]);
        assert_eq!((&*old.kernel, old.initrds.len()), ("/vmlinuz.old", 0));
        assert_eq!((&*xen.kernel, &*xen.args), ("/vmlinuz-x", "console=hvc0"));
        assert_eq!(xen.initrds, ["/initrd-x"]);
        assert_eq!(menu.chosen(), 1);
    }
}
