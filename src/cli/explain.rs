//! `cbfit explain`: what the code of an error or a warning means, and how to mend it.

use super::args::ExplainArgs;
use super::print;
use crate::catalogue::{CATALOGUE, EXIT_STATUS, Entry, WARNINGS, find, markdown};
use crate::error::nearest;
use crate::{Error, Result};

/// Runs the command.
///
/// # Errors
/// [`Error::BadValue`] for a code that is none.
pub fn run(args: &ExplainArgs) -> Result<u8> {
    let text = match &args.code {
        Some(code) => explained(find(code).ok_or_else(|| unknown(code))?),
        None if args.markdown => markdown(),
        None => listed(),
    };
    print(&text)?;
    Ok(0)
}

fn explained(entry: &Entry) -> String {
    let status = entry.exit_status();
    let meaning = EXIT_STATUS.iter().find(|(known, _)| *known == status).map_or("", |(_, meaning)| meaning);
    let Entry { code, title, cause, remedy } = entry;
    format!("{code}: {title}\n\n{cause}\n\n help: {remedy}\n exit: {status}, {meaning}\n")
}

fn listed() -> String {
    CATALOGUE.iter().chain(WARNINGS).map(|entry| format!("{}  {}\n", entry.code, entry.title)).collect()
}

fn unknown(code: &str) -> Error {
    let codes: Vec<String> = CATALOGUE.iter().chain(WARNINGS).map(|entry| entry.code.to_owned()).collect();
    let help = match nearest(code, &codes) {
        Some(near) => format!("did you mean {near}? cbfit explain lists all codes"),
        None => "cbfit explain lists all codes".into(),
    };
    Error::bad_value("explain", code, "is no code of an error", help)
}
