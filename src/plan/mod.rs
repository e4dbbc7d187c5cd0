//! Turns settings into a checked `RunPlan`: finds files, makes names, writes commands. Calls no service.

pub mod capacity;
mod chunks;
mod command;
mod examine;
mod files;
mod hardware;
mod items;
mod layouts;
pub mod lint;
pub mod machine;
pub use examine::{Depth, Examined, examine, examine_stream};
pub use files::normal;
pub use items::dropped;
mod name;
mod retries;
mod sources;
pub mod stored;
pub mod variables;

use crate::settings::{Loaded, Overflow, Policy, Problem, Problems, ServiceKind, Settings, Task, Upload};
use capacity::{Capacity, Nodes, capacity};
use command::Template;
use dropmill_actors::SELF_UPLOAD_VARIABLE;
use dropmill_lifecycle::{
    delays::Delays,
    plan::{
        AppFile, CleanupPlan, Deadlines, Existing, Grouping, Item, JobPlan, Layout, Limits, OutputPlan,
        PoolPlan, RunPlan, When, shared_application,
    },
};
use files::{InputFile, Search};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sources::Declared;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use name::{new_run_name, run_name};

/// The deadline of a run without a deadline.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Largest number of nodes of the embedded service, in all pools together.
pub const EMBEDDED_NODES: u32 = 1000;

/// Asks the user whether something is deleted at the end, for `cleanup.* = "ask"`.
pub type Ask<'a> = &'a dyn Fn(&str) -> bool;

/// Makes the plan of a run.
///
/// # Errors Returns everything that is wrong with the run file's values or with the files that it names.
pub fn plan(loaded: &Loaded, run: &str, ask: Ask<'_>) -> Result<RunPlan, Problems> {
    let parts = Parts::of(loaded, run);
    match parts.problems.is_empty() {
        true => parts.plan(loaded, run, ask).map_err(|problem| loaded.problems(vec![problem])),
        false => Err(loaded.problems(parts.problems)),
    }
}

/// What a plan is made from, and all problems with it.
struct Parts {
    capacity: Option<Capacity>,
    output_folder: PathBuf,
    application: Vec<AppFile>,
    items: Vec<Item>,
    grouping: Option<Grouping>,
    notes: Vec<String>,
    problems: Vec<Problem>,
}

impl Parts {
    fn of(loaded: &Loaded, run: &str) -> Self {
        let mut problems = vec![];
        let settings = &loaded.settings;
        let capacity = check(loaded, &mut problems);
        retries::check(loaded, &mut problems);
        let output_folder = files::normal(&loaded.base.join(&settings.output.directory));
        let application = application(settings, &loaded.base, &output_folder, &mut problems);
        let sources = sources::read(loaded, &output_folder, &mut problems);
        let items = items::items(settings, run, &sources, &mut problems);
        // Grouped inputs are in a folder of their own.
        if settings.application.start_task.is_none() && settings.input.per_task.is_none() {
            problems.extend(items::taken_by_the_application(&items, &application));
        }
        // Its problems were found together with those of the items.
        let grouping = chunks::grouping(settings, &sources.declared, &mut vec![]);
        Self { capacity, output_folder, application, items, grouping, notes: sources.notes, problems }
    }

    /// Makes the plan of parts without problems. Fails if the command of a task for several inputs is too long.
    fn plan(self, loaded: &Loaded, run: &str, ask: Ask<'_>) -> Result<RunPlan, Problem> {
        let Self { capacity, output_folder, application, items, grouping, notes, .. } = self;
        let capacity = capacity.expect("a plan without problems has a capacity");
        let mut plan = whole(&loaded.settings, &capacity, run, application, items, output_folder, ask);
        plan.run_file = loaded.identity().ok();
        plan.notes = notes;
        plan.grouping = grouping;
        chunks::form(&mut plan);
        chunks::too_long(&plan).map_or(Ok(plan), Err)
    }
}

fn whole(
    settings: &Settings,
    capacity: &Capacity,
    run: &str,
    application: Vec<AppFile>,
    items: Vec<Item>,
    output_folder: PathBuf,
    ask: Ask<'_>,
) -> RunPlan {
    RunPlan {
        run: run.to_owned(),
        name: settings.run.name.clone(),
        service: match settings.service.kind {
            ServiceKind::Embedded => "embedded".into(),
            ServiceKind::Azure => "azure".into(),
        },
        pool: pool(settings, capacity, run, &application),
        shared_application: None,
        items,
        grouping: None,
        chunks: vec![],
        open_ended: false,
        job: JobPlan {
            id: run.to_owned(),
            priority: settings.job.priority,
            outputs: settings.task.outputs.clone(),
            max_retries: retries::max(&settings.task),
            success_codes: retries::success_codes(&settings.task),
            retry: retries::retry(&settings.task),
            task_timeout: settings.task.timeout.map(|length| length.0),
            required_slots: capacity.required_slots,
            self_upload: settings.task.upload == Upload::SelfUpload,
        },
        output: OutputPlan {
            directory: output_folder,
            layout: settings.output.layout,
            existing: settings.output.existing,
        },
        max_failures: retries::max_failures(settings),
        cleanup: CleanupPlan {
            pool: when(settings.cleanup.pool, "the pool", ask),
            job: when(settings.cleanup.job, "the job", ask),
            containers: when(settings.cleanup.containers, "the containers", ask),
        },
        deadlines: deadlines(settings),
        limits: limits(settings),
        delays: delays(settings, run),
        recipe: recipe(settings, &application),
        run_file: None,
        notes: vec![],
        application,
    }
}

/// Makes the plan of a run that takes the files of a drop folder while it is running. Its results are
/// delivered to `results`.
///
/// # Errors As [`plan`].
pub fn stream(loaded: &Loaded, run: &str, pool: &str, results: &Path) -> Result<RunPlan, Problems> {
    let mut problems = vec![];
    let settings = &loaded.settings;
    let capacity = check(loaded, &mut problems);
    retries::check(loaded, &mut problems);
    if let Err(found) = Template::of(&settings.task, &Declared::of_a_file()) {
        problems.extend(found);
    }
    if settings.input.per_task.is_some() {
        let what = "`dropmill watch` makes one task for each file: each is claimed, retried and published alone, and none \
                    waits for another; remove the key, or use `dropmill run`";
        problems.push(Problem::new("input.per_task", what));
    }
    let application = application(settings, &loaded.base, results, &mut problems);
    let (Some(capacity), true) = (capacity, problems.is_empty()) else {
        return Err(loaded.problems(problems));
    };
    let mut plan = whole(settings, &capacity, run, application, vec![], results.to_owned(), &|_| true);
    (plan.open_ended, plan.max_failures) = (true, None);
    (plan.pool.id, plan.pool.own) = (format!("{pool}-{}", &plan.pool.fingerprint[..8]), false);
    plan.shared_application = Some(shared_application(&plan.pool.id));
    plan.output =
        OutputPlan { directory: results.to_owned(), layout: Layout::ByInput, existing: Existing::Replace };
    // Files can arrive for an unlimited time, and a result that cannot be delivered stays at the service.
    (plan.deadlines.run, plan.deadlines.delivery, plan.deadlines.no_progress) = (FOR_EVER, FOR_EVER, None);
    Ok(plan)
}

/// Removes the items that are not wanted; the remaining ones keep their names and commands, and are grouped anew.
pub fn keep(plan: &mut RunPlan, wanted: impl Fn(&Item) -> bool) {
    plan.items.retain(wanted);
    for (index, item) in plan.items.iter_mut().enumerate() {
        item.index = u32::try_from(index).unwrap_or(u32::MAX);
    }
    chunks::form(plan);
}

/// Values that can be read and still make no sense. Returns the slots of nodes and tasks if those do.
fn check(loaded: &Loaded, problems: &mut Vec<Problem>) -> Option<Capacity> {
    let settings = &loaded.settings;
    let capacity = capacity(settings, Nodes::of(loaded)).map_err(|found| problems.extend(found)).ok();
    let mut wrong = |key: &str, what: String| problems.push(Problem::new(key, what));
    let (pool, task) = (&settings.pool, &settings.task);
    if pool.nodes + pool.spot_nodes == 0 {
        wrong("pool.nodes", "a pool without nodes cannot run tasks: use at least one node".into());
    }
    let nodes = u64::from(pool.nodes) + u64::from(pool.spot_nodes);
    if settings.service.kind == ServiceKind::Embedded && nodes > u64::from(EMBEDDED_NODES) {
        let what = format!("{nodes} nodes: the embedded service has at most {EMBEDDED_NODES}");
        wrong(if pool.nodes > EMBEDDED_NODES { "pool.nodes" } else { "pool.spot_nodes" }, what);
    }
    if !(-1000..=1000).contains(&settings.job.priority) {
        wrong("job.priority", "it must be between -1000 and 1000".into());
    }
    if task.command.is_some() == task.shell.is_some() {
        let what =
            "exactly one of task.command (program and arguments) and task.shell (a line) must be given";
        wrong(if task.shell.is_some() { "task.shell" } else { "task.command" }, what.into());
    }
    if settings.run.deadline.0.is_zero() {
        wrong("run.deadline", "it must be longer than 0".into());
    }
    for (key, count) in [
        ("limits.uploads", settings.limits.uploads),
        ("limits.submissions", settings.limits.submissions),
        ("limits.fetches", settings.limits.fetches),
        ("limits.result_files", settings.limits.result_files),
        ("limits.tries", settings.limits.tries),
    ] {
        if count == 0 {
            wrong(key, "it must be at least 1".into());
        }
    }
    for pattern in &task.outputs {
        if let Some(what) = files::bad_output(pattern) {
            wrong("task.outputs", what);
        }
    }
    if task.upload == Upload::SelfUpload && task.env.contains_key(SELF_UPLOAD_VARIABLE) {
        let what = "task.upload = \"self\" sets this variable: choose another name";
        wrong(&format!("task.env.{SELF_UPLOAD_VARIABLE}"), what.into());
    }
    if let Some(id) = &pool.id
        && !dropmill_azure_wire::batch::is_valid_id(id)
    {
        wrong("pool.id", format!("{id:?} is not a valid id: use 1 to 64 letters, digits, - and _"));
    }
    if settings.run.name.trim().is_empty() {
        wrong("run.name", "it must not be empty".into());
    }
    let known = ["publisher", "offer", "sku", "version", "virtual_machine_image_id"];
    for name in pool.image.keys().filter(|name| !known.contains(&name.as_str())) {
        wrong(&format!("pool.image.{name}"), format!("unknown key; known keys are {}", known.join(", ")));
    }
    service(settings, &mut wrong);
    problems.extend(variables::check(settings));
    problems.extend(crate::notify::check(&settings.notify, settings.service.allow_plain_http));
    capacity
}

fn service(settings: &Settings, wrong: &mut impl FnMut(&str, String)) {
    let service = &settings.service;
    if service.kind == ServiceKind::Embedded {
        return;
    }
    for (key, is_there) in [
        ("batch_endpoint", service.batch_endpoint.is_some()),
        ("batch_account", service.batch_account.is_some()),
        ("batch_key", service.batch_key.is_some()),
        ("blob_endpoint", service.blob_endpoint.is_some()),
        ("storage_account", service.storage_account.is_some()),
        ("storage_key", service.storage_key.is_some()),
    ] {
        if !is_there {
            wrong(&format!("service.{key}"), "it is required with service.kind = \"azure\"".into());
        }
    }
    for (key, endpoint) in
        [("batch_endpoint", &service.batch_endpoint), ("blob_endpoint", &service.blob_endpoint)]
    {
        let Some(endpoint) = endpoint else { continue };
        match dropmill_azure_client::Endpoint::parse(endpoint) {
            Err(error) => wrong(&format!("service.{key}"), error.to_string()),
            Ok(parsed) if !parsed.is_encrypted() && !parsed.is_loopback() && !service.allow_plain_http => {
                let what =
                    "keys would travel in plain text: use https, or set service.allow_plain_http = true";
                wrong(&format!("service.{key}"), what.into());
            }
            Ok(_) => {}
        }
    }
}

fn application(settings: &Settings, base: &Path, output: &Path, problems: &mut Vec<Problem>) -> Vec<AppFile> {
    let search = Search {
        key: "application.files",
        base,
        output,
        follow_links: true,
        exclude: &[],
        ignore_case: false,
    };
    let (found, left_out) = files::find(search, &settings.application.files, problems);
    // An ambiguous pattern must not select a program.
    problems.extend(left_out.lines().into_iter().map(|line| Problem::new("application.files", line)));
    let mut names: BTreeMap<String, &InputFile> = BTreeMap::new();
    let mut files = vec![];
    for file in &found {
        // It lies in the working folder of the start task, or of each task, as it lies in the run file's folder.
        let name = files::place_on_node(file, &settings.application.files, base);
        if let Some(other) = names.insert(name.clone(), file) {
            let what = format!(
                "{} and {} would both have the name {name} on the node",
                other.relative, file.relative
            );
            problems.push(Problem::new("application.files", what));
        }
        let digest = match content_digest(&file.path) {
            Ok(digest) => Some(digest),
            Err(error) => {
                problems.push(Problem::new("application.files", format!("{}: {error}", file.relative)));
                continue;
            }
        };
        let (source, size_bytes, executable) = (file.path.clone(), file.size_bytes, file.is_executable());
        files.push(AppFile { source, name, size_bytes, executable, digest });
    }
    files
}

/// Returns the SHA-256 of a file's content, as 64 hexadecimal digits.
fn content_digest(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns digests of what a run file does with each input, by part. Each part is compared as the run file
/// writes it: the values of placeholders follow from the input.
fn recipe(settings: &Settings, application: &[AppFile]) -> BTreeMap<String, String> {
    let (task, start_task) = (&settings.task, &settings.application.start_task);
    let files: Vec<_> = application.iter().map(|file| (&file.name, file.executable, &file.digest)).collect();
    let parts = [
        ("command", json!([task.command, task.shell])),
        ("environment", json!(task.env)),
        ("application", json!([files, start_task])),
        ("outputs", outputs_of(task)),
    ];
    // Of the usual codes nothing is said: results of earlier releases, which had no others, stay comparable.
    let codes = retries::success_codes(task);
    let success = (codes != [0]).then(|| ("success_codes", json!(codes)));
    let parts = parts.into_iter().chain(success);
    parts.map(|(part, value)| (part.to_owned(), short_digest(&value))).collect()
}

/// Returns the output settings that are part of the recipe. `upload` is one only if tasks upload their results
/// themselves, so that recipes of earlier versions still match.
fn outputs_of(task: &Task) -> Value {
    match task.upload {
        Upload::Service => json!(task.outputs),
        Upload::SelfUpload => json!([task.outputs, "self"]),
    }
}

/// Returns the first 16 hexadecimal digits of the SHA-256 of a value as JSON.
fn short_digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn pool(settings: &Settings, capacity: &Capacity, run: &str, application: &[AppFile]) -> PoolPlan {
    let pool = &settings.pool;
    let start_task = settings.application.start_task.as_ref();
    let mut plan = PoolPlan {
        id: pool.id.clone().unwrap_or_else(|| run.to_owned()),
        own: pool.id.is_none(),
        nodes: pool.nodes,
        spot_nodes: pool.spot_nodes,
        slots_per_node: capacity.slots_per_node,
        vm_size: pool.vm_size.clone(),
        image: image(&pool.image),
        node_agent: pool.node_agent.clone(),
        start_task: start_task.map(|line| command::shell_line(line)),
        start_task_retries: settings.application.start_task_retries.into(),
        fingerprint: String::new(),
    };
    let id = std::mem::take(&mut plan.id);
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&plan).expect("a plan has only text for keys"));
    for file in application {
        hash.update(file.name.as_bytes());
        hash.update(file.size_bytes.to_le_bytes());
        hash.update(file.digest.as_deref().unwrap_or_default());
    }
    plan.fingerprint = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    PoolPlan { id, ..plan }
}

/// Returns the image of the nodes; a custom image replaces all defaults.
fn image(asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = asked.get_key_value("virtual_machine_image_id");
    own.map_or_else(|| asked.clone(), |(key, id)| [(key.clone(), id.clone())].into())
}

fn when(policy: Policy, what: &str, ask: Ask<'_>) -> When {
    match policy {
        Policy::Always => When::Always,
        Policy::Success => When::Success,
        Policy::Never => When::Never,
        Policy::Ask if ask(what) => When::Always,
        Policy::Ask => When::Never,
    }
}

fn deadlines(settings: &Settings) -> Deadlines {
    let stages = &settings.run.deadlines;
    Deadlines {
        run: settings.run.deadline.0,
        allocation: stages.allocation.0,
        start_task: stages.start_task.0,
        unusable: stages.unusable.0,
        queue: stages.queue.map(|length| length.0),
        upload: stages.upload.0,
        delivery: stages.delivery.0,
        cancelled: stages.cancelled.0,
        no_progress: stages.no_progress.map(|length| length.0),
        cleanup: stages.cleanup.0,
    }
}

fn limits(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    Limits {
        uploads: limits.uploads,
        upload_bytes: limits.upload_bytes.0,
        submissions: limits.submissions,
        fetches: limits.fetches,
        result_files: limits.result_files,
        stream_bytes: limits.stream_bytes.0,
        fail_on_overflow: limits.on_overflow == Overflow::Fail,
        poll_every: limits.poll_every.0,
        // A hint triggers a poll at once; this only combines hints that arrive at the same moment.
        poll_at_most_every: Duration::from_millis(4),
        call_timeout: limits.call_timeout.0,
    }
}

fn delays(settings: &Settings, run: &str) -> Delays {
    // The seed is the run's name: many runs that fail at the same time do not all retry at the same time.
    let hash = Sha256::digest(run.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(hash.into());
    let tries = usize::try_from(settings.limits.tries).unwrap_or(usize::MAX).saturating_sub(1);
    let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
    let steps = dropmill_azure_client::delays::delays(&mut rng, first, 2.0, longest, tries);
    Delays { steps, for_ever: false }
}
