//! Enough of CEL's grammar to write test cases as text. It trusts its input: a bad case panics.
//!
//! The real parser, with places and messages, is `definition`'s.

use model::{Number, Value};
use plan::schema::Pattern;
use plan::{BinaryOp, Expr, Function, Macro, UnaryOp, Var};

/// Reads one expression.
pub(crate) fn cel(text: &str) -> Expr {
    let mut parser = Parser { tokens: tokens(text), at: 0, bound: Vec::new() };
    let expr = parser.ternary();
    assert_eq!(parser.at, parser.tokens.len(), "text after the expression: {text}");
    expr
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Ident(String),
    Text(String),
    Number(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=",
];

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut out = Vec::new();
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
        } else if c.is_alphabetic() || c == '_' {
            let start = at;
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            out.push(Token::Ident(chars[start..at].iter().collect()));
        } else if c.is_ascii_digit() {
            let start = at;
            while at < chars.len()
                && (chars[at].is_ascii_digit()
                    || chars[at] == 'e'
                    || (chars[at] == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit))
                    || (matches!(chars[at], '-' | '+') && chars[at - 1] == 'e'))
            {
                at += 1;
            }
            out.push(Token::Number(chars[start..at].iter().collect()));
        } else if c == '"' || c == '\'' {
            let start = at + 1;
            at = start + chars[start..].iter().position(|e| *e == c).expect("the end of a text");
            out.push(Token::Text(chars[start..at].iter().collect()));
            at += 1;
        } else {
            let rest: String = chars[at..].iter().take(2).collect();
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s)).unwrap_or_else(|| panic!("what is {rest}?"));
            at += symbol.len();
            out.push(Token::Symbol(symbol));
        }
    }
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    bound: Vec<String>,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn must(&mut self, symbol: &str) {
        assert!(self.eat(symbol), "expected {symbol} at {:?}", self.peek());
    }

    fn ident(&mut self) -> String {
        match self.tokens.get(self.at).cloned() {
            Some(Token::Ident(name)) => {
                self.at += 1;
                name
            }
            other => panic!("expected a name, found {other:?}"),
        }
    }

    fn ternary(&mut self) -> Expr {
        let condition = self.binary(0);
        if !self.eat("?") {
            return condition;
        }
        let then = self.ternary();
        self.must(":");
        Expr::Ternary(Box::new(condition), Box::new(then), Box::new(self.ternary()))
    }

    fn binary(&mut self, level: usize) -> Expr {
        const LEVELS: [&[(&str, BinaryOp)]; 5] = [
            &[("||", BinaryOp::Or)],
            &[("&&", BinaryOp::And)],
            &[
                ("==", BinaryOp::Equal),
                ("!=", BinaryOp::NotEqual),
                ("<=", BinaryOp::LessEqual),
                (">=", BinaryOp::GreaterEqual),
                ("<", BinaryOp::Less),
                (">", BinaryOp::Greater),
                ("in", BinaryOp::In),
            ],
            &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)],
            &[("*", BinaryOp::Multiply), ("/", BinaryOp::Divide), ("%", BinaryOp::Remainder)],
        ];
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1);
        'more: loop {
            for (symbol, op) in LEVELS[level] {
                let is_word = *symbol == "in" && self.peek() == Some(&Token::Ident("in".into()));
                self.at += usize::from(is_word);
                if is_word || self.eat(symbol) {
                    left = Expr::Binary(*op, Box::new(left), Box::new(self.binary(level + 1)));
                    continue 'more;
                }
            }
            return left;
        }
    }

    fn unary(&mut self) -> Expr {
        if self.eat("!") {
            return Expr::Unary(UnaryOp::Not, Box::new(self.unary()));
        }
        if self.eat("-") {
            if let Some(Token::Number(digits)) = self.peek().cloned() {
                self.at += 1;
                let literal = number(&format!("-{digits}"));
                return self.postfix(literal);
            }
            return Expr::Unary(UnaryOp::Negate, Box::new(self.unary()));
        }
        let primary = self.primary();
        self.postfix(primary)
    }

    fn postfix(&mut self, mut of: Expr) -> Expr {
        loop {
            if self.eat("[") {
                let at = self.ternary();
                self.must("]");
                of = Expr::Index(Box::new(of), Box::new(at));
            } else if self.eat(".") {
                let name = self.ident();
                of = if self.eat("(") { self.method(of, &name) } else { Expr::Select(Box::new(of), name.into()) };
            } else {
                return of;
            }
        }
    }

    fn method(&mut self, of: Expr, name: &str) -> Expr {
        let kind = match name {
            "all" => Some(Macro::All),
            "exists" => Some(Macro::Exists),
            "exists_one" => Some(Macro::ExistsOne),
            "map" => Some(Macro::Map),
            "filter" => Some(Macro::Filter),
            _ => None,
        };
        if let Some(kind) = kind {
            let variable = self.ident();
            self.must(",");
            self.bound.push(variable);
            let body = self.ternary();
            self.bound.pop();
            self.must(")");
            return Expr::Macro(kind, Box::new(of), Box::new(body));
        }
        let mut arguments = self.arguments();
        if name == "matches"
            && let [Expr::Const(Value::Text(pattern))] = arguments.as_slice()
            && let Ok(pattern) = Pattern::new(pattern)
        {
            return Expr::Matches(Box::new(of), pattern);
        }
        arguments.insert(0, of);
        Expr::Call(function(name), arguments)
    }

    fn arguments(&mut self) -> Vec<Expr> {
        let mut arguments = Vec::new();
        while !self.eat(")") {
            arguments.push(self.ternary());
            self.eat(",");
        }
        arguments
    }

    fn primary(&mut self) -> Expr {
        if self.eat("(") {
            let inner = self.ternary();
            self.must(")");
            return inner;
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.ternary());
                self.eat(",");
            }
            return Expr::List(items);
        }
        if self.eat("{") {
            let mut members = Vec::new();
            while !self.eat("}") {
                let name = self.ternary();
                self.must(":");
                members.push((name, self.ternary()));
                self.eat(",");
            }
            return Expr::Map(members);
        }
        match self.tokens.get(self.at).cloned() {
            Some(Token::Text(text)) => {
                self.at += 1;
                Expr::Const(Value::text(text))
            }
            Some(Token::Number(digits)) => {
                self.at += 1;
                number(&digits)
            }
            _ => {
                let name = self.ident();
                self.named(&name)
            }
        }
    }

    fn named(&mut self, name: &str) -> Expr {
        if let Some(place) = self.bound.iter().rev().position(|b| b == name) {
            return Expr::Var(Var::Bound(place as u8));
        }
        let field = |parser: &mut Self| {
            parser.must(".");
            parser.ident()
        };
        match name {
            "true" => Expr::Const(Value::Bool(true)),
            "false" => Expr::Const(Value::Bool(false)),
            "null" => Expr::Const(Value::Null),
            "input" => Expr::Var(Var::Input),
            "transaction" => {
                field(self);
                Expr::Var(Var::TransactionId)
            }
            "response" => match field(self).as_str() {
                "status" => Expr::Var(Var::ResponseStatus),
                _ => Expr::Var(Var::ResponseBody),
            },
            "signal" => {
                field(self);
                Expr::Var(Var::SignalBody)
            }
            "call" => {
                field(self);
                Expr::Var(Var::CallKey)
            }
            // `steps.s2.result`: the place stands in the name.
            "steps" => {
                let step = field(self)[1..].parse().expect("the place of a step");
                Expr::Var(match field(self).as_str() {
                    "result" => Var::StepResult(step),
                    "outcome" => Var::StepOutcome(step),
                    _ => Var::StepCallKey(step),
                })
            }
            "has" => {
                self.must("(");
                let inner = self.ternary();
                self.must(")");
                match inner {
                    Expr::Select(of, field) => Expr::Has(of, field),
                    other => panic!("has() of {other:?}"),
                }
            }
            function_name => {
                self.must("(");
                Expr::Call(function(function_name), self.arguments())
            }
        }
    }
}

fn function(name: &str) -> Function {
    match name {
        "size" => Function::Size,
        "contains" => Function::Contains,
        "startsWith" => Function::StartsWith,
        "endsWith" => Function::EndsWith,
        "matches" => Function::Matches,
        "string" => Function::ToText,
        "int" => Function::ToInt,
        "double" => Function::ToDouble,
        "lowerAscii" => Function::LowerAscii,
        "upperAscii" => Function::UpperAscii,
        other => panic!("what is {other}()?"),
    }
}

/// A literal with a point or an exponent is a double even where its value is whole.
fn number(text: &str) -> Expr {
    match model::json::number(text.as_bytes()) {
        Ok(number @ Number::Decimal(_)) => Expr::Const(Value::Number(number)),
        Ok(number) if !text.contains(['.', 'e']) => Expr::Const(Value::Number(number)),
        _ => Expr::Call(Function::ToDouble, vec![Expr::Const(Value::text(text))]),
    }
}
