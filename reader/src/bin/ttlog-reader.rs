//! `ttlog-reader`: each command's manual is the module of its name in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ttlog_reader::command::Arguments;

fn main() -> ExitCode {
    Arguments::parse().run()
}
