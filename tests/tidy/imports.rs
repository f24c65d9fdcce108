//! What a source file names: rooms of ours, crates of others, calls that need a clock.
//!
//! Parts under `#[cfg(test)]` are left out: a test may use what it likes. Invariant: a path is found
//! wherever it stands: in `use`, in an expression, in a type, in the arguments of a macro.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, UseTree};

/// What a file names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Rooms, as in `crate::<room>` or reached by `super`.
    pub(crate) rooms: BTreeSet<String>,
    /// Every path, its parts joined by `::`; of a `use`, each leaf.
    pub(crate) paths: BTreeSet<String>,
    /// Whether there is an `.await` or an `async`.
    pub(crate) is_async: bool,
    /// Macros that are called, by their last name.
    pub(crate) macros: BTreeSet<String>,
    /// Modules that are declared: their names hide crates of the same name.
    pub(crate) modules: BTreeSet<String>,
    /// Types that are declared.
    pub(crate) types: BTreeSet<String>,
}

impl Names {
    /// Reads a file whose module is so deep in the crate: 1 for `src/room/mod.rs`, 2 for
    /// `src/room/part.rs`.
    pub(crate) fn of(file: &syn::File, module: &[String]) -> Self {
        let mut reader = Reader {
            names: Self::default(),
            module: module.to_vec(),
        };
        reader.visit_file(file);
        reader.names
    }

    /// Whether some path begins with this crate. A single name may be a variable and does not count.
    pub(crate) fn uses_crate(&self, name: &str) -> bool {
        let inside = |path: &String| path.starts_with(&format!("{name}::"));
        !self.modules.contains(name) && self.paths.iter().any(inside)
    }

    /// Whether some path ends with this.
    pub(crate) fn calls(&self, end: &str) -> bool {
        let fits = |path: &String| path == end || path.ends_with(&format!("::{end}"));
        self.paths.iter().any(fits)
    }
}

/// The module of a file below `src`: `src/bus/rabbitmq/flow.rs` is `bus::rabbitmq::flow`.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

/// The modules that a file declares under `#[cfg(test)]` and that lie in files of their own.
pub(crate) fn modules_for_tests(file: &syn::File, module: &[String]) -> Vec<Vec<String>> {
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(item) if item.content.is_none() && is_for_tests(&item.attrs) => Some(&item.ident),
        _ => None,
    });
    let inside = |name: &syn::Ident| {
        let mut path = module.to_vec();
        path.push(name.to_string());
        path
    };
    declared.map(inside).collect()
}

struct Reader {
    names: Names,
    module: Vec<String>,
}

impl Reader {
    fn add(&mut self, parts: &[String]) {
        let path = self.resolve(parts);
        if let [first, room, ..] = path.as_slice()
            && first == "crate"
        {
            self.names.rooms.insert(room.clone());
        }
        self.names.paths.insert(path.join("::"));
    }

    /// `super::super::x` as a path from the root of the crate.
    fn resolve(&self, parts: &[String]) -> Vec<String> {
        let ups = parts.iter().take_while(|part| *part == "super").count();
        let here = parts.first().is_some_and(|part| part == "self");
        if ups == 0 && !here {
            return parts.to_vec();
        }
        let kept = self.module.len().saturating_sub(ups);
        let mut path = vec!["crate".to_owned()];
        path.extend_from_slice(&self.module[..kept]);
        path.extend_from_slice(&parts[ups.max(usize::from(here))..]);
        path
    }

    fn add_tree(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(before, &path.tree);
                before.pop();
            }
            UseTree::Name(name) => self.add_leaf(before, &name.ident.to_string()),
            UseTree::Rename(rename) => self.add_leaf(before, &rename.ident.to_string()),
            UseTree::Glob(_) => self.add_leaf(before, "*"),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }

    fn add_leaf(&mut self, before: &[String], leaf: &str) {
        let mut path = before.to_vec();
        path.push(leaf.to_owned());
        if before.is_empty() {
            path.push("self".to_owned()); // `use lapin;` is a crate, not a variable.
        }
        self.add(&path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            Item::Struct(item) => drop(self.names.types.insert(item.ident.to_string())),
            Item::Enum(item) => drop(self.names.types.insert(item.ident.to_string())),
            Item::Trait(item) => drop(self.names.types.insert(item.ident.to_string())),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.names.modules.insert(item.ident.to_string());
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item
            && is_for_tests(&function.attrs)
        {
            return;
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }

    fn visit_expr_await(&mut self, expr: &'ast syn::ExprAwait) {
        self.names.is_async = true;
        visit::visit_expr_await(self, expr);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.names.is_async |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if let Some(last) = called.path.segments.last() {
            self.names.macros.insert(last.ident.to_string());
        }
        // The arguments of a macro are tokens, not syntax: paths in them are found as text.
        let text = called
            .tokens
            .to_string()
            .replace(" :: ", "::")
            .replace("$", "");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            if word.contains("::") {
                let parts: Vec<_> = word.split("::").map(str::to_owned).collect();
                self.add(&parts);
            }
        }
        visit::visit_macro(self, called);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an attribute is `#[cfg(test)]` or a `cfg` that needs it.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Ok(list) = attribute.meta.require_list() else {
            return false;
        };
        let words = list.tokens.to_string();
        attribute.path().is_ident("cfg") && (words == "test" || words.starts_with("all (test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Names {
        let module = ["bus".to_owned(), "rabbitmq".to_owned()];
        Names::of(&syn::parse_file(text).unwrap(), &module)
    }

    #[test]
    fn a_room_is_found_wherever_it_is_named() {
        for text in [
            "use crate::store::Store;",
            "use crate::{model::NodeId, store};",
            "use super::super::store::Store;",
            "fn f(x: crate::store::Append) {}",
            "fn f() { crate::store::go() }",
            "fn f() { format!(\"{}\", crate::store::X) }",
            "mod inner { use super::super::super::store; }",
            "impl crate::store::Store for X {}",
        ] {
            assert!(names(text).rooms.contains("store"), "{text}");
        }
    }

    #[test]
    fn what_only_tests_name_does_not_count() {
        for text in [
            "#[cfg(test)] mod tests { use crate::store::Store; }",
            "#[cfg(test)] use crate::store::Store;",
            "#[cfg(all(test, unix))] fn f() { crate::store::go() }",
            "impl X { #[cfg(test)] fn f() { crate::store::go() } }",
            "// crate::store\nuse super::store;",
        ] {
            assert!(!names(text).rooms.contains("store"), "{text}");
        }
    }

    #[test]
    fn clocks_and_awaiting_are_seen() {
        assert!(names("fn f() { let now = std::time::Instant::now(); }").calls("Instant::now"));
        assert!(names("async fn f() {}").is_async);
        assert!(names("fn f() { async { x.await }; }").is_async);
        assert!(!names("fn f(now: Instant) {}").calls("Instant::now"));
        assert!(names("use tokio::sync::Notify;").uses_crate("tokio"));
        assert!(!names("use tokio_util::task;").uses_crate("tokio"));
        assert!(names("use lapin;").uses_crate("lapin"));
        assert!(!names("mod redis; pub use redis::X;").uses_crate("redis"));
        assert!(!names("fn f(redis: u8) { redis; }").uses_crate("redis"));
    }
}
