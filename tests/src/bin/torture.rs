//! The runner for whoever does not believe it: tries to break each promise as often as is
//! asked for, shows how far it has come, and prints a table.
//!
//! ```text
//! cargo run --release -p ttlog-tests --bin torture -- --kills 100000
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ttlog_tests::torture::{Outcome, Promise, Runner, promises, row, table};

fn main() -> ExitCode {
    let asked = arguments().get_matches();
    if asked.get_flag("list") {
        for promise in promises() {
            println!("{:<21} {}", promise.what, promise.promise);
        }
        return ExitCode::SUCCESS;
    }
    match try_all(&asked) {
        Ok(rows) => {
            print!("{}", table(&rows));
            ExitCode::from(u8::from(!rows.iter().all(|(_, outcome)| outcome.holds())))
        }
        Err(error) => {
            eprintln!("torture: cargo cannot be run: {error}");
            ExitCode::from(2)
        }
    }
}

fn try_all(asked: &ArgMatches) -> std::io::Result<Vec<(&'static Promise, Outcome)>> {
    let directory = asked.get_one::<PathBuf>("logs").expect("a default");
    let runner = Runner::new(directory.clone())?;
    let mut rows = Vec::new();
    for promise in promises().iter().filter(|promise| is_asked(asked, promise)) {
        let wanted = match promise.wanted {
            0 => 0,
            by_default => *asked.get_one(promise.what).unwrap_or(&by_default),
        };
        let outcome = runner.tries(promise, wanted)?;
        eprintln!("{}", row(promise, &outcome));
        rows.push((promise, outcome));
    }
    Ok(rows)
}

fn is_asked(asked: &ArgMatches, promise: &Promise) -> bool {
    let only: Vec<&String> = asked.get_many("only").into_iter().flatten().collect();
    only.is_empty() || only.iter().any(|name| *name == promise.what)
}

fn arguments() -> Command {
    let mut command = Command::new("torture")
        .about("Tries to break each of ttlog's promises, and prints what came of it")
        .max_term_width(100)
        .after_help(
            "Exit status: 0 where each promise held and each control found its bug, else 1. What \
             a machine lacks (root, outside readers) is skipped, and said.",
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Print the promises, and try nothing"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("WHAT")
                .action(ArgAction::Append)
                .value_parser(promises().iter().map(|it| it.what).collect::<Vec<_>>())
                .hide_possible_values(true)
                .help("Try this alone; may be given several times"),
        )
        .arg(
            Arg::new("logs")
                .long("logs")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .default_value("target/torture")
                .help("Where to keep what the tests print"),
        );
    for promise in promises().iter().filter(|promise| promise.wanted > 0) {
        command = command.arg(
            Arg::new(promise.what)
                .long(promise.what)
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help(format!(
                    "How many {} [default: {}]",
                    promise.what.replace('-', " "),
                    promise.wanted
                )),
        );
    }
    command
}
