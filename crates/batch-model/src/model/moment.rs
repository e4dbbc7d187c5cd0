//! Times in the service's ticks of 100 ns: half as large as a timestamp, and no larger if optional.

use dropmill_azure_wire::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::num::NonZeroI64;

const PER_SECOND: i64 = 10_000_000;

/// A time, in ticks since 1970. Ticks from 1970 on are stored plus 1, so that 0 can stand for `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(NonZeroI64);

impl From<Timestamp> for Moment {
    fn from(moment: Timestamp) -> Self {
        let ticks = moment.as_second() * PER_SECOND + i64::from(moment.subsec_nanosecond().div_euclid(100));
        Self(NonZeroI64::new(if ticks < 0 { ticks } else { ticks + 1 }).unwrap_or(NonZeroI64::MIN))
    }
}

impl From<Moment> for Timestamp {
    fn from(Moment(ticks): Moment) -> Self {
        let ticks = if ticks.get() < 0 { ticks.get() } else { ticks.get() - 1 };
        let nanosecond = i32::try_from(ticks.rem_euclid(PER_SECOND) * 100);
        let nanosecond = nanosecond.expect("the remainder is less than a second");
        Self::new(ticks.div_euclid(PER_SECOND), nanosecond).expect("it was created from a timestamp")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Timestamp::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(nanosecond: i128) -> (Timestamp, Timestamp) {
        let moment = Timestamp::from_nanosecond(nanosecond).unwrap();
        (moment, Moment::from(moment).into())
    }

    #[test]
    fn the_limits_and_zero_are_valid_times() {
        assert_eq!(size_of::<Option<Moment>>(), 8);
        for edge in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let tick = edge.as_nanosecond().div_euclid(100) * 100;
            assert_eq!(Timestamp::from(Moment::from(edge)).as_nanosecond(), tick);
        }
    }

    proptest! {
        #[test]
        fn times_keep_their_ticks_and_their_order(
            one in -3_000_000_000_000_000_000_i128..3_000_000_000_000_000_000,
            other in -500_i128..500,
        ) {
            let (moment, back) = round(one);
            prop_assert_eq!(back.as_nanosecond(), one.div_euclid(100) * 100);
            let (near, _) = round(one + other * 100);
            prop_assert_eq!(moment.cmp(&near), Moment::from(moment).cmp(&near.into()));
            let (small, small_back) = round(other);
            prop_assert_eq!(small_back.as_nanosecond(), other.div_euclid(100) * 100);
            prop_assert_eq!(serde_json::to_string(&Moment::from(small)).unwrap(), serde_json::to_string(&small_back).unwrap());
        }
    }
}
