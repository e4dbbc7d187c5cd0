//! Images of nodes, and those that the account offers.

use crate::{
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// An image: from the marketplace, or an own one by its resource id.
    #[derive(Default)]
    pub struct ImageReference {
        /// `canonical`.
        pub publisher: Option<String>,
        /// `0001-com-ubuntu-server-jammy`.
        pub offer: Option<String>,
        /// `22_04-lts`.
        pub sku: Option<String>,
        /// `latest` by default.
        pub version: Option<String>,
        /// Resource id of an own image.
        pub virtual_machine_image_id: Option<String>,
        /// The version that `latest` meant; set by the service.
        pub exact_version: Option<String>,
        /// Id in a shared gallery.
        pub shared_gallery_image_id: Option<String>,
        /// Id in a community gallery.
        pub community_gallery_image_id: Option<String>,
    }

    /// An image that the service supports.
    pub struct ImageInformation {
        /// The node agent that fits it.
        #[serde(rename = "nodeAgentSKUId")]
        pub node_agent_sku_id: String,
        /// The image.
        pub image_reference: ImageReference,
        /// Its system.
        pub os_type: OsType,
        /// `DockerCompatible`, ….
        pub capabilities: Option<Vec<String>>,
        /// When support for it ends.
        pub batch_support_end_of_life: Option<Timestamp>,
        /// Whether the service checked it.
        pub verification_type: VerificationType,
    }
}

open_enum! {
    /// An operating system.
    pub enum OsType {
        /// Linux.
        Linux = "linux",
        /// Windows.
        Windows = "windows",
    }

    /// Whether the service checked an image.
    pub enum VerificationType {
        /// It did.
        Verified = "verified",
        /// It did not.
        Unverified = "unverified",
    }
}
