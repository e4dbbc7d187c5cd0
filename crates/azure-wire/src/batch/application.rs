//! Applications that nodes can be given.

use crate::shape::wire_struct;

wire_struct! {
    /// An application whose packages can be put on nodes.
    #[derive(Default)]
    pub struct ApplicationSummary {
        /// Its id.
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Its versions.
        pub versions: Vec<String>,
    }
}
