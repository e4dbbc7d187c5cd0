//! Error responses of the service: status, code, message.

use dropmill_azure_wire::{
    batch::{ApplicationPackageReference, is_valid_id},
    error::BatchErrorBody,
};

/// A rejected request.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status of the response.
    pub status: u16,
    /// Body of the response, without request id and time. Boxed, because an error is rare and large.
    pub error: Box<BatchErrorBody>,
}

impl Refusal {
    /// Creates an error with its own message.
    pub fn new(status: u16, code: &str, words: impl Into<String>) -> Self {
        Self { status, error: Box::new(BatchErrorBody::new(code, words)) }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        *self.error = self.error.with(key, value);
        self
    }

    /// Creates an error for a resource that does not exist.
    pub fn not_found(code: &str) -> Self {
        let words = match code {
            "PoolNotFound" => "The specified pool does not exist.",
            "JobNotFound" => "The specified job does not exist.",
            "TaskNotFound" => "The specified task does not exist.",
            "NodeNotFound" => "The specified node does not exist.",
            "NodeUserNotFound" => "The specified node user does not exist.",
            "JobScheduleNotFound" => "The specified job schedule does not exist.",
            "ApplicationNotFound" => "The specified application does not exist.",
            "FileNotFound" => "The specified file does not exist.",
            _ => "The specified resource does not exist.",
        };
        Self::new(404, code, words)
    }

    /// Creates an error for a conflict with the current state.
    pub fn conflict(code: &str) -> Self {
        let words = match code {
            "PoolExists" => "The specified pool already exists.",
            "JobExists" => "The specified job already exists.",
            "TaskExists" => "The specified task already exists.",
            "PoolBeingDeleted" => "The specified pool has been marked for deletion and is being reclaimed.",
            "PoolBeingResized" => "The specified pool is being resized.",
            "NodeBeingCreated" => "The specified node is being created.",
            "NodeBeingStarted" => "The specified node is being started.",
            "NodeBeingRebooted" => "The specified node is being rebooted.",
            "NodeBeingReimaged" => "The specified node is being reimaged.",
            "NodeStateUnusable" => "The specified node is in an unusable state.",
            "NodeUserExists" => "The specified node user already exists.",
            "NodeAlreadyInTargetSchedulingState" => {
                "The specified node is already in the scheduling state that was asked for."
            }
            "JobNotDisabled" => "The specified job is not disabled.",
            "JobScheduleExists" => "The specified job schedule already exists.",
            "JobScheduleBeingDeleted" => "The specified job schedule is being deleted.",
            "JobScheduleBeingTerminated" => "The specified job schedule is being terminated.",
            "JobScheduleCompleted" => "The specified job schedule is in a completed state.",
            "TaskIdSameAsJobPreparationTask" => "The task id is that of the job's preparation task.",
            "TaskIdSameAsJobReleaseTask" => "The task id is that of the job's release task.",
            "JobPreparationTaskOrReleaseTaskNotSpecified" => {
                "The specified job has neither a preparation nor a release task."
            }
            "JobBeingDeleted" => {
                "The specified job has been marked for deletion and is being garbage collected."
            }
            "JobBeingTerminated" => "The specified job is being terminated.",
            "JobCompleted" => "The specified job is in a completed state.",
            "JobDisabled" => "The specified job is disabled.",
            "JobNotActive" => "The specified job is not active.",
            "TaskCompleted" => "The specified task is already in a completed state.",
            "TaskNotCompleted" => "The specified task is not in a completed state.",
            "TaskSucceeded" => "The specified task succeeded and cannot be reactivated.",
            "TaskFilesCleanedup" => "The specified task's files have been cleaned up.",
            "TaskFilesUnavailable" => "The specified task's files are not available: no node holds them.",
            _ => "The operation is not valid in the current state of the resource.",
        };
        Self::new(409, code, words)
    }

    /// Creates an error for an invalid value of a property.
    pub fn invalid(property: &str, value: impl Into<String>, reason: &str) -> Self {
        Self::new(
            400,
            "InvalidPropertyValue",
            "The value provided for one of the properties in the request body is invalid.",
        )
        .with("PropertyName", property)
        .with("PropertyValue", value)
        .with("Reason", reason)
    }

    /// Creates an error for a missing property.
    pub fn missing(property: &str) -> Self {
        Self::new(
            400,
            "MissingRequiredProperty",
            "A required property was not specified in the request body.",
        )
        .with("PropertyName", property)
    }

    /// Creates an error for a reference to an application package that does not exist.
    pub fn no_such_package(reference: &ApplicationPackageReference) -> Self {
        let words = "One or more of the specified application package references are invalid.";
        Self::new(409, "InvalidApplicationPackageReferences", words)
            .with("apppackagedoesnotexist", "The specified application package does not exist.")
            .with("ApplicationId", &*reference.application_id)
            .with("Version", reference.version.as_deref().unwrap_or("the default"))
    }

    /// Creates an error for a feature of Azure that this service does not have.
    pub fn not_here(what: &str) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("This local service does not support {what} yet; Azure Batch does."),
        )
    }

    /// Creates an error for an invalid query parameter.
    pub fn bad_query(parameter: &str, reason: impl Into<String>) -> Self {
        Self::new(
            400,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid.",
        )
        .with("QueryParameterName", parameter)
        .with("Reason", reason)
    }
}

/// Checks an id.
///
/// # Errors
/// `InvalidPropertyValue` if it is invalid.
pub fn checked_id(id: &str) -> Result<(), Refusal> {
    if is_valid_id(id) {
        return Ok(());
    }
    let reason = "It must have 1 to 64 letters, digits, hyphens and underscores";
    Err(Refusal::invalid("id", id, reason))
}
