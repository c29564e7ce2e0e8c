//! Connections that cost something before anybody knows who they are: so many in all, and so many from one source.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::prefix::prefix;

/// What happens where a source has as many as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beyond {
    /// The newest takes the place of the source's oldest: whoever says at once what it wants gets through, however many others of
    /// the same address say nothing.
    Displaces,
    /// The newest is turned away: the others are served already.
    Waits,
}

/// Those that are there.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    per_source: usize,
    beyond: Beyond,
    within: Mutex<Within>,
}

#[derive(Debug, Default)]
struct Within {
    all: usize,
    next: u64,
    /// By number, ascending; dropping the sender displaces.
    sources: HashMap<IpAddr, VecDeque<(u64, oneshot::Sender<()>)>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    source: IpAddr,
    number: u64,
    held: oneshot::Receiver<()>,
}

impl Crowd {
    /// At most `most`, and of one source at most `per_source`.
    pub(crate) fn new(most: usize, per_source: usize, beyond: Beyond) -> Arc<Crowd> {
        Arc::new(Crowd {
            most,
            per_source: per_source.max(1),
            beyond,
            within: Mutex::default(),
        })
    }

    /// A place for a connection from there; `None` where there is none.
    pub(crate) fn enter(self: &Arc<Crowd>, from: IpAddr) -> Option<Seat> {
        let source = prefix(from);
        let mut within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
        let Within { all, next, sources } = &mut *within;
        let mine = sources
            .get_mut(&source)
            .filter(|mine| mine.len() >= self.per_source);
        if let Some(mine) = mine {
            if self.beyond == Beyond::Waits {
                return None;
            }
            mine.pop_front();
            *all -= 1;
        }
        if *all >= self.most {
            return None;
        }
        *all += 1;
        let number = *next;
        *next += 1;
        let (holds, held) = oneshot::channel();
        sources.entry(source).or_default().push_back((number, holds));
        Some(Seat {
            crowd: Arc::clone(self),
            source,
            number,
            held,
        })
    }
}

impl Seat {
    /// Ends when somebody else has this place.
    pub(crate) async fn displaced(&mut self) {
        // Nothing is ever sent: that the other end is gone is the word.
        let _ = (&mut self.held).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut within = self.crowd.within.lock().unwrap_or_else(PoisonError::into_inner);
        let Within { all, sources, .. } = &mut *within;
        let Some(mine) = sources.get_mut(&self.source) else {
            return;
        };
        if let Ok(at) = mine.binary_search_by_key(&self.number, |(number, _)| *number) {
            mine.remove(at);
            *all -= 1;
        }
        if mine.is_empty() {
            sources.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_displaced(seat: &mut Seat) -> bool {
        seat.held.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn one_source_takes_no_more_than_its_share_and_its_newest_gets_through() {
        let crowd = Crowd::new(8, 3, Beyond::Displaces);
        let mut mine: Vec<Seat> = (0..10).map(|_| crowd.enter(source(1)).unwrap()).collect();
        let displaced: Vec<bool> = mine.iter_mut().map(is_displaced).collect();
        assert_eq!(displaced.iter().filter(|&&is| is).count(), 7);
        assert!(displaced.ends_with(&[false; 3]));
        let others: Vec<_> = (2..=6).map_while(|last| crowd.enter(source(last))).collect();
        assert_eq!(others.len(), 5, "the rest is the others'");
        assert!(crowd.enter(source(7)).is_none(), "all in all no more than eight");
        drop(mine);
        assert!(crowd.enter(source(7)).is_some());
    }

    #[test]
    fn whoever_is_served_already_keeps_its_place() {
        let crowd = Crowd::new(8, 2, Beyond::Waits);
        let mut first = crowd.enter(source(1)).unwrap();
        let second = crowd.enter(source(1)).unwrap();
        assert!(crowd.enter(source(1)).is_none() && !is_displaced(&mut first));
        drop(second);
        assert!(crowd.enter(source(1)).is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let crowd = Crowd::new(8, 2, Beyond::Displaces);
        for last in 0..100 {
            drop(crowd.enter(source(last)));
        }
        let within = crowd.within.lock().unwrap();
        assert_eq!((within.all, within.sources.len()), (0, 0));
    }
}
