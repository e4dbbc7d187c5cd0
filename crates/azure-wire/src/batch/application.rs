//! Application packages, as the service lists them.

use crate::shape::wire_struct;

wire_struct! {
    /// An application whose packages can be installed on nodes.
    #[derive(Default)]
    pub struct ApplicationSummary {
        /// Id of the application.
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// Versions that have a package.
        pub versions: Vec<String>,
    }
}
