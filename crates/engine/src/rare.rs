//! What hardly any target of a sweep has is not stored with each: it takes a pointer, and memory once it is there.

use std::ops::{Deref, DerefMut};

use crate::outcome::{Oddities, ANSWERERS};
use crate::probe::{Origin, Reason};
use crate::time::StampSource;

/// What a [`Rare`] is while nothing was written to it.
pub trait Blank: Default + 'static {
    /// The one that all share.
    fn blank() -> &'static Self;
}

impl Blank for Oddities {
    fn blank() -> &'static Oddities {
        static BLANK: Oddities = Oddities::NONE;
        &BLANK
    }
}

impl Blank for [u32; Reason::ALL.len()] {
    fn blank() -> &'static [u32; Reason::ALL.len()] {
        static BLANK: [u32; Reason::ALL.len()] = [0; Reason::ALL.len()];
        &BLANK
    }
}

/// Reads as `T`, and takes memory for one when it is first written to.
#[derive(Clone, Debug)]
pub struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare(None)
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::blank(),
        }
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Blank + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Rare<T>) -> bool {
        **self == **other
    }
}

impl<T: Blank + Eq> Eq for Rare<T> {}

impl<T: Blank + PartialEq> From<T> for Rare<T> {
    fn from(value: T) -> Rare<T> {
        Rare((value != *T::blank()).then(|| Box::new(value)))
    }
}

/// The distinct answerers of a target, at most [`ANSWERERS`], in order of appearance. The first has its place, for most
/// targets have one.
#[derive(Clone, Debug, Default)]
pub struct Answerers(Known);

#[derive(Clone, Debug, Default)]
enum Known {
    #[default]
    Nobody,
    One(Origin),
    Some(Box<[Origin]>),
}

impl Answerers {
    /// Adds one that is not known yet, while there is room.
    pub fn add(&mut self, from: Origin) {
        if self.len() >= ANSWERERS || self.contains(&from) {
            return;
        }
        match &mut self.0 {
            Known::Nobody => self.0 = Known::One(from),
            Known::One(first) => self.0 = Known::Some(Box::new([*first, from])),
            Known::Some(list) => {
                let mut longer = std::mem::take(list).into_vec();
                longer.push(from);
                *list = longer.into_boxed_slice();
            }
        }
    }
}

impl Deref for Answerers {
    type Target = [Origin];
    #[inline]
    fn deref(&self) -> &[Origin] {
        match &self.0 {
            Known::Nobody => &[],
            Known::One(one) => std::slice::from_ref(one),
            Known::Some(list) => list,
        }
    }
}

impl FromIterator<Origin> for Answerers {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Answerers {
        let mut answerers = Answerers::default();
        for origin in origins {
            answerers.add(origin);
        }
        answerers
    }
}

/// How many replies had stamps of which sources. Nearly always it is one pair of sources for all of a target's.
#[derive(Clone, Debug)]
pub struct Stamps(Pairs);

#[derive(Clone, Debug)]
enum Pairs {
    Alike {
        tx: StampSource,
        rx: StampSource,
        replies: u64,
    },
    /// By [`StampSource`]: transmit, receive.
    Mixed(Box<[[u64; 4]; 2]>),
}

impl Default for Stamps {
    fn default() -> Stamps {
        Stamps(Pairs::Alike {
            tx: StampSource::User,
            rx: StampSource::User,
            replies: 0,
        })
    }
}

impl Stamps {
    /// Of these counts, each by [`StampSource`] in the order user, kernel, hardware, tcp_info.
    pub fn of(tx: [u64; 4], rx: [u64; 4]) -> Stamps {
        Stamps(Pairs::Mixed(Box::new([tx, rx])))
    }

    /// Counts one reply.
    #[inline]
    pub fn count(&mut self, by: (StampSource, StampSource)) {
        match &mut self.0 {
            Pairs::Alike { tx, rx, replies } if (*tx, *rx) == by => *replies += 1,
            Pairs::Alike { tx, rx, replies } if *replies == 0 => {
                (*tx, *rx) = by;
                *replies = 1;
            }
            Pairs::Mixed(both) => {
                both[0][by.0 as usize] += 1;
                both[1][by.1 as usize] += 1;
            }
            Pairs::Alike { .. } => {
                let [tx, rx] = self.both();
                *self = Stamps::of(tx, rx);
                self.count(by);
            }
        }
    }

    fn both(&self) -> [[u64; 4]; 2] {
        match &self.0 {
            Pairs::Alike { tx, rx, replies } => {
                let mut both = [[0; 4]; 2];
                both[0][*tx as usize] = *replies;
                both[1][*rx as usize] = *replies;
                both
            }
            Pairs::Mixed(both) => **both,
        }
    }

    /// How many replies had which transmit stamps, by [`StampSource`] in the order user, kernel, hardware, tcp_info.
    pub fn tx(&self) -> [u64; 4] {
        self.both()[0]
    }

    /// The same for receive stamps.
    pub fn rx(&self) -> [u64; 4] {
        self.both()[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_reads_as_nothing_and_keeps_what_is_written() {
        let mut rare: Rare<Oddities> = Rare::default();
        assert_eq!((rare.late, rare.0.is_none()), (0, true));
        rare.late += 1;
        assert_eq!((rare.late, rare.skipped), (1, 0));
        assert_ne!(rare, Rare::default());
    }

    #[test]
    fn answerers_are_kept_once_each_in_their_order_up_to_the_bound() {
        let mac = |n| Origin::Mac([0, 0, 0, 0, 0, n]);
        let answerers: Answerers = [3, 3, 1, 3, 2, 4, 5, 6, 7, 8, 9].map(mac).into_iter().collect();
        assert_eq!(*answerers, [3, 1, 2, 4, 5, 6, 7, 8].map(mac));
        assert!(Answerers::default().is_empty());
    }

    #[test]
    fn stamps_of_one_pair_and_of_several_count_alike() {
        use StampSource::{Kernel, User};
        let mut stamps = Stamps::default();
        assert_eq!((stamps.tx(), stamps.rx()), ([0; 4], [0; 4]));
        stamps.count((User, Kernel));
        stamps.count((User, Kernel));
        assert_eq!((stamps.tx(), stamps.rx()), ([2, 0, 0, 0], [0, 2, 0, 0]));
        stamps.count((Kernel, Kernel));
        stamps.count((User, User));
        assert_eq!((stamps.tx(), stamps.rx()), ([3, 1, 0, 0], [1, 3, 0, 0]));
    }

    #[test]
    fn replies_with_stamps_of_several_kinds_allocate_once() {
        use StampSource::{Kernel, User};
        let place = |stamps: &Stamps| match &stamps.0 {
            Pairs::Mixed(both) => Some(both.as_ptr()),
            Pairs::Alike { .. } => None,
        };
        let mut stamps = Stamps::default();
        stamps.count((User, Kernel));
        assert_eq!(place(&stamps), None);
        stamps.count((Kernel, Kernel));
        let first = place(&stamps);
        stamps.count((User, User));
        assert!(first.is_some() && place(&stamps) == first);
    }

    #[test]
    fn a_target_of_a_sweep_takes_144_bytes() {
        assert_eq!(size_of::<crate::TargetReport>(), 144);
    }
}
