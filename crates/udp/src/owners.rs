//! Which missing numbers are whose.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Numbers that did not come, and the probes they lie between: above `after`, below `before`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) missing: u64,
    pub(crate) after: Option<u64>,
    pub(crate) before: u64,
}

/// Which of the lost probes, ascending, may own a missing number: as many as at all can, each number having one owner.
pub(crate) fn owners(lost: &[u64], mut gaps: Vec<Gap>, reach: u64) -> Vec<bool> {
    let from = |gap: &Gap| gap.after.map_or(0, |after| (after + 1).saturating_sub(reach));
    gaps.retain(|gap| gap.missing > 0);
    gaps.sort_by_key(from);
    let mut coming = gaps.into_iter().peekable();
    // By where they end: whoever ends first is used first.
    let mut near: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut owns = |probe: u64| {
        while let Some(gap) = coming.next_if(|gap| from(gap) <= probe) {
            near.push(Reverse((gap.before.saturating_add(reach), gap.missing)));
        }
        while let Some(Reverse((end, missing))) = near.pop() {
            if end > probe {
                if missing > 1 {
                    near.push(Reverse((end, missing - 1)));
                }
                return true;
            }
        }
        false
    };
    lost.iter().map(|&probe| owns(probe)).collect()
}
