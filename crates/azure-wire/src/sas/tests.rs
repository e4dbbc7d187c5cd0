use super::*;
use crate::time::parse_iso;
use http::Method;
use proptest::prelude::*;
use std::net::IpAddr;

fn key() -> SharedKey {
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    SharedKey::new("devstoreaccount1", &Secret::new(key)).unwrap()
}

fn at(text: &str) -> Timestamp {
    parse_iso(text).unwrap()
}

/// Returns a request in the middle of 2026, over plain HTTP from the loopback address.
fn request<'a>(container: &'a str, blob: &'a str, action: Action) -> SasRequest<'a> {
    let from = IpAddr::from([127, 0, 0, 1]);
    SasRequest { container, blob, action, now: at("2026-07-01"), https: false, from }
}

#[test]
fn the_worked_example_is_issued_and_accepted() {
    let grant = Grant::to_blob("c1", "dir a/b.txt", Permissions::READ, at("2027-01-01"));
    let sas = grant.sign(&key());
    assert_eq!(
        sas.expose(),
        "sv=2025-01-05&se=2027-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=U503%2F4gRTg6dwxVXArhu0ZxnOdIHu8kCfPEWtaIHI3U%3D"
    );
    assert!(is_present(sas.expose()));
    let rights = verify(&key(), sas.expose(), &request("c1", "dir a/b.txt", Action::ReadBlob)).unwrap();
    assert!(!rights.allow(Action::ReplaceBlob));
    assert_eq!(url_with("http://h/c1", &sas).expose(), format!("http://h/c1?{}", sas.expose()));
    assert!(url_with("http://h/c1?a=1", &sas).expose().starts_with("http://h/c1?a=1&sv="));
}

/// Returns a SAS signed by hand, following the protocol notes: `fields` are the query parameters, `lines` the
/// text to sign, with `{r}` for the resource.
fn by_hand(fields: &str, lines: &str, resource: &str) -> String {
    let signature = key().sign(&lines.replace("{r}", resource));
    format!("{fields}&sig={}", crate::uri::encode(&signature))
}

/// Expiry of the SAS in these tests.
const SE: &str = "2027-01-01T00:00:00Z";
const CONTAINER: &str = "/blob/devstoreaccount1/c1";

fn service(sp: &str, sr: &str, resource: &str) -> String {
    let fields = format!("sv=2025-01-05&se={SE}&sp={sp}&sr={sr}");
    by_hand(&fields, &format!("{sp}\n\n{SE}\n{{r}}\n\n\n\n2025-01-05\n{sr}\n\n\n\n\n\n\n"), resource)
}

fn account(sp: &str, ss: &str, srt: &str) -> String {
    let fields = format!("sv=2025-01-05&ss={ss}&srt={srt}&sp={sp}&se={SE}");
    by_hand(&fields, &format!("devstoreaccount1\n{sp}\n{ss}\n{srt}\n\n{SE}\n\n\n2025-01-05\n\n"), "")
}

/// Returns the code of the error, or `ok`.
fn outcome(query: &str, request: &SasRequest<'_>) -> String {
    match verify(&key(), query, request) {
        Ok(_) => "ok".into(),
        Err(error) => error.code().into(),
    }
}

#[test]
fn permissions_decide_what_a_valid_sas_allows() {
    use Action::*;
    let mismatch = "AuthorizationPermissionMismatch";
    for (sp, sr, action, expected) in [
        ("r", "c", ReadBlob, "ok"),
        ("r", "c", ListBlobs, mismatch),
        ("l", "c", ListBlobs, "ok"),
        ("l", "c", ReadBlob, mismatch),
        ("rl", "c", ReadBlob, "ok"),
        ("rl", "c", CreateBlob, mismatch),
        ("rw", "c", CreateBlob, "ok"),
        ("rw", "c", ReplaceBlob, "ok"),
        ("rw", "c", ListBlobs, mismatch),
        ("rw", "c", DeleteBlob, mismatch),
        ("rwcl", "c", WriteBlob, "ok"),
        ("rwcl", "c", ListBlobs, "ok"),
        ("c", "c", CreateBlob, "ok"),
        ("c", "c", ReplaceBlob, mismatch),
        ("c", "c", WriteBlob, mismatch),
        ("a", "c", AppendBlock, "ok"),
        ("a", "c", WriteBlob, mismatch),
        ("d", "c", DeleteBlob, "ok"),
        ("d", "c", DeleteVersion, mismatch),
        ("x", "c", DeleteVersion, "ok"),
        ("t", "c", TagBlob, "ok"),
        ("rwd", "c", TagBlob, mismatch),
        ("f", "c", FindBlobs, "ok"),
        ("d", "c", LeaseBlob, "ok"),
        ("r", "c", LeaseBlob, mismatch),
        ("racwdxyltfmei", "c", CreateContainer, "AuthorizationFailure"),
        ("racwdxyltfmei", "c", DeleteContainer, "AuthorizationFailure"),
        ("racwdxyltfmei", "c", ReadContainer, "AuthorizationFailure"),
        ("racwdxyltfmei", "c", ListContainers, "AuthorizationFailure"),
        ("q", "c", ReadBlob, mismatch),
        ("r", "b", ReadBlob, "ok"),
        ("w", "b", ReplaceBlob, "ok"),
        ("r", "b", WriteBlob, mismatch),
    ] {
        let resource = if sr == "b" { format!("{CONTAINER}/b") } else { CONTAINER.into() };
        let found = outcome(&service(sp, sr, &resource), &request("c1", "b", action));
        assert_eq!(found, expected, "sp={sp} sr={sr} {action:?}");
    }
}

#[test]
fn an_account_sas_is_limited_to_services_and_resource_types() {
    use Action::*;
    let kind = "AuthorizationResourceTypeMismatch";
    for (sp, ss, srt, action, expected) in [
        ("r", "b", "o", ReadBlob, "ok"),
        ("r", "bfqt", "sco", ReadBlob, "ok"),
        ("r", "f", "o", ReadBlob, "AuthorizationServiceMismatch"),
        ("r", "b", "c", ReadBlob, kind),
        ("l", "b", "c", ListBlobs, "ok"),
        ("l", "b", "o", ListBlobs, kind),
        ("l", "b", "s", ListContainers, "ok"),
        ("l", "b", "co", ListContainers, kind),
        ("c", "b", "c", CreateContainer, "ok"),
        ("r", "b", "c", CreateContainer, "AuthorizationPermissionMismatch"),
        ("d", "b", "c", DeleteContainer, "ok"),
        ("r", "b", "c", ReadContainer, "ok"),
    ] {
        let found = outcome(&account(sp, ss, srt), &request("c1", "b", action));
        assert_eq!(found, expected, "sp={sp} ss={ss} srt={srt} {action:?}");
    }
}

#[test]
fn an_account_sas_signs_no_response_headers_and_a_service_sas_rejects_unsigned_ones() {
    let request = request("c1", "b", Action::ReadBlob);
    for name in ["rscc", "rscd", "rsce", "rscl", "rsct"] {
        let appended = |sas: &str| format!("{sas}&{name}=text/html");
        let of_account = account("r", "b", "o");
        for query in [of_account.clone(), appended(&of_account)] {
            assert!(!verify(&key(), &query, &request).unwrap().sign_response_headers(), "{query}");
        }
        let of_service = service("r", "c", CONTAINER);
        assert!(verify(&key(), &of_service, &request).unwrap().sign_response_headers());
        assert_eq!(outcome(&appended(&of_service), &request), "AuthenticationFailed", "{name}");
    }
}

#[test]
fn each_version_signs_its_own_lines() {
    let blob = "/blob/devstoreaccount1/c1/b";
    let full = "rscc=no-cache&rsct=text/plain&ses=scope&sip=127.0.0.1&spr=https,http&st=2026-01-01";
    for (version, middle) in [
        ("2099-12-31", "b\n\nscope\n"),
        ("2020-12-06", "b\n\nscope\n"),
        ("2020-10-02", "b\n\n"),
        ("2018-11-09", "b\n\n"),
        ("2018-03-28", ""),
        ("2015-04-05", ""),
    ] {
        let fields = format!("sv={version}&sp=r&sr=b&se={SE}&{full}");
        let lines = format!(
            "r\n2026-01-01\n{SE}\n{{r}}\n\n127.0.0.1\nhttps,http\n{version}\n{middle}no-cache\n\n\n\ntext/plain"
        );
        let request = request("c1", "b", Action::ReadBlob);
        assert_eq!(outcome(&by_hand(&fields, &lines, blob), &request), "ok", "{version}");
        let other = if middle.is_empty() { "b\n\n" } else { "" };
        let lines = lines.replace(&format!("{version}\n{middle}"), &format!("{version}\n{other}"));
        assert_eq!(outcome(&by_hand(&fields, &lines, blob), &request), "AuthenticationFailed", "{version}");
    }
    for (version, scope) in [("2020-12-06", "scope\n"), ("2020-10-02", "")] {
        let fields = format!("sv={version}&ss=b&srt=o&sp=r&se={SE}&ses=scope");
        let lines = format!("devstoreaccount1\nr\nb\no\n\n{SE}\n\n\n{version}\n{scope}");
        assert_eq!(
            outcome(&by_hand(&fields, &lines, ""), &request("c1", "b", Action::ReadBlob)),
            "ok",
            "{version}"
        );
    }
}

#[test]
fn a_sas_is_valid_for_its_own_resource_only() {
    let failed = "AuthenticationFailed";
    let (one_blob, container) =
        (service("rl", "b", &format!("{CONTAINER}/b")), service("rl", "c", CONTAINER));
    for (sas, container, blob, action, expected) in [
        (&one_blob, "c1", "b", Action::ReadBlob, "ok"),
        (&one_blob, "c1", "other", Action::ReadBlob, failed),
        (&one_blob, "c1", "B", Action::ReadBlob, failed),
        (&one_blob, "c2", "b", Action::ReadBlob, failed),
        (&one_blob, "c1", "", Action::ListBlobs, failed),
        (&container, "c1", "any/of/it", Action::ReadBlob, "ok"),
        (&container, "c1", "", Action::ListBlobs, "ok"),
        (&container, "c2", "b", Action::ReadBlob, failed),
        (&container, "", "", Action::ListContainers, failed),
    ] {
        assert_eq!(
            outcome(sas, &request(container, blob, action)),
            expected,
            "{container}/{blob} {action:?}"
        );
    }
}

#[test]
fn time_protocol_and_address_are_checked() {
    let with = |more: &str, lines: &str| {
        by_hand(
            &format!("sv=2025-01-05&sp=r&sr=c&{more}"),
            &format!("r\n{lines}\n2025-01-05\nc\n\n\n\n\n\n\n"),
            CONTAINER,
        )
    };
    let bounded = with("st=2026-07-01T00:00Z&se=2026-07-02", "2026-07-01T00:00Z\n2026-07-02\n{r}\n\n\n");
    for (now, expected) in [
        ("2026-06-30T23:59:59.9999999Z", "AuthenticationFailed"),
        ("2026-07-01", "ok"),
        ("2026-07-01T23:59:59.9999999Z", "ok"),
        ("2026-07-02", "AuthenticationFailed"),
    ] {
        let request = SasRequest { now: at(now), ..request("c1", "b", Action::ReadBlob) };
        assert_eq!(outcome(&bounded, &request), expected, "{now}");
    }
    let https = with(&format!("se={SE}&spr=https"), &format!("\n{SE}\n{{r}}\n\n\nhttps"));
    let range =
        with(&format!("se={SE}&sip=10.0.0.5-10.0.0.9"), &format!("\n{SE}\n{{r}}\n\n10.0.0.5-10.0.0.9\n"));
    let protocol = "AuthorizationProtocolMismatch";
    let address = "AuthorizationSourceIPMismatch";
    for (sas, tls, from, expected) in [
        (&https, true, "127.0.0.1", "ok"),
        (&https, false, "127.0.0.1", protocol),
        (&range, false, "10.0.0.5", "ok"),
        (&range, false, "10.0.0.9", "ok"),
        (&range, false, "::ffff:10.0.0.7", "ok"),
        (&range, false, "10.0.0.4", address),
        (&range, false, "10.0.0.10", address),
        (&range, false, "::1", address),
    ] {
        let request =
            SasRequest { https: tls, from: from.parse().unwrap(), ..request("c1", "b", Action::ReadBlob) };
        assert_eq!(outcome(sas, &request), expected, "{from}");
    }
}

#[test]
fn malformed_and_unsupported_sas_are_rejected_with_the_parameter() {
    let good = service("r", "c", CONTAINER);
    let detail = |query: &str| {
        let error = verify(&key(), query, &request("c1", "b", Action::ReadBlob)).unwrap_err();
        assert_eq!(error.code(), "AuthenticationFailed");
        error.detail().unwrap()
    };
    let without = |name: &str| {
        let kept = good.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        kept.collect::<Vec<_>>().join("&")
    };
    for name in ["sv", "sp", "se", "sr", "sig"] {
        assert_eq!(detail(&without(name)), format!("{name} is mandatory. Cannot be empty"));
    }
    for (more, expected) in [
        ("&sig=AAAA", "sig appears more than once"),
        ("&sp=rwdl", "sp appears more than once"),
        ("&rscc=a%0Ab", "rscc contains control characters"),
        ("&si=policy", "a stored access policy (si) is not supported by this service"),
        ("&skoid=1", "sktid is mandatory. Cannot be empty"),
    ] {
        assert_eq!(detail(&(good.clone() + more)), expected);
    }
    for (from, to, expected) in [
        ("sv=2025-01-05", "sv=latest", "sv is not a valid version: latest"),
        ("sv=2025-01-05", "sv=2025-13-05", "sv is not a valid version: 2025-13-05"),
        (
            "sv=2025-01-05",
            "sv=2014-02-14",
            "a SAS of a version before 2015-04-05 is not supported by this service",
        ),
        ("sr=c", "sr=q", "sr is not valid: q"),
        ("sr=c", "sr=d", "a directory SAS (sr=d) is not supported by this service"),
    ] {
        assert_eq!(detail(&good.replace(from, to)), expected);
    }
    for changed in ["sp=rw", "se=2028-01-01T00:00:00Z", "spr=https"] {
        let name = changed.split('=').next().unwrap();
        let query = format!("{}&{changed}", without(name));
        assert!(
            detail(&query).starts_with("Signature did not match. String to sign used was r"),
            "{changed}"
        );
    }
    let late = SasRequest { now: at("2027-02-01"), ..request("c1", "b", Action::ReadBlob) };
    assert_eq!(
        verify(&key(), &good, &late).unwrap_err().detail().unwrap(),
        "Signature not valid in the specified time frame: Start [] - Expiry [2027-01-01T00:00:00Z] - \
         Current [2027-02-01T00:00:00.0000000Z]"
    );
}

#[test]
fn the_action_is_derived_from_method_and_query() {
    use Action::*;
    for (method, level, query, expected) in [
        ("GET", Level::Object, "", Some(ReadBlob)),
        ("HEAD", Level::Object, "sv=1&sig=2", Some(ReadBlob)),
        ("GET", Level::Object, "comp=blocklist&blocklisttype=all", Some(ReadBlob)),
        ("PUT", Level::Object, "", Some(CreateBlob)),
        ("PUT", Level::Object, "comp=block&blockid=AA", Some(WriteBlob)),
        ("PUT", Level::Object, "COMP=BlockList", Some(WriteBlob)),
        ("PUT", Level::Object, "comp=metadata", Some(WriteBlob)),
        ("PUT", Level::Object, "comp=appendblock", Some(AppendBlock)),
        ("PUT", Level::Object, "comp=tags", Some(TagBlob)),
        ("DELETE", Level::Object, "", Some(DeleteBlob)),
        ("DELETE", Level::Object, "versionid=1", Some(DeleteVersion)),
        ("DELETE", Level::Object, "comp=block", None),
        ("POST", Level::Object, "", None),
        ("GET", Level::Container, "restype=container&comp=list", Some(ListBlobs)),
        ("GET", Level::Container, "restype=container", Some(ReadContainer)),
        ("PUT", Level::Container, "restype=container", Some(CreateContainer)),
        ("PUT", Level::Container, "restype=container&comp=acl", None),
        ("DELETE", Level::Container, "restype=container", Some(DeleteContainer)),
        ("GET", Level::Service, "comp=list&include=", Some(ListContainers)),
        ("POST", Level::Service, "restype=service&comp=userdelegationkey", None),
    ] {
        let found = Action::from_request(&method.parse::<Method>().unwrap(), level, query);
        assert_eq!(found, expected, "{method} {level:?} {query}");
        assert!(found.is_none_or(|action| action.level() == level));
    }
}

#[test]
fn permissions_are_written_in_the_order_of_the_service() {
    let all = Permissions::parse("iemftlyxdwcar");
    assert_eq!(all.to_string(), "racwdxyltfmei");
    assert_eq!((Permissions::WRITE | Permissions::LIST | Permissions::READ).to_string(), "rwl");
    assert_eq!(Permissions::NONE.to_string(), "");
}

proptest! {
    #[test]
    fn no_query_makes_verification_panic_or_succeed(
        pairs in proptest::collection::vec(("s[vetprsig]{1,2}|r|sip|spr|srt|snapshot", "[0-9a-z%:.ZT/+-]{0,12}"), 0..12),
        version in prop_oneof![Just("2025-01-05"), Just("2018-11-09"), Just("x")],
    ) {
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = format!("{}&sv={version}&sig=AAAA&se={SE}&sp=r&sr=b", query.join("&"));
        prop_assert!(verify(&key(), &query, &request("c1", "b", Action::ReadBlob)).is_err());
    }

    #[test]
    fn an_issued_sas_is_accepted_and_any_change_is_detected(
        container in "[a-z0-9-]{3,20}",
        blob in proptest::option::of("[^\u{0}]{1,20}"),
        letters in "[racwdlt]{1,6}",
        hours in 1_i64..1000,
        at_byte in any::<proptest::sample::Index>(),
    ) {
        let now = at("2026-07-01");
        let grant = Grant {
            container: container.clone(),
            blob: blob.clone(),
            permissions: Permissions::parse(&letters),
            starts: Some(now),
            expires: now + std::time::Duration::from_secs(hours.unsigned_abs() * 3600),
            https_only: true,
        };
        let sas = grant.sign(&key());
        let blob = blob.unwrap_or_else(|| "any".into());
        let action = [Action::ReadBlob, Action::ReplaceBlob, Action::CreateBlob, Action::DeleteBlob, Action::TagBlob,
            Action::AppendBlock, Action::ListBlobs].into_iter().find(|a| grant.permissions.allow_any(a.needs()));
        let action = action.unwrap();
        let request = SasRequest { https: true, ..request(&container, &blob, action) };
        prop_assert!(verify(&key(), sas.expose(), &request).is_ok());

        let mut bytes = sas.expose().as_bytes().to_vec();
        let index = at_byte.index(bytes.len());
        bytes[index] = if bytes[index] == b'x' { b'z' } else { b'x' };
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&key(), &changed, &request).is_err(), "{}", changed);
    }
}
