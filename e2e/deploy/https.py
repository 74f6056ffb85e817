#!/usr/bin/env python3
"""Constant load over HTTPS that counts: every request is answered in full, or it is a failure.

    https.py ADDRESS NAME ROOT [--clients 4] [--path /]

As e2e/vps/client.py, whose client and report it uses: half of the clients stay on their connection
for as long as the server does, half open one for every request. NAME is what the certificate is
for, ROOT the authority's certificate. Nginx closes a connection that has had its number of requests
or when it is reloaded; where it does so between two requests, a request that was on its way is sent
again on another connection, as RFC 9112 section 9.3.1 has a client do and browsers do: that is no
failure, and it is counted.
"""

import argparse
import importlib.util
import pathlib
import signal
import socket
import ssl
import threading

HERE = pathlib.Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("client", HERE.parent / "vps" / "client.py")
plain = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plain)


class Client(plain.Client):
    """One request after the other, over TLS."""

    def __init__(self, address, name, path, keep, over, context):
        super().__init__((address, 443), path, keep, over)
        self.name, self.context = name, context
        close = "" if keep else "Connection: close\r\n"
        self.request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{close}\r\n".encode()
        self.again = 0

    def run(self):
        while not self.over.is_set():
            begun = plain.time.monotonic()
            used = self.stream is not None
            try:
                if self.stream is None:
                    self.connect()
                lives = self.ask()
                self.answers += 1
            except (plain.Broken, OSError, ValueError) as error:
                lives = False
                if used and self.was_idle(error):
                    self.again += 1
                    self.leave()
                    continue
                self.fail(type(error).__name__ + ": " + str(error))
            self.slowest = max(self.slowest, plain.time.monotonic() - begun)
            self.begun.set()
            if not (lives and self.keep):
                self.leave()
        self.leave()

    def was_idle(self, error):
        """Closed by the server before it had read the request: nothing of an answer had come."""
        return not self.heard and not isinstance(error, TimeoutError)

    def connect(self):
        raw = socket.create_connection(self.address, plain.SILENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.context.wrap_socket(raw, server_hostname=self.name)
        self.connections += 1

    def ask(self):
        self.heard = False
        return super().ask()

    def more(self, otherwise):
        piece = super().more(otherwise)
        self.heard = True
        return piece


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("name")
    parser.add_argument("root")
    parser.add_argument("--path", default="/")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    context = ssl.create_default_context(cafile=options.root)
    over = threading.Event()
    clients = [
        Client(options.address, options.name, options.path, at % 2 == 0, over, context)
        for at in range(options.clients)
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
    failures = sum((client.failures for client in clients), plain.collections.Counter())
    print(
        f"{sum(client.answers for client in clients)} answered, {sum(failures.values())} failed,"
        f" {sum(client.connections for client in clients)} connections,"
        f" slowest {max(client.slowest for client in clients) * 1000:.1f} ms,"
        f" {sum(client.again for client in clients)} sent again,"
        f" {plain.json.dumps(failures)}"
    )


if __name__ == "__main__":
    main()
