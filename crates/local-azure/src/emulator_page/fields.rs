//! Tables of the fields of bodies and their treatment, for people.

use super::{
    declared::{self, Here},
    probe::{BODIES, Seen},
};
use std::collections::{BTreeMap, BTreeSet};

/// The treatments at and inside each property: definition, then property.
pub struct Fields {
    of: BTreeMap<String, BTreeMap<String, BTreeSet<Here>>>,
    /// The definition of the object that a property contains.
    parts: BTreeMap<(String, String), String>,
}

impl Fields {
    pub fn of(all: &[Seen]) -> Self {
        let mut fields = Self { of: BTreeMap::new(), parts: BTreeMap::new() };
        for seen in all {
            let judged = declared::of(&seen.field).unwrap();
            let here = if judged.by.here == Here::Hidden { Here::Kept } else { judged.by.here };
            let chain = &seen.field.chain;
            // A part lists only what is decided for it, not for all objects that contain it; a declaration
            // inside another object is listed there.
            for (definition, name) in &chain[..if judged.inside { 1 } else { judged.links }] {
                let properties = fields.of.entry(definition.clone()).or_default();
                properties.entry(name.clone()).or_default().insert(here);
            }
            for links in chain.windows(2) {
                fields.parts.insert(links[0].clone(), links[1].0.clone());
            }
        }
        fields
    }

    /// Returns the bodies of some operations.
    pub fn bodies(&self, wanted: impl Fn(&str) -> bool) -> String {
        let bodies = BODIES.iter().filter(|body| wanted(body.operation));
        let rows = bodies.map(|body| {
            let (method, path) = body.operation.split_once(' ').unwrap();
            self.row(&format!("{method} /{path}"), body.definition)
        });
        format!("{HEAD}{}", rows.collect::<String>())
    }

    /// Returns the parts of bodies whose fields are treated differently.
    pub fn parts(&self) -> String {
        let bodies: Vec<&str> = BODIES.iter().map(|body| body.definition).collect();
        let mut wanted = BTreeSet::new();
        for ((definition, name), part) in &self.parts {
            let found = self.of.get(definition).and_then(|properties| properties.get(name));
            if found.is_some_and(|found| found.len() > 1) && !bodies.contains(&part.as_str()) {
                wanted.insert(part);
            }
        }
        let rows = wanted.iter().filter(|part| self.of.contains_key(**part)).map(|part| self.row(part, part));
        format!("{}{}", HEAD.replace("operation", "part"), rows.collect::<String>())
    }

    fn row(&self, title: &str, definition: &str) -> String {
        let (mut as_azure, mut in_part, mut kept, mut refused) = (vec![], vec![], vec![], vec![]);
        for (name, found) in &self.of[definition] {
            let only: Vec<_> = found.iter().collect();
            let name = format!("`{name}`");
            match only[..] {
                [Here::AsAzure] => as_azure.push(name),
                [Here::Refused(code)] => refused.push(format!("{name} ({code})")),
                [Here::Kept] => kept.push(name),
                _ => in_part.push(match self.parts.get(&(definition.to_owned(), name.replace('`', ""))) {
                    Some(part) => format!("{name} (`{part}`)"),
                    None => name,
                }),
            }
        }
        let cells = [as_azure, in_part, kept, refused].map(|names| names.join(", "));
        format!("| `{title}` | {} |\n", cells.join(" | "))
    }
}

const HEAD: &str =
    "| operation | as Azure | in part | kept without effect | refused |\n|---|---|---|---|---|\n";

/// Returns everything that differs from Azure, with its reason.
pub fn reasons() -> String {
    let mut text = "| field | here | because |\n|---|---|---|\n".to_owned();
    for one in declared::ALL.iter().filter(|one| one.here != Here::AsAzure) {
        let shown = |pattern: &str| format!("`{}`", pattern.trim_start_matches("*.").replace('>', " › "));
        let names: Vec<_> = one.fields.split_whitespace().map(shown).collect();
        let here = match one.here {
            Here::Refused(code) => code,
            Here::Hidden => "kept, never returned",
            _ => "kept without effect",
        };
        text.push_str(&format!("| {} | {here} | {} |\n", names.join(", "), one.why));
    }
    text
}
