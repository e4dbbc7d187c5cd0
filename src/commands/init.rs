//! `dropmill init`: writes a commented run file.

use crate::{error::UsageError, render::say};
use anyhow::{Context, Result};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::Path,
};

const FIRST: &str = r#"# A run file: one task for each file of [input]. `dropmill plan` shows what it would do, `dropmill run` does it.
# Every key with its default and its reason: `dropmill schema`, and config/default.toml of the project.

[run]
name = "lines"

[input]
files = ["data/**/*.txt"]        # globs, relative to this file's folder; one task per file

[task]
command = ["/bin/sh", "-c", "wc -l < \"$DROPMILL_INPUT\" > lines.txt"]
outputs = ["lines.txt"]          # patterns in the task's working folder; downloaded even if the task failed
# timeout = "10m"
# max_retries = 1

[pool]
nodes = 3                        # tasks at the same time: nodes x slots_per_node

[output]
directory = "out"                # out/<relative path of the input>/lines.txt, with stdout.txt and stderr.txt beside it

# Nodes on Azure instead of this machine:
# [service]
# kind = "azure"
# batch_endpoint = "https://account.region.batch.azure.com"
# batch_account = "account"
# batch_key = { env = "BATCH_KEY" }
# blob_endpoint = "https://storage.blob.core.windows.net"
# storage_account = "storage"
# storage_key = { env = "STORAGE_KEY" }
"#;

/// Writes `run.toml`; an existing file is never overwritten.
pub fn init(folder: &Path) -> Result<u8> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join("run.toml");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let problem = "an existing file is not overwritten".into();
            return Err(UsageError::File { path, problem }.into());
        }
        opened => opened.with_context(|| format!("write {}", path.display()))?,
    };
    file.write_all(FIRST.as_bytes())?;
    say::line(&format!("wrote {0}; next: dropmill plan {0}", path.display()));
    Ok(0)
}
