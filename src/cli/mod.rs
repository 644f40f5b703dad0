//! The command line: raw flags, a validated plan, one file a subcommand.
