//! What a command says on stderr while it works: phases, table lines, progress.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::args::ProgressArg;
use super::shared::no_effect;
use crate::Result;
use crate::report::text::plain;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// When progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One line that moves.
    Moving,
    /// A plain line every ten seconds.
    Plain,
    /// Nothing.
    Off,
}

const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// The voice of a run.
#[derive(Clone)]
pub struct Talk {
    quiet: bool,
    progress: Progress,
    bar: ProgressBar,
    last_plain: Instant,
}

impl Talk {
    /// `quiet` leaves only errors; `progress` says how the moving line is shown.
    pub fn new(quiet: bool, progress: Progress) -> Self {
        let bar = if !quiet && progress == Progress::Moving {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(
            ProgressStyle::with_template("  {spinner} {msg}").unwrap_or(ProgressStyle::default_spinner()),
        );
        Talk { quiet, progress, bar, last_plain: Instant::now() }
    }

    /// A phase: its name in a column of eight, then what there is to say.
    pub fn phase(&self, name: &str, text: &str) {
        self.line(&format!("{name:>8}  {text}"));
    }

    /// A line as it is, but for what steers a terminal: names from files are in it.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            // The bar must stay below; a closed stderr is no reason to stop working.
            self.bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{}", plain(text));
            });
        }
    }

    /// The moving line, or a plain one where enough time has passed.
    pub fn progress(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        match self.progress {
            Progress::Off => {}
            Progress::Moving => {
                self.bar.set_message(plain(text).into_owned());
                self.bar.tick();
            }
            Progress::Plain => {
                if self.last_plain.elapsed() >= PLAIN_EVERY {
                    self.last_plain = Instant::now();
                    self.line(&format!("          {text}"));
                }
            }
        }
    }

    /// Takes the moving line away.
    pub fn clear_progress(&self) {
        self.bar.finish_and_clear();
    }
}

/// How progress is shown where the user did not say.
pub fn automatic_progress() -> Progress {
    if std::io::stderr().is_terminal() { Progress::Moving } else { Progress::Plain }
}

/// How progress is shown.
///
/// # Errors
/// [`crate::Error::NoEffect`] where a run that says nothing is told how.
pub fn progress_of(asked: ProgressArg, quiet: bool) -> Result<Progress> {
    if quiet {
        no_effect(asked != ProgressArg::Auto, "--progress", "--quiet", "leave one of them out")?;
    }
    Ok(match asked {
        ProgressArg::Auto => automatic_progress(),
        ProgressArg::Always => Progress::Moving,
        ProgressArg::Never => Progress::Off,
    })
}
