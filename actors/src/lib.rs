//! The actors that carry a run out: thin shells around the machines of lifecycle.
