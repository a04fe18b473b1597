//! Whole disks, made by `mke2fs`: bare, partitioned either way, and spoilt.

use pygrub::Options;
use std::path::{Path, PathBuf};
use std::process::Command;

const MENU: &str = "set default=\"${next_entry}\"\nset default=1\nset timeout=0\n\
    menuentry 'One' {\n linux /boot/one\n}\n\
    menuentry 'Two' {\n linux /boot/two root=/dev/xvda1 ro\n initrd /boot/ucode /boot/rd\n}\n";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("pygrub-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("tree/boot/grub")).unwrap();
        Scratch(dir)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.0.join("tree").join(path), bytes).unwrap();
    }

    /// A file system with all that was put.
    fn filesystem(&self, kind: &str) -> PathBuf {
        let image = self.0.join(format!("{kind}.img"));
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-t", kind, "-d"])
            .arg(self.0.join("tree"))
            .arg(&image)
            .arg("8M")
            .status()
            .unwrap();
        assert!(made.success());
        image
    }

    /// What `pygrub` says with these options, whose copies go to `out`.
    fn run(&self, disk: &Path, words: &[&str]) -> pygrub::Result<String> {
        let out = format!("--output-directory={}", self.0.join("out").display());
        let disk = disk.display().to_string();
        let fixed = ["pygrub", "-q", "--output-format=simple", &out];
        let words = fixed.iter().chain(words).copied().chain([&*disk]);
        pygrub::run(&Options::parse(words)?.unwrap())
    }

    fn out(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join("out").join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn debian(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.put("boot/grub/grub.cfg", MENU.as_bytes());
    scratch.put("boot/two", &[7; 300_000]);
    scratch.put("boot/one", b"one");
    scratch.put("boot/ucode", b"12345");
    scratch.put("boot/rd", b"rd");
    scratch
}

/// `image` after a MiB with this partition table.
fn partitioned(scratch: &Scratch, image: &Path, table: &[u8]) -> PathBuf {
    let mut bytes = vec![0; 1 << 20];
    bytes[..table.len()].copy_from_slice(table);
    bytes.extend(std::fs::read(image).unwrap());
    bytes.resize(bytes.len() + (1 << 20), 0);
    let disk = scratch.0.join("disk");
    std::fs::write(&disk, bytes).unwrap();
    disk
}

/// A DOS table with these entries: flag, kind, first sector.
fn table(entries: &[(u8, u8, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, (flag, kind, start)) in sector[446..510].chunks_exact_mut(16).zip(entries) {
        entry[0] = *flag;
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&16384u32.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn the_default_entry_of_every_file_system() {
    let s = debian("default");
    for kind in ["ext2", "ext3", "ext4"] {
        let said = s.run(&s.filesystem(kind), &["--args=quiet"]).unwrap();
        let out = s.0.join("out");
        assert_eq!(
            said,
            format!(
                "kernel {0}/boot_kernel\nramdisk {0}/boot_ramdisk\nargs root=/dev/xvda1 ro quiet\n",
                out.display()
            )
        );
        assert_eq!(s.out("boot_kernel"), [7; 300_000]);
        assert_eq!(s.out("boot_ramdisk"), b"12345\0\0\0rd");
        std::fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn entries_are_chosen_and_listed() {
    let s = debian("chosen");
    let disk = s.filesystem("ext4");
    assert!(
        s.run(&disk, &["--entry=One", "-n"])
            .unwrap()
            .starts_with("kernel /boot/one\n")
    );
    assert!(
        s.run(&disk, &["--entry=0", "-n"])
            .unwrap()
            .starts_with("kernel /boot/one\n")
    );
    assert!(
        s.run(&disk, &["-l"])
            .unwrap()
            .contains("title: Two\n  number: 1\n")
    );
    let own = s
        .run(
            &disk,
            &["--kernel=/boot/one", "--ramdisk=/boot/rd", "--args=x"],
        )
        .unwrap();
    assert!(own.ends_with("args x\n"), "{own}");
    assert_eq!(s.out("boot_kernel"), b"one");
    let wrong = s.run(&disk, &["--entry=Three"]).unwrap_err().to_string();
    assert!(
        wrong.contains("no entry \"Three\"; there are 0 \"One\", 1 \"Two\""),
        "{wrong}"
    );
}

#[test]
fn partitions_of_both_kinds() {
    let s = debian("parts");
    let image = s.filesystem("ext4");
    let empty = (0, 0, 0);
    for entries in [
        vec![(0, 0x83, 2048)],
        vec![(0, 0x82, 1), (0x80, 0x83, 2048)],
        vec![(0, 0x05, 1), empty],
    ] {
        let mut table_and_chain = table(&entries);
        if entries[0].1 == 0x05 {
            // A logical partition 2047 sectors after its own table; the next table is the first again.
            table_and_chain.extend(table(&[(0, 0x83, 2047), (0, 0x05, 0)]));
        }
        let disk = partitioned(&s, &image, &table_and_chain);
        assert!(
            s.run(&disk, &["-n"])
                .unwrap()
                .starts_with("kernel /boot/two\n")
        );
    }
    let disk = partitioned(&s, &image, &[]);
    assert!(s.run(&disk, &["-n"]).is_err());
    assert!(s.run(&disk, &["-n", "--offset=1048576"]).is_ok());
    let made = Command::new("/sbin/sfdisk")
        .arg("-q")
        .arg(&disk)
        .stdin(std::process::Stdio::piped())
        .spawn();
    if let Ok(mut sfdisk) = made {
        use std::io::Write;
        sfdisk
            .stdin
            .take()
            .unwrap()
            .write_all(b"label: gpt\nstart=2048, size=16384\n")
            .unwrap();
        assert!(sfdisk.wait().unwrap().success());
        assert!(
            s.run(&disk, &["-n"])
                .unwrap()
                .starts_with("kernel /boot/two\n")
        );
    }
}

#[test]
fn what_is_missing_is_said() {
    let s = debian("missing");
    std::fs::remove_file(s.0.join("tree/boot/rd")).unwrap();
    let e = s.run(&s.filesystem("ext4"), &[]).unwrap_err().to_string();
    assert!(e.contains("/boot/rd on the whole disk"), "{e}");
    // The kernel's copy does not stay.
    assert_eq!(std::fs::read_dir(s.0.join("out")).unwrap().count(), 0);
    std::fs::remove_file(s.0.join("tree/boot/grub/grub.cfg")).unwrap();
    let e = s.run(&s.filesystem("ext4"), &[]).unwrap_err().to_string();
    assert!(
        e.contains("no boot menu") && e.contains("grub/menu.lst"),
        "{e}"
    );
    let xfs = s.0.join("xfs");
    std::fs::write(&xfs, [b"XFSB".to_vec(), vec![0; 1 << 20]].concat()).unwrap();
    let e = s.run(&xfs, &[]).unwrap_err().to_string();
    assert!(e.contains("XFS"), "{e}");
    assert!(
        s.run(Path::new("/nowhere"), &[])
            .unwrap_err()
            .to_string()
            .contains("/nowhere")
    );
    std::fs::write(&xfs, b"short").unwrap();
    assert!(s.run(&xfs, &[]).is_err());
}

/// Bytes changed anywhere in a file system's first blocks end in an answer or an error.
#[test]
fn spoilt_file_systems_do_no_harm() {
    let s = debian("spoilt");
    let good = std::fs::read(s.filesystem("ext4")).unwrap();
    let disk = s.0.join("disk");
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed as usize >> 8
    };
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..20 {
            let at = 1024 + next() % 60_000;
            bytes[at] = next() as u8;
        }
        std::fs::write(&disk, bytes).unwrap();
        let _ = s.run(&disk, &["-n"]);
    }
}
