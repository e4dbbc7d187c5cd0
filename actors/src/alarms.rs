//! Alarms of many state machines, which share one timer of an actor.

use dropmill_lifecycle::Elapsed;
use std::collections::{BTreeMap, BTreeSet};

/// The next alarm of each state machine that has one.
#[derive(Debug, Default)]
pub struct Alarms {
    by_moment: BTreeSet<(Elapsed, u32)>,
    by_machine: BTreeMap<u32, Elapsed>,
}

impl Alarms {
    /// Sets, moves or removes the alarm of a state machine.
    pub fn set(&mut self, machine: u32, moment: Option<Elapsed>) {
        if self.by_machine.get(&machine).copied() == moment {
            return;
        }
        if let Some(old) = self.by_machine.remove(&machine) {
            self.by_moment.remove(&(old, machine));
        }
        if let Some(moment) = moment {
            self.by_machine.insert(machine, moment);
            self.by_moment.insert((moment, machine));
        }
    }

    /// Returns the earliest alarm.
    pub fn next(&self) -> Option<Elapsed> {
        self.by_moment.first().map(|(moment, _)| *moment)
    }

    /// Removes and returns the state machines whose alarm is due, earliest first.
    pub fn due(&mut self, now: Elapsed) -> Vec<u32> {
        let mut due = vec![];
        while let Some(&(moment, machine)) = self.by_moment.first() {
            if moment > now {
                break;
            }
            self.set(machine, None);
            due.push(machine);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_come_due_in_order_and_once() {
        let mut alarms = Alarms::default();
        alarms.set(7, Some(Elapsed(30)));
        alarms.set(8, Some(Elapsed(10)));
        alarms.set(9, Some(Elapsed(20)));
        alarms.set(7, Some(Elapsed(5)));
        alarms.set(9, None);
        assert_eq!(alarms.next(), Some(Elapsed(5)));
        assert_eq!(alarms.due(Elapsed(10)), vec![7, 8]);
        assert_eq!(alarms.due(Elapsed(100)), Vec::<u32>::new());
        assert_eq!(alarms.next(), None);
    }
}
