//! `top-words FILE N [CONTAINER_URL]`: the program that a task of the tutorial's job runs.
//!
//! It lists the N most frequent words of a file in `<stem>_OUTPUT<ext>` beside it, and sends that file to a Blob
//! container if it is given one, as an argument or (better: arguments are seen by everybody on the machine) in
//! `OUTPUT_CONTAINER_URL`. Exit code 0 when all that is done, 1 when not, 2 when it was called in a wrong way.

mod count;
mod report;
mod upload;
mod words;

use std::{env, ffi::OsString, fs::File, path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: top-words FILE N [CONTAINER_URL]
  FILE           whose words are counted
  N              how many of the most frequent words are listed: 1 or more
  CONTAINER_URL  Blob container with a shared access signature, to which the list is sent; or OUTPUT_CONTAINER_URL";

fn main() -> ExitCode {
    let asked = match Asked::of(env::args_os().skip(1).collect()) {
        Ok(asked) => asked,
        Err(mistake) => {
            eprintln!("top-words: {mistake}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match asked.carry_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("top-words: {reason}");
            ExitCode::FAILURE
        }
    }
}

struct Asked {
    input: PathBuf,
    most: usize,
    container: Option<String>,
}

impl Asked {
    fn of(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let (Some(input), Some(most), container, None) =
            (arguments.next(), arguments.next(), arguments.next(), arguments.next())
        else {
            return Err("it takes two or three arguments".to_owned());
        };
        let most = most.to_string_lossy();
        let most = most
            .parse()
            .ok()
            .filter(|most| *most > 0)
            .ok_or_else(|| format!("{most} is not a number of words"))?;
        let container =
            container.or_else(|| env::var_os("OUTPUT_CONTAINER_URL")).filter(|url| !url.is_empty());
        let container = container.map(OsString::into_string).transpose();
        let container = container.map_err(|_| "the container URL is not text".to_owned())?;
        Ok(Self { input: input.into(), most, container })
    }

    fn carry_out(&self) -> Result<(), String> {
        let name = self.input.display();
        let mut counter = count::Counter::default();
        File::open(&self.input)
            .and_then(|file| words::each_block(file, |buffer, places| counter.add(buffer, places)))
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        let output = report::path_beside(&self.input);
        report::write(&output, &counter.top(self.most))
            .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        println!("{name}: words listed in {}", output.display());
        if let Some(container) = &self.container {
            upload::put(&output, container)?;
            println!("{} is in the container", output.display());
        }
        Ok(())
    }
}
