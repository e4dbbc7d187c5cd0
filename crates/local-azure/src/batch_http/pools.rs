//! Requests about pools and their nodes.

use super::{
    Ask,
    answer::{Outcome, empty, entity, named, put, tagged},
    files::{self, Place},
    routes::{acted, changed, check_conditions, no_such_verb, page},
};
use crate::{
    model::{Model, NodeAction, Refusal},
    orders::NodeRef,
};
use dropmill_azure_wire::{
    batch::{self as wire, PoolPatch, PoolResize, PoolUpdateProperties, limit},
    uri::decode,
};
use http::Method;

/// Handles a request about a pool.
pub async fn pool_call(ask: &Ask<'_>, pool: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let pool = model.pool(pool)?;
        check_conditions(ask, &pool.etag, pool.modified)
    };
    let tags = |model: &Model| {
        let pool = model.pool(pool)?;
        Ok((pool.etag.clone(), pool.modified))
    };
    match (ask.method.as_str(), rest) {
        ("GET" | "HEAD", []) => {
            let select = ask.select();
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let pool = model.pool(pool)?;
                Ok((model.see_pool(pool, &select), pool.etag.clone(), pool.modified))
            })?;
            let answer =
                if *ask.method == Method::HEAD { empty(200) } else { entity(ask.base(), "pools", &seen) };
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
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.resize_pool(pool, &resize, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("POST", ["stopresize"]) => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.stop_resize(pool, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("POST", ["removenodes"]) => {
            let remove: wire::NodeRemove = ask.body()?;
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.remove_nodes(pool, &remove, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("POST", ["enableautoscale"]) => {
            let enable: wire::PoolEnableAutoScale = ask.body_or_default()?;
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.enable_autoscale(pool, &enable, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("POST", ["disableautoscale"]) => {
            let made = core
                .change(|model, now| {
                    model.disable_autoscale(pool, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("POST", ["evaluateautoscale"]) => {
            let evaluate: wire::PoolEvaluateAutoScale = ask.body()?;
            let formula = evaluate.auto_scale_formula;
            let run = core.look(|model| model.evaluate_autoscale(pool, &formula, core.now()))?;
            let answer = entity(ask.base(), "Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun", &run);
            Ok(named(answer, &format!("{}/{}", ask.base(), ask.path.join("/"))))
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
            let select = ask.select();
            let seen =
                core.look(|model| Ok(model.see_node(model.pool(pool)?, model.node(pool, node)?, &select)))?;
            Ok(entity(ask.base(), "nodes", &seen))
        }
        ("POST", ["reboot"]) => {
            let reboot: wire::NodeReboot = ask.body_or_default()?;
            let option = reboot.node_reboot_option;
            restart(ask, pool, node, NodeAction::Reboot, option).await
        }
        ("POST", ["reimage"]) => {
            let reimage: wire::NodeReimage = ask.body_or_default()?;
            restart(ask, pool, node, NodeAction::Reimage, reimage.node_reimage_option).await
        }
        ("POST", ["deallocate"]) => {
            let deallocate: wire::NodeDeallocate = ask.body_or_default()?;
            restart(ask, pool, node, NodeAction::Deallocate, deallocate.node_deallocate_option).await
        }
        ("POST", ["start"]) => {
            core.change(|model, now| model.start_node(pool, node, now)).await?;
            Ok(acted(ask, 202))
        }
        ("POST", ["users"]) => {
            let user: wire::NodeUserAdd = ask.body()?;
            core.change(|model, now| model.add_user(pool, node, &user, now)).await?;
            let url = format!("{}/{}/{}", ask.base(), ask.path.join("/"), user.name);
            let mut answer = named(empty(201), &url);
            put(&mut answer, "location", url);
            Ok(answer)
        }
        ("PUT", ["users", name]) => {
            let update: wire::NodeUserUpdate = ask.body()?;
            core.change(|model, _| model.update_user(pool, node, &decode(name), &update)).await?;
            Ok(acted(ask, 200))
        }
        ("DELETE", ["users", name]) => {
            core.change(|model, _| model.delete_user(pool, node, &decode(name))).await?;
            Ok(empty(200))
        }
        ("POST", ["uploadbatchservicelogs"]) => {
            let logs: wire::UploadNodeLogs = ask.body()?;
            let log = core.look(|model| model.node_log(pool, node, logs.start_time, logs.end_time))?;
            let folder =
                format!("{}/{pool}/{node}/{}", ask.front.identity.account, core.now().as_microsecond());
            // As on Azure, the response does not contain the reason if the container could not store it.
            let stored = log.is_some_and(|log| {
                let file = (format!("{folder}/agent-debug.log"), log.into_bytes());
                core.store_blob(logs.container_url.expose(), file)
            });
            let result = wire::UploadNodeLogsResult {
                virtual_directory_name: folder,
                number_of_files_uploaded: stored.into(),
            };
            let kind = "Microsoft.Azure.Batch.Protocol.Entities.UploadBatchServiceLogsResult";
            Ok(entity(ask.base(), kind, &result))
        }
        ("GET", ["extensions"]) => {
            let all = core.look(|model| model.node_extensions(pool, node))?;
            ask.slice("extensions", limit::PAGE, all)
        }
        ("GET", ["extensions", name]) => {
            let all = core.look(|model| model.node_extensions(pool, node))?;
            let name = decode(name);
            let found = all.iter().find(|extension| extension["vmExtension"]["name"] == *name);
            let found = found.ok_or_else(|| Refusal::not_found("ResourceNotFound"))?;
            Ok(entity(ask.base(), "extensions", found))
        }
        ("POST", ["disablescheduling"]) => {
            let disable: wire::NodeDisableScheduling = ask.body_or_default()?;
            let option = disable.node_disable_scheduling_option;
            core.change(|model, now| model.disable_scheduling(pool, node, option.as_ref(), now)).await?;
            Ok(acted(ask, 200))
        }
        ("POST", ["enablescheduling"]) => {
            core.change(|model, now| model.enable_scheduling(pool, node, now)).await?;
            Ok(acted(ask, 200))
        }
        ("GET", ["remoteloginsettings"]) => {
            core.look(|model| model.node(pool, node).map(drop))?;
            let settings = wire::RemoteLoginSettings {
                remote_login_ip_address: "127.0.0.1".into(),
                remote_login_port: 22,
                ..wire::RemoteLoginSettings::default()
            };
            let answer = entity(ask.base(), "remoteloginsettings", &settings);
            Ok(named(answer, &format!("{}/{}", ask.base(), ask.path.join("/"))))
        }
        (_, ["files", file @ ..]) => {
            let (id, node) = core.look(|model| {
                let node = model.node(pool, node)?.id.to_string();
                Ok((model.pool(pool)?.spec.id.clone(), node))
            })?;
            let url = format!("{}/pools/{id}/nodes/{node}/files", ask.base());
            let place = Place { node: NodeRef { pool: id, node }, folder: String::new(), url, gone: None };
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
    act: NodeAction,
    option: Option<wire::NodeDeallocationOption>,
) -> Outcome {
    ask.core.change(|model, now| model.restart_node(pool, node, act, option.as_ref(), now)).await?;
    Ok(acted(ask, 202))
}
