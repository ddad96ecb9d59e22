//! How texts and bytes cross the border: the worker hands them over one by one before it calls a function, and fetches them one by one
//! after it. Numbers and truth values are passed as they are. The other side is `packages/tidelock/src/worker/core.ts`.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use tidelock_core::client::Client;
use tidelock_core::client::storage::{ReadResult, RefusedRow};

/// The client of this instance, and what is on its way across the border.
pub(crate) struct Boundary {
    /// Made by the first call.
    pub(crate) client: Option<Client>,
    /// What was read for the task since its last step.
    pub(crate) inputs: Vec<ReadResult>,
    /// Rows of the task that the application's stores refused.
    pub(crate) refused: Vec<RefusedRow>,
    arguments: Vec<Vec<u8>>,
    results: Vec<Vec<u8>>,
}

impl Boundary {
    const fn new() -> Self {
        Self { client: None, inputs: Vec::new(), refused: Vec::new(), arguments: Vec::new(), results: Vec::new() }
    }

    /// The client, which the worker makes before it calls anything else.
    pub(crate) fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("the worker calls `create` first")
    }

    /// What the worker handed over for this call.
    pub(crate) fn arguments(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.arguments)
    }

    /// The same as texts.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        self.arguments().into_iter().map(text).collect()
    }

    /// As many texts as the call takes; the empty text for one that is missing.
    pub(crate) fn texts_of<const N: usize>(&mut self) -> [String; N] {
        let mut texts = self.texts().into_iter();
        core::array::from_fn(|_| texts.next().unwrap_or_default())
    }

    /// What the worker may fetch until another call has results.
    pub(crate) fn give(&mut self, results: Vec<Vec<u8>>) {
        self.results = results;
    }
}

/// A text as the worker encoded it: always UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(target_arch = "wasm32")]
mod instance {
    use super::{Boundary, RefCell};

    struct OneThread(RefCell<Boundary>);

    // SAFETY: the module is built without threads and its memory is not shared.
    unsafe impl Sync for OneThread {}

    static BOUNDARY: OneThread = OneThread(RefCell::new(Boundary::new()));

    pub(crate) fn with<T>(call: impl FnOnce(&mut Boundary) -> T) -> T {
        call(&mut BOUNDARY.0.borrow_mut())
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod instance {
    use super::{Boundary, RefCell};

    std::thread_local! {
        static BOUNDARY: RefCell<Boundary> = const { RefCell::new(Boundary::new()) };
    }

    pub(crate) fn with<T>(call: impl FnOnce(&mut Boundary) -> T) -> T {
        BOUNDARY.with_borrow_mut(call)
    }
}

pub(crate) use instance::with;

/// Makes room for the next text or byte array that the worker hands over, and says where. `take` follows.
#[unsafe(no_mangle)]
extern "C" fn room(bytes: usize) -> *mut u8 {
    with(|boundary| {
        boundary.arguments.push(vec![0; bytes]);
        boundary.arguments.last_mut().map_or(core::ptr::null_mut(), Vec::as_mut_ptr)
    })
}

/// So many bytes of the room are used.
#[unsafe(no_mangle)]
extern "C" fn take(bytes: usize) {
    with(|boundary| {
        if let Some(argument) = boundary.arguments.last_mut() {
            argument.truncate(bytes);
            argument.shrink_to_fit();
        }
    });
}

/// Where a result of the last call that had any begins.
#[unsafe(no_mangle)]
extern "C" fn result_at(index: usize) -> *const u8 {
    with(|boundary| boundary.results.get(index).map_or(core::ptr::null(), Vec::as_ptr))
}

/// How long it is.
#[unsafe(no_mangle)]
extern "C" fn result_bytes(index: usize) -> usize {
    with(|boundary| boundary.results.get(index).map_or(0, Vec::len))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Hands values over as the worker does.
    pub(crate) fn hand_over<const N: usize>(values: [&str; N]) {
        for value in values {
            // The worker does not know beforehand how long a text is.
            room(value.len() * 3);
            with(|core| {
                let argument = core.arguments.last_mut().expect("room was made");
                argument[..value.len()].copy_from_slice(value.as_bytes());
            });
            take(value.len());
        }
    }

    #[test]
    fn what_is_handed_over_is_taken_once_and_in_order() {
        hand_over(["a", "", "längs"]);
        assert_eq!(with(Boundary::texts), ["a", "", "längs"]);
        assert_eq!(with(Boundary::texts), Vec::<String>::new());
        hand_over(["only"]);
        assert_eq!(with(Boundary::texts_of), ["only".to_owned(), String::new()], "a missing text is empty");
    }

    #[test]
    fn results_stay_until_the_next_ones() {
        with(|core| core.give(vec![b"kind".to_vec(), Vec::new()]));
        hand_over(["between"]);
        assert_eq!((result_bytes(0), result_bytes(1), result_bytes(2)), (4, 0, 0));
        assert_eq!(result_at(0), with(|core| core.results[0].as_ptr()));
        assert!(result_at(2).is_null());
        with(|core| core.give(Vec::new()));
        assert_eq!(result_bytes(0), 0);
    }
}
