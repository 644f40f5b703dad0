//! `cbfit completions` and `cbfit man`: the table of flags in the forms of shells and of `man`.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::print;
use crate::output::AtomicFile;
use crate::{Error, Result};

/// Prints a completion script.
///
/// # Errors
/// [`Error::Io`].
pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cbfit", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Writes a page for cbfit and one for each of its commands.
///
/// # Errors
/// [`Error::Io`].
pub fn man(args: &ManArgs) -> Result<u8> {
    fs::create_dir_all(&args.folder).map_err(|error| Error::io(&args.folder, "create", error))?;
    let mut root = Cli::command();
    // Propagates what all commands share.
    root.build();
    let commands: Vec<clap::Command> =
        root.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    write_page(&args.folder, "cbfit", root)?;
    for command in commands {
        let name = format!("cbfit-{}", command.get_name());
        write_page(&args.folder, &name, command)?;
    }
    Ok(0)
}

fn write_page(folder: &str, name: &str, command: clap::Command) -> Result<()> {
    let path = Path::new(folder).join(format!("{name}.1")).display().to_string();
    let failed = |error| Error::io(&path, "write", error);
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    let mut file = AtomicFile::create(&path)?;
    file.write_all(&page).map_err(failed)?;
    file.commit()
}
