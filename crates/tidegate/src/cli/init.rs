//! `init`: the files of an example, ready for the stand. Nothing that exists is overwritten.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::show::{note, say};
use super::{Ended, Exit, Failed};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Which example: telecom
    #[arg(value_parser = ["telecom"])]
    example: String,
    /// Where to; a folder named after the example if absent
    folder: Option<PathBuf>,
}

const TELECOM: &[(&str, &str)] = &[
    ("participants.yaml", include_str!("../../../../examples/telecom/participants.yaml")),
    ("top-up.yaml", include_str!("../../../../examples/telecom/top-up.yaml")),
    ("tariff-change.yaml", include_str!("../../../../examples/telecom/tariff-change.yaml")),
    ("number-port-out.yaml", include_str!("../../../../examples/telecom/number-port-out.yaml")),
    ("top-up.test.yaml", include_str!("../../../../examples/telecom/top-up.test.yaml")),
    ("tariff-change.test.yaml", include_str!("../../../../examples/telecom/tariff-change.test.yaml")),
    ("number-port-out.test.yaml", include_str!("../../../../examples/telecom/number-port-out.test.yaml")),
];

pub(super) fn init(args: &InitArgs) -> Ended {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(&args.example));
    let failed =
        |what: &std::path::Path, why: &std::io::Error| Failed::new(Exit::Refused, format!("{}: {why}", what.display()));
    for (name, _) in TELECOM {
        let path = folder.join(name);
        if path.exists() {
            return Err(Failed::new(Exit::Refused, format!("{} exists; nothing was written", path.display())));
        }
    }
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
    for (name, text) in TELECOM {
        let path = folder.join(name);
        let mut file = std::fs::File::create_new(&path).map_err(|e| failed(&path, &e))?;
        file.write_all(text.as_bytes()).map_err(|e| failed(&path, &e))?;
    }
    let shown = folder.display();
    say(&format!(
        "wrote {shown}/participants.yaml (addresses of the stand)  top-up.yaml  tariff-change.yaml  number-port-out.yaml  and a .test.yaml for each of the three"
    ));
    note(&format!("next: tidegate stand {shown}/participants.yaml"));
    note(&format!("or first, without any server: tidegate test {shown}"));
    Ok(Exit::Done)
}
