//! Where the files of a result go, by the layout of the output folder.

use crate::output_names::{guarded, is_stream};
use dropmill_lifecycle::plan::Layout;

/// Folder for the files of failed tasks in layouts without a folder per result, with one folder per input:
/// none of them has the name of a result.
const FAILED: &str = ".failed";

/// Returns the folder for the files of an input's failed task, in layouts without a folder per result.
pub(super) fn failed_folder(input: &str) -> String {
    format!("{FAILED}/{}", guarded(input))
}

/// Returns whether a file of a successful task belongs in the folder of the run, not in the output folder.
pub(super) fn is_log(layout: Layout, path: &str) -> bool {
    layout == Layout::Mirror && is_stream(path)
}

/// Returns the place below the output folder of a successful task's file, in layouts without a folder per
/// result. `folder` is the result folder of the task, `input` the name of its input. The path of the file is
/// already guarded.
pub(super) fn single_name(layout: Layout, folder: &str, input: &str, path: &str) -> String {
    let name = if is_stream(path) { guarded(&format!("{input}.{path}")) } else { path.to_owned() };
    match (layout, folder) {
        (Layout::Flat, _) | (_, "") => name,
        (Layout::Mirror | Layout::ByInput, folder) => format!("{}/{name}", guarded(folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_give_files_their_places_outside_of_the_folders_of_dropmill() {
        for (layout, folder, path, expected) in [
            (Layout::Flat, "", "o.txt", "o.txt"),
            (Layout::Flat, "", "deep/o.txt", "deep/o.txt"),
            (Layout::Flat, "", "stderr.txt", "film.mov.stderr.txt"),
            (Layout::Mirror, "library/old", "film.mp4", "library/old/film.mp4"),
            (Layout::Mirror, "library", "deep/o", "library/deep/o"),
            (Layout::Mirror, "", "o", "o"),
            (Layout::Mirror, ".dropmill-x", "o", "%2Edropmill-x/o"),
        ] {
            assert_eq!(single_name(layout, folder, "film.mov", path), expected, "{layout:?} {folder} {path}");
        }
        assert_eq!(failed_folder("a/.dropmill"), ".failed/a/%2Edropmill");
        for (layout, path, expected) in [
            (Layout::Mirror, "stdout.txt", true),
            (Layout::Mirror, "attempt-1.stderr.txt", true),
            (Layout::Mirror, "wd/stdout.txt", false),
            (Layout::Flat, "stdout.txt", false),
        ] {
            assert_eq!(is_log(layout, path), expected, "{layout:?} {path}");
        }
    }
}
