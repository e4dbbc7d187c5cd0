//! Images of nodes, and the list of supported images.

use crate::{
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// A reference to an image: from the Azure Marketplace, or a custom one by its resource id.
    #[derive(Default)]
    pub struct ImageReference {
        /// Publisher, for example `canonical`.
        pub publisher: Option<String>,
        /// Offer of the publisher, for example `0001-com-ubuntu-server-jammy`.
        pub offer: Option<String>,
        /// SKU of the offer, for example `22_04-lts`.
        pub sku: Option<String>,
        /// Version of the SKU; `latest` by default.
        pub version: Option<String>,
        /// Azure resource id of a custom image.
        pub virtual_machine_image_id: Option<String>,
        /// Version that `latest` resolved to; set by the service.
        pub exact_version: Option<String>,
        /// Image id in a shared gallery.
        pub shared_gallery_image_id: Option<String>,
        /// Image id in a community gallery.
        pub community_gallery_image_id: Option<String>,
    }

    /// An image that the service supports.
    pub struct ImageInformation {
        /// Id of the node agent that supports the image.
        #[serde(rename = "nodeAgentSKUId")]
        pub node_agent_sku_id: String,
        /// Reference to the image.
        pub image_reference: ImageReference,
        /// Operating system of the image.
        pub os_type: OsType,
        /// Capabilities such as `DockerCompatible`.
        pub capabilities: Option<Vec<String>>,
        /// End of Azure's support for the image.
        pub batch_support_end_of_life: Option<Timestamp>,
        /// Whether Azure has tested the image.
        pub verification_type: VerificationType,
    }
}

open_enum! {
    /// An operating system.
    pub enum OsType {
        /// A Linux distribution.
        Linux = "linux",
        /// A Windows edition.
        Windows = "windows",
    }

    /// Whether Azure has tested an image with Batch.
    pub enum VerificationType {
        /// The image was tested.
        Verified = "verified",
        /// The image was not tested.
        Unverified = "unverified",
    }
}
