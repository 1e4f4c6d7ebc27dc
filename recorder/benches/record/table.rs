//! The table at the end: every figure beside its floor, and the ratios that ttlog wants
//! to keep.

use std::collections::HashMap;
use std::error::Error;

/// The clock's work.
pub(crate) const TSC: &str = "time stamp counter";

/// The ratio that a figure is to keep at most.
const LIMITS: [(&str, &str, f64); 10] = [
    ("own Subscriber", "S", 2.2),
    ("own Subscriber", "F", 2.1),
    ("own Subscriber", "M", 4.5),
    ("own Subscriber", "span", 2.6),
    ("own Subscriber", "F by 2 threads", 1.1),
    ("Layer on Registry", "S", 2.2),
    ("Layer on Registry", "F", 2.2),
    ("Layer on Registry", "M", 4.5),
    ("Layer on Registry", "span", 1.9),
    ("Layer on Registry", "F by 2 threads", 1.1),
];

/// What F through the own Subscriber takes, of what it takes through `fmt`.
const OF_FMT: f64 = 0.05;

/// The minima and medians of all rounds, in the order in which they came.
#[derive(Default)]
pub(crate) struct Table {
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
                    if !self.figures.contains_key(&key) {
                        self.order.push(key.clone());
                    }
                    let figures = self.figures.entry(key).or_default();
                    figures.push((minimum.parse()?, median.parse()?));
                }
                _ => {
                    let note = columns.join(": ");
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn print(&self) {
        if self.figures.is_empty() {
            println!("nothing was measured");
            return;
        }
        println!("\nNanoseconds of an event, a span, or an enter and exit.");
        println!("floor: S, F, M: the visiting Subscriber's and a time stamp; span: the bare");
        println!("Subscriber's or the idle Registry's and four; enter, exit: theirs and two;");
        println!("several threads: the same by one. times: the minimum by the floor's.");
        let [min, median, floor, times, limit] = ["min", "median", "floor", "times", "at most"];
        println!(
            "{:<31}{min:>8}{median:>9}{floor:>9}{times:>7}{limit:>9}",
            ""
        );
        let mut last = "";
        for (adapter, work) in &self.order {
            if adapter != last {
                println!("{adapter}");
                last = adapter;
            }
            self.print_figure(adapter, work);
        }
        self.print_beside_fmt();
        self.notes.iter().for_each(|note| println!("{note}"));
    }

    fn print_figure(&self, adapter: &str, work: &str) {
        let (minimum, median) = self.figure(adapter, work).unwrap_or_default();
        let figures = format!("  {work:<29}{minimum:>8.1}{median:>9.1}");
        let Some(floor) = self.floor(adapter, work) else {
            println!("{figures}");
            return;
        };
        let times = minimum / floor;
        let limit = LIMITS
            .iter()
            .find(|limit| (limit.0, limit.1) == (adapter, work));
        let judged = limit.map_or(String::new(), |limit| judged(times, limit.2));
        println!("{figures}{floor:>9.1}{times:>7.2}{judged}");
    }

    fn print_beside_fmt(&self) {
        let fmt = self.figure("fmt, non_blocking", "F");
        let own = self.figure("own Subscriber", "F");
        if let (Some((fmt, _)), Some((own, _))) = (fmt, own) {
            println!("own Subscriber beside fmt");
            let judged = judged(own / fmt, OF_FMT);
            println!(
                "  {:<29}{own:>8.1}{:>9}{fmt:>9.1}{:>7.3}{judged}",
                "F",
                "",
                own / fmt
            );
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
            "own Subscriber" | "fastrace" => "bare Subscriber",
            "Layer on Registry" => "idle Registry",
            "fmt, non_blocking" | "tracing-chrome" => "",
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

fn judged(times: f64, limit: f64) -> String {
    let met = if times <= limit { "met" } else { "over" };
    format!("{limit:>9}{met:>6}")
}
