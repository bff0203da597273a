//! What the source promises about itself: who may import whom, where the kernel may be spoken to, that the map names
//! every file, and that no file grows past reading.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may use those of its own layer and below; where two of one layer must not know
/// each other, [`STRANGERS`] says so.
const LAYERS: &[&[&str]] = &[
    &["config", "error_code", "types", "metrics", "limits"],
    &["protocol", "record", "coordinator", "runtime"],
    &["log"],
    &["partition", "catalog"],
    &["shard"],
    &["api"],
    &["net"],
    &["server", "cli", "main"],
];

/// Imports within a layer or below it that are forbidden all the same, each with its reason.
const STRANGERS: &[(&str, &str, &str)] = &[
    ("log", "protocol", "the log knows no wire format"),
    ("protocol", "runtime", "the codec is pure"),
    ("record", "runtime", "the batch format is pure"),
    ("coordinator", "runtime", "state machines are pure: (state, request, now) -> (response, records)"),
    ("runtime", "protocol", "the runtime knows no Kafka"),
    ("runtime", "record", "the runtime knows no Kafka"),
    ("runtime", "coordinator", "the runtime knows no Kafka"),
];

/// Imports that the table above forbids and that are there for a reason.
const ALLOWED_IMPORTS: &[(&str, &str, &str)] = &[];

const SOURCE_LINES_MAX: usize = 600;

/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What only some modules may name: the text, who may, and why nobody else.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("unsafe", &["runtime"], "the kernel's door is where memory is shared with it"),
    ("io_uring::", &["runtime"], "the runtime is the only door to the kernel"),
    ("nix::", &["runtime"], "the runtime is the only door to the kernel"),
    ("libc::", &["runtime"], "the runtime is the only door to the kernel"),
    ("std::fs", &["runtime", "server", "cli"], "files go through runtime::fs and runtime::file"),
    ("Instant::now", &["runtime", "server", "cli"], "clocks are passed in, so that tests need none"),
    ("SystemTime::now", &["runtime", "server", "cli"], "clocks are passed in, so that tests need none"),
    ("thread::spawn", &["runtime", "server", "cli"], "threads have names, cores and an end"),
];

struct Source {
    /// Relative to `src`, with forward slashes.
    path: String,
    /// The top-level module that the file belongs to.
    module: String,
    lines: usize,
    /// The code, without comments, strings and test modules.
    code: String,
    /// As `code`, with the tests.
    code_with_tests: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.sort();
    assert!(files.len() > 10, "src is there");
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a source file is text");
            let path = file.strip_prefix(root().join("src")).expect("under src").to_string_lossy().replace('\\', "/");
            let module = path.split('/').next().expect("a first part").trim_end_matches(".rs").to_owned();
            let code_with_tests = without_comments_and_strings(&text);
            // A file or folder of tests is named so; elsewhere tests are the last thing in a file.
            let is_tests = path
                .split('/')
                .any(|part| ["tests", "testing"].iter().any(|end| part.trim_end_matches(".rs").ends_with(end)));
            let code = if is_tests {
                String::new()
            } else {
                code_with_tests.split("#[cfg(test)]\nmod tests {").next().expect("a first part").to_owned()
            };
            Source { path, module, lines: text.lines().count(), code, code_with_tests }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Blanks out what is not code. Good enough for rustfmt's output; it need not parse Rust.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(&['/', '/']) {
            while at < bytes.len() && bytes[at] != '\n' {
                at += 1;
            }
        } else if rest.starts_with(&['/', '*']) {
            while at < bytes.len() && !bytes[at..].starts_with(&['*', '/']) {
                at += 1;
            }
            at += 2;
        } else if let Some(hashes) = raw_string(rest, at.checked_sub(1).map(|before| bytes[before])) {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < bytes.len() && !bytes[at..].starts_with(&close) {
                at += 1;
            }
            at += close.len();
            out.push_str("\"\"");
        } else if rest[0] == '"' {
            at += 1;
            while at < bytes.len() && bytes[at] != '"' {
                at += if bytes[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if rest[0] == '\'' && rest.len() > 2 && (rest[1] == '\\' || rest[2] == '\'') {
            // A character, not a lifetime.
            at += if rest[1] == '\\' { 3 } else { 2 };
            while at < bytes.len() && bytes[at] != '\'' {
                at += 1;
            }
            at += 1;
            out.push_str("' '");
        } else {
            out.push(rest[0]);
            at += 1;
        }
    }
    out
}

/// The count of hashes when a raw string begins here.
fn raw_string(rest: &[char], before: Option<char>) -> Option<usize> {
    if rest[0] != 'r' || before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The top-level modules that `code` names by `crate::x` or `use crate::{x, y::z}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "corelane::"] {
        for (at, _) in code.match_indices(prefix) {
            // `$crate::` is a macro's way to say `crate::`; `my_crate::` is another word.
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.insert(word(rest));
            }
        }
    }
    found.remove("");
    found
}

/// The first words of a `{a, b::c, d::{e, f}}` group, whose opening brace is already taken off.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut begin = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begin = true,
            c if begin && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                begin = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn fail_on(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn imports_point_down_only() {
    let mut problems = Vec::new();
    for source in sources() {
        if source.module == "lib" {
            continue;
        }
        let Some(own) = layer(&source.module) else {
            problems.push(format!("src/{}: module {} is in no layer", source.path, source.module));
            continue;
        };
        for import in imports(&source.code) {
            let Some(other) = layer(&import) else { continue };
            if ALLOWED_IMPORTS.iter().any(|&(from, to, _)| source.path == from && import == to) {
                continue;
            }
            if other > own {
                problems.push(format!(
                    "src/{}: {} (layer {own}) uses {import} (layer {other})",
                    source.path, source.module
                ));
            }
            if let Some((_, _, why)) = STRANGERS.iter().find(|&&(from, to, _)| from == source.module && to == import) {
                problems.push(format!("src/{}: {} uses {import}, but {why}", source.path, source.module));
            }
        }
    }
    fail_on(&problems);
}

#[test]
fn the_kernel_clocks_and_threads_are_reached_through_few_doors() {
    let mut problems = Vec::new();
    for source in sources() {
        for &(text, modules, why) in RESERVED {
            if modules.contains(&source.module.as_str()) || source.module == "main" {
                continue;
            }
            // Unsafe code has no place in tests either; files and clocks have.
            let code = if text == "unsafe" { &source.code_with_tests } else { &source.code };
            let named = code.match_indices(text).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                let after = code[at + text.len()..].chars().next();
                let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !part_of_word(before) && (text.ends_with(':') || !part_of_word(after))
            });
            if named {
                problems.push(format!("src/{}: {text} belongs to {}: {why}", source.path, modules.join(", ")));
            }
        }
    }
    fail_on(&problems);
}

fn is_rust_file(text: &str) -> bool {
    !text.contains('*') && std::path::Path::new(text).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn the_map_names_every_source_file() {
    let map = fs::read_to_string(root().join("src/ARCHITECTURE.md")).expect("src/ARCHITECTURE.md");
    let sources = sources();
    let mut problems = Vec::new();
    for source in &sources {
        if !map.contains(&format!("`{}`", source.path)) {
            problems.push(format!("src/ARCHITECTURE.md does not name `{}`", source.path));
        }
    }
    // And nothing that is gone.
    let present: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    for named in map.split('`').skip(1).step_by(2).filter(|text| is_rust_file(text)) {
        let outside = ["tests/", "loadgen/", "benches/"].iter().any(|prefix| named.starts_with(prefix));
        if !outside && !present.contains(named) {
            problems.push(format!("src/ARCHITECTURE.md names `{named}`, which is not there"));
        }
    }
    fail_on(&problems);
}

#[test]
fn no_source_file_grows_past_reading() {
    let mut problems = Vec::new();
    let mut by_module: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for source in sources() {
        let sums = by_module.entry(source.module.clone()).or_default();
        sums.0 += 1;
        sums.1 += source.lines;
        let excused = LONG_FILES.iter().any(|&(path, _)| path == source.path);
        if source.lines > SOURCE_LINES_MAX && !excused {
            problems.push(format!("src/{}: {} lines", source.path, source.lines));
        }
        if source.lines <= SOURCE_LINES_MAX && excused {
            problems.push(format!("src/{}: {} lines need no excuse any more", source.path, source.lines));
        }
    }
    for (module, (files, lines)) in by_module {
        println!("{module:12} {files:4} files {lines:6} lines");
    }
    fail_on(&problems);
}

#[test]
fn the_scanner_sees_what_it_should() {
    let code = without_comments_and_strings(
        "use crate::{log, api::{x, y}, types as t}; // crate::net\nlet a = \"crate::shard\"; fn f<'a>(c: char) { c == '\"' }\n\
         $crate::record::go(); r#\"crate::server\"#; my_crate::cli;",
    );
    let found: Vec<String> = imports(&code).into_iter().collect();
    assert_eq!(found, ["api", "log", "record", "types"]);
}
