//! Operations on pools.

use super::{
    Ask,
    answer::{Outcome, empty, entity, named, tagged},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, Refusal};
use dropmill_azure_wire::{
    batch::{
        NodeRemove, PoolAdd, PoolEnableAutoScale, PoolEvaluateAutoScale, PoolPatch, PoolResize,
        PoolUpdateProperties, limit,
    },
    operation::Operation as Op,
    time::Timestamp,
};

/// Answers an operation on pools.
pub async fn answer(ask: &Ask<'_>, operation: Op, ids: &[String]) -> Outcome {
    let Some(pool) = ids.first() else { return account_wide(ask, operation).await };
    match operation {
        Op::GetPool | Op::HeadPool => {
            let select = ask.select();
            let (seen, etag, modified) = ask.core.look(|model| {
                check(ask, model, pool)?;
                let pool = model.pool(pool)?;
                Ok((model.see_pool(pool, &select), pool.etag.clone(), pool.modified))
            })?;
            let is_head = operation == Op::HeadPool;
            let answer = if is_head { empty(200) } else { entity(ask.base(), "pools", &seen) };
            Ok(tagged(answer, &etag, modified))
        }
        Op::PatchPool => {
            let patch: PoolPatch = ask.body()?;
            change(ask, pool, 200, |model, now| model.patch_pool(pool, patch, now).map(drop)).await
        }
        Op::DeletePool => {
            ask.core
                .change(|model, now| check(ask, model, pool).and_then(|()| model.delete_pool(pool, now)))
                .await?;
            Ok(empty(202))
        }
        Op::UpdatePool => {
            let update: PoolUpdateProperties = ask.body()?;
            let made = ask.core.change(|model, now| model.update_pool(pool, update, now)).await?;
            Ok(changed(ask, 204, made))
        }
        Op::ResizePool => {
            let resize: PoolResize = ask.body()?;
            change(ask, pool, 202, |model, now| model.resize_pool(pool, &resize, now)).await
        }
        Op::StopResize => change(ask, pool, 202, |model, now| model.stop_resize(pool, now)).await,
        Op::RemoveNodes => {
            let remove: NodeRemove = ask.body()?;
            change(ask, pool, 202, |model, now| model.remove_nodes(pool, &remove, now)).await
        }
        Op::EnableAutoScale => {
            let enable: PoolEnableAutoScale = ask.body_or_default()?;
            change(ask, pool, 200, |model, now| model.enable_autoscale(pool, &enable, now)).await
        }
        Op::DisableAutoScale => {
            // The protocol has no conditions here.
            let made = ask.core.change(|model, now| {
                model.disable_autoscale(pool, now)?;
                let pool = model.pool(pool)?;
                Ok((pool.etag.clone(), pool.modified))
            });
            Ok(changed(ask, 200, made.await?))
        }
        Op::EvaluateAutoScale => {
            let evaluate: PoolEvaluateAutoScale = ask.body()?;
            let formula = evaluate.auto_scale_formula;
            let run = ask.core.look(|model| model.evaluate_autoscale(pool, &formula, ask.core.now()))?;
            let answer = entity(ask.base(), "Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun", &run);
            Ok(named(answer, &format!("{}/{}", ask.base(), ask.path.join("/"))))
        }
        _ => Err(no_such_verb()),
    }
}

async fn account_wide(ask: &Ask<'_>, operation: Op) -> Outcome {
    match operation {
        Op::ListPools => page(ask, "pools", limit::PAGE, |model, filter, select, after, size| {
            model.list_pools(filter, select, after, size)
        }),
        Op::CreatePool => {
            let pool: PoolAdd = ask.body()?;
            let url = format!("{}/pools/{}", ask.base(), pool.id);
            let made = ask.core.change(|model, now| model.create_pool(pool, now)).await?;
            Ok(created(made, &url))
        }
        _ => Err(no_such_verb()),
    }
}

fn check(ask: &Ask<'_>, model: &Model, pool: &str) -> Result<(), Refusal> {
    let pool = model.pool(pool)?;
    check_conditions(ask, &pool.etag, pool.modified)
}

/// Changes a pool if the request's conditions hold, and answers with its new tag.
async fn change(
    ask: &Ask<'_>,
    pool: &str,
    status: u16,
    change: impl FnOnce(&mut Model, Timestamp) -> Result<(), Refusal>,
) -> Outcome {
    let made = ask.core.change(|model, now| {
        check(ask, model, pool)?;
        change(model, now)?;
        let pool = model.pool(pool)?;
        Ok((pool.etag.clone(), pool.modified))
    });
    Ok(changed(ask, status, made.await?))
}
