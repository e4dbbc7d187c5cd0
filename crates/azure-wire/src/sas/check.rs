//! Checking a SAS.

use super::{Action, DelegationKey, Level, Permissions};
use crate::{
    secret::Secret,
    sign::SharedKey,
    time::{Timestamp, iso, parse_iso},
    uri,
};
use std::net::{IpAddr, Ipv4Addr};

/// The first version of account SAS, of `sip` and `spr`: nothing older is read.
const OLDEST: &str = "2015-04-05";
/// From here on `sr` and the snapshot are signed.
const SIGNS_KIND: &str = "2018-11-09";
/// From here on the encryption scope is signed.
const SIGNS_SCOPE: &str = "2020-12-06";

/// From here on a user delegation SAS signs whom it was made for.
const SIGNS_USERS: &str = "2020-02-10";

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The container of the path; empty if it names none.
    pub container: &'a str,
    /// The blob of the path, decoded; empty if it names none.
    pub blob: &'a str,
    /// The operation.
    pub action: Action,
    /// The service's clock.
    pub now: Timestamp,
    /// Whether it came over HTTPS.
    pub https: bool,
    /// Where it came from; a call within the process comes from the loopback address.
    pub from: IpAddr,
}

/// What a SAS that is good allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    permissions: Permissions,
    /// An account SAS does not sign the headers of answers, so that anybody could add them to it.
    signs_answer_headers: bool,
}

impl Rights {
    /// Whether it also allows another action on the same thing, such as [`Action::ReplaceBlob`].
    pub fn allow(&self, action: Action) -> bool {
        self.permissions.allow_any(action.needs())
    }

    /// Whether it signs the headers that replace those of the answer: `rscc`, `rscd`, `rsce`, `rscl`, `rsct`.
    pub fn sign_answer_headers(&self) -> bool {
        self.signs_answer_headers
    }
}

/// Whether a query holds a SAS (a signature).
pub fn is_present(query: &str) -> bool {
    query.split('&').any(|pair| pair.starts_with("sig="))
}

/// Checks the SAS in a query against what the request asks for.
///
/// # Errors
/// Why it does not allow that: see [`Refusal`].
pub fn verify(key: &SharedKey, query: &str, asked: &Asked<'_>) -> Result<Rights, Refusal> {
    let fields = Fields::read(query)?;
    let version = fields.version()?;
    let delegated = fields.has("skoid");
    let account_wide = fields.has("ss") || fields.has("srt");
    if fields.has("si") {
        return Err(Refusal::NotSupported { what: "a stored access policy (si)" });
    }
    fields.required(if account_wide { &["ss", "srt", "sp", "se"] } else { &["sr", "sp", "se"] })?;
    if account_wide && delegated {
        return Err(Refusal::Malformed { detail: "a SAS is of an account or of a user, not of both".into() });
    }
    if delegated {
        fields.check_delegated(key, version, asked)?;
    } else {
        let text = if account_wide {
            fields.account_string_to_sign(key.account(), version)
        } else {
            fields.service_string_to_sign(key.account(), version, asked)?
        };
        if !key.is_signature_of(&text, fields.get("sig")) {
            return Err(Refusal::WrongSignature { signed: text.into() });
        }
    }
    fields.check_time("st", "se", asked.now)?;
    fields.check_way(asked)?;
    if account_wide {
        fields.check_account_scope(asked.action)?;
    } else if !asked.action.is_within_container() {
        return Err(Refusal::BeyondContainer);
    }
    let rights =
        Rights { permissions: Permissions::parse(fields.get("sp")), signs_answer_headers: !account_wide };
    if rights.allow(asked.action) { Ok(rights) } else { Err(Refusal::Permission) }
}

/// The names that belong to a SAS or are signed by one.
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

/// The SAS of a query, name by name.
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut fields: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in uri::pairs(query) {
            let Some(name) = NAMES.iter().find(|known| **known == name) else { continue };
            if fields.iter().any(|(read, _)| read == name) {
                return Err(Refusal::Malformed { detail: format!("{name} is given more than once") });
            }
            // Values are signed line by line: a line break within one could pass for the next.
            if value.contains(char::is_control) {
                return Err(Refusal::Malformed { detail: format!("{name} holds control characters") });
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

    fn required(&self, names: &[&str]) -> Result<(), Refusal> {
        match names.iter().chain(&["sig"]).find(|name| !self.has(name)) {
            Some(name) => Err(Refusal::Malformed { detail: format!("{name} is mandatory. Cannot be empty") }),
            None => Ok(()),
        }
    }

    /// A version is a date; a newer one than we know keeps the newest rules we know.
    fn version(&self) -> Result<&str, Refusal> {
        self.required(&["sv"])?;
        let version = self.get("sv");
        if version.len() != OLDEST.len() || parse_iso(version).is_none() {
            return Err(Refusal::Malformed { detail: format!("sv is no version: {version}") });
        }
        if version < OLDEST {
            return Err(Refusal::NotSupported { what: "a SAS of a version before 2015-04-05" });
        }
        Ok(version)
    }

    fn service_string_to_sign(
        &self,
        account: &str,
        version: &str,
        asked: &Asked<'_>,
    ) -> Result<String, Refusal> {
        let (fields, resource) = self.service_fields(account, version, asked)?;
        Ok(fields.string_to_sign(&resource))
    }

    /// What a SAS of a container or blob signs, and the name of that.
    fn service_fields<'a>(
        &'a self,
        account: &str,
        version: &'a str,
        asked: &Asked<'_>,
    ) -> Result<(ServiceFields<'a>, String), Refusal> {
        let (blob, snapshot) = match self.get("sr") {
            "c" => (None, ""),
            "b" => (Some(asked.blob), ""),
            "bs" => (Some(asked.blob), self.get("snapshot")),
            "bv" => (Some(asked.blob), self.get("versionid")),
            "d" => return Err(Refusal::NotSupported { what: "a directory SAS (sr=d)" }),
            other => return Err(Refusal::Malformed { detail: format!("sr is not valid: {other}") }),
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
            answer_headers: ["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| self.get(name)),
        };
        Ok((fields, resource(account, asked.container, blob)))
    }

    /// Whether it was signed with a key that this service gave out for a user, while that key holds.
    fn check_delegated(&self, owner: &SharedKey, version: &str, asked: &Asked<'_>) -> Result<(), Refusal> {
        if version < SIGNS_KIND {
            return Err(Refusal::NotSupported {
                what: "a user delegation SAS of a version before 2018-11-09",
            });
        }
        for (name, what) in [
            ("suoid", "a user delegation SAS for somebody whose rights are looked up (suoid)"),
            ("skdutid", "a user delegation SAS bound to a second user (skdutid)"),
            ("sduoid", "a user delegation SAS bound to a second user (sduoid)"),
            ("srh", "a SAS bound to headers of the request (srh)"),
            ("srq", "a SAS bound to the query of the request (srq)"),
        ] {
            if self.has(name) {
                return Err(Refusal::NotSupported { what });
            }
        }
        self.required(&["skoid", "sktid", "skt", "ske", "sks", "skv"])?;
        let moment = |name: &str| {
            let text = self.get(name);
            parse_iso(text).ok_or_else(|| Refusal::Malformed { detail: format!("{name} is no time: {text}") })
        };
        let text = |name: &str| self.get(name).to_owned();
        let key = DelegationKey {
            object: text("skoid"),
            tenant: text("sktid"),
            starts: moment("skt")?,
            expires: moment("ske")?,
            service: text("sks"),
            version: text("skv"),
        };
        let Ok(key) = key.key(owner) else { return Err(Refusal::WrongSignature { signed: "".into() }) };
        let (fields, resource) = self.service_fields(owner.account(), version, asked)?;
        let delegation = Delegation {
            key: ["skoid", "sktid", "skt", "ske", "sks", "skv"].map(|name| self.get(name)),
            users: ["saoid", "suoid", "scid"].map(|name| self.get(name)),
        };
        let texts = fields.delegated_strings_to_sign(&resource, &delegation);
        if !texts.iter().any(|text| key.is_signature_of(text, self.get("sig"))) {
            let [first, ..] = texts;
            return Err(Refusal::WrongSignature { signed: first.into() });
        }
        if self.get("sks") != "b" {
            return Err(Refusal::Service);
        }
        self.check_time("skt", "ske", asked.now)
    }

    fn account_string_to_sign(&self, account: &str, version: &str) -> String {
        let mut lines = vec![account];
        lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(|name| self.get(name)));
        if version >= SIGNS_SCOPE {
            lines.push(self.get("ses"));
        }
        lines.join("\n") + "\n"
    }

    fn check_time(&self, from: &str, until: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = |name: &str| match self.get(name) {
            "" => Ok(None),
            text => match parse_iso(text) {
                Some(moment) => Ok(Some(moment)),
                None => Err(Refusal::Malformed { detail: format!("{name} is no time: {text}") }),
            },
        };
        let (starts, expires) = (moment(from)?, moment(until)?);
        if starts.is_some_and(|starts| now < starts) || expires.is_none_or(|expires| now >= expires) {
            let (starts, expires) = (self.get(from).into(), self.get(until).into());
            return Err(Refusal::OutsideTime { starts, expires, now });
        }
        Ok(())
    }

    /// How the request came: protocol and address.
    fn check_way(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        match self.get("spr") {
            "" | "https,http" | "http,https" => {}
            "https" if asked.https => {}
            "https" => return Err(Refusal::Protocol),
            other => return Err(Refusal::Malformed { detail: format!("spr is not valid: {other}") }),
        }
        let addresses = self.get("sip");
        if addresses.is_empty() {
            return Ok(());
        }
        let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
        let (Ok(first), Ok(last)) = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) else {
            return Err(Refusal::Malformed { detail: format!("sip is not valid: {addresses}") });
        };
        match asked.from.to_canonical() {
            IpAddr::V4(from) if (first..=last).contains(&from) => Ok(()),
            from => Err(Refusal::Address { from }),
        }
    }

    fn check_account_scope(&self, action: Action) -> Result<(), Refusal> {
        if !self.get("ss").contains('b') {
            return Err(Refusal::Service);
        }
        let letter = match action.level() {
            Level::Service => 's',
            Level::Container => 'c',
            Level::Object => 'o',
        };
        if self.get("srt").contains(letter) { Ok(()) } else { Err(Refusal::ResourceType) }
    }
}

/// What a service SAS signs beside its resource; as text, since it is signed as written.
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
    /// Cache-Control, Content-Disposition, -Encoding, -Language, -Type of answers.
    pub answer_headers: [&'a str; 5],
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
        lines.extend(self.answer_headers);
        lines.join("\n")
    }
}

/// What a user delegation SAS signs of its key.
struct Delegation<'a> {
    /// User, tenant, start, end, service, version.
    key: [&'a str; 6],
    /// Whom it was made for, and under which name that is logged.
    users: [&'a str; 3],
}

impl ServiceFields<'_> {
    /// The texts that clients are known to sign, the newest first: each version of theirs has lines that an older one
    /// lacks, and which version of the protocol begins with them is published nowhere. The lines are empty here:
    /// what would fill them is refused before. Texts of different numbers of lines are never the same.
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
            lines.extend(self.answer_headers);
            lines.join("\n")
        })
    }
}

/// The signed name of a container, or of a blob in it; nothing of it is percent-encoded.
pub(super) fn resource(account: &str, container: &str, blob: Option<&str>) -> String {
    match blob {
        Some(blob) => format!("/blob/{account}/{container}/{blob}"),
        None => format!("/blob/{account}/{container}"),
    }
}

/// Why a SAS does not allow what a request asks for. The service answers 403 with [`Refusal::code`] and, if
/// there is one, [`Refusal::detail`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something is missing, given twice or not readable.
    #[error("malformed SAS: {detail}")]
    Malformed {
        /// What.
        detail: String,
    },
    /// Azure knows it, this service does not.
    #[error("{what} is not supported by this service")]
    NotSupported {
        /// What.
        what: &'static str,
    },
    /// Another key, another resource, or other fields.
    #[error("the signature of the SAS does not fit")]
    WrongSignature {
        /// The text this service would have signed.
        signed: Secret,
    },
    /// Not yet, or not any more.
    #[error("the SAS holds from [{starts}] to [{expires}], and it is {now}")]
    OutsideTime {
        /// As written; may be empty.
        starts: String,
        /// As written.
        expires: String,
        /// The service's clock.
        now: Timestamp,
    },
    /// It holds over HTTPS alone.
    #[error("the SAS does not hold over this protocol")]
    Protocol,
    /// It holds for other addresses.
    #[error("the SAS does not hold for the address {from}")]
    Address {
        /// Where the request came from.
        from: IpAddr,
    },
    /// An account SAS without `b`.
    #[error("the SAS is not for blobs")]
    Service,
    /// An account SAS for other kinds of things.
    #[error("the SAS is not for this kind of resource")]
    ResourceType,
    /// A service SAS used for an operation on a container or account.
    #[error("a service SAS cannot allow this operation")]
    BeyondContainer,
    /// The permission is missing.
    #[error("the SAS does not allow this operation")]
    Permission,
}

impl Refusal {
    /// The error code to answer with.
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

    /// The text to answer with.
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

    /// What the answer says as `AuthenticationErrorDetail`, when the SAS itself is not good.
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
