//! UDP sockets with large receive buffers, made while there were privileges, for streams that come later.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rping_net::bulk::{Bare, Bulk};

/// The most sockets that are kept; each is a descriptor.
const KEPT: usize = 64;

/// Sockets at hand. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare(Arc<Mutex<Vec<Bare>>>);

impl Spare {
    /// As many of each family; fewer where descriptors are few.
    pub(crate) fn stocked(of_each: usize) -> Spare {
        let both = (0..of_each).flat_map(|_| [false, true]);
        let all: Vec<Bare> = both.map_while(|v6| Bare::new(v6).ok()).collect();
        Spare(Arc::new(Mutex::new(all)))
    }

    /// `count` of one family.
    pub(crate) fn of(v6: bool, count: usize) -> Spare {
        let all: Vec<Bare> = (0..count).map_while(|_| Bare::new(v6).ok()).collect();
        Spare(Arc::new(Mutex::new(all)))
    }

    /// One that was on this local address before, else one that was on none, else a new one, whose buffer is as large
    /// as anybody may have.
    ///
    /// # Errors
    /// For want of descriptors.
    pub(crate) fn take(&self, v6: bool, local: Option<SocketAddr>) -> Result<Bare, rping_net::Error> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |bare: &Bare, before: Option<SocketAddr>| bare.is_ipv6() == v6 && bare.local_addr() == before;
        let used = local.and_then(|_| all.iter().position(|bare| fits(bare, local)));
        let place = used.or_else(|| all.iter().position(|bare| fits(bare, None)));
        match place {
            Some(place) => Ok(all.swap_remove(place)),
            None => Bare::new(v6),
        }
    }

    /// Takes one back that has served.
    pub(crate) fn put(&self, bulk: Bulk) {
        let Some(bare) = bulk.retire() else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < KEPT {
            all.push(bare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_comes_from_the_stock_while_there_is_one_and_new_after() {
        let spare = Spare::stocked(1);
        for _ in 0..3 {
            assert!(!spare.take(false, None).unwrap().is_ipv6());
        }
        let somewhere = Some("[::1]:5201".parse().unwrap());
        assert!(spare.take(true, somewhere).unwrap().is_ipv6());
        assert!(spare.0.lock().unwrap().is_empty());
    }
}
