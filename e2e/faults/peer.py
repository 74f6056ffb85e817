#!/usr/bin/env python3
"""Peers that a server would rather not have. Each holds on until TERM.

    peer.py HOST:PORT hold N            N connections that say nothing
    peer.py HOST:PORT halves N          N connections with half a head each
    peer.py HOST:PORT read PATH FILE    asks for PATH, reads the beginning, prints `begun`, waits for
                                        TERM, reads the rest, compares it with what FILE was before

The first two print `begun` when every connection is made. The last one prints how its answer was:
`whole`, `short` (the connection ended before the announced length), `other` (bytes that FILE never
had).
"""

import signal
import socket
import sys

SILENCE_S = 20


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), SILENCE_S)


def request(address, path):
    return f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()


def read(address, path, name):
    with open(name, "rb") as file:
        before = file.read()
    stream = connect(address)
    # A small window, so that most of the file is still on the server's side.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    stream.sendall(request(address, path))
    got = b""
    while b"\r\n\r\n" not in got:
        got += stream.recv(4096)
    head, content = got.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    print("begun", flush=True)
    signal.sigwait({signal.SIGTERM})
    pieces = [content]
    left = length - len(content)
    while left > 0:
        try:
            piece = stream.recv(min(left, 1 << 20))
        except ConnectionResetError:
            piece = b""
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    content = b"".join(pieces)
    if content != before[: len(content)]:
        return "other"
    return "short" if left > 0 else "whole"


def main():
    address, what, *rest = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if what == "read":
        print(read(address, *rest), flush=True)
        return
    said = {
        "hold": b"",
        "halves": b"GET / HTTP/1.1\r\nHost: half",
    }[what]
    held = []
    for _ in range(int(rest[0])):
        stream = connect(address)
        stream.sendall(said)
        held.append(stream)
    print("begun", flush=True)
    signal.sigwait({signal.SIGTERM})


main()
