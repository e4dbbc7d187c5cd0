//! Decides what happens to a result whose place is taken.

use dropmill_lifecycle::plan::Existing;

/// The content of the place of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupant {
    /// The place is free.
    Nothing,
    /// The same files: the result was published, but that was not recorded.
    Same,
    /// An unchanged earlier result of the same input.
    Own {
        /// Whether its task succeeded.
        success: bool,
    },
    /// The unchanged result that a retry replaces.
    Superseded,
    /// A result of another input.
    OfAnother(String),
    /// Files that no run of this run file put there, or that were changed since.
    Foreign,
}

/// The decision about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// The result is put there.
    Put,
    /// The result is there already.
    Recognise,
    /// The result replaces the content of the place.
    Exchange,
    /// The next name is tried.
    Beside,
    /// The delivery fails.
    Refuse,
}

/// Decides about a result whose place has this content; `success` says whether its task succeeded.
pub fn placing(existing: Existing, success: bool, occupant: &Occupant) -> Placing {
    use {Existing as If, Occupant as There, Placing as Do};
    match (occupant, existing) {
        (There::Nothing, _) => Do::Put,
        (There::Same, _) => Do::Recognise,
        (There::Superseded, _) => Do::Exchange,
        (There::Own { .. } | There::OfAnother(_) | There::Foreign, If::Refuse) => Do::Refuse,
        // Otherwise results would disappear although all tasks succeeded: three of six, for example.
        (There::OfAnother(_), If::ReplaceOwn | If::KeepBoth | If::Replace) => Do::Beside,
        (There::Own { .. } | There::Foreign, If::KeepBoth) => Do::Beside,
        (There::Own { success: true }, If::ReplaceOwn | If::Replace) if !success => Do::Beside,
        (There::Own { .. }, If::ReplaceOwn | If::Replace) => Do::Exchange,
        (There::Foreign, If::ReplaceOwn) => Do::Beside,
        (There::Foreign, If::Replace) => Do::Exchange,
    }
}

impl Occupant {
    /// Explains for the report why a result has another name.
    pub fn explain(&self, place: &str) -> String {
        match self {
            Self::OfAnother(input) => format!("{place} is the result of {input}"),
            Self::Own { success: true } => format!("{place} is a result of the same input that succeeded"),
            Self::Own { success: false } | Self::Superseded | Self::Same | Self::Nothing => {
                format!("{place} is an earlier result of the same input")
            }
            Self::Foreign => {
                format!("{place} is not from a run of this run file, or was changed since")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_results_of_the_same_input_are_replaced_and_never_a_success_by_a_failure() {
        use {Existing as If, Occupant as There, Placing as Do};
        let other = || There::OfAnother("b".into());
        let (success, failure) = (There::Own { success: true }, There::Own { success: false });
        let all = [There::Nothing, There::Same, There::Superseded, success, failure, other(), There::Foreign];
        let table = [
            (If::ReplaceOwn, true, "P R E E E B B"),
            (If::ReplaceOwn, false, "P R E B E B B"),
            (If::KeepBoth, true, "P R E B B B B"),
            (If::KeepBoth, false, "P R E B B B B"),
            (If::Replace, true, "P R E E E B E"),
            (If::Replace, false, "P R E B E B E"),
            (If::Refuse, true, "P R E - - - -"),
            (If::Refuse, false, "P R E - - - -"),
        ];
        for (existing, success, expected) in table {
            let letter = |occupant| match placing(existing, success, occupant) {
                Do::Put => "P",
                Do::Recognise => "R",
                Do::Exchange => "E",
                Do::Beside => "B",
                Do::Refuse => "-",
            };
            let done: Vec<_> = all.iter().map(letter).collect();
            assert_eq!(done.join(" "), expected, "{existing:?}, success {success}");
        }
    }
}
