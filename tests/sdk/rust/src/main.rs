//! `object_store` against the Blob service: what programs in Rust mostly use.
//!
//! Prints a line for each case, and writes a JUnit report to the path that is its argument.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::LocalBoxFuture, stream};
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result, WriteMultipart,
    azure::{MicrosoftAzure, MicrosoftAzureBuilder},
    path::Path,
};
use std::fmt::Write;

type Going<'a> = LocalBoxFuture<'a, Result<()>>;
type Case = (&'static str, fn(&MicrosoftAzure) -> Going<'_>);

macro_rules! cases {
    ($($name:ident)*) => {
        [$((stringify!($name), {
            fn boxed(store: &MicrosoftAzure) -> Going<'_> {
                Box::pin($name(store))
            }
            boxed
        })),*]
    };
}

const CASES: &[Case] = &cases![
    contents_come_back_the_same
    ranges_are_read
    lists_know_folders
    a_large_content_goes_up_in_parts
    copies_and_renames
    what_exists_is_kept_if_that_is_wanted
    conditions_on_the_version
    many_are_deleted_at_once
    what_is_not_there_is_not_found
    names_are_keys
];

fn main() {
    let connection = std::fs::read_to_string(std::env::var("DROPMILL_CONNECTION").unwrap()).unwrap();
    let connection: serde_json::Value = serde_json::from_str(&connection).unwrap();
    let text = |pointer: &str| connection.pointer(pointer).and_then(|value| value.as_str()).unwrap();
    let store = MicrosoftAzureBuilder::new()
        .with_account(text("/blob/account"))
        .with_access_key(text("/blob/key"))
        .with_endpoint(text("/blob/endpoint").to_owned())
        .with_container_name("of-object-store")
        .with_allow_http(true)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut report, mut failed) = (String::from("<testsuite>"), 0);
    for (name, case) in CASES {
        match runtime.block_on(case(&store)) {
            Ok(()) => {
                println!("ok {name}");
                let _ = write!(report, "<testcase name=\"{name}\"/>");
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {name}: {error}");
                let _ = write!(report, "<testcase name=\"{name}\"><failure/></testcase>");
            }
        }
    }
    report.push_str("</testsuite>");
    std::fs::write(std::env::args().nth(1).unwrap(), report).unwrap();
    std::process::exit(i32::from(failed > 0));
}

/// What is wrong, as an error of the client's, so that cases can be chained with `?`.
fn expect(true_is: bool, what: impl Into<String>) -> Result<()> {
    let what = what.into();
    if true_is { Ok(()) } else { Err(Error::Generic { store: "expectation", source: what.into() }) }
}

async fn names(store: &MicrosoftAzure, prefix: &str) -> Result<Vec<String>> {
    let prefix = Path::from(prefix);
    let mut found: Vec<_> =
        store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await?;
    found.sort();
    Ok(found)
}

async fn contents_come_back_the_same(store: &MicrosoftAzure) -> Result<()> {
    for size in [0, 1, 65_537, 5 << 20] {
        let content = Bytes::from((0..size).map(|n| (n * 7 % 251) as u8).collect::<Vec<_>>());
        let path = Path::from(format!("sized/{size}"));
        store.put(&path, content.clone().into()).await?;
        expect(store.get(&path).await?.bytes().await? == content, "other bytes")?;
        expect(store.head(&path).await?.size == size as u64, "other size")?;
    }
    Ok(())
}

async fn ranges_are_read(store: &MicrosoftAzure) -> Result<()> {
    let path = Path::from("range");
    store.put(&path, PutPayload::from_static(b"0123456789")).await?;
    expect(store.get_range(&path, 2..5).await? == "234", "2..5")?;
    let parts = store.get_ranges(&path, &[0..1, 8..10]).await?;
    expect(parts == ["0", "89"], format!("{parts:?}"))
}

async fn lists_know_folders(store: &MicrosoftAzure) -> Result<()> {
    for name in ["list/a", "list/d/b", "list/d/e/c"] {
        store.put(&Path::from(name), "x".into()).await?;
    }
    let all = names(store, "list").await?;
    expect(all == ["list/a", "list/d/b", "list/d/e/c"], format!("{all:?}"))?;
    let here = store.list_with_delimiter(Some(&Path::from("list"))).await?;
    expect(here.objects.len() == 1 && here.common_prefixes == [Path::from("list/d")], format!("{here:?}"))?;
    let after: Vec<_> = store
        .list_with_offset(Some(&Path::from("list")), &Path::from("list/d/b"))
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await?;
    expect(after == ["list/d/e/c"], format!("{after:?}"))
}

async fn a_large_content_goes_up_in_parts(store: &MicrosoftAzure) -> Result<()> {
    let path = Path::from("large");
    let mut write = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await?, 1 << 20);
    let content: Vec<u8> = (0..(7 << 20) + 5).map(|n: u32| (n % 253) as u8).collect();
    for part in content.chunks(300_000) {
        write.write(part);
    }
    write.finish().await?;
    expect(store.get(&path).await?.bytes().await? == content, "other bytes")
}

async fn copies_and_renames(store: &MicrosoftAzure) -> Result<()> {
    let [from, to, third] = ["copy/from", "copy/to", "copy/third"].map(Path::from);
    store.put(&from, "content".into()).await?;
    store.copy(&from, &to).await?;
    store.rename(&to, &third).await?;
    let there = names(store, "copy").await?;
    expect(there == ["copy/from", "copy/third"], format!("{there:?}"))?;
    expect(store.get(&third).await?.bytes().await? == "content", "other bytes")?;
    let refused = store.copy_if_not_exists(&from, &third).await;
    expect(matches!(refused, Err(Error::AlreadyExists { .. })), format!("{refused:?}"))
}

async fn what_exists_is_kept_if_that_is_wanted(store: &MicrosoftAzure) -> Result<()> {
    let path = Path::from("once");
    store.put_opts(&path, "1".into(), PutMode::Create.into()).await?;
    let refused = store.put_opts(&path, "2".into(), PutMode::Create.into()).await;
    expect(matches!(refused, Err(Error::AlreadyExists { .. })), format!("{refused:?}"))?;
    expect(store.get(&path).await?.bytes().await? == "1", "replaced")
}

async fn conditions_on_the_version(store: &MicrosoftAzure) -> Result<()> {
    let path = Path::from("version");
    let first = store.put(&path, "1".into()).await?;
    let second = store.put_opts(&path, "2".into(), PutMode::Update(first.clone().into()).into()).await?;
    let stale = store.put_opts(&path, "3".into(), PutMode::Update(first.clone().into()).into()).await;
    expect(matches!(stale, Err(Error::Precondition { .. })), format!("{stale:?}"))?;
    let only = GetOptions { if_match: first.e_tag, ..GetOptions::default() };
    let stale = store.get_opts(&path, only).await;
    expect(matches!(stale, Err(Error::Precondition { .. })), "read of a stale version")?;
    let changed = GetOptions { if_none_match: second.e_tag, ..GetOptions::default() };
    let same = store.get_opts(&path, changed).await;
    expect(matches!(same, Err(Error::NotModified { .. })), "read of the same version")
}

async fn many_are_deleted_at_once(store: &MicrosoftAzure) -> Result<()> {
    let paths: Vec<_> = (0..300).map(|n| Path::from(format!("many/{n:03}"))).collect();
    for path in &paths {
        store.put(path, PutPayload::new()).await?;
    }
    let gone = stream::iter(paths.clone()).map(Ok).boxed();
    let gone: Vec<_> = store.delete_stream(gone).try_collect().await?;
    expect(gone.len() == 300, format!("{} answers", gone.len()))?;
    expect(names(store, "many").await?.is_empty(), "some are left")
}

async fn what_is_not_there_is_not_found(store: &MicrosoftAzure) -> Result<()> {
    let path = Path::from("none");
    for refused in [store.head(&path).await.map(drop), store.get(&path).await.map(drop)] {
        expect(matches!(refused, Err(Error::NotFound { .. })), format!("{refused:?}"))?;
    }
    Ok(())
}

async fn names_are_keys(store: &MicrosoftAzure) -> Result<()> {
    for name in ["with space", "percent%25", "q?x=1#y", "ünï/日本/😀", "plus+and&", "tilde~'\"<>"] {
        let path = Path::from(format!("names/{name}"));
        store.put(&path, name.to_owned().into()).await?;
        expect(store.get(&path).await?.bytes().await? == name.as_bytes(), name)?;
        expect(names(store, "names").await? == [path.to_string()], name)?;
        store.delete(&path).await?;
    }
    Ok(())
}
