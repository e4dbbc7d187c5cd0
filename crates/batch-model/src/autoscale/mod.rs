//! Parses autoscale formulas and evaluates them on samples of a pool.
//!
//! The functions are pure: time, samples and random numbers are inputs.

mod functions;
mod parser;
mod samples;
mod value;

#[cfg(test)]
mod tests;

pub use samples::{Samples, Sight};

use dropmill_azure_wire::batch::NodeDeallocationOption;
use dropmill_azure_wire::time::Timestamp;
use parser::{Expression, Place, Statement};
use std::collections::BTreeMap;
use value::Value;

/// Maximum length of a formula.
const LONGEST: usize = 8192;
/// Maximum size of all values of one evaluation, in numbers of vectors and bytes of texts: a formula of a
/// hundred `x = x + x;` would otherwise fill any memory. Samples of 34 days fit.
const MOST: usize = 100_000;

/// A parsed formula.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula(Vec<Statement>);

/// The reason why a formula could not be parsed or evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormulaError {
    /// Whether it is a syntax error.
    pub is_syntax: bool,
    /// Message for people.
    pub message: String,
    /// The variables at the time of the error, if the evaluation had begun.
    pub results: Option<String>,
}

impl FormulaError {
    fn syntax(message: &str) -> Self {
        Self { is_syntax: true, message: message.into(), results: None }
    }

    fn at(message: &str, place: Place) -> Self {
        Self::syntax(&format!("{message} at {place}"))
    }

    /// Adds the statement at `place` to an error.
    fn within(self, place: Place) -> Self {
        Self { message: format!("{} in the statement at {place}", self.message), ..self }
    }

    pub(crate) fn evaluation(message: &str) -> Self {
        Self { is_syntax: false, message: message.into(), results: None }
    }
}

/// The result of a formula.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Number of dedicated nodes.
    pub dedicated: i32,
    /// Number of Spot nodes.
    pub low_priority: i32,
    /// What happens to tasks on removed nodes.
    pub option: NodeDeallocationOption,
    /// The variables, in the format of `autoScaleRun.results`.
    pub results: String,
}

impl Formula {
    /// Parses a formula.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn read(text: &str) -> Result<Self, FormulaError> {
        if text.len() > LONGEST {
            return Err(FormulaError::syntax("The formula has more than 8192 characters"));
        }
        parser::parse(text).map(Self)
    }

    /// Evaluates it. `dedicated` and `low_priority` are the values for targets that it does not set.
    ///
    /// # Errors
    /// Returns the error of the evaluation.
    pub fn evaluate(
        &self,
        samples: &Samples,
        (dedicated, low_priority): (i32, i32),
        now: Timestamp,
        chance: &mut dyn FnMut() -> f64,
    ) -> Result<Wish, FormulaError> {
        let mut scope =
            Scope { variables: BTreeMap::new(), samples, now, chance, stopped: false, room: MOST };
        scope.set("$TargetDedicatedNodes", Value::Number(dedicated.into()));
        scope.set("$TargetLowPriorityNodes", Value::Number(low_priority.into()));
        scope.set("$NodeDeallocationOption", Value::Text("requeue".into()));
        self.run(&mut scope).map_err(|error| FormulaError { results: Some(scope.shown()), ..error })
    }

    fn run(&self, scope: &mut Scope<'_>) -> Result<Wish, FormulaError> {
        for statement in &self.0 {
            let within = |error: FormulaError| error.within(statement.place);
            let value = scope.value(&statement.value).map_err(within)?;
            if scope.stopped {
                break;
            }
            scope.assign(&statement.name, value).map_err(within)?;
        }
        let option = match &scope.variables["$NodeDeallocationOption"] {
            Value::Text(text) => NodeDeallocationOption::from(text.as_str()),
            other => NodeDeallocationOption::Other(other.shown().into()),
        };
        if let NodeDeallocationOption::Other(other) = &option {
            let words = format!("$NodeDeallocationOption cannot be {other}");
            return Err(FormulaError::evaluation(&words));
        }
        let (dedicated, low_priority) =
            (scope.count("$TargetDedicatedNodes")?, scope.count("$TargetLowPriorityNodes")?);
        // The results show the applied values: whole nodes.
        scope.set("$TargetDedicatedNodes", Value::Number(dedicated.into()));
        scope.set("$TargetLowPriorityNodes", Value::Number(low_priority.into()));
        scope.set("$NodeDeallocationOption", Value::Text(option.to_string()));
        Ok(Wish { dedicated, low_priority, option, results: scope.shown() })
    }
}

/// Variables that a formula can set.
const TARGETS: [&str; 3] = ["$TargetDedicatedNodes", "$TargetLowPriorityNodes", "$NodeDeallocationOption"];

/// Returns the current name of a variable: the service once had only one kind of nodes.
fn current(name: &str) -> &str {
    if name == "$TargetDedicated" { "$TargetDedicatedNodes" } else { name }
}

/// Units of time in seconds, by the name after `TimeInterval_`.
const UNITS: &[(&str, f64)] = &[
    ("Zero", 0.0),
    ("100ns", 1e-7),
    ("Microsecond", 1e-6),
    ("Millisecond", 1e-3),
    ("Second", 1.0),
    ("Minute", 60.0),
    ("Hour", 3600.0),
    ("Day", 86_400.0),
    ("Week", 604_800.0),
    ("Year", 31_536_000.0),
];

/// The state of an evaluation.
struct Scope<'a> {
    variables: BTreeMap<String, Value>,
    samples: &'a Samples,
    now: Timestamp,
    chance: &'a mut dyn FnMut() -> f64,
    stopped: bool,
    /// The rest of [`MOST`].
    room: usize,
}

impl Scope<'_> {
    fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    /// Returns the variables in the format of `autoScaleRun.results`: those of the service first.
    fn shown(&self) -> String {
        let own = self.variables.keys().map(String::as_str).filter(|name| !TARGETS.contains(name));
        let all = TARGETS.into_iter().chain(own);
        let lines: Vec<_> = all.map(|name| format!("{name}={}", self.variables[name].shown())).collect();
        lines.join(";")
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), FormulaError> {
        let name = current(name);
        if Samples::knows(name) || name.starts_with("TimeInterval_") {
            return Err(FormulaError::evaluation(&format!("{name} cannot be set")));
        }
        if !name.is_empty() {
            self.set(name, value);
        }
        Ok(())
    }

    /// Returns a number of nodes.
    fn count(&self, name: &str) -> Result<i32, FormulaError> {
        let number = self.variables[name].number()?.round();
        if (0.0..=f64::from(i32::MAX)).contains(&number) {
            return Ok(number as i32);
        }
        Err(FormulaError::evaluation(&format!("{name} cannot be {number}")))
    }

    /// Evaluates an expression. Every value counts towards the limit, even a copy.
    fn value(&mut self, expression: &Expression) -> Result<Value, FormulaError> {
        let value = self.made(expression)?;
        let too_much = || FormulaError::evaluation("The values of the formula need too much memory");
        self.room = self.room.checked_sub(value.size()).ok_or_else(too_much)?;
        Ok(value)
    }

    fn made(&mut self, expression: &Expression) -> Result<Value, FormulaError> {
        match expression {
            Expression::Number(number) => Ok(Value::Number(*number)),
            Expression::Text(text) => Ok(Value::Text(text.clone())),
            Expression::Name(name) => self.named(name),
            Expression::Vector(list) => {
                let mut numbers = vec![];
                for entry in list {
                    numbers.extend(self.value(entry)?.numbers()?);
                }
                Ok(Value::Vector(numbers))
            }
            Expression::Unary(sign, of) => value::unary(*sign, &self.value(of)?),
            Expression::Binary(sign, left, right) => {
                let left = self.value(left)?;
                match (*sign, &left) {
                    ("&&", left) if left.number()? == 0.0 => return Ok(Value::Number(0.0)),
                    ("||", left) if left.number()? != 0.0 => return Ok(Value::Number(1.0)),
                    _ => {}
                }
                value::binary(sign, &left, &self.value(right)?)
            }
            Expression::Choice(condition, yes, no) => {
                let condition = self.value(condition)?.number()?;
                self.value(if condition == 0.0 { no } else { yes })
            }
            Expression::Call(name, arguments) => {
                let arguments = arguments.iter().map(|one| self.value(one)).collect::<Result<Vec<_>, _>>()?;
                self.call(name, &arguments)
            }
            Expression::Method(of, name, arguments) => {
                let Expression::Name(variable) = &**of else {
                    return Err(FormulaError::evaluation(&format!(
                        "Only the service's variables have {name}"
                    )));
                };
                let arguments = arguments.iter().map(|one| self.value(one)).collect::<Result<Vec<_>, _>>()?;
                self.samples.call(variable, name, &arguments, self.now)
            }
            Expression::Member(of, name) => value::member(&self.value(of)?, name),
        }
    }

    fn named(&self, name: &str) -> Result<Value, FormulaError> {
        let name = current(name);
        if let Some(value) = self.variables.get(name) {
            return Ok(value.clone());
        }
        if let Some(unit) = name.strip_prefix("TimeInterval_") {
            let known = UNITS.iter().find(|(found, _)| *found == unit);
            let none = || FormulaError::evaluation(&format!("Undefined symbol: {name}"));
            return known.map(|(_, seconds)| Value::Interval(*seconds)).ok_or_else(none);
        }
        if Samples::knows(name) {
            return self.samples.last(name).map(Value::Number);
        }
        match name {
            "requeue" | "terminate" | "taskcompletion" | "retaineddata" => Ok(Value::Text(name.into())),
            "true" => Ok(Value::Number(1.0)),
            "false" => Ok(Value::Number(0.0)),
            _ => Err(FormulaError::evaluation(&format!("Undefined symbol: {name}"))),
        }
    }
}
