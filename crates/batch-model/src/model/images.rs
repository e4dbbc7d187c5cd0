//! Images that a pool can use.

use super::query::{Fields, Value};
use dropmill_azure_wire::batch as wire;

/// Publisher, offer, SKU and node agent. A pool may name any other image too: every image stands for this
/// machine.
const IMAGES: &[(&str, &str, &str, &str)] = &[
    ("almalinux", "almalinux-x86_64", "9-gen2", "batch.node.el 9"),
    ("canonical", "0001-com-ubuntu-server-focal", "20_04-lts", "batch.node.ubuntu 20.04"),
    ("canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", "batch.node.ubuntu 22.04"),
    ("canonical", "ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04"),
    ("debian", "debian-12", "12", "batch.node.debian 12"),
    ("microsoft-dsvm", "ubuntu-hpc", "2204", "batch.node.ubuntu 22.04"),
];

/// Returns the images that the service lists as supported.
pub fn supported() -> impl Iterator<Item = wire::ImageInformation> {
    IMAGES.iter().map(|(publisher, offer, sku, agent)| wire::ImageInformation {
        node_agent_sku_id: (*agent).into(),
        image_reference: wire::ImageReference {
            publisher: Some((*publisher).into()),
            offer: Some((*offer).into()),
            sku: Some((*sku).into()),
            version: Some("latest".into()),
            ..wire::ImageReference::default()
        },
        os_type: wire::OsType::Linux,
        capabilities: None,
        batch_support_end_of_life: None,
        verification_type: wire::VerificationType::Verified,
    })
}

impl Fields for wire::ImageInformation {
    fn field(&self, name: &str) -> Option<Value> {
        Some(Value::Text(match name {
            "osType" => self.os_type.as_str().to_owned(),
            "verificationType" => self.verification_type.as_str().to_owned(),
            _ => self.node_agent_sku_id.clone(),
        }))
    }
}
