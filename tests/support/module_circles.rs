//! Circles among the modules of a crate: files, or folders of files, that use one another, directly
//! or by way of others. What a parent module re-exports counts as use of the module it comes from.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_tokens::{Token, paths, tokens};

/// A module by its path from the root of the crate, which is the empty one.
type Module = Vec<String>;

/// Which of its siblings each child of one module uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The circles in a crate, each as the module it is in and the children of that module that it goes
/// through. `sources` are file names relative to the crate's root module, and texts; tests in
/// folders of their own, and modules within a file, are not looked at.
pub fn circles(sources: &[(&str, &str)]) -> Vec<String> {
    let mut modules = BTreeMap::new();
    for (name, text) in sources {
        let parts: Vec<_> = name.trim_end_matches(".rs").split('/').collect();
        if !parts.contains(&"tests") {
            let last = parts.last().is_some_and(|part| ["mod", "lib"].contains(part));
            let parts = &parts[..parts.len() - usize::from(last)];
            let module: Module = parts.iter().map(|part| (*part).to_owned()).collect();
            modules.insert(module, tokens(text));
        }
    }
    let mut uses: BTreeMap<Module, Uses> = BTreeMap::new();
    for (module, tokens) in &modules {
        let mut depth = 0;
        let mut seen = 0;
        for path in paths(tokens) {
            for at in seen..path.at {
                match tokens[at].text {
                    "{" => depth += usize::from(depth > 0 || begins_module(tokens, at)),
                    "}" if depth > 0 => depth -= 1,
                    _ => {}
                }
            }
            seen = seen.max(path.at);
            let Some(target) = target(&modules, module, &path.segments) else { continue };
            let common = module.iter().zip(&target).take_while(|(own, other)| own == other).count();
            if depth == 0 && common < module.len() && common < target.len() {
                let siblings = uses.entry(module[..common].to_vec()).or_default();
                let used = siblings.entry(module[common].clone()).or_default();
                used.insert(target[common].clone());
            }
        }
    }
    let found = uses.into_iter().filter_map(|(parent, siblings)| {
        let circle = circle(siblings);
        (!circle.is_empty()).then(|| format!("{}: {}", parent.join("/"), circle.join(", ")))
    });
    found.collect()
}

/// Whether the `{` at `at` is that of `mod name {`.
fn begins_module(tokens: &[Token<'_>], at: usize) -> bool {
    at >= 2 && tokens[at - 2].text == "mod"
}

/// The module that a path in `module` leads to.
fn target(
    modules: &BTreeMap<Module, Vec<Token<'_>>>,
    module: &Module,
    segments: &[&str],
) -> Option<Module> {
    let up = segments.iter().take_while(|segment| **segment == "super").count();
    let (start, rest) = match *segments.first()? {
        "crate" => (0, &segments[1..]),
        "super" => (module.len().checked_sub(up)?, &segments[up..]),
        _ => return None,
    };
    let mut target = module[..start].to_vec();
    target.extend(rest.iter().map(|segment| (*segment).to_owned()));
    let known = (0..=target.len()).rev().find(|&length| modules.contains_key(&target[..length]))?;
    let (parent, item) = (&target[..known], target.get(known));
    // A name of the parent's may come from a child.
    let child = item.and_then(|item| {
        let from = paths(&modules[parent])
            .into_iter()
            .find(|path| path.segments.len() > 1 && path.segments.last() == Some(&item.as_str()))?;
        let child = [parent, &[from.segments[0].to_owned()][..]].concat();
        modules.contains_key(&child).then_some(child)
    });
    Some(child.unwrap_or_else(|| parent.to_vec()))
}

/// What is left when all that uses none of the others, or is used by none, is taken away.
fn circle(mut siblings: Uses) -> Vec<String> {
    loop {
        let used: BTreeSet<String> = siblings.values().flatten().cloned().collect();
        let before = siblings.len();
        let names: BTreeSet<String> = siblings.keys().cloned().collect();
        siblings.retain(|name, uses| {
            uses.retain(|other| names.contains(other));
            !uses.is_empty() && used.contains(name)
        });
        if siblings.len() == before {
            return siblings.into_keys().collect();
        }
    }
}
