//! `$filter`, `$select` and pages: which entries of a list, and which of their properties, a client wants.

use super::Refusal;
use crate::orders::UploadCondition as OrderCondition;
use dropmill_azure_wire::{
    batch::{UploadCondition, version::Family},
    time::{Timestamp, parse_http_date, parse_iso},
};
use std::cmp::Ordering;

/// Maximum nesting of a filter.
const DEEPEST: usize = 64;
/// Maximum number of words, texts and brackets of a filter.
const LONGEST: usize = 1_000;

/// A value of a property.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text; enums are compared regardless of case.
    Text(String),
    /// A time value.
    Moment(Timestamp),
    /// An integer value.
    Number(i64),
    /// A boolean value.
    Bool(bool),
}

/// An object with properties.
pub trait Fields {
    /// Returns the value of a property such as `executionInfo/exitCode`; `None` if it has no value.
    fn field(&self, name: &str) -> Option<Value>;
}

/// A parsed `$filter`.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Both conditions must be true.
    And(Box<Filter>, Box<Filter>),
    /// One of the conditions must be true.
    Or(Box<Filter>, Box<Filter>),
    /// A property is compared with a value.
    Compare(String, Comparison, Value),
    /// A property begins with a text.
    StartsWith(String, String),
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal to (`eq`).
    Eq,
    /// Not equal to (`ne`).
    Ne,
    /// Greater or equal.
    Ge,
    /// Greater than (`gt`).
    Gt,
    /// Less or equal.
    Le,
    /// Less than (`lt`).
    Lt,
}

impl Filter {
    /// Parses a filter on the given properties.
    ///
    /// # Errors
    /// `InvalidQueryParameterValue` with the problem and its position.
    pub fn parse(text: &str, properties: &[&str]) -> Result<Self, Refusal> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, properties, depth: 0 };
        let filter = parser.either()?;
        match parser.tokens.get(parser.at) {
            None => Ok(filter),
            Some(token) => Err(bad(format!("{} is unexpected", token.shown()))),
        }
    }

    /// Returns whether an object matches the filter.
    pub fn lets(&self, of: &impl Fields) -> bool {
        match self {
            Self::And(one, other) => one.lets(of) && other.lets(of),
            Self::Or(one, other) => one.lets(of) || other.lets(of),
            Self::StartsWith(name, prefix) => match of.field(name) {
                Some(Value::Text(text)) => {
                    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
                }
                _ => false,
            },
            Self::Compare(name, comparison, value) => match of.field(name) {
                None => *comparison == Comparison::Ne,
                Some(found) => compare(&found, value).is_some_and(|order| comparison.holds(order)),
            },
        }
    }

    /// Returns the value that a property must equal in every match, if the filter requires one.
    pub fn must_equal(&self, name: &str) -> Option<&Value> {
        match self {
            Self::And(one, other) => one.must_equal(name).or_else(|| other.must_equal(name)),
            Self::Compare(found, Comparison::Eq, value) if found == name => Some(value),
            _ => None,
        }
    }

    /// Returns the time before which nothing matches, if the filter requires one.
    pub fn not_before(&self, name: &str) -> Option<Timestamp> {
        match self {
            Self::And(one, other) => one.not_before(name).max(other.not_before(name)),
            Self::Compare(found, Comparison::Ge | Comparison::Gt, Value::Moment(moment)) if found == name => {
                Some(*moment)
            }
            _ => None,
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Ge => order.is_ge(),
            Self::Gt => order.is_gt(),
            Self::Le => order.is_le(),
            Self::Lt => order.is_lt(),
        }
    }
}

fn compare(found: &Value, wanted: &Value) -> Option<Ordering> {
    match (found, wanted) {
        (Value::Text(found), Value::Text(wanted)) => {
            Some(found.to_ascii_lowercase().cmp(&wanted.to_ascii_lowercase()))
        }
        (Value::Moment(found), Value::Moment(wanted)) => Some(found.cmp(wanted)),
        (Value::Number(found), Value::Number(wanted)) => Some(found.cmp(wanted)),
        (Value::Bool(found), Value::Bool(wanted)) => Some(found.cmp(wanted)),
        _ => None,
    }
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal::bad_query("$filter", reason)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("'{word}'"),
            Self::Text(text) => format!("the text '{text}'"),
            Self::Open => "'('".into(),
            Self::Close => "')'".into(),
            Self::Comma => "','".into(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | ',' => {
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Comma,
                });
                1
            }
            '\'' => {
                // A quote in a text is written twice.
                let mut content = String::new();
                let mut at = 1;
                loop {
                    let Some(end) = rest[at..].find('\'') else { return Err(bad("a text has no end")) };
                    content.push_str(&rest[at..at + end]);
                    at += end + 1;
                    if !rest[at..].starts_with('\'') {
                        break;
                    }
                    content.push('\'');
                    at += 1;
                }
                tokens.push(Token::Text(content));
                at
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "(),'".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    match tokens.len() {
        0 => Err(bad("it is empty")),
        1..=LONGEST => Ok(tokens),
        _ => Err(bad("it is too long")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    properties: &'a [&'a str],
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.tokens.get(self.at).cloned().ok_or_else(|| bad("it ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word)
    }

    fn either(&mut self) -> Result<Filter, Refusal> {
        let mut filter = self.both()?;
        while self.is_word("or") {
            self.at += 1;
            filter = Filter::Or(Box::new(filter), Box::new(self.both()?));
        }
        Ok(filter)
    }

    fn both(&mut self) -> Result<Filter, Refusal> {
        let mut filter = self.one()?;
        while self.is_word("and") {
            self.at += 1;
            filter = Filter::And(Box::new(filter), Box::new(self.one()?));
        }
        Ok(filter)
    }

    fn one(&mut self) -> Result<Filter, Refusal> {
        match self.next()? {
            Token::Open => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(bad("it is nested too deeply"));
                }
                let filter = self.either()?;
                self.depth -= 1;
                self.expect(&Token::Close)?;
                Ok(filter)
            }
            Token::Word(word) if word == "startswith" => {
                self.expect(&Token::Open)?;
                let name = self.property()?;
                self.expect(&Token::Comma)?;
                let Token::Text(prefix) = self.next()? else { return Err(bad("startswith needs a text")) };
                self.expect(&Token::Close)?;
                Ok(Filter::StartsWith(name, prefix))
            }
            Token::Word(_) => {
                self.at -= 1;
                let name = self.property()?;
                let comparison = match self.next()? {
                    Token::Word(word) => match word.as_str() {
                        "eq" => Comparison::Eq,
                        "ne" => Comparison::Ne,
                        "ge" => Comparison::Ge,
                        "gt" => Comparison::Gt,
                        "le" => Comparison::Le,
                        "lt" => Comparison::Lt,
                        _ => return Err(bad(format!("'{word}' is not a comparison operator"))),
                    },
                    token => return Err(bad(format!("{} is not a comparison operator", token.shown()))),
                };
                let value = self.value()?;
                if std::mem::discriminant(&value) != std::mem::discriminant(&kind_of(&name)) {
                    return Err(bad(format!("'{name}' cannot be compared with this value")));
                }
                Ok(Filter::Compare(name, comparison, value))
            }
            token => Err(bad(format!("{} is unexpected", token.shown()))),
        }
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), Refusal> {
        let found = self.next()?;
        if found == *wanted {
            Ok(())
        } else {
            Err(bad(format!("expected {}, found {}", wanted.shown(), found.shown())))
        }
    }

    fn property(&mut self) -> Result<String, Refusal> {
        match self.next()? {
            Token::Word(word) if self.properties.contains(&word.as_str()) => Ok(word),
            token => Err(bad(format!("{} is not a property that can be filtered", token.shown()))),
        }
    }

    fn value(&mut self) -> Result<Value, Refusal> {
        match self.next()? {
            Token::Text(text) => Ok(Value::Text(text)),
            Token::Word(word) if word.eq_ignore_ascii_case("datetime") => match self.next()? {
                Token::Text(text) => {
                    let moment = parse_iso(&text).or_else(|| parse_http_date(&text));
                    moment.map(Value::Moment).ok_or_else(|| bad(format!("'{text}' is not a valid time")))
                }
                token => Err(bad(format!("{} is not a valid time", token.shown()))),
            },
            Token::Word(word) => match word.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => {
                    word.parse().map(Value::Number).map_err(|_| bad(format!("'{word}' is not a valid value")))
                }
            },
            token => Err(bad(format!("{} is not a valid value", token.shown()))),
        }
    }
}

/// Returns an example of a property's type, which follows from its name.
fn kind_of(property: &str) -> Value {
    match property.rsplit('/').next().unwrap_or(property) {
        "exitCode" => Value::Number(0),
        name if name.starts_with("enable") => Value::Bool(false),
        name if name.ends_with("Time") || name == "lastModified" => Value::Moment(Timestamp::UNIX_EPOCH),
        _ => Value::Text(String::new()),
    }
}

/// A parsed `$select`: the wanted properties (`None`: all), and whether statistics are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    names: Option<Vec<String>>,
    /// Time for which statistics are wanted, if they are.
    stats_at: Option<Timestamp>,
    /// API version family of the client.
    family: Family,
}

impl Select {
    /// Parses a comma-separated list of properties; empty: all.
    pub fn parse(text: &str) -> Self {
        let names: Vec<String> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { names: (!names.is_empty()).then_some(names), ..Self::default() }
    }

    /// Restricts the properties to those of the client's version.
    #[must_use]
    pub fn for_family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Adds current statistics, if they are selected or expanded.
    #[must_use]
    pub fn expanding(mut self, expand: &str, now: Timestamp) -> Self {
        let selected = self.names.as_ref().is_some_and(|names| names.iter().any(|name| name == "stats"));
        self.stats_at = (selected || !expand.is_empty()).then_some(now);
        self
    }

    /// Returns whether a property is wanted and exists in the client's version.
    pub fn wants(&self, name: &str) -> bool {
        // There are few names, and most differ in their length, so a linear search is fast.
        self.names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
            && self.family.has(name)
    }

    /// Returns the value of a property if it is wanted.
    pub fn take<T>(&self, name: &str, value: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.wants(name) { value() } else { None }
    }

    /// Returns statistics if they are wanted.
    pub fn stats<T>(&self, value: impl FnOnce(Timestamp) -> T) -> Option<T> {
        self.stats_at.map(value)
    }
}

/// Returns when a file is uploaded, in the form that nodes use.
pub(super) fn upload_condition(condition: &UploadCondition) -> OrderCondition {
    match condition {
        UploadCondition::TaskSuccess => OrderCondition::TaskSuccess,
        UploadCondition::TaskFailure => OrderCondition::TaskFailure,
        UploadCondition::TaskCompletion | UploadCondition::Other(_) => OrderCondition::TaskCompletion,
    }
}
