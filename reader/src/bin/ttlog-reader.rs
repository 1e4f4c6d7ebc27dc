//! `ttlog-reader`: each command's manual is the module of its name in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use ttlog_reader::command::Arguments;
use ttlog_reader::usage;

fn main() -> ExitCode {
    usage::parsed("ttlog-reader").map_or_else(|status| status, Arguments::run)
}
