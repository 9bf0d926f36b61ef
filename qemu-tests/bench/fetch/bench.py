#!/usr/bin/env python3
"""Fetch of a closure: rollinit against Debian's `nix copy`, in one run, side by side.

`bench.py run --fetch PROGRAM [--nginx FILE] [--rounds N] [--folder DIR]`: PROGRAM is the example
`fetch` of the crate `store`, built for release. DIR must be on a tmpfs: on a disk the time is that
of making files. Everything is made under DIR; the machine's own /nix is not touched.
"""
import argparse, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
# name: (library paths, KiB over all of them, libraries that differ in v2)
CLOSURES = {"small": (1000, 65536, 5), "large": (60, 307200, 3)}
CORPUS_KIB = 131072
NIX_CONFIG = "\n".join([
    "experimental-features = nix-command", "substituters =", "build-users-group =",
    "sandbox = false", "sandbox-fallback = false",
])


def environment(folder, root):
    return {
        "PATH": os.environ["PATH"], "HOME": os.path.join(folder, "home"),
        "NIX_CONFIG": NIX_CONFIG, "NIX_REMOTE": f"local?root={root}",
    }


def call(command, env, **options):
    done = subprocess.run(command, env=env, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


def corpus(path):
    """Real code and text, in a fixed order, so that it depends on the machine's packages only."""
    places = ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/share/perl", "/usr/lib/python3"]
    files = []
    for place in places:
        for folder, folders, names in os.walk(place):
            folders.sort()
            paths = (os.path.join(folder, name) for name in names)
            files += [p for p in paths if os.path.isfile(p) and os.path.getsize(p) > 20480]
    # In pieces: what this process takes counts into the peak of the programs that it starts.
    with open(path, "wb") as out:
        for name in sorted(files):
            with open(name, "rb") as file:
                while piece := file.read(min(1 << 16, CORPUS_KIB * 1024 - out.tell())):
                    out.write(piece)
    return os.path.getsize(path) // 1024


def make(folder, name, compressions):
    """Builds both releases in a store under `folder` and writes signed caches of them."""
    paths, total, changed = CLOSURES[name]
    origin = os.path.join(folder, f"origin-{name}")
    env = environment(folder, origin)
    tools, text = os.path.join(folder, "tools"), os.path.join(folder, "corpus")
    os.makedirs(os.path.join(tools, "bin"), exist_ok=True)
    shutil.copy(shutil.which("busybox"), os.path.join(tools, "bin/busybox"))
    kib = os.path.getsize(text) // 1024 if os.path.exists(text) else corpus(text)
    tops = []
    for version in ("v1", "v2"):
        numbers = dict(corpusKiB=kib, paths=paths, totalKiB=total, changed=changed)
        arguments = [word for key, value in numbers.items() for word in ("--arg", key, str(value))]
        tops.append(call(["nix-build", "--no-out-link", os.path.join(HERE, "closures.nix"), "-A",
                          version, "--arg", "tools", tools, "--arg", "corpus", text] + arguments,
                         env))
    secret, public = (os.path.join(folder, f"{kind}-{name}") for kind in ("secret", "public"))
    call(["nix-store", "--generate-binary-cache-key", "bench-1", secret, public], env)
    call(["nix", "store", "sign", "-r", "-k", secret] + tops, env)
    for compression in compressions:
        to = f"file://{folder}/caches/{name}-{compression}?compression={compression}"
        call(["nix", "copy", "--to", to] + tops, env)
    count = len(call(["nix-store", "-qR", tops[0]], env).split())
    size = call(["nix", "path-info", "-S", tops[0]], env).split()[1]
    return dict(top=tops[0], next=tops[1], key=open(public).read().strip(), paths=count,
                bytes=int(size))


def serve(folder, nginx):
    """nginx over the caches, kept connections, on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = os.path.join(folder, "nginx")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "nginx.conf"), "w") as file:
        file.write(f"""
            daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error;
            events {{ worker_connections 512; }}
            http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
              client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;
              uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
              server {{ listen 127.0.0.1:{port}; root {folder}/caches; }} }}""")
    server = subprocess.Popen([nginx, "-e", f"{home}/error", "-c", f"{home}/nginx.conf"])
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, f"http://127.0.0.1:{port}"
        except ConnectionRefusedError:
            # Nginx tells nobody when it listens, and its pid file comes before that.
            time.sleep(0.05)
    sys.exit("nginx does not listen")


def measure(command, env):
    """Seconds, CPU seconds and the peak of resident memory of one process."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)}: {errors.read().decode()}")
    return dict(seconds=seconds, cpu=used.ru_utime + used.ru_stime, mib=used.ru_maxrss / 1024)


def once(who, folder, url, closure, fetch, verify):
    root = os.path.join(folder, "root")
    subprocess.run(["chmod", "-R", "u+w", root], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)
    # Nix remembers narinfos of caches it has seen.
    shutil.rmtree(os.path.join(folder, "home"), ignore_errors=True)
    os.makedirs(os.path.join(folder, "home"))
    os.makedirs(root)
    env = environment(folder, root)
    if who == "rollinit":
        result = measure([fetch, root, closure["top"], url, closure["key"]], env)
    else:
        # An empty store has its database before the clock starts, as a host has.
        call(["nix-store", "--init"], env)
        result = measure(["nix", "copy", "--option", "trusted-public-keys", closure["key"],
                          "--from", url, closure["top"]], env)
    if verify:
        call(["nix-store", "--verify", "--check-contents"], env)
        found = len(call(["nix-store", "-qR", closure["top"]], env).split())
        assert found == closure["paths"], (found, closure["paths"])
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("--fetch", required=True)
    parser.add_argument("--nginx", default=shutil.which("nginx") or "/usr/sbin/nginx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm/rollinit-bench-fetch")
    parser.add_argument("--closures", default="small,large")
    parser.add_argument("--compressions", default="zstd,none")
    options = parser.parse_args()
    folder, compressions = options.folder, options.compressions.split(",")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "home"))
    try:
        made = {name: make(folder, name, compressions) for name in options.closures.split(",")}
        server, url = serve(folder, options.nginx)
        try:
            print("| closure | packed | who | s (median) | s (best) | CPU s | peak MiB | ratio |")
            print("|---|---|---|---|---|---|---|---|")
            for name, closure in made.items():
                for compression in compressions:
                    compare(name, compression, folder, url, closure, options)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def compare(name, compression, folder, url, closure, options):
    results = {"nix copy": [], "rollinit": []}
    address = f"{url}/{name}-{compression}"
    for number in range(options.rounds + 1):
        for who, found in results.items():
            result = once(who, folder, address, closure, options.fetch, verify=number == 0)
            # The first round warms the server's page cache, and is where Nix verifies the result.
            if number:
                found.append(result)
    middle = {who: statistics.median(one["seconds"] for one in found)
              for who, found in results.items()}
    label = f"{name}: {closure['paths']} paths, {closure['bytes'] / 1e6:.0f} MB"
    for who, found in results.items():
        best = min(one["seconds"] for one in found)
        cpu = statistics.median(one["cpu"] for one in found)
        peak = max(one["mib"] for one in found)
        ratio = middle["nix copy"] / middle[who]
        print(f"| {label} | {compression} | {who} | {middle[who]:.2f} | {best:.2f} | {cpu:.2f} "
              f"| {peak:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
