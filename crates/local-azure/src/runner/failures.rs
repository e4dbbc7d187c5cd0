//! Failures with the codes and messages of a Batch node (section "failureInfo" of the protocol).

use crate::orders::{DoorError, NodeFailure, OutputFileOrder, ResourceFileOrder, ResourceSource};
use dropmill_azure_wire::secret::shown_url;
use std::borrow::Cow;

/// Category, code and message.
const ENDED: (bool, &str, &str) = (true, "TaskEnded", "The task was ended by request");
const DISK_FULL: (bool, &str, &str) = (false, "DiskFull", "There is not enough disk space on the node");

fn failure(user_error: bool, code: &str, message: &str, details: &[(&str, &str)]) -> NodeFailure {
    let details = details.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    NodeFailure { user_error, code: code.to_owned(), message: message.to_owned(), details }
}

/// Returns the failure of a command whose program does not exist.
pub(super) fn program_not_found(command_line: &str, what: &str) -> NodeFailure {
    let details = [("CommandLine", command_line), ("Message", what)];
    failure(true, "CommandProgramNotFound", "The specified command program is not found", &details)
}

/// Returns the failure of a command that cannot be started, although it is not empty or its program exists.
pub(super) fn launch_failed(user_error: bool, command_line: &str, what: &str) -> NodeFailure {
    let details = [("CommandLine", command_line), ("Message", what)];
    failure(user_error, "CommandLaunchFailed", "Failed to launch the specified command line", &details)
}

/// Returns the failure to create the task's folders.
pub(super) fn no_directory(directory: &str, what: &str) -> NodeFailure {
    let (_, code, message) = match disk_full(what) {
        true => DISK_FULL,
        false => (false, "ResourceDirectoryCreateFailed", "A folder of the task could not be created"),
    };
    failure(false, code, message, &[("Directory", directory), ("Message", what)])
}

/// Returns the failure of a task that was ended before it had a process, or while its outputs were stored.
pub(super) fn ended() -> NodeFailure {
    let (user_error, code, message) = ENDED;
    failure(user_error, code, message, &[])
}

/// Returns the failure to install an application package.
pub(super) fn package(application: &str, version: &str, what: &str) -> NodeFailure {
    let message = "An application package could not be installed on the node";
    let details = [("ApplicationId", application), ("Version", version), ("Message", what)];
    failure(true, "ApplicationPackageError", message, &details)
}

/// Returns a failure of this program, not of its user.
pub(super) fn ours(what: &str) -> NodeFailure {
    failure(false, "Unknown", "The node could not run the task", &[("Message", what)])
}

/// Returns the failure for a resource file's path that leads out of the working folder or cannot be created.
pub(super) fn resource_path(
    user_error: bool,
    file: &ResourceFileOrder,
    path: &str,
    what: &str,
) -> NodeFailure {
    let details = [("BlobSource", &*source(file)), ("FilePath", path), ("Message", what)];
    let message = "A file could not be created for one of the specified resource files";
    failure(user_error, "ResourceFileCreateFailed", message, &details)
}

/// What a node was doing with files when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Downloading a resource file.
    Downloading,
    /// Listing the container of a resource file.
    Listing,
    /// Uploading an output file.
    Uploading,
}

/// Returns category (whether it is the user's error), code and message of a failure with files: the codes of
/// Azure's `TaskFailureInformationCodes`, with Azure's messages where known.
fn of_files(doing: Doing, error: &DoorError) -> (bool, &'static str, &'static str) {
    use {Doing as Is, DoorError as On};
    match (doing, error) {
        (_, On::Stopped) => ENDED,
        (_, On::Local(what)) if disk_full(what) => DISK_FULL,
        (Is::Uploading, On::Other(what)) if disk_full(what) => DISK_FULL,

        (Is::Downloading, On::NotFound(_)) => {
            (true, "BlobNotFound", "One of the specified Azure Blob(s) is not found")
        }
        (Is::Downloading, On::Denied(_)) => {
            (true, "BlobAccessDenied", "Access for one of the specified Azure Blob(s) is denied")
        }
        (Is::Downloading, On::TimedOut(_)) => (
            false,
            "BlobDownloadTimedOut",
            "Timeout encountered while downloading one of the specified Azure Blob(s)",
        ),
        (Is::Downloading, On::Other(_)) => (
            false,
            "BlobDownloadMiscError",
            "Miscellaneous error encountered while downloading one of the specified Azure Blob(s)",
        ),
        (Is::Downloading | Is::Listing, On::Local(_)) => {
            (false, "ResourceFileWriteFailed", "One of the specified resource files could not be written")
        }

        (Is::Listing, On::NotFound(_)) => {
            (true, "ResourceContainerNotFound", "One of the specified Azure Blob container(s) is not found")
        }
        (Is::Listing, On::Denied(_)) => (
            true,
            "ResourceContainerAccessDenied",
            "Access for one of the specified Azure Blob container(s) is denied",
        ),
        (Is::Listing, On::TimedOut(_)) => (
            false,
            "ResourceContainerListTimedOut",
            "Timeout encountered while listing one of the specified Azure Blob container(s)",
        ),
        (Is::Listing, On::Other(_)) => (
            false,
            "ResourceContainerListMiscError",
            "Miscellaneous error encountered while listing one of the specified Azure Blob container(s)",
        ),

        (Is::Uploading, On::NotFound(_)) => (
            true,
            "FileUploadContainerNotFound",
            "One of the specified Azure container(s) was not found while attempting to upload an output file",
        ),
        (Is::Uploading, On::Denied(_)) => {
            (true, "FileUploadAccessDenied", "Access for the specified output file container is denied")
        }
        (Is::Uploading, On::TimedOut(_)) => {
            (true, "FileUploadTimedOut", "Timeout encountered while uploading one of the output files")
        }
        (Is::Uploading, On::Local(_) | On::Other(_)) => (
            true,
            "FileUploadMiscError",
            "Miscellaneous error encountered while uploading one of the output files",
        ),
    }
}

/// Returns the failure to download a resource file.
pub(super) fn resource(file: &ResourceFileOrder, path: &str, error: &DoorError) -> NodeFailure {
    let is_container = matches!(file.source, ResourceSource::Container { .. }) && path == file.file_path;
    let doing = if is_container { Doing::Listing } else { Doing::Downloading };
    let (user_error, code, message) = of_files(doing, error);
    let details = [("BlobSource", &*source(file)), ("FilePath", path), ("Message", &error.to_string())];
    failure(user_error, code, message, &details)
}

/// Returns the failure to store output files.
pub(super) fn output(order: &OutputFileOrder, error: &DoorError) -> NodeFailure {
    let (user_error, code, message) = of_files(Doing::Uploading, error);
    let container = shown_url(&order.container_url);
    let details =
        [("FilePattern", &*order.pattern), ("Container", &*container), ("Message", &error.to_string())];
    failure(user_error, code, message, &details)
}

fn source(file: &ResourceFileOrder) -> Cow<'_, str> {
    let (ResourceSource::Url(url) | ResourceSource::Container { url, .. }) = &file.source;
    shown_url(url)
}

/// Returns whether a later attempt may succeed: the disk is full, or a quota is used up.
pub(super) fn is_disk_full(failure: &NodeFailure) -> bool {
    failure.code == "DiskFull"
}

fn disk_full(what: &str) -> bool {
    ["os error 28", "os error 122", "database or disk is full"].iter().any(|message| what.contains(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_code_of_its_operation() {
        use Doing::{Downloading, Listing, Uploading};
        let error = |make: fn(String) -> DoorError| make("why".into());
        let (absent, denied) = (error(DoorError::NotFound), error(DoorError::Denied));
        let (late, other, local) =
            (error(DoorError::TimedOut), error(DoorError::Other), error(DoorError::Local));
        let full = DoorError::Local("write: No space left on device (os error 28)".into());
        let full_store = DoorError::Other("database or disk is full".into());
        for (doing, error, user_error, code) in [
            (Downloading, &absent, true, "BlobNotFound"),
            (Downloading, &denied, true, "BlobAccessDenied"),
            (Downloading, &late, false, "BlobDownloadTimedOut"),
            (Downloading, &other, false, "BlobDownloadMiscError"),
            (Downloading, &full_store, false, "BlobDownloadMiscError"),
            (Downloading, &local, false, "ResourceFileWriteFailed"),
            (Downloading, &full, false, "DiskFull"),
            (Downloading, &DoorError::Stopped, true, "TaskEnded"),
            (Listing, &absent, true, "ResourceContainerNotFound"),
            (Listing, &denied, true, "ResourceContainerAccessDenied"),
            (Listing, &late, false, "ResourceContainerListTimedOut"),
            (Listing, &other, false, "ResourceContainerListMiscError"),
            (Uploading, &absent, true, "FileUploadContainerNotFound"),
            (Uploading, &denied, true, "FileUploadAccessDenied"),
            (Uploading, &late, true, "FileUploadTimedOut"),
            (Uploading, &other, true, "FileUploadMiscError"),
            (Uploading, &local, true, "FileUploadMiscError"),
            (Uploading, &full, false, "DiskFull"),
            (Uploading, &full_store, false, "DiskFull"),
        ] {
            let (is_users, found, _) = of_files(doing, error);
            assert_eq!((is_users, found), (user_error, code), "{doing:?} {error:?}");
        }
    }

    #[test]
    fn details_show_no_secret_of_an_address() {
        let file = ResourceFileOrder {
            source: ResourceSource::Url("https://me:secret@h/a?sig=secret#secret".into()),
            file_path: "f".into(),
            file_mode: None,
        };
        let shown = format!("{:?}", resource(&file, "f", &DoorError::NotFound("x".into())));
        assert!(shown.contains("https://h/a") && !shown.contains("secret"), "{shown}");
        assert!(!format!("{file:?}").contains("secret"));
    }
}
