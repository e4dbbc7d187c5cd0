//! The published description of Azure Batch: definitions of request and response bodies.

use serde_json::{Map, Value, json};

/// The models and operations of an official client of version 2025-06-01.
const MODELS: &str = include_str!("azure-batch-15.1.0.wire.json");

/// The definitions of one version of the API.
pub struct Description {
    definitions: Map<String, Value>,
}

/// Returns the operation of version 2025-06-01 that matches a request, as the official client sends it:
/// `method`, `path`, names in `query`, `headers`, `success` codes.
#[allow(dead_code, reason = "the tests of one crate alone ask for it")]
pub fn operation(method: &str, path: &str) -> Value {
    let document: Value = serde_json::from_str(MODELS).expect("the models are JSON");
    let matches_path = |known: &str| {
        let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
        known.len() == path.len()
            && known.iter().zip(&path).all(|(known, part)| known.starts_with('{') || known == part)
    };
    let operations = document["operations"].as_array().expect("a list of operations");
    let found = operations
        .iter()
        .find(|each| each["method"] == method && each["path"].as_str().is_some_and(matches_path));
    found.unwrap_or_else(|| panic!("{method} {path} is not an operation")).clone()
}

impl Description {
    /// Returns the description of version 2024-07-01.20.0.
    pub fn of_20() -> Self {
        Self::read(include_str!("BatchService-2024-07-01.20.0.definitions.json"))
    }

    /// Returns the description of version 2025-06-01, which our client uses: the models of an official
    /// client, under the names of the older descriptions.
    pub fn of_2025() -> Self {
        let document: Value = serde_json::from_str(MODELS).expect("the models are JSON");
        let models = document["models"].as_object().expect("models by name");
        let define = |model: &str| {
            let properties = models[model].as_object().expect("properties by name");
            let required: Vec<&String> = properties
                .iter()
                .filter(|(_, each)| each["required"] == json!(true))
                .map(|(name, _)| name)
                .collect();
            let schema =
                |each: &Value| schema_of(each["type"].as_str().unwrap_or_default(), &document["enums"]);
            let properties: Map<String, Value> =
                properties.iter().map(|(name, each)| (name.clone(), schema(each))).collect();
            let mut definition = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                definition["required"] = json!(required);
            }
            definition
        };
        let same = models
            .keys()
            .filter(|model| RENAMED.iter().all(|(_, new)| new != model))
            .map(|model| (&**model, &**model));
        let definitions = RENAMED.iter().copied().chain(same);
        Self { definitions: definitions.map(|(name, model)| (name.to_owned(), define(model))).collect() }
    }

    /// Returns `true` if there is a definition of this name.
    pub fn has(&self, name: &str) -> bool {
        self.definitions.contains_key(name)
    }

    /// Returns the description of version 2024-02-01.19.0.
    pub fn of_19() -> Self {
        Self::read(include_str!("BatchService-2024-02-01.19.0.definitions.json"))
    }

    fn read(text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).expect("the description is JSON");
        let Value::Object(definitions) = document["definitions"].take() else { panic!("no definitions") };
        Self { definitions }
    }

    /// Returns the definition of this name.
    pub fn definition(&self, name: &str) -> &Value {
        self.definitions.get(name).unwrap_or_else(|| panic!("{name} is not defined"))
    }

    /// Returns the sorted property names of a definition.
    pub fn properties(&self, name: &str) -> Vec<&str> {
        let properties = self.definition(name)["properties"].as_object();
        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// Returns the problems of a request body, one per line; empty if it is valid. Stricter than the service:
    /// unknown properties and those that only the service sets are problems.
    pub fn problems_of_request(&self, definition: &str, body: &Value) -> Vec<String> {
        let mut definitions = self.definitions.clone();
        definitions.values_mut().for_each(close);
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "$ref": format!("#/definitions/{definition}"),
            "definitions": definitions,
        });
        let validator = jsonschema::validator_for(&schema).expect("the description is a schema");
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Returns a body with all properties; arrays of enums contain all values.
    pub fn full_body(&self, definition: &str) -> Value {
        self.full(definition, self.definition(definition))
    }

    fn full(&self, name: &str, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let definition = reference.rsplit('/').next().expect("a reference names its definition");
            return self.full(name, self.definition(definition));
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[name.len() % values.len()].clone();
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), Some("date-time")) => json!("2024-04-10T07:12:44.1234567Z"),
            (Some("string"), Some("duration")) => json!("P1DT2H3M4.5S"),
            (Some("string"), _) => json!(format!("the {name}")),
            (Some("integer"), _) => json!(7),
            (Some("number"), _) => json!(1.5),
            (Some("boolean"), _) => json!(true),
            (Some("array"), _) => match schema["items"]["enum"].as_array() {
                Some(values) => json!(values),
                None => json!([self.full(name, &schema["items"])]),
            },
            _ => match schema["properties"].as_object() {
                Some(properties) => {
                    properties.iter().map(|(name, schema)| (name.clone(), self.full(name, schema))).collect()
                }
                None => json!({"any": "thing"}),
            },
        }
    }
}

/// Names of definitions that version 2025-06-01 renamed, old and new.
const RENAMED: &[(&str, &str)] = &[
    ("AffinityInformation", "BatchAffinityInfo"),
    ("ApplicationPackageReference", "BatchApplicationPackageReference"),
    ("ApplicationSummary", "BatchApplication"),
    ("AutoPoolSpecification", "BatchAutoPoolSpecification"),
    ("AutomaticOSUpgradePolicy", "AutomaticOsUpgradePolicy"),
    ("CIFSMountConfiguration", "CifsMountConfiguration"),
    ("CloudJob", "BatchJob"),
    ("CloudJobSchedule", "BatchJobSchedule"),
    ("CloudPool", "BatchPool"),
    ("CloudTask", "BatchTask"),
    ("ComputeNode", "BatchNode"),
    ("ComputeNodeEndpointConfiguration", "BatchNodeEndpointConfiguration"),
    ("ComputeNodeError", "BatchNodeError"),
    ("ComputeNodeGetRemoteLoginSettingsResult", "BatchNodeRemoteLoginSettings"),
    ("ComputeNodeIdentityReference", "BatchNodeIdentityReference"),
    ("ComputeNodeInformation", "BatchNodeInfo"),
    ("ComputeNodeUser", "BatchNodeUserCreateOptions"),
    ("ContainerConfiguration", "BatchContainerConfiguration"),
    ("ContainerRegistry", "ContainerRegistryReference"),
    ("DiffDiskSettings", "BatchDiffDiskSettings"),
    ("ErrorMessage", "BatchErrorMessage"),
    ("HttpHeader", "OutputFileUploadHeader"),
    ("ImageInformation", "BatchSupportedImage"),
    ("ImageReference", "BatchVmImageReference"),
    ("InboundNATPool", "BatchInboundNatPool"),
    ("JobAddParameter", "BatchJobCreateOptions"),
    ("JobConstraints", "BatchJobConstraints"),
    ("JobDisableParameter", "BatchJobDisableOptions"),
    ("JobExecutionInformation", "BatchJobExecutionInfo"),
    ("JobManagerTask", "BatchJobManagerTask"),
    ("JobNetworkConfiguration", "BatchJobNetworkConfiguration"),
    ("JobPatchParameter", "BatchJobUpdateOptions"),
    ("JobPreparationAndReleaseTaskExecutionInformation", "BatchJobPreparationAndReleaseTaskStatus"),
    ("JobPreparationTask", "BatchJobPreparationTask"),
    ("JobPreparationTaskExecutionInformation", "BatchJobPreparationTaskExecutionInfo"),
    ("JobReleaseTask", "BatchJobReleaseTask"),
    ("JobReleaseTaskExecutionInformation", "BatchJobReleaseTaskExecutionInfo"),
    ("JobScheduleAddParameter", "BatchJobScheduleCreateOptions"),
    ("JobScheduleExecutionInformation", "BatchJobScheduleExecutionInfo"),
    ("JobSchedulePatchParameter", "BatchJobScheduleUpdateOptions"),
    ("JobScheduleStatistics", "BatchJobScheduleStatistics"),
    ("JobScheduleUpdateParameter", "BatchJobScheduleUpdateOptions"),
    ("JobSchedulingError", "BatchJobSchedulingError"),
    ("JobSpecification", "BatchJobSpecification"),
    ("JobStatistics", "BatchJobStatistics"),
    ("MetadataItem", "BatchMetadataItem"),
    ("NFSMountConfiguration", "NfsMountConfiguration"),
    ("NodeAgentInformation", "BatchNodeAgentInfo"),
    ("NodeCounts", "BatchNodeCounts"),
    ("NodeDisableSchedulingParameter", "BatchNodeDisableSchedulingOptions"),
    ("NodeFile", "BatchNodeFile"),
    ("NodePlacementConfiguration", "BatchNodePlacementConfiguration"),
    ("NodeRemoveParameter", "BatchNodeRemoveOptions"),
    ("NodeUpdateUserParameter", "BatchNodeUserReplaceOptions"),
    ("NodeVMExtension", "BatchNodeVMExtension"),
    ("OSDisk", "BatchOsDisk"),
    ("OutputFileUploadOptions", "OutputFileUploadConfiguration"),
    ("PoolAddParameter", "BatchPoolCreateOptions"),
    ("PoolEnableAutoScaleParameter", "BatchPoolEnableAutoScaleOptions"),
    ("PoolEndpointConfiguration", "BatchPoolEndpointConfiguration"),
    ("PoolEvaluateAutoScaleParameter", "BatchPoolEvaluateAutoScaleOptions"),
    ("PoolInformation", "BatchPoolInfo"),
    ("PoolNodeCounts", "BatchPoolNodeCounts"),
    ("PoolPatchParameter", "BatchPoolUpdateOptions"),
    ("PoolResizeParameter", "BatchPoolResizeOptions"),
    ("PoolSpecification", "BatchPoolSpecification"),
    ("PoolStatistics", "BatchPoolStatistics"),
    ("PoolUpdatePropertiesParameter", "BatchPoolReplaceOptions"),
    ("PoolUsageMetrics", "BatchPoolUsageMetrics"),
    ("PublicIPAddressConfiguration", "BatchPublicIpAddressConfiguration"),
    ("RecentJob", "RecentBatchJob"),
    ("ResourceStatistics", "BatchPoolResourceStatistics"),
    ("Schedule", "BatchJobScheduleConfiguration"),
    ("StartTask", "BatchStartTask"),
    ("StartTaskInformation", "BatchStartTaskInfo"),
    ("SubtaskInformation", "BatchSubtask"),
    ("TaskAddCollectionParameter", "BatchTaskGroup"),
    ("TaskAddCollectionResult", "BatchCreateTaskCollectionResult"),
    ("TaskAddParameter", "BatchTaskCreateOptions"),
    ("TaskAddResult", "BatchTaskCreateResult"),
    ("TaskConstraints", "BatchTaskConstraints"),
    ("TaskContainerExecutionInformation", "BatchTaskContainerExecutionInfo"),
    ("TaskContainerSettings", "BatchTaskContainerSettings"),
    ("TaskCounts", "BatchTaskCounts"),
    ("TaskCountsResult", "BatchTaskCountsResult"),
    ("TaskDependencies", "BatchTaskDependencies"),
    ("TaskExecutionInformation", "BatchTaskExecutionInfo"),
    ("TaskFailureInformation", "BatchTaskFailureInfo"),
    ("TaskIdRange", "BatchTaskIdRange"),
    ("TaskInformation", "BatchTaskInfo"),
    ("TaskSchedulingPolicy", "BatchTaskSchedulingPolicy"),
    ("TaskSlotCounts", "BatchTaskSlotCounts"),
    ("TaskStatistics", "BatchTaskStatistics"),
    ("UefiSettings", "BatchUefiSettings"),
    ("UploadBatchServiceLogsConfiguration", "UploadBatchServiceLogsOptions"),
    ("UsageStatistics", "BatchPoolUsageStatistics"),
    ("UserAssignedIdentity", "BatchUserAssignedIdentity"),
    ("VMDiskSecurityProfile", "BatchVmDiskSecurityProfile"),
];

/// Returns the schema of a property from its type in the Python client, for example
/// `list[Union[str, DiskEncryptionTarget]]`.
fn schema_of(kind: &str, enums: &Value) -> Value {
    if let Some(of) = kind.strip_prefix("list[").and_then(|of| of.strip_suffix(']')) {
        return json!({"type": "array", "items": schema_of(of, enums)});
    }
    let word = kind.strip_prefix("enum ");
    if let Some(word) =
        word.or_else(|| kind.strip_prefix("Union[str, ").and_then(|word| word.strip_suffix(']')))
    {
        return json!({"type": "string", "enum": enums[word]});
    }
    match kind {
        "str" => json!({"type": "string"}),
        "datetime" => json!({"type": "string", "format": "date-time"}),
        "timedelta" => json!({"type": "string", "format": "duration"}),
        "int" => json!({"type": "integer"}),
        "float" => json!({"type": "number"}),
        "bool" => json!({"type": "boolean"}),
        "dict[str, str]" => json!({"type": "object"}),
        model => {
            let name = RENAMED.iter().find(|(_, new)| *new == model).map_or(model, |(name, _)| name);
            json!({"$ref": format!("#/definitions/{name}")})
        }
    }
}

/// Makes a schema reject unknown properties and those that only the service sets.
fn close(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|_, property| property["readOnly"] != json!(true));
        properties.values_mut().for_each(close);
        schema.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(items) = schema.get_mut("items") {
        close(items);
    }
}
