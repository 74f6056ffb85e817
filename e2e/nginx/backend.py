#!/usr/bin/env python3
"""A program behind Nginx: says what it was told (/), sends a stream of events in two pieces.

    backend.py PORT

/events sends one event, then waits until somebody has asked for /go, then sends the second: a proxy
that keeps the first back until there is more never gets more.
"""

import http.server
import json
import sys
import threading

go = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers in HTTP/1.1, one connection a thread."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/events":
            self.events()
            return
        if self.path == "/go":
            go.set()
        told = {name.lower(): value for name, value in self.headers.items()}
        self.whole(json.dumps(told).encode())

    def whole(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Accel-Buffering", "no")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: one\n\n")
        self.wfile.flush()
        go.wait(30)
        self.wfile.write(b"data: two\n\n")
        self.close_connection = True

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
