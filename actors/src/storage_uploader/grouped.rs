//! The inputs of a task that gets them by one prefix: its files, and lists that name them.

use super::uploading::{FILES_OF_A_FOLDER, is_own, put};
use crate::inputs::Inputs;
use dropmill_azure_client::blob::{BlobApi, PutOptions};
use dropmill_lifecycle::{
    Failure,
    plan::{INPUTS, INPUTS0, Item, LISTS, ROWS, RunPlan},
};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// A blob below the prefix of a task.
pub(super) struct OwnFile {
    /// Name of its blob.
    pub blob: String,
    content: Content,
}

enum Content {
    File(PathBuf, u64),
    List(String),
}

impl OwnFile {
    /// Returns its length, of a file when the plan was made.
    pub fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::File(_, bytes) => *bytes,
            Content::List(text) => text.len() as u64,
        }
    }
}

/// Returns what is uploaded below the prefix of a task: the files of its inputs, except those that all tasks share, and
/// the lists.
pub(super) fn own_files(plan: &RunPlan, item: &Item) -> Vec<OwnFile> {
    let members = match item.members() {
        Some(chunk) => &plan.items[chunk.first as usize..chunk.range().end as usize],
        None => std::slice::from_ref(item),
    };
    let mut files: BTreeMap<String, Content> = BTreeMap::new();
    for member in members {
        if let (Some(source), None) = (&member.source, &member.blob) {
            files.insert(member.file_name.clone(), Content::File(source.clone(), member.size_bytes));
        }
        for file in member.more_files.iter().filter(|file| is_own(member, &file.blob)) {
            files.insert(file.place.clone(), Content::File(file.source.clone(), file.size_bytes));
        }
    }
    files.extend(
        lists(&item.task, members)
            .into_iter()
            .map(|(list, text)| (format!("{LISTS}/{list}"), Content::List(text))),
    );
    let blob = |(place, content)| OwnFile { blob: format!("{}/{place}", item.task), content };
    files.into_iter().map(blob).collect()
}

/// The lists of the inputs of a task, by name.
fn lists(task: &str, members: &[Item]) -> Vec<(&'static str, String)> {
    if members.iter().any(|member| member.chunk.as_ref().is_some_and(|chunk| chunk.names.is_some())) {
        let rows = members.iter().map(|member| format!("{}\n", row(task, member)));
        return vec![(ROWS, rows.collect())];
    }
    let list =
        |end: char| members.iter().map(|member| format!("{}{end}", member.as_input_of(task))).collect();
    vec![(INPUTS, list('\n')), (INPUTS0, list('\0'))]
}

/// An input as a JSON object: its name, the paths of its files, its values.
fn row(task: &str, item: &Item) -> Value {
    let mut row = Map::new();
    let values = item.values.iter().map(|(name, value)| (name.clone(), value.clone()));
    let source = item.source.iter().map(|_| &item.file_name);
    let places = source.chain(item.more_files.iter().map(|file| &file.place));
    let names = item.chunk.iter().flat_map(|chunk| chunk.names.iter().flatten());
    let files = names.zip(places).filter(|(name, _)| !name.is_empty());
    let files = files.map(|(name, place)| (name.clone(), format!("{task}/{place}")));
    for (name, text) in [("name".to_owned(), item.relative.clone())].into_iter().chain(values).chain(files) {
        row.insert(name, text.into());
    }
    row.into()
}

/// Uploads files and lists; those that an earlier try uploaded are uploaded once more.
pub(super) async fn upload(
    blob: BlobApi,
    container: String,
    inputs: Arc<dyn Inputs>,
    files: Vec<OwnFile>,
) -> Result<bool, Failure> {
    let one = |file: OwnFile| {
        let (blob, container, inputs) = (&blob, &container, &*inputs);
        async move {
            match file.content {
                Content::File(source, _) => put(blob, container, inputs, &file.blob, &source).await,
                Content::List(text) => {
                    let put =
                        blob.put_blob(container, &file.blob, text.into_bytes(), PutOptions::default()).await;
                    put.map(|_| ()).map_err(|error| error.failure())
                }
            }
        }
    };
    let mut uploads = stream::iter(files).map(one).buffer_unordered(FILES_OF_A_FOLDER);
    while let Some(uploaded) = uploads.next().await {
        uploaded?;
    }
    Ok(false)
}
