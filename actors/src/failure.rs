//! What the service says of a failure, as a sentence that may be shown.

use dropmill_azure_wire::{batch::FailureInfo, secret::without_query};

/// Characters of a detail worth telling.
const LONGEST: usize = 300;

/// The message, with the details in brackets. Addresses lose their queries: those of the service's own details hold
/// shared access signatures.
pub fn told(failure: &FailureInfo) -> String {
    let message = failure.message.as_deref().or(failure.code.as_deref()).unwrap_or_default();
    // `FailureExitCode` has details too, and they say again that the code is not zero.
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

/// A detail without what follows a `?` in any word that is an address, and not too long.
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
    fn details_are_told_without_signatures() {
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
            told(&failure),
            "Access is denied (BlobSource: https://a.blob.core.windows.net/c/b; Message: at https://a/c again)"
        );
    }
}
