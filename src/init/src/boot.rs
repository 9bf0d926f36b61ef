//! What PID 1 of the real kernel does before its loop: the only time at which it may wait.
//!
//! In order: `/proc` (all else is read from it), kernel.panic, `/sys`, `/dev`, standard streams,
//! `/run` and the rest, the root writable, the store read-only, the kernel's own settings, an
//! `/etc` in memory if the system brings one, the host's name, cgroups.
//! With or without an initramfs before it, with or without `CONFIG_DEVTMPFS_MOUNT`: what is there
//! is kept. A step that fails is said and the boot goes on, since a host that runs with a wrong
//! hostname is of more use than one that does not run; nothing here ends PID 1.

use std::path::{Path, PathBuf};
use sys::cgroup;
use sys::clock::{NS_PER_MS, monotonic_ns};
use sys::detach;
use sys::kernel_mounts::{self, KernelMount};
use sys::kmsg::Priority;

/// Where closures lie. Nobody but the agent writes there, in a mount namespace of its own.
const STORE: &str = "/nix/store";

/// Oldest kernel that has what PID 1 stands on: `cgroup.kill` and `tcp_migrate_req` came with 5.14.
const KERNEL_MIN: (u32, u32) = (5, 14);

/// Seconds from a kernel panic to the reboot, unless `panic=` says otherwise. The kernel's default
/// is to hang for ever, which on EC2 nobody sees.
const PANIC_S: &str = "10";

/// Datagrams that wait on a Unix socket: READY and log lines sent while the supervisor restarts.
/// Read by the kernel when a socket is made, so set before any is.
const DATAGRAMS_QUEUED: &str = "512";

/// `/proc/cmdline` and `/etc/hostname` in bytes; the kernel's own limit on the former is 4096.
const TEXT_BYTES_MAX: usize = 8192;

/// The kernel's limit on a host name (`__NEW_UTS_LEN`).
const HOSTNAME_BYTES_MAX: usize = 64;

/// Memory that reclaim leaves to PID 1's own processes, in bytes: supervisor, journal and agent.
const OWN_MEMORY_BYTES: &str = "33554432";

/// How much of a group may be swapped out, in bytes.
const SWAP_MAX: &str = "memory.swap.max";

/// Share of the CPU that PID 1's own processes get under load; a service has 100.
const OWN_CPU_WEIGHT: &str = "1000";

/// The file of a system that says that its `/etc` is made anew at each boot.
const VOLATILE_ETC: &str = "volatile-etc";

/// Such an `/etc`.
const ETC: KernelMount = KernelMount { executable: true, ..mount("tmpfs", "/etc", "mode=755") };

/// The one link that makes `/etc` another system's.
const ETC_STATIC: &str = "/etc/static";

/// Where the supervisor and the agent find their files: a whole directory of the system.
const ETC_ROLLINIT: &str = "/etc/rollinit";

/// In the order in which they are mounted. NixOS's `tty` group is 3.
const MOUNTS: [KernelMount; 8] = [
    mount("proc", "/proc", ""),
    mount("sysfs", "/sys", ""),
    KernelMount { executable: true, devices: true, ..mount("devtmpfs", "/dev", "mode=755") },
    KernelMount { executable: true, ..mount("tmpfs", "/run", "mode=755") },
    KernelMount { devices: true, ..mount("devpts", "/dev/pts", "gid=3,mode=620,ptmxmode=666") },
    KernelMount { executable: true, ..mount("tmpfs", "/dev/shm", "mode=1777") },
    mount("cgroup2", "/sys/fs/cgroup", ""),
    // Secrets of services: never swapped, which a tmpfs may be. The supervisor writes there.
    mount("ramfs", "/run/rollinit/credentials", "mode=711"),
];

const fn mount(kind: &'static str, path: &'static str, options: &'static str) -> KernelMount {
    KernelMount { kind, path, executable: false, devices: false, options }
}

/// Who hears what the boot has to say.
pub type Say<'a> = &'a mut dyn FnMut(Priority, &str);

/// Prepares the machine. Called once, before anything is spawned.
pub fn prepare(say: Say<'_>) {
    let start_ns = monotonic_ns();
    let made_writable = make_mount_points(say);
    for mount in MOUNTS {
        match mount.ensure() {
            Ok(_) if mount.path == "/proc" => set_panic(say),
            Ok(_) if mount.path == "/dev" => silence_streams(say),
            Ok(_) => {}
            Err(error) => {
                let text = format!("mount {} on {}: {error}", mount.kind, mount.path);
                say(Priority::Error, &text);
            }
        }
    }
    mount_firmware(say);
    check_kernel(say);
    settle_root(made_writable, say);
    if Path::new(STORE).is_dir() {
        said(say, "make the store read-only", kernel_mounts::protect(Path::new(STORE)));
    }
    set_kernel(say);
    if let Some(system) = link_system(say) {
        prepare_etc(Path::new("/"), &system, say);
    }
    set_hostname(say);
    said(say, "bring up the loopback link", sys::link::bring_up("lo"));
    said(say, "make mounts shared", kernel_mounts::share_all());
    said(say, "disable ctrl-alt-del's own reboot", sys::reboot::disable_ctrl_alt_del());
    let (before_ms, own_ms) = (start_ns / NS_PER_MS, (monotonic_ns() - start_ns) / NS_PER_MS);
    let text = format!("started {before_ms} ms after the kernel; prepared in {own_ms} ms");
    say(Priority::Information, &text);
}

/// Makes the top of the cgroup tree: `rollinit/supervisor` with its weight and protection, and
/// `services` with every controller that is there passed down. Missing ones are said once.
pub fn prepare_cgroups(root: &cgroup::Root, say: Say<'_>) {
    const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];
    for path in ["rollinit/supervisor", "services"] {
        // Made anew if nobody is in it: an earlier PID 1 of the same tree killed it at its end, and
        // nobody can be born into a killed group (see `Group::kill`).
        let made = root.renew(path).or_else(|_| root.make(path));
        said(say, &format!("make cgroup {path}"), made.map(drop));
    }
    let mut missing = Vec::new();
    for controller in CONTROLLERS {
        let on = format!("+{controller}");
        let passed = ["", "rollinit", "services"].iter().all(|path| {
            root.group(path).is_ok_and(|group| group.write("cgroup.subtree_control", &on).is_ok())
        });
        if !passed {
            missing.push(controller);
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let text = format!("cgroup controllers {missing}: not here; limits by them have no effect");
        say(Priority::Warning, &text);
    }
    for (path, file, value, controller) in [
        ("rollinit", "cpu.weight", OWN_CPU_WEIGHT, "cpu"),
        ("rollinit", "memory.min", OWN_MEMORY_BYTES, "memory"),
        ("rollinit/supervisor", "memory.min", OWN_MEMORY_BYTES, "memory"),
        // Credentials of services pass through it.
        ("rollinit/supervisor", SWAP_MAX, "0", "memory"),
    ] {
        // A kernel without swap has no file for it.
        let is_there = file != SWAP_MAX || root.path().join(path).join(file).exists();
        if is_there && !missing.contains(&controller) {
            let written = root.group(path).and_then(|group| group.write(file, value));
            said(say, &format!("set {file} of cgroup {path}"), written);
        }
    }
}

/// The variables of UEFI, on a host that started by it: what the boot loader says of this boot.
fn mount_firmware(say: Say<'_>) {
    if !Path::new("/sys/firmware/efi").is_dir() {
        return;
    }
    if let Err(error) = mount("efivarfs", "/sys/firmware/efi/efivars", "").ensure() {
        let text = format!("mount efivarfs: {error}; no system can be blessed (module efivarfs)");
        say(Priority::Warning, &text);
    }
}

/// First act after `/proc` is there: from now on even a panic ends in a reboot.
fn set_panic(say: Say<'_>) {
    let command_line = read_small("/proc/cmdline").unwrap_or_default();
    if !has_parameter(&command_line, "panic") {
        said(say, "set kernel.panic", write("/proc/sys/kernel/panic", PANIC_S));
    }
}

/// Points the standard streams at `/dev/null`. The console is written through its own descriptor,
/// which never waits.
fn silence_streams(say: Say<'_>) {
    said(say, "point standard streams at /dev/null", sys::stdio::point_at_null());
}

fn check_kernel(say: Say<'_>) {
    let release = kernel_mounts::kernel_release();
    if release_number(&release).is_some_and(|number| number < KERNEL_MIN) {
        let (major, minor) = KERNEL_MIN;
        let text = format!(
            "kernel {release} is older than {major}.{minor}: stopping a service may leave \
             processes behind; boot a newer kernel"
        );
        say(Priority::Error, &text);
    }
}

/// Makes the directories of a root that lacks them, as one with only `/nix` does. True: it was
/// read-only and had to be made writable for that, before `/proc` could say whether it should be.
fn make_mount_points(say: Say<'_>) -> bool {
    let of_root = |mount: &&KernelMount| Path::new(mount.path).components().count() == 2;
    let missing: Vec<_> =
        MOUNTS.iter().filter(of_root).filter(|mount| !Path::new(mount.path).is_dir()).collect();
    let mut made_writable = false;
    if !missing.is_empty() && kernel_mounts::root_is_read_only().unwrap_or(false) {
        let made = kernel_mounts::make_root_writable();
        made_writable = made.is_ok();
        said(say, "make the root writable for missing mount points", made);
    }
    for mount in missing {
        said(say, &format!("make {}", mount.path), std::fs::create_dir(mount.path));
    }
    made_writable
}

/// Without an initramfs the kernel mounts the root read-only, unless told `rw`. An explicit `ro`
/// is obeyed.
fn settle_root(made_writable: bool, say: Say<'_>) {
    let command_line = read_small("/proc/cmdline").unwrap_or_default();
    let read_only = kernel_mounts::root_is_read_only().unwrap_or(false);
    match (has_word(&command_line, "ro"), read_only) {
        (true, false) if made_writable => {
            said(say, "make the root read-only again", detach::make_read_only(Path::new("/")));
        }
        (false, true) => said(say, "make the root writable", kernel_mounts::make_root_writable()),
        _ => {}
    }
}

/// Settings whose defaults name programs of another distribution, or are too small.
///
/// `core_pattern` is left: the kernel's `core` writes nothing, since the soft limit of a core file
/// that PID 1 inherits and passes on is 0.
fn set_kernel(say: Say<'_>) {
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let command = own.with_file_name("rollinit");
    let poweroff =
        if command.exists() { format!("{} poweroff", command.display()) } else { String::new() };
    for (name, value) in [
        ("net/unix/max_dgram_qlen", DATAGRAMS_QUEUED),
        // By default connections in the queue of a listener that leaves its group are reset,
        // instead of going to the other one: the old side of an app after a swap.
        ("net/ipv4/tcp_migrate_req", "1"),
        // By default the kernel drops what a program says beyond 10 lines in 5 s. Without its line
        // feed the word is refused.
        ("kernel/printk_devkmsg", "on\n"),
        // The kernel's default is /sbin/modprobe. Empty: it does not start anything.
        ("kernel/modprobe", "\n"),
        // What the kernel runs when the hypervisor or a hot CPU asks for an orderly power-off.
        ("kernel/poweroff_cmd", poweroff.as_str()),
    ] {
        if !value.is_empty() {
            let written = write(&format!("/proc/sys/{name}"), value);
            said(say, &format!("set {name} to {value:?}"), written);
        }
    }
}

fn set_hostname(say: Say<'_>) {
    let text = match read_small("/etc/hostname") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return said(say, "read /etc/hostname", Err(error)),
        Ok(text) => text,
    };
    if let Some(name) = hostname_of(&text) {
        let set = kernel_mounts::set_hostname(name);
        said(say, &format!("set the host name to {}", String::from_utf8_lossy(name)), set);
    } else {
        say(
            Priority::Warning,
            "/etc/hostname: not a name of 1 to 64 letters, digits, dots, dashes",
        );
    }
}

/// Where NixOS's tools, and every `PATH`, look for the system that runs, and for the one that was
/// booted: what was named by `init=` lies in it. Returns it.
fn link_system(say: Say<'_>) -> Option<PathBuf> {
    let program = std::env::args_os().next().unwrap_or_default();
    let system = system_of(Path::new(&program))?;
    for link in ["/run/current-system", "/run/booted-system"] {
        let text = format!("link {link} to {}", system.display());
        link_once(Path::new(link), system, &text, say);
    }
    Some(system.to_owned())
}

/// For a system that brings its own `/etc`: an empty one in memory, with the two links that the
/// supervisor needs before anything runs. The rest of it is made by services (docs/activate.md).
///
/// What `/etc` of the disk holds is hidden: it belongs to the system that the image was made of,
/// which need not be the one that boots.
fn prepare_etc(root: &Path, system: &Path, say: Say<'_>) {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    if !below(system).join(VOLATILE_ETC).exists() {
        return;
    }
    if root == Path::new("/")
        && let Err(error) = ETC.ensure()
    {
        return said(say, "mount a tmpfs on /etc", Err(error));
    }
    for (link, to) in
        [(ETC_STATIC, system.join("etc")), (ETC_ROLLINIT, PathBuf::from("static/rollinit"))]
    {
        link_once(&below(Path::new(link)), &to, &format!("link {link} to {}", to.display()), say);
    }
}

fn link_once(link: &Path, to: &Path, step: &str, say: Say<'_>) {
    match std::os::unix::fs::symlink(to, link) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        linked => said(say, step, linked),
    }
}

/// The store path that a system's `init` lies in.
fn system_of(program: &Path) -> Option<&Path> {
    let system = program.parent()?;
    let fits = program.file_name()? == "init" && system.parent()? == Path::new("/nix/store");
    fits.then_some(system)
}

/// The first line, if it is a host name (hostname(7)).
fn hostname_of(text: &[u8]) -> Option<&[u8]> {
    let name = text.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let fine = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte));
    (fine && (1..=HOSTNAME_BYTES_MAX).contains(&name.len())).then_some(name)
}

/// The kernel's command line.
pub fn command_line() -> Vec<u8> {
    read_small("/proc/cmdline").unwrap_or_default()
}

/// The number after the last `name=` on the kernel's command line.
pub fn number_of(command_line: &[u8], name: &str) -> Option<u64> {
    let value = |word: &[u8]| {
        let rest = word.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    };
    words(command_line).filter_map(value).last()
}

/// Whether the kernel's command line has `name=…`.
fn has_parameter(command_line: &[u8], name: &str) -> bool {
    words(command_line)
        .any(|word| word.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")))
}

fn has_word(command_line: &[u8], wanted: &str) -> bool {
    words(command_line).any(|word| word == wanted.as_bytes())
}

/// The kernel's own words: what follows `--` is for init.
fn words(command_line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = command_line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.take_while(|word| *word != b"--")
}

/// `6.1.0-56-cloud-amd64` → (6, 1).
fn release_number(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|symbol: char| !symbol.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn read_small(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(Path::new(path))?;
    file.take(TEXT_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &str, value: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::File::options().write(true).open(path)?.write_all(value.as_bytes())
}

/// Says what failed; success needs no words.
fn said(say: Say<'_>, step: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        say(Priority::Warning, &format!("{step}: {error}; going on without"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `panic=` is only what the kernel itself would take for it.
    #[test]
    fn parameters_of_the_command_line() {
        let line = b"root=/dev/vda1 panic=-1  ro -- panic_on_oops=1 rw\n";
        assert!(has_parameter(line, "panic"));
        assert!(!has_parameter(line, "panic_on_oops"), "it is behind the --");
        assert!(!has_parameter(b"panic_on_oops=1 xpanic=2", "panic"));
        assert!(has_word(line, "ro") && !has_word(line, "rw"));
        assert!(!has_word(b"rootflags=ro", "ro"));
        let line = b"rollinit.trial=x rollinit.trial=60 rollinit.trials=9 -- rollinit.trial=1";
        assert_eq!(number_of(line, "rollinit.trial"), Some(60));
        assert_eq!(number_of(line, "rollinit"), None);
    }

    /// Only a name that the kernel and everybody else takes; never a second line, never nothing.
    #[test]
    fn host_names() {
        assert_eq!(hostname_of(b"web-1.example\nsecond\n"), Some(&b"web-1.example"[..]));
        let long = [b'a'; 65];
        for wrong in [&b""[..], b"\n", b"a b", b"a\0b", b"\xff", &long] {
            assert_eq!(hostname_of(wrong), None, "{wrong:?}");
        }
    }

    /// Releases as distributions write them; one that is no number is not judged.
    #[test]
    fn the_system_is_where_its_init_lies() {
        let system = |path| system_of(Path::new(path)).and_then(Path::to_str);
        assert_eq!(system("/nix/store/x-system/init"), Some("/nix/store/x-system"));
        for path in ["/sbin/init", "/nix/store/x-rollinit/bin/rollinit-init", "init", "/", ""] {
            assert_eq!(system(path), None, "{path}");
        }
    }

    /// A system that asks for it gets both links, once: a supervisor finds its definitions behind
    /// them. One that does not ask gets none.
    #[test]
    fn the_first_links_of_etc() {
        let root = tempfile::tempdir().expect("a directory");
        let system = Path::new("/nix/store/x-system");
        let inside = root.path().join("nix/store/x-system");
        std::fs::create_dir_all(inside.join("etc/rollinit")).expect("a system");
        std::fs::create_dir(root.path().join("etc")).expect("etc");
        let mut said = Vec::new();
        let mut prepare = || {
            let mut say = |_: Priority, text: &str| said.push(text.to_owned());
            prepare_etc(root.path(), system, &mut say);
        };
        prepare();
        assert!(!root.path().join("etc/static").is_symlink(), "nobody asked for it");
        std::fs::write(inside.join(VOLATILE_ETC), "").expect("the marker");
        prepare();
        prepare();
        let to = |name: &str| std::fs::read_link(root.path().join("etc").join(name)).expect(name);
        assert_eq!(to("static"), system.join("etc"));
        assert_eq!(to("rollinit"), Path::new("static/rollinit"));
        assert_eq!(said, [""; 0]);
    }

    #[test]
    fn kernel_releases() {
        assert_eq!(release_number("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(release_number("5.4+"), Some((5, 4)));
        assert_eq!(release_number("next"), None);
        assert!((5, 4) < KERNEL_MIN && (6, 1) > KERNEL_MIN);
    }

    /// What is below must be mounted after what it is below of.
    #[test]
    fn mounts_are_in_order() {
        for (index, inner) in MOUNTS.iter().enumerate() {
            for outer in &MOUNTS[index + 1..] {
                assert!(!Path::new(inner.path).starts_with(outer.path), "{inner:?} {outer:?}");
            }
        }
    }
}
