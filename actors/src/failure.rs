//! Formats a failure of the service as a message without secrets.

use dropmill_azure_wire::{batch::FailureInfo, secret::without_query};

/// Maximum length of a detail, in characters.
const LONGEST: usize = 300;

/// Returns the message, with details in brackets. URLs lose their queries, because details of the service
/// contain shared access signatures.
pub fn message(failure: &FailureInfo) -> String {
    let message = failure.message.as_deref().or(failure.code.as_deref()).unwrap_or_default();
    // The details of `FailureExitCode` only repeat that the code is not zero.
    if failure.code.as_deref() == Some("FailureExitCode") {
        return message.to_owned();
    }
    let details = failure.details.iter().flatten();
    let details: Vec<_> = details
        .filter_map(|detail| Some((detail.name.as_deref()?, detail.value.as_deref()?)))
        .map(|(name, value)| format!("{name}: {}", shown(value)))
        .collect();
    if details.is_empty() { message.to_owned() } else { format!("{message} ({})", details.join("; ")) }
}

/// Returns a detail of limited length, without the query of any URL in it.
fn shown(value: &str) -> String {
    let words: Vec<_> =
        value.split(' ').map(|word| if word.contains("://") { without_query(word) } else { word }).collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_azure_wire::batch::{ErrorCategory, NameValuePair};

    #[test]
    fn details_are_shown_without_signatures() {
        let detail = |name: &str, value: &str| NameValuePair {
            name: Some(name.to_owned()),
            value: Some(value.to_owned()),
        };
        let failure = FailureInfo {
            category: ErrorCategory::UserError,
            code: Some("BlobAccessDenied".to_owned()),
            message: Some("Access is denied".to_owned()),
            details: Some(vec![
                detail("BlobSource", "https://a.blob.core.windows.net/c/b?sig=canary"),
                detail("Message", "at https://a/c?sig=canary again"),
            ]),
        };
        assert_eq!(
            message(&failure),
            "Access is denied (BlobSource: https://a.blob.core.windows.net/c/b; Message: at https://a/c again)"
        );
    }
}
