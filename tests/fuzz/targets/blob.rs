//! Blob, whole: scripts of requests by the owner, with a SAS, or by nobody, through the router.
#![no_main]

use dropmill_azure_wire::{
    blob::{BlobList, BlockList, ContainerList},
    error::BlobErrorBody,
};
use dropmill_fuzz::{
    answer::Told,
    script::{self, Asked, Step},
    world::{World, in_virtual_time},
};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let steps = script::read(data);
    if steps.is_empty() {
        return;
    }
    in_virtual_time(async {
        let mut world = World::with_blobs().await;
        for step in steps {
            match step {
                Step::Wait(seconds) => world.wait(seconds).await,
                Step::Send(asked) => {
                    let (sender, method, batch) =
                        (asked.sender.clone(), asked.method.clone(), is_batch(&asked));
                    let Some(told) = world.blob_asked(asked).await else { continue };
                    check_rights(&sender, &method, batch, &told);
                    check_answer(&method, &told);
                }
            }
        }
        // Whatever was said: the service lives on, and can tell of all that it has.
        let list = world.blob_asked(get("?comp=list")).await.expect("a request by the book");
        assert!(list.status == 200, "{}", list.status);
        for container in ContainerList::read(&list.body).expect("a list of containers").containers {
            let target = format!("{}?restype=container&comp=list&include=metadata,copy", container.name);
            let list = world.blob_asked(get(&target)).await.expect("a request by the book");
            assert!(list.status == 200, "{target}: {}", list.status);
            for blob in BlobList::read(&list.body).expect("a list of blobs").blobs() {
                let path = dropmill_azure_wire::uri::encode_path(&blob.name);
                let read = world.blob_asked(get(&format!("{}/{path}", container.name))).await;
                let read = read.expect("a request by the book");
                assert!(read.status == 200, "{path}: {}", read.status);
                assert_eq!(read.body.len() as u64, blob.properties.content_length, "{path}");
            }
        }
    });
});

fn get(target: &str) -> Asked {
    let mut steps = script::read(format!("GET {target}").as_bytes());
    match steps.pop() {
        Some(Step::Send(asked)) => asked,
        _ => unreachable!("a target without line breaks is a request"),
    }
}

fn is_batch(asked: &Asked) -> bool {
    asked.method == Method::POST
}

/// Nobody does what he may not.
fn check_rights(sender: &str, method: &Method, is_batch: bool, told: &Told) {
    // A batch proves nothing itself: each of its parts does.
    if !told.status.is_success() || is_batch {
        return;
    }
    let may = |letters: &str, needed: &str| letters.chars().any(|letter| needed.contains(letter));
    if sender == "none" {
        // Only with a SAS of his own, of which scripts may hold one.
        return;
    }
    if let Some(letters) = sender.strip_prefix("sas:") {
        let needed = match *method {
            Method::GET | Method::HEAD => "rl",
            Method::PUT => "cw",
            Method::DELETE => "d",
            _ => "",
        };
        assert!(may(letters, needed), "{method} with {letters:?}: {}", told.status);
    }
}

fn check_answer(method: &Method, told: &Told) {
    let length = told.headers.get("content-length").map(|length| length.to_str().unwrap_or_default());
    if *method == Method::GET
        && told.status.is_success()
        && let Some(length) = length
    {
        assert_eq!(length.parse(), Ok(told.body.len()), "{}", told.status);
    }
    if told.status.is_client_error() {
        let error = BlobErrorBody::read(&told.headers, &told.body).expect("an error has a code");
        assert!(!error.code.is_empty());
        let _ = error.text();
    }
    let is_xml = told.headers.get("content-type").is_some_and(|kind| kind == "application/xml");
    if is_xml && told.body.starts_with(b"<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>") {
        BlockList::read(&told.body).expect("a list of blocks is read back");
    }
}
