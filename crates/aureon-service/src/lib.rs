//! AUREON as a daemon: configuration, access log, the API and a site around the engine.
//!
//! The modules in reading order: [`value`] and [`settings`] say what can be set and [`document`]
//! reads the file; [`config`] puts file, environment and flags together and [`address`] resolves
//! where to listen; [`problem`] is what the operator hears when something is wrong; [`json`] and
//! [`stamp`] write what goes out.

pub mod address;
pub mod config;
pub mod document;
pub mod json;
pub mod problem;
pub mod settings;
pub mod stamp;
pub mod value;
