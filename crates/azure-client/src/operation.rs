//! The operations of the two services, as they are named in errors and logs.

use std::fmt;

/// The effect of repeating a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The call changes nothing.
    Reads,
    /// A second request has no further effect.
    Repeatable,
    /// A second request may fail or have a further effect: check the state first.
    Once,
}

/// The service that receives a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Pools, nodes, jobs, tasks and their files.
    Batch,
    /// Containers and blobs.
    Blob,
}

macro_rules! operations {
    ($( $name:ident $service:ident $effect:ident $text:literal, )+) => {
        /// A request that a client can send. `Display` shows its name, such as "create pool".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $( #[doc = $text] $name, )+
        }

        impl Operation {
            /// All operations in this enum.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the name as text.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// Returns the effect of repeating it.
            pub fn effect(self) -> Effect {
                match self { $( Self::$name => Effect::$effect, )+ }
            }

            /// Returns the service that receives it.
            pub fn service(self) -> Service {
                match self { $( Self::$name => Service::$service, )+ }
            }
        }
    };
}

operations! {
    CreatePool Batch Once "create pool",
    GetPool Batch Reads "get pool",
    DeletePool Batch Repeatable "delete pool",
    PatchPool Batch Repeatable "patch pool",
    ResizePool Batch Once "resize pool",
    StopResize Batch Once "stop resize of pool",
    ListPools Batch Reads "list pools",
    PoolNodeCounts Batch Reads "count nodes of pools",
    ListNodes Batch Reads "list nodes of pool",
    RemoveNodes Batch Once "remove nodes of pool",
    RebootNode Batch Once "reboot node",
    CreateJob Batch Once "create job",
    GetJob Batch Reads "get job",
    PatchJob Batch Repeatable "patch job",
    DisableJob Batch Repeatable "disable job",
    TerminateJob Batch Once "terminate job",
    DeleteJob Batch Repeatable "delete job",
    ListJobs Batch Reads "list jobs",
    AddTasks Batch Once "add tasks to job",
    GetTask Batch Reads "get task",
    ListTasks Batch Reads "list tasks of job",
    TaskCounts Batch Reads "count tasks of job",
    TerminateTask Batch Once "terminate task",
    DeleteTask Batch Repeatable "delete task",
    ReactivateTask Batch Once "reactivate task",
    ListTaskFiles Batch Reads "list files of task",
    GetTaskFile Batch Reads "get file of task",
    DeleteTaskFile Batch Repeatable "delete file of task",
    GetNodeFile Batch Reads "get file of node",
    CreateContainer Blob Once "create container",
    DeleteContainer Blob Repeatable "delete container",
    ContainerExists Blob Reads "check container",
    PutBlob Blob Repeatable "put blob",
    PutNewBlob Blob Once "put new blob",
    PutBlock Blob Repeatable "put block of blob",
    GetBlockList Blob Reads "get block list of blob",
    CommitBlob Blob Repeatable "commit blob",
    CommitNewBlob Blob Once "commit new blob",
    HeadBlob Blob Reads "head blob",
    GetBlob Blob Reads "get blob",
    ListBlobs Blob Reads "list blobs of container",
    DeleteBlob Blob Repeatable "delete blob",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation and the resource that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallInfo {
    /// The requested operation.
    pub operation: Operation,
    /// Name of the resource: `pool1`, `job1/task1`, `container1/dir/blob.txt`; empty for all.
    pub subject: String,
}

impl fmt::Display for CallInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            return write!(f, "{}", self.operation);
        }
        // Blob names may contain any character; an error must stay on one line.
        write!(f, "{} {}", self.operation, crate::shown::shown(&self.subject))
    }
}
