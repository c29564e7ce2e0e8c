//! A value that one thread sets once and others wait for, not for ever.

use std::sync::{Condvar, Mutex, PoisonError};

use rping_engine::Timestamp;
use rping_net::Clock;

/// See the module.
pub(crate) struct Latch<T> {
    value: Mutex<Option<T>>,
    is_set: Condvar,
}

impl<T> Default for Latch<T> {
    fn default() -> Latch<T> {
        Latch {
            value: Mutex::new(None),
            is_set: Condvar::new(),
        }
    }
}

impl<T: Copy> Latch<T> {
    /// Sets the value. A second one replaces it for those who come later.
    pub(crate) fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.is_set.notify_all();
    }

    /// Sets the value, unless it is set already.
    pub(crate) fn set_once(&self, value: T) {
        let mut held = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert(value);
        self.is_set.notify_all();
    }

    /// The value, as soon as it is set; `None` where it is not by `until`.
    pub(crate) fn wait(&self, until: Timestamp) -> Option<T> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Clock.now();
            if value.is_some() || now >= until {
                return *value;
            }
            value = match self.is_set.wait_timeout(value, until.since(now)) {
                Ok((value, _)) => value,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
