//! What the services say when they refuse: JSON from Batch, XML from Blob.

use crate::shape::wire_struct;

wire_struct! {
    /// The body of a refused Batch call; also the `error` of one task in a collection.
    #[derive(Default)]
    pub struct BatchErrorBody {
        /// `{base}/$metadata#…`; on answers only, not on the errors within a collection.
        #[serde(rename = "odata.metadata", default)]
        pub odata_metadata: Option<String>,
        /// For programs: `PoolExists`, `TaskNotFound`, ….
        #[serde(default)]
        pub code: String,
        /// For people.
        pub message: Option<ErrorMessage>,
        /// More about it, as key and value.
        pub values: Option<Vec<ErrorDetail>>,
    }

    /// A text with its language.
    #[derive(Default)]
    pub struct ErrorMessage {
        /// `en-US`.
        pub lang: Option<String>,
        /// The text; the service ends it with request id and time.
        pub value: Option<String>,
    }

    /// One key and value about an error.
    #[derive(Default)]
    pub struct ErrorDetail {
        /// `PropertyName`, `Reason`, `AuthenticationErrorDetail`, ….
        pub key: Option<String>,
        /// The value.
        pub value: Option<String>,
    }
}

impl BatchErrorBody {
    /// An error with a code and a text.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let message = ErrorMessage { lang: Some("en-US".into()), value: Some(message.into()) };
        Self { odata_metadata: None, code: code.into(), message: Some(message), values: None }
    }

    /// Adds a key and value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let detail = ErrorDetail { key: Some(key.into()), value: Some(value.into()) };
        self.values.get_or_insert_default().push(detail);
        self
    }

    /// Ends the text as the service does, with request id and time (an ISO timestamp).
    #[must_use]
    pub fn told_at(mut self, request_id: &str, time: &str) -> Self {
        if let Some(text) = self.message.as_mut().and_then(|message| message.value.as_mut()) {
            text.push_str(&format!("\nRequestId:{request_id}\nTime:{time}"));
        }
        self
    }

    /// Names the shape, as an answer's own body does; `base` is the account's URL.
    #[must_use]
    pub fn as_answer_of(mut self, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        self.odata_metadata = Some(format!(
            "{base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
        ));
        self
    }

    /// Reads a body; `None` when it is none of Batch's errors (empty, a proxy's HTML, JSON without a code).
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|error| !error.code.is_empty())
    }

    /// The text in one line, without the request id and time that end it.
    pub fn text(&self) -> &str {
        let whole = self.message.as_ref().and_then(|message| message.value.as_deref()).unwrap_or_default();
        whole.lines().next().unwrap_or_default().trim()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        let details = self.values.as_deref().unwrap_or_default();
        details.iter().find(|detail| detail.key.as_deref() == Some(key))?.value.as_deref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_error_is_written_as_documented_and_read_back() {
        let error = BatchErrorBody::new("InvalidPropertyValue", "The value is not valid.")
            .with("PropertyName", "vmSize")
            .told_at("0f4a", "2024-04-10T07:12:44.1234567Z")
            .as_answer_of("http://127.0.0.1:1/");
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
    fn what_is_no_error_of_batch_is_none() {
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
}
