//! Ready means serving: a request of our own through every socket, before anybody is told.
//!
//! A listener that is bound is not a service: a wrong address, a firewall on loopback or a worker
//! that does not turn shows only when somebody asks. The request carries a number that this
//! process alone knows, because two processes may listen on the same socket.

use std::io;
use std::time::{Duration, Instant};

use aureon::server::Address as Bound;

use crate::address::Address;
use crate::asking::{PATIENCE as STEP, ask};
use crate::health::{ALIVE_PATHS, Health};
use crate::value::show_digits;

/// How long it may take until this process answers its own request. 5 s; it takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks every address until this process has answered; those of `proxied` by a PROXY header.
///
/// # Errors
///
/// The first address that does not answer, and why.
pub fn wait_until_served(
    addresses: &[Bound],
    proxied: &[Bound],
    health: &Health,
) -> Result<(), (String, io::Error)> {
    for bound in addresses {
        let address = match bound {
            Bound::Ip(address) => Address::Ip(*address),
            Bound::Unix(path) => Address::Unix(path.to_string_lossy().into_owned()),
            // A socket without a name can not be connected to from here.
            Bound::Inherited(_) => continue,
        };
        wait_for(&address, proxied.contains(bound), health)
            .map_err(|error| (address.show(), error))?;
    }
    Ok(())
}

fn wait_for(address: &Address, proxied: bool, health: &Health) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let number = health.expect_own();
        let target = [ALIVE_PATHS[0], "?", &show_digits(number)].concat();
        let answered = ask(address, proxied, "GET", &target, STEP)?;
        if answered.status != 200 {
            let status = show_digits(u64::from(answered.status));
            return Err(io::Error::other(["the answer is ", &status].concat()));
        }
        if health.saw_own() {
            return Ok(());
        }
        // The process that ends has taken it; it accepts nothing more in a moment.
        if Instant::now() >= deadline {
            return Err(io::Error::other("another process answers there"));
        }
    }
}
