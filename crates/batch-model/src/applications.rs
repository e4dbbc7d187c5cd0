//! Application packages, and references to them. On Azure they are managed outside the Batch API; here the
//! caller declares them when it opens the service.

use dropmill_azure_wire::batch::{ApplicationPackageReference, ApplicationSummary};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Maximum length of an application's id or version, in characters.
const LONGEST: usize = 64;

/// An application package that is declared when the service is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationPackage {
    /// Id of the application: letters, digits, `-` and `_`.
    pub application: String,
    /// Version: characters of ids, and `.` except at the beginning.
    pub version: String,
    /// A zip file or folder with the content of the package.
    pub path: PathBuf,
}

/// An invalid application package.
#[derive(Debug, Clone, thiserror::Error)]
#[error("application {application}, version {version}: {reason}")]
pub struct BadApplication {
    /// Id of the application.
    pub application: String,
    /// Version of the application.
    pub version: String,
    /// What is wrong with it.
    pub reason: String,
}

/// All declared packages.
#[derive(Debug, Clone, Default)]
pub struct Applications {
    /// Applications by id in lower case.
    known: BTreeMap<String, Application>,
}

#[derive(Debug, Clone)]
struct Application {
    id: String,
    /// Versions in the order of declaration; the last one is the default.
    versions: Vec<(String, PathBuf)>,
}

/// A package to be installed on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageOrder {
    /// Id of the application.
    pub application: String,
    /// Version; empty if the package no longer exists.
    pub version: String,
    /// Zip file or folder; `None` if the package was not declared this time.
    pub source: Option<PathBuf>,
    /// Names of the variables with its folder.
    pub variables: Vec<String>,
}

impl PackageOrder {
    /// Returns its folder below a node's root. Ids and versions are safe as file names.
    pub fn directory(&self) -> String {
        format!("applications/{}/{}", self.application.to_ascii_lowercase(), self.version)
    }
}

impl Applications {
    /// Declares packages; the last version of an application is its default. Does not check the paths.
    ///
    /// # Errors
    /// Fails for an invalid or duplicate name.
    pub fn of(packages: Vec<ApplicationPackage>) -> Result<Self, BadApplication> {
        let mut known: BTreeMap<String, Application> = BTreeMap::new();
        for ApplicationPackage { application: id, version, path } in packages {
            let bad = |reason: &str| {
                let (application, version) = (id.clone(), version.clone());
                Err(BadApplication { application, version, reason: reason.into() })
            };
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if !(1..=LONGEST).contains(&id.len()) || !id.bytes().all(plain) {
                return bad("the application's id must be 1 to 64 letters, digits, - and _");
            }
            let fine = |byte: u8| plain(byte) || byte == b'.';
            if !(1..=LONGEST).contains(&version.len())
                || version.starts_with('.')
                || !version.bytes().all(fine)
            {
                return bad(
                    "the version must be 1 to 64 letters, digits, -, _ and . (not as the first character)",
                );
            }
            let new = || Application { id: id.clone(), versions: vec![] };
            let application = known.entry(id.to_ascii_lowercase()).or_insert_with(new);
            if application.versions.iter().any(|(known, _)| known.eq_ignore_ascii_case(&version)) {
                return bad("it is declared twice");
            }
            application.versions.push((version, path));
        }
        Ok(Self { known })
    }

    /// Returns all applications as clients see them, by id.
    pub fn list(&self) -> Vec<ApplicationSummary> {
        self.known.values().map(Application::summary).collect()
    }

    /// Returns one application as clients see it.
    pub fn get(&self, id: &str) -> Option<ApplicationSummary> {
        self.known.get(&id.to_ascii_lowercase()).map(Application::summary)
    }

    /// Returns the first reference to a package that does not exist.
    pub fn unknown<'a>(
        &self,
        references: Option<&'a [ApplicationPackageReference]>,
    ) -> Option<&'a ApplicationPackageReference> {
        references.into_iter().flatten().find(|reference| self.find(reference).is_none())
    }

    /// Returns the packages for references, in their order.
    pub fn orders<'a>(
        &self,
        references: impl IntoIterator<Item = &'a ApplicationPackageReference>,
    ) -> Vec<PackageOrder> {
        references.into_iter().map(|reference| self.order(reference)).collect()
    }

    fn order(&self, reference: &ApplicationPackageReference) -> PackageOrder {
        let found = self.find(reference);
        let (id, version, source) = match found {
            Some((id, version, path)) => (id, version, Some(path.to_owned())),
            None => (name_of(reference), reference.version.as_deref().unwrap_or_default(), None),
        };
        let variables = variables(id, reference.version.as_ref().map(|_| version));
        PackageOrder { application: id.to_owned(), version: version.to_owned(), source, variables }
    }

    fn find(&self, reference: &ApplicationPackageReference) -> Option<(&str, &str, &Path)> {
        let application = self.known.get(&name_of(reference).to_ascii_lowercase())?;
        let (version, path) = match &reference.version {
            None => application.versions.last()?,
            Some(wanted) => {
                application.versions.iter().find(|(version, _)| version.eq_ignore_ascii_case(wanted))?
            }
        };
        Some((&application.id, version, path))
    }
}

impl Application {
    fn summary(&self) -> ApplicationSummary {
        ApplicationSummary {
            id: self.id.clone(),
            display_name: Some(self.id.clone()),
            versions: self.versions.iter().map(|(version, _)| version.clone()).collect(),
        }
    }
}

/// Returns the application's id: pools use the complete resource id, tasks only its last part.
fn name_of(reference: &ApplicationPackageReference) -> &str {
    let id = &reference.application_id;
    id.rsplit_once('/').map_or(&**id, |(_, name)| name)
}

/// Returns the names of a package's variables. The version is part of the name if the reference names it.
/// Characters that are invalid in a name become `_`. The documentation is inconsistent about the case of the
/// id, so both variants are returned.
fn variables(id: &str, version: Option<&str>) -> Vec<String> {
    let version = version.map(|version| format!("_{version}")).unwrap_or_default();
    let name = format!("{id}{version}").replace(['-', '.', '#'], "_");
    let mut names = vec![format!("AZ_BATCH_APP_PACKAGE_{name}")];
    if name != name.to_ascii_lowercase() {
        names.push(format!("AZ_BATCH_APP_PACKAGE_{}", name.to_ascii_lowercase()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(application: &str, version: &str) -> ApplicationPackage {
        ApplicationPackage {
            application: application.into(),
            version: version.into(),
            path: format!("/packages/{application}-{version}.zip").into(),
        }
    }

    fn reference(id: &str, version: Option<&str>) -> ApplicationPackageReference {
        ApplicationPackageReference { application_id: id.into(), version: version.map(Into::into) }
    }

    #[test]
    fn a_reference_without_a_version_means_the_last_one() {
        let all =
            Applications::of(vec![package("Mill-1", "1.0"), package("Mill-1", "2.0-b"), package("x", "3")]);
        let all = all.unwrap();
        let table = [
            ("Mill-1", Some("1.0"), "1.0", &["Mill_1_1_0", "mill_1_1_0"][..]),
            ("mill-1", Some("2.0-B"), "2.0-b", &["Mill_1_2_0_b", "mill_1_2_0_b"]),
            ("MILL-1", None, "2.0-b", &["Mill_1", "mill_1"]),
            ("/subscriptions/s/resourceGroups/g/applications/x", None, "3", &["x"]),
        ];
        for (id, version, expected, variables) in table {
            let reference = reference(id, version);
            assert_eq!(all.unknown(Some(std::slice::from_ref(&reference))), None, "{id}");
            let order = all.order(&reference);
            let variables: Vec<_> =
                variables.iter().map(|name| format!("AZ_BATCH_APP_PACKAGE_{name}")).collect();
            assert_eq!((&*order.version, order.variables), (expected, variables), "{id}");
            assert!(order.source.is_some(), "{id}");
        }
        for (id, version) in [("y", None), ("x", Some("1.0")), ("", None)] {
            let reference = reference(id, version);
            assert_eq!(all.unknown(Some(std::slice::from_ref(&reference))), Some(&reference), "{id}");
            assert_eq!(all.order(&reference).source, None, "{id}");
        }
        let seen = all.list();
        assert_eq!(seen.iter().map(|each| &*each.id).collect::<Vec<_>>(), ["Mill-1", "x"]);
        assert_eq!(seen[0].versions, ["1.0", "2.0-b"]);
    }

    #[test]
    fn names_that_could_be_other_paths_are_rejected() {
        for (id, version) in
            [("..", "1"), ("a/b", "1"), ("", "1"), ("a", ""), ("a", ".."), ("a", ".1"), ("a", "1/2")]
        {
            assert!(Applications::of(vec![package(id, version)]).is_err(), "{id} {version}");
        }
        assert!(Applications::of(vec![package("a", "1"), package("A", "1")]).is_err());
    }
}
