//! What an expression may contain, checked once at start: CEL itself reports unknown names and functions only when it meets them.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};

/// Deepest nesting of an expression's syntax tree; evaluation recurses as deep.
const SYNTAX_DEPTH_MAX: usize = 64;
/// Deepest nesting of loops (`all`, `exists`, `exists_one`, `map`, `filter`), see [`Facts::levels`].
const LEVELS_MAX: u32 = 3;

/// Functions and operators that rules may use. Left out are those whose result can outgrow their operands by more than their sum
/// (`join`, `replace`, `format`): a document could exhaust the server's memory.
const FUNCTIONS: &[(&str, Cost)] = &[
    ("_?_:_", Cost::Constant),
    ("_&&_", Cost::Constant),
    ("_||_", Cost::Constant),
    ("!_", Cost::Constant),
    ("-_", Cost::Constant),
    ("_-_", Cost::Constant),
    ("_*_", Cost::Constant),
    ("_/_", Cost::Constant),
    ("_%_", Cost::Constant),
    ("_[_]", Cost::Constant),
    ("@not_strictly_false", Cost::Constant),
    ("int", Cost::Constant),
    ("uint", Cost::Constant),
    ("double", Cost::Constant),
    ("bool", Cost::Constant),
    ("type", Cost::Constant),
    ("_==_", Cost::Comparison),
    ("_!=_", Cost::Comparison),
    ("_>_", Cost::Comparison),
    ("_<_", Cost::Comparison),
    ("_>=_", Cost::Comparison),
    ("_<=_", Cost::Comparison),
    ("startsWith", Cost::Comparison),
    ("endsWith", Cost::Comparison),
    ("_+_", Cost::Linear),
    ("@in", Cost::Linear),
    ("string", Cost::Linear),
    ("size", Cost::Linear),
    ("contains", Cost::Linear),
    ("indexOf", Cost::Linear),
    ("lastIndexOf", Cost::Linear),
    ("lowerAscii", Cost::Linear),
    ("upperAscii", Cost::Linear),
    ("trim", Cost::Linear),
    ("substring", Cost::Linear),
    ("split", Cost::Linear),
];

/// Names of CEL types, as `type(x) == string` uses them.
const TYPES: &[&str] = &["bool", "int", "uint", "double", "string", "list", "map", "null_type"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// Independent of the operands' size, or bounded by a text of the expression itself.
    Constant,
    /// At most as long as the smaller operand.
    Comparison,
    /// As long as an operand.
    Linear,
}

/// What is known about an expression before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The inputs that it uses.
    pub(super) inputs: Vec<String>,
    /// Work grows with the inputs' weight to the power of this: nested loops count one each, and one more where a loop's body goes
    /// through something that is not the loop's own element.
    pub(super) levels: u32,
    /// Operations and function calls in it, those of its loops included.
    pub(super) operations: u64,
    /// Strings are taken apart, so that each of their bytes may become a value to loop over.
    pub(super) splits: bool,
}

/// Why an expression is refused, with the id of the part meant.
pub(super) struct Refusal {
    pub(super) id: u64,
    pub(super) message: String,
}

/// Checks an expression over `inputs`.
pub(super) fn inspect(expression: &IdedExpr, inputs: &[&str]) -> Result<Facts, Refusal> {
    let mut inspector = Inspector { inputs, scopes: Vec::new(), facts: Facts::default() };
    let level = inspector.visit(expression, 0)?;
    inspector.facts.levels = level;
    if level > LEVELS_MAX {
        let message = format!("expected loops to be nested at most {LEVELS_MAX} deep");
        return Err(Refusal { id: expression.id, message });
    }
    Ok(inspector.facts)
}

struct Inspector<'e> {
    inputs: &'e [&'e str],
    /// The variables of each enclosing loop, outermost first.
    scopes: Vec<Vec<&'e str>>,
    facts: Facts,
}

impl<'e> Inspector<'e> {
    /// The levels of work of one part.
    fn visit(&mut self, part: &'e IdedExpr, depth: usize) -> Result<u32, Refusal> {
        if depth > SYNTAX_DEPTH_MAX {
            let message = format!("expected an expression nested at most {SYNTAX_DEPTH_MAX} deep");
            return Err(Refusal { id: part.id, message });
        }
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(0),
            Expr::Ident(name) => self.identifier(part.id, name),
            Expr::Select(select) => self.visit(&select.operand, depth + 1),
            Expr::List(list) => self.all(list.elements.iter(), depth),
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr), depth),
            Expr::Call(call) => {
                let cost = function_cost(part.id, &call.func_name)?;
                self.facts.operations += 1;
                self.facts.splits |= call.func_name == "split";
                let operands = call.target.as_deref().into_iter().chain(&call.args);
                let inside = self.all(operands.clone(), depth)?;
                let mut far = operands.map(|operand| self.reaches_out(operand));
                let far = match cost {
                    Cost::Constant => false,
                    Cost::Comparison => far.all(|reaches| reaches),
                    Cost::Linear => far.any(|reaches| reaches),
                };
                Ok(inside.max(u32::from(far && !self.scopes.is_empty())))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::Struct(structure) => {
                Err(Refusal { id: part.id, message: format!("unknown type `{}`", structure.type_name) })
            }
        }
    }

    fn all(&mut self, parts: impl Iterator<Item = &'e IdedExpr>, depth: usize) -> Result<u32, Refusal> {
        let mut levels = 0;
        for part in parts {
            levels = levels.max(self.visit(part, depth + 1)?);
        }
        Ok(levels)
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'e EntryExpr>, depth: usize) -> Result<u32, Refusal> {
        let mut levels = 0;
        for entry in entries {
            let parts = match entry {
                EntryExpr::MapEntry(entry) => [Some(&entry.key), Some(&entry.value)],
                EntryExpr::StructField(field) => [Some(&field.value), None],
            };
            levels = levels.max(self.all(parts.into_iter().flatten(), depth)?);
        }
        Ok(levels)
    }

    fn comprehension(&mut self, loop_: &'e ComprehensionExpr, depth: usize) -> Result<u32, Refusal> {
        let range = self.all([&loop_.iter_range, &loop_.accu_init].into_iter(), depth)?;
        let variables = [Some(loop_.iter_var.as_str()), loop_.iter_var2.as_deref(), Some(loop_.accu_var.as_str())];
        self.scopes.push(variables.into_iter().flatten().collect());
        let body = self.all([&loop_.loop_cond, &loop_.loop_step, &loop_.result].into_iter(), depth)?;
        self.scopes.pop();
        Ok(range.max(body + 1))
    }

    fn identifier(&mut self, id: u64, name: &'e str) -> Result<u32, Refusal> {
        if self.scopes.iter().any(|scope| scope.contains(&name)) || TYPES.contains(&name) {
            return Ok(0);
        }
        if !self.inputs.contains(&name) {
            let known: Vec<String> = self.inputs.iter().map(|input| format!("`{input}`")).collect();
            return Err(Refusal { id, message: format!("unknown name `{name}`; expected {}", known.join(", ")) });
        }
        if !self.facts.inputs.iter().any(|input| input == name) {
            self.facts.inputs.push(name.to_owned());
        }
        Ok(0)
    }

    /// Whether a part names anything but the variables of the innermost loop, so that its size is not bounded by the loop's element.
    fn reaches_out(&self, part: &IdedExpr) -> bool {
        let Some(own) = self.scopes.last() else { return false };
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => false,
            Expr::Ident(name) => !own.contains(&name.as_str()) && !TYPES.contains(&name.as_str()),
            Expr::Select(select) => self.reaches_out(&select.operand),
            Expr::List(list) => list.elements.iter().any(|element| self.reaches_out(element)),
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).any(|part| self.reaches_out(part)),
            Expr::Map(_) | Expr::Comprehension(_) => true,
        }
    }
}

fn function_cost(id: u64, name: &str) -> Result<Cost, Refusal> {
    match FUNCTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, cost)) => Ok(*cost),
        None => Err(Refusal { id, message: format!("`{name}` is not a function that rules may use") }),
    }
}
