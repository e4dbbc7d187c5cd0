//! Computes the delays between attempts as a table. Only this module uses `backoff`, and only for its
//! sequence: it never waits, and random numbers come from the caller's generator.

use backoff::{Clock, backoff::Backoff, exponential::ExponentialBackoff};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// Returns `steps` delays in whole milliseconds. Before randomization, delays start with `initial` and grow
/// by `factor` up to `cap`. Each is then reduced at random to between half and all of it, so that clients
/// that failed together do not retry together. No delay is longer than `cap`; the same generator gives the
/// same table.
pub fn delays(
    rng: &mut ChaCha8Rng,
    initial: Duration,
    factor: f64,
    cap: Duration,
    steps: usize,
) -> Vec<Duration> {
    let mut sequence = ExponentialBackoff {
        current_interval: initial.min(cap),
        initial_interval: initial.min(cap),
        randomization_factor: 0.0,
        multiplier: factor.max(1.0),
        max_interval: cap,
        max_elapsed_time: None,
        clock: TokioClock,
        start_time: TokioClock.now(),
    };
    let mut table = Vec::with_capacity(steps);
    for _ in 0..steps {
        // Without randomization, the result of `next_backoff` would still be up to 1 ns off.
        let whole = u64::try_from(sequence.current_interval.as_millis()).unwrap_or(u64::MAX);
        table.push(Duration::from_millis(rng.random_range(whole.div_ceil(2)..=whole)));
        sequence.next_backoff();
    }
    table
}

/// A clock that stands still in virtual time. The sequence has no time limit, so it is never compared.
struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn table(seed: u64, initial_ms: u64, factor: f64, cap_ms: u64, steps: usize) -> Vec<u128> {
        let (initial, cap) = (Duration::from_millis(initial_ms), Duration::from_millis(cap_ms));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        delays(&mut rng, initial, factor, cap, steps).iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn delays_grow_to_their_cap_and_keep_at_least_half() {
        for seed in 0..200 {
            let rests = table(seed, 500, 2.0, 30_000, 9);
            for (rest, whole) in
                rests.iter().zip([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
            {
                assert!((whole / 2..=whole).contains(rest), "seed {seed}: {rests:?}");
            }
        }
    }

    #[test]
    fn the_same_generator_gives_the_same_table() {
        assert_eq!(table(7, 500, 1.7, 30_000, 50), table(7, 500, 1.7, 30_000, 50));
        assert_ne!(table(7, 500, 1.7, 30_000, 50), table(8, 500, 1.7, 30_000, 50));
    }

    #[test]
    fn unusual_settings_give_a_valid_table() {
        assert_eq!(table(1, 0, 2.0, 1000, 3), [0, 0, 0]);
        assert_eq!(table(1, 500, 2.0, 1000, 0), [0u128; 0]);
        assert!(table(1, 5000, 0.5, 1000, 3).iter().all(|rest| (500..=1000).contains(rest)));
    }
}
