//! TOML with Kafka's dotted names: `log.segment.bytes = 1`, `"log.segment.bytes" = 1` and `[log] segment.bytes = 1` are
//! the same key. Lists may be arrays.

use toml::Value;

use super::{Assignment, ConfigError};

/// All assignments, in the order of their keys.
pub fn parse(text: &str, file: &str) -> Result<Vec<Assignment>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| syntax(text, file, &error))?;
    let mut assignments = Vec::new();
    flatten(&table, "", file, &mut assignments)?;
    Ok(assignments)
}

fn flatten(table: &toml::Table, prefix: &str, file: &str, out: &mut Vec<Assignment>) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let Value::Table(inner) = value {
            flatten(inner, &key, file, out)?;
        } else {
            let value = text_of(value).ok_or_else(|| ConfigError::Shape { file: file.to_owned(), key: key.clone() })?;
            out.push(Assignment { key, value, line: None });
        }
    }
    Ok(())
}

/// The text a properties file would have in its place. Nothing for a table or an array in an array.
fn text_of(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => {
            let scalar = |item: &Value| if item.is_array() { None } else { text_of(item) };
            items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(",")
        }
        Value::Table(_) => return None,
    })
}

fn syntax(text: &str, file: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1;
    let mut problem = error.message().trim_end_matches('.').replace('\n', ", ");
    if problem.contains("duplicate key") || problem.contains("cannot extend") {
        // log.dir is a value and log.dir.failure.timeout.ms lies below it: in TOML that is a contradiction.
        problem.push_str("; where one key continues another, put both in quotes (\"log.dir\" = ...)");
    }
    ConfigError::Syntax { file: file.to_owned(), line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text, "x.toml").expect("it parses").into_iter().map(|a| (a.key, a.value)).collect()
    }

    #[test]
    fn dotted_quoted_and_nested_names_are_the_same() {
        let want = [("log.segment.bytes".to_owned(), "1073741824".to_owned())];
        for text in [
            "log.segment.bytes = 1073741824",
            "\"log.segment.bytes\" = 1073741824",
            "[log]\nsegment.bytes = 1_073_741_824",
            "[log.segment]\nbytes = \"1073741824\"",
            "[log]\n\"segment.bytes\" = 1073741824",
        ] {
            assert_eq!(pairs(text), want, "{text}");
        }
    }

    #[test]
    fn values_become_text() {
        let text = "a = true\nb = 0.5\nc = 'x, y'\nd = ['p', 'q']\ne = [1, 2]";
        let want = [("a", "true"), ("b", "0.5"), ("c", "x, y"), ("d", "p,q"), ("e", "1,2")];
        assert_eq!(pairs(text), want.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn syntax_errors_name_file_and_line() {
        let error = parse("a = 1\nb = \n", "corelane.toml").expect_err("b has no value").to_string();
        assert!(error.starts_with("corelane.toml, line 2: "), "{error}");
        let error =
            parse("log.dir = 'x'\nlog.dir.failure.timeout.ms = 1", "c.toml").expect_err("they clash").to_string();
        assert!(error.contains("put both in quotes"), "{error}");
        assert!(parse("\"log.dir\" = 'x'\n\"log.dir.failure.timeout.ms\" = 1", "c.toml").is_ok());
    }

    #[test]
    fn a_table_in_a_list_has_no_meaning() {
        let error = parse("listeners = [{ host = 'x' }]", "c.toml").expect_err("a table is no value");
        assert_eq!(error.to_string(), "c.toml: listeners has to be a single value or a list of values.");
    }
}
