//! Requests about job schedules.

use super::{
    Ask,
    answer::{Outcome, empty, entity, tagged},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, ScheduleAsk};
use dropmill_azure_wire::{batch::limit, uri::decode};
use http::Method;

/// Handles a request about job schedules; `rest` is the path after `jobschedules`.
pub async fn schedule_call(ask: &Ask<'_>, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let (id, rest) = match (ask.method.as_str(), rest) {
        ("GET", []) => {
            return page(ask, "jobschedules", limit::PAGE, |model, filter, select, after, size| {
                model.list_schedules(filter, select, after, size)
            });
        }
        ("POST", []) => {
            let schedule: ScheduleAsk = ask.body()?;
            let url = format!("{}/jobschedules/{}", ask.base(), schedule.id);
            let made = core.change(|model, now| model.create_schedule(schedule, now)).await?;
            return Ok(created(made, &url));
        }
        (_, []) => return Err(no_such_verb()),
        (_, [id, rest @ ..]) => (decode(id).into_owned(), rest),
    };
    let id = &*id;
    let check = |model: &Model| {
        let schedule = model.schedule_named(id)?;
        check_conditions(ask, &schedule.etag, schedule.modified)
    };
    let tags = |model: &Model| {
        let schedule = model.schedule_named(id)?;
        Ok((schedule.etag.clone(), schedule.modified))
    };
    match (ask.method.as_str(), rest) {
        ("GET" | "HEAD", []) => {
            let select = ask.select();
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let schedule = model.schedule_named(id)?;
                Ok((model.see_schedule(schedule, &select), schedule.etag.clone(), schedule.modified))
            })?;
            let heads = *ask.method == Method::HEAD;
            let answer = if heads { empty(200) } else { entity(ask.base(), "jobschedules", &seen) };
            Ok(tagged(answer, &etag, modified))
        }
        ("PATCH" | "PUT", []) => {
            let update: ScheduleAsk = ask.body()?;
            let whole = *ask.method == Method::PUT;
            let made = core
                .change(|model, now| {
                    check(model).and_then(|()| model.change_schedule(id, update, whole, now))
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_schedule(id, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["disable" | "enable"]) => {
            let enabled = rest == ["enable"];
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.enable_schedule(id, enabled, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 204, made))
        }
        ("POST", ["terminate"]) => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.terminate_schedule(id, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("GET", ["jobs"]) => page(ask, "jobs", limit::PAGE, |model, filter, select, after, size| {
            model.list_schedule_jobs(id, filter, select, after, size)
        }),
        _ => Err(no_such_verb()),
    }
}
