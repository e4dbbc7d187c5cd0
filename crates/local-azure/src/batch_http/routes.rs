//! Which request is which call of the model.

use super::{
    Ask,
    answer::{Outcome, empty, entity, json, named, tagged},
    files::{self, Place},
};
use crate::{
    model::{Act, Model, Refusal, query::Select},
    orders::NodeRef,
};
use dropmill_azure_wire::{
    batch::{
        self as wire, JobAdd, JobPatch, JobTerminate, JobUpdate, Page, PoolAdd, PoolPatch, PoolResize,
        PoolUpdateProperties, TaskAdd, TaskAddCollection, TaskAddCollectionResult, TaskAddResult,
        TaskAddStatus, TaskUpdate, limit,
    },
    etag::ETag,
    time::{Timestamp, parse_http_date},
    uri::{decode, encode, pairs},
};
use http::Method;
use serde::Serialize;

/// Carries a request out.
pub async fn route(ask: &Ask<'_>) -> Outcome {
    let path: Vec<&str> = ask.path.to_vec();
    match (ask.method.as_str(), path.as_slice()) {
        ("GET", ["pools"]) => page(ask, "pools", limit::PAGE, |model, filter, select, after, size| {
            model.list_pools(filter, select, after, size)
        }),
        ("POST", ["pools"]) => {
            let pool: PoolAdd = ask.body()?;
            let url = format!("{}/pools/{}", ask.core.base(), pool.id);
            let made = ask.core.change(|model, now| model.create_pool(pool, now)).await?;
            Ok(created(made, &url))
        }
        (_, ["pools", pool, rest @ ..]) => {
            let pool = decode(pool).into_owned();
            pool_call(ask, &pool, rest).await
        }
        ("GET", ["jobs"]) => page(ask, "jobs", limit::PAGE, |model, filter, select, after, size| {
            model.list_jobs(filter, select, after, size)
        }),
        ("POST", ["jobs"]) => {
            let job: JobAdd = ask.body()?;
            let url = format!("{}/jobs/{}", ask.core.base(), job.id);
            let made = ask.core.change(|model, now| model.create_job(job, now)).await?;
            Ok(created(made, &url))
        }
        (_, ["jobs", job, rest @ ..]) => {
            let job = decode(job).into_owned();
            job_call(ask, &job, rest).await
        }
        ("GET", ["nodecounts"]) => node_counts(ask),
        ("GET", ["supportedimages"]) => supported_images(ask),
        ("GET", ["poolusagemetrics" | "applications" | "jobschedules"]) => {
            Ok(json(&Page::<()> { odata_metadata: None, value: vec![], next_link: None }))
        }
        (_, ["jobschedules", ..]) => Err(Refusal::not_here("job schedules")),
        (_, ["applications", ..]) => Err(Refusal::not_found("ApplicationNotFound")),
        (_, ["certificates" | "certificates(..)", ..]) => Err(Refusal::not_here("certificates")),
        _ => Err(Refusal::new(404, "ResourceNotFound", "The specified resource does not exist.")),
    }
}

/// A verb that a resource does not have.
pub fn no_such_verb() -> Refusal {
    Refusal::new(405, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
}

fn created((etag, modified): (ETag, Timestamp), url: &str) -> axum::response::Response {
    let mut answer = named(tagged(empty(201), &etag, modified), url);
    super::answer::put(&mut answer, "location", url);
    answer
}

fn changed(ask: &Ask<'_>, status: u16, (etag, modified): (ETag, Timestamp)) -> axum::response::Response {
    let url = format!("{}/{}", ask.core.base(), ask.path.join("/"));
    named(tagged(empty(status), &etag, modified), &url)
}

/// The request's conditions on what it reads or writes.
fn check_conditions(ask: &Ask<'_>, etag: &ETag, modified: Timestamp) -> Result<(), Refusal> {
    let reads = matches!(*ask.method, Method::GET | Method::HEAD);
    let words = "The condition specified using HTTP conditional header(s) is not met.";
    let failed = || Refusal::new(412, "ConditionNotMet", words);
    let unchanged = || Refusal::new(if reads { 304 } else { 412 }, "ConditionNotMet", words);
    let moment = |name| ask.header(name).and_then(parse_http_date).map(|moment| moment.as_second());
    if ask.header("if-match").is_some_and(|condition| !etag.matches(condition)) {
        return Err(failed());
    }
    if ask.header("if-none-match").is_some_and(|condition| etag.matches(condition)) {
        return Err(unchanged());
    }
    if moment("if-modified-since").is_some_and(|since| modified.as_second() <= since) {
        return Err(unchanged());
    }
    if moment("if-unmodified-since").is_some_and(|since| modified.as_second() > since) {
        return Err(failed());
    }
    Ok(())
}

/// A page of a list.
fn page<T: Serialize>(
    ask: &Ask<'_>,
    shape: &str,
    most: u32,
    list: impl FnOnce(&Model, &str, &Select, &str, usize) -> Result<(Vec<T>, Option<String>), Refusal>,
) -> Outcome {
    let (size, select) = (ask.page_size(most)?, Select::parse(&ask.value("$select")));
    let (filter, after) = (ask.value("$filter"), ask.value("$skiptoken"));
    let (value, next) = ask.core.look(|model| list(model, &filter, &select, &after, size))?;
    let next_link = next.map(|token| next_link(ask, &token));
    Ok(json(&Page {
        odata_metadata: Some(format!("{}/$metadata#{shape}", ask.core.base())),
        value,
        next_link,
    }))
}

/// The address of the next page: this request's, with the token; built from the host that was asked.
pub fn next_link(ask: &Ask<'_>, token: &str) -> String {
    let base = match ask.header("host") {
        Some(host) => format!("{}://{host}", ask.core.base().split("://").next().unwrap_or("http")),
        None => ask.core.base().to_owned(),
    };
    let mut query = String::new();
    for (name, value) in pairs(ask.query).filter(|(name, _)| name != "$skiptoken") {
        query.push_str(&format!("{name}={}&", encode(&value)));
    }
    format!("{base}/{}?{query}$skiptoken={}", ask.path.join("/"), encode(token))
}

fn node_counts(ask: &Ask<'_>) -> Outcome {
    let size = ask.page_size(limit::NODE_COUNTS_PAGE)?;
    let filter = ask.value("$filter");
    let only = match filter.split_once(" eq ") {
        _ if filter.is_empty() => None,
        Some((name, value)) if name.trim() == "poolId" => Some(value.trim().trim_matches('\'').to_owned()),
        _ => return Err(Refusal::bad_query("$filter", "Node counts can be filtered by poolId eq '…' only")),
    };
    let after = ask.value("$skiptoken");
    let mut counts = ask.core.look(|model| Ok(model.node_counts(only.as_deref())))?;
    counts.retain(|counts| counts.pool_id >= after);
    let next_link = counts.get(size).map(|counts| next_link(ask, &counts.pool_id));
    counts.truncate(size);
    let odata_metadata = Some(format!("{}/$metadata#poolnodecounts", ask.core.base()));
    Ok(json(&Page { odata_metadata, value: counts, next_link }))
}

/// The images that a pool may name: any is accepted, because none is needed.
fn supported_images(ask: &Ask<'_>) -> Outcome {
    let image = |offer: &str, sku: &str, agent: &str| wire::ImageInformation {
        node_agent_sku_id: agent.into(),
        image_reference: wire::ImageReference {
            publisher: Some("canonical".into()),
            offer: Some(offer.into()),
            sku: Some(sku.into()),
            version: Some("latest".into()),
            ..wire::ImageReference::default()
        },
        os_type: wire::OsType::Linux,
        capabilities: None,
        batch_support_end_of_life: None,
        verification_type: wire::VerificationType::Verified,
    };
    let value = vec![
        image("0001-com-ubuntu-server-jammy", "22_04-lts", "batch.node.ubuntu 22.04"),
        image("ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04"),
    ];
    let odata_metadata = Some(format!("{}/$metadata#supportedimages", ask.core.base()));
    Ok(json(&Page { odata_metadata, value, next_link: None }))
}

async fn pool_call(ask: &Ask<'_>, pool: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let pool = model.pool(pool)?;
        check_conditions(ask, &pool.etag, pool.modified)
    };
    match (ask.method.as_str(), rest) {
        ("GET" | "HEAD", []) => {
            let select = Select::parse(&ask.value("$select"));
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let pool = model.pool(pool)?;
                Ok((model.see_pool(pool, &select), pool.etag.clone(), pool.modified))
            })?;
            let answer =
                if *ask.method == Method::HEAD { empty(200) } else { entity(core.base(), "pools", &seen) };
            Ok(tagged(answer, &etag, modified))
        }
        ("PATCH", []) => {
            let patch: PoolPatch = ask.body()?;
            let made = core
                .change(|model, now| check(model).and_then(|()| model.patch_pool(pool, patch, now)))
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_pool(pool, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["updateproperties"]) => {
            let update: PoolUpdateProperties = ask.body()?;
            let made = core.change(|model, now| model.update_pool(pool, update, now)).await?;
            Ok(changed(ask, 204, made))
        }
        ("POST", ["resize"]) => {
            let resize: PoolResize = ask.body()?;
            core.change(|model, now| check(model).and_then(|()| model.resize_pool(pool, &resize, now)))
                .await?;
            Ok(empty(202))
        }
        ("POST", ["stopresize"]) => {
            core.change(|model, now| check(model).and_then(|()| model.stop_resize(pool, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["removenodes"]) => {
            let remove: wire::NodeRemove = ask.body()?;
            core.change(|model, now| check(model).and_then(|()| model.remove_nodes(pool, &remove, now)))
                .await?;
            Ok(empty(202))
        }
        ("POST", ["enableautoscale" | "disableautoscale" | "evaluateautoscale"]) => {
            Err(Refusal::not_here("autoscale formulas"))
        }
        ("GET", ["nodes"]) => page(ask, "nodes", limit::PAGE, |model, filter, select, after, size| {
            model.list_nodes(pool, filter, select, after, size)
        }),
        (_, ["nodes", node, rest @ ..]) => node_call(ask, pool, &decode(node), rest).await,
        _ => Err(no_such_verb()),
    }
}

async fn node_call(ask: &Ask<'_>, pool: &str, node: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let select = Select::parse(&ask.value("$select"));
            let seen =
                core.look(|model| Ok(model.see_node(model.pool(pool)?, model.node(pool, node)?, &select)))?;
            Ok(entity(core.base(), "nodes", &seen))
        }
        ("POST", ["reboot"]) => {
            let reboot: wire::NodeReboot = ask.body_or_default()?;
            let option = reboot.node_reboot_option;
            restart(ask, pool, node, Act::Reboot, option).await
        }
        ("POST", ["reimage"]) => {
            let reimage: wire::NodeReimage = ask.body_or_default()?;
            restart(ask, pool, node, Act::Reimage, reimage.node_reimage_option).await
        }
        ("POST", ["deallocate"]) => {
            let deallocate: wire::NodeDeallocate = ask.body_or_default()?;
            restart(ask, pool, node, Act::Deallocate, deallocate.node_deallocate_option).await
        }
        ("POST", ["start"]) => {
            core.change(|model, now| model.start_node(pool, node, now)).await?;
            Ok(empty(202))
        }
        ("POST", ["users"]) => {
            let user: wire::NodeUserAdd = ask.body()?;
            core.change(|model, now| model.add_user(pool, node, &user, now)).await?;
            Ok(empty(201))
        }
        ("PUT", ["users", name]) => {
            let update: wire::NodeUserUpdate = ask.body()?;
            core.change(|model, _| model.update_user(pool, node, &decode(name), &update)).await?;
            Ok(empty(200))
        }
        ("DELETE", ["users", name]) => {
            core.change(|model, _| model.delete_user(pool, node, &decode(name))).await?;
            Ok(empty(200))
        }
        ("POST", ["uploadbatchservicelogs"]) => {
            let _: wire::UploadNodeLogs = ask.body()?;
            core.look(|model| model.node(pool, node).map(drop))?;
            // The service's own program writes no logs on nodes: none of none are stored.
            let result = wire::UploadNodeLogsResult {
                virtual_directory_name: format!("{pool}/{node}/{}", core.now().as_second()),
                number_of_files_uploaded: 0,
            };
            Ok(entity(core.base(), "uploadBatchServiceLogsResult", &result))
        }
        ("GET", ["extensions"]) => {
            core.look(|model| model.node(pool, node).map(drop))?;
            let odata_metadata = Some(format!("{}/$metadata#extensions", core.base()));
            Ok(json(&Page::<()> { odata_metadata, value: vec![], next_link: None }))
        }
        ("GET", ["extensions", _]) => {
            core.look(|model| model.node(pool, node).map(drop))?;
            Err(Refusal::not_found("ResourceNotFound"))
        }
        ("POST", ["disablescheduling"]) => {
            let disable: wire::NodeDisableScheduling = ask.body_or_default()?;
            let option = disable.node_disable_scheduling_option;
            core.change(|model, now| model.disable_scheduling(pool, node, option.as_ref(), now)).await?;
            Ok(empty(200))
        }
        ("POST", ["enablescheduling"]) => {
            core.change(|model, now| model.enable_scheduling(pool, node, now)).await?;
            Ok(empty(200))
        }
        ("GET", ["remoteloginsettings"]) => {
            core.look(|model| model.node(pool, node).map(drop))?;
            let settings = wire::RemoteLoginSettings {
                remote_login_ip_address: "127.0.0.1".into(),
                remote_login_port: 22,
            };
            Ok(entity(core.base(), "remoteloginsettings", &settings))
        }
        (_, ["files", file @ ..]) => {
            let id = core.look(|model| {
                model.node(pool, node)?;
                Ok(model.pool(pool)?.spec.id.clone())
            })?;
            let url = format!("{}/pools/{id}/nodes/{node}/files", core.base());
            let place = Place {
                node: NodeRef { pool: id, node: node.to_owned() },
                folder: String::new(),
                url,
                gone: None,
            };
            match file {
                [] => files::list(ask, core.files(), &place),
                file => files::one(ask, core.files(), &place, &decode(&file.join("/"))),
            }
        }
        _ => Err(no_such_verb()),
    }
}

async fn restart(
    ask: &Ask<'_>,
    pool: &str,
    node: &str,
    act: Act,
    option: Option<wire::NodeDeallocationOption>,
) -> Outcome {
    ask.core.change(|model, now| model.restart_node(pool, node, act, option.as_ref(), now)).await?;
    Ok(empty(202))
}

async fn job_call(ask: &Ask<'_>, job: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let job = model.job(job)?;
        check_conditions(ask, &job.etag, job.modified)
    };
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let select = Select::parse(&ask.value("$select"));
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let job = model.job(job)?;
                Ok((model.see_job(job, &select), job.etag.clone(), job.modified))
            })?;
            Ok(tagged(entity(core.base(), "jobs", &seen), &etag, modified))
        }
        ("PATCH", []) => {
            let patch: JobPatch = ask.body()?;
            let made = core
                .change(|model, now| check(model).and_then(|()| model.patch_job(job, patch, now)))
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("PUT", []) => {
            let update: JobUpdate = ask.body()?;
            let made = core
                .change(|model, now| check(model).and_then(|()| model.update_job(job, update, now)))
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_job(job, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["disable"]) => {
            let disable: wire::JobDisable = ask.body()?;
            let tasks = disable.disable_tasks;
            core.change(|model, now| check(model).and_then(|()| model.disable_job(job, &tasks, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["enable"]) => {
            core.change(|model, now| check(model).and_then(|()| model.enable_job(job, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["terminate"]) => {
            let terminate: JobTerminate = ask.body_or_default()?;
            let reason = terminate.terminate_reason;
            core.change(|model, now| check(model).and_then(|()| model.terminate_job(job, reason, now)))
                .await?;
            Ok(empty(202))
        }
        ("GET", ["taskcounts"]) => {
            let counts = core.look(|model| model.task_counts(job))?;
            Ok(entity(core.base(), "taskcounts", &counts))
        }
        ("GET", ["jobpreparationandreleasetaskstatus"]) => {
            let kind = "jobpreparationandreleasetaskstatuslist";
            page(ask, kind, limit::PAGE, |model, filter, select, after, size| {
                model.list_preparations(job, filter, select, after, size)
            })
        }
        ("POST", ["addtaskcollection"]) => add_collection(ask, job).await,
        ("GET", ["tasks"]) => page(ask, "tasks", limit::PAGE, |model, filter, select, after, size| {
            model.list_tasks(job, filter, select, after, size)
        }),
        ("POST", ["tasks"]) => {
            let task: TaskAdd = ask.body()?;
            let url = format!("{}/jobs/{job}/tasks/{}", core.base(), task.id);
            let made = core
                .change(|model, now| {
                    let made = model.add_task(job, task, now);
                    model.schedule_job(job, now);
                    made
                })
                .await?;
            Ok(created(made, &url))
        }
        (_, ["tasks", task, rest @ ..]) => task_call(ask, job, &decode(task), rest).await,
        _ => Err(no_such_verb()),
    }
}

/// Up to 100 tasks at once. The answer is 200 even when every one of them failed.
async fn add_collection(ask: &Ask<'_>, job: &str) -> Outcome {
    let tasks: TaskAddCollection = ask.body()?;
    let count = tasks.value.len();
    if !(1..=limit::TASKS_PER_COLLECTION).contains(&count) {
        return Err(Refusal::invalid("value", count.to_string(), "A collection has 1 to 100 tasks"));
    }
    let base = ask.core.base().to_owned();
    let value = ask
        .core
        .change(|model, now| {
            model.takes_tasks(job)?;
            let mut results = Vec::with_capacity(count);
            for task in tasks.value {
                let id = task.id.clone();
                results.push(match model.add_task(job, task, now) {
                    Ok((etag, modified)) => TaskAddResult {
                        status: TaskAddStatus::Success,
                        location: Some(format!("{base}/jobs/{job}/tasks/{id}")),
                        task_id: id,
                        e_tag: Some(etag),
                        last_modified: Some(modified),
                        error: None,
                    },
                    Err(refusal) => TaskAddResult {
                        status: TaskAddStatus::ClientError,
                        task_id: id,
                        e_tag: None,
                        last_modified: None,
                        location: None,
                        error: Some(*refusal.error),
                    },
                });
            }
            model.schedule_job(job, now);
            Ok(results)
        })
        .await?;
    Ok(entity(ask.core.base(), "taskaddresult", &TaskAddCollectionResult { value }))
}

async fn task_call(ask: &Ask<'_>, job: &str, task: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let task = model.task(job, task)?;
        check_conditions(ask, &task.facts.etag, task.facts.modified)
    };
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let select = Select::parse(&ask.value("$select"));
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let task = model.task(job, task)?;
                Ok((
                    model.see_task(model.job(job)?, task, &select),
                    task.facts.etag.clone(),
                    task.facts.modified,
                ))
            })?;
            Ok(tagged(entity(core.base(), "tasks", &seen), &etag, modified))
        }
        ("PUT", []) => {
            let update: TaskUpdate = ask.body()?;
            let made = core
                .change(|model, now| {
                    check(model).and_then(|()| model.update_task(job, task, update.constraints, now))
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_task(job, task, now))).await?;
            Ok(empty(200))
        }
        ("POST", ["terminate"]) => {
            core.change(|model, now| check(model).and_then(|()| model.terminate_task(job, task, now)))
                .await?;
            Ok(empty(204))
        }
        ("POST", ["reactivate"]) => {
            core.change(|model, now| check(model).and_then(|()| model.reactivate_task(job, task, now)))
                .await?;
            Ok(empty(204))
        }
        ("GET", ["subtasksinfo"]) => {
            core.look(|model| model.task(job, task).map(drop))?;
            Ok(json(&Page::<wire::Subtask> {
                odata_metadata: Some(format!("{}/$metadata#subtasks", core.base())),
                value: vec![],
                next_link: None,
            }))
        }
        (_, ["files", file @ ..]) => {
            let place = core.look(|model| {
                let found = model.task(job, task)?;
                let id = &model.job(job)?.spec.id;
                let (pool, node) =
                    found.facts.node.clone().ok_or_else(|| Refusal::conflict("TaskFilesUnavailable"))?;
                let url = format!("{}/jobs/{id}/tasks/{}/files", core.base(), found.add.id);
                let gone = found.facts.files_gone.then_some("TaskFilesCleanedup");
                Ok(Place { node: NodeRef { pool, node }, folder: found.directory(id), url, gone })
            })?;
            match file {
                [] => files::list(ask, core.files(), &place),
                file => files::one(ask, core.files(), &place, &decode(&file.join("/"))),
            }
        }
        _ => Err(no_such_verb()),
    }
}
