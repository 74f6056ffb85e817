"""A soak with faults: what is done to a running aureond, when, and what that may cause.

A seed decides the schedule, so that a run with the same seed is hurt in the same order by the
same amounts. Each fault ends with a check that it is over. What the server tells afterwards, in
its metrics and in its log, must agree with what its clients counted: every request that a client
knows to have arrived was answered, or its exchange is counted with what cut it off.
"""

import collections
import contextlib
import ctypes
import glob
import http.client
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import harness
import hostile
from hostile import Wrong

PATIENCE_S = 30
# What a name leads to is believed for a second (files/resource.rs); twice that on a busy machine.
BELIEVED_S = 2.0
CHANGING, CHANGING_BYTES = "changing.bin", 8 << 20
PROBES = ("/healthz", "/up", "/health", "/readyz", "/api/health")

# Short patience, so that what is slow is cut off within the soak.
CONFIGURATION = """
listen = "127.0.0.1:{port}"
root = "site"
workers = 2
admin = "unix:admin"
message = "{message}"
log = "json"
log_file_bytes_max = "8MiB"
log_files_max = 1000
head_timeout = "4s"
body_timeout = "2s"
idle_timeout = "5s"
write_timeout = "5s"
linger_timeout = "1s"
drain_timeout = "25s"
{log_file}
"""


class Service:
    """The server, its processes one after the other, its files, its log."""

    def __init__(self, program, scratch):
        self.program, self.scratch = program, scratch
        self.port = harness.free_port()
        self.ledger = hostile.Ledger()
        # (name, began, ended) by the calendar, since the load tells its times so.
        self.windows = []
        self.message, self.log_file = "message-0", None
        self.version = 0
        self.lines, self.heard = [], threading.Condition()
        self.ended = {}
        self.make_roots()
        self.configure()

    # -- files -----------------------------------------------------------------------------

    def make_roots(self):
        for name in ("a", "b"):
            root = f"{self.scratch}/site-{name}"
            os.mkdir(root)
            subprocess.run([harness.tool("load"), "files", root], check=True)
            with open(f"{root}/which.txt", "w") as file:
                file.write(name)
            for file in os.listdir(root):
                # The same file in both: what a client holds stays valid.
                os.utime(f"{root}/{file}", (1_700_000_000, 1_700_000_000))
            self.place(f"{root}/{CHANGING}")
        self.which = "a"
        os.symlink("site-a", f"{self.scratch}/site")

    def place(self, path=None):
        """Another version of the file that changes, whole at once."""
        path = path or f"{self.scratch}/site/{CHANGING}"
        self.version = self.version % 250 + 1
        with open(f"{path}.new", "wb") as file:
            file.write(bytes([self.version]) * CHANGING_BYTES)
        os.rename(f"{path}.new", path)

    def configure(self, **extra):
        log_file = f'log_file = "{self.log_file}"' if self.log_file else ""
        text = CONFIGURATION.format(port=self.port, message=self.message, log_file=log_file)
        with open(f"{self.scratch}/aureon.toml", "w") as file:
            file.write(text + extra.get("more", ""))

    # -- processes -------------------------------------------------------------------------

    def start(self):
        # Processes that take over become ours when the one before has ended (prctl(2), 36 is
        # PR_SET_CHILD_SUBREAPER), so that their exit codes are told to us.
        if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
            harness.fail("no processes can be adopted here")
        reader, writer = os.pipe()
        self.tally = subprocess.Popen([harness.tool("load"), "tally"], stdin=reader,
                                      stdout=subprocess.PIPE, text=True)
        os.close(reader)
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("AUREON_") and name != "PORT"}
        self.process = subprocess.Popen([self.program], cwd=self.scratch, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=writer,
                                        stderr=subprocess.PIPE, text=True)
        os.close(writer)
        self.pid = self.process.pid
        self.pids = [self.pid]
        threading.Thread(target=self.listen, daemon=True).start()
        self.hear("listening on", 0)

    def listen(self):
        for line in self.process.stderr:
            with self.heard:
                self.lines.append(line.rstrip("\n"))
                self.heard.notify_all()

    def hear(self, words, since):
        """The first line with these words, of those said since then."""
        deadline = time.monotonic() + PATIENCE_S
        with self.heard:
            while True:
                for line in self.lines[since:]:
                    if words in line:
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self.heard.wait(left):
                    raise Wrong(f"it never said {words!r}: {self.lines[since:][-5:]}")

    def reap(self):
        """Notes which processes have ended, and how."""
        for pid in self.pids:
            if pid in self.ended:
                continue
            if pid == self.process.pid:
                code = self.process.poll()
            else:
                try:
                    done, status = os.waitpid(pid, os.WNOHANG)
                    code = os.waitstatus_to_exitcode(status) if done else None
                except ChildProcessError:
                    # Its parent, the process before it, still lives.
                    code = None
            if code is not None:
                self.ended[pid] = code

    def lives(self):
        self.reap()
        if self.pid in self.ended:
            raise Wrong(f"process {self.pid} ended with {self.ended[self.pid]}")

    def signal(self, number):
        os.kill(self.pid, number)

    # -- asking ----------------------------------------------------------------------------

    def admin(self, method, path):
        connection = harness.UnixConnection(f"{self.scratch}/admin", PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def status(self):
        status, text = self.admin("GET", "/status")
        if status != 200:
            raise Wrong(f"/status is answered {status}: {text}")
        return json.loads(text)

    def become(self, path, wanted):
        """Until a path is answered so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, content = hostile.fetch(self.port, path, self.ledger)
            found = status if isinstance(wanted, int) else content
            if found == wanted:
                return
            if time.monotonic() > deadline:
                raise Wrong(f"{path} is {str(found)[:80]}, not {wanted}")
            time.sleep(0.05)

    def say_message(self, message):
        self.become("/api/message", f'{{"message":"{message}"}}'.encode())

    @contextlib.contextmanager
    def window(self, name, after_s=0.0):
        """While this is done, and for a while after it, its consequences are no failures."""
        window = [name, time.time(), float("inf")]
        self.windows.append(window)
        try:
            yield
        finally:
            window[2] = time.time() + after_s

    def within(self, began, *names):
        """Whether one of these was done between then and now."""
        now = time.time()
        return any(name in names and start <= now and began <= end
                   for name, start, end in self.windows)

    def excuses(self, anomaly):
        """Whether a failed call of the load is what a fault of that time may cause: without a
        descriptor a file is not opened but answered 503, and a connection is turned away."""
        excused = turned_away(anomaly) or "HTTP/1.1 503" in anomaly["what"]
        return excused and any(name == "descriptors" and start <= anomaly["ended"]
                               and anomaly["began"] <= end for name, start, end in self.windows)


def turned_away(anomaly):
    return any(words in anomaly["what"] for words in ("Connection reset", "Broken pipe"))


# ---------------------------------------------------------------------------------------------
# Faults: each is done whole, and ends with a look at whether all is well.
# ---------------------------------------------------------------------------------------------


def file_replaced(service):
    service.place()
    service.become(f"/{CHANGING}", bytes([service.version]) * CHANGING_BYTES)


def file_removed(service, gone_s):
    with service.window("file-removed", BELIEVED_S):
        os.remove(f"{service.scratch}/site/{CHANGING}")
        service.become(f"/{CHANGING}", 404)
        time.sleep(gone_s)
        service.place()
        service.become(f"/{CHANGING}", 200)


def file_cut(service, readers, pages):
    """Cut while it is read: who reads it sees a whole answer or a connection that breaks."""
    with service.window("file-cut", BELIEVED_S):
        streams = []
        for _ in range(readers):
            stream = hostile.connect(service.port, 16384)
            stream.sendall(hostile.request(f"/{CHANGING}", "Connection: close\r\n"))
            status, fields, content = hostile.read_head(stream)
            if status != 200:
                raise Wrong(f"a file that is there is answered {status}")
            streams.append((stream, int(fields["content-length"]), content))
        # To a whole page: of a page that is cut the kernel zeroes the rest under way.
        os.truncate(f"{service.scratch}/site/{CHANGING}", pages * 4096)
        for stream, length, content in streams:
            with contextlib.suppress(ConnectionResetError):
                content += hostile.read_to_end(stream)
            stream.close()
            if content != content[:1] * len(content) or len(content) > length:
                raise Wrong("bytes that the file never had")
            if len(content) == length:
                service.ledger.answer(200)
            else:
                service.ledger.add("certain")
                service.ledger.add("short")
        service.place()
        service.become(f"/{CHANGING}", bytes([service.version]) * CHANGING_BYTES)


def root_switched(service):
    service.which = "b" if service.which == "a" else "a"
    os.symlink(f"site-{service.which}", f"{service.scratch}/site.new")
    os.rename(f"{service.scratch}/site.new", f"{service.scratch}/site")
    service.become("/which.txt", service.which.encode())


def reload(service, number, by_admin):
    service.message = f"message-{number}"
    service.configure()
    since = len(service.lines)
    if by_admin:
        status, text = service.admin("POST", "/reload")
        if status != 200:
            raise Wrong(f"reload is answered {status}: {text}")
    else:
        service.signal(signal.SIGHUP)
        service.hear("reloaded", since)
    service.say_message(service.message)


BAD = ['mesage = "x"\n', 'port = "x"\n', 'head_timeout = "x"\n', 'trusted_proxies = ["x"]\n',
       "= =\n"]


def reload_bad(service, which, by_admin):
    service.configure(more=BAD[which % len(BAD)])
    since = len(service.lines)
    if by_admin:
        status, text = service.admin("POST", "/reload")
        if status != 409 or "aureon.toml:" not in text:
            raise Wrong(f"a bad configuration is answered {status}: {text}")
    else:
        service.signal(signal.SIGHUP)
        service.hear("not reloaded", since)
    service.say_message(service.message)
    service.configure()


def log_moved(service, number):
    path = f"{service.scratch}/{service.log_file}"
    os.rename(path, f"{path}.moved-{number}")
    since = len(service.lines)
    service.signal(signal.SIGUSR1)
    service.hear("USR1: the log's file is opened again", since)
    deadline = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise Wrong("the log's file is not there again")
        time.sleep(0.02)


def reader_paused(service, seconds):
    """Whoever reads the log stops, until lines are lost or for so long; nobody waits for them."""
    before = service.status()["log_lines_lost"]
    os.kill(service.tally.pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and service.status()["log_lines_lost"] == before:
            time.sleep(0.01)
        service.say_message(service.message)
    finally:
        os.kill(service.tally.pid, signal.SIGCONT)


def upgrade(service, log_file, by_admin, paused):
    """Another process takes over; `paused`: while the reader of the log is behind, so that two
    processes wait to write to one pipe."""
    if paused:
        os.kill(service.tally.pid, signal.SIGSTOP)
        time.sleep(0.2)
    try:
        take_over(service, log_file, by_admin)
    finally:
        os.kill(service.tally.pid, signal.SIGCONT)


def take_over(service, log_file, by_admin):
    service.log_file = log_file
    service.configure()
    since = len(service.lines)
    if by_admin:
        status, text = service.admin("POST", "/upgrade")
        if status != 200:
            raise Wrong(f"upgrade is answered {status}: {text}")
    else:
        service.signal(signal.SIGUSR2)
    line = service.hear("has taken over", since)
    service.pid = int(line.split("process ")[1].split()[0])
    service.pids.append(service.pid)
    # Who ordered it on the admin socket was answered when the old process had left that; a line
    # may come a moment before.
    deadline = time.monotonic() + (0 if by_admin else PATIENCE_S)
    while (told := service.status()["pid"]) != service.pid:
        if time.monotonic() > deadline:
            raise Wrong(f"process {told} answers on the admin socket, not {service.pid}")


def connect_some(service, count):
    """So many clients; one may be turned away before his handshake is over."""
    streams = []
    for _ in range(count):
        try:
            streams.append(hostile.connect(service.port))
        except ConnectionError:
            service.ledger.add("turned away")
    return streams


def descriptors(service, room, count, seconds):
    """The running server may open `room` more, and many more clients come. Each is answered or
    turned away by a reset, and the server counts those; or he has said nothing for so long that his
    connection went to somebody else, before his request came."""
    before = service.status()["shed"]
    soft, hard = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    with service.window("descriptors", BELIEVED_S):
        held = len(os.listdir(f"/proc/{service.pid}/fd"))
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (held + room, hard))
        try:
            waiting = connect_some(service, count)
            for stream in waiting:
                with contextlib.suppress(ConnectionError):
                    stream.sendall(hostile.request("/api/message", "Connection: close\r\n"))
            kept = connect_some(service, room)
            time.sleep(seconds)
        finally:
            resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for stream in waiting:
            try:
                status = hostile.expect_end(stream, (200,), "who waits for a descriptor")
                service.ledger.answer(status)
            except ConnectionError:
                service.ledger.add("turned away")
            except hostile.Nothing:
                service.ledger.add("made room")
        for stream in kept:
            stream.close()
        service.say_message(service.message)
    service.ledger.add("shed", service.status()["shed"] - before)


def stopped(service, seconds):
    service.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        service.signal(signal.SIGCONT)
    service.say_message(service.message)


def on_thread(work):
    """A fault whose clients wait for seconds goes on beside those after it."""
    def begin(service, **parameters):
        parts = work(service, **parameters)
        next(parts)

        def run():
            try:
                for _ in parts:
                    pass
            except (OSError, Wrong) as error:
                service.background_wrong.append(f"{work.__name__}: {error!r}")
        thread = threading.Thread(target=run)
        thread.start()
        service.background.append(thread)
    begin.__name__ = work.__name__
    return begin


# Name: what is done, and by how much.
FAULTS = {
    "reset-in-request": (hostile.reset_in_requests,
                         lambda r: {"count": r.randint(5, 60), "cut": r.randint(1, 40)}),
    "reset-in-answer": (hostile.reset_in_answers,
                        lambda r: {"count": r.randint(2, 20), "taken": r.randint(1, 60000)}),
    "scan": (hostile.scan, lambda r: {"count": r.randint(20, 200)}),
    "stall": (on_thread(hostile.stall), lambda r: {"count": r.randint(1, 8)}),
    "slow-head": (on_thread(hostile.slow_heads), lambda r: {"count": r.randint(1, 20)}),
    "slow-body": (on_thread(hostile.slow_bodies), lambda r: {"count": r.randint(1, 20)}),
    "malformed": (hostile.malformed,
                  lambda r: {"count": r.randint(1, 20), "first": r.randint(0, 4)}),
    "idle": (on_thread(hostile.idle), lambda r: {"count": r.randint(1, 50)}),
    "burst": (hostile.burst, lambda r: {"count": r.randint(100, 500)}),
    "descriptors": (descriptors, lambda r: {"room": r.randint(2, 20), "count": r.randint(60, 150),
                                            "seconds": r.uniform(0.5, 2.0)}),
    "file-replaced": (file_replaced, lambda r: {}),
    "file-removed": (file_removed, lambda r: {"gone_s": r.uniform(0, 0.5)}),
    "file-cut": (file_cut, lambda r: {"readers": r.randint(1, 6), "pages": r.randint(0, 64)}),
    "root-switched": (root_switched, lambda r: {}),
    "reload": (reload, lambda r: {"number": r.randint(1, 10**6), "by_admin": r.random() < 0.5}),
    "reload-bad": (reload_bad, lambda r: {"which": r.randint(0, 9), "by_admin": r.random() < 0.5}),
    "log-moved": (log_moved, lambda r: {"number": r.randint(1, 10**9)}),
    "reader-paused": (reader_paused, lambda r: {"seconds": r.uniform(2.0, 10.0)}),
    "upgrade": (upgrade, lambda r: {"by_admin": r.random() < 0.5, "paused": r.random() < 0.5}),
    "stopped": (stopped, lambda r: {"seconds": r.uniform(0.1, 0.5)}),
}
# Seconds between the beginnings of two faults, at least and at most; one that lasts longer delays
# those behind it.
BETWEEN_S = (0.1, 1.3)
# Beyond these shares of the soak the last process's memory would not be watched for long enough,
# and who waits for a deadline would not be through at the end.
UPGRADES_UNTIL, FAULTS_UNTIL = 0.4, 0.9


def schedule(seed, seconds):
    """What is done and when, in seconds from the beginning: nothing but the seed decides.

    Every fault once before any comes again. The later part has no upgrade, so that the last
    process is watched for long enough. A log goes to the pipe or to a file of its process's own,
    the last one's to a file, so that what that process counted can be compared with what it wrote.
    """
    draw = random.Random(seed)
    names, due = [], 0.0
    while due < seconds * FAULTS_UNTIL:
        bag = [name for name in FAULTS if name not in ("upgrade", "log-moved", "reader-paused")]
        draw.shuffle(bag)
        if due < seconds * UPGRADES_UNTIL:
            bag.insert(draw.randint(2, 6), "reader-paused")
            bag.insert(draw.randint(7, 8), "upgrade")
            bag.insert(draw.randint(9, len(bag)), "log-moved")
        for name in bag:
            due += draw.uniform(*BETWEEN_S)
            names.append((due, name))
    last_upgrade = max(at for at, (_, name) in enumerate(names) if name == "upgrade")
    log_file, plan = None, []
    for at, (due, name) in enumerate(names):
        parameters = FAULTS[name][1](draw)
        if name == "upgrade":
            to_file = draw.random() < 0.5 or at == last_upgrade
            log_file = f"access-{at}.log" if to_file else None
            parameters["log_file"] = log_file
        elif name in ("log-moved", "reader-paused") and (name == "log-moved") != bool(log_file):
            name, parameters = "stopped", FAULTS["stopped"][1](draw)
        plan.append((due, name, parameters))
    return plan


# ---------------------------------------------------------------------------------------------
# The soak.
# ---------------------------------------------------------------------------------------------


class Load(threading.Thread):
    """`load soak`, and what it tells while it runs."""

    def __init__(self, service, seconds, seed):
        super().__init__()
        command = [harness.tool("load"), "soak", f"127.0.0.1:{service.port}", "--seconds",
                   str(seconds), "--seed", str(seed), "--pause-ms", "400", "--faults"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.anomalies, self.counts = [], None

    def run(self):
        for line in self.process.stdout:
            told = json.loads(line)
            if "kind" in told:
                self.anomalies.append(told)
            else:
                self.counts = told
        self.process.wait()


class Sampler(threading.Thread):
    """Memory of the process in charge, four times a second; and the admin listener asked all the
    while, everything that it has."""

    PAGES = ["/status", "/metrics", "/api/metrics", "/exchanges", "/config", "/status.txt",
             "/readyz"]

    def __init__(self, service):
        super().__init__()
        self.service, self.over = service, threading.Event()
        self.samples, self.wrong, self.asked = collections.defaultdict(list), None, 0

    def run(self):
        while not self.over.wait(0.25):
            pid = self.service.pid
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    line = next(line for line in file if line.startswith("Rss:"))
                self.samples[pid].append(int(line.split()[1]) * 1024)
            self.ask(self.PAGES[self.asked % len(self.PAGES)])

    def ask(self, page):
        began = time.time()
        try:
            status, text = self.service.admin("GET", page)
            if status != 200:
                raise Wrong(f"answered {status}: {text[:200]}")
            if page in ("/status", "/api/metrics", "/exchanges", "/config"):
                json.loads(text)
            self.asked += 1
        except (OSError, Wrong, ValueError, http.client.HTTPException) as error:
            self.asked += 1
            if not self.service.within(began, "descriptors"):
                self.wrong = self.wrong or f"admin {page}: {error!r}"


def check(service, load, watcher, sampler):
    """Raises what went wrong so far, if anything did."""
    service.lives()
    for anomaly in list(load.anomalies):
        if not service.excuses(anomaly):
            times = [anomaly[key] - service.began for key in ("began", "ended")]
            raise Wrong("{kind}, {0:.2f} s to {1:.2f} s: {what}".format(*times, **anomaly))
    for wrong in [watcher.wrong, sampler.wrong, *service.background_wrong]:
        if wrong:
            raise Wrong(wrong)


def soak(program, seed, seconds, scratch):
    service = Service(program, scratch)
    service.background, service.background_wrong = [], []
    service.start()
    quiet(service)
    before = open_by_kind(service)
    watcher = hostile.Watcher(service, f"/{CHANGING}")
    sampler = Sampler(service)
    load = Load(service, seconds, seed)
    threads = [load, watcher, sampler]
    try:
        for thread in threads:
            thread.start()
        begun, service.began = time.monotonic(), time.time()
        done = collections.Counter()
        for due, name, parameters in schedule(seed, seconds):
            time.sleep(max(0, begun + due - time.monotonic()))
            now = time.monotonic() - begun
            if now > seconds * FAULTS_UNTIL:
                break
            told = " ".join(f"{key}={value:.2f}" if isinstance(value, float) else f"{key}={value}"
                            for key, value in parameters.items())
            print(f"{now:8.2f} s  seed {seed}  {name} {told}", flush=True)
            FAULTS[name][0](service, **parameters)
            done[name] += 1
            check(service, load, watcher, sampler)
        load.join()
        for thread in service.background:
            thread.join()
        sampler.over.set()
        watcher.over.set()
        watcher.join()
        sampler.join()
        check(service, load, watcher, sampler)
        if load.process.returncode:
            raise Wrong("the load failed, see above")
        finish(service, load, sampler, done, seconds, before)
    except (OSError, Wrong) as error:
        for line in service.lines[-10:]:
            print(f"    {line}", file=sys.stderr)
        harness.fail(f"seed {seed}: {error}")
    finally:
        for over in (sampler.over, watcher.over):
            over.set()
        service.reap()
        for pid in service.pids:
            if pid not in service.ended:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in (load.process, service.tally):
            if process.poll() is None:
                process.kill()


def finish(service, load, sampler, done, seconds, before):
    """The load is over: all is given back, it ends well, and both sides agree."""
    missing = [name for name in FAULTS if not done[name]]
    if missing or not service.log_file:
        raise Wrong(f"{seconds} s were too short for: {', '.join(missing) or 'the last upgrade'}")
    quiet(service)
    families = {family["name"]: family["samples"]
                for family in json.loads(service.admin("GET", "/api/metrics")[1])}
    give_back(service, before)
    service.signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while len(service.ended) < len(service.pids):
        if time.monotonic() > deadline:
            raise Wrong("not every process ended")
        time.sleep(0.02)
        service.reap()
    codes = [service.ended[pid] for pid in service.pids]
    if any(codes):
        raise Wrong(f"the processes ended with {codes}")
    is_flat(service, sampler)
    agree(service, load, families, sum(done.values()))


def quiet(service):
    """Until nobody is connected and the processes before have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        service.reap()
        open_ = {state: count for state, count in service.status()["connections"].items() if count}
        if not open_ and len(service.ended) == len(service.pids) - 1:
            return
        if time.monotonic() > deadline:
            raise Wrong(f"still open: {open_}, processes that ended: {service.ended}")
        time.sleep(0.05)


def open_by_kind(service):
    """Descriptors of the process in charge, counted by what they are."""
    kinds = collections.Counter()
    for number in os.listdir(f"/proc/{service.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(f"/proc/{service.pid}/fd/{number}")
            served = link.startswith(f"{service.scratch}/site")
            kinds["served" if served else link.split(":")[0]] += 1
    return kinds


def give_back(service, before):
    """Nothing is open that was not open at the start, but the log, the directory that is served
    and those of its four larger files that are kept open by their names."""
    more = {f"{service.scratch}/{service.log_file}": 1, "served": 5}
    allowed = before + collections.Counter(more)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        kinds = open_by_kind(service)
        if not kinds - allowed:
            told = ", ".join(f"{count} {os.path.basename(kind)}" for kind, count in kinds.items())
            print(f"descriptors: {sum(before.values())} at the start, {sum(kinds.values())} at the "
                  f"end: {told}")
            return
        if time.monotonic() > deadline:
            raise Wrong(f"descriptors stay open: {kinds - allowed}")
        time.sleep(0.1)


def is_flat(service, sampler):
    """As for the soak without faults, over the life of the last process."""
    samples = sampler.samples[service.pid]
    size = len(samples) // 4
    if size < 10:
        raise Wrong(f"{len(samples)} samples of the last process's memory are too few")
    second, last = max(samples[size:2 * size]), max(samples[3 * size:])
    print(f"memory of the last process: {second:,} bytes at most in the second quarter of its "
          f"life, {last:,} in the last")
    if last > second * 1.05 + 512 * 1024:
        raise Wrong("memory grew")


def tallies(service):
    """What all logs say, and what the last process's own say."""
    piped = json.loads(service.tally.communicate(timeout=PATIENCE_S)[0])
    told = [piped]
    own = None
    names = glob.glob(f"{service.scratch}/access-*")
    for name in sorted({name.split(".log")[0] for name in names}):
        files = glob.glob(f"{name}.log*")
        out = subprocess.run([harness.tool("load"), "tally", *files], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        told.append(json.loads(out))
        if f"{name}.log" == f"{service.scratch}/{service.log_file}":
            own = told[-1]
    return told, own


def agree(service, load, families, faults):
    """Clients, metrics and log: three counts of the same."""
    told, own = tallies(service)
    torn, dropped = (sum(tally[key] for tally in told) for key in ("torn", "dropped"))
    if torn:
        raise Wrong(f"{torn} torn lines in the log")
    lines = collections.Counter()
    for tally in told:
        lines.update(tally["counts"])
    ledger, counts = service.ledger, load.counts
    refused = sum(n for name, n in lines.items() if name.startswith("refused "))
    events = sum(n for name, n in lines.items() if name.startswith("event "))
    exchanges = sum(lines.values()) - refused - events

    def between(what, low, number, high):
        low = max(low, 0)
        print(f"{what}: {low:,} <= {number:,} <= {high:,}")
        if not low <= number <= high:
            raise Wrong(f"{what}: the server counts {number}, its clients {low} to {high}")

    # What failed within a call of the load may have arrived.
    answered = collections.Counter(counts["answered"]) + ledger.answered
    known = sum(counts["answered"].values()) + counts["left"]
    certain = known + ledger.counts["certain"]
    possible = counts["asked"] - known + ledger.counts["possible"]
    between("exchanges in the log", certain - dropped, exchanges, certain + possible)
    for status, count in sorted(answered.items()):
        seen = sum(n for name, n in lines.items() if name.startswith(f"{status} "))
        if seen + dropped < count:
            raise Wrong(f"clients had {count} answers of {status}, the log has {seen}")
    left = counts["left"] + ledger.counts["left"]
    for ending, count in [("peer-gone", left), ("write-stalled", ledger.counts["stalled"]),
                          ("source-failed", ledger.counts["short"])]:
        seen = sum(n for name, n in lines.items() if name.endswith(f" {ending}"))
        between(f"exchanges that ended {ending}", count - dropped, seen, count + possible)
    wanted = sum(n for name, n in ledger.counts.items() if name.startswith("refused "))
    between("refusals in the log", wanted - dropped, refused, wanted)
    # By its number (EMFILE): the C libraries have different words for it.
    if not any("(os error 24)" in name for name in lines):
        raise Wrong("it never said that there was no descriptor")
    away = ledger.counts["turned away"] + sum(turned_away(one) for one in load.anomalies)
    if not 0 < away <= ledger.counts["shed"]:
        raise Wrong(f"{away} connections were turned away, the server counts "
                    f"{ledger.counts['shed']}")
    print(f"connections turned away for want of a descriptor: {away} noticed, "
          f"{ledger.counts['shed']} counted by the server")
    agree_with_itself(families, own)
    failed = {status: n for status, n in answered.items() if status.startswith("5")}
    print(f"{faults} faults, {len(service.pids)} processes, {certain:,} requests, {exchanges:,} "
          f"exchanges logged and {dropped:,} lines lost, answered {dict(answered)}, excused "
          f"{len(load.anomalies)}, {failed or 'none'} of 5xx, {refused} refused")


def agree_with_itself(families, own):
    """What the last process counted is what it wrote, and it closed what it accepted."""
    def total(name, **labels):
        return sum(sample.get("count", sample.get("value", 0)) for sample in families[name]
                   if all(sample["labels"].get(key) == value for key, value in labels.items()))

    accepted, closed = (total(f"aureon_connections_{what}_total")
                        for what in ("accepted", "closed"))
    if accepted != closed:
        raise Wrong(f"{accepted} connections accepted and {closed} closed, with none open")
    probes = sum(total("http_server_request_duration_seconds", http_route=route)
                 for route in PROBES)
    exchanges = total("http_server_request_duration_seconds") - probes
    counts = own["counts"]
    refused = sum(n for name, n in counts.items() if name.startswith("refused "))
    events = sum(n for name, n in counts.items() if name.startswith("event "))
    written = sum(counts.values()) - refused - events
    pairs = [("exchanges", exchanges, written),
             ("refusals", total("aureon_refusals_total"), refused)]
    endings = {sample["labels"]["ending"] for sample in families["aureon_exchanges_cut_total"]}
    for ending in sorted(endings):
        seen = sum(n for name, n in counts.items() if name.endswith(f" {ending}"))
        pairs.append((ending, total("aureon_exchanges_cut_total", ending=ending), seen))
    if own["dropped"]:
        raise Wrong(f"{own['dropped']} lines lost on their way to a file")
    wrong = [pair for pair in pairs if pair[1] != pair[2]]
    if wrong:
        raise Wrong(f"the last process's metrics and its log differ: {wrong}")
    told = ", ".join(f"{name} {number:,}" for name, number, _ in pairs if number)
    print(f"the last process: {accepted:,} connections accepted and closed; metrics and log agree "
          f"on {told}")
