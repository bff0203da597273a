//! Logs on the standard error stream: text for people, JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{BrokerConfig, ConfigError, LogFormat};

/// Starts logging for the process. RUST_LOG goes before `corelane.log.level`. Fails on a level that is none.
pub fn start(config: &BrokerConfig) -> Result<(), ConfigError> {
    let filter = filter(config, std::env::var("RUST_LOG").ok().as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A program that embeds two brokers, or brings a subscriber of its own, keeps the first one.
    let _ = match config.logging.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_ansi(is_colored(&stderr())).with_target(false).try_init(),
    };
    Ok(())
}

/// Whether a stream is a terminal that may be coloured (<https://no-color.org>).
pub fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn filter(config: &BrokerConfig, environment: Option<&str>) -> Result<EnvFilter, ConfigError> {
    if let Some(filter) = environment.filter(|text| !text.is_empty()).and_then(|text| EnvFilter::try_new(text).ok()) {
        return Ok(filter);
    }
    let key = "corelane.log.level";
    let level = config.logging.level.as_str();
    let expected = "error, warn, info, debug, trace or off, or levels of modules as in info,corelane::log=debug";
    // A bare word that is no level would be taken for a module's name and silence everything else.
    let is_meant = level.split(',').map(str::trim).all(|part| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        matches!(level.to_ascii_lowercase().as_str(), "error" | "warn" | "info" | "debug" | "trace" | "off")
    });
    let parsed = is_meant.then(|| EnvFilter::try_new(level).ok()).flatten();
    parsed.ok_or_else(|| ConfigError::BadValue {
        key: key.to_owned(),
        value: level.to_owned(),
        expected: expected.to_owned(),
        origin: config.settings().origin(key).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Settings, Sources};

    fn shown(level: &str, environment: Option<&str>) -> Result<String, String> {
        let sources = Sources { sets: vec![format!("corelane.log.level={level}")], ..Sources::default() };
        let (settings, _) = Settings::load(&sources).expect("it loads");
        let machine = Machine { cores: 1, host_name: "box".to_owned() };
        let config = BrokerConfig::new(settings, &machine).expect("it is valid");
        filter(&config, environment).map(|filter| filter.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn levels_come_from_the_environment_then_the_configuration() {
        assert_eq!(shown("warn", None).as_deref(), Ok("warn"));
        assert_eq!(shown("info,corelane::log=debug", Some("")).as_deref(), Ok("corelane::log=debug,info"));
        assert_eq!(shown("warn", Some("trace")).as_deref(), Ok("trace"));
        assert_eq!(
            shown("loud", None).expect_err("it is no level"),
            "corelane.log.level=loud (--set) is not valid: expected error, warn, info, debug, trace or off, or levels of \
             modules as in info,corelane::log=debug."
        );
    }
}
