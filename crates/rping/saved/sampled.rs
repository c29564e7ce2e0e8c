//! Times, few or many, as a saved run holds them.

use rping_stats::{Histogram, Moments, MomentsParts};
use serde::{Deserialize, Serialize};

use super::tally::bounded;

/// Times: few of them one by one, many as a histogram with their exact moments.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampled {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values_ns: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moments: Option<MomentsText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
}

/// Exact moments; what may pass 64 bits is written as decimal text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MomentsText {
    pub count: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub sum_ns: String,
    pub squares: String,
}

/// Up to so many times are written one by one.
const ONE_BY_ONE: usize = 32;

impl Sampled {
    pub fn is_empty(&self) -> bool {
        *self == Sampled::default()
    }

    /// Of these values. `scratch` is an empty histogram, and is left empty.
    pub fn of(values: &[u64], scratch: &mut Histogram) -> Sampled {
        if values.len() <= ONE_BY_ONE {
            return Sampled {
                values_ns: values.to_vec(),
                ..Sampled::default()
            };
        }
        let mut moments = Moments::new();
        for &ns in values {
            moments.record(ns);
            scratch.record(ns);
        }
        let sampled = Sampled {
            values_ns: Vec::new(),
            moments: MomentsText::of(&moments),
            histogram: Some(scratch.to_v2_base64()),
        };
        scratch.clear();
        sampled
    }

    /// Of figures that are kept so.
    pub fn whole(moments: &Moments, histogram: Option<&Histogram>) -> Sampled {
        Sampled {
            values_ns: Vec::new(),
            moments: MomentsText::of(moments),
            histogram: histogram
                .filter(|histogram| !histogram.is_empty())
                .map(Histogram::to_v2_base64),
        }
    }

    /// The values again: exact moments, and a histogram of `digits` where there are values; `None` where it contradicts
    /// itself.
    pub fn read(&self, digits: u8) -> Option<(Moments, Histogram)> {
        let mut moments = match &self.moments {
            Some(text) => text.read()?,
            None => Moments::new(),
        };
        let mut histogram = match &self.histogram {
            Some(text) => Histogram::from_v2_base64(text).ok()?,
            None => Histogram::with_digits(digits).ok()?,
        };
        if histogram.digits() != digits {
            let other = std::mem::replace(&mut histogram, Histogram::with_digits(digits).ok()?);
            histogram.merge(&other);
        }
        for &ns in &self.values_ns {
            moments.record(ns);
            histogram.record(ns);
        }
        (histogram.is_empty() || histogram.len() == moments.count()).then_some((moments, histogram))
    }
}

impl MomentsText {
    pub fn of(moments: &Moments) -> Option<MomentsText> {
        let parts = moments.parts()?;
        Some(MomentsText {
            count: parts.count,
            min_ns: parts.min,
            max_ns: parts.max,
            sum_ns: parts.sum.to_string(),
            squares: parts.squares.to_string(),
        })
    }

    pub fn read(&self) -> Option<Moments> {
        Moments::from_parts(MomentsParts {
            count: bounded(self.count)?,
            min: self.min_ns,
            max: self.max_ns,
            sum: self.sum_ns.parse().ok()?,
            squares: self.squares.parse().ok()?,
        })
    }
}
