//! Shows the state of a drop folder for people.

use crate::daemon::Overview;

/// Reasons that are listed.
const MOST_REASONS: usize = 10;

/// Returns the lines of an overview.
pub fn lines(overview: &Overview) -> Vec<String> {
    let Overview { directory, holder, waiting, running, done, done_folder, failed, failed_folder, .. } =
        overview;
    let watched = match holder {
        Some(holder) => format!("watched by {holder}"),
        None => "not watched; start it with `dropmill watch FILE`".into(),
    };
    let mut lines = vec![
        format!("{}: {watched}", directory.display()),
        format!("waiting     {waiting}"),
        format!("running     {running}"),
        format!("done        {done} in {}", done_folder.display()),
        format!("failed      {failed} in {}", failed_folder.display()),
    ];
    let left: u64 = overview.left_alone.iter().map(|left| left.count).sum();
    if left > 0 {
        lines.push(format!("left alone  {left}"));
        let reasons = overview.left_alone.iter().take(MOST_REASONS);
        lines.extend(reasons.map(|left| format!("            {}: {}", left.count, left.why)));
        let more: u64 = overview.left_alone.iter().skip(MOST_REASONS).map(|left| left.count).sum();
        if more > 0 {
            lines.push(format!("            {more}: other reasons"));
        }
    }
    lines.extend(overview.waits_for.iter().map(|why| format!("waiting for {why}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::LeftAlone;

    #[test]
    fn entries_left_alone_are_counted_separately_with_their_reasons() {
        let left = |count, why: &str| LeftAlone { why: why.into(), count };
        let mut overview = Overview {
            directory: "/drop".into(),
            holder: Some("pid 1 since 2026-03-02T10:11:12Z".into()),
            waiting: 3,
            running: 2,
            done: 17,
            done_folder: "/done".into(),
            failed: 1,
            failed_folder: "/failed".into(),
            left_alone: vec![left(12, "matches watch.ignore"), left(3, "a FIFO")],
            waits_for: Some("room".into()),
        };
        let expected = [
            "/drop: watched by pid 1 since 2026-03-02T10:11:12Z",
            "waiting     3",
            "running     2",
            "done        17 in /done",
            "failed      1 in /failed",
            "left alone  15",
            "            12: matches watch.ignore",
            "            3: a FIFO",
            "waiting for room",
        ];
        assert_eq!(lines(&overview), expected);
        overview.left_alone = (0..12).map(|number| left(2, &format!("reason {number}"))).collect();
        let shown = lines(&overview);
        assert!(
            shown.contains(&"left alone  24".into())
                && shown.contains(&"            4: other reasons".into())
        );
        (overview.left_alone, overview.holder, overview.waits_for) = (vec![], None, None);
        assert_eq!(lines(&overview)[0], "/drop: not watched; start it with `dropmill watch FILE`");
        assert_eq!(lines(&overview).len(), 5);
    }
}
