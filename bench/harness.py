"""What the measuring scripts share: the servers as they are measured, how one is started and
pinned, and what the kernel knows about it. Python's standard library only.

A server is measured on core 0 and loaded from core 1, so the machine needs two. Everything stays
on 127.0.0.1, on ports below the ephemeral range.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BENCH = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCH)
SERVER_CORE, LOAD_CORE = 0, 1
FIRST_PORT = 18200
# One request for each kind: arguments of `load run`, and whether a file is asked for. The last two
# are for counting instructions, which without pipelining hang on how many events a wait returns.
CELLS = {
    "keep-alive": ("plaintext, keep-alive, 64 connections", [], False),
    "pipelined": ("plaintext, pipelined 16 deep", ["--pipeline", "16"], False),
    "browser": ("a browser's nine headers", ["--browser"], False),
    "close": ("one connection per request", ["--close"], False),
    "file": ("file of 1 KiB", [], True),
    "browser-pipelined": ("a browser's, pipelined 16 deep", ["--browser", "--pipeline", "16"], False),
    "file-pipelined": ("file of 1 KiB, pipelined 16 deep", ["--pipeline", "16"], True),
}
USUAL_CELLS = ["keep-alive", "pipelined", "browser", "close", "file"]
FILE_PATH, FILE_BYTES = "/1k.bin", 1024


def fail(text):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {text}")


def cargo(directory, target, *arguments):
    """Builds in a fixed target directory, whatever the environment says."""
    env = dict(os.environ, CARGO_TARGET_DIR=target)
    env.pop("CARGO_BUILD_TARGET", None)
    done = subprocess.run(["cargo", *arguments, "--quiet"], cwd=directory, env=env)
    if done.returncode:
        fail(f"cargo {' '.join(arguments)} failed in {directory}")


def tool(name):
    """A program of this workspace."""
    return f"{BENCH}/target/release/{name}"


def build(names):
    """Builds what the chosen servers and the load generator need."""
    cargo(BENCH, f"{BENCH}/target", "build", "--release", "--locked")
    if "hyper" in names:
        cargo(f"{BENCH}/hyper", f"{BENCH}/hyper/target", "build", "--release", "--locked")
    if "engine" in names:
        cargo(ROOT, f"{ROOT}/target", "build", "--release", "--locked", "-p", "aureon",
              "--example", "plaintext")
    if any(name.startswith("aureond") and "-glibc" not in name for name in names):
        # Measured whatever its size is; the limit is scripts/dist's own business.
        env = dict(os.environ, DIST_BYTES_MAX=str(1 << 30))
        done = subprocess.run([f"{ROOT}/scripts/dist"], stdout=subprocess.DEVNULL, env=env)
        if done.returncode:
            fail("scripts/dist failed")
    if any(name.startswith("aureond-glibc") for name in names):
        cargo(ROOT, f"{ROOT}/target", "build", "--release", "--locked", "-p", "aureon-service")
    if "nginx" in names and not nginx_program():
        fail("no nginx; scripts/install-tools installs it")


def nginx_program():
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")


# A good administrator's nginx for this job: one worker, no access log, sendfile with open files
# kept, deferred accept, keep-alive without an end. Nothing that a real site could not switch on.
NGINX = """
daemon off; {master} worker_processes 1; worker_rlimit_nofile 20000;
pid {scratch}/nginx.pid; error_log stderr crit;
events {{ worker_connections 19000; multi_accept on; accept_mutex off; }}
http {{
  access_log off; server_tokens off; etag on; reset_timedout_connection on;
  client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p; fastcgi_temp_path {scratch}/f;
  uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  open_file_cache max=1000 inactive=300s; open_file_cache_valid 60s;
  default_type application/octet-stream;
  server {{
    listen {address} deferred backlog=4096;
    root {files};
    location = /plaintext {{ default_type "text/plain; charset=utf-8"; return 200 "Hello, World!"; }}
  }}
}}
"""


def null_command(run):
    close = ["--close"] if run.cell == "close" else []
    return [tool("null"), run.address, str(FILE_BYTES if run.file else 13), *close]


def engine_command(run):
    program = run.program or f"{ROOT}/target/release/examples/plaintext"
    return [program, run.address, "1", run.files]


def aureond_command(run):
    build = "release" if run.name.startswith("aureond-glibc") else "dist"
    log = run.log_format if logs(run.name) else "off"
    command = [run.program or f"{ROOT}/target/{build}/aureond", run.files, "--listen", run.address,
               "--workers", "1", "--log", log]
    if measures(run.name):
        command += ["--admin", f"unix:{admin_socket(run)}"]
    return command


def logs(name):
    """Whether it is a daemon with its access log on."""
    return name.startswith("aureond") and not name.endswith(("-quiet", "-metrics"))


def measures(name):
    """Whether it is a daemon with metrics and the last exchanges: with an admin listener."""
    return name.startswith("aureond") and name.endswith(("-full", "-metrics"))


def admin_socket(run):
    return f"{run.scratch}/{run.name}.sock"


def hyper_command(run):
    return [f"{BENCH}/hyper/target/release/hyper-peer", run.address, run.files]


def nginx_command(run):
    path = f"{run.scratch}/nginx.conf"
    master = "master_process off;" if run.single_process else ""
    if os.geteuid() == 0 and not run.single_process:
        master += " user root;"
    with open(path, "w") as file:
        file.write(NGINX.format(address=run.address, scratch=run.scratch, files=run.files,
                                master=master))
    return [nginx_program(), "-c", path, "-p", run.scratch, "-e", "stderr"]


# name: (what it is, its command, its small answer)
SERVERS = {
    "null": ("the null server: parses nothing", null_command, "/plaintext"),
    "engine": ("the engine, examples/plaintext.rs", engine_command, "/plaintext"),
    "aureond": ("the shipped aureond, access log on", aureond_command, "/api/message"),
    "aureond-quiet": ("the same without a log", aureond_command, "/api/message"),
    "aureond-metrics": ("the same with metrics and the last exchanges, without a log",
                        aureond_command, "/api/message"),
    "aureond-full": ("the same with log, metrics and the last exchanges", aureond_command,
                     "/api/message"),
    "aureond-glibc": ("aureond built with glibc, access log on", aureond_command, "/api/message"),
    "aureond-glibc-quiet": ("the same without a log", aureond_command, "/api/message"),
    "aureond-glibc-metrics": ("the same with metrics and the last exchanges, without a log",
                              aureond_command, "/api/message"),
    "aureond-glibc-full": ("the same with log, metrics and the last exchanges", aureond_command,
                           "/api/message"),
    "nginx": ("nginx", nginx_command, "/plaintext"),
    "hyper": ("hyper 1 on tokio", hyper_command, "/plaintext"),
}


@dataclasses.dataclass
class Run:
    """One server process, serving one cell."""
    name: str
    cell: str = "keep-alive"
    scratch: str = ""
    files: str = ""
    port: int = 0
    single_process: bool = False
    # In place of the program that is measured otherwise.
    program: str = ""
    log_format: str = "json"
    process: subprocess.Popen = None
    body_bytes: int = 0
    pids: tuple = ()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def file(self):
        return CELLS[self.cell][2]

    @property
    def path(self):
        return FILE_PATH if self.file else SERVERS[self.name][2]

    @property
    def command(self):
        return SERVERS[self.name][1](self)

    def cpu_ns(self, thread=None):
        """User and system time of every thread so far, by the scheduler's own clock; or of those
        of one name."""
        total = 0
        for pid in self.pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                if thread is not None:
                    with open(f"/proc/{pid}/task/{task}/comm") as file:
                        if file.read().rstrip("\n") != thread:
                            continue
                with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
        return total

    def memory(self, field="Rss"):
        """Bytes, over all processes; shared pages counted once in each (Rss) or shared out (Pss)."""
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                line = next(line for line in file if line.startswith(field + ":"))
            total += int(line.split()[1]) * 1024
        return total

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids)

    def load(self, *arguments):
        """Runs `load run` from the other core and returns its counts."""
        base = ["--path", self.path, "--body-bytes", str(self.body_bytes)]
        command = [tool("load"), "run", self.address, *base, *CELLS[self.cell][1], *arguments]
        return json.loads(on_core(LOAD_CORE, command))

    def stop(self):
        """TERM, as a service manager would; KILL only for a server that does not obey."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                fail(f"{self.name} did not stop on TERM within 40 s")
        return self.process.returncode


def on_core(core, command):
    """Standard output of a command pinned to a core; a failed one ends the measurement."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    if done.returncode:
        fail(f"failed: {' '.join(command)}")
    return done.stdout


def free_port(port=[FIRST_PORT]):
    """The next port that nobody listens on."""
    while True:
        port[0] += 1
        if port[0] > 30000:
            port[0] = FIRST_PORT
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port[0]))
                return port[0]
            except OSError:
                continue


def fetch(run):
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", run.path, headers={"Connection": "close"})
        answer = connection.getresponse()
        # The null server does not close: only as many bytes as announced are read.
        return answer.status, len(answer.read())


class UnixConnection(http.client.HTTPConnection):
    """HTTP on a Unix socket, as the admin listener speaks it."""

    def __init__(self, path, patience=30):
        super().__init__("localhost", timeout=patience)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def answered(run):
    """Requests that a daemon's metrics have counted, by its admin listener."""
    with contextlib.closing(UnixConnection(admin_socket(run))) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    # One series for each method, route and status.
    counts = (line.rsplit(" ", 1)[1] for line in text.splitlines()
              if line.startswith("http_server_request_duration_seconds_count"))
    return sum(map(int, counts))


def family(pid):
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                for child in file.read().split():
                    pids += family(int(child))
    return pids


def pin_server():
    os.sched_setaffinity(0, {SERVER_CORE})


def start(run, wrapper=(), env=None, output=subprocess.DEVNULL, patience=60, prepare=pin_server):
    """Starts a pinned server and waits until it answers what it is asked for."""
    run.port = free_port()
    command = [*wrapper, *run.command]
    errors = open(f"{run.scratch}/{run.name}.stderr", "w+")
    run.process = subprocess.Popen(
        command, stdout=output, stderr=errors, stdin=subprocess.DEVNULL,
        env=dict(os.environ, **(env or {})), preexec_fn=prepare)
    deadline = time.monotonic() + patience
    while True:
        if run.process.poll() is not None:
            errors.seek(0)
            fail(f"{' '.join(command)} ended with {run.process.returncode}: {errors.read()}")
        try:
            status, run.body_bytes = fetch(run)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                run.process.kill()
                fail(f"{' '.join(command)} did not listen within {patience} s")
            time.sleep(0.01)
    if status != 200 or (run.file and run.body_bytes != FILE_BYTES):
        run.process.kill()
        fail(f"{run.name} answers {run.path} with {status}, {run.body_bytes} bytes")
    run.pids = tuple(family(run.process.pid))
    return run


@contextlib.contextmanager
def scratch_directory():
    """A directory for configurations and files, with the files to serve in its `files`."""
    with tempfile.TemporaryDirectory(prefix="aureon-bench-") as scratch:
        os.chmod(scratch, 0o755)
        os.mkdir(f"{scratch}/files")
        subprocess.run([tool("load"), "files", f"{scratch}/files"], check=True)
        yield scratch


@contextlib.contextmanager
def started(run, **arguments):
    """A server for the length of a block."""
    try:
        yield start(run, **arguments)
    finally:
        if run.process:
            run.stop()


def allow_descriptors():
    """As many open sockets as the hard limit permits, for us and for what we start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def choose(text, known, default):
    chosen = text.split(",") if text else default
    for name in chosen or []:
        if name not in known:
            fail(f"no such name: {name}; there are {', '.join(known)}")
    return chosen


def need_two_cores():
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        fail("needs two cores: one for the server, one for the load")


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def machine():
    """One line about where the figures come from."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def versions(names):
    """Versions of the peers, as they name themselves."""
    found = []
    if "nginx" in names:
        told = subprocess.run([nginx_program(), "-v"], stderr=subprocess.PIPE, text=True).stderr
        found.append(told.strip().split(": ")[-1])
    if "hyper" in names:
        lock = open(f"{BENCH}/hyper/Cargo.lock").read()
        for crate in ("hyper", "tokio"):
            found.append(f"{crate}/" + lock.split(f'name = "{crate}"\nversion = "')[1].split('"')[0])
    return ", ".join(found)


def print_table(head, rows, markdown):
    """A table for people, or for a document."""
    if markdown:
        print("| " + " | ".join(head) + " |")
        print("|" + " --- |" * len(head))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
