//! Applying files, and the definitions in force: their text, their versions, pausing them.

mod schema;

use http::StatusCode;
use hyper::body::Incoming;
use runtime::catalog::{ApplyRefused, DefinitionReport, PauseReport, VersionReport};
use runtime::{Accepted, Applied, Change, SourceText};

use super::Ask;
use crate::body::{Body, Response, json};
use crate::json::Object;
use crate::problem::{At, Code, Problem};
use crate::request::{Empty, Fields, Query};

const FILES_MAX: usize = 1_000;

/// All files or none. With `dry_run` the server's own `check`.
pub(super) async fn apply(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    let dry_run = Query::of(ask.parts.uri.query(), &["dry_run"])?.flag("dry_run")?;
    let map = ask.object(body, ask.front.settings.apply_bytes_max, Empty::IsAnError).await?;
    let files = files(&map)?;
    let who = ask.actor()?;
    match ask.front.engine.apply(files, dry_run, &who).await {
        Ok(applied) => Ok(json(StatusCode::OK, render(&applied, dry_run))),
        Err(refused) => Ok(refusal(refused)),
    }
}

/// The texts that a body carries.
pub(crate) fn files(map: &model::Map) -> Result<Vec<SourceText>, Problem> {
    let fields = Fields::of(map, "", &["files"])?;
    let list = match fields.value("files") {
        Some(model::Value::List(list)) if list.len() > FILES_MAX => {
            return Err(Problem::field(
                "/files",
                format!("has {} files, at most {FILES_MAX} are applied at once", list.len()),
            ));
        }
        Some(model::Value::List(list)) if !list.is_empty() => list,
        Some(model::Value::List(_)) => return Err(Problem::field("/files", "is empty")),
        Some(other) => {
            return Err(Problem::field("/files", format!("is of type {}, it must be an array", other.kind())));
        }
        None => return Err(Problem::field("/files", "is missing")),
    };
    let mut files = Vec::with_capacity(list.len());
    for (place, item) in list.iter().enumerate() {
        let pointer = format!("/files/{place}");
        let Some(map) = item.as_map() else {
            return Err(Problem::field(pointer, "must be {\"path\": …, \"text\": …}"));
        };
        let fields = Fields::of(map, &pointer, &["path", "text"])?;
        let text = fields.maybe_text("text")?.ok_or_else(|| Problem::field(fields.pointer("text"), "is missing"))?;
        files.push(SourceText { path: fields.text("path")?.to_owned(), text: text.to_owned() });
    }
    Ok(files)
}

fn render(applied: &Applied, dry_run: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut o = Object::begin(&mut out);
    o.flag("dry_run", dry_run);
    o.list("objects", &applied.objects, |object, out| {
        let mut o = Object::begin(out);
        o.word("kind", object.kind).text("name", &object.name);
        o.maybe_number("version", object.version.map(u64::from));
        let change = match object.change {
            Change::Created => "created",
            Change::Changed => "changed",
            Change::Unchanged => "unchanged",
        };
        o.word("change", change).flag("active", object.active).end();
    });
    o.list("diagnostics", &applied.diagnostics, append_serialized).end();
    out
}

/// The shape of a diagnostic is the checker's own, the same as `tidegate check -o json`.
fn append_serialized(item: &impl serde::Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, item).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

fn refusal(refused: ApplyRefused) -> Response {
    match refused {
        ApplyRefused::Invalid(diagnostics) => {
            let errors = diagnostics.iter().filter(|d| d.severity.as_str() == "error").count();
            let words = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            let mut problem = Problem::new(Code::FilesInvalid, format!("{words}. Nothing was applied."));
            let mut text = String::new();
            for d in &diagnostics {
                let (path, code) = (d.path.clone(), d.code.as_str().to_owned());
                let at = At::File { path, line: d.line as u64, column: d.column as u64, code };
                problem = problem.at(at, d.message.clone());
                text.push_str(&d.render());
                text.push('\n');
            }
            // The same document with two members more: the findings as data, and as `check` prints them.
            let mut document = problem.render();
            document.pop();
            document.extend_from_slice(b",\"diagnostics\":[");
            for (place, d) in diagnostics.iter().enumerate() {
                if place > 0 {
                    document.push(b',');
                }
                append_serialized(d, &mut document);
            }
            document.extend_from_slice(b"],\"text\":");
            model::json::write_text(&text, &mut document);
            document.push(b'}');
            let mut response = problem.respond();
            *response.body_mut() = Body::full(document);
            response
        }
        ApplyRefused::Conflict(conflicts) => {
            let mut problem = Problem::new(Code::VersionExists, "nothing was applied");
            for conflict in conflicts {
                let what = if conflict.hint.is_empty() {
                    conflict.what
                } else {
                    format!("{}; {}", conflict.what, conflict.hint)
                };
                problem = problem.at(At::Object(format!("{}/{}", conflict.kind, conflict.name)), what);
            }
            problem.respond()
        }
        ApplyRefused::Unavailable(why) => {
            Problem::new(Code::Unavailable, why).retry(std::time::Duration::from_secs(1), Accepted::No).respond()
        }
    }
}

pub(super) fn list(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let mut out = Vec::with_capacity(512);
    let mut o = Object::begin(&mut out);
    o.list("items", &ask.front.engine.definitions(), |report, out| definition(report, Text::Left, out)).end();
    Ok(json(StatusCode::OK, out))
}

pub(super) fn one(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let report = report(ask)?;
    let mut out = Vec::with_capacity(4_096);
    definition(&report, Text::Shown, &mut out);
    Ok(json(StatusCode::OK, out))
}

pub(super) fn version(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let report = report(ask)?;
    let wanted = ask.params[1].parse::<u32>().map_err(|_| {
        let place = At::Parameter("version".to_owned());
        let why = format!("\"{}\" is not a version: a whole number from 1", ask.params[1]);
        Problem::new(Code::BadRequest, why.clone()).at(place, why)
    })?;
    let Some(found) = report.versions.iter().find(|v| v.version == wanted) else {
        return Err(Problem::new(
            Code::DefinitionNotFound,
            format!("there is no definition \"{}\" version {wanted}", report.name),
        ));
    };
    let mut out = Vec::with_capacity(4_096);
    version_object(&report, found, Text::Shown, &mut out);
    Ok(json(StatusCode::OK, out))
}

fn report(ask: &Ask<'_>) -> Result<DefinitionReport, Problem> {
    let name = ask.param(0)?;
    ask.front.engine.definition(&name).ok_or_else(|| {
        Problem::new(Code::DefinitionNotFound, format!("there is no definition \"{name}\""))
            .hint("tidegate get definitions")
    })
}

/// Whether the file's text is part of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Left,
    Shown,
}

fn definition(report: &DefinitionReport, text: Text, out: &mut Vec<u8>) {
    let mut o = Object::begin(out);
    o.text("name", &report.name).number("active_version", u64::from(report.active_version));
    o.number("running", report.versions.iter().map(|v| v.running).sum());
    paused(report.paused.as_ref(), "paused", &mut o);
    o.list("versions", &report.versions, |v, out| version_object(report, v, text, out)).end();
}

fn version_object(report: &DefinitionReport, v: &VersionReport, text: Text, out: &mut Vec<u8>) {
    let mut o = Object::begin(out);
    o.text("name", &report.name).number("version", u64::from(v.version));
    o.flag("active", v.version == report.active_version).number("running", v.running);
    o.maybe_text("description", v.plan.description.as_deref()).maybe_text("owner", v.plan.owner.as_deref());
    if text == Text::Shown {
        o.value("input", &schema::of(&v.plan.input)).text("text", &v.text);
    }
    o.end();
}

/// Null, or why, by whom and since when.
pub(super) fn paused(pause: Option<&PauseReport>, name: &str, o: &mut Object<'_>) {
    match pause {
        None => drop(o.null(name)),
        Some(pause) => {
            let mut p = Object::begin(o.name(name));
            p.text("reason", &pause.reason).text("who", &pause.who).time("since", pause.since).end();
        }
    }
}

/// Makes an older or newer version the one that submissions without a version begin with.
pub(super) async fn activate(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    let fields = Fields::of(&map, "", &["version"])?;
    let version = fields.maybe_u32("version")?.ok_or_else(|| Problem::field("/version", "is missing"))?;
    let report = ask.front.engine.activate(&name, version, &ask.actor()?).await?;
    Ok(shown(&report))
}

pub(super) async fn pause(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    let reason = Fields::of(&map, "", &["reason"])?.reason()?.to_owned();
    let report = ask.front.engine.pause_definition(&name, Some(reason), &ask.actor()?).await?;
    Ok(shown(&report))
}

pub(super) async fn resume(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    Fields::of(&map, "", &["reason"])?.maybe_reason()?;
    let report = ask.front.engine.pause_definition(&name, None, &ask.actor()?).await?;
    Ok(shown(&report))
}

fn shown(report: &DefinitionReport) -> Response {
    let mut out = Vec::with_capacity(512);
    definition(report, Text::Left, &mut out);
    json(StatusCode::OK, out)
}
