//! Commands and variables that are too long for the kernel of a node, and slots that Azure does not give.

use super::{Finding, Subject};
use crate::settings::{ServiceKind, SlotCount};

/// Longest argument, and longest variable with its name, that Linux passes to a program (`MAX_ARG_STRLEN`), without its end.
const LONGEST_ARGUMENT: usize = (128 << 10) - 1;

/// Slots that Azure gives a node for each of its processors, at most.
const SLOTS_PER_PROCESSOR: u32 = 4;

/// Checks lengths and slots.
pub fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = vec![];
    for item in subject.items {
        let longest = item.environment.iter().max_by_key(|(name, value)| name.len() + value.len());
        if let Some((name, value)) =
            longest.filter(|(name, value)| name.len() + value.len() + 1 > LONGEST_ARGUMENT)
        {
            let bytes = value.len();
            let what = format!(
                "{}: the variable {name} has {bytes} bytes, and Linux starts no program with more than {LONGEST_ARGUMENT}: put long \
                 values into a file",
                item.relative
            );
            found.push(Finding::error("input", what));
        }
        if item.command_line.len() > 2 * LONGEST_ARGUMENT {
            let bytes = item.command_line.len();
            let what =
                format!("{}: the command line has {bytes} bytes: put long values into a file", item.relative);
            found.push(Finding::error("task.command", what));
        }
        if found.len() >= 10 {
            break;
        }
    }
    found.extend(slots(subject));
    found
}

/// Azure rejects a pool with more slots than four for each processor, and names of sizes state their processors.
fn slots(subject: &Subject<'_>) -> Option<Finding> {
    let pool = &subject.settings.pool;
    let processors =
        processors_of(&pool.vm_size).filter(|_| subject.settings.service.kind == ServiceKind::Azure)?;
    let most = processors.saturating_mul(SLOTS_PER_PROCESSOR).min(256);
    let SlotCount::Number(slots) = pool.slots_per_node else { return None };
    (slots > most).then(|| {
        let size = &pool.vm_size;
        let what = format!(
            "{slots} slots on a node with {processors} processors ({size}): Azure accepts at most {most}; choose a larger pool.vm_size \
             or more nodes"
        );
        Finding::warning("pool.slots_per_node", what)
    })
}

/// Returns the number of processors that the name of a size states: 2 for `STANDARD_D2S_V5`, 8 for `Standard_M64-8ms`.
fn processors_of(size: &str) -> Option<u32> {
    let upper = size.to_uppercase();
    let name = upper.strip_prefix("STANDARD_")?.split('_').next()?.to_owned();
    let name = name.split_once('-').map_or(name.as_str(), |(_, constrained)| constrained);
    let digits: String =
        name.chars().skip_while(char::is_ascii_alphabetic).take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::processors_of;

    #[test]
    fn names_of_sizes_tell_their_processors() {
        for (size, expected) in [
            ("STANDARD_D2S_V5", Some(2)),
            ("Standard_M64-8ms", Some(8)),
            ("standard_nc24ads_a100_v4", Some(24)),
            ("Basic_A1", None),
            ("Standard_Dx", None),
            ("", None),
        ] {
            assert_eq!(processors_of(size), expected, "{size}");
        }
    }
}
