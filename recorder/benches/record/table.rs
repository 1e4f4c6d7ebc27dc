//! The table at the end: every figure beside its floor, and the ratios that ttlog wants
//! to keep.

use std::collections::HashMap;
use std::error::Error;

/// The clock's work.
pub(crate) const TSC: &str = "time stamp counter";

const OWN: &str = "own Subscriber";
const LAYER: &str = "Layer on Registry";
const FMT: &str = "fmt, non_blocking";

/// How many times its floor a figure is to take at most.
const WANTED: [(&str, &str, f64); 10] = [
    (OWN, "S", 2.2),
    (OWN, "F", 2.1),
    (OWN, "M", 4.5),
    (OWN, "span", 2.6),
    (OWN, "F by 2 threads", 1.1),
    (LAYER, "S", 2.2),
    (LAYER, "F", 2.2),
    (LAYER, "M", 4.5),
    (LAYER, "span", 1.9),
    (LAYER, "F by 2 threads", 1.1),
];

/// And F, of what it takes through `fmt`: a twentieth.
const WANTED_OF_FMT: f64 = 0.05;

/// The minima and medians of all rounds, in the order in which they came.
#[derive(Default)]
pub(crate) struct Table {
    adapters: Vec<String>,
    order: Vec<(String, String)>,
    figures: HashMap<(String, String), Vec<(f64, f64)>>,
    notes: Vec<String>,
}

impl Table {
    /// Takes in the lines of one adapter's process.
    pub(crate) fn add(&mut self, lines: &str) -> Result<(), Box<dyn Error>> {
        for line in lines.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            match columns[..] {
                [adapter, work, minimum, median] => {
                    let key = (adapter.to_owned(), work.to_owned());
                    add_new(&mut self.adapters, key.0.clone());
                    add_new(&mut self.order, key.clone());
                    let figure = (minimum.parse()?, median.parse()?);
                    self.figures.entry(key).or_default().push(figure);
                }
                _ => add_new(&mut self.notes, columns.join(": ")),
            }
        }
        Ok(())
    }

    pub(crate) fn print(&self) {
        if self.figures.is_empty() {
            println!("nothing was measured");
            return;
        }
        println!("\nNanoseconds of an event, a span, or an enter and exit; its floor:");
        println!("  S, F, M: what the visiting Subscriber takes, and a time stamp");
        println!("  span: what the bare Subscriber or the idle Registry takes, and four");
        println!("  enter, exit: the same, and two; by several threads: the same by one");
        println!("times: how many times the floor the minimum is");
        println!("Peers hand theirs to another thread: the caller's part of bursts of 1,000, and");
        println!("what a burst takes until the other thread has written it; files in memory.\n");
        let [min, median, floor, times] = ["min", "median", "floor", "times"];
        println!("{:<38}{min:>9}{median:>9}{floor:>9}{times:>8}", "");
        for adapter in &self.adapters {
            println!("{adapter}");
            let theirs = self.order.iter().filter(|(of, _)| of == adapter);
            theirs.for_each(|(_, work)| self.print_figure(adapter, work));
        }
        self.notes.iter().for_each(|note| println!("{note}"));
        println!("\n{:<38}{:>26}{:>9}", "wanted", "times", "at most");
        for (adapter, work, limit) in WANTED {
            self.print_wanted(adapter, work, self.floor(adapter, work), limit);
        }
        let fmt = self.figure(FMT, "F").map(|figure| figure.0);
        for adapter in [OWN, LAYER] {
            self.print_wanted(adapter, "F, of fmt's", fmt, WANTED_OF_FMT);
        }
    }

    fn print_figure(&self, adapter: &str, work: &str) {
        let Some((minimum, median)) = self.figure(adapter, work) else {
            return;
        };
        let figures = format!("  {work:<36}{minimum:>9.1}{median:>9.1}");
        match self.floor(adapter, work) {
            Some(floor) => println!("{figures}{floor:>9.1}{:>8.2}", minimum / floor),
            None => println!("{figures}"),
        }
    }

    /// Whether a ratio is as it is wanted, where both of its figures were measured.
    fn print_wanted(&self, adapter: &str, work: &str, floor: Option<f64>, limit: f64) {
        let measured = work.split(", of").next().unwrap_or(work);
        if let (Some((minimum, _)), Some(floor)) = (self.figure(adapter, measured), floor) {
            let times = minimum / floor;
            let met = if times <= limit { "met" } else { "over" };
            let what = format!("{adapter}, {work}");
            println!("  {what:<36}{times:>26.3}{limit:>9}{met:>7}");
        }
    }

    /// What nobody gets around, as far as it was measured.
    fn floor(&self, adapter: &str, work: &str) -> Option<f64> {
        let least = |adapter, work| self.figure(adapter, work).map(|figure| figure.0);
        let tsc = least("clock", TSC);
        let (alone, threads) = work.split_once(" by ").unwrap_or((work, ""));
        if !threads.is_empty() {
            return least(adapter, alone);
        }
        let spans = match adapter {
            OWN | "fastrace" => "bare Subscriber",
            LAYER => "idle Registry",
            FMT | "tracing-chrome" => "",
            _ => return None,
        };
        match alone {
            "S" | "F" | "M" => Some(least("visiting Subscriber", alone)? + tsc?),
            "span" => Some(least(spans, alone)? + 4.0 * tsc?),
            "enter, exit" => Some(least(spans, alone)? + 2.0 * tsc?),
            _ => None,
        }
    }

    /// The least of the rounds' minima, and the median of their medians.
    fn figure(&self, adapter: &str, work: &str) -> Option<(f64, f64)> {
        let rounds = self.figures.get(&(adapter.to_owned(), work.to_owned()))?;
        let least = rounds.iter().map(|round| round.0).reduce(f64::min)?;
        let mut medians: Vec<f64> = rounds.iter().map(|round| round.1).collect();
        medians.sort_by(f64::total_cmp);
        Some((least, medians[medians.len() / 2]))
    }
}

fn add_new<T: PartialEq>(list: &mut Vec<T>, new: T) {
    if !list.contains(&new) {
        list.push(new);
    }
}
