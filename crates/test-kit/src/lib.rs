//! The simulated world: virtual time, a pretend service, traces to keep as snapshots.
