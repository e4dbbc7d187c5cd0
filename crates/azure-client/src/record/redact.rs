//! Removes secrets from exchanges before they are recorded.

use serde_json::Value;

/// Placeholder for a secret.
const GONE: &str = "***";
/// Names of JSON members whose values are secrets, in lower case.
const SECRETS: &[&str] =
    &["accountkey", "password", "sastoken", "saskey", "sshprivatekey", "registrypassword", "client_secret"];
/// The member in which a service repeats a rejected signature.
const DETAIL: &str = "AuthenticationErrorDetail";

/// Returns a text without the signatures of SAS URLs and requests.
pub fn redacted(text: &str) -> String {
    self::text(text)
}

/// Returns a text without the signatures of SAS URLs.
pub fn text(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find_signature(rest) {
        let end = rest[at..].find(|letter: char| "&\"'<>\\ \t\r\n".contains(letter));
        result.push_str(&rest[..at]);
        result.push_str(GONE);
        rest = end.map_or("", |end| &rest[at + end..]);
    }
    result + rest
}

/// Returns the position of the value of the next `sig=`, in any case.
fn find_signature(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_name = |at: usize| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        bytes[at..].len() >= 4
            && bytes[at..at + 4].eq_ignore_ascii_case(b"sig=")
            && before.is_none_or(|before| !before.is_ascii_alphanumeric() || bytes[..at].ends_with(b"u0026"))
            && !text[at + 4..].starts_with(GONE)
    };
    (0..bytes.len()).find(|at| is_name(*at)).map(|at| at + 4)
}

/// Returns a JSON or XML body without secrets.
pub fn body(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            clean(&mut value);
            value.to_string()
        }
        Err(_) => without_detail(&self::text(text)),
    }
}

fn without_detail(xml: &str) -> String {
    let (open, close) = (format!("<{DETAIL}>"), format!("</{DETAIL}>"));
    match (xml.find(&open), xml.find(&close)) {
        (Some(from), Some(to)) if from < to => format!("{}{open}{GONE}{}", &xml[..from], &xml[to..]),
        _ => xml.to_owned(),
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = self::text(text),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => {
            if members.get("key").is_some_and(|key| key == DETAIL) {
                members.insert("value".into(), GONE.into());
            }
            for (name, value) in members {
                let is_settings = name.ends_with("nvironmentSettings");
                if SECRETS.contains(&name.to_ascii_lowercase().as_str()) && value.is_string() {
                    *value = GONE.into();
                } else if is_settings && let Value::Array(settings) = value {
                    settings.iter_mut().for_each(quiet);
                } else {
                    clean(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Removes the value of a variable, which may be secret; the variables of this program are kept.
fn quiet(setting: &mut Value) {
    let known = setting["name"].as_str().is_some_and(|name| name.starts_with("DROPMILL_"));
    match setting.get_mut("value") {
        Some(value) if known => clean(value),
        Some(value) => *value = GONE.into(),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_removed_and_the_rest_stays() {
        for (said, kept) in [
            ("/c/b?sv=1&sig=a%2Bb%3D&se=2", "/c/b?sv=1&sig=***&se=2"),
            ("/c/b?sig=abc", "/c/b?sig=***"),
            ("/c/b?SIG=abc", "/c/b?SIG=***"),
            (
                "a http://h/c?sig=x and http://h/d?se=1&sig=y.",
                "a http://h/c?sig=*** and http://h/d?se=1&sig=***",
            ),
            ("<U>http://h/c?se=1&amp;sig=x</U>", "<U>http://h/c?se=1&amp;sig=***</U>"),
            (
                r#"{"u":"http://h/c?se=1\u0026sig=x\u0026sp=r"}"#,
                r#"{"u":"http://h/c?se=1\u0026sig=***\u0026sp=r"}"#,
            ),
            ("design=3 is none", "design=3 is none"),
            ("sig=***", "sig=***"),
        ] {
            assert_eq!(text(said), kept);
            assert_eq!(text(kept), kept, "a second pass changes nothing");
        }
    }

    #[test]
    fn json_keeps_no_key_and_no_variable() {
        let said = r#"{"id":"t","environmentSettings":[{"name":"API","value":"s3cr3t"},{"name":"DROPMILL_INPUT","value":"a"}],
            "commonEnvironmentSettings":[{"name":"B","value":"c"}],"userAccounts":[{"name":"u","password":"p"}],
            "resourceFiles":[{"httpUrl":"http://h/c/b?se=1&sig=x","filePath":"b"}],"accountKey":"k"}"#;
        let kept = body(said);
        let refusal = r#"{"values":[{"key":"AuthenticationErrorDetail","value":"found 'abc'"},{"key":"Reason","value":"r"}]}"#;
        assert!(!body(refusal).contains("abc") && body(refusal).contains("Reason"));
        let refusal = "<Error><AuthenticationErrorDetail>found 'abc'</AuthenticationErrorDetail></Error>";
        assert_eq!(body(refusal), refusal.replace("found 'abc'", "***"));
        for secret in ["s3cr3t", "\"c\"", "\"p\"", "sig=x", "\"k\""] {
            assert!(!kept.contains(secret), "{secret}: {kept}");
        }
        for known in ["API", "\"a\"", "http://h/c/b?se=1&sig=***", "\"id\":\"t\""] {
            assert!(kept.contains(known), "{known}: {kept}");
        }
    }
}
