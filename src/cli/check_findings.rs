//! What `cbfit check` finds: errors and warnings with code, place, number and a way out.

use serde::Serialize;

use crate::catalogue;
use crate::report::text::printable;
use crate::{Error, Result};

/// Names listed in a message.
const SHOWN: usize = 6;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It ends a run.
    Error,
    /// A run goes on, and its results may mislead.
    Warning,
}

/// Something that is wrong or doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    severity: Severity,
    code: &'static str,
    place: Option<String>,
    count: Option<u64>,
    message: String,
    help: String,
}

/// All that was found so far, in the order in which it was.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Notes an error that would have ended a run.
    pub fn error(&mut self, error: &Error) {
        self.0.push(Finding {
            severity: Severity::Error,
            code: error.code(),
            place: error.place(),
            count: error.count(),
            message: error.to_string(),
            help: error.help(),
        });
    }

    /// The value, or `None` where it is an error, which is noted.
    pub fn keep<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.error(&error)).ok()
    }

    /// Notes the warning of a code of [`catalogue::WARNINGS`] where `count` is not 0.
    pub fn warn(&mut self, code: &'static str, place: &str, count: u64, message: impl FnOnce() -> String) {
        if count > 0 {
            self.0.push(Finding {
                severity: Severity::Warning,
                code,
                place: Some(place.to_owned()),
                count: Some(count),
                message: format!("{place}: {}", message()),
                help: catalogue::find(code).map_or("", |entry| entry.remedy).to_owned(),
            });
        }
    }

    /// Findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// All findings.
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Two lines for each finding.
    pub fn lines(&self) -> Vec<String> {
        let lines = |finding: &Finding| {
            let Finding { severity, code, message, help, .. } = finding;
            let name = if *severity == Severity::Error { "Error" } else { "Warning" };
            [format!("{name:<8}  {code:<5}  {message}"), format!("{:17}help: {help}", "")]
        };
        self.0.iter().flat_map(lines).collect()
    }
}

/// The first of `names`, with the number of those left out.
pub fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let shown: Vec<_> = names.by_ref().take(SHOWN).map(printable).collect();
    let more = names.count();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_carry_code_place_count_and_help() {
        let mut findings = Findings::default();
        let error = Error::OneClass { file: "a.csv".into(), class: "owl".into(), rows: 2 };
        assert_eq!(findings.keep::<()>(Err(error)), None);
        findings.warn("W05", "a.csv", 3, || "3 rows".into());
        findings.warn("W06", "a.csv", 0, || unreachable!());
        assert_eq!((findings.count(Severity::Error), findings.count(Severity::Warning)), (1, 1));
        let lines = findings.lines();
        assert!(lines[0].starts_with("Error     E0307  a.csv: only one class"), "{}", lines[0]);
        assert_eq!(lines[2], "Warning   W05    a.csv: 3 rows");
        assert!(lines[3].contains("help: Remove the copies"), "{}", lines[3]);
        assert_eq!(some_of(["a\n", "b"].into_iter()), "a\\n, b");
        assert_eq!(some_of(["a"; 9].into_iter()), "a, a, a, a, a, a and 3 more");
    }

    #[test]
    fn every_warning_that_is_given_is_in_the_catalogue() {
        // The last one is that of runs.
        let sources =
            [include_str!("check.rs"), include_str!("check_rows.rs"), include_str!("shared.rs")].concat();
        let given = |code: &str| sources.contains(&format!("\"{code}\""));
        assert!(catalogue::WARNINGS.iter().all(|entry| given(entry.code)));
        let codes = sources.matches("\"W").count();
        assert!(codes >= catalogue::WARNINGS.len());
    }
}
