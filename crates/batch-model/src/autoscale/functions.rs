//! Functions of the autoscale formula language.

use super::{
    FormulaError, Scope,
    value::{Value, moment_of},
};

impl Scope<'_> {
    /// Calls a function of the formula language.
    pub(super) fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Value, FormulaError> {
        let wrong =
            || FormulaError::evaluation(&format!("{name} does not accept {} arguments", arguments.len()));
        let one = || if arguments.len() == 1 { arguments[0].number() } else { Err(wrong()) };
        let number = match name {
            "time" => {
                return match arguments {
                    [] => Ok(Value::Moment(self.now)),
                    [Value::Text(text)] if text.is_empty() => Ok(Value::Moment(self.now)),
                    [Value::Text(text)] => moment_of(text).map(Value::Moment),
                    _ => Err(wrong()),
                };
            }
            "stop" => {
                self.stopped = true;
                0.0
            }
            "rand" => (self.chance)(),
            "ceil" => one()?.ceil(),
            "floor" => one()?.floor(),
            "round" => one()?.round(),
            "lg" => one()?.log2(),
            "ln" => one()?.ln(),
            "log" => one()?.log10(),
            "val" | "percentile" => {
                let [list, which] = arguments else { return Err(wrong()) };
                let (list, which) = (list.numbers()?, which.number()?);
                let found = if name == "val" { entry(&list, which) } else { percentile(list, which) };
                found.ok_or_else(|| FormulaError::evaluation(&format!("{name} finds no value")))?
            }
            _ => {
                let mut list = vec![];
                for argument in arguments {
                    list.extend(argument.numbers()?);
                }
                over(name, &list)?
            }
        };
        if number.is_finite() {
            return Ok(Value::Number(number));
        }
        Err(FormulaError::evaluation(&format!("{name} is not defined for this argument")))
    }
}

fn entry(list: &[f64], which: f64) -> Option<f64> {
    (which >= 0.0).then(|| list.get(which as usize).copied()).flatten()
}

/// Interpolates linearly between neighbours.
fn percentile(mut list: Vec<f64>, wanted: f64) -> Option<f64> {
    list.sort_by(f64::total_cmp);
    if list.is_empty() || !(0.0..=100.0).contains(&wanted) {
        return None;
    }
    let place = wanted / 100.0 * (list.len() - 1) as f64;
    let (low, high) = (list[place.floor() as usize], list[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

fn over(name: &str, list: &[f64]) -> Result<f64, FormulaError> {
    if name == "len" {
        return Ok(list.len() as f64);
    }
    if !["avg", "sum", "min", "max", "std", "norm", "range"].contains(&name) {
        return Err(FormulaError::evaluation(&format!("Undefined function: {name}")));
    }
    if list.is_empty() {
        return Err(FormulaError::evaluation(&format!("{name} of an empty vector is not defined")));
    }
    let count = list.len() as f64;
    let sum: f64 = list.iter().sum();
    let least = list.iter().copied().fold(f64::INFINITY, f64::min);
    let most = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Ok(match name {
        "avg" => sum / count,
        "sum" => sum,
        "min" => least,
        "max" => most,
        "range" => most - least,
        "norm" => list.iter().map(|one| one * one).sum::<f64>().sqrt(),
        _ if list.len() < 2 => 0.0,
        _ => {
            let mean = sum / count;
            (list.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
        }
    })
}
