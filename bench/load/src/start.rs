//! `load start`: how long a user waits between starting the server and its first whole 200. The
//! clock starts before fork and exec; connecting is tried again every 50 µs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::answer::parse_head;
use crate::{Failure, Options};

const PATIENCE: Duration = Duration::from_secs(10);

/// Ends the server however the attempt went, with the processes that it started: a worker that
/// outlived its master would answer for the next one.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: plain system call; the group was made for this child alone.
        unsafe { libc::kill(-self.child.id().cast_signed(), libc::SIGKILL) };
        // An already ended process is what is wanted.
        let _ = self.child.wait();
        let ended = Instant::now();
        while TcpStream::connect(self.address).is_ok() && ended.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn first_answer(address: &SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut input = vec![0; 65_536];
    let mut length = 0;
    loop {
        let received = stream.read(&mut input[length..])?;
        if received == 0 {
            return Err(std::io::Error::other("ended within the answer"));
        }
        length += received;
        let head = parse_head(&input[..length]).map_err(std::io::Error::other)?;
        if let Some(head) = head
            && head
                .body_bytes
                .is_some_and(|body| length >= head.bytes + body)
        {
            return Ok(head.status);
        }
    }
}

fn measure(options: &Options, path: &str) -> Result<f64, Failure> {
    let address = SocketAddr::V4(options.address()?);
    if TcpStream::connect(address).is_ok() {
        return Err(format!("somebody else listens on {address}"));
    }
    let (program, arguments) = options
        .command
        .split_first()
        .ok_or("-- COMMAND is missing")?;
    let mut command = Command::new(program);
    command.process_group(0);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(core) = options.text("--core") {
        let core: usize = core.parse().map_err(|_| "--core is not a number")?;
        // SAFETY: between fork and exec only one system call on a local value.
        unsafe {
            command.pre_exec(move || {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(core, &mut set);
                match libc::sched_setaffinity(0, size_of_val(&set), &raw const set) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    }
    let started = Instant::now();
    let child = command
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut server = Server { child, address };
    loop {
        match first_answer(&address, path) {
            Ok(200) => return Ok(started.elapsed().as_secs_f64() * 1_000.0),
            Ok(status) => return Err(format!("the first answer was {status}")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(format!("the first answer: {error}")),
        }
        if let Ok(Some(status)) = server.child.try_wait() {
            return Err(format!("{program} ended before it answered: {status}"));
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{program} did not listen within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

pub(crate) fn start(options: &Options) -> Result<(), Failure> {
    let runs: usize = options.number("--runs", 100)?;
    let path = options.text("--path").unwrap_or("/plaintext");
    let mut times = (0..runs)
        .map(|_| measure(options, path))
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable_by(f64::total_cmp);
    let (Some(min), Some(max)) = (times.first(), times.last()) else {
        return Err("--runs must be above 0".into());
    };
    let median = times[times.len() / 2];
    println!(
        "{{\"runs\": {runs}, \"min_ms\": {min:.3}, \"median_ms\": {median:.3}, \
         \"max_ms\": {max:.3}}}"
    );
    Ok(())
}
