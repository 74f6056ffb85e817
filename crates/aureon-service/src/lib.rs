//! AUREON as a daemon: configuration, access log, the API and a site around the engine.
//!
//! The modules in reading order: [`value`] and [`settings`] say what can be set; [`document`]
//! reads the file, [`arguments`] the command line and [`config`] puts them and the environment
//! together; [`address`] resolves where to listen and [`check`] looks whether it would work;
//! [`help`] and [`problem`] are what the operator reads. [`access_log`] carries each [`line`]
//! from the workers to standard output; [`json`] and [`stamp`] write their parts.

pub mod access_log;
pub mod address;
pub mod arguments;
pub mod check;
pub mod config;
pub mod document;
pub mod help;
pub mod json;
pub mod line;
pub mod problem;
pub mod settings;
pub mod stamp;
pub mod value;
