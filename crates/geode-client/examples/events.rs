//! A service that misses no change: a durable subscription whose events are persisted before they are acknowledged.
//!
//! `cargo run --example events -- 'localhost[10334]' changes.log` appends the changes of the region `people` to a file until it is killed
//! or the region is destroyed. Run it again, and it goes on where it was: the servers repeat what was not acknowledged, so that a line may
//! be there twice, and none is missing. A third argument ends it after so many changes.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use tidelock_geode_client::{Client, Config, Event, EventId, Interest, RegionChange, Subscribe};

/// The most events that are persisted at once.
const BATCH_MAX: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let locator = arguments.next().unwrap_or_else(|| "localhost[10334]".to_owned());
    let path = arguments.next().unwrap_or_else(|| "changes.log".to_owned());
    let count_max: usize = arguments.next().map_or(Ok(usize::MAX), |count| count.parse())?;
    let mut log = File::options().create(true).append(true).open(path)?;

    // The servers keep the queue for five minutes while this process is away. There is one live process of an id.
    let config = Config::with_locator(locator.parse()?).durable("example-events", Duration::from_secs(300));
    let client = Client::connect(config).await?;
    let subscribe = Subscribe { redundancy: 1, interests: vec![Interest::all("people")], ..Subscribe::default() };
    let mut subscription = client.subscribe(subscribe).await?;

    let mut count = 0;
    let mut is_over = false;
    while !is_over && count < count_max {
        let mut done: Vec<EventId> = Vec::new();
        // Waits for one, and takes those that are there.
        while done.is_empty() || (subscription.has_event() && done.len() < BATCH_MAX) {
            let Some(event) = subscription.next().await else { return Ok(()) };
            match event {
                Event::Change(change) => {
                    writeln!(log, "{:?} {} {:?}", change.kind, change.region, change.key)?;
                    count += 1;
                    done.push(change.id);
                }
                Event::Region { region, change, id } => {
                    writeln!(log, "{change:?} {region}")?;
                    is_over |= change == RegionChange::Destroyed;
                    done.push(id);
                }
                // What was there before, no event tells: `Region::key_set` and `Region::get_all` read it.
                Event::Lost(loss) => println!("read everything again: {loss:?}"),
                Event::CaughtUp => println!("all that waited has been told"),
                Event::Interrupted(reason) => println!("no events for a while: {reason}"),
            }
        }
        log.sync_data()?;
        // Only what is on disk needs not come again.
        subscription.acknowledge(&done).await?;
        println!("{count} changes are on disk");
    }
    drop(subscription);
    // The queue is kept for the next time.
    client.close(true).await;
    Ok(())
}
