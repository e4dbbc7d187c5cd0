//! Compares our types with the published description of the API: every property exists and none is misspelt.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "openapi/description.rs"]
mod description;

use description::Description;
use dropmill_azure_wire::{batch::*, error::*, secret::Secret};
use serde::{
    Serialize,
    de::{DeserializeOwned, Visitor, value::Error},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One of our types and the definition that it implements.
struct Pair {
    definition: &'static str,
    /// Returns the names of the properties that the type reads.
    fields: fn() -> &'static [&'static str],
    /// Deserialises a body and serialises it again.
    round_trip: fn(Value) -> Result<Value, serde_json::Error>,
}

fn pair<T: DeserializeOwned + Serialize>(definition: &'static str) -> Pair {
    let fields = || {
        let mut fields: &[&str] = &[];
        let _ = T::deserialize(FieldNames(&mut fields));
        fields
    };
    Pair { definition, fields, round_trip: |body| serde_json::to_value(serde_json::from_value::<T>(body)?) }
}

/// A deserializer that records the field names of a derived type and then fails.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(serde::de::Error::custom("only the field names are needed"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("expected a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Returns the types of request bodies.
fn requests() -> Vec<Pair> {
    vec![
        pair::<PoolAdd>("PoolAddParameter"),
        pair::<PoolPatch>("PoolPatchParameter"),
        pair::<PoolUpdateProperties>("PoolUpdatePropertiesParameter"),
        pair::<PoolResize>("PoolResizeParameter"),
        pair::<NodeRemove>("NodeRemoveParameter"),
        pair::<PoolEnableAutoScale>("PoolEnableAutoScaleParameter"),
        pair::<PoolEvaluateAutoScale>("PoolEvaluateAutoScaleParameter"),
        pair::<NodeReboot>("NodeRebootParameter"),
        pair::<NodeReimage>("NodeReimageParameter"),
        pair::<NodeDeallocate>("NodeDeallocateParameter"),
        pair::<NodeDisableScheduling>("NodeDisableSchedulingParameter"),
        pair::<NodeUserAdd>("ComputeNodeUser"),
        pair::<NodeUserUpdate>("NodeUpdateUserParameter"),
        pair::<UploadNodeLogs>("UploadBatchServiceLogsConfiguration"),
        pair::<JobAdd>("JobAddParameter"),
        pair::<JobPatch>("JobPatchParameter"),
        pair::<JobUpdate>("JobUpdateParameter"),
        pair::<JobDisable>("JobDisableParameter"),
        pair::<JobTerminate>("JobTerminateParameter"),
        pair::<TaskAdd>("TaskAddParameter"),
        pair::<TaskAddCollection>("TaskAddCollectionParameter"),
        pair::<TaskUpdate>("TaskUpdateParameter"),
    ]
}

/// Returns the types of response bodies.
fn responses() -> Vec<Pair> {
    vec![
        pair::<Pool>("CloudPool"),
        pair::<Page<Pool>>("CloudPoolListResult"),
        pair::<AutoScaleRun>("AutoScaleRun"),
        pair::<ComputeNode>("ComputeNode"),
        pair::<Page<ComputeNode>>("ComputeNodeListResult"),
        pair::<RemoteLoginSettings>("ComputeNodeGetRemoteLoginSettingsResult"),
        pair::<UploadNodeLogsResult>("UploadBatchServiceLogsResult"),
        pair::<Page<PoolNodeCounts>>("PoolNodeCountsListResult"),
        pair::<Page<ImageInformation>>("AccountListSupportedImagesResult"),
        pair::<Job>("CloudJob"),
        pair::<Page<Job>>("CloudJobListResult"),
        pair::<Page<JobPreparationAndReleaseStatus>>("CloudJobListPreparationAndReleaseTaskStatusResult"),
        pair::<TaskCountsResult>("TaskCountsResult"),
        pair::<Task>("CloudTask"),
        pair::<Page<Task>>("CloudTaskListResult"),
        pair::<TaskAddCollectionResult>("TaskAddCollectionResult"),
        pair::<Page<NodeFile>>("NodeFileListResult"),
        pair::<BatchErrorBody>("BatchError"),
    ]
}

/// Returns the types that are part of other types.
fn parts() -> Vec<Pair> {
    vec![
        pair::<PoolSpecification>("PoolSpecification"),
        pair::<VirtualMachineConfiguration>("VirtualMachineConfiguration"),
        pair::<ImageReference>("ImageReference"),
        pair::<ImageInformation>("ImageInformation"),
        pair::<TaskSchedulingPolicy>("TaskSchedulingPolicy"),
        pair::<ResizeError>("ResizeError"),
        pair::<AutoScaleRunError>("AutoScaleRunError"),
        pair::<StartTask>("StartTask"),
        pair::<ApplicationPackageReference>("ApplicationPackageReference"),
        pair::<MetadataItem>("MetadataItem"),
        pair::<NameValuePair>("NameValuePair"),
        pair::<ResourceFile>("ResourceFile"),
        pair::<OutputFile>("OutputFile"),
        pair::<OutputFileDestination>("OutputFileDestination"),
        pair::<OutputFileContainer>("OutputFileBlobContainerDestination"),
        pair::<OutputFileUploadOptions>("OutputFileUploadOptions"),
        pair::<HttpHeader>("HttpHeader"),
        pair::<NodeIdentityReference>("ComputeNodeIdentityReference"),
        pair::<EnvironmentSetting>("EnvironmentSetting"),
        pair::<UserIdentity>("UserIdentity"),
        pair::<AutoUser>("AutoUserSpecification"),
        pair::<TaskConstraints>("TaskConstraints"),
        pair::<TaskContainerSettings>("TaskContainerSettings"),
        pair::<AuthenticationTokenSettings>("AuthenticationTokenSettings"),
        pair::<JobConstraints>("JobConstraints"),
        pair::<PoolInfo>("PoolInformation"),
        pair::<AutoPoolSpecification>("AutoPoolSpecification"),
        pair::<JobManagerTask>("JobManagerTask"),
        pair::<JobPreparationTask>("JobPreparationTask"),
        pair::<JobReleaseTask>("JobReleaseTask"),
        pair::<JobExecutionInfo>("JobExecutionInformation"),
        pair::<JobPreparationAndReleaseStatus>("JobPreparationAndReleaseTaskExecutionInformation"),
        pair::<FailureInfo>("TaskFailureInformation"),
        pair::<FailureInfo>("JobSchedulingError"),
        pair::<TaskExecutionInfo>("TaskExecutionInformation"),
        pair::<NodeTaskInfo>("JobPreparationTaskExecutionInformation"),
        pair::<TaskNodeInfo>("ComputeNodeInformation"),
        pair::<AffinityInfo>("AffinityInformation"),
        pair::<MultiInstanceSettings>("MultiInstanceSettings"),
        pair::<TaskDependencies>("TaskDependencies"),
        pair::<TaskIdRange>("TaskIdRange"),
        pair::<ExitConditions>("ExitConditions"),
        pair::<ExitCodeMapping>("ExitCodeMapping"),
        pair::<ExitCodeRangeMapping>("ExitCodeRangeMapping"),
        pair::<ExitOptions>("ExitOptions"),
        pair::<TaskAddResult>("TaskAddResult"),
        pair::<TaskCounts>("TaskCounts"),
        pair::<TaskCounts>("TaskSlotCounts"),
        pair::<PoolNodeCounts>("PoolNodeCounts"),
        pair::<NodeCounts>("NodeCounts"),
        pair::<NodeFile>("NodeFile"),
        pair::<FileProperties>("FileProperties"),
        pair::<TaskInformation>("TaskInformation"),
        pair::<ComputeNodeError>("ComputeNodeError"),
        pair::<NodeAgentInfo>("NodeAgentInformation"),
        pair::<VirtualMachineInfo>("VirtualMachineInfo"),
        pair::<Subtask>("SubtaskInformation"),
        pair::<ErrorMessage>("ErrorMessage"),
        pair::<ErrorDetail>("BatchErrorDetail"),
    ]
}

fn all() -> Vec<Pair> {
    requests().into_iter().chain(responses()).chain(parts()).collect()
}

/// Properties of our types that version 20.0 does not describe, with the reason.
const NOT_OF_20: &[(&str, &str)] = &[
    ("odata.metadata", "in every response, but never described"),
    ("cloudServiceConfiguration", "until 19.0"),
    ("applicationLicenses", "until 19.0"),
    ("ipv6Address", "since 2025-06-01"),
    ("ipv6RemoteLoginIPAddress", "since 2025-06-01"),
    ("ipv6RemoteLoginPort", "since 2025-06-01"),
    ("jobDefaultOrder", "since 2025-06-01"),
    ("blobSource", "the name of httpUrl until 2018-08"),
];

#[test]
fn our_properties_are_those_of_the_description_of_20() {
    let description = Description::of_20();
    let mut used = BTreeSet::new();
    for pair in all() {
        let ours: BTreeSet<&str> = (pair.fields)().iter().copied().collect();
        let theirs: BTreeSet<&str> = description.properties(pair.definition).into_iter().collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "{} lacks {missing:?}", pair.definition);
        for extra in ours.difference(&theirs) {
            assert!(NOT_OF_20.iter().any(|(name, _)| name == extra), "{} has {extra}", pair.definition);
            used.insert(*extra);
        }
    }
    assert_eq!(used.len(), NOT_OF_20.len(), "an exception is unused; used: {used:?}");
}

#[test]
fn our_types_have_every_property_of_19() {
    let description = Description::of_19();
    for pair in all().iter().filter(|pair| pair.definition != "NodeDeallocateParameter") {
        let ours = (pair.fields)();
        for property in description.properties(pair.definition) {
            assert!(ours.contains(&property), "{} lacks {property}", pair.definition);
        }
    }
    let fields = (pair::<CloudServiceConfiguration>("").fields)();
    assert_eq!(fields, description.properties("CloudServiceConfiguration"));
}

/// Properties of our types that version 2025-06-01 does not have, with the reason.
const NOT_OF_2025: &[(&str, &str)] = &[
    ("odata.metadata", "in every response, but never described"),
    ("cloudServiceConfiguration", "until 19.0"),
    ("applicationLicenses", "until 19.0"),
    ("blobSource", "the name of httpUrl until 2018-08"),
    ("authenticationTokenSettings", "until 20.0"),
    ("certificateReferences", "until 20.0"),
    ("currentNodeCommunicationMode", "until 20.0"),
    ("targetNodeCommunicationMode", "until 20.0"),
    ("resourceTags", "until 20.0"),
];

#[test]
fn our_properties_are_those_of_2025() {
    let description = Description::of_2025();
    let mut used = BTreeSet::new();
    let mut compared = 0;
    for pair in all().iter().filter(|pair| description.has(pair.definition)) {
        compared += 1;
        let ours: BTreeSet<&str> = (pair.fields)().iter().copied().collect();
        let theirs: BTreeSet<&str> = description.properties(pair.definition).into_iter().collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "{} lacks {missing:?}", pair.definition);
        for extra in ours.difference(&theirs) {
            assert!(NOT_OF_2025.iter().any(|(name, _)| name == extra), "{} has {extra}", pair.definition);
            used.insert(*extra);
        }
    }
    assert!(compared > 60, "{compared}");
    assert_eq!(used.len(), NOT_OF_2025.len(), "an exception is unused; used: {used:?}");
}

#[test]
fn a_body_with_every_property_survives_a_round_trip() {
    let described = |pair: &Pair, description: &Description| description.has(pair.definition);
    for description in [Description::of_2025(), Description::of_20(), Description::of_19()] {
        for pair in all().into_iter().filter(|pair| described(pair, &description)) {
            if pair.definition == "NodeDeallocateParameter" && description.properties("NodeCounts").len() < 17
            {
                continue;
            }
            let body = description.full_body(pair.definition);
            let mut ours = (pair.round_trip)(body.clone()).unwrap();
            as_described(&mut ours, &body);
            assert_eq!(ours, body, "{}", pair.definition);
        }
    }
}

/// Reverts the two known differences of our output: file lengths are strings on the wire, and counts that
/// only 20.0 has are also written for 19.0.
fn as_described(ours: &mut Value, body: &Value) {
    match (ours, body) {
        (Value::Object(ours), Value::Object(body)) => {
            if body.contains_key("waitingForStartTask") {
                ours.retain(|name, count| body.contains_key(name) || *count != json!(0));
            }
            for (name, ours) in ours {
                as_described(ours, body.get(name).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(ours), Value::Array(body)) => {
            ours.iter_mut().zip(body).for_each(|(ours, body)| as_described(ours, body));
        }
        (ours @ Value::String(_), Value::Number(number)) if *ours == json!(number.to_string()) => {
            *ours = json!(number)
        }
        _ => {}
    }
}

#[test]
fn every_request_with_all_its_properties_is_valid() {
    let description = Description::of_20();
    for pair in requests() {
        let mut body = description.full_body(pair.definition);
        without_read_only(&mut body);
        let ours = (pair.round_trip)(body).unwrap();
        assert_eq!(description.problems_of_request(pair.definition, &ours), [""; 0], "{}", pair.definition);
    }
}

/// Removes the properties that only the service sets: `exactVersion` and the ids of identities.
fn without_read_only(body: &mut Value) {
    match body {
        Value::Object(properties) => {
            properties.retain(|name, _| name != "exactVersion");
            properties.values_mut().for_each(without_read_only);
        }
        Value::Array(items) => items.iter_mut().for_each(without_read_only),
        _ => {}
    }
}

#[test]
fn misspelt_unexpected_and_mistyped_properties_are_detected() {
    let description = Description::of_20();
    let faults = |definition, body: Value| description.problems_of_request(definition, &body).len();
    assert_eq!(faults("TaskAddParameter", json!({"id": "t", "commandLine": "c"})), 0);
    for body in [
        json!({"id": "t"}),
        json!({"id": "t", "commandLine": "c", "commandline": "c"}),
        json!({"id": "t", "commandLine": null}),
        json!({"id": "t", "commandLine": "c", "constraints": {"maxWallclockTime": "PT1M"}}),
        json!({"id": "t", "commandLine": "c", "requiredSlots": "1"}),
        json!({"id": "t", "commandLine": "c", "outputFiles": [{"filePattern": "*", "destination": {},
               "uploadOptions": {"uploadCondition": "never"}}]}),
    ] {
        assert_eq!(faults("TaskAddParameter", body.clone()), 1, "{body}");
    }
    let image = json!({"imageReference": {"exactVersion": "1"}, "nodeAgentSKUId": "n"});
    assert_eq!(faults("PoolPatchParameter", json!({"virtualMachineConfiguration": image})), 1);
}

#[test]
fn requests_built_by_constructors_are_valid() {
    let url = || Secret::new("http://127.0.0.1/c?sig=x");
    let task = TaskAdd {
        id: "t".into(),
        command_line: "c".into(),
        resource_files: Some(vec![ResourceFile::from_url(url(), "f"), ResourceFile::from_container(url())]),
        output_files: Some(vec![OutputFile::to_container("*", url(), None, UploadCondition::TaskSuccess)]),
        environment_settings: Some(vec![EnvironmentSetting::new("N", "v")]),
        ..Default::default()
    };
    let tasks = serde_json::to_value(TaskAddCollection { value: vec![task] }).unwrap();
    let job = serde_json::to_value(JobAdd {
        id: "j".into(),
        pool_info: PoolInfo { pool_id: Some("p".into()), ..Default::default() },
        metadata: Some(vec![MetadataItem::new("n", "v")]),
        ..Default::default()
    });
    for description in [Description::of_2025(), Description::of_20(), Description::of_19()] {
        assert_eq!(description.problems_of_request("TaskAddCollectionParameter", &tasks), [""; 0]);
        assert_eq!(description.problems_of_request("JobAddParameter", job.as_ref().unwrap()), [""; 0]);
    }
}

/// Returns the values of an enum, which is a property of a definition or a definition itself.
fn described(description: &Description, at: &str) -> Vec<String> {
    let (definition, property) = at.split_once('.').unwrap_or((at, ""));
    let schema = description.definition(definition);
    let schema = if property.is_empty() { schema } else { &schema["properties"][property] };
    let mut values: Vec<String> = serde_json::from_value(schema["enum"].clone()).unwrap();
    values.sort();
    values
}

#[test]
fn every_enum_value_is_known_and_written_as_described() {
    let description = Description::of_20();
    fn check(description: &Description, at: &str, known: Vec<&str>) {
        let mut known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        known.sort();
        assert_eq!(known, described(description, at), "{at}");
    }
    macro_rules! values {
        ($($enum:ident: $at:literal,)+) => {
            $( check(&description, $at, $enum::KNOWN.iter().map(|value| value.as_str()).collect()); )+
        };
    }
    values! {
        PoolState: "CloudPool.state",
        AllocationState: "CloudPool.allocationState",
        NodeFillType: "TaskSchedulingPolicy.nodeFillType",
        NodeCommunicationMode: "NodeCommunicationMode",
        NodeDeallocationOption: "ComputeNodeDeallocationOption",
        NodeDeallocationOption: "NodeRebootParameter.nodeRebootOption",
        NodeDeallocationOption: "NodeReimageParameter.nodeReimageOption",
        NodeState: "ComputeNode.state",
        SchedulingState: "ComputeNode.schedulingState",
        JobState: "JobState",
        OnAllTasksComplete: "OnAllTasksComplete",
        OnTaskFailure: "OnTaskFailure",
        DisableTasks: "JobDisableParameter.disableTasks",
        PoolLifetime: "AutoPoolSpecification.poolLifetimeOption",
        TaskState: "TaskState",
        TaskResult: "TaskExecutionResult",
        ErrorCategory: "ErrorCategory",
        NodeTaskState: "StartTaskInformation.state",
        JobAction: "ExitOptions.jobAction",
        DependencyAction: "ExitOptions.dependencyAction",
        TaskAddStatus: "TaskAddResult.status",
        UploadCondition: "OutputFileUploadCondition",
        AutoUserScope: "AutoUserSpecification.scope",
        ElevationLevel: "ElevationLevel",
        ContainerWorkingDirectory: "TaskContainerSettings.workingDirectory",
        OsType: "ImageInformation.osType",
        VerificationType: "ImageInformation.verificationType",
    }
}

/// Returns the kind of a property in the format of `src/batch/requests.txt`.
fn kind(description: &Description, property: &serde_json::Value) -> String {
    let words = |words: &serde_json::Value| {
        let words = words.as_array()?.iter().filter_map(|word| word.as_str());
        let words: Vec<_> = words.collect();
        Some(words.join("|") + if words.len() == 1 { "|" } else { "" })
    };
    if let Some(name) = property["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        let definition = description.definition(name);
        return words(&definition["enum"]).unwrap_or_else(|| match definition["type"].as_str() {
            Some("string") => "text".into(),
            _ => name.into(),
        });
    }
    match property["type"].as_str() {
        Some("string") => words(&property["enum"]).unwrap_or_else(|| "text".into()),
        Some("integer" | "number") => "number".into(),
        Some("boolean") => "truth".into(),
        Some("array") => format!("[{}]", kind(description, &property["items"])),
        _ => "any".into(),
    }
}

/// Properties that old clients still send but that are in none of the descriptions.
const OLDER: &[(&str, &str)] = &[("ResourceFile", "blobSource")];

/// Returns the line of a definition for `src/batch/requests.txt`, from the descriptions of 19.0, 20.0 and
/// 2025-06-01.
fn line_of(name: &str, versions: &[Description; 3]) -> String {
    let of = |description: &Description| -> Option<BTreeMap<String, String>> {
        let kind = |each: &str| kind(description, &description.definition(name)["properties"][each]);
        let properties = description.has(name).then(|| description.properties(name))?;
        Some(properties.into_iter().map(|each| (each.to_owned(), kind(each))).collect())
    };
    let versions = versions.each_ref().map(of);
    let mut properties: BTreeMap<String, String> =
        versions.iter().flatten().rev().flatten().map(|(name, kind)| (name.clone(), kind.clone())).collect();
    for (_, older) in OLDER.iter().filter(|(of, _)| *of == name) {
        properties.insert((*older).to_owned(), "text".to_owned());
    }
    let property = |(each, kind): (&String, &String)| {
        // Ignore versions that lack the whole definition.
        let has = versions
            .each_ref()
            .map(|version| version.as_ref().map(|properties| properties.contains_key(each)));
        let mark = match has {
            [_, Some(false), Some(false)] => "<=19.0",
            [_, Some(true), Some(false)] => "<=20.0",
            [Some(false), Some(false), Some(true)] => ">=2025-06-01",
            [Some(false), Some(true), Some(true) | None] => ">=20.0",
            [Some(true) | None, Some(true) | None, Some(true) | None] => "",
            [Some(true), Some(false), None] => "<=19.0",
            other => panic!("{name}.{each}: {other:?}"),
        };
        // The newest version has all values of the older ones.
        let words = versions[2]
            .as_ref()
            .and_then(|properties| properties.get(each))
            .filter(|kind| kind.contains('|'));
        format!(" {each}{mark}:{}", words.unwrap_or(kind))
    };
    format!("{name}{}", properties.iter().map(property).collect::<String>())
}

#[test]
fn requests_txt_is_equal_to_the_descriptions() {
    let versions = [Description::of_19(), Description::of_20(), Description::of_2025()];
    let list = include_str!("../src/batch/requests.txt");
    let (requests, _) = list.split_once("\n\n").unwrap();
    // All definitions of requests, and transitively all that they refer to.
    let mut open: Vec<String> =
        requests.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    let mut lines = BTreeMap::new();
    while let Some(name) = open.pop() {
        if lines.contains_key(&name) {
            continue;
        }
        let line = line_of(&name, &versions);
        let kinds = line.split(' ').filter_map(|part| part.split_once(':'));
        let kinds = kinds.map(|(_, kind)| kind.trim_matches(['[', ']']));
        open.extend(kinds.filter(|kind| versions.iter().any(|version| version.has(kind))).map(str::to_owned));
        lines.insert(name, line);
    }
    let lines: Vec<_> = lines.into_values().collect();
    let expected = format!("{requests}\n\n{}\n", lines.join("\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/batch/requests.txt");
        return std::fs::write(path, expected).unwrap();
    }
    assert_eq!(list, expected, "rewrite it with UPDATE_DOCS=1");
}
