//! AUREON as a daemon.
