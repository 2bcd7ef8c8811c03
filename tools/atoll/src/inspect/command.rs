//! `atoll inspect`: flags and what is printed. Exit code 2 when nothing of the sort is there or nobody can say.

use std::io::Write;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::question::{Asked, Unanswered, answer};
use super::table::draw;
use crate::failure::Failure;
use crate::source::{self, Source};
use crate::storage;

/// What was asked.
#[derive(Debug)]
pub(crate) struct Options {
    source: Source,
    asked: Asked,
    json: bool,
}

/// The subcommand.
pub(crate) fn command() -> Command {
    let number = |name, shape, help| Arg::new(name).value_name(shape).required(true).help(help);
    let who = |arg: Arg| {
        arg.value_name("NAME|ID").required(true).help("a player's name, or number in 16 hex digits")
    };
    let paged = |command: Command| {
        let limit = Arg::new("limit").long("limit").value_name("N").value_parser(value_parser!(usize));
        command
            .arg(limit.help("entries of a page, up to 1000 [default: 50]"))
            .arg(Arg::new("after").long("after").value_name("PLACE").help("go on where the last page ended"))
    };
    let questions = [
        paged(Command::new("player").about("What a player carries, where it is, what it sent"))
            .arg(who(Arg::new("player"))),
        paged(Command::new("chunk").about("What stands, lies and is under way in a chunk"))
            .arg(number("island", "ISLAND", "the island").value_parser(value_parser!(u32)))
            .arg(number("x", "X", "chunks east").value_parser(value_parser!(i16)))
            .arg(number("y", "Y", "chunks north").value_parser(value_parser!(i16))),
        paged(Command::new("island").about("Chunks of an island on which something was left"))
            .arg(number("island", "ISLAND", "the island").value_parser(value_parser!(u32))),
        paged(Command::new("estates").about("The estates of a holder"))
            .arg(who(Arg::new("player").long("holder"))),
        paged(Command::new("pending").about("Transfers under way")),
    ];
    let inspect = Command::new("inspect").about("Look at what the store has; changes nothing");
    questions.into_iter().fold(inspect.subcommand_required(true), |inspect, question| {
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("print JSON");
        inspect.subcommand(source::flags(question.arg(json), true))
    })
}

/// What the matches mean.
pub(crate) fn options(matches: &ArgMatches) -> Options {
    let (what, rest) =
        matches.subcommand().map_or_else(Default::default, |(what, rest)| (what, rest.clone()));
    let asked = Asked {
        what: what.to_owned(),
        player: rest.try_get_one::<String>("player").ok().flatten().cloned(),
        island: rest.try_get_one::<u32>("island").ok().flatten().copied(),
        x: rest.try_get_one::<i16>("x").ok().flatten().copied(),
        y: rest.try_get_one::<i16>("y").ok().flatten().copied(),
        after: rest.try_get_one::<String>("after").ok().flatten().cloned(),
        limit: rest.try_get_one::<usize>("limit").ok().flatten().copied(),
    };
    Options { source: source::read(&rest), asked, json: rest.get_flag("json") }
}

/// Asks and prints.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let answer = match options.source.http() {
        Some(url) => over_http(url, &options.asked)?,
        None => source::run(here(options))?,
    };
    let text = if options.json {
        serde_json::to_string_pretty(&answer).map_err(Failure::setup)? + "\n"
    } else {
        draw(&answer)
    };
    // A closed stdout leaves nobody to tell.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

async fn here(options: &Options) -> Result<Value, Failure> {
    let opened = options.source.open().await?;
    let answered = answer(&opened.store, &options.asked).await;
    storage::close(opened.store).await;
    answered.map_err(|error: Unanswered| Failure::setup(error))
}

fn over_http(url: &str, asked: &Asked) -> Result<Value, Failure> {
    let mut path = format!("/api/inspect?what={}", escaped(&asked.what));
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    for (name, value) in [
        ("player", asked.player.clone()),
        ("island", number(asked.island.map(i64::from))),
        ("x", number(asked.x.map(i64::from))),
        ("y", number(asked.y.map(i64::from))),
        ("after", asked.after.clone()),
        ("limit", asked.limit.map(|limit| limit.to_string())),
    ] {
        if let Some(value) = value {
            path += &format!("&{name}={}", escaped(&value));
        }
    }
    match source::ask(url, &path)? {
        (200, body) => serde_json::from_str(&body)
            .map_err(|error| Failure::setup(format!("--http {url}: not an answer: {error}"))),
        (_, why) => Err(Failure::setup(why.trim())),
    }
}

/// A text as part of a URL's query.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
