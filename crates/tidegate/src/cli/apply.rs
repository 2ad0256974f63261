//! `apply`: files to the server, all or nothing.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::show::{note, say, text};
use super::{Ended, Exit, Global, files, problem};

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// A file or a folder; may be said several times
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Only let the server check
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn apply(args: &ApplyArgs, global: &Global) -> Ended {
    let files: Vec<Value> =
        files::read(&args.files)?.into_iter().map(|file| json!({"path": file.path, "text": file.text})).collect();
    let path = if args.dry_run { "/v1/apply?dry_run=true" } else { "/v1/apply" };
    let reply = global.client()?.post(path, &json!({ "files": files }).to_string())?;
    let document = reply.json();
    if global.is_json() && (reply.is_good() || reply.status == 422 || reply.status == 409) {
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
        return Ok(if reply.is_good() { Exit::Done } else { Exit::Refused });
    }
    match (reply.status, text(&document, "type")) {
        (200, _) => {
            for line in lines(&document) {
                say(&line);
            }
            for finding in document["diagnostics"].as_array().into_iter().flatten() {
                let (path, line, column) = (text(finding, "path"), &finding["line"], &finding["column"]);
                let (code, message) = (text(finding, "code"), text(finding, "message"));
                note(&format!("{path}:{line}:{column}: warning[{code}]: {message}"));
            }
            if args.dry_run {
                note("dry run: nothing was applied");
            }
            Ok(Exit::Done)
        }
        (422, "/problems/files-invalid") => {
            note(text(&document, "text").trim_end_matches('\n'));
            note(&format!("\n{} files, {}", files.len(), text(&document, "detail")));
            Ok(Exit::Refused)
        }
        (409, "/problems/version-exists") => {
            for conflict in document["errors"].as_array().into_iter().flatten() {
                let (object, detail) = (text(conflict, "object"), text(conflict, "detail"));
                let (what, hint) = detail.rsplit_once("; ").unwrap_or((detail, ""));
                note(&format!("{object:20} refused: {what}"));
                if !hint.is_empty() {
                    note(&format!("{:20} {hint}", ""));
                }
            }
            note("nothing was applied");
            Ok(Exit::Refused)
        }
        _ => Err(problem(&reply)),
    }
}

/// `definition/top-up             version 1 created, active`.
fn lines(document: &Value) -> Vec<String> {
    let mut objects: Vec<&Value> = document["objects"].as_array().into_iter().flatten().collect();
    // Participants first, each kind by name.
    objects.sort_by_key(|o| (text(o, "kind") != "participant", text(o, "name").to_owned()));
    let name = |o: &Value| format!("{}/{}", text(o, "kind"), text(o, "name"));
    let width = objects.iter().map(|o| name(o).chars().count()).max().unwrap_or(0) + 4;
    objects
        .into_iter()
        .map(|o| {
            let change = text(o, "change");
            let what = match o["version"].as_u64() {
                None => change.to_owned(),
                Some(version) if o["active"] == true => format!("version {version} {change}, active"),
                Some(version) => format!("version {version} {change}, not active"),
            };
            format!("{:width$}{what}", name(o))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_listed_in_columns() {
        let document = json!({"objects": [
            {"kind": "definition", "name": "top-up", "version": 1, "change": "created", "active": true},
            {"kind": "participant", "name": "billing", "version": null, "change": "unchanged", "active": true},
        ]});
        assert_eq!(
            lines(&document),
            ["participant/billing    unchanged", "definition/top-up      version 1 created, active"]
        );
    }
}
