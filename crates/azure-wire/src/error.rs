//! Error bodies of the services: JSON from Batch, XML from Blob Storage.

use crate::{
    blob::header::ERROR_CODE,
    shape::wire_struct,
    xml::{Document, Element},
};
use http::HeaderMap;

wire_struct! {
    /// The body of a failed Batch call; also the `error` of one task in a collection.
    #[derive(Default)]
    pub struct BatchErrorBody {
        /// Metadata URL `{base}/$metadata#…`; present in responses, absent in errors within a collection.
        #[serde(rename = "odata.metadata", default)]
        pub odata_metadata: Option<String>,
        /// Error code for programs: `PoolExists`, `TaskNotFound`, ….
        #[serde(default)]
        pub code: String,
        /// Error message for people.
        pub message: Option<ErrorMessage>,
        /// Details of the error as pairs of key and value.
        pub values: Option<Vec<ErrorDetail>>,
    }

    /// An error message with its language.
    #[derive(Default)]
    pub struct ErrorMessage {
        /// Language tag, for example `en-US`.
        pub lang: Option<String>,
        /// Message text; the service appends request id and time.
        pub value: Option<String>,
    }

    /// A detail of an error: one key and its value.
    #[derive(Default)]
    pub struct ErrorDetail {
        /// Name of the detail: `PropertyName`, `Reason`, `AuthenticationErrorDetail`, ….
        pub key: Option<String>,
        /// Value of the detail.
        pub value: Option<String>,
    }
}

impl BatchErrorBody {
    /// Creates an error from a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let message = ErrorMessage { lang: Some("en-US".into()), value: Some(message.into()) };
        Self { odata_metadata: None, code: code.into(), message: Some(message), values: None }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let detail = ErrorDetail { key: Some(key.into()), value: Some(value.into()) };
        self.values.get_or_insert_default().push(detail);
        self
    }

    /// Appends request id and time (ISO 8601) to the message, as the service does.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str, time: &str) -> Self {
        if let Some(text) = self.message.as_mut().and_then(|message| message.value.as_mut()) {
            text.push_str(&format!("\nRequestId:{request_id}\nTime:{time}"));
        }
        self
    }

    /// Sets `odata.metadata`, as in the body of a response; `base` is the URL of the account.
    #[must_use]
    pub fn with_metadata_url(mut self, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        self.odata_metadata = Some(format!(
            "{base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
        ));
        self
    }

    /// Parses a body. Returns `None` if it is not a Batch error (empty, HTML of a proxy, JSON without a
    /// code).
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|error| !error.code.is_empty())
    }

    /// Returns the first line of the message, without the request id and time that follow it.
    pub fn text(&self) -> &str {
        let whole = self.message.as_ref().and_then(|message| message.value.as_deref()).unwrap_or_default();
        whole.lines().next().unwrap_or_default().trim()
    }

    /// Returns the value of a detail.
    pub fn value(&self, key: &str) -> Option<&str> {
        let details = self.values.as_deref().unwrap_or_default();
        details.iter().find(|detail| detail.key.as_deref() == Some(key))?.value.as_deref()
    }
}

/// The body of a failed Blob call. The header `x-ms-error-code` repeats the code; a response to HEAD has only
/// the header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobErrorBody {
    /// Error code for programs: `BlobNotFound`, `AuthenticationFailed`, ….
    pub code: String,
    /// Error message for people; empty if the response had no body.
    pub message: String,
    /// Details as pairs of element name and text: `AuthenticationErrorDetail`, ….
    pub details: Vec<(String, String)>,
}

impl BlobErrorBody {
    /// Creates an error from a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: Vec::new() }
    }

    /// Adds a detail; `name` must be a valid XML element name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }

    /// Appends request id and time (ISO 8601) to the message, as the service does.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str, time: &str) -> Self {
        self.message.push_str(&format!("\nRequestId:{request_id}\nTime:{time}"));
        self
    }

    /// Returns the XML body of the response.
    pub fn write(&self) -> String {
        let mut xml = Document::new("Error", &[]);
        xml.leaf("Code", &self.code);
        xml.leaf("Message", &self.message);
        for (name, value) in &self.details {
            xml.name(name, value);
        }
        xml.end("Error")
    }

    /// Parses a response. Returns `None` if neither header nor body is a Blob error (HTML of a proxy, empty
    /// body).
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let header = headers.get(ERROR_CODE).and_then(|code| code.to_str().ok());
        let Ok(root) = Element::read(body, "Error") else { return header.map(|code| Self::new(code, "")) };
        let is_detail = |element: &&Element<'_>| !matches!(element.name(), "Code" | "Message");
        let details = root.children().iter().filter(is_detail).map(|e| (e.name().to_owned(), e.as_name()));
        Some(Self {
            code: header.or_else(|| root.leaf("Code"))?.to_owned(),
            message: root.leaf("Message").unwrap_or_default().to_owned(),
            details: details.collect(),
        })
    }

    /// Returns the first line of the message, without the request id and time that follow it.
    pub fn text(&self) -> &str {
        self.message.lines().next().unwrap_or_default().trim()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_error_is_written_as_documented_and_read_back() {
        let error = BatchErrorBody::new("InvalidPropertyValue", "The value is not valid.")
            .with("PropertyName", "vmSize")
            .with_request_id("0f4a", "2024-04-10T07:12:44.1234567Z")
            .with_metadata_url("http://127.0.0.1:1/");
        let written = serde_json::to_value(&error).unwrap();
        assert_eq!(
            written,
            json!({
                "odata.metadata":
                    "http://127.0.0.1:1/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
                "code": "InvalidPropertyValue",
                "message": {
                    "lang": "en-US",
                    "value": "The value is not valid.\nRequestId:0f4a\nTime:2024-04-10T07:12:44.1234567Z"
                },
                "values": [{"key": "PropertyName", "value": "vmSize"}]
            })
        );
        let read = BatchErrorBody::read(written.to_string().as_bytes()).unwrap();
        assert_eq!(read, error);
        assert_eq!((read.text(), read.value("PropertyName")), ("The value is not valid.", Some("vmSize")));
    }

    #[test]
    fn a_body_that_is_not_a_batch_error_is_none() {
        for body in [
            "",
            "<html>502 Bad Gateway</html>",
            "{}",
            "null",
            "[1]",
            r#"{"error":{"code":"x"}}"#,
            "{\"code\":1}",
        ] {
            assert_eq!(BatchErrorBody::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_blob_error_is_written_as_documented_and_read_back() {
        let error = BlobErrorBody::new("AuthenticationFailed", "Server failed.")
            .with_request_id("0f4a", "2024-04-10T07:12:44.1234567Z")
            .with("AuthenticationErrorDetail", "used 'GET\n<&>'\u{1}");
        let body = error.write();
        assert!(body.starts_with(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code>"
        ));
        assert_eq!(BlobErrorBody::read(&HeaderMap::new(), body.as_bytes()).as_ref(), Some(&error));
        assert_eq!(error.text(), "Server failed.");
    }

    #[test]
    fn the_code_comes_from_the_header_where_there_is_no_body() {
        let mut headers = HeaderMap::new();
        assert_eq!(BlobErrorBody::read(&headers, b""), None);
        assert_eq!(BlobErrorBody::read(&headers, b"<html>502 Bad Gateway</html>"), None);
        assert_eq!(BlobErrorBody::read(&headers, b"<Error><Message>m</Message></Error>"), None);
        headers.insert(ERROR_CODE, http::HeaderValue::from_static("BlobNotFound"));
        for body in [&b""[..], b"<html>"] {
            assert_eq!(BlobErrorBody::read(&headers, body), Some(BlobErrorBody::new("BlobNotFound", "")));
        }
        let bom =
            "\u{feff}<?xml version=\"1.0\"?><Error><Code>Other</Code><Message>m\nTime:x</Message></Error>";
        let read = BlobErrorBody::read(&headers, bom.as_bytes()).unwrap();
        assert_eq!((read.code.as_str(), read.text()), ("BlobNotFound", "m"));
    }
}
