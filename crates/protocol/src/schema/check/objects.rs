//! What is said of objects and their members. Each key that is looked for is counted by its length: a schema may name many, and long
//! ones, and all of them are looked for in each object that it is about.

use std::collections::BTreeMap;

use super::{Found, Run, Step, right};
use crate::definition::Exact;
use crate::schema::fit::Fit;
use crate::schema::marks::Marks;
use crate::schema::{Id, Members, Meter, Rest, Rule, Stop, bytes, shortened};
use crate::spelling::fold;

impl<'v> Run<'_, 'v> {
    pub(super) fn object(
        &mut self,
        rule: &Rule,
        members: &'v BTreeMap<String, Exact>,
        value: &'v Exact,
    ) -> Found<'v> {
        if let Rule::Members(said) = rule {
            return self.members(said, members);
        }
        if let Rule::Required(keys) = rule {
            return self.all_there(keys, members);
        }
        if let Rule::Names(id) = rule {
            return self.names(*id, members);
        }
        if let Rule::Needs(needed) = rule {
            return self.needs(needed, members);
        }
        if let Rule::When(schemas) = rule {
            return self.when(schemas, members, value);
        }
        Ok(right())
    }

    fn has(&mut self, members: &BTreeMap<String, Exact>, key: &str) -> Result<bool, Stop> {
        self.meter.look_for(key)?;
        Ok(members.contains_key(key))
    }

    fn all_there(&mut self, keys: &[String], members: &BTreeMap<String, Exact>) -> Found<'v> {
        for key in keys {
            if !self.has(members, key)? {
                return Ok(self.wrong(|| format!("`{}` is required", shortened(key))));
            }
        }
        Ok(right())
    }

    fn needs(
        &mut self,
        needed: &BTreeMap<String, Vec<String>>,
        members: &BTreeMap<String, Exact>,
    ) -> Found<'v> {
        for (key, keys) in needed {
            if self.has(members, key)? && self.all_there(keys, members)?.is_none() {
                return Ok(None);
            }
        }
        Ok(right())
    }

    fn when(
        &mut self,
        schemas: &BTreeMap<String, Id>,
        members: &BTreeMap<String, Exact>,
        value: &'v Exact,
    ) -> Found<'v> {
        let mut there = Vec::new();
        for (key, id) in schemas {
            if self.has(members, key)? {
                there.push(*id);
            }
        }
        self.all(&there, value)
    }

    fn members(&mut self, said: &Members, members: &'v BTreeMap<String, Exact>) -> Found<'v> {
        let mut marks = Marks { says: true, ..Marks::default() };
        for (key, value) in members {
            self.meter.look_for(key)?;
            self.refuse_another_spelling(said, key)?;
            let mut ids: Vec<Id> = said.named.get(key).copied().into_iter().collect();
            for (pattern, id) in &said.patterns {
                if self.is_in(pattern, key)? {
                    ids.push(*id);
                }
            }
            match said.rest {
                Rest::Undeclared if ids.is_empty() => continue,
                Rest::None if ids.is_empty() => return Ok(self.not_declared(key)),
                Rest::Of(id) if ids.is_empty() => ids.push(id),
                Rest::Undeclared | Rest::None | Rest::Of(_) => {}
            }
            for id in ids {
                let Some(found) = self.inner(Step::Key(key), id, value)? else { return Ok(None) };
                marks.members.entry(key).or_default().merge(found, &mut self.meter)?;
            }
        }
        Ok(Some(marks))
    }

    /// A tool that ignores case takes it for the one that is named, whatever branch of the schema names it.
    fn refuse_another_spelling(&mut self, said: &Members, key: &'v str) -> Result<(), Stop> {
        if said.named.contains_key(key) || said.named.is_empty() {
            return Ok(());
        }
        self.meter.spend(bytes(key).saturating_mul(8))?;
        if !said.folded.contains(&fold(key)) {
            return Ok(());
        }
        self.path.push(Step::Key(key));
        Err(Stop::Spelling)
    }

    fn not_declared(&mut self, key: &'v str) -> Option<Marks<'v>> {
        if self.quiet == 0 && self.found.is_none() {
            self.path.push(Step::Key(key));
            let misfit = self.misfit("the tool's schema declares no such argument".to_owned());
            self.path.pop();
            self.found = Some(Fit::Undeclared(misfit));
        }
        None
    }

    fn names(&mut self, id: Id, members: &'v BTreeMap<String, Exact>) -> Found<'v> {
        for key in members.keys() {
            // A name lives no longer than this: nothing is marked by it.
            let name = Exact::Str(key.clone());
            self.meter.spend(bytes(key))?;
            let meter = Meter { left: self.meter.left };
            let mut run = Run { meter, depth: self.depth, quiet: 1, ..Run::new(self.schema) };
            let met = run.value(id, &name)?.is_some();
            self.meter.left = run.meter.left;
            if !met {
                return Ok(
                    self.wrong(|| format!("`{}` is no name that the tool's schema lets be", shortened(key)))
                );
            }
        }
        Ok(right())
    }
}
