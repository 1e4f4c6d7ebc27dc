//! `ttlog-view FILE`: the same as `ttlog-reader view FILE`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ttlog_reader::command::ViewArguments;

fn main() -> ExitCode {
    ViewArguments::parse().run()
}
