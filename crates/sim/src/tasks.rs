//! The futures of the servers. The scheduler decides when one that was woken runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use tidelock_store::BoxFuture;

/// Names a task.
pub(crate) type TaskId = u64;

/// Every task.
#[derive(Default)]
pub(crate) struct Tasks {
    running: BTreeMap<TaskId, Task>,
    woken: Arc<Mutex<BTreeSet<TaskId>>>,
    last: TaskId,
}

struct Task {
    future: BoxFuture<'static, ()>,
    waker: Waker,
}

struct TaskWaker {
    task: TaskId,
    woken: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).insert(self.task);
    }
}

impl Tasks {
    /// Adds a task, which is to run.
    pub(crate) fn spawn(&mut self, future: BoxFuture<'static, ()>) -> TaskId {
        self.last += 1;
        let waker = Waker::from(Arc::new(TaskWaker { task: self.last, woken: Arc::clone(&self.woken) }));
        waker.wake_by_ref();
        self.running.insert(self.last, Task { future, waker });
        self.last
    }

    /// The tasks woken since the last call.
    pub(crate) fn take_woken(&mut self) -> BTreeSet<TaskId> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a task until it waits; one that has ended goes.
    pub(crate) fn poll(&mut self, id: TaskId) {
        let Some(task) = self.running.get_mut(&id) else { return };
        if task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready() {
            self.running.remove(&id);
        }
    }

    /// Ends a task where it stands, as the end of its process does.
    pub(crate) fn end(&mut self, id: TaskId) {
        self.running.remove(&id);
    }
}
