//! Decides whether a request was meant for this machine, by the host name in it.
//!
//! A web page can use any host name that resolves to 127.0.0.1, and read the responses (DNS rebinding). Its
//! requests contain that name, which is not a name of this machine.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header::HOST},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::net::IpAddr;

/// Responds with 403 to requests for another host than this machine, and with 400 to those that name no host
/// or several.
pub async fn only_this_machine(request: Request, next: Next) -> Response {
    match check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => (status, why).into_response(),
    }
}

fn check(headers: &HeaderMap, target: &Uri) -> Result<(), (StatusCode, &'static str)> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err((StatusCode::BAD_REQUEST, "name one host: Host: 127.0.0.1\n"));
    };
    // A host in the request target overrides the header: both must name this machine.
    let target = target.authority().is_none_or(|host| is_this_machine(host.as_str()));
    match host.to_str().is_ok_and(is_this_machine) && target {
        true => Ok(()),
        false => Err((StatusCode::FORBIDDEN, "only for localhost and loopback addresses\n")),
    }
}

/// Returns whether a host, with or without a port, is `localhost` or a loopback address, written as an address.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => return is_port(port) && is_loopback_v6(address),
            None => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let loopback = name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_port(port) && (loopback || name.eq_ignore_ascii_case("localhost"))
}

fn is_loopback_v6(address: &str) -> bool {
    address
        .parse::<std::net::Ipv6Addr>()
        .is_ok_and(|address| IpAddr::from(address).to_canonical().is_loopback())
}

/// Returns whether a text is empty or a port, such as `:80`.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_and_localhost_are_this_machine() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9464", true),
            ("127.9.8.7:1", true),
            ("[::1]", true),
            ("[::1]:9464", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("localhost", true),
            ("LocalHost:9464", true),
            ("", false),
            (":80", false),
            ("127.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1:80.evil.example", false),
            ("localhost.evil.example", false),
            ("evil.example", false),
            ("evil.example:9464", false),
            ("user@127.0.0.1", false),
            ("127.1", false),
            ("0x7f.0.0.1", false),
            ("2130706433", false),
            ("0.0.0.0", false),
            ("192.0.2.1", false),
            ("[::]", false),
            ("[::1", false),
            ("::1", false),
            ("[::1]evil", false),
            ("[fe80::1]:80", false),
            ("127.0.0.1:", false),
            ("127.0.0.1:99999", false),
            ("127.0.0.1 evil.example", false),
        ] {
            assert_eq!(is_this_machine(host), expected, "{host:?}");
        }
    }

    #[test]
    fn a_request_names_one_host_and_its_target_no_other() {
        let table: [(&[&str], &str, Option<u16>); 8] = [
            (&["127.0.0.1:1"], "/health", None),
            (&["localhost"], "http://127.0.0.1:1/health", None),
            (&[], "/health", Some(400)),
            (&["127.0.0.1", "127.0.0.1"], "/health", Some(400)),
            (&["127.0.0.1", "evil.example"], "/health", Some(400)),
            (&["evil.example"], "/health", Some(403)),
            (&["127.0.0.1"], "http://evil.example/health", Some(403)),
            (&["\u{e9}"], "/health", Some(403)),
        ];
        for (hosts, target, expected) in table {
            let mut headers = HeaderMap::new();
            for host in hosts {
                let value = axum::http::HeaderValue::from_bytes(host.as_bytes());
                headers.append(HOST, value.expect("these bytes may stand in a header"));
            }
            let target: Uri = target.parse().expect("it is a target");
            let refused = check(&headers, &target).err().map(|(status, _)| status.as_u16());
            assert_eq!(refused, expected, "{hosts:?} {target}");
        }
    }
}
