//! Compares two runs and describes the differences.
//!
//! Runs are compared subject by subject, and within a subject step by step, each step with its cause.
//! Differences that are normal between equivalent runs are ignored: generated names, times, the assignment of
//! nodes, and the order between independent subjects.

use crate::{event::Event, trace};
use std::{collections::BTreeMap, fmt::Write};

/// Number of subjects that are named for a group with the same difference.
const EXAMPLES: usize = 3;

/// Returns the differences between two runs; empty if they are equivalent.
pub fn runs(one: &[Event], other: &[Event]) -> String {
    let (one, other) = (trace::stories(one), trace::stories(other));
    let mut groups = Groups::default();
    let lives: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for life in lives {
        let of =
            |stories: &BTreeMap<(u8, String), Vec<String>>| stories.get(life).cloned().unwrap_or_default();
        groups.add(&life.1, &steps(&of(&one), &of(&other)));
    }
    groups.text()
}

/// Returns the differences between two outlines; empty if they are equal.
pub fn outlines(one: &str, other: &str) -> String {
    let (one, other): (Vec<_>, Vec<_>) =
        (one.lines().map(str::to_owned).collect(), other.lines().map(str::to_owned).collect());
    let mut text = String::new();
    let (mut gone, mut come): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    let lines = steps(&one, &other);
    for (mark, line) in lines.iter().map(|(mark, line)| (*mark, *line)).chain([(' ', "")]) {
        match mark {
            '-' => gone.push(line),
            '+' => come.push(line),
            _ => {
                // A removed and an added line in the same position are compared step by step.
                for at in 0..gone.len().max(come.len()) {
                    text.push_str(&line_for_line(gone.get(at).copied(), come.get(at).copied()));
                }
                gone.clear();
                come.clear();
            }
        }
    }
    text
}

fn line_for_line(gone: Option<&str>, come: Option<&str>) -> String {
    let parts = |line: &str| -> (String, Vec<String>) {
        let (who, story) = line.split_once(": ").unwrap_or(("", line));
        (who.to_owned(), story.split(" > ").map(str::to_owned).collect())
    };
    let ((before, one), (now, other)) =
        (gone.map_or_else(Default::default, parts), come.map_or_else(Default::default, parts));
    let who = match (gone, come) {
        (Some(_), Some(_)) if before == now => before,
        (Some(_), Some(_)) => format!("{before}, now {now}"),
        (Some(_), None) => format!("{before}, no more"),
        _ => format!("{now}, new"),
    };
    let mut text = format!("{who}\n");
    for (mark, step) in steps(&one, &other) {
        let _ = writeln!(text, "  {mark} {step}");
    }
    text
}

/// Steps with their marks ` `, `-` and `+`.
type Steps = Vec<(char, String)>;

/// Subjects that differ, grouped by their differences.
#[derive(Default)]
struct Groups(Vec<(Steps, Vec<String>)>);

impl Groups {
    fn add(&mut self, life: &str, steps: &[(char, &str)]) {
        if steps.iter().all(|(mark, _)| *mark == ' ') {
            return;
        }
        let steps: Steps = steps.iter().map(|(mark, step)| (*mark, (*step).to_owned())).collect();
        match self.0.iter_mut().find(|(known, _)| *known == steps) {
            Some((_, lives)) => lives.push(life.to_owned()),
            None => self.0.push((steps, vec![life.to_owned()])),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (steps, lives) in &self.0 {
            let more = if lives.len() > EXAMPLES {
                format!(" and {} more", lives.len() - EXAMPLES)
            } else {
                String::new()
            };
            let named: Vec<&str> = lives.iter().take(EXAMPLES).map(String::as_str).collect();
            let _ = writeln!(text, "{}{more}", named.join(", "));
            for (mark, step) in steps {
                let _ = writeln!(text, "  {mark} {step}");
            }
        }
        text
    }
}

/// Returns the steps of both in order: ` ` for steps of both, `-` for those of the first only, `+` for those
/// of the second only.
fn steps<'a>(one: &'a [String], other: &'a [String]) -> Vec<(char, &'a str)> {
    // Lengths of the longest common subsequences of the suffixes.
    let mut lengths = vec![vec![0u32; other.len() + 1]; one.len() + 1];
    for (at, step) in one.iter().enumerate().rev() {
        for (place, candidate) in other.iter().enumerate().rev() {
            lengths[at][place] = if step == candidate {
                lengths[at + 1][place + 1] + 1
            } else {
                lengths[at + 1][place].max(lengths[at][place + 1])
            };
        }
    }
    let (mut at, mut place, mut found) = (0, 0, vec![]);
    while at < one.len() || place < other.len() {
        if at < one.len() && place < other.len() && one[at] == other[place] {
            found.push((' ', one[at].as_str()));
            (at, place) = (at + 1, place + 1);
        } else if place == other.len() || (at < one.len() && lengths[at + 1][place] >= lengths[at][place + 1])
        {
            found.push(('-', one[at].as_str()));
            at += 1;
        } else {
            found.push(('+', other[place].as_str()));
            place += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, TaskEnding, Verdict};
    use jiff::Timestamp;

    /// Creates events by subject and kind; a cause is given as the position (from 1) of another event.
    fn events(run: &str, said: Vec<(String, Option<u64>, EventKind)>) -> Vec<Event> {
        let event = |(at, (subject, cause, kind)): (usize, (String, Option<u64>, EventKind))| Event {
            seq: at as u64 + 1,
            at: Timestamp::UNIX_EPOCH,
            elapsed_ms: at as u64 * 170,
            run: run.into(),
            actor: "somebody".into(),
            subject: subject.into(),
            cause,
            kind,
        };
        said.into_iter().enumerate().map(event).collect()
    }

    fn ended(node: &str, exit_code: i32) -> EventKind {
        EventKind::TaskEnded(TaskEnding {
            success: exit_code == 0,
            exit_code: Some(exit_code),
            failure_code: None,
            failure_message: None,
            node: Some(node.into()),
            started: None,
            ended: None,
            retries: 0,
            requeues: 0,
        })
    }

    fn run(name: &str, order: &[(&str, &str, i32)], cause: Option<u64>) -> Vec<Event> {
        let mut said = vec![
            (format!("container/{name}-output"), None, EventKind::ContainerReady {}),
            ("job".to_owned(), None, EventKind::JobCreated { adopted: false }),
        ];
        for (task, node, exit_code) in order {
            let life = || format!("task/{task}");
            said.push((life(), cause, EventKind::TaskSubmitted { adopted: false }));
            let submitted = said.len() as u64;
            said.push((format!("node/{node}"), Some(1), EventKind::NodeChanged { state: "idle".into() }));
            said.push((life(), None, EventKind::TaskRunning { node: Some((*node).into()), started: None }));
            said.push((life(), Some(submitted), ended(node, *exit_code)));
            let verdict = if *exit_code == 0 { Verdict::Succeeded } else { Verdict::Failed };
            said.push((
                life(),
                None,
                EventKind::TaskClosed {
                    verdict,
                    cause: None,
                    stderr_tail: None,
                    undelivered: false,
                    may_pass: false,
                },
            ));
        }
        events(name, said)
    }

    #[test]
    fn order_nodes_names_and_times_are_no_difference() {
        let one = run("lines-1", &[("a", "tvm-1", 0), ("b", "tvm-2", 0)], Some(2));
        let other = run("lines-2", &[("b", "tvm-9", 0), ("a", "tvm-3", 0)], Some(2));
        assert_eq!(runs(&one, &other), "");
    }

    #[test]
    fn differences_are_listed_step_by_step_and_once_for_all_equal_subjects() {
        let one = run("lines-1", &[("a", "x", 0), ("b", "y", 0), ("c", "x", 0)], Some(2));
        let other = run("lines-2", &[("a", "x", 3), ("b", "y", 3), ("d", "x", 0)], Some(2));
        insta::assert_snapshot!(runs(&one, &other), @r"
        task/a, task/b
            submitted (for job: created)
          - ended (exit code 0)
          - succeeded
          + ended (exit code 3)
          + failed
        task/c
          - submitted (for job: created)
          - ended (exit code 0)
          - succeeded
        task/d
          + submitted (for job: created)
          + ended (exit code 0)
          + succeeded
        ");
    }

    #[test]
    fn another_cause_is_a_difference() {
        let (one, other) = (run("l-1", &[("a", "x", 0)], Some(2)), run("l-2", &[("a", "x", 0)], Some(1)));
        let text = runs(&one, &other);
        assert!(text.contains("- submitted (for job: created)"), "{text}");
        assert!(text.contains("+ submitted (for container: ready)"), "{text}");
    }

    #[test]
    fn outlines_are_compared_line_for_line_and_step_by_step() {
        let one = "run: started > ended\npool: created > deleted\n2 x task (a, b): submitted > succeeded\n";
        let other = "run: started > ended\npool: created > ready > deleted\ntask/a: submitted > succeeded\n\
                     task/b: submitted > failed\n";
        insta::assert_snapshot!(outlines(one, other), @r"
        pool
            created
          + ready
            deleted
        2 x task (a, b), now task/a
            submitted
            succeeded
        task/b, new
          + submitted
          + failed
        ");
        assert_eq!(outlines(one, one), "");
    }
}
