//! Signatures of Standard Webhooks, symmetric: HMAC-SHA256 over `id.timestamp.body`, in Base64, after `v1,`.

use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The `webhook-signature` of a body. After the prefix `whsec_` the key is Base64, as the standard writes
/// keys; any other key is used as it is.
///
/// # Errors Fails if a key with the prefix `whsec_` is not Base64.
pub fn sign(key: &Secret, id: &str, seconds: i64, body: &str) -> Result<String, String> {
    let key = match key.expose().strip_prefix("whsec_") {
        Some(text) => STANDARD
            .decode(text)
            .map_err(|_| "notify.secret: what follows whsec_ is not Base64".to_owned())?,
        None => key.expose().as_bytes().to_vec(),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference libraries of Standard Webhooks.
    #[test]
    fn a_known_message_has_its_known_signature() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = sign(&key, id, 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(sign(&Secret::new("whsec_?"), id, 1, "").is_err());
        assert!(sign(&Secret::new("any text"), id, 1, "").is_ok());
    }
}
