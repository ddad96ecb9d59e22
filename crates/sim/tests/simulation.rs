//! Runs of the simulator. `TIDELOCK_SIM_SEEDS` sets how many seeds, `TIDELOCK_SIM_FROM` the first one.

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_guarantee_holds_under_faults() {
    let (from, seeds) = (number("TIDELOCK_SIM_FROM", 0), number("TIDELOCK_SIM_SEEDS", 120));
    let mut faults = 0;
    for seed in from..from + seeds {
        let report = tidelock_sim::run(seed, false)
            .unwrap_or_else(|error| panic!("replay with `cargo run -p tidelock-sim -- --seed {seed}`: {error}"));
        faults += report.faults.values().sum::<u64>();
    }
    assert!(faults >= seeds, "faults are injected: {faults}");
}

#[test]
fn one_seed_has_one_trace() {
    for seed in 0..10 {
        assert_eq!(tidelock_sim::run(seed, false), tidelock_sim::run(seed, false), "seed {seed}");
    }
}
