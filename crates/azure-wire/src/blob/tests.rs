use super::*;
use crate::{etag::ETag, secret::Secret, time::parse_iso};
use http::HeaderMap;
use proptest::prelude::*;

fn properties() -> BlobProperties {
    let time = parse_iso("2026-03-02T10:11:12Z").unwrap();
    BlobProperties {
        creation_time: Some(time),
        content_type: Some("text/plain; charset=utf-8".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("en".into()),
        content_md5: Some("1B2M2Y8AsgTpgAmY7PhCfg==".into()),
        content_disposition: Some("attachment".into()),
        cache_control: Some("no-cache".into()),
        access_tier: Some("Hot".into()),
        access_tier_inferred: true,
        access_tier_change_time: Some(time),
        lease_status: Some("locked".into()),
        lease_state: Some("leased".into()),
        lease_duration: Some("fixed".into()),
        server_encrypted: true,
        copy: Some(CopyProperties {
            id: "1".into(),
            status: "success".into(),
            source: Some(Secret::new("http://h/c/b?sig=S3&x=1")),
            progress: Some("5/5".into()),
            completion_time: Some(time),
            status_description: None,
        }),
        ..BlobProperties::new(ETag::new("0x8D1"), time, 5)
    }
}

fn blob(name: &str) -> Entry {
    let metadata = Some(Metadata::from([("a_1".into(), "<&>".into()), ("b".into(), String::new())]));
    BlobItem {
        name: name.into(),
        properties: properties(),
        metadata,
        tags: Some(Tags::from([("k".into(), "v".into())])),
    }
    .into()
}

#[test]
fn a_list_of_blobs_and_prefixes_is_read_back_as_written() {
    let list = BlobList {
        service_endpoint: "http://127.0.0.1:1/devstoreaccount1/".into(),
        container: "c1".into(),
        prefix: Some("dir a/".into()),
        marker: None,
        max_results: Some(4),
        delimiter: Some("/".into()),
        entries: vec![
            blob("dir a/1"),
            Entry::Prefix("dir a/2/".into()),
            blob("dir a/ <&>\"'\r\n\t 3 "),
            Entry::Prefix("dir a/\u{1}\u{ffff}/".into()),
            blob("dir a/100%\u{0}"),
            blob("dir a/😀%41"),
        ],
        next_marker: Some("2!4&".into()),
    };
    let body = list.write();
    assert_eq!(BlobList::read(body.as_bytes()).unwrap(), list);
    assert!(body.contains("<Name>dir a/1</Name>"));
    for encoded in ["dir%20a/100%25%00", "dir%20a/%01%EF%BF%BF/"] {
        assert!(body.contains(&format!("<Name Encoded=\"true\">{encoded}</Name>")), "{encoded}");
    }
    assert!(!format!("{list:?}").contains("S3"));
}

#[test]
fn a_documented_list_is_read() {
    let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>
<EnumerationResults ServiceEndpoint=\"https://a.blob.core.windows.net/\" ContainerName=\"mycontainer\">
  <Prefix>b</Prefix>
  <MaxResults>3</MaxResults>
  <Delimiter>/</Delimiter>
  <Blobs>
    <Blob>
      <Name>blob1.txt</Name>
      <Snapshot>2011-03-01T02:43:02.1570000Z</Snapshot>
      <Properties>
        <Last-Modified>Wed, 09 Sep 2009 09:20:02 GMT</Last-Modified>
        <Etag>0x8CBFF45D8A29A19</Etag>
        <Content-Length>100</Content-Length>
        <Content-Type>text/html</Content-Type>
        <Content-Encoding />
        <Content-MD5 />
        <BlobType>BlockBlob</BlobType>
        <NewProperty>1</NewProperty>
      </Properties>
      <Metadata><Color>blue</Color></Metadata>
    </Blob>
    <BlobPrefix><Name>myfolder/</Name></BlobPrefix>
    <Blob>
      <Name Encoded=\"true\">blob%EF%BF%BE.txt</Name>
      <Properties>
        <Last-Modified>Wed, 09 Sep 2009 09:20:03 GMT</Last-Modified>
        <Etag>\"0x8CBFF45D8B4C212\"</Etag>
        <Content-Length>0</Content-Length>
        <BlobType>AppendBlob</BlobType>
      </Properties>
    </Blob>
  </Blobs>
  <NextMarker />
</EnumerationResults>";
    let list = BlobList::read(body.as_bytes()).unwrap();
    assert_eq!(
        (list.container.as_str(), list.max_results, &list.next_marker),
        ("mycontainer", Some(3), &None)
    );
    let blobs: Vec<&BlobItem> = list.blobs().collect();
    assert_eq!(
        blobs.iter().map(|blob| blob.name.as_str()).collect::<Vec<_>>(),
        ["blob1.txt", "blob\u{fffe}.txt"]
    );
    assert_eq!(list.entries[1], Entry::Prefix("myfolder/".into()));
    assert_eq!(blobs[0].properties.content_type.as_deref(), Some("text/html"));
    assert_eq!(blobs[0].properties.content_md5, None);
    assert_eq!(blobs[0].metadata, Some(Metadata::from([("Color".into(), "blue".into())])));
    assert_eq!(blobs[1].properties.etag, ETag::new("0x8CBFF45D8B4C212"));
    assert_eq!(blobs[1].properties.blob_type, BlobType::Append);
}

#[test]
fn a_list_without_required_elements_is_rejected() {
    let blank = |tag: &str| {
        format!(
            "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties>\
             <Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>{tag}</Etag>\
             </Properties></Blob></Blobs></EnumerationResults>"
        )
    };
    assert!(BlobList::read(blank("0x1").as_bytes()).is_ok());
    for (body, reason) in [
        ("<EnumerationResults/>", "<Blobs> is missing"),
        ("<EnumerationResults><Blobs><BlobPrefix/></Blobs></EnumerationResults>", "an entry has no <Name>"),
        (
            "<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs></EnumerationResults>",
            "a blob has no Etag or Last-Modified",
        ),
        ("<html/>", "the root element is <html>"),
        // A blank tag could not be written again, so it is rejected.
        (&blank("\t\t"), "a blob has no Etag or Last-Modified"),
        (&blank("\"\""), "a blob has no Etag or Last-Modified"),
        (&blank("W/\" \""), "a blob has no Etag or Last-Modified"),
    ] {
        assert_eq!(BlobList::read(body.as_bytes()).unwrap_err().reason, reason);
    }
}

#[test]
fn a_list_of_containers_is_read_back_as_written() {
    let container = |name: &str, metadata| ContainerItem {
        name: name.into(),
        last_modified: parse_iso("2026-03-02T10:11:12Z").unwrap(),
        etag: ETag::new("0x8D1"),
        lease_status: Some("locked".into()),
        lease_state: Some("leased".into()),
        lease_duration: Some("infinite".into()),
        metadata,
    };
    let list = ContainerList {
        service_endpoint: "http://127.0.0.1:1/a/".into(),
        prefix: Some("c".into()),
        marker: Some("m".into()),
        max_results: Some(2),
        containers: vec![
            container("c1", None),
            container("c2", Some(Metadata::from([("k".into(), "v".into())]))),
        ],
        next_marker: Some("c3".into()),
    };
    assert_eq!(ContainerList::read(list.write().as_bytes()).unwrap(), list);
    let none = ContainerList::default();
    assert!(
        none.write().contains("<Containers></Containers><NextMarker />"),
        "clients need <Containers> even if it is empty"
    );
    assert_eq!(ContainerList::read(none.write().as_bytes()).unwrap(), none);
}

#[test]
fn a_block_list_keeps_order_and_sources() {
    let body = "<?xml version=\"1.0\"?><BlockList><Latest>AAAA</Latest><Committed>BBBB</Committed>\n\
                <Latest>CCCC</Latest><Uncommitted>DDDD</Uncommitted></BlockList>";
    let choices = read_block_choices(body.as_bytes()).unwrap();
    let found: Vec<_> = choices.iter().map(|choice| (choice.source, choice.id.as_str())).collect();
    use BlockSource::*;
    assert_eq!(found, [(Latest, "AAAA"), (Committed, "BBBB"), (Latest, "CCCC"), (Uncommitted, "DDDD")]);
    assert_eq!(read_block_choices(write_block_choices([]).as_bytes()), Ok(vec![]));
    let ours = read_block_choices(write_block_choices(["AA==", "AB=="]).as_bytes()).unwrap();
    assert_eq!(ours[1], BlockChoice { source: Latest, id: "AB==".into() });
    assert!(read_block_choices(b"<BlockList><Oldest>AA==</Oldest></BlockList>").is_err());
    assert!(read_block_choices(b"<BlockList><Latest>AA==<Latest/></Latest></BlockList>").is_err());
    // Parsing stops at the first unexpected element and at the first block above the limit.
    let unread = "<<<".repeat(9);
    let error = read_block_choices(format!("<BlockList><a/>{unread}").as_bytes()).unwrap_err();
    assert_eq!(error.reason, "<a> is not a block list");
    let many = format!("<BlockList>{}{unread}", "<Latest/>".repeat(limit::BLOCKS + 1));
    assert_eq!(read_block_choices(many.as_bytes()).unwrap().len(), limit::BLOCKS + 1);

    let block = |id: &str, size_bytes| Block { id: id.into(), size_bytes };
    for list in [
        BlockList {
            committed: Some(vec![block("AA==", 4 << 20), block("AB==", 1)]),
            uncommitted: Some(vec![]),
        },
        BlockList { committed: None, uncommitted: Some(vec![block("AA==", 0)]) },
    ] {
        assert_eq!(BlockList::read(list.write().as_bytes()).unwrap(), list);
    }
}

#[test]
fn properties_are_read_back_from_headers() {
    let mut headers = HeaderMap::new();
    properties().put_headers(&mut headers, false);
    assert_eq!(headers["etag"], "\"0x8D1\"");
    assert_eq!(BlobProperties::from_headers(&headers), None, "a response without a length");
    headers.insert("content-length", 5.into());
    assert_eq!(BlobProperties::from_headers(&headers), Some(properties()));

    let mut headers = HeaderMap::new();
    properties().put_headers(&mut headers, true);
    headers.insert("content-length", 2.into());
    headers.insert("content-range", "bytes 1-2/5".parse().unwrap());
    headers.insert("content-md5", "of the range".parse().unwrap());
    assert_eq!(BlobProperties::from_headers(&headers), Some(properties()));
}

#[test]
fn metadata_is_read_back_from_headers() {
    let metadata = Metadata::from([("a_b".into(), "ä".into()), ("c".into(), String::new())]);
    let mut headers = HeaderMap::new();
    put_metadata(&metadata, &mut headers);
    headers.insert("x-ms-version", "1".parse().unwrap());
    assert_eq!(metadata_from_headers(&headers), metadata);
}

#[test]
fn names_are_validated_as_by_the_service() {
    for name in ["abc", "a-b-c", "0-9", &"a".repeat(63), "$root"] {
        assert!(is_valid_container_name(name), "{name}");
    }
    for name in ["ab", "a--b", "-ab", "ab-", "Abc", "a_b", "a.b", "$other", &"a".repeat(64)] {
        assert!(!is_valid_container_name(name), "{name}");
    }
    assert!(
        is_valid_blob_name(&"😀".repeat(512))
            && !is_valid_blob_name(&"😀".repeat(513))
            && !is_valid_blob_name("")
    );
    assert!(is_valid_metadata_name("_a1") && !is_valid_metadata_name("1a") && !is_valid_metadata_name("a-b"));
    assert!(!is_valid_metadata_name(""));
}

proptest! {
    #[test]
    fn every_name_and_marker_survives_a_list(names in proptest::collection::vec(any::<String>(), 0..6)) {
        let entries = names.iter().enumerate().map(|(n, name)| match n % 2 {
            0 => blob(name),
            _ => Entry::Prefix(name.clone()),
        });
        let list = BlobList { entries: entries.collect(), ..Default::default() };
        prop_assert_eq!(BlobList::read(list.write().as_bytes()).unwrap(), list);
    }
}
