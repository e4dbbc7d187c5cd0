//! Operations on job schedules.

use super::{
    Ask,
    answer::{Outcome, empty, entity, tagged},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, ScheduleAsk};
use dropmill_azure_wire::{batch::limit, operation::Operation as Op};

/// Answers an operation on job schedules.
pub async fn answer(ask: &Ask<'_>, operation: Op, ids: &[String]) -> Outcome {
    let Some(id) = ids.first() else { return account_wide(ask, operation).await };
    let core = ask.core;
    let check = |model: &Model| {
        let schedule = model.schedule_named(id)?;
        check_conditions(ask, &schedule.etag, schedule.modified)
    };
    let tags = |model: &Model| {
        let schedule = model.schedule_named(id)?;
        Ok((schedule.etag.clone(), schedule.modified))
    };
    match operation {
        Op::GetSchedule | Op::HeadSchedule => {
            let select = ask.select();
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let schedule = model.schedule_named(id)?;
                Ok((model.see_schedule(schedule, &select), schedule.etag.clone(), schedule.modified))
            })?;
            let heads = operation == Op::HeadSchedule;
            let answer = if heads { empty(200) } else { entity(ask.base(), "jobschedules", &seen) };
            Ok(tagged(answer, &etag, modified))
        }
        Op::PatchSchedule | Op::UpdateSchedule => {
            let update: ScheduleAsk = ask.body()?;
            let whole = operation == Op::UpdateSchedule;
            let made = core
                .change(|model, now| {
                    check(model).and_then(|()| model.change_schedule(id, update, whole, now))
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        Op::DeleteSchedule => {
            core.change(|model, now| check(model).and_then(|()| model.delete_schedule(id, now))).await?;
            Ok(empty(202))
        }
        Op::DisableSchedule | Op::EnableSchedule => {
            let enabled = operation == Op::EnableSchedule;
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.enable_schedule(id, enabled, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 204, made))
        }
        Op::TerminateSchedule => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.terminate_schedule(id, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        Op::ListScheduleJobs => page(ask, "jobs", limit::PAGE, |model, filter, select, after, size| {
            model.list_schedule_jobs(id, filter, select, after, size)
        }),
        _ => Err(no_such_verb()),
    }
}

async fn account_wide(ask: &Ask<'_>, operation: Op) -> Outcome {
    match operation {
        Op::ListSchedules => page(ask, "jobschedules", limit::PAGE, |model, filter, select, after, size| {
            model.list_schedules(filter, select, after, size)
        }),
        Op::CreateSchedule => {
            let schedule: ScheduleAsk = ask.body()?;
            let url = format!("{}/jobschedules/{}", ask.base(), schedule.id);
            let made = ask.core.change(|model, now| model.create_schedule(schedule, now)).await?;
            Ok(created(made, &url))
        }
        _ => Err(no_such_verb()),
    }
}
