//! Definition files on disk: finding them, and `check`, which needs no server.

use std::path::{Path, PathBuf};

use clap::Args;
use definition::{Known, SourceFile};

use super::show::{note, say};
use super::{Ended, Exit, Failed, Global};

const FILES_MAX: usize = 1_000;
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Files, or folders whose .yaml and .yml files are taken
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(super) fn check(args: &CheckArgs, global: &Global) -> Ended {
    let files = read(&args.paths)?;
    let checked = definition::check(&files, &Known::default());
    if global.is_json() {
        let document = serde_json::json!({
            "files": files.len(),
            "errors": checked.errors(),
            "warnings": checked.warnings(),
            "diagnostics": checked.diagnostics,
        });
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        for diagnostic in &checked.diagnostics {
            note(&diagnostic.render());
        }
        for line in checked.summary_lines() {
            if !checked.has_errors() {
                say(&line);
            }
        }
        match checked.has_errors() {
            true => note(&checked.closing_line()),
            false => say(&checked.closing_line()),
        }
    }
    Ok(if checked.has_errors() { Exit::Refused } else { Exit::Done })
}

/// The files that were named, and those of the folders that were, in order of their paths.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failed> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|e| unreadable(path, &e))?;
            let mut inside: Vec<PathBuf> = entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
                .filter(|path| !is_test_file(path))
                .collect();
            if inside.is_empty() {
                return Err(Failed::new(Exit::Refused, format!("{} has no .yaml file", path.display())));
            }
            inside.sort();
            // Participants first, as people read them.
            inside.sort_by_key(|path| path.file_stem().is_none_or(|stem| stem != "participants"));
            for path in inside {
                files.push(read_one(&path)?);
            }
        } else {
            files.push(read_one(path)?);
        }
        if files.len() > FILES_MAX {
            return Err(Failed::new(Exit::Refused, format!("more than {FILES_MAX} files at once")));
        }
    }
    Ok(files)
}

/// `top-up.test.yaml`: cases of a definition, which `test` runs; no definition, so a folder's are passed over here.
pub(super) fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

pub(super) fn read_one(path: &Path) -> Result<SourceFile, Failed> {
    let length = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failed::new(
            Exit::Refused,
            format!("{} has {length} bytes; a definition file has at most 4 MiB", path.display()),
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    Ok(SourceFile::from_bytes(path.display().to_string(), &bytes))
}

fn unreadable(path: &Path, why: &std::io::Error) -> Failed {
    Failed::new(Exit::Refused, format!("{}: {why}", path.display()))
}
