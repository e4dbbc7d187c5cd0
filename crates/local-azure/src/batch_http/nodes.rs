//! Operations on nodes of a pool, their files and their users.

use super::{
    Ask,
    answer::{Outcome, empty, entity, named, put},
    files::{self, Place},
    routes::{acted, no_such_verb, page},
};
use crate::{
    model::{NodeAction, Refusal},
    orders::NodeRef,
};
use dropmill_azure_wire::{
    batch::{self as wire, limit},
    operation::Operation as Op,
};

/// Answers an operation on nodes.
pub async fn answer(ask: &Ask<'_>, operation: Op, ids: &[String]) -> Outcome {
    match (operation, ids) {
        (Op::ListNodes, [pool]) => page(ask, "nodes", limit::PAGE, |model, filter, select, after, size| {
            model.list_nodes(pool, filter, select, after, size)
        }),
        (operation, [pool, node, rest @ ..]) => {
            on_node(ask, operation, (pool.as_str(), node.as_str()), rest).await
        }
        _ => Err(no_such_verb()),
    }
}

async fn on_node(ask: &Ask<'_>, operation: Op, (pool, node): (&str, &str), rest: &[String]) -> Outcome {
    let core = ask.core;
    match operation {
        Op::GetNode => {
            let select = ask.select();
            let seen =
                core.look(|model| Ok(model.see_node(model.pool(pool)?, model.node(pool, node)?, &select)))?;
            Ok(entity(ask.base(), "nodes", &seen))
        }
        Op::RebootNode => {
            let reboot: wire::NodeReboot = ask.body_or_default()?;
            let option = reboot.node_reboot_option;
            restart(ask, pool, node, NodeAction::Reboot, option).await
        }
        Op::ReimageNode => {
            let reimage: wire::NodeReimage = ask.body_or_default()?;
            restart(ask, pool, node, NodeAction::Reimage, reimage.node_reimage_option).await
        }
        Op::DeallocateNode => {
            let deallocate: wire::NodeDeallocate = ask.body_or_default()?;
            restart(ask, pool, node, NodeAction::Deallocate, deallocate.node_deallocate_option).await
        }
        Op::StartNode => {
            core.change(|model, now| model.start_node(pool, node, now)).await?;
            Ok(acted(ask, 202))
        }
        Op::DisableScheduling => {
            let disable: wire::NodeDisableScheduling = ask.body_or_default()?;
            let option = disable.node_disable_scheduling_option;
            core.change(|model, now| model.disable_scheduling(pool, node, option.as_ref(), now)).await?;
            Ok(acted(ask, 200))
        }
        Op::EnableScheduling => {
            core.change(|model, now| model.enable_scheduling(pool, node, now)).await?;
            Ok(acted(ask, 200))
        }
        Op::GetRemoteLogin => {
            core.look(|model| model.node(pool, node).map(drop))?;
            let settings = wire::RemoteLoginSettings {
                remote_login_ip_address: "127.0.0.1".into(),
                remote_login_port: 22,
                ..wire::RemoteLoginSettings::default()
            };
            let answer = entity(ask.base(), "remoteloginsettings", &settings);
            Ok(named(answer, &format!("{}/{}", ask.base(), ask.path.join("/"))))
        }
        Op::AddNodeUser | Op::UpdateNodeUser | Op::DeleteNodeUser => {
            users(ask, operation, (pool, node), rest).await
        }
        Op::UploadNodeLogs => upload_logs(ask, pool, node),
        Op::ListExtensions | Op::GetExtension => extensions(ask, (pool, node), rest.first()),
        Op::ListNodeFiles => files::list(ask, core.files(), &place(ask, pool, node)?),
        Op::GetNodeFile | Op::HeadNodeFile | Op::DeleteNodeFile => {
            files::one(ask, core.files(), &place(ask, pool, node)?, &rest.join("/"))
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

async fn users(ask: &Ask<'_>, operation: Op, (pool, node): (&str, &str), name: &[String]) -> Outcome {
    match (operation, name) {
        (Op::AddNodeUser, []) => {
            let user: wire::NodeUserAdd = ask.body()?;
            ask.core.change(|model, now| model.add_user(pool, node, &user, now)).await?;
            let url = format!("{}/{}/{}", ask.base(), ask.path.join("/"), user.name);
            let mut answer = named(empty(201), &url);
            put(&mut answer, "location", url);
            Ok(answer)
        }
        (Op::UpdateNodeUser, [name]) => {
            let update: wire::NodeUserUpdate = ask.body()?;
            ask.core.change(|model, _| model.update_user(pool, node, name, &update)).await?;
            Ok(acted(ask, 200))
        }
        (Op::DeleteNodeUser, [name]) => {
            ask.core.change(|model, _| model.delete_user(pool, node, name)).await?;
            Ok(empty(200))
        }
        _ => Err(no_such_verb()),
    }
}

fn upload_logs(ask: &Ask<'_>, pool: &str, node: &str) -> Outcome {
    let logs: wire::UploadNodeLogs = ask.body()?;
    let core = ask.core;
    let log = core.look(|model| model.node_log(pool, node, logs.start_time, logs.end_time))?;
    let folder = format!("{}/{pool}/{node}/{}", ask.front.identity.account, core.now().as_microsecond());
    // As on Azure, the answer does not tell why a container took nothing.
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

/// Answers with all extensions of a node, or with the one of this name.
fn extensions(ask: &Ask<'_>, (pool, node): (&str, &str), name: Option<&String>) -> Outcome {
    let all = ask.core.look(|model| model.node_extensions(pool, node))?;
    let Some(name) = name else { return ask.slice("extensions", limit::PAGE, all) };
    let found = all.iter().find(|extension| extension["vmExtension"]["name"] == **name);
    let found = found.ok_or_else(|| Refusal::not_found("ResourceNotFound"))?;
    Ok(entity(ask.base(), "extensions", found))
}

/// Returns where the files of a node are.
fn place(ask: &Ask<'_>, pool: &str, node: &str) -> Result<Place, Refusal> {
    let (id, node) = ask.core.look(|model| {
        let node = model.node(pool, node)?.id.to_string();
        Ok((model.pool(pool)?.spec.id.clone(), node))
    })?;
    let url = format!("{}/pools/{id}/nodes/{node}/files", ask.base());
    Ok(Place { node: NodeRef { pool: id, node }, folder: String::new(), url, gone: None })
}
