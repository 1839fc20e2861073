//! Holds arguments against a schema. Every step is counted, and so is how deep it goes: neither a schema nor arguments can have it
//! go on for long, or say yes because it was given up.

mod objects;

use std::collections::{BTreeMap, BTreeSet};

use super::fit::{Fit, Misfit};
use super::marks::Marks;
use super::{
    Counted, Decimal, Id, Kind, Meter, Pattern, Rule, STEP, Stop, ToolSchema, bytes, shortened, token,
};
use crate::definition::Exact;

/// The work that one call may take: a fifth of a second, about.
pub(super) const WORK: u64 = 20_000_000;
/// What it takes to divide a number by what it is to be a multiple of, once for each of its digits and power of ten.
const DIVISIONS: u64 = 768;
/// How deep schemas may lie in one another while one value is looked at.
const DEPTH: usize = 64;

impl ToolSchema {
    /// Holds arguments against the schema. Takes a bounded time, whatever both are.
    #[must_use]
    pub fn check(&self, arguments: &Exact) -> Fit {
        let mut run = Run::new(self);
        match run.arguments(arguments) {
            Ok(()) => Fit::Fits,
            Err(Refusal::Misfit(fit)) => fit,
            Err(Refusal::Stop(stop @ Stop::Double)) => Fit::Unfit(run.misfit(stop.as_str().to_owned())),
            Err(Refusal::Stop(stop @ Stop::Spelling)) => {
                Fit::Undeclared(run.misfit(stop.as_str().to_owned()))
            }
            Err(Refusal::Stop(stop)) => Fit::Unchecked(stop.as_str().to_owned()),
        }
    }

    /// Whether any value is right, as JSON Schema has it; `None` if no answer was come to.
    #[cfg(test)]
    pub(super) fn is_right(&self, value: &Exact) -> Option<bool> {
        self.is_right_at(0, value, &mut { WORK })
    }

    /// The same by the schema of a node, with what work is left for it.
    pub(super) fn is_right_at(&self, id: Id, value: &Exact, work: &mut u64) -> Option<bool> {
        let mut run = Run { meter: Meter { left: *work }, ..Run::new(self) };
        let found = run.value(id, value);
        *work = run.meter.left;
        found.map_or(None, |found| Some(found.is_some()))
    }
}

enum Refusal {
    Misfit(Fit),
    Stop(Stop),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

#[derive(Clone, Copy)]
enum Step<'v> {
    Key(&'v str),
    Index(usize),
}

/// What is known of a value that is right; `None` if it is wrong.
type Found<'v> = Result<Option<Marks<'v>>, Stop>;

struct Run<'s, 'v> {
    schema: &'s ToolSchema,
    meter: Meter,
    depth: usize,
    /// Within how many schemas that need not be met.
    quiet: usize,
    path: Vec<Step<'v>>,
    /// What was found wrong first.
    found: Option<Fit>,
}

const fn right<'v>() -> Option<Marks<'v>> {
    Some(Marks { says: false, members: BTreeMap::new(), elements: BTreeMap::new() })
}

/// What both readings of a number say.
const fn agreed(written: bool, double: bool) -> Result<bool, Stop> {
    if written == double { Ok(written) } else { Err(Stop::Double) }
}

impl<'s> Run<'s, '_> {
    const fn new(schema: &'s ToolSchema) -> Self {
        Self { schema, meter: Meter { left: WORK }, depth: 0, quiet: 0, path: Vec::new(), found: None }
    }
}

impl<'v> Run<'_, 'v> {
    fn arguments(&mut self, arguments: &'v Exact) -> Result<(), Refusal> {
        let Exact::Object(_) = arguments else {
            return Err(Refusal::Misfit(Fit::Unfit(self.misfit("must be an object".to_owned()))));
        };
        let Some(mut marks) = self.value(0, arguments)? else {
            let unsaid = || Fit::Unfit(Misfit { at: String::new(), wants: "they do not fit".to_owned() });
            let found = match self.found.take() {
                Some(found) => found,
                None => unsaid(),
            };
            return Err(Refusal::Misfit(found));
        };
        // A tool that declares no arguments has none.
        marks.says = true;
        match self.undeclared(arguments, &marks) {
            Some(fit) => Err(Refusal::Misfit(fit)),
            None => Ok(()),
        }
    }

    /// The first key that nothing declares.
    fn undeclared(&mut self, value: &'v Exact, marks: &Marks<'v>) -> Option<Fit> {
        let inner: Vec<(Step<'v>, &'v Exact, Option<&Marks<'v>>)> = match value {
            Exact::Object(members) if marks.says => {
                let inner =
                    |(key, value): (&'v String, _)| (Step::Key(key), value, marks.members.get(key.as_str()));
                members.iter().map(inner).collect()
            }
            Exact::Array(items) => {
                let said = items.iter().enumerate().filter(|(index, _)| marks.elements.contains_key(index));
                said.map(|(index, item)| (Step::Index(index), item, marks.elements.get(&index))).collect()
            }
            Exact::Object(_) | Exact::Null | Exact::Bool(_) | Exact::Number(_) | Exact::Str(_) => {
                return None;
            }
        };
        inner.into_iter().find_map(|(step, value, marks)| {
            self.path.push(step);
            let found = match marks {
                Some(marks) => self.undeclared(value, marks),
                None => Some(Fit::Undeclared(
                    self.misfit("the tool's schema declares no such argument".to_owned()),
                )),
            };
            self.path.pop();
            found
        })
    }

    /// One value by one schema.
    fn value(&mut self, id: Id, value: &'v Exact) -> Found<'v> {
        self.meter.spend(STEP)?;
        let schema = self.schema;
        let rules = &schema.nodes.get(id).ok_or(Stop::Broken)?.rules;
        if self.depth >= DEPTH {
            return Err(Stop::Depth);
        }
        self.depth = self.depth.saturating_add(1);
        let mut marks = Marks::default();
        for rule in rules {
            self.meter.spend(STEP)?;
            match self.rule(rule, value)? {
                Some(more) => marks.merge(more, &mut self.meter)?,
                None => return Ok(self.left(None)),
            }
        }
        Ok(self.left(Some(marks)))
    }

    fn left(&mut self, found: Option<Marks<'v>>) -> Option<Marks<'v>> {
        self.depth = self.depth.saturating_sub(1);
        found
    }

    fn rule(&mut self, rule: &Rule, value: &'v Exact) -> Found<'v> {
        match rule {
            Rule::Never => Ok(self.wrong(|| "the tool's schema lets nothing be there".to_owned())),
            Rule::Types(kinds) => self.types(kinds, value),
            Rule::Among { forms, written, .. } => self.among((forms, written), value),
            Rule::AtLeast(what, least) => {
                self.counted(*what, value, |count| count >= *least, ("at least", *least))
            }
            Rule::AtMost(what, most) => {
                self.counted(*what, value, |count| count <= *most, ("at most", *most))
            }
            Rule::All(ids) => self.all(ids, value),
            Rule::Any(ids) => self.any(ids, value),
            Rule::One(ids) => self.one(ids, value),
            Rule::Not(id) => {
                let met = self.quietly(*id, value)?.is_some();
                Ok(self.or_wrong(!met, || "is what the tool's schema rules out".to_owned()))
            }
            Rule::If { condition, then, otherwise } => self.condition(*condition, (*then, *otherwise), value),
            Rule::Least { .. }
            | Rule::Most { .. }
            | Rule::Multiple { .. }
            | Rule::Pattern(_)
            | Rule::Unique
            | Rule::Elements { .. }
            | Rule::Contains { .. }
            | Rule::Members(_)
            | Rule::Required(_)
            | Rule::Names(_)
            | Rule::Needs(_)
            | Rule::When(_) => self.of_one_type(rule, value),
        }
    }

    /// A rule that says nothing of values of other types than its own.
    fn of_one_type(&mut self, rule: &Rule, value: &'v Exact) -> Found<'v> {
        match (rule, value) {
            (Rule::Pattern(pattern), Exact::Str(text)) => {
                let fits = self.is_in(pattern, text)?;
                Ok(self.or_wrong(fits, || format!("must match the pattern `{}`", pattern.written)))
            }
            (_, Exact::Number(text)) => self.number(rule, text),
            (Rule::Unique, Exact::Array(items)) => self.unique(items),
            (Rule::Elements { first, rest }, Exact::Array(items)) => self.elements(first, *rest, items),
            (Rule::Contains { id, least, most }, Exact::Array(items)) => {
                self.contains(*id, (*least, *most), items)
            }
            (_, Exact::Object(members)) => self.object(rule, members, value),
            (_, Exact::Null | Exact::Bool(_) | Exact::Str(_) | Exact::Array(_)) => Ok(right()),
        }
    }

    fn number(&mut self, rule: &Rule, text: &str) -> Found<'v> {
        let number = self.meter.number(text)?;
        if let Rule::Least { bound, itself, written } = rule {
            let holds = |number: &Decimal, bound: &Decimal| number > bound || (*itself && number == bound);
            let fits = agreed(holds(&number.written, &bound.written), holds(&number.double, &bound.double))?;
            let words = if *itself { "at least" } else { "more than" };
            return Ok(self.or_wrong(fits, || format!("must be {words} {written}")));
        }
        if let Rule::Most { bound, itself, written } = rule {
            let holds = |number: &Decimal, bound: &Decimal| number < bound || (*itself && number == bound);
            let fits = agreed(holds(&number.written, &bound.written), holds(&number.double, &bound.double))?;
            let words = if *itself { "at most" } else { "less than" };
            return Ok(self.or_wrong(fits, || format!("must be {words} {written}")));
        }
        if let Rule::Multiple { of, written } = rule {
            self.meter.spend(DIVISIONS)?;
            if !number.is_one() {
                return Err(Stop::Double);
            }
            let fits = number.written.is_multiple_of(of).ok_or(Stop::Number)?;
            return Ok(self.or_wrong(fits, || format!("must be a multiple of {written}")));
        }
        Ok(right())
    }

    fn misfit(&self, wants: String) -> Misfit {
        let mut at = String::new();
        for step in &self.path {
            at.push('/');
            match step {
                Step::Key(key) => at.push_str(&token(key)),
                Step::Index(index) => at.push_str(&index.to_string()),
            }
        }
        Misfit { at: shortened(&at), wants }
    }

    /// What is wrong first is told, unless it need not be met.
    fn wrong(&mut self, wants: impl FnOnce() -> String) -> Option<Marks<'v>> {
        if self.quiet == 0 && self.found.is_none() {
            self.found = Some(Fit::Unfit(self.misfit(wants())));
        }
        None
    }

    fn or_wrong(&mut self, fits: bool, wants: impl FnOnce() -> String) -> Option<Marks<'v>> {
        if fits { right() } else { self.wrong(wants) }
    }

    fn types(&mut self, kinds: &BTreeSet<Kind>, value: &Exact) -> Found<'v> {
        let fits =
            |kind: Kind| kinds.contains(&kind) || (kind == Kind::Integer && kinds.contains(&Kind::Number));
        let fits = match value {
            Exact::Number(text) => {
                let number = self.meter.number(text)?;
                agreed(fits(Kind::of_number(&number.written)), fits(Kind::of_number(&number.double)))?
            }
            Exact::Null | Exact::Bool(_) | Exact::Str(_) | Exact::Array(_) | Exact::Object(_) => {
                fits(Kind::of(value).ok_or(Stop::Number)?)
            }
        };
        let named = || kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
        Ok(self.or_wrong(fits, || format!("must be of type {}", named())))
    }

    fn among(&mut self, (forms, told): (&[BTreeSet<String>; 2], &str), value: &Exact) -> Found<'v> {
        let ([written, double], [by_written, by_double]) = (self.meter.forms(value)?, forms);
        let fits = agreed(by_written.contains(&written), by_double.contains(&double))?;
        Ok(self.or_wrong(fits, || format!("must be one of {told}")))
    }

    fn counted(
        &mut self,
        what: Counted,
        value: &Exact,
        fits: impl FnOnce(u64) -> bool,
        (bound, number): (&str, u64),
    ) -> Found<'v> {
        let count = match (what, value) {
            (Counted::Characters, Exact::Str(text)) => {
                self.meter.spend(bytes(text))?;
                text.chars().count()
            }
            (Counted::Elements, Exact::Array(items)) => items.len(),
            (Counted::Members, Exact::Object(members)) => members.len(),
            (Counted::Characters | Counted::Elements | Counted::Members, _) => return Ok(right()),
        };
        let fits = u64::try_from(count).is_ok_and(fits);
        Ok(self.or_wrong(fits, || format!("must have {bound} {number} {}", what.as_str())))
    }

    fn is_in(&mut self, pattern: &Pattern, text: &str) -> Result<bool, Stop> {
        self.meter.spend(pattern.cost(bytes(text)))?;
        Ok(pattern.is_in(text))
    }

    fn unique(&mut self, items: &[Exact]) -> Found<'v> {
        let (mut by_written, mut by_double) = (BTreeSet::new(), BTreeSet::new());
        for item in items {
            let [written, double] = self.meter.forms(item)?;
            if !agreed(by_written.insert(written), by_double.insert(double))? {
                return Ok(self.wrong(|| "must not have an element twice".to_owned()));
            }
        }
        Ok(right())
    }

    /// A value within the one that is looked at.
    fn inner(&mut self, step: Step<'v>, id: Id, value: &'v Exact) -> Found<'v> {
        self.path.push(step);
        let found = self.value(id, value)?;
        self.path.pop();
        Ok(found)
    }

    fn elements(&mut self, first: &[Id], rest: Option<Id>, items: &'v [Exact]) -> Found<'v> {
        let mut marks = Marks::default();
        for (index, item) in items.iter().enumerate() {
            let Some(id) = first.get(index).copied().or(rest) else { break };
            let Some(found) = self.inner(Step::Index(index), id, item)? else { return Ok(None) };
            if found.says || !found.members.is_empty() || !found.elements.is_empty() {
                marks.elements.insert(index, found);
            }
        }
        Ok(Some(marks))
    }

    fn contains(&mut self, id: Id, (least, most): (u64, Option<u64>), items: &'v [Exact]) -> Found<'v> {
        let mut count = 0_u64;
        for item in items {
            if self.quietly(id, item)?.is_some() {
                count = count.saturating_add(1);
            }
        }
        let fits = count >= least && most.is_none_or(|most| count <= most);
        Ok(self.or_wrong(fits, || "does not have the elements that the tool's schema wants".to_owned()))
    }

    fn all(&mut self, ids: &[Id], value: &'v Exact) -> Found<'v> {
        let mut marks = Marks::default();
        for id in ids {
            match self.value(*id, value)? {
                Some(more) => marks.merge(more, &mut self.meter)?,
                None => return Ok(None),
            }
        }
        Ok(Some(marks))
    }

    /// By a schema that need not be met.
    fn quietly(&mut self, id: Id, value: &'v Exact) -> Found<'v> {
        let quiet = self.quiet;
        self.quiet = quiet.saturating_add(1);
        let found = self.value(id, value)?;
        self.quiet = quiet;
        Ok(found)
    }

    fn any(&mut self, ids: &[Id], value: &'v Exact) -> Found<'v> {
        let mut marks: Option<Marks<'v>> = None;
        for id in ids {
            if let Some(more) = self.quietly(*id, value)? {
                marks.get_or_insert_default().merge(more, &mut self.meter)?;
            }
        }
        Ok(marks.or_else(|| {
            self.wrong(|| "fits none of the forms that the tool's schema lets it have".to_owned())
        }))
    }

    fn one(&mut self, ids: &[Id], value: &'v Exact) -> Found<'v> {
        let mut met = None;
        for id in ids {
            match (self.quietly(*id, value)?, met.is_some()) {
                (Some(_), true) => {
                    return Ok(
                        self.wrong(|| "fits more than one of the forms that exclude each other".to_owned())
                    );
                }
                (Some(more), false) => met = Some(more),
                (None, _) => {}
            }
        }
        Ok(met.or_else(|| {
            self.wrong(|| "fits none of the forms that the tool's schema lets it have".to_owned())
        }))
    }

    fn condition(
        &mut self,
        condition: Id,
        (then, otherwise): (Option<Id>, Option<Id>),
        value: &'v Exact,
    ) -> Found<'v> {
        let met = self.quietly(condition, value)?;
        let branch = if met.is_some() { then } else { otherwise };
        let Some(more) = self.all(branch.as_slice(), value)? else { return Ok(None) };
        let mut marks = Marks::default();
        if let Some(met) = met {
            marks.merge(met, &mut self.meter)?;
        }
        marks.merge(more, &mut self.meter)?;
        Ok(Some(marks))
    }
}
