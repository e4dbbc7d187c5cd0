//! Companions: files that lie beside an input and go with it, for example `{stem}.shx` beside `town.shp`.

use crate::{
    Draft, NamedFile, Problem,
    names::{file_name, stem},
    template::{Template, Unknown},
};

const KEY: &str = "input.with";
/// Maximum number of companions of a task.
pub const MOST: usize = 100;

/// A pattern of companions, relative to the folder of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    template: Template,
    text: String,
    is_optional: bool,
}

impl Companion {
    /// Reads a pattern; a `?` at its end makes it optional.
    ///
    /// # Errors
    /// Returns a problem if it leaves the folder of the input, or uses an unknown name.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let problem = |message: String| Problem::new(KEY, message);
        let (pattern, is_optional) = match text.strip_suffix('?') {
            Some(pattern) => (pattern, true),
            None => (text, false),
        };
        if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            return Err(problem(format!("{text:?} must name files in the folder of the input")));
        }
        let template = Template::parse(pattern, &["stem", "name"], Unknown::Error).map_err(problem)?;
        Ok(Self { template, text: text.to_owned(), is_optional })
    }

    /// Returns the pattern of the companions of an input, relative to the same folder as its path.
    pub fn pattern(&self, input: &str) -> String {
        let own = file_name(input);
        let folder = &input[..input.len() - own.len()];
        let value = |name: &str| globset::escape(if name == "stem" { stem(own) } else { own });
        format!("{}{}", globset::escape(folder), self.template.fill(value))
    }
}

/// Adds the companions of a task's input: for each pattern the files that match it, by their listed paths.
///
/// # Errors
/// Returns a problem for each pattern that matches nothing and is not optional, and one if there are too many files.
pub fn add(draft: &mut Draft, companions: &[(&Companion, Vec<String>)]) -> Result<(), Vec<Problem>> {
    let Some(input) = draft.files.first().map(|file| file.path.clone()) else { return Ok(()) };
    let folder = input.len() - file_name(&input).len();
    let mut problems = vec![];
    for (companion, paths) in companions {
        let others = paths.iter().filter(|path| **path != input);
        let before = draft.files.len();
        for path in others {
            if draft.files.iter().all(|file| file.path != *path) {
                draft.files.push(NamedFile {
                    name: None,
                    path: path.clone(),
                    place: path[folder..].to_owned(),
                });
            }
        }
        if draft.files.len() == before && paths.is_empty() && !companion.is_optional {
            let message = format!(
                "{input} has no companion {:?}; write \"{}?\" if it may be missing",
                companion.text, companion.text
            );
            problems.push(Problem::new(KEY, message));
        }
    }
    if draft.files.len() > MOST + 1 {
        let message =
            format!("{input} has {} companions, at most {MOST} are possible", draft.files.len() - 1);
        problems.push(Problem::new(KEY, message));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_relative_to_the_folder_of_its_input() {
        for (pattern, input, expected) in [
            ("{stem}.shx", "maps/town.shp", "maps/town.shx"),
            ("{stem}.prj?", "town.shp", "town.prj"),
            ("img/**", "docs/a.md", "docs/img/**"),
            ("{name}.bai", "d[1]/x*.bam", "d[[]1[]]/x[*].bam.bai"),
        ] {
            assert_eq!(Companion::parse(pattern).unwrap().pattern(input), expected);
        }
        for wrong in ["../x", "/etc/passwd", "", "?", "{stme}.x", "a/../../b"] {
            assert!(Companion::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn companions_keep_their_paths_and_missing_ones_are_reported_at_once() {
        let [shx, prj, img] =
            ["{stem}.shx", "{stem}.prj?", "img/**"].map(|text| Companion::parse(text).unwrap());
        let mut draft = Draft::of_file("maps/town.shp");
        let found = [
            (&shx, vec!["maps/town.shx".to_owned()]),
            (&prj, vec![]),
            (&img, vec!["maps/img/a.png".to_owned(), "maps/town.shp".to_owned()]),
        ];
        add(&mut draft, &found).unwrap();
        let places: Vec<_> = draft.files.iter().map(|file| file.place.as_str()).collect();
        assert_eq!(places, ["town.shp", "town.shx", "img/a.png"]);
        let problems =
            add(&mut Draft::of_file("maps/x.shp"), &[(&shx, vec![]), (&prj, vec![]), (&img, vec![])])
                .unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].message.starts_with("maps/x.shp has no companion \"{stem}.shx\""),
            "{problems:?}"
        );
        let many = (0..101).map(|number| format!("maps/img/{number}")).collect();
        assert!(
            add(&mut Draft::of_file("maps/x.shp"), &[(&img, many)]).unwrap_err()[0]
                .message
                .contains("101 companions")
        );
    }
}
