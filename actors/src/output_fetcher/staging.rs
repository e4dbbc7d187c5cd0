//! Staging the files of a result: kept ones are used again, the others are downloaded.

use super::{Kept, KeptFile, Left, bring_file, failure, length_of};
use crate::{place::ResultPlace, services::Services};
use dropmill_azure_client::blob::BlobListing;
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::{
    Failure,
    plan::{Item, RunPlan},
};
use std::collections::BTreeMap;

/// Stages files of a result; returns them and the end of standard error.
pub(super) async fn stage_files(
    services: &Services,
    place: &dyn ResultPlace,
    plan: &RunPlan,
    item: &Item,
    left: &[Left],
    kept: &mut Kept,
) -> Result<(Vec<DeliveredFile>, String), Failure> {
    stage(place, item, left, kept)?;
    let (mut files, mut tail) = (vec![], String::new());
    for one in left {
        if !kept.contains_key(&one.path) {
            let mut stderr_tail = String::new();
            let file = bring_file(services, place, plan, item, one, &mut stderr_tail).await?;
            kept.insert(one.path.clone(), KeptFile { listed: one.blob.clone(), file, stderr_tail });
        }
        let KeptFile { file, stderr_tail, .. } = &kept[&one.path];
        files.push(file.clone());
        tail.push_str(stderr_tail);
    }
    Ok((files, tail))
}

/// Prepares the staging area; downloads of an earlier attempt from the same blobs are kept.
fn stage(place: &dyn ResultPlace, item: &Item, left: &[Left], kept: &mut Kept) -> Result<(), Failure> {
    let listed: BTreeMap<&str, &BlobListing> = left.iter().map(|left| (&*left.path, &left.blob)).collect();
    kept.retain(|path, kept| listed.get(path.as_str()) == Some(&&kept.listed));
    let here = kept.values().map(|kept| kept.listed.size_bytes).sum::<u64>();
    let needs_bytes = length_of(listed.into_values())?.saturating_sub(here);
    let keep = kept.values().map(|kept| kept.file.path.clone()).collect();
    if !place.stage(&item.task, needs_bytes, &keep).map_err(failure)? {
        kept.clear();
    }
    Ok(())
}
