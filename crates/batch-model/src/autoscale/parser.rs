//! Parses the text of a formula into statements.

use super::FormulaError;

/// Maximum nesting of brackets, signs and conditions.
const DEEPEST: usize = 64;
/// Maximum number of operators and members of one statement. `1+1+1` and `x.a.a` are nested as deeply as they
/// are long.
const LONGEST: usize = 1_000;

/// A position in the text of a formula; line and character count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    line: usize,
    character: usize,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = &text[..at];
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, character: before[begin..].chars().count() + 1 }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, character {}", self.line, self.character)
    }
}

/// A statement `name = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Position of its first character.
    pub place: Place,
    /// Name as written in the formula.
    pub name: String,
    /// Expression of the value.
    pub value: Expression,
}

/// An expression of a formula.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A number literal.
    Number(f64),
    /// A text literal.
    Text(String),
    /// A variable, or a word such as `requeue`.
    Name(String),
    /// A vector `[1, 2]`.
    Vector(Vec<Expression>),
    /// An unary operation: `-x`, `!x`.
    Unary(char, Box<Expression>),
    /// A binary operation: `x + y`.
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// A conditional expression: `x ? y : z`.
    Choice(Box<Expression>, Box<Expression>, Box<Expression>),
    /// A function call: `max(x, y)`.
    Call(String, Vec<Expression>),
    /// A method call: `x.GetSample(1)`.
    Method(Box<Expression>, String, Vec<Expression>),
    /// A member access: `x.hour`.
    Member(Box<Expression>, String),
}

/// Operators by precedence, the lowest first.
const LEVELS: &[&[&str]] =
    &[&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/"]];

/// Operators of several characters come before their prefixes.
const SIGNS: &[&str] = &[
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "!", "?", ":", ";", ",", "=", "(", ")",
    "[", "]", ".",
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Name(String),
    Sign(&'static str),
}

/// Parses a formula.
///
/// # Errors
/// Returns the syntax error and its position.
pub fn parse(text: &str) -> Result<Vec<Statement>, FormulaError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: &tokens, at: 0, depth: 0, length: 0 };
    let mut statements = vec![];
    while parser.at < tokens.len() {
        if parser.takes(";") {
            continue;
        }
        statements.push(parser.statement()?);
        if parser.at < tokens.len() && !parser.takes(";") {
            return Err(parser.unexpected());
        }
    }
    if statements.is_empty() { Err(FormulaError::syntax("The formula is empty")) } else { Ok(statements) }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, FormulaError> {
    let mut tokens = vec![];
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let run = |fits: fn(char) -> bool| rest.find(|c: char| !fits(c)).unwrap_or(rest.len());
        let (token, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if rest.starts_with("/*") {
            at += rest
                .find("*/")
                .ok_or_else(|| FormulaError::at("A comment has no end", Place::of(text, at)))?
                + 2;
            continue;
        } else if first.is_ascii_digit() {
            let length = run(|c| c.is_ascii_digit() || c == '.');
            let number = rest[..length]
                .parse()
                .map_err(|_| FormulaError::at("Invalid number", Place::of(text, at)))?;
            (Token::Number(number), length)
        } else if first == '"' {
            let end = rest[1..]
                .find('"')
                .ok_or_else(|| FormulaError::at("A text has no end", Place::of(text, at)))?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if first.is_ascii_alphabetic() || first == '_' || first == '$' {
            let length = 1 + rest[1..]
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len() - 1);
            (Token::Name(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(FormulaError::at("Unexpected character", Place::of(text, at)));
        };
        tokens.push((token, at));
        at += length;
    }
    Ok(tokens)
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [(Token, usize)],
    at: usize,
    depth: usize,
    /// Number of operators and members in the current statement.
    length: usize,
}

impl Parser<'_> {
    fn is(&self, sign: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((Token::Sign(found), _)) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), FormulaError> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> FormulaError {
        match self.tokens.get(self.at) {
            None => {
                let end = self.text.trim_end().len();
                FormulaError::at("The formula ends too early", Place::of(self.text, end))
            }
            Some((token, at)) => {
                FormulaError::at(&format!("Unexpected {}", shown(token)), Place::of(self.text, *at))
            }
        }
    }

    /// Returns an error at the next token, or at the end.
    fn here(&self, message: &str) -> FormulaError {
        let at = self.tokens.get(self.at).map_or(self.text.trim_end().len(), |(_, at)| *at);
        FormulaError::at(message, Place::of(self.text, at))
    }

    fn deeper(&mut self) -> Result<(), FormulaError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(self.here("The formula is nested too deeply")) } else { Ok(()) }
    }

    fn longer(&mut self) -> Result<(), FormulaError> {
        self.length += 1;
        if self.length > LONGEST { Err(self.here("A statement of the formula is too long")) } else { Ok(()) }
    }

    fn statement(&mut self) -> Result<Statement, FormulaError> {
        self.length = 0;
        let Some((Token::Name(name), at)) = self.tokens.get(self.at) else { return Err(self.unexpected()) };
        let (name, place) = (name.clone(), Place::of(self.text, *at));
        if !matches!(self.tokens.get(self.at + 1), Some((Token::Sign("="), _))) {
            // A call for its effect (`stop();`), or an unused value.
            return Ok(Statement { place, name: String::new(), value: self.expression()? });
        }
        self.at += 2;
        Ok(Statement { place, name, value: self.expression()? })
    }

    fn expression(&mut self) -> Result<Expression, FormulaError> {
        self.deeper()?;
        let condition = self.level(0)?;
        let found = if self.takes("?") {
            let yes = self.expression()?;
            self.expect(":")?;
            Expression::Choice(Box::new(condition), Box::new(yes), Box::new(self.expression()?))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(found)
    }

    fn level(&mut self, level: usize) -> Result<Expression, FormulaError> {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        while let Some(sign) = signs.iter().find(|sign| self.is(sign)) {
            self.at += 1;
            self.longer()?;
            left = Expression::Binary(sign, Box::new(left), Box::new(self.level(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, FormulaError> {
        for sign in ["-", "!"] {
            if self.takes(sign) {
                self.deeper()?;
                let of = self.unary()?;
                self.depth -= 1;
                return Ok(Expression::Unary(if sign == "-" { '-' } else { '!' }, Box::new(of)));
            }
        }
        let mut found = self.primary()?;
        while self.takes(".") {
            let Some((Token::Name(name), _)) = self.tokens.get(self.at) else {
                return Err(self.unexpected());
            };
            self.at += 1;
            self.longer()?;
            let of = Box::new(found);
            found = if self.takes("(") {
                Expression::Method(of, name.clone(), self.list(")")?)
            } else {
                Expression::Member(of, name.clone())
            };
        }
        Ok(found)
    }

    fn primary(&mut self) -> Result<Expression, FormulaError> {
        let Some((token, _)) = self.tokens.get(self.at) else { return Err(self.unexpected()) };
        self.at += 1;
        match token {
            Token::Number(number) => Ok(Expression::Number(*number)),
            Token::Text(text) => Ok(Expression::Text(text.clone())),
            Token::Name(name) if self.takes("(") => Ok(Expression::Call(name.clone(), self.list(")")?)),
            Token::Name(name) => Ok(Expression::Name(name.clone())),
            Token::Sign("(") => {
                let found = self.expression()?;
                self.expect(")")?;
                Ok(found)
            }
            Token::Sign("[") => Ok(Expression::Vector(self.list("]")?)),
            Token::Sign(_) => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expression>, FormulaError> {
        let mut list = vec![];
        if self.takes(end) {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if self.takes(end) {
                return Ok(list);
            }
            self.expect(",")?;
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Number(number) => number.to_string(),
        Token::Text(text) => format!("\"{text}\""),
        Token::Name(name) => name.clone(),
        Token::Sign(sign) => format!("'{sign}'"),
    }
}
