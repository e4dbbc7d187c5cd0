//! The treatment of each field: declared here, and checked against the responses of the service.

use super::{described::Field, probe::Seen};

/// The treatment of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Here {
    /// Accepted, returned and effective.
    AsAzure,
    /// Accepted and returned, but without effect.
    Kept,
    /// Accepted, but neither returned nor effective.
    Hidden,
    /// Rejected with this status and code.
    Refused(&'static str),
}

use Here::{AsAzure, Hidden, Kept, Refused};

/// A declaration for several fields.
pub struct Declared {
    pub here: Here,
    /// Fields as `Definition.property`, with `*` for any definition or all properties; with `>` between them
    /// if a field is meant only inside another. Everything inside a field is included.
    pub fields: &'static str,
    /// Reason, for people; empty if all is as on Azure.
    pub why: &'static str,
}

const fn declared(here: Here, fields: &'static str, why: &'static str) -> Declared {
    Declared { here, fields, why }
}

const NOT_HERE: Here = Refused("501 NotImplemented");
const NO_PACKAGE: Here = Refused("409 InvalidApplicationPackageReferences");

/// All declarations; the first match counts.
pub const ALL: &[Declared] = &[
    declared(
        Refused("400 InvalidPropertyValue"),
        "JobPatchParameter.poolInfo>PoolInformation.autoPoolSpecification JobUpdateParameter.poolInfo>PoolInformation.autoPoolSpecification",
        "a job that is there keeps its pool, and whether that was made for it; Azure lets `keepAlive` be changed",
    ),
    declared(
        Hidden,
        "PoolSpecification.startTask>StartTask.containerSettings>TaskContainerSettings.registry>ContainerRegistry.password",
        "as the line after, and secrets are never returned",
    ),
    declared(
        Kept,
        "PoolSpecification.startTask>StartTask.containerSettings PoolSpecification.applicationPackageReferences",
        "the pool cannot be made with it, and the job ends with `InvalidAutoPoolSettings`",
    ),
    declared(NOT_HERE, "*.containerSettings", "tasks in containers"),
    declared(
        AsAzure,
        "MultiInstanceSettings.numberOfInstances MultiInstanceSettings.coordinationCommandLine",
        "",
    ),
    declared(
        NO_PACKAGE,
        "*.applicationPackageReferences",
        "as Azure says of a package that is not there: those that are, `serve --application` declares",
    ),
    declared(
        Hidden,
        "ContainerRegistry.password UserAccount.password LinuxUserConfiguration.sshPrivateKey \
         AzureBlobFileSystemConfiguration.accountKey AzureBlobFileSystemConfiguration.sasKey \
         AzureFileShareConfiguration.accountKey CIFSMountConfiguration.password VMExtension.protectedSettings",
        "secrets are never returned",
    ),
    declared(
        Kept,
        "*.vmSize *.virtualMachineConfiguration *.upgradePolicy *.resourceTags",
        "every node is this machine",
    ),
    declared(
        Kept,
        "*.networkConfiguration *.targetNodeCommunicationMode",
        "every node has this machine's network",
    ),
    declared(Kept, "*.userAccounts *.userIdentity", "every task runs as the user who runs the service"),
    declared(Kept, "*.mountConfiguration", "nothing is mounted"),
    declared(Kept, "*.certificateReferences", "certificates are retired on Azure"),
    declared(Kept, "*.identityReference", "storage is asked with the SAS in the address alone"),
    declared(Kept, "*.authenticationTokenSettings", "no token is made; retired on Azure"),
    declared(
        Kept,
        "JobManagerTask.allowLowPriorityNode",
        "nodes are never preempted, so that it may run on any",
    ),
    declared(
        Kept,
        "OutputFileBlobContainerDestination.uploadHeaders",
        "outputs are stored without headers of their own",
    ),
    declared(Kept, "ComputeNodeUser.* NodeUpdateUserParameter.*", "nobody logs in to a node"),
    declared(
        AsAzure,
        "UploadBatchServiceLogsConfiguration.containerUrl UploadBatchServiceLogsConfiguration.startTime \
         UploadBatchServiceLogsConfiguration.endTime",
        "",
    ),
    // -- As Azure: pools
    declared(
        AsAzure,
        "PoolAddParameter.id *.displayName *.metadata *.resizeTimeout *.targetDedicatedNodes *.targetLowPriorityNodes \
         *.enableAutoScale *.autoScaleFormula *.autoScaleEvaluationInterval *.taskSlotsPerNode *.taskSchedulingPolicy \
         *.enableInterNodeCommunication",
        "",
    ),
    declared(AsAzure, "*.nodeDeallocationOption NodeRemoveParameter.nodeList", ""),
    declared(
        AsAzure,
        "NodeRebootParameter.* NodeReimageParameter.* NodeDeallocateParameter.* NodeDisableSchedulingParameter.*",
        "",
    ),
    declared(AsAzure, "StartTask.commandLine StartTask.maxTaskRetryCount StartTask.waitForSuccess", ""),
    // -- Properties of all kinds of tasks
    declared(AsAzure, "EnvironmentSetting.name EnvironmentSetting.value", ""),
    declared(
        AsAzure,
        "ResourceFile.httpUrl ResourceFile.filePath ResourceFile.fileMode ResourceFile.storageContainerUrl \
         ResourceFile.autoStorageContainerName ResourceFile.blobPrefix",
        "",
    ),
    declared(
        AsAzure,
        "OutputFile.filePattern OutputFileBlobContainerDestination.path OutputFileBlobContainerDestination.containerUrl \
         OutputFileUploadOptions.uploadCondition",
        "",
    ),
    declared(
        AsAzure,
        "TaskConstraints.maxWallClockTime TaskConstraints.retentionTime TaskConstraints.maxTaskRetryCount",
        "",
    ),
    // -- Jobs
    declared(
        AsAzure,
        "JobAddParameter.id *.priority *.maxParallelTasks *.onAllTasksComplete *.onTaskFailure *.usesTaskDependencies \
         *.allowTaskPreemption",
        "",
    ),
    declared(AsAzure, "JobConstraints.maxWallClockTime JobConstraints.maxTaskRetryCount", ""),
    declared(
        AsAzure,
        "PoolInformation.poolId AutoPoolSpecification.autoPoolIdPrefix AutoPoolSpecification.poolLifetimeOption \
         AutoPoolSpecification.keepAlive",
        "",
    ),
    declared(
        AsAzure,
        "JobManagerTask.id JobManagerTask.commandLine JobManagerTask.requiredSlots JobManagerTask.killJobOnCompletion \
         JobManagerTask.runExclusive",
        "",
    ),
    declared(
        AsAzure,
        "JobPreparationTask.id JobPreparationTask.commandLine JobPreparationTask.waitForSuccess \
         JobPreparationTask.rerunOnNodeRebootAfterSuccess",
        "",
    ),
    declared(
        AsAzure,
        "JobReleaseTask.id JobReleaseTask.commandLine JobReleaseTask.maxWallClockTime JobReleaseTask.retentionTime",
        "",
    ),
    declared(AsAzure, "JobDisableParameter.disableTasks JobTerminateParameter.terminateReason", ""),
    // -- Tasks
    declared(AsAzure, "TaskAddParameter.id TaskAddParameter.commandLine TaskAddParameter.requiredSlots", ""),
    declared(
        AsAzure,
        "AffinityInformation.affinityId TaskDependencies.taskIds TaskIdRange.start TaskIdRange.end",
        "",
    ),
    declared(
        AsAzure,
        "ExitOptions.jobAction ExitOptions.dependencyAction ExitCodeMapping.code ExitCodeRangeMapping.start \
         ExitCodeRangeMapping.end",
        "",
    ),
    // -- Schedules
    declared(
        AsAzure,
        "JobScheduleAddParameter.id Schedule.doNotRunUntil Schedule.doNotRunAfter Schedule.startWindow \
         Schedule.recurrenceInterval",
        "",
    ),
];

/// The declaration for a field.
pub struct Judged {
    pub by: &'static Declared,
    /// Number of links of the field that it depends on.
    pub links: usize,
    /// Whether it applies only inside another object.
    pub inside: bool,
}

/// Returns the first declaration that matches a field.
pub fn of(field: &Field) -> Option<Judged> {
    let patterns = ALL.iter().flat_map(|by| by.fields.split_whitespace().map(move |pattern| (by, pattern)));
    patterns.into_iter().find_map(|(by, pattern)| {
        Some(Judged { by, links: meant(field, pattern)?, inside: pattern.contains('>') })
    })
}

/// Returns the length of the match of a pattern with a field or its parents.
fn meant(field: &Field, pattern: &str) -> Option<usize> {
    let wanted: Vec<(&str, &str)> = pattern.split('>').filter_map(|link| link.split_once('.')).collect();
    let fits = |((definition, name), (wanted, property)): (&(String, String), &(&str, &str))| {
        (*wanted == "*" || wanted == definition) && (*property == "*" || property == name)
    };
    let at = field.chain.windows(wanted.len()).position(|links| links.iter().zip(&wanted).all(fits))?;
    Some(at + wanted.len())
}

/// Returns the problems of the table, for its maintainer.
pub fn faults(all: &[Seen]) -> Vec<String> {
    let (mut faults, mut used) = (vec![], vec![]);
    for seen in all {
        let (operation, path) = (seen.body.operation, seen.field.path());
        let found = match seen.shown {
            Some(false) => format!("{} and not shown", seen.outcome),
            _ => seen.outcome.clone(),
        };
        let Some(judged) = of(&seen.field) else {
            faults.push(format!("{operation} {path}: nothing is declared, but the response is {found}"));
            continue;
        };
        used.push(judged.by.fields);
        let here = judged.by.here;
        let holds = match here {
            AsAzure | Kept => seen.is_taken() && seen.shown != Some(false),
            Hidden => seen.is_taken() && seen.shown != Some(true),
            Refused(code) => seen.outcome == code,
        };
        if !holds {
            faults.push(format!("{operation} {path}: {here:?} is declared, but the response is {found}"));
        }
    }
    let unused = ALL.iter().filter(|one| !used.contains(&one.fields));
    faults.extend(unused.map(|one| format!("{}: declared, but there is no such field", one.fields)));
    faults
}
