//! `ttlog-view FILE`: the same as `ttlog-reader view FILE`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use ttlog_reader::command::ViewArguments;
use ttlog_reader::usage;

fn main() -> ExitCode {
    usage::parsed("ttlog-view").map_or_else(|status| status, ViewArguments::run)
}
