//! The operations of both services, in one table: method, path, name, effect.
//!
//! The service uses the table to route requests, and the client to make them. Error messages and scenarios of faults use
//! its names, and `docs/emulator.md` lists its rows.

use http::Method;
use std::{fmt, sync::OnceLock};

/// What a call changes, and what a repetition of it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The call changes nothing.
    Reads,
    /// Once or twice makes no difference.
    Repeatable,
    /// A repetition may be rejected, or do it twice. Check the state first.
    Once,
}

/// The service that has an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Pools, nodes, jobs, tasks and their files.
    Batch,
    /// Containers and their blobs.
    Blob,
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The Batch account: applications, images, usage, counts of nodes.
    Account,
    /// Pools of nodes and their size.
    Pools,
    /// Nodes of a pool and their files.
    Nodes,
    /// Jobs and their preparation tasks.
    Jobs,
    /// Tasks of a job and their files.
    Tasks,
    /// Schedules that create jobs.
    Schedules,
    /// Containers and their blobs.
    Blobs,
}

macro_rules! operations {
    ($( $family:ident { $( $name:ident $effect:ident $method:ident $path:literal $text:literal $($on:literal)?; )+ } )+) => {
        /// An operation of one of the services. `Display` writes its name: "create pool".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($( #[doc = concat!("`", stringify!($method), " ", $path, "`")] $name, )+)+
        }

        impl Operation {
            /// All operations of both services.
            pub const ALL: &'static [Self] = &[$($( Self::$name ),+),+];

            fn row(self) -> Row {
                match self { $($(
                    Self::$name => Row {
                        family: Family::$family,
                        effect: Effect::$effect,
                        method: Method::$method,
                        path: $path,
                        name: $text,
                        on: concat!($($on)?),
                    },
                )+)+ }
            }
        }
    };
}

struct Row {
    family: Family,
    effect: Effect,
    method: Method,
    path: &'static str,
    name: &'static str,
    on: &'static str,
}

// Name in code, effect, method, path, name in messages, and the text between that name and an id: "add tasks" "to job" "j".
// `HEAD` has the name of its `GET`. A call that only creates a new blob has the name of the call that also replaces one.
operations! {
    Account {
        ListApplications Reads GET "applications" "list applications";
        GetApplication Reads GET "applications/{id}" "get application";
        ListPoolUsage Reads GET "poolusagemetrics" "list pool usage";
        ListImages Reads GET "supportedimages" "list images";
        PoolNodeCounts Reads GET "nodecounts" "count nodes" "of pools";
    }
    Pools {
        CreatePool Once POST "pools" "create pool";
        ListPools Reads GET "pools" "list pools";
        GetPool Reads GET "pools/{p}" "get pool";
        HeadPool Reads HEAD "pools/{p}" "get pool";
        PatchPool Repeatable PATCH "pools/{p}" "patch pool";
        UpdatePool Repeatable POST "pools/{p}/updateproperties" "update pool";
        DeletePool Repeatable DELETE "pools/{p}" "delete pool";
        ResizePool Once POST "pools/{p}/resize" "resize pool";
        StopResize Once POST "pools/{p}/stopresize" "stop resize" "of pool";
        RemoveNodes Once POST "pools/{p}/removenodes" "remove nodes" "of pool";
        EnableAutoScale Once POST "pools/{p}/enableautoscale" "enable autoscale" "of pool";
        DisableAutoScale Once POST "pools/{p}/disableautoscale" "disable autoscale" "of pool";
        EvaluateAutoScale Reads POST "pools/{p}/evaluateautoscale" "evaluate autoscale" "of pool";
    }
    Nodes {
        ListNodes Reads GET "pools/{p}/nodes" "list nodes" "of pool";
        GetNode Reads GET "pools/{p}/nodes/{n}" "get node";
        RebootNode Once POST "pools/{p}/nodes/{n}/reboot" "reboot node";
        ReimageNode Once POST "pools/{p}/nodes/{n}/reimage" "reimage node";
        StartNode Once POST "pools/{p}/nodes/{n}/start" "start node";
        DeallocateNode Once POST "pools/{p}/nodes/{n}/deallocate" "deallocate node";
        DisableScheduling Once POST "pools/{p}/nodes/{n}/disablescheduling" "disable scheduling" "on node";
        EnableScheduling Once POST "pools/{p}/nodes/{n}/enablescheduling" "enable scheduling" "on node";
        AddNodeUser Once POST "pools/{p}/nodes/{n}/users" "add user" "of node";
        UpdateNodeUser Repeatable PUT "pools/{p}/nodes/{n}/users/{u}" "update user" "of node";
        DeleteNodeUser Repeatable DELETE "pools/{p}/nodes/{n}/users/{u}" "delete user" "of node";
        GetRemoteLogin Reads GET "pools/{p}/nodes/{n}/remoteloginsettings" "get remote login" "of node";
        UploadNodeLogs Once POST "pools/{p}/nodes/{n}/uploadbatchservicelogs" "upload logs" "of node";
        ListNodeFiles Reads GET "pools/{p}/nodes/{n}/files" "list node files";
        GetNodeFile Reads GET "pools/{p}/nodes/{n}/files/{path}" "get node file";
        HeadNodeFile Reads HEAD "pools/{p}/nodes/{n}/files/{path}" "get node file";
        DeleteNodeFile Repeatable DELETE "pools/{p}/nodes/{n}/files/{path}" "delete node file";
        ListExtensions Reads GET "pools/{p}/nodes/{n}/extensions" "list extensions" "of node";
        GetExtension Reads GET "pools/{p}/nodes/{n}/extensions/{e}" "get extension" "of node";
    }
    Jobs {
        CreateJob Once POST "jobs" "create job";
        ListJobs Reads GET "jobs" "list jobs";
        GetJob Reads GET "jobs/{j}" "get job";
        PatchJob Repeatable PATCH "jobs/{j}" "patch job";
        UpdateJob Repeatable PUT "jobs/{j}" "update job";
        DeleteJob Repeatable DELETE "jobs/{j}" "delete job";
        DisableJob Repeatable POST "jobs/{j}/disable" "disable job";
        EnableJob Once POST "jobs/{j}/enable" "enable job";
        TerminateJob Once POST "jobs/{j}/terminate" "terminate job";
        ListPreparations Reads GET "jobs/{j}/jobpreparationandreleasetaskstatus" "list preparation tasks" "of job";
        TaskCounts Reads GET "jobs/{j}/taskcounts" "count tasks" "of job";
    }
    Tasks {
        AddTask Once POST "jobs/{j}/tasks" "add task" "to job";
        AddTasks Once POST "jobs/{j}/addtaskcollection" "add tasks" "to job";
        ListTasks Reads GET "jobs/{j}/tasks" "list tasks" "of job";
        GetTask Reads GET "jobs/{j}/tasks/{t}" "get task";
        UpdateTask Repeatable PUT "jobs/{j}/tasks/{t}" "update task";
        DeleteTask Repeatable DELETE "jobs/{j}/tasks/{t}" "delete task";
        TerminateTask Once POST "jobs/{j}/tasks/{t}/terminate" "terminate task";
        ReactivateTask Once POST "jobs/{j}/tasks/{t}/reactivate" "reactivate task";
        ListSubtasks Reads GET "jobs/{j}/tasks/{t}/subtasksinfo" "list subtasks" "of task";
        ListTaskFiles Reads GET "jobs/{j}/tasks/{t}/files" "list task files";
        GetTaskFile Reads GET "jobs/{j}/tasks/{t}/files/{path}" "get task file";
        HeadTaskFile Reads HEAD "jobs/{j}/tasks/{t}/files/{path}" "get task file";
        DeleteTaskFile Repeatable DELETE "jobs/{j}/tasks/{t}/files/{path}" "delete task file";
    }
    Schedules {
        CreateSchedule Once POST "jobschedules" "create schedule";
        ListSchedules Reads GET "jobschedules" "list schedules";
        GetSchedule Reads GET "jobschedules/{s}" "get schedule";
        HeadSchedule Reads HEAD "jobschedules/{s}" "get schedule";
        PatchSchedule Repeatable PATCH "jobschedules/{s}" "patch schedule";
        UpdateSchedule Repeatable PUT "jobschedules/{s}" "update schedule";
        DeleteSchedule Repeatable DELETE "jobschedules/{s}" "delete schedule";
        DisableSchedule Once POST "jobschedules/{s}/disable" "disable schedule";
        EnableSchedule Once POST "jobschedules/{s}/enable" "enable schedule";
        TerminateSchedule Once POST "jobschedules/{s}/terminate" "terminate schedule";
        ListScheduleJobs Reads GET "jobschedules/{s}/jobs" "list schedule jobs";
    }
    Blobs {
        ListContainers Reads GET "?comp=list" "list containers";
        CreateContainer Once PUT "{container}" "create container";
        DeleteContainer Repeatable DELETE "{container}" "delete container";
        ListBlobs Reads GET "{container}?comp=list" "list blobs" "of container";
        ContainerExists Reads HEAD "{container}" "get container";
        PutBlob Repeatable PUT "{container}/{path}" "put blob";
        PutNewBlob Once PUT "{container}/{path}" "put blob";
        PutBlock Repeatable PUT "{container}/{path}?comp=block" "put block" "of blob";
        CommitBlob Repeatable PUT "{container}/{path}?comp=blocklist" "put block list" "of blob";
        CommitNewBlob Once PUT "{container}/{path}?comp=blocklist" "put block list" "of blob";
        GetBlockList Reads GET "{container}/{path}?comp=blocklist" "get block list" "of blob";
        GetBlob Reads GET "{container}/{path}" "get blob";
        HeadBlob Reads HEAD "{container}/{path}" "head blob";
        DeleteBlob Repeatable DELETE "{container}/{path}" "delete blob";
    }
}

/// The last placeholder of a path to files or blobs: it stands for one or more segments.
const REST: &str = "{path}";

impl Operation {
    /// Returns the name that messages and scenarios use: "add tasks".
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns what follows the name in a message, before the ids: "to job". It is empty if the name says it.
    pub fn on(self) -> &'static str {
        self.row().on
    }

    /// Returns what the operation changes.
    pub fn effect(self) -> Effect {
        self.row().effect
    }

    /// Returns what the operation is about.
    pub fn family(self) -> Family {
        self.row().family
    }

    /// Returns the service that has the operation.
    pub fn service(self) -> Service {
        if self.family() == Family::Blobs { Service::Blob } else { Service::Batch }
    }

    /// Returns the HTTP method.
    pub fn method(self) -> Method {
        self.row().method
    }

    /// Returns the path with placeholders: `jobs/{j}/tasks`. The path of a Blob operation may have a query.
    pub fn path(self) -> &'static str {
        self.row().path
    }

    /// Returns the segments of the path with these ids in place of the placeholders.
    pub fn segments<'a>(self, ids: &[&'a str]) -> Vec<&'a str> {
        debug_assert_eq!(ids.len(), self.path().matches('{').count(), "{self} with {ids:?}");
        let mut ids = ids.iter();
        let part = |part: &'static str| match part.starts_with('{') {
            true => ids.next().copied().unwrap_or(part),
            false => part,
        };
        self.path().split('/').map(part).collect()
    }

    /// Returns the operation of the Batch service that a request asks for, and the segments that stand for ids. The
    /// path is that of the URL, in segments. The segments of a file's path are the last ids.
    pub fn of_batch<'a>(method: &Method, path: &[&'a str]) -> Option<(Self, Vec<&'a str>)> {
        /// Method, segments of the path.
        type Rows = Vec<(Operation, Method, Vec<&'static str>)>;
        static ROWS: OnceLock<Rows> = OnceLock::new();
        let rows = ROWS.get_or_init(|| {
            let all = Self::ALL.iter().filter(|operation| operation.service() == Service::Batch);
            all.map(|operation| (*operation, operation.method(), operation.path().split('/').collect()))
                .collect()
        });
        rows.iter()
            .filter(|(_, of, _)| of == method)
            .find_map(|(operation, _, template)| Some((*operation, ids(template, path)?)))
    }

    /// Returns the operation of the Blob service that a request asks for. `has_blob` is true if the URL names a blob,
    /// and `comp` is the parameter of that name.
    pub fn of_blob(method: &Method, has_blob: bool, comp: &str) -> Option<Self> {
        let blobs = || Self::ALL.iter().copied().filter(|operation| operation.service() == Service::Blob);
        let path = if has_blob { "{container}/{path}" } else { "{container}" };
        let path = if comp.is_empty() { path.to_owned() } else { format!("{path}?comp={comp}") };
        blobs().find(|operation| operation.method() == method && operation.path() == path)
    }
}

/// Returns the segments that stand for placeholders, if the path fits.
fn ids<'a>(template: &[&str], path: &[&'a str]) -> Option<Vec<&'a str>> {
    let has_rest = template.last() == Some(&REST);
    if path.len() < template.len() || (path.len() > template.len() && !has_rest) {
        return None;
    }
    let mut ids = vec![];
    for (part, segment) in template.iter().zip(path) {
        match part.starts_with('{') {
            true => ids.push(*segment),
            false if part == segment => {}
            false => return None,
        }
    }
    ids.extend(&path[template.len()..]);
    Some(ids)
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_operation_is_found_by_its_own_path() {
        for operation in Operation::ALL.iter().filter(|operation| operation.service() == Service::Batch) {
            let path: Vec<_> = operation.path().split('/').collect();
            let (found, ids) = Operation::of_batch(&operation.method(), &path).unwrap();
            assert_eq!(found, *operation);
            assert_eq!(operation.segments(&ids), path);
        }
    }

    #[test]
    fn one_name_is_one_path() {
        for one in Operation::ALL {
            for other in Operation::ALL.iter().filter(|other| other.name() == one.name()) {
                let is_head = |operation: &Operation| operation.method() == Method::HEAD;
                assert_eq!(one.path(), other.path(), "{one}");
                assert!(one.method() == other.method() || is_head(one) || is_head(other), "{one}");
            }
        }
    }

    #[test]
    fn paths_that_no_operation_has_are_not_found() {
        for (method, path) in [
            (Method::PUT, "pools"),
            (Method::GET, "pools/p/resize"),
            (Method::GET, "jobs/j/tasks/t/nothing"),
            (Method::GET, ""),
        ] {
            let path: Vec<_> = path.split('/').collect();
            assert_eq!(Operation::of_batch(&method, &path), None, "{method} {path:?}");
        }
    }

    #[test]
    fn a_path_to_a_file_has_any_number_of_segments() {
        let path = ["jobs", "j", "tasks", "t", "files", "wd", "a.txt"];
        let found = Operation::of_batch(&Method::GET, &path).unwrap();
        assert_eq!(found, (Operation::GetTaskFile, vec!["j", "t", "wd", "a.txt"]));
    }

    #[test]
    fn blob_operations_are_found_by_method_and_comp() {
        for (method, has_blob, comp, expected) in [
            (Method::PUT, false, "", Some(Operation::CreateContainer)),
            (Method::GET, false, "list", Some(Operation::ListBlobs)),
            (Method::PUT, true, "", Some(Operation::PutBlob)),
            (Method::PUT, true, "blocklist", Some(Operation::CommitBlob)),
            (Method::GET, true, "blocklist", Some(Operation::GetBlockList)),
            (Method::GET, true, "tags", None),
        ] {
            assert_eq!(Operation::of_blob(&method, has_blob, comp), expected, "{method} {comp}");
        }
    }
}
