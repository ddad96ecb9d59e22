//! Conditional writes where the servers allow no transactions: the meta first, then the content, each only if it is as it was.
//!
//! Nodes exclude each other by the meta, which each of them exchanges first. One that stops between the two leaves a meta that is ahead of
//! its content, as a crash does in the middle of a commit. Other applications are excluded as far as Geode compares: it takes fields that a
//! PDX instance lacks for zero or null.
//!
//! Another node may write to a state that is there in part, once it has waited for the rest in vain. Every write draws a tag, so that no two
//! metas are equal: of two writers of one content only one exchanges it, and the other takes its own meta back, or finds that it is gone.

use tidelock_geode_client::{Error, Key, PutIfAbsent, Region, Value};
use tidelock_store::platform::{PlatformError, PutOutcome, Written};

use crate::entry::{Values, read_one, refused, value_of};
use crate::put::Planned;
use crate::regions::Place;

/// Writes one document or record.
pub(crate) async fn put_alone(put: &Planned<'_>) -> Result<PutOutcome, PlatformError> {
    let before = read_one(&put.place, &put.key).await?;
    if before.token() != put.put.token {
        return Ok(PutOutcome::Mismatch);
    }
    let after = put.after(&before);
    let done = PutOutcome::Done(vec![Written { token: after.token(), order: None }]);
    let to_content =
        async |region: &Region| exchange(region, &put.key, before.content.as_ref(), after.content.as_ref()).await;
    let meta = match &put.place {
        Place::System(region) => {
            let is_done = to_content(region).await.map_err(|error| refused(&error))?;
            return Ok(if is_done { done } else { PutOutcome::Mismatch });
        }
        Place::Documents { meta, .. } => meta,
    };
    let exchange_meta = async |from: &Values, to: &Values| {
        let done = exchange(meta, &put.key, from.meta.as_ref(), to.meta.as_ref()).await;
        done.map_err(|error| refused(&error))
    };
    if !exchange_meta(&before, &after).await? {
        return Ok(PutOutcome::Mismatch);
    }
    let error = match to_content(put.place.content()).await {
        Ok(true) => return Ok(done),
        Ok(false) => {
            exchange_meta(&after, &before).await?;
            return Ok(PutOutcome::Mismatch);
        }
        Err(error) => error,
    };
    if was_refused(&error) && !is_stored(put, &after).await? {
        // Whoever has changed the meta since has seen that it is ahead.
        exchange_meta(&after, &before).await?;
    }
    Err(refused(&error))
}

/// The servers have answered, and the answer was not that they have stored the content. Otherwise it may still be on its way.
fn was_refused(error: &Error) -> bool {
    matches!(error, Error::Server { .. } | Error::NotAuthorized(_) | Error::NoSuchRegion(_))
}

/// Whether the content is there, though the servers say that they failed: then the meta tells the truth, and stays. Any other content is
/// another writer's, or the one from before: also where a comparison has failed in the server (PDX of other types).
async fn is_stored(put: &Planned<'_>, after: &Values) -> Result<bool, PlatformError> {
    let found = put.place.content().get(&put.key).await.map_err(|error| refused(&error))?;
    Ok(value_of(found) == after.content)
}

/// Makes one value of another. Whether that was there.
async fn exchange(region: &Region, key: &Key, from: Option<&Value>, to: Option<&Value>) -> Result<bool, Error> {
    match (from, to) {
        (None, None) => Ok(true),
        (Some(from), Some(to)) if from == to => Ok(true),
        (None, Some(to)) => Ok(matches!(region.put_if_absent(key, to).await?, PutIfAbsent::Written(_))),
        (Some(from), Some(to)) => region.replace_if(key, from, to).await,
        (Some(from), None) => region.remove_if(key, from).await,
    }
}
