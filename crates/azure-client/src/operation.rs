//! What can be asked of the two services, as an error or a log line names it.

use std::fmt;

/// What a repetition of a call would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The call changes nothing.
    Reads,
    /// Once or twice makes no difference.
    Repeatable,
    /// A second time may be refused, or be one time too many: ask what is true first.
    Once,
}

/// Which service a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Pools, nodes, jobs, tasks and their files.
    Batch,
    /// Containers and blobs.
    Blob,
}

macro_rules! operations {
    ($( $name:ident $service:ident $effect:ident $text:literal, )+) => {
        /// A call that a client makes. `Display` says it in words: "create pool".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $( #[doc = $text] $name, )+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// In words.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// What a repetition would do.
            pub fn effect(self) -> Effect {
                match self { $( Self::$name => Effect::$effect, )+ }
            }

            /// Where it goes.
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
    ContainerExists Blob Reads "look for container",
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

/// A call, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallInfo {
    /// What was asked for.
    pub operation: Operation,
    /// Of what: `pool1`, `job1/task1`, `container1/dir/blob.txt`; empty if of all.
    pub subject: String,
}

impl fmt::Display for CallInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            return write!(f, "{}", self.operation);
        }
        // Blob names hold what they like; a line of an error does not.
        write!(f, "{} {}", self.operation, crate::shown::shown(&self.subject))
    }
}
