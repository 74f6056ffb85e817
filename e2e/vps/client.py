#!/usr/bin/env python3
"""Constant load that counts: every request is answered in full, or it is a failure.

    client.py HOST:PORT [--path /api/status] [--keep 4] [--each 2]

--keep clients stay on their connection for as long as the server does, --each clients open one for
every request. Each has one request under way at a time and sends the next when the answer is there.
Prints `begun` after the first answer of each. After TERM the answers under way are waited for, then
one line is printed, of which the first and the third word are numbers:

    51234 answered, 1 failed, 17083 connections, slowest 31.2 ms, {"reset": 1}

A connection that is refused, reset, or closed before the answer is whole, an answer other than a
200, and silence of ten seconds are failures, whoever may be in the right: a user sees an error.
"""

import argparse
import collections
import json
import signal
import socket
import threading
import time

SILENCE_S = 10


class Broken(Exception):
    """The connection ended before the answer did."""


class Client(threading.Thread):
    """One request after the other."""

    def __init__(self, address, path, keep, over):
        super().__init__(daemon=True)
        self.address, self.keep, self.over = address, keep, over
        close = "" if keep else "Connection: close\r\n"
        host = f"{address[0]}:{address[1]}"
        self.request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n".encode()
        self.answers = self.connections = 0
        self.failures = collections.Counter()
        self.slowest = 0.0
        self.begun = threading.Event()
        self.stream = None

    def run(self):
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                if self.stream is None:
                    self.stream = socket.create_connection(self.address, SILENCE_S)
                    self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.connections += 1
                lives = self.ask()
                self.answers += 1
            except ConnectionRefusedError:
                lives = self.fail("refused")
            except ConnectionResetError:
                lives = self.fail("reset")
            except BrokenPipeError:
                lives = self.fail("reset")
            except TimeoutError:
                lives = self.fail("silence")
            except (Broken, OSError, ValueError) as error:
                lives = self.fail(str(error))
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.begun.set()
            if not (lives and self.keep):
                self.leave()
        self.leave()

    def fail(self, how):
        self.failures[how] += 1
        # Not a storm: a refused connection costs nothing, and the next one may fare better.
        self.over.wait(0.01)
        return False

    def leave(self):
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def ask(self):
        """One exchange; whether the connection lives on."""
        self.stream.sendall(self.request)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.more("closed before the answer" if not got else "closed in the head")
        head, content = got.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        if lines[0] != b"HTTP/1.1 200 OK":
            raise Broken(lines[0].decode("latin-1"))
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(fields[b"content-length"])
        while len(content) < length:
            content += self.more("closed in the content")
        if len(content) > length:
            raise Broken("more than was announced")
        return fields.get(b"connection") != b"close"

    def more(self, otherwise):
        piece = self.stream.recv(65536)
        if not piece:
            raise Broken(otherwise)
        return piece


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--path", default="/api/status")
    parser.add_argument("--keep", type=int, default=4)
    parser.add_argument("--each", type=int, default=2)
    options = parser.parse_args()
    # Before the threads, which inherit it: only this one is to hear.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    host, port = options.address.rsplit(":", 1)
    over = threading.Event()
    clients = [
        Client((host, int(port)), options.path, at < options.keep, over)
        for at in range(options.keep + options.each)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.begun.wait()
    print("begun", flush=True)
    signal.sigwait({signal.SIGTERM})
    over.set()
    for client in clients:
        client.join()
    failures = sum((client.failures for client in clients), collections.Counter())
    answers = sum(client.answers for client in clients)
    connections = sum(client.connections for client in clients)
    slowest_ms = max(client.slowest for client in clients) * 1000
    print(
        f"{answers} answered, {sum(failures.values())} failed, {connections} connections,"
        f" slowest {slowest_ms:.1f} ms, {json.dumps(failures)}"
    )


if __name__ == "__main__":
    main()
