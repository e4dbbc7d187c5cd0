use super::*;
use rusqlite::Connection;

/// Length of a page, and of a frame.
const PAGE: usize = 512;
const FRAME: usize = FRAME_HEADER + PAGE;

/// Returns a log of transactions of about three frames, as SQLite writes it, and the numbers of the frames
/// that commit.
fn log(transactions: usize) -> (Vec<u8>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
    for _ in 0..transactions {
        database.execute("INSERT INTO t VALUES (randomblob(900))", []).unwrap();
    }
    let bytes = std::fs::read(folder.path().join("some.db-wal")).unwrap();
    let frames = bytes[HEADER..].chunks_exact(FRAME).enumerate();
    let commits = frames.filter(|(_, frame)| word(frame, 4) != 0).map(|(at, _)| at + 1).collect();
    (bytes, commits)
}

/// Returns the byte range of a frame, counted from 1.
fn frame(number: usize) -> std::ops::Range<usize> {
    HEADER + (number - 1) * FRAME..HEADER + number * FRAME
}

fn state(bytes: &[u8]) -> WalState {
    walk(bytes).unwrap()
}

#[test]
fn a_log_is_whole_up_to_its_last_commit_and_torn_after_it() {
    let (bytes, commits) = log(4);
    assert_eq!(state(&[]), WalState::Empty);
    for length in 1..HEADER {
        assert_eq!(state(&bytes[..length]), WalState::BadHeader);
    }
    for length in HEADER..=bytes.len() {
        let frames = (length - HEADER) / FRAME;
        let last = commits.iter().copied().rfind(|commit| *commit <= frames).unwrap_or(0);
        let committed = last as u64;
        let expected = match length == HEADER + last * FRAME {
            true => WalState::Whole { committed },
            false => WalState::Torn { committed },
        };
        assert_eq!(state(&bytes[..length]), expected, "cut at {length}");
    }
}

#[test]
fn damage_is_proved_by_a_complete_transaction_after_a_commit() {
    let (bytes, commits) = log(5);
    let frames = (bytes.len() - HEADER) / FRAME;
    assert!(frames > commits.len() * 2, "transactions have several frames");
    for at in HEADER..bytes.len() {
        let number = (at - HEADER) / FRAME + 1;
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        // A change outside the salts and the size does not affect the commit flag, which is then accepted.
        let behind = commits.iter().filter(|commit| **commit >= number).count();
        let found = state(&damaged);
        match (at - HEADER) % FRAME {
            // Its commit flag cannot be checked, and the next frame only against its checksum.
            4..24 if behind <= 2 => {}
            _ if behind >= 2 => assert_eq!(found, WalState::Damaged { frame: number as u64 }, "byte {at}"),
            _ => assert!(matches!(found, WalState::Torn { .. }), "byte {at}: {found:?}"),
        }
    }
    for at in 0..HEADER {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(state(&damaged), WalState::BadHeader, "byte {at}");
    }
}

#[test]
fn what_is_left_of_an_unflushed_transaction_proves_nothing() {
    let (bytes, commits) = log(4);
    let [.., before, last] = commits[..] else { panic!("{commits:?}") };
    let committed = before as u64;
    let expected = WalState::Torn { committed };
    assert!(last - before >= 3, "the last transaction has several frames");
    // Any subset of its frames, even its commit frame alone.
    let all = (1_u32 << (last - before)) - 1;
    for lost in 1..=all {
        let mut torn = bytes.clone();
        for number in before + 1..=last {
            if lost >> (number - before - 1) & 1 == 1 {
                torn[frame(number)].fill(0);
            }
        }
        let expected = if lost == all { WalState::Whole { committed } } else { expected };
        assert_eq!(state(&torn), expected, "{lost:b}");
    }
    // A shorter transaction has overwritten the beginning; the commit frame is still there.
    let mut over = bytes.clone();
    over[frame(before + 1)].copy_from_slice(&bytes[frame(commits[0])]);
    assert_eq!(state(&over), expected);
}

#[test]
fn frames_of_an_earlier_use_of_the_file_are_ignored() {
    let (earlier, _) = log(4);
    let (bytes, commits) = log(2);
    let mut reused = earlier;
    reused[..bytes.len()].copy_from_slice(&bytes);
    assert_eq!(state(&reused), WalState::Whole { committed: *commits.last().unwrap() as u64 });
}

#[test]
fn a_log_with_the_other_byte_order_is_checked_too() {
    let (mut bytes, commits) = log(2);
    let order = bytes[3] & 1 == 1;
    bytes[3] ^= 1;
    let mut sum = checksum([0, 0], &bytes[..24], !order);
    bytes[24..28].copy_from_slice(&sum[0].to_be_bytes());
    bytes[28..32].copy_from_slice(&sum[1].to_be_bytes());
    for number in 1..=(bytes.len() - HEADER) / FRAME {
        let at = frame(number).start;
        sum = checksum(sum, &bytes[at..at + 8], !order);
        sum = checksum(sum, &bytes[at + FRAME_HEADER..at + FRAME], !order);
        bytes[at + 16..at + 20].copy_from_slice(&sum[0].to_be_bytes());
        bytes[at + 20..at + 24].copy_from_slice(&sum[1].to_be_bytes());
    }
    assert_eq!(state(&bytes), WalState::Whole { committed: *commits.last().unwrap() as u64 });
}
