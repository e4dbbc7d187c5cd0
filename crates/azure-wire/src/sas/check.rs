//! Verification of a SAS against the request that carries it.

use super::{Action, DelegationKey, Level, Permissions};
use crate::{
    secret::Secret,
    sign::SharedKey,
    time::{Timestamp, iso, parse_iso},
    uri,
};
use std::net::{IpAddr, Ipv4Addr};

/// Oldest accepted `sv`: the first version with account SAS, `sip` and `spr`.
const OLDEST: &str = "2015-04-05";
/// First version that signs `sr` and the snapshot.
const SIGNS_KIND: &str = "2018-11-09";
/// First version that signs the encryption scope.
const SIGNS_SCOPE: &str = "2020-12-06";

/// First version whose user delegation SAS signs the users it was issued for.
const SIGNS_USERS: &str = "2020-02-10";

/// What a request wants to do, and how it arrived.
#[derive(Debug, Clone, Copy)]
pub struct SasRequest<'a> {
    /// Container in the path; empty if the path names none.
    pub container: &'a str,
    /// Blob in the path, decoded; empty if the path names none.
    pub blob: &'a str,
    /// Operation that the request performs.
    pub action: Action,
    /// Current time of the service.
    pub now: Timestamp,
    /// `true` if the request arrived over HTTPS.
    pub https: bool,
    /// Address of the client; the loopback address for a call within the process.
    pub from: IpAddr,
}

/// The permissions of a valid SAS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    permissions: Permissions,
    /// `false` for an account SAS: it does not sign response headers, so anyone could add them to the URL.
    signs_response_headers: bool,
}

impl Rights {
    /// Returns `true` if the SAS also allows another action on the same resource, such as
    /// [`Action::ReplaceBlob`].
    pub fn allow(&self, action: Action) -> bool {
        self.permissions.allow_any(action.needs())
    }

    /// Returns `true` if the SAS signs the headers that override those of the response: `rscc`, `rscd`,
    /// `rsce`, `rscl`, `rsct`.
    pub fn sign_response_headers(&self) -> bool {
        self.signs_response_headers
    }
}

/// Returns `true` if a query contains a SAS, that is a `sig` parameter.
pub fn is_present(query: &str) -> bool {
    query.split('&').any(|pair| pair.starts_with("sig="))
}

/// Checks that the SAS in a query allows what the request wants to do.
///
/// # Errors
/// Fails if the SAS is invalid or does not allow the request; [`AuthError`] is the reason.
pub fn verify(key: &SharedKey, query: &str, request: &SasRequest<'_>) -> Result<Rights, AuthError> {
    let fields = Fields::read(query)?;
    let version = fields.version()?;
    let delegated = fields.has("skoid");
    let account_wide = fields.has("ss") || fields.has("srt");
    if fields.has("si") {
        return Err(AuthError::NotSupported { what: "a stored access policy (si)" });
    }
    fields.required(if account_wide { &["ss", "srt", "sp", "se"] } else { &["sr", "sp", "se"] })?;
    if account_wide && delegated {
        return Err(AuthError::Malformed {
            detail: "expected an account SAS or a user delegation SAS, found fields of both".into(),
        });
    }
    if delegated {
        fields.check_delegated(key, version, request)?;
    } else {
        let text = if account_wide {
            fields.account_string_to_sign(key.account(), version)
        } else {
            fields.service_string_to_sign(key.account(), version, request)?
        };
        if !key.is_signature_of(&text, fields.get("sig")) {
            return Err(AuthError::WrongSignature { signed: text.into() });
        }
    }
    fields.check_time("st", "se", request.now)?;
    fields.check_origin(request)?;
    if account_wide {
        fields.check_account_scope(request.action)?;
    } else if !request.action.is_within_container() {
        return Err(AuthError::BeyondContainer);
    }
    let rights =
        Rights { permissions: Permissions::parse(fields.get("sp")), signs_response_headers: !account_wide };
    if rights.allow(request.action) { Ok(rights) } else { Err(AuthError::Permission) }
}

/// Query parameters that are part of a SAS or signed by one.
const NAMES: &[&str] = &[
    "sv",
    "ss",
    "srt",
    "sr",
    "sp",
    "st",
    "se",
    "si",
    "sip",
    "spr",
    "ses",
    "sdd",
    "skoid",
    "sktid",
    "skt",
    "ske",
    "sks",
    "skv",
    "skdutid",
    "sduoid",
    "srh",
    "srq",
    "saoid",
    "suoid",
    "scid",
    "rscc",
    "rscd",
    "rsce",
    "rscl",
    "rsct",
    "snapshot",
    "versionid",
    "sig",
];

/// The SAS parameters of a query, as pairs of name and decoded value.
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn read(query: &str) -> Result<Self, AuthError> {
        let mut fields: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in uri::pairs(query) {
            let Some(name) = NAMES.iter().find(|known| **known == name) else { continue };
            if fields.iter().any(|(read, _)| read == name) {
                return Err(AuthError::Malformed { detail: format!("{name} appears more than once") });
            }
            // Values are signed one per line: a line break within a value could be taken for the next line.
            if value.contains(char::is_control) {
                return Err(AuthError::Malformed { detail: format!("{name} contains control characters") });
            }
            fields.push((name, value.into_owned()));
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(read, _)| *read == name).map_or("", |(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    fn required(&self, names: &[&str]) -> Result<(), AuthError> {
        match names.iter().chain(&["sig"]).find(|name| !self.has(name)) {
            Some(name) => {
                Err(AuthError::Malformed { detail: format!("{name} is mandatory. Cannot be empty") })
            }
            None => Ok(()),
        }
    }

    /// Returns the version of the SAS, which is a date. Versions newer than the newest known one follow its
    /// rules.
    fn version(&self) -> Result<&str, AuthError> {
        self.required(&["sv"])?;
        let version = self.get("sv");
        if version.len() != OLDEST.len() || parse_iso(version).is_none() {
            return Err(AuthError::Malformed { detail: format!("sv is not a valid version: {version}") });
        }
        if version < OLDEST {
            return Err(AuthError::NotSupported { what: "a SAS of a version before 2015-04-05" });
        }
        Ok(version)
    }

    fn service_string_to_sign(
        &self,
        account: &str,
        version: &str,
        request: &SasRequest<'_>,
    ) -> Result<String, AuthError> {
        let (fields, resource) = self.service_fields(account, version, request)?;
        Ok(fields.string_to_sign(&resource))
    }

    /// Returns the fields that a SAS of a container or blob signs, and the canonical name of that resource.
    fn service_fields<'a>(
        &'a self,
        account: &str,
        version: &'a str,
        request: &SasRequest<'_>,
    ) -> Result<(ServiceFields<'a>, String), AuthError> {
        let (blob, snapshot) = match self.get("sr") {
            "c" => (None, ""),
            "b" => (Some(request.blob), ""),
            "bs" => (Some(request.blob), self.get("snapshot")),
            "bv" => (Some(request.blob), self.get("versionid")),
            "d" => return Err(AuthError::NotSupported { what: "a directory SAS (sr=d)" }),
            other => return Err(AuthError::Malformed { detail: format!("sr is not valid: {other}") }),
        };
        let fields = ServiceFields {
            permissions: self.get("sp"),
            starts: self.get("st"),
            expires: self.get("se"),
            addresses: self.get("sip"),
            protocol: self.get("spr"),
            version,
            kind: self.get("sr"),
            snapshot,
            scope: self.get("ses"),
            response_headers: ["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| self.get(name)),
        };
        Ok((fields, resource(account, request.container, blob)))
    }

    /// Checks that the SAS is signed with a user delegation key of this service that is valid now.
    fn check_delegated(
        &self,
        owner: &SharedKey,
        version: &str,
        request: &SasRequest<'_>,
    ) -> Result<(), AuthError> {
        if version < SIGNS_KIND {
            return Err(AuthError::NotSupported {
                what: "a user delegation SAS of a version before 2018-11-09",
            });
        }
        for (name, what) in [
            ("suoid", "a user delegation SAS that names an unauthorized user (suoid)"),
            ("skdutid", "a user delegation SAS bound to a second user (skdutid)"),
            ("sduoid", "a user delegation SAS bound to a second user (sduoid)"),
            ("srh", "a SAS bound to headers of the request (srh)"),
            ("srq", "a SAS bound to the query of the request (srq)"),
        ] {
            if self.has(name) {
                return Err(AuthError::NotSupported { what });
            }
        }
        self.required(&["skoid", "sktid", "skt", "ske", "sks", "skv"])?;
        let time = |name: &str| {
            let text = self.get(name);
            parse_iso(text)
                .ok_or_else(|| AuthError::Malformed { detail: format!("{name} is not a valid time: {text}") })
        };
        let text = |name: &str| self.get(name).to_owned();
        let key = DelegationKey {
            object: text("skoid"),
            tenant: text("sktid"),
            starts: time("skt")?,
            expires: time("ske")?,
            service: text("sks"),
            version: text("skv"),
        };
        let Ok(key) = key.key(owner) else { return Err(AuthError::WrongSignature { signed: "".into() }) };
        let (fields, resource) = self.service_fields(owner.account(), version, request)?;
        let delegation = Delegation {
            key: ["skoid", "sktid", "skt", "ske", "sks", "skv"].map(|name| self.get(name)),
            users: ["saoid", "suoid", "scid"].map(|name| self.get(name)),
        };
        let texts = fields.delegated_strings_to_sign(&resource, &delegation);
        if !texts.iter().any(|text| key.is_signature_of(text, self.get("sig"))) {
            let [first, ..] = texts;
            return Err(AuthError::WrongSignature { signed: first.into() });
        }
        if self.get("sks") != "b" {
            return Err(AuthError::Service);
        }
        self.check_time("skt", "ske", request.now)
    }

    fn account_string_to_sign(&self, account: &str, version: &str) -> String {
        let mut lines = vec![account];
        lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(|name| self.get(name)));
        if version >= SIGNS_SCOPE {
            lines.push(self.get("ses"));
        }
        lines.join("\n") + "\n"
    }

    fn check_time(&self, from: &str, until: &str, now: Timestamp) -> Result<(), AuthError> {
        let time = |name: &str| match self.get(name) {
            "" => Ok(None),
            text => match parse_iso(text) {
                Some(time) => Ok(Some(time)),
                None => Err(AuthError::Malformed { detail: format!("{name} is not a valid time: {text}") }),
            },
        };
        let (starts, expires) = (time(from)?, time(until)?);
        if starts.is_some_and(|starts| now < starts) || expires.is_none_or(|expires| now >= expires) {
            let (starts, expires) = (self.get(from).into(), self.get(until).into());
            return Err(AuthError::OutsideTime { starts, expires, now });
        }
        Ok(())
    }

    /// Checks the protocol and the address that the request came from.
    fn check_origin(&self, request: &SasRequest<'_>) -> Result<(), AuthError> {
        match self.get("spr") {
            "" | "https,http" | "http,https" => {}
            "https" if request.https => {}
            "https" => return Err(AuthError::Protocol),
            other => return Err(AuthError::Malformed { detail: format!("spr is not valid: {other}") }),
        }
        let addresses = self.get("sip");
        if addresses.is_empty() {
            return Ok(());
        }
        let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
        let (Ok(first), Ok(last)) = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) else {
            return Err(AuthError::Malformed { detail: format!("sip is not valid: {addresses}") });
        };
        match request.from.to_canonical() {
            IpAddr::V4(from) if (first..=last).contains(&from) => Ok(()),
            from => Err(AuthError::Address { from }),
        }
    }

    fn check_account_scope(&self, action: Action) -> Result<(), AuthError> {
        if !self.get("ss").contains('b') {
            return Err(AuthError::Service);
        }
        let letter = match action.level() {
            Level::Service => 's',
            Level::Container => 'c',
            Level::Object => 'o',
        };
        if self.get("srt").contains(letter) { Ok(()) } else { Err(AuthError::ResourceType) }
    }
}

/// The fields that a service SAS signs besides its resource, unparsed because they are signed as written.
#[derive(Default)]
pub(super) struct ServiceFields<'a> {
    pub permissions: &'a str,
    pub starts: &'a str,
    pub expires: &'a str,
    pub addresses: &'a str,
    pub protocol: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub snapshot: &'a str,
    pub scope: &'a str,
    /// Overrides of the response headers Cache-Control, Content-Disposition, -Encoding, -Language and -Type.
    pub response_headers: [&'a str; 5],
}

impl ServiceFields<'_> {
    pub fn string_to_sign(&self, resource: &str) -> String {
        let policy = "";
        let mut lines = vec![self.permissions, self.starts, self.expires, resource, policy];
        lines.extend([self.addresses, self.protocol, self.version]);
        if self.version >= SIGNS_KIND {
            lines.extend([self.kind, self.snapshot]);
        }
        if self.version >= SIGNS_SCOPE {
            lines.push(self.scope);
        }
        lines.extend(self.response_headers);
        lines.join("\n")
    }
}

/// The additional fields that a user delegation SAS signs.
struct Delegation<'a> {
    /// User, tenant, start, expiry, service and version of the key.
    key: [&'a str; 6],
    /// Users that the SAS was issued for, and the correlation id for logs.
    users: [&'a str; 3],
}

impl ServiceFields<'_> {
    /// Returns the texts that clients are known to sign, newest format first. Each format adds lines to the
    /// older one, and Azure does not document which protocol version introduced them. The added lines are
    /// empty here, because a SAS that fills them is rejected earlier. Formats differ in their number of
    /// lines, so two of them never produce the same text.
    fn delegated_strings_to_sign(&self, resource: &str, delegation: &Delegation<'_>) -> [String; 3] {
        [(true, true), (true, false), (false, false)].map(|(second_user, request)| {
            let mut lines = vec![self.permissions, self.starts, self.expires, resource];
            lines.extend(delegation.key);
            if self.version >= SIGNS_USERS {
                lines.extend(delegation.users);
            }
            if second_user {
                lines.extend(["", ""]);
            }
            lines.extend([self.addresses, self.protocol, self.version, self.kind, self.snapshot]);
            if self.version >= SIGNS_SCOPE {
                lines.push(self.scope);
            }
            if request {
                lines.extend(["", ""]);
            }
            lines.extend(self.response_headers);
            lines.join("\n")
        })
    }
}

/// Returns the canonical name of a container, or of a blob in it, without percent-encoding.
pub(super) fn resource(account: &str, container: &str, blob: Option<&str>) -> String {
    match blob {
        Some(blob) => format!("/blob/{account}/{container}/{blob}"),
        None => format!("/blob/{account}/{container}"),
    }
}

/// The reason why a SAS does not allow a request. The service responds with 403, [`AuthError::code`] and, if
/// there is one, [`AuthError::detail`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A parameter is missing, repeated or invalid.
    #[error("malformed SAS: {detail}")]
    Malformed {
        /// Parameter and problem.
        detail: String,
    },
    /// Azure supports this feature, this service does not.
    #[error("{what} is not supported by this service")]
    NotSupported {
        /// Feature with the parameter that requests it.
        what: &'static str,
    },
    /// The signature was made with another key, or for another resource or other parameters.
    #[error("the signature of the SAS does not match")]
    WrongSignature {
        /// Text that this service computed the signature over.
        signed: Secret,
    },
    /// The SAS is not valid yet, or has expired.
    #[error("the SAS is valid from [{starts}] to [{expires}], the current time is {now}")]
    OutsideTime {
        /// Start as written in the SAS; may be empty.
        starts: String,
        /// Expiry as written in the SAS.
        expires: String,
        /// Current time of the service.
        now: Timestamp,
    },
    /// The SAS is valid over HTTPS only.
    #[error("the SAS is not valid over this protocol")]
    Protocol,
    /// The SAS is restricted to other client addresses.
    #[error("the SAS is not valid for the address {from}")]
    Address {
        /// Address of the client.
        from: IpAddr,
    },
    /// An account SAS whose services (`ss`) do not include `b`.
    #[error("the SAS is not for blobs")]
    Service,
    /// An account SAS whose resource types (`srt`) do not include this one.
    #[error("the SAS is not for this kind of resource")]
    ResourceType,
    /// A service SAS on an operation that only an account SAS can allow, such as Delete Container.
    #[error("a service SAS cannot allow this operation")]
    BeyondContainer,
    /// The SAS lacks the permission for the operation.
    #[error("the SAS does not allow this operation")]
    Permission,
}

impl AuthError {
    /// Returns the error code of the response.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. }
            | Self::NotSupported { .. }
            | Self::WrongSignature { .. }
            | Self::OutsideTime { .. } => "AuthenticationFailed",
            Self::Protocol => "AuthorizationProtocolMismatch",
            Self::Address { .. } => "AuthorizationSourceIPMismatch",
            Self::Service => "AuthorizationServiceMismatch",
            Self::ResourceType => "AuthorizationResourceTypeMismatch",
            Self::BeyondContainer => "AuthorizationFailure",
            Self::Permission => "AuthorizationPermissionMismatch",
        }
    }

    /// Returns the error message of the response.
    pub fn message(&self) -> String {
        const NOT_AUTHORIZED: &str = "This request is not authorized to perform this operation";
        match self {
            Self::Protocol => format!("{NOT_AUTHORIZED} using this protocol."),
            Self::Address { from } => format!("{NOT_AUTHORIZED} using this source IP {from}."),
            Self::Service => format!("{NOT_AUTHORIZED} using this service."),
            Self::ResourceType => format!("{NOT_AUTHORIZED} using this resource type."),
            Self::Permission => format!("{NOT_AUTHORIZED} using this permission."),
            Self::BeyondContainer => format!("{NOT_AUTHORIZED}."),
            _ => "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
                  correctly including the signature."
                .into(),
        }
    }

    /// Returns the `AuthenticationErrorDetail` of the response if the SAS itself is invalid.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Malformed { detail } => Some(detail.clone()),
            Self::NotSupported { .. } => Some(self.to_string()),
            Self::WrongSignature { signed } => {
                Some(format!("Signature did not match. String to sign used was {}", signed.expose()))
            }
            Self::OutsideTime { starts, expires, now } => Some(format!(
                "Signature not valid in the specified time frame: Start [{starts}] - Expiry [{expires}] - Current [{}]",
                iso(*now)
            )),
            _ => None,
        }
    }
}
