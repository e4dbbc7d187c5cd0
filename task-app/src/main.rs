//! `top-words FILE N [CONTAINER_URL]`: the program that each task of the tutorial job runs.
//!
//! Writes the N most frequent words of a file to `<stem>_OUTPUT<ext>` next to it, and uploads that file to a
//! Blob container if one is given. Prefer `OUTPUT_CONTAINER_URL` to the argument: every user of the machine
//! can see arguments. Exits with 0 on success, 1 on failure and 2 on invalid arguments.

mod count;
mod report;
mod upload;
mod words;

use std::{env, ffi::OsString, fs::File, path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: top-words FILE N [CONTAINER_URL]
  FILE           input file
  N              number of most frequent words to list, at least 1
  CONTAINER_URL  URL of a Blob container with a shared access signature, to upload the list to;
                 default: the environment variable OUTPUT_CONTAINER_URL";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os().skip(1).collect()) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("top-words: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("top-words: {reason}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    input: PathBuf,
    most: usize,
    container: Option<String>,
}

impl Arguments {
    fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let (Some(input), Some(most), container, None) =
            (arguments.next(), arguments.next(), arguments.next(), arguments.next())
        else {
            return Err("expected two or three arguments".to_owned());
        };
        let most = most.to_string_lossy();
        let most = most
            .parse()
            .ok()
            .filter(|most| *most > 0)
            .ok_or_else(|| format!("expected a positive number of words, found {most:?}"))?;
        let container =
            container.or_else(|| env::var_os("OUTPUT_CONTAINER_URL")).filter(|url| !url.is_empty());
        let container = container.map(OsString::into_string).transpose();
        let container = container.map_err(|_| "the container URL is not valid UTF-8".to_owned())?;
        Ok(Self { input: input.into(), most, container })
    }

    fn run(&self) -> Result<(), String> {
        let name = self.input.display();
        let mut counter = count::Counter::default();
        File::open(&self.input)
            .and_then(|file| words::each_block(file, |buffer, places| counter.add(buffer, places)))
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        let output = report::path_beside(&self.input);
        report::write(&output, &counter.top(self.most))
            .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        println!("{name}: wrote the list to {}", output.display());
        if let Some(container) = &self.container {
            upload::put(&output, container)?;
            println!("uploaded {}", output.display());
        }
        Ok(())
    }
}
