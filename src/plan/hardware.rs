//! What this machine gives to this process: processors and memory.

use std::{fs, path::Path};

/// Where the kernel shows control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// Returns how many processors this process may use, by its affinity and the quota of its control group; at least 1.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Returns how many bytes of memory this process may use: those of the machine, or the limit of its control group if that
/// is lower. Nothing if the system does not report it.
pub fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| {
        let text = fs::read_to_string(Path::new(GROUPS).join(file)).ok()?;
        // A group without a limit says "max", or an impossibly large number.
        text.trim().parse().ok()
    });
    limits.chain(machine).min()
}

/// The memory of the machine in `/proc/meminfo`.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files below [`GROUPS`] that limit the memory of a process, from its `/proc/self/cgroup`: those of its group and of each
/// group above. In a container, the kernel may show the own group as the root.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = vec![];
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (top, name) = match (number, controllers) {
            ("0", "") => ("", "memory.max"),
            (_, controllers) if controllers.split(',').any(|controller| controller == "memory") => {
                ("memory/", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let group = group.to_string_lossy();
            let between = if group.is_empty() { "" } else { "/" };
            files.push(format!("{top}{group}{between}{name}"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_in_a_line_of_its_own() {
        assert_eq!(total_memory("MemTotal:       16318528 kB\nMemFree: 1 kB\n"), Some(16_318_528 << 10));
        for text in ["", "MemFree: 1 kB\n", "MemTotal: x kB\n", "MemTotal: 18446744073709551615 kB\n"] {
            assert_eq!(total_memory(text), None, "{text}");
        }
    }

    #[test]
    fn the_limits_of_a_group_and_of_all_above_it_count() {
        let table: &[(&str, &[&str])] = &[
            ("0::/\n", &["memory.max"]),
            ("0::/a/b.scope\n", &["a/b.scope/memory.max", "a/memory.max", "memory.max"]),
            (
                "12:cpu,cpuacct:/d\n7:memory:/d/x:y\n",
                &[
                    "memory/d/x:y/memory.limit_in_bytes",
                    "memory/d/memory.limit_in_bytes",
                    "memory/memory.limit_in_bytes",
                ],
            ),
            ("", &[]),
            ("what\n", &[]),
        ];
        for (groups, expected) in table {
            assert_eq!(limit_files(groups), *expected, "{groups:?}");
        }
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        assert!(processors() >= 1);
        assert!(memory_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
