//! The Blob service: scripts of requests by the account owner, with a SAS, or without authorization.
#![no_main]

use dropmill_azure_wire::{
    blob::{BlobList, BlockList, ContainerList},
    error::BlobErrorBody,
};
use dropmill_fuzz::{
    reply::Reply,
    script::{self, ScriptedRequest, Step},
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
                Step::Send(request) => {
                    let (sender, method, batch) =
                        (request.sender.clone(), request.method.clone(), is_batch(&request));
                    let Some(reply) = world.blob_scripted(request).await else { continue };
                    check_rights(&sender, &method, batch, &reply);
                    check_response(&method, &reply);
                }
            }
        }
        // Afterwards the service still works and can list everything.
        let list = world.blob_scripted(get("?comp=list")).await.expect("a valid request");
        assert!(list.status == 200, "{}", list.status);
        for container in ContainerList::read(&list.body).expect("a list of containers").containers {
            let target = format!("{}?restype=container&comp=list&include=metadata,copy", container.name);
            let list = world.blob_scripted(get(&target)).await.expect("a valid request");
            assert!(list.status == 200, "{target}: {}", list.status);
            for blob in BlobList::read(&list.body).expect("a list of blobs").blobs() {
                let path = dropmill_azure_wire::uri::encode_path(&blob.name);
                let read = world.blob_scripted(get(&format!("{}/{path}", container.name))).await;
                let read = read.expect("a valid request");
                assert!(read.status == 200, "{path}: {}", read.status);
                assert_eq!(read.body.len() as u64, blob.properties.content_length, "{path}");
            }
        }
    });
});

fn get(target: &str) -> ScriptedRequest {
    let mut steps = script::read(format!("GET {target}").as_bytes());
    match steps.pop() {
        Some(Step::Send(request)) => request,
        _ => unreachable!("a target without line breaks is a request"),
    }
}

fn is_batch(request: &ScriptedRequest) -> bool {
    request.method == Method::POST
}

/// Checks that a successful request had the permission for it.
fn check_rights(sender: &str, method: &Method, is_batch: bool, reply: &Reply) {
    // A batch request needs no authorization itself; each of its parts does.
    if !reply.status.is_success() || is_batch {
        return;
    }
    let may = |letters: &str, needed: &str| letters.chars().any(|letter| needed.contains(letter));
    if sender == "none" {
        // The script may contain a SAS of its own.
        return;
    }
    if let Some(letters) = sender.strip_prefix("sas:") {
        let needed = match *method {
            Method::GET | Method::HEAD => "rl",
            Method::PUT => "cw",
            Method::DELETE => "d",
            _ => "",
        };
        assert!(may(letters, needed), "{method} with {letters:?}: {}", reply.status);
    }
}

fn check_response(method: &Method, reply: &Reply) {
    let length = reply.headers.get("content-length").map(|length| length.to_str().unwrap_or_default());
    if *method == Method::GET
        && reply.status.is_success()
        && let Some(length) = length
    {
        assert_eq!(length.parse(), Ok(reply.body.len()), "{}", reply.status);
    }
    if reply.status.is_client_error() {
        let error = BlobErrorBody::read(&reply.headers, &reply.body).expect("an error has a code");
        assert!(!error.code.is_empty());
        let _ = error.text();
    }
    let is_xml = reply.headers.get("content-type").is_some_and(|kind| kind == "application/xml");
    if is_xml && reply.body.starts_with(b"<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>") {
        BlockList::read(&reply.body).expect("a list of blocks is read back");
    }
}
