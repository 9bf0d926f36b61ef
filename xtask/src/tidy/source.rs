//! What Rust source must look like, read as tokens, so that comments and strings fool nobody.
//!
//! `proc-macro2` gives the tokens with their places (doc comments are tokens too); what lies
//! between tokens is white space and comments. `syn` gives the functions and the test modules.

use super::{Finding, Rule};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::ops::RangeInclusive;
use std::str::FromStr;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file, its test modules apart: what one sitting takes in.
pub const FILE_LINES_MAX: usize = 500;

/// Lines of a function, signature and braces included: one screen.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Columns of a line: two files side by side.
pub const COLUMNS_MAX: usize = 100;

/// Checks one file. `file` is its path from the workspace root.
#[must_use]
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut report = Report { file, findings: Vec::new() };
    columns(&mut report, text);
    let (Ok(tokens), Ok(tree)) = (TokenStream::from_str(text), syn::parse_file(text)) else {
        report.add(Rule::Syntax, 0, "cannot be read as Rust".to_owned());
        return report.findings;
    };
    let mut layout = Layout::default();
    layout.walk(tokens);
    unsafe_rules(&mut report, &layout, text);
    leftovers(&mut report, &layout, text);
    lengths(&mut report, &tree, text);
    crate_doc(&mut report, &tree);
    report.findings
}

struct Report<'a> {
    file: &'a str,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, rule: Rule, line: usize, message: String) {
        self.findings.push(Finding { rule, file: self.file.to_owned(), line, message });
    }
}

/// Where the tokens that matter are.
#[derive(Default)]
struct Layout {
    /// Byte ranges of all leaf tokens, doc comments left out: what remains is comments.
    tokens: Vec<std::ops::Range<usize>>,
    /// Lines inside literals of several lines.
    literals: Vec<RangeInclusive<usize>>,
    /// Lines of `unsafe`.
    unsafe_lines: Vec<usize>,
    /// Lines of `todo!` and `unimplemented!`.
    stubs: Vec<usize>,
}

impl Layout {
    fn walk(&mut self, stream: TokenStream) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        for (index, tree) in trees.iter().enumerate() {
            match tree {
                TokenTree::Group(group) if is_doc(group) => {}
                TokenTree::Group(group) => {
                    self.tokens.push(group.span_open().byte_range());
                    self.tokens.push(group.span_close().byte_range());
                    self.walk(group.stream());
                }
                TokenTree::Ident(ident) => {
                    self.tokens.push(ident.span().byte_range());
                    let line = ident.span().start().line;
                    let word = ident.to_string();
                    if word == "unsafe" {
                        self.unsafe_lines.push(line);
                    }
                    let called = trees.get(index + 1).is_some_and(|next| is_mark(next, '!'));
                    if called && (word == "todo" || word == "unimplemented") {
                        self.stubs.push(line);
                    }
                }
                TokenTree::Punct(mark) => self.tokens.push(mark.span().byte_range()),
                TokenTree::Literal(literal) => {
                    self.tokens.push(literal.span().byte_range());
                    self.literals.push(literal.span().start().line..=literal.span().end().line);
                }
            }
        }
    }
}

fn is_mark(tree: &TokenTree, mark: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Whether a bracket group is the body of a doc comment. Its ends are bytes of the comment itself.
fn is_doc(group: &proc_macro2::Group) -> bool {
    group.delimiter() == Delimiter::Bracket
        && matches!(group.stream().into_iter().next(),
            Some(TokenTree::Ident(ident)) if ident == "doc")
}

/// Tests are apart: a sample of a screen, a file or a message is as wide as it is.
fn columns(report: &mut Report<'_>, text: &str) {
    if is_test_file(report.file) {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        let width = line.chars().count();
        if width > COLUMNS_MAX {
            let message = format!("{width} columns; at most {COLUMNS_MAX}");
            report.add(Rule::Columns, index + 1, message);
        }
    }
}

fn unsafe_rules(report: &mut Report<'_>, layout: &Layout, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for &line in &layout.unsafe_lines {
        if !report.file.starts_with("src/sys/") {
            report.add(Rule::Unsafe, line, "`unsafe` belongs into src/sys".to_owned());
        } else if !has_safety(layout, &lines, line) {
            let message = "`unsafe` without a `// SAFETY:` line (or `# Safety` doc) above it";
            report.add(Rule::Safety, line, message.to_owned());
        }
    }
}

/// Whether the comment block above `line` (attributes may stand between) argues for safety. The
/// statement may have begun some lines above the word, so lines of the same statement are passed.
fn has_safety(layout: &Layout, lines: &[&str], line: usize) -> bool {
    const STATEMENT_LINES_MAX: usize = 3;
    let argues = |number: usize| {
        let text = lines[number - 1].trim_start();
        let literal = layout.literals.iter().any(|range| {
            range.start() < range.end() && range.contains(&number) && *range.start() != number
        });
        text.starts_with("//") && !literal
    };
    let mut number = line;
    let mut passed = 0;
    loop {
        number -= 1;
        if number == 0 {
            return false;
        }
        let text = lines[number - 1].trim();
        if argues(number) {
            if text.contains("SAFETY:") || text.contains("# Safety") {
                return true;
            }
        } else if !text.starts_with("#[") {
            passed += 1;
            let ended = text.is_empty() || text.ends_with([';', '{', '}']);
            if ended || passed > STATEMENT_LINES_MAX {
                return false;
            }
        }
    }
}

/// Words that mark unfinished work, put together so that this file does not contain them.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

fn leftovers(report: &mut Report<'_>, layout: &Layout, text: &str) {
    for &line in &layout.stubs {
        report.add(Rule::Leftover, line, "a stub behind a finished-looking door".to_owned());
    }
    // Everything that is no token is a comment; bytes of tokens are blanked, lines stay.
    let mut bytes = text.as_bytes().to_vec();
    for range in &layout.tokens {
        if let Some(token) = bytes.get_mut(range.clone()) {
            let comment = token.starts_with(b"//") || token.starts_with(b"/*");
            if !comment {
                token.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            }
        }
    }
    let comments = String::from_utf8_lossy(&bytes).into_owned();
    for (index, line) in comments.lines().enumerate() {
        let word = |mark: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == *mark);
        if let Some(mark) = MARKS.iter().find(|mark| word(mark)) {
            let message = format!("{mark}: finish it, or open an issue and say what is missing");
            report.add(Rule::Leftover, index + 1, message);
        }
    }
}

/// Files whose lengths do not count: tests, which hold tables of samples.
fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file.contains("/benches/")
}

fn lengths(report: &mut Report<'_>, tree: &syn::File, text: &str) {
    let mut functions = Functions::default();
    functions.visit_file(tree);
    for (name, lines) in &functions.found {
        let length = lines.end() - lines.start() + 1;
        if length > FUNCTION_LINES_MAX && !is_test_file(report.file) {
            let message =
                format!("`{name}` has {length} lines; at most {FUNCTION_LINES_MAX}: split it");
            report.add(Rule::FunctionLength, *lines.start(), message);
        }
    }
    let length = text.lines().count().saturating_sub(functions.test_lines);
    if length > FILE_LINES_MAX && !is_test_file(report.file) {
        let message = format!("{length} lines without tests; at most {FILE_LINES_MAX}: split it");
        report.add(Rule::FileLength, 0, message);
    }
}

#[derive(Default)]
struct Functions {
    found: Vec<(String, RangeInclusive<usize>)>,
    test_lines: usize,
    in_test: bool,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, body: proc_macro2::Span) {
        let lines = signature.span().start().line..=body.end().line;
        self.found.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outermost = !self.in_test && item.attrs.iter().any(is_test_attribute);
        if outermost {
            self.test_lines += item.span().end().line - item.span().start().line + 1;
            self.in_test = true;
        }
        visit::visit_item_mod(self, item);
        self.in_test &= !outermost;
    }
}

fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
}

/// Crate roots: each says in a few lines what it is, may touch and never does.
fn crate_doc(report: &mut Report<'_>, tree: &syn::File) {
    let file = report.file;
    let is_root = file.ends_with("src/lib.rs")
        || file.ends_with("src/main.rs")
        || file.contains("/src/bin/")
        || file.contains("/fuzz_targets/")
        || (file.contains("/tests/") && file.matches('/').count() <= 3);
    if !is_root {
        return;
    }
    let lines = tree.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).count();
    if lines == 0 {
        let message = "a crate root opens with `//!`: what it is, may touch, never does";
        report.add(Rule::CrateDoc, 1, message.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str, text: &str) -> Vec<(Rule, usize)> {
        check(file, text).into_iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn unsafe_outside_sys_is_found_even_in_a_macro() {
        let text = "fn f() {\n    run!(unsafe { g() });\n}\n";
        assert_eq!(rules("src/init/src/a.rs", text), [(Rule::Unsafe, 2)]);
    }

    #[test]
    fn unsafe_in_a_comment_or_a_string_is_not() {
        let text = "// unsafe { }\n/// unsafe\nfn f() -> &'static str {\n    \"unsafe {\"\n}\n";
        assert!(rules("src/init/src/a.rs", text).is_empty());
    }

    #[test]
    fn unsafe_in_sys_needs_a_safety_line() {
        let bare = "fn f() {\n    unsafe { g() };\n}\n";
        assert_eq!(rules("src/sys/src/a.rs", bare), [(Rule::Safety, 2)]);
        let argued = "fn f() {\n    // SAFETY: g wants nothing.\n    unsafe { g() };\n}\n";
        assert!(rules("src/sys/src/a.rs", argued).is_empty());
        let function = "/// # Safety\n/// As you like.\n#[inline]\nunsafe fn f() {}\n";
        assert!(rules("src/sys/src/a.rs", function).is_empty());
        let broken = "// SAFETY: g wants nothing.\nlet_it!(a,\n    unsafe { g() });\n";
        assert!(rules("src/sys/src/a.rs", broken).is_empty());
    }

    #[test]
    fn a_safety_line_inside_a_string_or_above_another_statement_does_not_count() {
        let string = "fn f() {\n    let a = \"\n// SAFETY: no\"; unsafe { g(a) };\n}\n";
        assert_eq!(rules("src/sys/src/a.rs", string), [(Rule::Safety, 3)]);
        let other = "fn f() {\n    // SAFETY: h\n    h();\n    unsafe { g() };\n}\n";
        assert_eq!(rules("src/sys/src/a.rs", other), [(Rule::Safety, 4)]);
    }

    #[test]
    fn long_functions_and_files_are_found() {
        let function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(rules("src/port/src/a.rs", &function), [(Rule::FunctionLength, 1)]);
        let file = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(rules("src/port/src/a.rs", &file), [(Rule::FileLength, 0)]);
        for long in [&function, &file, &format!("// {}\n", "x".repeat(COLUMNS_MAX))] {
            assert!(rules("src/port/tests/a/b/c.rs", long).is_empty());
        }
        let tests = format!("#[cfg(test)]\nmod tests {{\n{file}}}\n");
        assert!(rules("src/port/src/a.rs", &tests).is_empty());
    }

    #[test]
    fn wide_lines_are_found() {
        let text = format!("// {}\n", "x".repeat(COLUMNS_MAX));
        assert_eq!(rules("src/port/src/a.rs", &text), [(Rule::Columns, 1)]);
    }

    #[test]
    fn a_crate_root_without_doc_is_found() {
        assert_eq!(rules("src/port/src/lib.rs", "fn f() {}\n"), [(Rule::CrateDoc, 1)]);
        assert!(rules("src/port/src/lib.rs", "//! The port.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_found_in_comments_and_as_macro_but_not_in_strings() {
        let mark = MARKS[0];
        let text = format!("// {mark}: more\nfn f() {{\n    g(\"{mark}\");\n    todo!();\n}}\n");
        let found = rules("src/port/src/a.rs", &text);
        assert_eq!(found, [(Rule::Leftover, 4), (Rule::Leftover, 1)]);
        let doc = format!("/// {}\nfn f() {{}}\n", MARKS[1]);
        assert_eq!(rules("src/port/src/a.rs", &doc), [(Rule::Leftover, 1)]);
    }

    #[test]
    fn what_is_not_rust_is_said() {
        assert_eq!(rules("src/port/src/a.rs", "fn f( {"), [(Rule::Syntax, 0)]);
    }
}
