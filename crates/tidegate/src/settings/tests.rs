//! Settings from every source, and what is said when one is wrong.

use super::*;

fn resolved(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Resolved, Wrong> {
    let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let lookup = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    resolve(&Said { file: Some(("t.toml", file)), environment: &lookup, flags: &flags })
}

fn shown(result: &Result<Resolved, Wrong>, name: &str) -> String {
    match result {
        Ok(all) => {
            all.0.iter().find(|v| v.name == name).map(|v| format!("{} from {}", v.value, v.source)).unwrap_or_default()
        }
        Err(wrong) => wrong.to_string(),
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = "# numbers\nworkers = 3\ndrain = \"5s\"\npartitions = 8\n";
    let all = resolved(file, &[("TIDEGATE_WORKERS", "4"), ("TIDEGATE_DRAIN", "6s")], &[("workers", "5")]);
    assert_eq!(shown(&all, "workers"), "5 from --workers");
    assert_eq!(shown(&all, "drain"), "6s from TIDEGATE_DRAIN");
    assert_eq!(shown(&all, "partitions"), "8 from t.toml:4");
    assert_eq!(shown(&all, "listen"), "127.0.0.1:7410 from default");
}

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    for (file, words) in [
        ("workers = 0", "t.toml:1: workers is \"0\", it must be a whole number from 1 to 1024"),
        ("\n\nmemory_max = \"lots\"", "t.toml:3: memory_max is \"lots\", it must be a size"),
        ("wrokers = 2", "t.toml:1: \"wrokers\" is not a setting; settings are data, listen"),
        ("workers 2", "t.toml:1: not TOML"),
        ("workers = [1]", "t.toml:1: workers must be a text or a whole number"),
        ("drain = 10", "t.toml:1: drain is \"10\", it must be a duration"),
        ("listen = \"here\"", "t.toml:1: listen is \"here\", it must be an address"),
    ] {
        let result = resolved(file, &[], &[]);
        assert!(result.is_err() && shown(&result, "").contains(words), "{file}: {}", shown(&result, "workers"));
    }
    let result = resolved("", &[("TIDEGATE_LOG_FORMAT", "xml")], &[]);
    assert_eq!(shown(&result, ""), "TIDEGATE_LOG_FORMAT: log_format is \"xml\", it must be one of text, json");
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let built = |flags: &[(&'static str, &str)]| match resolved("", &[], flags).and_then(|all| all.build().map(drop)) {
        Ok(()) => "fine".to_owned(),
        Err(wrong) => wrong.to_string(),
    };
    assert_eq!(built(&[]), "fine");
    assert!(
        built(&[("listen", "0.0.0.0:7410")]).starts_with("--listen: listen is \"0.0.0.0:7410\", which is not loopback")
    );
    assert!(
        built(&[("history_retention", "8d"), ("idempotency_window", "9d")]).contains("shorter than idempotency_window")
    );
    assert!(built(&[("idempotency_window", "1d")]).contains("at least 7d"));
}

#[test]
fn the_defaults_are_the_components_own() {
    let Ok(built) = resolved("", &[], &[]).and_then(|all| all.build()) else { panic!("defaults are fine") };
    let own = runtime::Settings::new("./data");
    assert_eq!(built.engine.checkpoint_every_bytes, own.checkpoint_every_bytes);
    assert_eq!(built.engine.memory_bytes_max, own.memory_bytes_max);
    assert_eq!(built.engine.inbox_max, own.inbox_max);
    assert_eq!(built.engine.idempotency_window, own.idempotency_window);
    assert_eq!(built.engine.history_retention, own.history_retention);
    assert_eq!(built.engine.journal_disk_bytes_max, own.journal_disk_bytes_max);
    assert_eq!((built.engine.partitions, built.engine.drain), (own.partitions, own.drain));
    assert_eq!(built.listen.body_bytes_max, 1 << 20);
}
