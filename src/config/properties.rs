//! Java's properties syntax (`java.util.Properties.load`), which Kafka's `server.properties` is written in.
//!
//! ```text
//! # comment          ! comment          (a comment line has no continuation)
//! key=value          key:value          key value
//! long=one,\
//!      two           a backslash at the end joins the next line, without its leading blanks
//! \u00e4 \t \n \r \f escapes; a backslash before any other character stands for that character
//! ```

use super::{Assignment, ConfigError};

/// All assignments in order; a key that comes twice counts with its last value. Fails on a broken `\u` escape alone:
/// everything else is some assignment in this syntax.
pub fn parse(text: &str, file: &str) -> Result<Vec<Assignment>, ConfigError> {
    let mut assignments = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while ends_in_open_backslash(&line) {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&line);
        let unescaped = |text| {
            unescape(text).ok_or_else(|| ConfigError::Syntax {
                file: file.to_owned(),
                line: index + 1,
                problem: "\\u needs four hexadecimal digits after it".to_owned(),
            })
        };
        assignments.push(Assignment { key: unescaped(key)?, value: unescaped(value)?, line: Some(index + 1) });
    }
    Ok(assignments)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Whether the line ends in an odd number of backslashes, the last of which then joins the next line.
fn ends_in_open_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Key and value, still escaped: the key ends at the first unescaped blank, `=` or `:`; blanks around one such
/// separator belong to neither.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (BLANKS.contains(&c) || c == '=' || c == ':');
            escaped = c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            Some('u') => {
                let first = utf16_unit(&mut chars)?;
                if (0xd800..0xdc00).contains(&first) {
                    // The first half of a pair; Java's strings hold such a half alone, Rust's cannot.
                    let mut ahead = chars.clone();
                    let second = (ahead.next() == Some('\\') && ahead.next() == Some('u'))
                        .then(|| utf16_unit(&mut ahead))
                        .flatten();
                    let pair = [first, second.unwrap_or_default()];
                    match char::decode_utf16(pair).next() {
                        Some(Ok(c)) => {
                            out.push(c);
                            chars = ahead;
                        }
                        _ => out.push(char::REPLACEMENT_CHARACTER),
                    }
                } else {
                    out.push(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

fn utf16_unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let mut unit = 0u16;
    for _ in 0..4 {
        unit = unit << 4 | chars.next()?.to_digit(16)? as u16;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text, "x.properties").expect("it parses").into_iter().map(|a| (a.key, a.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?}");
        pairs.remove(0)
    }

    #[test]
    fn separators_are_equals_colon_and_blanks() {
        for text in ["a.b=c d", "a.b = c d", "a.b:c d", "a.b : c d", "a.b c d", "  a.b\t\tc d", "a.b\t=  c d"] {
            assert_eq!(one(text), ("a.b".into(), "c d".into()), "{text:?}");
        }
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("listeners=PLAINTEXT://:9092"), ("listeners".into(), "PLAINTEXT://:9092".into()));
        assert_eq!(one("alone"), ("alone".into(), String::new()));
        assert_eq!(one("empty="), ("empty".into(), String::new()));
        // Blanks at the end belong to the value here; the table's kinds trim them.
        assert_eq!(one("a=b "), ("a".into(), "b ".into()));
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        assert_eq!(pairs("# a=b\n! c=d\n\n   \n  # e=f \\\ng=h\r\ni=j"), pairs("g=h\ni=j"));
    }

    #[test]
    fn a_backslash_at_the_end_joins_lines() {
        assert_eq!(one("a=b,\\\n    c,\\\n\td"), ("a".into(), "b,c,d".into()));
        assert_eq!(pairs("a=b\\\\\nc=d"), [("a".into(), "b\\".into()), ("c".into(), "d".into())]);
        assert_eq!(one("a=b\\"), ("a".into(), "b".into()));
        assert_eq!(one("a=b\\\n# not a comment"), ("a".into(), "b# not a comment".into()));
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(one(r"a\ b\=c\:d=e\tf\u00e4\\"), ("a b=c:d".into(), "e\tfä\\".into()));
        assert_eq!(one(r"a=\ud83d\ude00!"), ("a".into(), "😀!".into()));
        assert_eq!(one(r"a=\ud83dx"), ("a".into(), "\u{fffd}x".into()));
        assert_eq!(one(r"a=\q"), ("a".into(), "q".into()));
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        let error = parse("a=b\nc=\\u12", "server.properties").expect_err("the escape is broken");
        assert_eq!(error.to_string(), "server.properties, line 2: \\u needs four hexadecimal digits after it.");
    }

    #[test]
    fn lines_are_counted_from_one() {
        let parsed = parse("# c\n\na=b\\\nc\nd=e", "x").expect("it parses");
        assert_eq!(parsed.iter().map(|a| a.line).collect::<Vec<_>>(), [Some(3), Some(5)]);
    }
}
