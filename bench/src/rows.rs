//! The documents that both sides write.

/// Documents that exist; writes replace them.
pub(crate) const DOCUMENTS: u64 = 20_000;

/// Lists that the documents are spread over.
pub(crate) const LISTS: u64 = 40;

/// Collection of the documents.
pub(crate) const COLLECTION: &str = "cards";

const WORDS: [&str; 16] = [
    "harbour", "lantern", "meadow", "copper", "orbit", "velvet", "timber", "glacier", "saffron", "pebble", "canyon",
    "willow", "ember", "marble", "thistle", "quartz",
];

/// Key of a document.
pub(crate) fn key(number: u64) -> String {
    format!("card-{number:08}")
}

/// JSON text of about 250 bytes; another one for each revision.
pub(crate) fn body(number: u64, revision: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9).wrapping_add(revision);
    let mut text = String::new();
    while text.len() < 140 {
        let index = usize::try_from(splitmix(&mut state) % 16).unwrap_or(0);
        text.push_str(WORDS.get(index).copied().unwrap_or(""));
        text.push(' ');
    }
    let votes = splitmix(&mut state) % 1000;
    let (id, list) = (key(number), number % LISTS);
    format!(
        r#"{{"id":"{id}","list":"list-{list}","text":"{text}","votes":{votes},"done":false,"revision":{revision}}}"#
    )
}

/// The splitmix64 generator.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
