//! The command line: `corelane` (the same as `corelane serve`), `corelane check`, `corelane config` and `corelane group`.

mod check;
mod group;
mod list;
mod profiles;
mod show;

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{BrokerConfig, ConfigNote, Settings, Sources};
use crate::server::{self, StartError};

/// A single-node event broker that speaks Apache Kafka's protocol.
///
/// Without a command the broker starts: data in ./corelane-data, clients at 127.0.0.1:9092.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker (what happens without a command too)
    Serve(Options),
    Check(check::CheckArgs),
    /// Look at configuration keys and values
    #[command(subcommand)]
    Config(ConfigCommand),
    Group(group::GroupArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// All keys: type, default, whether they can change while running, and what they do
    List {
        /// Only keys whose name contains this
        filter: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// The values a start with these options would use
    Show {
        #[command(flatten)]
        options: Options,
        /// Default values too, not only what was set
        #[arg(long)]
        all: bool,
        #[arg(long, value_enum, default_value_t)]
        output: ShowOutput,
    },
    /// The profiles and what they set, as Markdown (what tuning/README.md holds)
    Profiles,
}

/// What a start reads its configuration from; each overrides those above it.
#[derive(Args, Clone, Debug, Default)]
struct Options {
    /// A set of values for one purpose: balanced, throughput or latency [default: balanced]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// A configuration file: TOML (*.toml) with Kafka's dotted names, or Kafka's server.properties as it is
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where data is kept; short for --set log.dirs=DIR [default: ./corelane-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// One value; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
    Markdown,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ShowOutput {
    #[default]
    Table,
    Json,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => serve(&cli.options),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Config(command)) => config(command),
        Some(Command::Group(args)) => Ok(group::run(&args)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(options: &Options) -> Result<ExitCode, StartError> {
    let (config, notes) = load(options)?;
    server::run(config, &notes).map(|()| ExitCode::SUCCESS)
}

fn config(command: ConfigCommand) -> Result<ExitCode, StartError> {
    let text = match command {
        ConfigCommand::List { filter, output } => {
            let keys = list::Keys::matching(filter.as_deref());
            match output {
                Output::Table => keys.table(io::stdout().is_terminal(), filter.is_some()),
                Output::Json => keys.json(),
                Output::Markdown => keys.markdown(),
            }
        }
        ConfigCommand::Show { options, all, output } => {
            let (config, notes) = load(&options)?;
            for note in notes {
                eprintln!("corelane: {note}");
            }
            match output {
                ShowOutput::Table => show::table(config.settings(), all),
                ShowOutput::Json => show::json(config.settings(), all),
            }
        }
        ConfigCommand::Profiles => profiles::markdown(),
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// Prints a whole text. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn load(options: &Options) -> Result<(BrokerConfig, Vec<ConfigNote>), StartError> {
    let file = options.config.as_deref().map(read_file).transpose()?;
    let mut sets = options.set.clone();
    if let Some(directory) = &options.data_dir {
        sets.push(format!("log.dirs={directory}"));
    }
    let (settings, notes) = Settings::load(&Sources { profile: options.profile.clone(), file, sets })?;
    Ok((BrokerConfig::new(settings, &server::machine())?, notes))
}

/// The name of a file, as messages show it, and its text.
fn read_file(path: &Path) -> Result<(String, String), StartError> {
    // No configuration comes near this; a file that is larger was not meant.
    const BYTES_MAX: u64 = 1024 * 1024;
    let unreadable = |error| StartError::ConfigFile { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {BYTES_MAX} bytes"));
        return Err(unreadable(error));
    }
    // Java reads properties as Latin-1, in which every byte is a character; most people write UTF-8.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect::<String>());
    Ok((path.display().to_string(), text))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).expect("it parses");
        let bare = parse("corelane --set a=b --profile latency -s c=d");
        assert!(bare.command.is_none());
        assert_eq!((bare.options.set.len(), bare.options.profile.as_deref()), (2, Some("latency")));
        let Some(Command::Serve(options)) = parse("corelane serve --set a=b --data-dir /x").command else {
            panic!("serve is a command")
        };
        assert_eq!((options.set.len(), options.data_dir.as_deref()), (1, Some("/x")));
        // Options before a command would be lost silently.
        assert!(Cli::try_parse_from(["corelane", "--set", "a=b", "serve"]).is_err());
    }

    #[test]
    fn a_directory_is_short_for_log_dirs() {
        let options = Options { data_dir: Some("/data".to_owned()), ..Options::default() };
        let (config, _) = load(&options).expect("it is valid");
        assert_eq!(config.directory, PathBuf::from("/data"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let options = Options { config: Some(PathBuf::from("/nonexistent/x.toml")), ..Options::default() };
        let error = load(&options).expect_err("there is no such file");
        assert_eq!(error.exit_code(), 66);
        assert!(error.to_string().contains("/nonexistent/x.toml"));
    }

    #[test]
    fn tuning_readme_is_what_config_profiles_prints() {
        let readme = include_str!("../../tuning/README.md");
        assert!(readme == profiles::markdown(), "run: cargo run -- config profiles > tuning/README.md");
    }
}
