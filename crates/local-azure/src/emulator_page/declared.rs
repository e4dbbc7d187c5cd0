//! What is done with each field: declared here, and held against what the service answers.

use super::{described::Field, probe::Seen};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Here {
    /// Taken, shown again, and done.
    AsAzure,
    /// Taken and shown again, and nothing follows from it.
    Kept,
    /// Taken, and neither told to anybody nor followed by anything.
    Hidden,
    /// Refused, with this status and code.
    Refused(&'static str),
}

use Here::{AsAzure, Hidden, Kept, Refused};

/// One judgement of several fields.
pub struct Declared {
    pub here: Here,
    /// Fields as `Definition.property`, `*` for any definition or all properties; with `>` between them where a field is
    /// meant only inside of another. What is inside of a field is meant with it.
    pub fields: &'static str,
    /// Why, for people; nothing where all is as Azure.
    pub why: &'static str,
}

const fn declared(here: Here, fields: &'static str, why: &'static str) -> Declared {
    Declared { here, fields, why }
}

const NOT_HERE: Here = Refused("501 NotImplemented");
const NO_PACKAGE: Here = Refused("409 InvalidApplicationPackageReferences");

/// All of them; of several that fit the first counts.
pub const ALL: &[Declared] = &[
    declared(
        Refused("400 InvalidPropertyValue"),
        "JobPatchParameter.poolInfo>PoolInformation.autoPoolSpecification JobUpdateParameter.poolInfo>PoolInformation.autoPoolSpecification",
        "a job that is there keeps its pool, and whether that was made for it; Azure lets `keepAlive` be changed",
    ),
    declared(
        Hidden,
        "PoolSpecification.startTask>StartTask.containerSettings>TaskContainerSettings.registry>ContainerRegistry.password",
        "as the line after, and secrets are told to nobody",
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
        "secrets are told to nobody",
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
    // -- What tasks of every kind have
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

/// The judgement of a field.
pub struct Judged {
    pub by: &'static Declared,
    /// How many links of the field have to be known for it.
    pub links: usize,
    /// Whether it is only for what is inside of another thing.
    pub inside: bool,
}

/// The first that means a field.
pub fn of(field: &Field) -> Option<Judged> {
    let patterns = ALL.iter().flat_map(|by| by.fields.split_whitespace().map(move |pattern| (by, pattern)));
    patterns.into_iter().find_map(|(by, pattern)| {
        Some(Judged { by, links: meant(field, pattern)?, inside: pattern.contains('>') })
    })
}

/// How far a pattern goes that means a field, or one that it is inside of.
fn meant(field: &Field, pattern: &str) -> Option<usize> {
    let wanted: Vec<(&str, &str)> = pattern.split('>').filter_map(|link| link.split_once('.')).collect();
    let fits = |((definition, name), (wanted, property)): (&(String, String), &(&str, &str))| {
        (*wanted == "*" || wanted == definition) && (*property == "*" || property == name)
    };
    let at = field.chain.windows(wanted.len()).position(|links| links.iter().zip(&wanted).all(fits))?;
    Some(at + wanted.len())
}

/// What is wrong with the table, for a person who has to mend it.
pub fn faults(all: &[Seen]) -> Vec<String> {
    let (mut faults, mut used) = (vec![], vec![]);
    for seen in all {
        let (operation, path) = (seen.body.operation, seen.field.path());
        let found = match seen.shown {
            Some(false) => format!("{} and not shown", seen.told),
            _ => seen.told.clone(),
        };
        let Some(judged) = of(&seen.field) else {
            faults.push(format!("{operation} {path}: nothing is declared, and the answer is {found}"));
            continue;
        };
        used.push(judged.by.fields);
        let here = judged.by.here;
        let holds = match here {
            AsAzure | Kept => seen.is_taken() && seen.shown != Some(false),
            Hidden => seen.is_taken() && seen.shown != Some(true),
            Refused(code) => seen.told == code,
        };
        if !holds {
            faults.push(format!("{operation} {path}: {here:?} is declared, and the answer is {found}"));
        }
    }
    let unused = ALL.iter().filter(|one| !used.contains(&one.fields));
    faults.extend(unused.map(|one| format!("{}: declared, and there is no such field", one.fields)));
    faults
}
