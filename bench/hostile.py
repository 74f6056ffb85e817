"""Clients that a server would rather not have, and the count of what came of each. What a server
says that it did is compared with these counts. Python's standard library only.

A request is *certain* when its answer began, so that the server must know of it; *possible* when it
was sent and the client went away without looking, so that the server may never have read it.
"""

import collections
import contextlib
import select
import socket
import struct
import threading
import time

SILENCE_S = 30
LARGE = "/10m.bin"


class Wrong(Exception):
    """The server did what no fault explains."""


class Ledger:
    """What clients did and got. Counted under a lock: clients run on threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.answered = collections.Counter()

    def add(self, name, count=1):
        with self.lock:
            self.counts[name] += count

    def answer(self, status):
        with self.lock:
            self.counts["certain"] += 1
            self.answered[str(status)] += 1


def connect(port, window=None):
    stream = socket.socket()
    if window:
        # A small window, so that most of an answer is still on the server's side.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    stream.settimeout(SILENCE_S)
    stream.connect(("127.0.0.1", port))
    return stream


class Nothing(Wrong):
    """The connection was closed before a byte of the answer."""


def reset(stream):
    """Closes without a farewell: the peer reads ECONNRESET (socket(7), SO_LINGER of 0)."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def request(path, fields=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()


def read_to_end(stream):
    got = []
    while block := stream.recv(65536):
        got.append(block)
    return b"".join(got)


def read_head(stream):
    """Status, fields in small letters, and what came behind the head."""
    got = b""
    while b"\r\n\r\n" not in got:
        block = stream.recv(65536)
        if not block:
            raise (Wrong if got else Nothing)(f"an answer ended in its head: {got[:80]!r}")
        got += block
    head, rest = got.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, rest


def fetch(port, path, ledger):
    """Status and content; content is None when the connection ended before its length."""
    with contextlib.closing(connect(port)) as stream:
        stream.sendall(request(path, "Connection: close\r\n"))
        status, fields, content = read_head(stream)
        wanted = int(fields["content-length"])
        try:
            content += read_to_end(stream)
        except ConnectionResetError:
            # What is wrong within an answer is told by a reset.
            if len(content) >= wanted:
                raise
        if len(content) < wanted:
            ledger.add("certain")
            ledger.add("short")
            return status, None
        if len(content) > wanted:
            raise Wrong(f"{path}: bytes behind the answer")
        ledger.answer(status)
        return status, content


def reset_in_requests(service, count, cut):
    """Half a request, then a reset; every third time a whole one that nobody waits for."""
    for number in range(count):
        whole = request("/api/message")
        stream = connect(service.port)
        if number % 3 == 2:
            service.ledger.add("possible")
            stream.sendall(whole)
        else:
            stream.sendall(whole[:cut % len(whole)])
        reset(stream)


def reset_in_answers(service, count, taken):
    for _ in range(count):
        stream = connect(service.port)
        stream.sendall(request(LARGE))
        if not stream.recv(taken):
            raise Wrong("no beginning of an answer")
        service.ledger.add("certain")
        service.ledger.add("left")
        reset(stream)


def scan(service, count):
    """What a port scan is: connections that end as they begin."""
    for _ in range(count):
        reset(connect(service.port))


def ended_by_peer(stream, within_s):
    """Until the peer has reset or ended the connection, without reading from it."""
    poll = select.poll()
    poll.register(stream, select.POLLRDHUP)
    events = poll.poll(within_s * 1000)
    return bool(events)


def stall(service, count):
    """Asks for much and takes nothing; the server must cut it off. In two parts, as all that
    waits: what is begun is begun before anything else is done to the server."""
    streams = []
    for _ in range(count):
        stream = connect(service.port, 16384)
        stream.sendall(request(LARGE))
        streams.append(stream)
        service.ledger.add("certain")
        service.ledger.add("stalled")
    yield
    for stream in streams:
        if not ended_by_peer(stream, SILENCE_S):
            raise Wrong("who takes nothing is never cut off")
        stream.close()


def expect_end(stream, statuses, what):
    """An answer of one of these, then the end of the connection."""
    status, fields, content = read_head(stream)
    if status not in statuses:
        raise Wrong(f"{what}: answered {status}")
    content += read_to_end(stream)
    if len(content) != int(fields["content-length"]):
        raise Wrong(f"{what}: not one whole answer")
    stream.close()
    return status


def room_was_made(service, began):
    """Whether descriptors were short since then: who is silent may have lost his connection."""
    if not service.within(began, "descriptors"):
        return False
    service.ledger.add("made room")
    return True


def slow_heads(service, count):
    began = time.time()
    streams = [connect(service.port) for _ in range(count)]
    for number, stream in enumerate(streams):
        stream.sendall(request("/api/message")[:5 + number % 30])
    yield
    for stream in streams:
        try:
            expect_end(stream, (408,), "half a head")
            service.ledger.add("refused head-timeout")
        except (ConnectionError, Nothing):
            if not room_was_made(service, began):
                raise


def slow_bodies(service, count):
    """The body is unwanted, so the answer comes at once; the rest of the body never does."""
    began = time.time()
    streams = [connect(service.port) for _ in range(count)]
    head = b"POST /api/message HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    for stream in streams:
        stream.sendall(head + b"0123456789")
    yield
    for stream in streams:
        try:
            service.ledger.answer(expect_end(stream, (405,), "half a body"))
            service.ledger.add("refused body-timeout")
        except (ConnectionError, Nothing):
            if not room_was_made(service, began):
                raise
            service.ledger.add("possible")


MALFORMED = [
    (b"GET / HTTP/9.9\r\n\r\n", 505),
    (b"\0\0\0\0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
]


def malformed(service, count, first):
    for number in range(count):
        bytes_, status = MALFORMED[(first + number) % len(MALFORMED)]
        stream = connect(service.port)
        stream.sendall(bytes_)
        expect_end(stream, (status,), f"{bytes_[:20]!r}")
        service.ledger.add("refused malformed")


def idle(service, count):
    """Who says nothing goes first when there is no room, and may be turned away before."""
    began = time.time()
    streams = [connect(service.port) for _ in range(count)]
    yield
    for stream in streams:
        try:
            if stream.recv(1):
                raise Wrong("an idle connection was answered")
        except ConnectionError:
            if not service.within(began, "descriptors"):
                raise
            service.ledger.add("turned away")
        stream.close()


def burst(service, count):
    """Many connections at once, one request on each; every one is answered."""
    streams = []
    for _ in range(count):
        stream = connect(service.port)
        stream.sendall(request("/api/message", "Connection: close\r\n"))
        streams.append(stream)
    for stream in streams:
        service.ledger.answer(expect_end(stream, (200,), "one of many"))


class Watcher(threading.Thread):
    """Reads a file that others change, and knows what an answer may be: one version of it, whole;
    404; the beginning of one while it is being cut."""

    def __init__(self, service, path):
        super().__init__()
        self.service, self.path = service, path
        self.over = threading.Event()
        self.wrong = None
        self.answers = 0

    def run(self):
        try:
            while not self.over.wait(0.05):
                began = time.time()
                try:
                    self.look(began)
                except ConnectionError:
                    if not self.service.within(began, "descriptors"):
                        raise
                    self.service.ledger.add("turned away")
        except (OSError, Wrong) as error:
            self.wrong = f"{self.path}: {error!r}"

    def look(self, began):
        status, content = fetch(self.service.port, self.path, self.service.ledger)
        self.answers += 1
        if content is None:
            if not self.service.within(began, "file-cut"):
                raise Wrong("an answer was cut off while nobody cut the file")
        elif status == 200:
            if content != content[:1] * len(content):
                raise Wrong("two versions of a file in one answer")
        elif status == 404:
            if not self.service.within(began, "file-removed"):
                raise Wrong("404 while the file is there")
        elif status != 503 or not self.service.within(began, "descriptors"):
            raise Wrong(f"answered {status}")
