"""One class per init. The contract every full init keeps before its first service starts:
/proc, /sys, /dev (devtmpfs) and /run (tmpfs) are mounted; each service is restarted for ever with
the smallest delay the init allows; a service stops on SIGTERM. Services: a list of (name, argv)."""

FSTAB = "proc /proc proc defaults 0 0\nsysfs /sys sysfs defaults 0 0\n" \
        "dev /dev devtmpfs defaults 0 0\nrun /run tmpfs defaults 0 0\n"


class Init:
    name = ""
    packages = ()        # Debian packages to unpack; the first names the version
    programs = ()        # the first is PID 1; with its shared libraries it is the footprint
    argv = ()            # what the shim execs as PID 1 (default: programs[0])
    poweroff = "hard"    # "kill SIGNUM" (to PID 1), "exec PATH ARGS" or "hard" (plain reboot(2))
    sh = ()              # busybox applets its config needs
    reap_only = False    # a container init: no services, no shutdown
    needs_dir = False    # takes a rootfs folder given with --rootfs NAME=DIR
    note = ""            # restart policy floor, for the report

    def __init__(self, rootfs=None):
        self.rootfs = rootfs

    def version(self, cache):
        return cache.version(self.packages[0]) if self.packages else ""

    def build(self, t, svcs):
        """Put the init and its config in tree `t`; returns {footprint name: bytes}."""
        pid1 = t.elf(self.programs[0])
        every = pid1 + [f for p in self.programs[1:] for f in t.elf(p)]
        if self.sh:
            t.file("/etc/fstab", FSTAB)
            for a in self.sh:
                t.link("/bin/" + a, "busybox")
        before = {p: len(v[1]) for p, v in t.n.items()}
        self.config(t, svcs)
        conf = sum(len(v[1]) for p, v in t.n.items() if p not in before)
        return {"pid1_bin": t.size(pid1[:1]), "pid1_and_libs": t.size(pid1),
                "all_programs": t.size(every), "config": conf}

    def config(self, t, svcs):
        pass


class Floor(Init):
    """Not an init: the helper's own spawn/waitpid/respawn loop, the physical limit."""
    name, programs, argv = "floor", ("/bh/floor",), ("/bh/floor", "floor")
    poweroff, note = "kill 12", "physical limit: bare vfork/exec/waitpid loop"


class Busybox(Init):
    name, packages, programs = "busybox", ("busybox-static",), ("/bin/busybox",)
    argv, poweroff, sh = ("/sbin/init",), "kill 12", ("mount",)
    note = "sleeps 1 s in each pass of its loop"

    def config(self, t, svcs):
        t.link("/sbin/init", "/bin/busybox")
        t.file("/etc/inittab", "::sysinit:/bin/mount -a\n" +
               "".join(f"::respawn:{' '.join(a)}\n" for _, a in svcs))


class Runit(Init):
    name = "runit"
    packages = ("runit", "libc6", "busybox-static")
    programs = ("/sbin/runit", "/lib/runit/runit-init", "/usr/bin/runsvdir", "/usr/bin/runsv", "/usr/bin/sv")
    poweroff, sh = "exec /lib/runit/runit-init 0", ("sh", "mount")
    note = "1 s after a start, hard-coded"

    def config(self, t, svcs):
        t.file("/etc/runit/1", "#!/bin/sh\nexec mount -a\n", 0o755)
        t.file("/etc/runit/2", "#!/bin/sh\nexec runsvdir -P /etc/service\n", 0o755)
        t.file("/etc/runit/3", "#!/bin/sh\nsv -w 30 force-stop /etc/service/*\nsv exit /etc/service/*\n", 0o755)
        for n, a in svcs:
            t.file(f"/etc/service/{n}/run", f"#!/bin/sh\nexec {' '.join(a)}\n", 0o755)


class S6(Init):
    name = "s6"
    packages = ("s6", "libs6-2.11", "libskarnet2.13", "libexecline2.9", "libc6", "busybox-static")
    programs = ("/usr/bin/s6-svscan", "/usr/bin/s6-supervise", "/usr/bin/s6-svscanctl")
    argv, sh = ("/bin/sh", "/etc/s6-stage1"), ("sh", "mount", "poweroff")
    poweroff = "exec /usr/bin/s6-svscanctl -t /etc/service"
    note = "1 s after readiness (1 s after each death without a notification-fd), hard-coded"

    def config(self, t, svcs):
        t.file("/etc/s6-stage1", "mount -a\nexec s6-svscan -c 1100 -t 0 /etc/service\n")
        t.file("/etc/service/.s6-svscan/finish", "#!/bin/sh\nexec poweroff -f\n", 0o755)
        t.file("/etc/service/.s6-svscan/crash", "#!/bin/sh\nexec poweroff -f\n", 0o755)
        for n, a in svcs:
            ready = " 3" if a[1] == "svc" else ""  # readiness lifts the 1 s wait after a death
            t.file(f"/etc/service/{n}/run", f"#!/bin/sh\nexec {' '.join(a)}{ready}\n", 0o755)
            if ready:
                t.file(f"/etc/service/{n}/notification-fd", "3\n")


class Finit(Init):
    name = "finit"
    packages = ("finit", "libite5", "libuev3", "libcrypt1", "libc6", "busybox-static")
    programs = ("/sbin/finit", "/lib/finit/initctl")
    argv = ("/sbin/finit", "finit.show_status=off")
    poweroff, sh = "kill 12", ("sh", "mount")
    note = "`respawn`: no limit, 1 ms timer"

    def config(self, t, svcs):
        t.file("/etc/finit.conf", "runlevel 2\n" + "".join(
            f"service [2345] :{i + 1} name:{n} log:null respawn {' '.join(a)}\n" for i, (n, a) in enumerate(svcs)))


class Sysvinit(Init):
    name = "sysvinit"
    packages = ("sysvinit-core", "libselinux1", "libpcre2-8-0", "libc6", "busybox-static")
    programs = ("/sbin/init", "/sbin/halt")
    poweroff, sh = "exec /sbin/init 0", ("sh", "mount")
    note = "no delay, but >10 respawns in 2 min disable the entry for 5 min"

    def config(self, t, svcs):
        t.file("/etc/inittab", "id:2:initdefault:\nsi::sysinit:/bin/mount -a\nl0:0:wait:/sbin/halt -f -p\n" +
               "".join(f"{i:04d}:2:respawn:{' '.join(a)}\n" for i, (_, a) in enumerate(svcs)))


class Systemd(Init):
    name = "systemd"
    packages = ("systemd", "libsystemd-shared", "libacl1", "libaudit1", "libblkid1", "libcap2", "libcrypt1",
                "libgcrypt20", "libip4tc2", "libkmod2", "liblz4-1", "liblzma5", "libmount1", "libssl3",
                "libpam0g", "libseccomp2", "libselinux1", "libzstd1", "libapparmor1", "libcap-ng0",
                "libgpg-error0", "libpcre2-8-0", "libc6")
    programs = ("/lib/systemd/systemd", "/lib/systemd/systemd-shutdown")
    poweroff = "kill 38"  # SIGRTMIN+4: start poweroff.target
    note = "RestartSec=0, start limit off"
    units = ("final.target", "poweroff.target", "shutdown.target", "systemd-poweroff.service", "umount.target")

    def config(self, t, svcs):
        for u in self.units:
            t.copy("/lib/systemd/system/" + u)
        t.file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        t.file("/etc/os-release", "ID=bench\n")
        t.file("/etc/systemd/system.conf", "[Manager]\nLogLevel=err\nLogTarget=console\nShowStatus=no\n"
               "DefaultStandardOutput=null\nDefaultStandardError=null\nDefaultTasksMax=infinity\n")
        d = "/etc/systemd/system/"
        for n, a in svcs:
            t.file(f"{d}{n}.service", "[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\n"
                   "Before=shutdown.target\nStartLimitIntervalSec=0\n[Service]\n"
                   f"ExecStart={' '.join(a)}\nRestart=always\nRestartSec=0\n")
        t.file(d + "default.target", "[Unit]\nDefaultDependencies=no\nWants=" +
               " ".join(n + ".service" for n, _ in svcs) + "\n")


class Dinit(Init):
    """dinit is in no Debian suite: build it elsewhere and give its DESTDIR with --rootfs dinit=DIR."""
    name, needs_dir = "dinit", True
    packages = ("libstdc++6", "libgcc-s1", "libcap2", "libc6", "busybox-static")
    programs = ("/usr/sbin/dinit", "/usr/sbin/shutdown")
    argv, sh = ("/usr/sbin/dinit", "-q"), ("sh", "mount", "umount", "swapoff")
    poweroff = "exec /usr/sbin/poweroff"
    note = "restart-delay = 0, restart limit off"

    def version(self, cache):
        return "built from source"

    def config(self, t, svcs):
        for p in ("/sbin/shutdown", "/usr/sbin/poweroff"):
            t.link(p, "/usr/sbin/shutdown")
        for p in ("/sbin/umount", "/sbin/swapoff"):
            t.link(p, "/bin/busybox")
        d = "/etc/dinit.d/"
        # USR1: reopen the control socket, as the new /run has hidden it
        t.file(d + "early", "type = scripted\ncommand = /bin/sh -c \"mount -a; kill -USR1 1\"\n")
        t.file(d + "boot", "type = internal\n" + "".join(f"waits-for = {n}\n" for n, _ in svcs))
        for n, a in svcs:
            t.file(d + n, f"type = process\ncommand = {' '.join(a)}\nrestart = true\nrestart-delay = 0\n"
                   "restart-limit-count = 0\ndepends-on = early\n")


class Rollinit(Init):
    """Ours, in no Debian suite: --rootfs rollinit=DIR, where DIR/sbin holds the binaries of
    `cargo xtask build` (target/out/bin)."""
    name, needs_dir = "rollinit", True
    programs = ("/sbin/rollinit-init", "/sbin/rollinit-supervisor")
    poweroff = "kill 38"  # SIGRTMIN+4
    note = "backoff-min 0, no intensity limit"

    def version(self, cache):
        return "built from source"

    def config(self, t, svcs):
        t.file("/etc/hostname", "bench\n")
        for n, a in svcs:
            argv = ", ".join(f'"{w}"' for w in a)
            t.file(f"/etc/rollinit/services/{n}.toml", f"[service]\nexec = [{argv}]\n"
                   '[service.restart]\npolicy = "always"\nbackoff-min = "0s"\n')


class Tini(Init):
    name, packages, programs, reap_only = "tini", ("tini", "libc6"), ("/usr/bin/tini",), True
    argv = ("/usr/bin/tini", "--", "/bh/bh", "ctl")


class DumbInit(Init):
    name, packages, programs, reap_only = "dumb-init", ("dumb-init", "libc6"), ("/usr/bin/dumb-init",), True
    argv = ("/usr/bin/dumb-init", "--", "/bh/bh", "ctl")


class Catatonit(Init):
    name, packages, programs, reap_only = "catatonit", ("catatonit",), ("/usr/bin/catatonit",), True
    argv = ("/usr/bin/catatonit", "--", "/bh/bh", "ctl")


ALL = {c.name: c for c in (Floor, Busybox, Runit, S6, Finit, Sysvinit, Systemd, Dinit, Rollinit,
                           Tini, DumbInit, Catatonit)}
