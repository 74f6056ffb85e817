//! AUREON's engine: an HTTP/1.1 server straight on the operating system's sockets.
