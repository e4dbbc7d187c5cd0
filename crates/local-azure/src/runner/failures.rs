//! Failures as a Batch node words them (section "failureInfo" of the protocol).

use crate::orders::{DoorError, NodeFailure, OutputFileOrder, ResourceFileOrder, ResourceSource};
use dropmill_azure_wire::secret::without_query;

fn failure(user_error: bool, code: &str, message: &str, details: &[(&str, &str)]) -> NodeFailure {
    let details = details.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    NodeFailure { user_error, code: code.to_owned(), message: message.to_owned(), details }
}

/// There is no such program.
pub(super) fn program_not_found(command_line: &str, what: &str) -> NodeFailure {
    let details = [("CommandLine", command_line), ("Message", what)];
    failure(true, "CommandProgramNotFound", "The specified command program is not found", &details)
}

/// There is a program, or a command line, but no process can be made of it.
pub(super) fn launch_failed(user_error: bool, command_line: &str, what: &str) -> NodeFailure {
    let details = [("CommandLine", command_line), ("Message", what)];
    failure(user_error, "CommandLaunchFailed", "Failed to launch the specified command line", &details)
}

/// The task's folders could not be made.
pub(super) fn no_directory(directory: &str, what: &str) -> NodeFailure {
    let (code, message) = if disk_full(what) {
        ("DiskFull", "There is not enough disk space on the node")
    } else {
        ("ResourceDirectoryCreateFailed", "A folder of the task could not be made")
    };
    failure(false, code, message, &[("Directory", directory), ("Message", what)])
}

/// It was told to end before it had a process, or while its outputs were stored.
pub(super) fn ended() -> NodeFailure {
    failure(true, "TaskEnded", "The task was ended by request", &[])
}

/// An application package could not be put on the node.
pub(super) fn package(application: &str, version: &str, what: &str) -> NodeFailure {
    let message = "An application package could not be put on the node";
    let details = [("ApplicationId", application), ("Version", version), ("Message", what)];
    failure(true, "ApplicationPackageError", message, &details)
}

/// A mistake of this program, not of its user.
pub(super) fn ours(what: &str) -> NodeFailure {
    failure(false, "Unknown", "The node could not run the task", &[("Message", what)])
}

/// A resource file's path leads out of the working folder, or cannot be made there.
pub(super) fn resource_path(
    user_error: bool,
    file: &ResourceFileOrder,
    path: &str,
    what: &str,
) -> NodeFailure {
    let details = [("BlobSource", source(file)), ("FilePath", path), ("Message", what)];
    let message = "A file could not be made for one of the specified resource files";
    failure(user_error, "ResourceFileCreateFailed", message, &details)
}

/// A resource file could not be fetched.
pub(super) fn resource(file: &ResourceFileOrder, path: &str, error: &DoorError) -> NodeFailure {
    let container = matches!(file.source, ResourceSource::Container { .. }) && path == file.file_path;
    let (user_error, code, message) = match (error, container) {
        (DoorError::NotFound(_), false) => {
            (true, "BlobNotFound", "One of the specified Azure Blob(s) is not found")
        }
        (DoorError::Denied(_), false) => {
            (true, "BlobAccessDenied", "Access for one of the specified Azure Blob(s) is denied")
        }
        (DoorError::NotFound(_), true) => {
            (true, "ResourceContainerNotFound", "One of the specified resource containers is not found")
        }
        (DoorError::Denied(_), true) => (
            true,
            "ResourceContainerAccessDenied",
            "Access for one of the specified resource containers is denied",
        ),
        (DoorError::Local(what), _) if disk_full(what) => {
            (false, "DiskFull", "There is not enough disk space on the node")
        }
        (DoorError::Local(_), _) => {
            (false, "ResourceFileWriteFailed", "One of the specified resource files could not be written")
        }
        (DoorError::Other(_), false) => (
            false,
            "BlobDownloadMiscError",
            "Miscellaneous error encountered while downloading one of the specified Azure Blob(s)",
        ),
        (DoorError::Other(_), true) => (
            false,
            "ResourceContainerMiscError",
            "Miscellaneous error encountered while listing one of the specified resource containers",
        ),
    };
    let details = [("BlobSource", source(file)), ("FilePath", path), ("Message", &error.to_string())];
    failure(user_error, code, message, &details)
}

/// Output files could not be stored.
pub(super) fn output(order: &OutputFileOrder, error: &DoorError) -> NodeFailure {
    let (code, message) = match error {
        DoorError::NotFound(_) => {
            ("FileUploadContainerNotFound", "The specified output file container is not found")
        }
        DoorError::Denied(_) => {
            ("FileUploadAccessDenied", "Access for the specified output file container is denied")
        }
        DoorError::Local(what) | DoorError::Other(what) if disk_full(what) => {
            ("DiskFull", "There is not enough disk space on the node")
        }
        DoorError::Local(_) | DoorError::Other(_) => {
            ("FileUploadMiscError", "Miscellaneous error encountered while uploading one of the output files")
        }
    };
    let container = without_query(&order.container_url);
    let details =
        [("FilePattern", &*order.pattern), ("Container", container), ("Message", &error.to_string())];
    failure(true, code, message, &details)
}

fn source(file: &ResourceFileOrder) -> &str {
    let (ResourceSource::Url(url) | ResourceSource::Container { url, .. }) = &file.source;
    without_query(url)
}

/// Whether a node that waits may be able to do it later: a disk without room, or a quota that is used up.
pub(super) fn is_disk_full(failure: &NodeFailure) -> bool {
    failure.code == "DiskFull"
}

fn disk_full(what: &str) -> bool {
    ["os error 28", "os error 122", "database or disk is full"].iter().any(|said| what.contains(said))
}
