//! What becomes of a result whose place is taken.

use dropmill_lifecycle::plan::Existing;

/// What lies in the place of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing.
    Nothing,
    /// The same files: it was published before, and that was not recorded.
    Same,
    /// An earlier result of the same input, still as it was put there.
    Own {
        /// Whether its task succeeded.
        success: bool,
    },
    /// The result that a retry shall take the place of, still as it was delivered.
    Superseded,
    /// The result of another input.
    OfAnother(String),
    /// Something that none of our runs put there, or that was changed since.
    Foreign,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// The result goes there.
    Put,
    /// It is there.
    Recognise,
    /// It takes the place, and what was there goes.
    Exchange,
    /// The next name is tried.
    Beside,
    /// The delivery fails.
    Refuse,
}

/// What becomes of a result, `success` telling whether its task succeeded, whose place has this occupant.
pub fn placing(existing: Existing, success: bool, occupant: &Occupant) -> Placing {
    use {Existing as If, Occupant as There, Placing as Do};
    match (occupant, existing) {
        (There::Nothing, _) => Do::Put,
        (There::Same, _) => Do::Recognise,
        (There::Superseded, _) => Do::Exchange,
        (There::Own { .. } | There::OfAnother(_) | There::Foreign, If::Refuse) => Do::Refuse,
        // Otherwise three of six results are gone, and six of six tasks succeeded.
        (There::OfAnother(_), If::ReplaceOwn | If::KeepBoth | If::Replace) => Do::Beside,
        (There::Own { .. } | There::Foreign, If::KeepBoth) => Do::Beside,
        (There::Own { success: true }, If::ReplaceOwn | If::Replace) if !success => Do::Beside,
        (There::Own { .. }, If::ReplaceOwn | If::Replace) => Do::Exchange,
        (There::Foreign, If::ReplaceOwn) => Do::Beside,
        (There::Foreign, If::Replace) => Do::Exchange,
    }
}

impl Occupant {
    /// Says what a result lies beside, for the report.
    pub fn explain(&self, place: &str) -> String {
        match self {
            Self::OfAnother(input) => format!("{place} is the result of {input}"),
            Self::Own { success: true } => format!("{place} is a result of the same input that succeeded"),
            Self::Own { success: false } | Self::Superseded | Self::Same | Self::Nothing => {
                format!("{place} is an earlier result of the same input")
            }
            Self::Foreign => {
                format!("{place} was not put there by a run of this run file, or was changed since")
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
