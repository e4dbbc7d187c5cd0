//! Values of a formula, and their operators.

use super::FormulaError;
use dropmill_azure_wire::time::{Timestamp, iso, parse_http_date, parse_iso};
use jiff::{SignedDuration, tz::TimeZone};

/// A value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number; only 0 is false.
    Number(f64),
    /// A vector of numbers.
    Vector(Vec<f64>),
    /// A text value.
    Text(String),
    /// A timestamp value.
    Moment(Timestamp),
    /// A duration in seconds.
    Interval(f64),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "double",
            Self::Vector(_) => "doubleVec",
            Self::Text(_) => "string",
            Self::Moment(_) => "timestamp",
            Self::Interval(_) => "timeinterval",
        }
    }

    /// Returns its memory use: numbers of a vector, bytes of a text.
    pub fn size(&self) -> usize {
        match self {
            Self::Vector(list) => list.len(),
            Self::Text(text) => text.len(),
            Self::Number(_) | Self::Moment(_) | Self::Interval(_) => 0,
        }
    }

    /// Returns it as a number.
    pub fn number(&self) -> Result<f64, FormulaError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Vector(list) if list.len() == 1 => Ok(list[0]),
            other => Err(FormulaError::evaluation(&format!("A {} is not a double", other.kind()))),
        }
    }

    /// Returns it as numbers.
    pub fn numbers(&self) -> Result<Vec<f64>, FormulaError> {
        match self {
            Self::Vector(list) => Ok(list.clone()),
            other => Ok(vec![other.number()?]),
        }
    }

    /// Formats it as in results.
    pub fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Vector(list) => {
                format!("[{}]", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
            Self::Text(text) => text.clone(),
            Self::Moment(moment) => iso(*moment),
            Self::Interval(seconds) => format!("{}", seconds * 1e7),
        }
    }
}

/// Returns a timestamp moved by seconds.
pub fn moved(moment: Timestamp, seconds: f64) -> Result<Timestamp, FormulaError> {
    let far = || FormulaError::evaluation("The timestamp is out of range");
    let by = SignedDuration::try_from_secs_f64(seconds).map_err(|_| far())?;
    moment.checked_add(by).map_err(|_| far())
}

/// Evaluates a call of `time("…")`.
pub fn moment_of(text: &str) -> Result<Timestamp, FormulaError> {
    let moment = parse_iso(text).or_else(|| parse_http_date(text)).or_else(|| parse_iso(&format!("{text}Z")));
    moment.ok_or_else(|| FormulaError::evaluation(&format!("\"{text}\" is not a timestamp")))
}

/// Evaluates a property such as `x.hour`.
pub fn member(of: &Value, name: &str) -> Result<Value, FormulaError> {
    let Value::Moment(moment) = of else {
        return Err(FormulaError::evaluation(&format!("A {} has no {name}", of.kind())));
    };
    let at = moment.to_zoned(TimeZone::UTC);
    let number: i32 = match name {
        "year" => at.year().into(),
        "month" => at.month().into(),
        "day" => at.day().into(),
        "dayofyear" => at.day_of_year().into(),
        "weekday" => at.weekday().to_sunday_zero_offset().into(),
        "hour" => at.hour().into(),
        "minute" => at.minute().into(),
        "second" => at.second().into(),
        _ => return Err(FormulaError::evaluation(&format!("A timestamp has no {name}"))),
    };
    Ok(Value::Number(number.into()))
}

/// Evaluates `-x`, `!x`.
pub fn unary(sign: char, of: &Value) -> Result<Value, FormulaError> {
    match (sign, of) {
        ('-', Value::Interval(seconds)) => Ok(Value::Interval(-seconds)),
        ('-', of) => Ok(Value::Number(-of.number()?)),
        (_, of) => Ok(truth(of.number()? == 0.0)),
    }
}

fn truth(truth: bool) -> Value {
    Value::Number(f64::from(u8::from(truth)))
}

/// Evaluates `x + y` and all other binary operators except those that may skip their right operand.
pub fn binary(sign: &str, left: &Value, right: &Value) -> Result<Value, FormulaError> {
    use Value::{Interval, Moment, Number, Text};
    if let Some(order) = match (left, right) {
        (Moment(left), Moment(right)) => Some(left.cmp(right)),
        (Text(left), Text(right)) => Some(left.cmp(right)),
        (Interval(left), Interval(right)) => Some(left.total_cmp(right)),
        (Moment(_) | Text(_) | Interval(_), _) | (_, Moment(_) | Text(_) | Interval(_)) => None,
        (left, right) => Some(left.number()?.total_cmp(&right.number()?)),
    } {
        match sign {
            "==" => return Ok(truth(order.is_eq())),
            "!=" => return Ok(truth(order.is_ne())),
            "<" => return Ok(truth(order.is_lt())),
            "<=" => return Ok(truth(order.is_le())),
            ">" => return Ok(truth(order.is_gt())),
            ">=" => return Ok(truth(order.is_ge())),
            _ => {}
        }
    }
    match (sign, left, right) {
        ("+", Moment(moment), Interval(seconds)) | ("+", Interval(seconds), Moment(moment)) => {
            moved(*moment, *seconds).map(Moment)
        }
        ("-", Moment(moment), Interval(seconds)) => moved(*moment, -seconds).map(Moment),
        ("-", Moment(left), Moment(right)) => Ok(Interval(left.duration_since(*right).as_secs_f64())),
        ("+", Interval(left), Interval(right)) => Ok(Interval(left + right)),
        ("-", Interval(left), Interval(right)) => Ok(Interval(left - right)),
        ("/", Interval(left), Interval(right)) => divided(*left, *right).map(Number),
        ("*", Interval(seconds), Number(number)) | ("*", Number(number), Interval(seconds)) => {
            Ok(Interval(seconds * number))
        }
        ("/", Interval(seconds), Number(number)) => divided(*seconds, *number).map(Interval),
        ("+", Text(left), Text(right)) => Ok(Text(format!("{left}{right}"))),
        (_, Moment(_) | Interval(_) | Text(_), _) | (_, _, Moment(_) | Interval(_) | Text(_)) => {
            let words =
                format!("The operator {sign} is not defined for {} and {}", left.kind(), right.kind());
            Err(FormulaError::evaluation(&words))
        }
        (sign, left, right) => {
            let (left, right) = (left.number()?, right.number()?);
            Ok(match sign {
                "+" => Number(left + right),
                "-" => Number(left - right),
                "*" => Number(left * right),
                "/" => Number(divided(left, right)?),
                "&&" => truth(left != 0.0 && right != 0.0),
                _ => truth(left != 0.0 || right != 0.0),
            })
        }
    }
}

fn divided(left: f64, right: f64) -> Result<f64, FormulaError> {
    if right == 0.0 { Err(FormulaError::evaluation("Division by zero")) } else { Ok(left / right) }
}
