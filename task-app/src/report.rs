//! The output file: its name and its content.

use crate::count::Counted;
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Returns the path of the output file, next to `input`: `text.txt` becomes `text_OUTPUT.txt`.
pub fn path_beside(input: &Path) -> PathBuf {
    let mut name = OsString::from(input.file_stem().unwrap_or_default());
    name.push("_OUTPUT");
    if let Some(extension) = input.extension() {
        name.push(".");
        name.push(extension);
    }
    input.with_file_name(name)
}

/// Writes the list to `path` atomically.
///
/// # Errors
/// Fails if the file, or the temporary file next to it, cannot be written.
pub fn write(path: &Path, words: &[Counted]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fill(&temporary, words).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Return the original error; failing to remove the temporary file is less important.
        fs::remove_file(&temporary).ok();
    }
    written
}

fn fill(path: &Path, words: &[Counted]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"Count\tWord\n")?;
    for (word, count) in words {
        write!(file, "{count:>3}\t\t")?;
        file.write_all(word)?;
        file.write_all(b"\n")?;
    }
    writeln!(file, "{}", "-".repeat(30))?;
    for (label, variable) in
        [("Node:", "NODE_ID"), ("Task:", "TASK_ID"), ("Job: ", "JOB_ID"), ("Pool:", "POOL_ID")]
    {
        let value = env::var_os(format!("AZ_BATCH_{variable}")).unwrap_or_default();
        writeln!(file, "{label} {}", value.to_string_lossy())?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_named_after_the_input() {
        for (input, output) in [
            ("text.txt", "text_OUTPUT.txt"),
            ("a/b.tar.gz", "a/b.tar_OUTPUT.gz"),
            ("README", "README_OUTPUT"),
            (".hidden", ".hidden_OUTPUT"),
            ("/x/ü v.md", "/x/ü v_OUTPUT.md"),
        ] {
            assert_eq!(path_beside(Path::new(input)), Path::new(output));
        }
    }
}
