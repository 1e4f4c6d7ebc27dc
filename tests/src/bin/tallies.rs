//! A program that floods its ring from one call site, and works at spans of which it is
//! known which last longest; then it waits to be killed.

use std::time::Duration;

use tracing::{debug, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog_tests::{Adapter, Plan};

/// Sleeps of the spans `step`, each longer than the one before by more than sleeping is late.
const STEPS_MS: [u64; 3] = [1, 40, 80];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [numbers @ .., directory, _acks] = args.as_slice() else {
        panic!("a plan")
    };
    let plan = Plan::from_args(numbers).directory(directory);
    let builder = ttlog::builder()
        .name("tallies")
        .directory(directory)
        .filter("debug")
        .capacity_mib(plan.capacity_mib)
        .span_slots(plan.span_slots);
    let _recorder = match plan.adapter {
        Adapter::Own => builder.init().expect("a recorder"),
        Adapter::Layer => {
            let recorder = builder.create().expect("a recorder");
            tracing_subscriber::registry().with(recorder.layer()).init();
            recorder
        }
    };
    (0..plan.events).for_each(|number| match number % 4 {
        3 => info!(number, "said"),
        _ => debug!(target: "noise::inner", number, "flushed"),
    });
    for (number, millis) in STEPS_MS.into_iter().enumerate() {
        let step = info_span!("step", number);
        let _in_step = step.enter();
        info!(millis, "step begins");
        std::thread::sleep(Duration::from_millis(millis));
    }
    let held = info_span!("held", id = 7);
    held.in_scope(|| info!("waits"));
    println!("done");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
