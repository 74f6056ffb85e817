"""What `bench/attacks` does to servers: the servers at their defaults, the attacks, the faults of
the machine, and the network namespace in which a client has another address than loopback.
Python's standard library only.
"""

import collections
import contextlib
import dataclasses
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import threading
import time

import harness

LOAD = harness.tool("load")
# A user's load: modest, so that what is measured is what others do to him.
RATE = 500
# Server and user run before everybody else on this machine (sched(7)): the attacker, whom the user
# shares a core with and who has one of his own on a real network, we, and other people's programs.
FIRST = 10
# Sizes that a descriptor limit has under the fault of that name.
FEW_DESCRIPTORS = 256
# Seconds for which the log is not read before the user is measured: see `unread`.
FILLED_SECONDS = 0.5
LINES_LOST = b'"message":"access log lines dropped"'
NAMES = ("ok", "wrong", "refused", "reset", "closed", "timeout")
LOST = NAMES[1:]


# ---------------------------------------------------------------------------------------------
# The servers, as they come.
# ---------------------------------------------------------------------------------------------

# Debian's nginx.conf and default site without their comments, with our paths.
NGINX = """
user www-data; worker_processes auto; daemon off;
pid {scratch}/nginx.pid; error_log {scratch}/nginx.error;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on;
  include /etc/nginx/mime.types; default_type application/octet-stream;
  access_log {log};
  client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p; fastcgi_temp_path {scratch}/f;
  uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;
  server {{ listen {address} default_server; root {files}; location / {{ try_files $uri $uri/ =404; }} }}
}}
"""

# Debian's Caddyfile with our address and root. The admin endpoint would take a port of the machine.
CADDY = """
{{
  admin off
}}
http://:{port} {{
  root * {files}
  file_server
  {log}
}}
"""


def aureond_command(run):
    program = f"{harness.ROOT}/target/dist/aureond"
    if run.handlers:
        program = f"{harness.BENCH}/backend/target/release/backend"
    return [program, run.files, "--listen", run.address]


def nginx_command(run):
    path = f"{run.scratch}/nginx.conf"
    with open(path, "w") as file:
        log = "/dev/stdout" if run.log_to_output else f"{run.scratch}/nginx.access"
        file.write(NGINX.format(scratch=run.scratch, files=run.files, address=run.address, log=log))
    return [harness.nginx_program(), "-c", path, "-p", run.scratch, "-e", "stderr"]


def caddy_command(run):
    path = f"{run.scratch}/Caddyfile"
    with open(path, "w") as file:
        log = "log {\n output stdout\n }" if run.log_to_output else ""
        file.write(CADDY.format(port=run.port, files=run.files, log=log))
    return [shutil.which("caddy"), "run", "--config", path, "--adapter", "caddyfile"]


def axum_command(run):
    return [f"{harness.BENCH}/axum/target/release/axum-peer", run.address, run.files]


SERVERS = {
    "aureond": ("the shipped aureond", aureond_command),
    "nginx": ("Debian's nginx and its nginx.conf", nginx_command),
    "caddy": ("Debian's caddy and its Caddyfile", caddy_command),
    "axum": ("axum::serve with tower-http's ServeDir", axum_command),
}


@dataclasses.dataclass
class Target(harness.Run):
    """A server at its defaults that serves files on every address of this machine."""
    cell: str = "file"
    handlers: bool = False
    log_to_output: bool = False
    # Whoever reads its access log, when that is a pipe.
    reader: object = None

    @property
    def address(self):
        return f"0.0.0.0:{self.port}"

    @property
    def command(self):
        return SERVERS[self.name][1](self)

    def memory(self, field="Rss"):
        """Resident bytes; a process that is just ending counts nothing."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * resource.getpagesize()
        return total

    def descriptors(self):
        """Linux says how many from 6.2 on. Listing thousands takes milliseconds in the kernel, on
        a core that somebody waits for."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                path = f"/proc/{pid}/fd"
                total += os.stat(path).st_size or len(os.listdir(path))
        return total

    def lives(self):
        return self.process.poll() is None

    def end(self):
        """TERM, and its patience for what hangs; then whoever is left."""
        if self.process is None or not self.lives():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


def build(names, handlers):
    harness.cargo(harness.BENCH, f"{harness.BENCH}/target", "build", "--release", "--locked")
    if "aureond" in names:
        env = dict(os.environ, DIST_BYTES_MAX=str(1 << 30))
        done = subprocess.run([f"{harness.ROOT}/scripts/dist"], stdout=subprocess.DEVNULL, env=env)
        if done.returncode:
            harness.fail("scripts/dist failed")
    for name, directory in (("aureond", "backend"), ("axum", "axum")):
        if name in names and (handlers or name == "axum"):
            place = f"{harness.BENCH}/{directory}"
            harness.cargo(place, f"{place}/target", "build", "--release", "--locked")
    for name in ("nginx", "caddy"):
        found = harness.nginx_program() if name == "nginx" else shutil.which(name)
        if name in names and not found:
            harness.fail(f"no {name}; scripts/install-tools installs it")


# ---------------------------------------------------------------------------------------------
# The user, the attacker, and where they come from.
# ---------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Place:
    """Where a client is: how a command is run there, its addresses, and the server's."""
    wrapper: tuple = ()
    server: str = "127.0.0.1"
    attacker: str = "127.0.2.1"
    user: str = "127.0.0.2"
    unused: str = ""


def first_on(core):
    """Pins to a core and goes first there; threads and children inherit both."""
    def prepare():
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(FIRST))
    return prepare


def need_to_be_first():
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(FIRST))
        os.sched_setscheduler(0, *before)
    except PermissionError:
        harness.fail("needs to run server and user before others: root, or CAP_SYS_NICE")


def user(run, place, seconds, *arguments):
    """A normal client for so long; what it has counted."""
    command = [*place.wrapper, LOAD, "normal", f"{place.server}:{run.port}", "--rate", str(RATE),
               "--seconds", str(seconds), "--from", place.user,
               "--sources", "1" if place.wrapper else "32", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          preexec_fn=first_on(harness.LOAD_CORE))
    if done.returncode:
        harness.fail(f"failed: {' '.join(command)}")
    return json.loads(done.stdout)


class Attacker:
    """A `load attack` that runs until it is told that it is enough."""

    def __init__(self, run, place, arguments, seconds):
        kind, *rest = arguments
        address = f"{place.server}:{run.port}"
        if kind == "half-open":
            what = ["half-open", address, "--from", place.unused]
        else:
            what = ["attack", kind, address, "--from", place.attacker]
        command = [*place.wrapper, LOAD, *what, "--seconds", str(seconds), *rest]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {harness.LOAD_CORE}))
        self.lines = []
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())
            self.ready.set()
        self.ready.set()

    def begin(self, patience):
        """Until every connection was tried once; a server that stops accepting is not waited for."""
        self.ready.wait(patience)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            harness.fail("the attacker did not end")
        self.reader.join()
        if self.process.returncode:
            harness.fail("the attacker failed, see above")
        return json.loads(self.lines[-1])


@contextlib.contextmanager
def elsewhere():
    """A network namespace whose clients are not on loopback: one attacks, another is a user."""
    if os.geteuid() != 0:
        harness.fail("attacks from other addresses need root, for a network namespace")
    name = f"aureon-{os.getpid()}"
    net = f"10.213.{os.getpid() % 250}"
    here, there = f"ah{os.getpid()}", f"at{os.getpid()}"

    def ip(*arguments, check=True):
        subprocess.run(["ip", *arguments], check=check,
                       stderr=None if check else subprocess.DEVNULL)
    try:
        ip("netns", "add", name)
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("addr", "add", f"{net}.1/24", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", f"{net}.2/24", "dev", there)
        ip("-n", name, "addr", "add", f"{net}.3/24", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield Place(("ip", "netns", "exec", name), f"{net}.1", f"{net}.2", f"{net}.3",
                    f"{net}.100")
    finally:
        ip("link", "del", here, check=False)
        ip("netns", "del", name, check=False)


# ---------------------------------------------------------------------------------------------
# Attacks and faults.
# ---------------------------------------------------------------------------------------------

# What is counted, in words for whoever reads that an attack did not take place.
COUNTED = {
    "connected": "connections made", "kept": "connections made and not given up",
    "left": "connections made and closed", "texts": "requests, or pieces of one, sent",
    "sent_bytes": "bytes sent", "opened": "handshakes begun",
    "half_made": "handshakes that the kernel waits for", "lines_lost": "lines of the log lost",
    "complaints": "complaints that the log can not be written", "steps": "changes of the file",
    "gone": "roots gone",
}


@dataclasses.dataclass
class Attack:
    """One row of the table. What is not an attack of clients is a fault: see `fault`."""
    title: str
    # Arguments of `load attack`; none when there is nobody.
    load: tuple = ()
    # Costs the attacker sockets and next to nothing else.
    sockets: bool = False
    elsewhere: bool = False
    # What the server is started by, and what is done to what it needs while the attack runs: a
    # block that gives its own counts.
    wrapper: tuple = ()
    fault: object = None
    # The least that must have come of it, by the counts of `load attack` and of the fault: less is
    # no attack, whatever the user saw. In all, and for each second of the user's.
    least: dict = dataclasses.field(default_factory=dict)
    least_each_second: dict = dataclasses.field(default_factory=dict)
    # Only the answer matters: while the root is gone a file is not there.
    absent: bool = False
    handlers: bool = False
    # Its connections stay until a time-out of the server's that is longer than a cell.
    waits: bool = False
    # Where the access log goes: see `output_of`.
    log: str = ""
    servers: tuple = tuple(SERVERS)

    def __post_init__(self):
        asked = {*self.least, *self.least_each_second}
        assert asked and asked <= COUNTED.keys(), f"{self.title}: what must come of it?"


@contextlib.contextmanager
def repeated(step):
    """Does something over and over in a thread of its own, until the block ends, and counts it."""
    over = threading.Event()
    counts = collections.Counter()

    def turn():
        while not over.wait(0.02):
            step(counts["steps"])
            counts["steps"] += 1
    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def changing(run):
    """A file is replaced, cut, written again and removed while it is downloaded."""
    path = f"{run.files}/changing.bin"

    def step(number):
        what = number % 4
        if what == 0:
            with open(f"{path}.new", "wb") as file:
                file.write(bytes(4 << 20))
            os.rename(f"{path}.new", path)
        elif what == 1:
            os.truncate(path, 8_192)
        elif what == 2:
            with open(path, "wb") as file:
                file.write(bytes(2 << 20))
        else:
            os.remove(path)
    return repeated(step)


@contextlib.contextmanager
def root_gone(run):
    """The root is moved away, and in the end another directory with the same files is there."""
    counts = collections.Counter()
    os.rename(run.files, f"{run.files}.gone")
    try:
        yield counts
        counts["gone"] = int(not os.path.exists(run.files))
    finally:
        shutil.copytree(f"{run.files}.gone", run.files)
        shutil.rmtree(f"{run.files}.gone")


class LogReader(threading.Thread):
    """Whoever reads the access log from a pipe: may stop, and counts the lines that the log says
    were lost."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.reads, self.over = threading.Event(), threading.Event()
        self.reads.set()
        self.lost = 0

    def run(self):
        rest = b""
        while not self.over.is_set():
            # Bounded waits, since neither the end of the pipe nor a line may ever come.
            if not self.reads.wait(0.05) or not select.select([self.pipe], [], [], 0.05)[0]:
                continue
            if self.reads.is_set():
                *lines, rest = (rest + os.read(self.pipe, 1 << 16)).split(b"\n")
                told = [json.loads(line) for line in lines if LINES_LOST in line]
                self.lost += sum(line["dropped"] for line in told)


@contextlib.contextmanager
def unread(run):
    """Nobody reads the log, and before the user is measured it is full: 1 MiB of a lane (`lane.rs`)
    and the 64 KiB of a pipe (pipe(7)) are a quarter of a second of what the attacker asks for."""
    counts = collections.Counter()
    run.reader.reads.clear()
    try:
        time.sleep(FILLED_SECONDS)
        yield counts
    finally:
        run.reader.reads.set()
    if run.name == "aureond":
        # What was lost is told behind what was not.
        wait_for(lambda: run.reader.lost)
    counts["lines_lost"] = run.reader.lost


@contextlib.contextmanager
def unwritten(run):
    """Writes of the log fail from the start, since its file is `/dev/full`: the server says so."""
    counts = collections.Counter()
    yield counts
    with open(f"{run.scratch}/{run.name}.stderr") as file:
        counts["complaints"] = file.read().count("cannot write the access log")


@contextlib.contextmanager
def half_made(run):
    """Counts the handshakes that the server's kernel waits for (proc(5): state 3 is SYN_RECV)."""
    counts = collections.Counter()
    yield counts
    port = f":{run.port:04X}"
    with open("/proc/net/tcp") as file:
        next(file)
        rows = (line.split(maxsplit=4) for line in file)
        counts["half_made"] = sum(row[1].endswith(port) and row[3] == "03" for row in rows)


def wait_for(condition, patience=5):
    deadline = time.monotonic() + patience
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


@contextlib.contextmanager
def output_of(attack, scratch):
    """What the server's standard output is, and who reads it if it is a pipe."""
    if attack.log == "pipe":
        pipe, writer = os.pipe()
        reader = LogReader(pipe)
        reader.start()
        try:
            yield writer, reader
        finally:
            reader.over.set()
            reader.join()
            os.close(pipe)
            os.close(writer)
        return
    with open(attack.log or f"{scratch}/output", "w") as file:
        yield file, None


# Logged whole, and no file: an answer of a few bytes and a line of 2 KiB (`PATH_BYTES_MAX`).
LONG_PATH = "/aaaaaaaaaaaaaaa" * 120


def kept(count, texts=True):
    """Connections that stay until the server ends them, which it is free to do, and which have said
    what they have to say. Nine tenths: the kernel makes them whatever the server does, but some may
    find a queue full and have to ask again."""
    least = count * 9 // 10
    return {"kept": least, "texts": least} if texts else {"kept": least}


def half(name, count):
    """What is done over and over. Half as often: the attacker has what the user leaves of their
    core, and of a busy machine."""
    return {name: count // 2}


def flood(count):
    """Bytes that come without an end. A tenth: a server may refuse them after the first few KB, and
    no more than 2,000 connections a second are made again."""
    return {"sent_bytes": count // 10}


ATTACKS = {
    "slow-heads": Attack("slow heads, a byte a second: 2,000", sockets=True,
                         load=("slow-heads", "--connections", "2000", "--sources", "8"),
                         least=kept(2_000), least_each_second=half("texts", 2_000)),
    "slow-bodies": Attack("slow bodies, a byte a second: 2,000", sockets=True,
                          load=("slow-bodies", "--connections", "2000", "--sources", "8"),
                          least=kept(2_000), least_each_second=half("texts", 2_000)),
    "slow-readers": Attack("slow readers of 10 MiB, 512 B/s: 1,000", sockets=True,
                           load=("slow-readers", "--connections", "1000", "--sources", "8"),
                           least=kept(1_000)),
    "idle": Attack("idle connections: 2,000", sockets=True,
                   load=("idle", "--connections", "2000", "--sources", "8"),
                   least=kept(2_000, texts=False)),
    "idle-full": Attack("idle connections: 18,000, as many as there are", sockets=True,
                        load=("idle", "--connections", "18000", "--sources", "70",
                              "--rate", "10000"),
                        least=kept(18_000, texts=False)),
    "heads-full": Attack("slow heads: 18,000", sockets=True,
                         load=("slow-heads", "--connections", "18000", "--sources", "70",
                               "--rate", "10000"),
                         least=kept(18_000)),
    # That the kernel waits for them says that they came, and that their checksums are right. No
    # more of them than the server's backlog: half of aureond's 1,024.
    "half-open": Attack("half-open: 2,000 SYN/s from nowhere", sockets=True, elsewhere=True,
                        load=("half-open", "--rate", "2000"), fault=half_made,
                        least={"half_made": 500}, least_each_second=half("opened", 2_000)),
    "one-address": Attack("2,000 connections from one address", sockets=True, elsewhere=True,
                          load=("idle", "--connections", "2000"),
                          least=kept(2_000, texts=False)),
    # Every second one of those made says something.
    "scan": Attack("connect and reset, half with a TLS hello: 2,000/s", sockets=True,
                   load=("scan", "--connections", "500", "--sources", "8"),
                   least_each_second=half("connected", 2_000) | half("texts", 1_000)),
    "mass-close": Attack("2,000 connections ask and close at once, every second", sockets=True,
                         load=("mass-close", "--connections", "2000", "--sources", "8",
                               "--path", "/1k.bin"),
                         least_each_second=half("left", 2_000) | half("texts", 2_000)),
    "continue": Attack("Expect: 100-continue and no body: 2,000", sockets=True,
                       load=("continue", "--connections", "2000", "--sources", "8"),
                       least=kept(2_000)),
    "held-heads": Attack("15 KB of head, then nothing: 2,000",
                         load=("held-heads", "--connections", "2000", "--sources", "8"),
                         least=kept(2_000)),
    "pipeline": Attack("pipelines that are not read: 500",
                       load=("pipeline", "--connections", "500", "--sources", "8",
                             "--path", "/1k.bin", "--bytes", "20e6"),
                       least=kept(500)),
    "endless-heads": Attack("endless heads: 100 at 50 MB/s",
                            load=("endless-heads", "--connections", "100"),
                            least=kept(100), least_each_second=flood(50_000_000)),
    "chunks": Attack("chunks of one byte: 100 at 10 MB/s",
                     load=("chunks", "--connections", "100", "--bytes", "10e6"),
                     least=kept(100), least_each_second=flood(10_000_000)),
    "extensions": Attack("endless chunk extensions: 100 at 50 MB/s",
                         load=("extensions", "--connections", "100"),
                         least=kept(100), least_each_second=flood(50_000_000)),
    "trailers": Attack("endless trailers: 100 at 50 MB/s",
                       load=("trailers", "--connections", "100"),
                       least=kept(100), least_each_second=flood(50_000_000)),
    "requests": Attack("1,000 small requests a second: 100",
                       load=("ask", "--connections", "100", "--path", "/1k.bin"),
                       least=kept(100), least_each_second=half("texts", 1_000)),
    "ranges": Attack("1,000 ranges in each of 200 requests a second",
                     load=("ranges", "--connections", "50", "--path", "/100k.bin"),
                     least=kept(50), least_each_second=half("texts", 200)),
    "upload": Attack("uploads of 10 GB: 50 at 50 MB/s",
                     load=("upload", "--connections", "50"),
                     least=kept(50), least_each_second=flood(50_000_000)),
    "descriptors": Attack(f"{FEW_DESCRIPTORS} descriptors, 1,000 idle connections",
                          load=("idle", "--connections", "1000", "--sources", "8"),
                          wrapper=("prlimit", f"--nofile={FEW_DESCRIPTORS}:{FEW_DESCRIPTORS}"),
                          least=kept(1_000, texts=False)),
    # While the log is full every line is lost: those of the attacker, and the user's.
    "log-hangs": Attack("nobody reads the access log, 2,000 long lines a second", log="pipe",
                        servers=("aureond", "nginx", "caddy"), fault=unread,
                        load=("ask", "--connections", "200", "--sources", "8",
                              "--path", LONG_PATH),
                        least=kept(200),
                        least_each_second=half("texts", 2_000) | half("lines_lost", 2_000)),
    "log-full": Attack("no space for the access log", log="/dev/full", fault=unwritten,
                       servers=("aureond", "nginx", "caddy"), least={"complaints": 1}),
    # It is changed every 20 ms at best, and written anew in every second of these.
    "files": Attack("a file is replaced, cut and removed under 50 downloads", fault=changing,
                    load=("ask", "--connections", "50", "--path", "/changing.bin"),
                    least=kept(50), least_each_second=half("steps", 20) | half("texts", 500)),
    "root": Attack("the root is removed, and made again", fault=root_gone, absent=True,
                   least={"gone": 1}),
    "panic": Attack("handlers that panic: 200/s", handlers=True, servers=("aureond", "axum"),
                    load=("ask", "--connections", "20", "--path", "/panic"),
                    least=kept(20), least_each_second=half("texts", 200)),
    "hang": Attack("handlers that never return: 2,000", handlers=True, waits=True,
                   servers=("aureond", "axum"),
                   load=("ask", "--connections", "2000", "--sources", "8", "--path", "/hang"),
                   least=kept(2_000)),
}


def missed(attack, counts, seconds):
    """What an attack that went on for so long has not done of the least that makes it one."""
    wanted = collections.Counter(attack.least)
    for name, each in attack.least_each_second.items():
        wanted[name] += int(each * seconds)
    short = {name: least for name, least in wanted.items() if counts.get(name, 0) < least}
    return "; ".join(f"{counts.get(name, 0):,} {COUNTED[name]} of at least {least:,}"
                     for name, least in short.items())


def versions(names):
    """Versions of the peers, as they name themselves."""
    found = [harness.versions([name for name in names if name == "nginx"])]
    if "caddy" in names:
        told = subprocess.run(["caddy", "version"], stdout=subprocess.PIPE, text=True).stdout
        found.append("caddy/" + (told.split() or ["unknown"])[0])
    if "axum" in names:
        lock = open(f"{harness.BENCH}/axum/Cargo.lock").read()
        for crate in ("axum", "hyper", "tokio"):
            version = lock.split(f'name = "{crate}"\nversion = "')[1].split('"')[0]
            found.append(f"{crate}/{version}")
    return ", ".join(filter(None, found))
