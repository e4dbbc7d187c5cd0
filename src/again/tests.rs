use super::*;
use dropmill_azure_wire::time::Timestamp;
use dropmill_journal::event::DeliveredFile;
use std::fs;

struct Rig {
    folder: tempfile::TempDir,
    plan: RunPlan,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/a"), "input").unwrap();
        let run_file = folder.path().join("run.toml");
        fs::write(&run_file, "[input]\nfiles = [\"data/*\"]\n[task]\ncommand = [\"true\"]\n").unwrap();
        let loaded = crate::settings::load(&run_file, &[], vec![]).unwrap();
        let plan = crate::plan::plan(&loaded, "r-1", &|_| true).unwrap();
        Self { folder, plan }
    }

    fn item(&self) -> &Item {
        &self.plan.items[0]
    }

    /// Returns a success with files `path=content`; also sets an MD5 of other content if one is given.
    fn success(&self, files: &[(&str, &str)]) -> OwnResult {
        let files = files.iter().map(|(path, content)| {
            let md5 = md5_hex(content);
            DeliveredFile {
                path: (*path).into(),
                bytes: content.len() as u64,
                md5,
                ..DeliveredFile::default()
            }
        });
        OwnResult {
            input: "data/a".into(),
            run: "r-0".into(),
            success: true,
            folder: "data/a".into(),
            files: files.collect(),
            made_from: Some(MadeFrom {
                bytes: self.item().size_bytes,
                modified: self.item().modified,
                recipe: self.plan.recipe.clone(),
            }),
        }
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.plan.output.directory.join("data/a").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn why(&self, results: &[OwnResult], check_content: bool) -> Option<String> {
        let mut own = OwnResults::open(self.folder.path(), Path::new("/none"), true).unwrap();
        for result in results {
            own.learn(Arc::new(result.clone()));
        }
        why(self.item(), &self.plan, &own, check_content).map(|why| why.to_string())
    }
}

fn md5_hex(content: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(content.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_input_is_done_only_if_result_input_and_recipe_are_the_same() {
    let rig = Rig::new();
    let good = rig.success(&[("o", "12"), ("deep/p", "")]);
    let reason = |result: &OwnResult| rig.why(std::slice::from_ref(result), false);
    assert_eq!(rig.why(&[], false).unwrap(), "no run succeeded with it");
    assert_eq!(reason(&good).unwrap(), "data/a/o is missing, or has another length");
    rig.put("o", "12");
    rig.put("deep/p", "");
    assert_eq!(reason(&good), None);
    assert_eq!(reason(&OwnResult { success: false, ..good.clone() }).unwrap(), "no run succeeded with it");
    assert_eq!(
        reason(&OwnResult { made_from: None, ..good.clone() }).unwrap(),
        "there is no record of what its result was made from"
    );
    let changed = |change: &dyn Fn(&mut MadeFrom)| {
        let mut result = good.clone();
        change(result.made_from.as_mut().unwrap());
        reason(&result).unwrap()
    };
    assert_eq!(changed(&|from| from.bytes += 1), "the input changed");
    assert_eq!(changed(&|from| from.modified = Some(Timestamp::UNIX_EPOCH)), "the input changed");
    for part in ["command", "environment", "application", "outputs"] {
        let other = |from: &mut MadeFrom| drop(from.recipe.insert(part.into(), "0".into()));
        assert_eq!(changed(&other), format!("changed since: {part}"));
    }
    assert!(changed(&|from| from.recipe.clear()).contains("no record"));
}

#[test]
fn changed_content_of_equal_length_is_found_if_requested_or_possible_after_a_crash() {
    let rig = Rig::new();
    let (earlier, latest) = (rig.success(&[("o", "old")]), rig.success(&[("o", "new")]));
    rig.put("o", "old");
    assert_eq!(rig.why(std::slice::from_ref(&latest), false), None, "lengths are enough");
    let other = Some("data/a/o has other content".to_owned());
    assert_eq!(rig.why(std::slice::from_ref(&latest), true), other);
    // The latest result was recorded, and its run crashed before the result was in its place.
    assert_eq!(rig.why(&[earlier.clone(), latest.clone()], false), other);
    rig.put("o", "new");
    assert_eq!(rig.why(&[earlier, latest], false), None);
}
