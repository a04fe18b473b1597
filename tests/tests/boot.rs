//! From power-on to dom0: firmware, loaders, CPUs, sizes of memory, dom0's own drivers, and what cannot work.

use integration::{Builder, Host, Story, corten, matrix};
use qemu::kernel::Kernel;
use qemu::{Context, paths};
use std::time::Duration;

matrix! {
    through_grub_on_a_bios: reference, product;
    through_grub_on_uefi: reference, product;
    dom0_gets_the_memory_it_was_given: reference, product;
    all_cpus_are_brought_up: reference, product;
    dom0_drives_the_hardware: reference, product;
    an_older_machine_with_little_memory: reference, product;
}

/// The longest that giving up may take.
const SOON: Duration = Duration::from_secs(60);

fn through_grub_on_a_bios(host: Builder) -> Story {
    let mut host = Host::boot(host.grub())?;
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    host.power_off()
}

fn through_grub_on_uefi(host: Builder) -> Story {
    let mut host = Host::boot(host.uefi())?;
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    host.power_off()
}

/// Our messages are on the screen (seen by eye), and then dom0's are.
#[test]
#[ignore = "emulator"]
fn the_screen_is_ours_first_and_dom0s_then() -> Story {
    for (host, kind) in [(corten().grub(), "VESA VGA"), (corten().uefi(), "EFI VGA")] {
        let mut host = Host::boot(host.device("-vga std").option("console=com1,vga"))?;
        host.log()?.shows("The screen is Domain-0's")?;
        host.dom0("cat /proc/fb")?.shows(kind)?;
        host.power_off()?;
    }
    Ok(())
}

/// The forms of `dom0_mem`, on a machine of 2 GiB.
fn dom0_gets_the_memory_it_was_given(builder: Builder) -> Story {
    for (form, least, most) in [
        ("384M,max:384M", 384, 384),
        ("min:300M,max:400M,25%", 380, 400),
        ("-1400M", 550, 648),
    ] {
        let mut host = Host::boot(builder.clone().dom0_mem(form))?;
        let mib = host
            .dom0("xl list 0 | awk 'NR == 2 { print \"mib=\" $3 }'")?
            .number("mib")?;
        assert!(
            (least..=most).contains(&mib),
            "dom0_mem={form} gave {mib} MiB"
        );
        host.power_off()?;
    }
    Ok(())
}

fn all_cpus_are_brought_up(builder: Builder) -> Story {
    for cpus in [1, 5, 8] {
        let mut host = Host::boot(builder.clone().cpus(cpus))?;
        assert_eq!(host.dom0("xl info")?.number("nr_cpus")?, i64::from(cpus));
        assert_eq!(host.dom0("nproc")?.text.trim(), cpus.to_string());
        host.power_off()?;
    }
    let mut host = Host::boot(builder.cpus(4).option("dom0_max_vcpus=2"))?;
    assert_eq!(host.dom0("nproc")?.text.trim(), "2");
    host.power_off()
}

/// Disks on AHCI and virtio, network cards e1000 and virtio: interrupts (MSI where there are any) and DMA.
fn dom0_drives_the_hardware(host: Builder) -> Story {
    let disk = paths::target().join("test/disk.img");
    std::fs::create_dir_all(paths::target().join("test"))?;
    std::fs::write(&disk, vec![0x5a_u8; 4 << 20]).context(disk.display())?;
    let disk = disk.display();
    let host = host
        .device(&format!("-drive file={disk},format=raw,if=none,id=a,snapshot=on -device ide-hd,drive=a"))
        .device(&format!("-drive file={disk},format=raw,if=none,id=b,snapshot=on -device virtio-blk-pci,drive=b"))
        .device("-netdev user,id=n -device e1000,netdev=n -netdev user,id=m -device virtio-net-pci,netdev=m");
    let mut host = Host::boot(host)?;
    host.dom0("for m in ahci sd_mod virtio_pci virtio_blk virtio_net e1000; do modprobe $m; done; sleep 2")?;
    for disk in ["sda", "vda"] {
        let sum = "dd if=/dev/zero bs=1M count=4 2>/dev/null | tr '\\000' Z | md5sum";
        let read = format!(
            "[ \"$(dd if=/dev/{disk} bs=64k 2>/dev/null | md5sum)\" = \"$({sum})\" ] && echo same"
        );
        host.dom0(&read)?.shows("same")?;
    }
    for card in ["eth0", "eth1"] {
        let reach = format!(
            "ip link set {card} up && ip addr add 10.0.2.15/24 dev {card} && ping -c 2 -W 5 10.0.2.2; ip addr flush dev {card}"
        );
        host.dom0(&reach)?.shows(" 0% packet loss")?;
    }
    host.power_off()
}

fn an_older_machine_with_little_memory(host: Builder) -> Story {
    let mut host = Host::boot(host.machine("pc").memory(768).dom0_mem("384M,max:384M"))?;
    host.start_guest()?;
    host.power_off()
}

/// One clear message, then a reboot (which QEMU is told to take for the end).
fn gives_up(builder: Builder, reason: &str) -> Story {
    let said = builder.power_on()?.ends(SOON)?;
    assert!(
        said.to_lowercase().contains(reason),
        "`{reason}` is not in:\n{said}"
    );
    assert!(
        !said.contains("Linux version"),
        "a kernel was started:\n{said}"
    );
    Ok(())
}

/// Kernels that are none.
fn damaged_kernels() -> qemu::Result<Vec<std::path::PathBuf>> {
    let good = std::fs::read(Kernel::debian()?.image)?;
    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 4096].fill(0xa5);
    let dir = paths::target().join("test");
    std::fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for (name, data) in [
        ("no-kernel", b"hello, world\n".repeat(4096).as_slice()),
        ("truncated", &good[..good.len() / 3]),
        ("corrupt", &corrupt),
    ] {
        files.push(dir.join(name));
        std::fs::write(dir.join(name), data)?;
    }
    Ok(files)
}

#[test]
#[ignore = "emulator"]
fn without_a_kernel_it_gives_up() -> Story {
    gives_up(corten().no_modules(), "module")?;
    for file in damaged_kernels()? {
        gives_up(corten().kernel(file), "kernel")?;
    }
    Ok(())
}

#[test]
#[ignore = "emulator"]
fn without_enough_memory_it_gives_up() -> Story {
    gives_up(corten().dom0_mem("16M"), "memory")?;
    gives_up(corten().memory(96).dom0_mem("64M"), "memory")
}

#[test]
#[ignore = "emulator"]
fn every_cpu_model_of_the_emulator_works() -> Story {
    for model in ["EPYC", "max"] {
        let mut host = Host::boot(corten().cpu(model))?;
        if model == "max" {
            host.dom0("grep -qw avx2 /proc/cpuinfo")?.ok()?;
        }
        host.start_guest()?;
        host.power_off()?;
    }
    Ok(())
}
