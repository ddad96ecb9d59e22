//! Some runs of the simulator; the stage `sim` runs many more.

use tidelock_sim::{Batch, Options, Sites, guarded};

const SEEDS: u64 = 60;

#[test]
fn every_guarantee_holds_under_faults() {
    let batch = Batch {
        from: 0,
        seeds: Some(SEEDS),
        limit: None,
        workers: 2,
        twice_in: 10,
        stops_at_failure: true,
        sites: Sites::Sound,
    };
    let totals = batch.run();
    if let Some((seed, failure)) = totals.failures.first_key_value() {
        panic!("replay with `cargo xtask sim --seed {seed}`: {}", failure.violation);
    }
    assert!(totals.fault_count() >= 10 * SEEDS, "faults are injected: {}", totals.fault_count());
    assert_eq!(totals.repeated, SEEDS.div_ceil(10));
}

#[test]
fn what_is_left_out_does_not_happen() {
    let kept = tidelock_sim::Kept { items: Some([].into()), clients: None };
    let report = guarded(1, &Options { kept, ..Options::default() }).expect("nothing happens");
    assert_eq!((report.transactions, report.faults.len()), (0, 0));
}
