//! Test values for fields that do not accept every value of their type. Texts are JSON; `NODE` is the id of a
//! node.

/// Values by `Definition.property`, or by property in any definition.
pub const VALUES: &[(&str, &str)] = &[
    ("poolId", r#""p""#),
    ("nodeList", r#"["NODE"]"#),
    ("poolLifetimeOption", r#""job""#),
    ("autoScaleFormula", r#""$TargetDedicatedNodes = 0;""#),
    ("httpUrl", r#""http://127.0.0.1:1/f""#),
    ("storageContainerUrl", r#""http://127.0.0.1:1/c""#),
    ("containerUrl", r#""http://127.0.0.1:1/c""#),
    ("taskIds", r#"["t"]"#),
    ("virtualMachineImageId", r#""/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i""#),
    ("OutputFile.filePattern", r#""*.txt""#),
];

/// A minimal object for a definition whose required properties are not enough; or beside one of its
/// properties.
pub const BESIDE: &[(&str, &str)] = &[
    ("PoolInformation", r#"{"poolId":"p"}"#),
    ("PoolInformation.autoPoolSpecification", "{}"),
    (
        "AutoPoolSpecification",
        r#"{"poolLifetimeOption":"job","pool":{"vmSize":"a1","virtualMachineConfiguration":{"imageReference":{},"nodeAgentSKUId":"x"}}}"#,
    ),
    (
        "PoolSpecification",
        r#"{"vmSize":"a1","virtualMachineConfiguration":{"imageReference":{},"nodeAgentSKUId":"x"}}"#,
    ),
    ("ResourceFile", r#"{"httpUrl":"http://127.0.0.1:1/f","filePath":"f"}"#),
    ("ResourceFile.storageContainerUrl", "{}"),
    ("ResourceFile.autoStorageContainerName", "{}"),
    ("ResourceFile.blobPrefix", r#"{"storageContainerUrl":"http://127.0.0.1:1/c"}"#),
    ("OutputFileDestination", r#"{"container":{"containerUrl":"http://127.0.0.1:1/c"}}"#),
];

/// Properties that the owner must also set if a property is set.
pub const WITH: &[(&str, &[(&str, &str)])] = &[
    ("JobAddParameter.jobReleaseTask", &[("jobPreparationTask", r#"{"commandLine":"x"}"#)]),
    ("JobSpecification.jobReleaseTask", &[("jobPreparationTask", r#"{"commandLine":"x"}"#)]),
    ("PoolAddParameter.autoScaleFormula", &[("enableAutoScale", "true")]),
    ("PoolAddParameter.enableAutoScale", &[("autoScaleFormula", r#""x = 1;""#)]),
    (
        "PoolAddParameter.autoScaleEvaluationInterval",
        &[("enableAutoScale", "true"), ("autoScaleFormula", r#""x = 1;""#)],
    ),
    ("PoolSpecification.autoScaleFormula", &[("enableAutoScale", "true")]),
    ("PoolSpecification.enableAutoScale", &[("autoScaleFormula", r#""x = 1;""#)]),
    (
        "PoolSpecification.autoScaleEvaluationInterval",
        &[("enableAutoScale", "true"), ("autoScaleFormula", r#""x = 1;""#)],
    ),
];
