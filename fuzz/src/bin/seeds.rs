//! `seeds`: writes the corpora that the targets start from, out of the golden bytes, the examples and a fixed seed.
//!
//! Run it again when a format gains a version or a target changes what it takes; what it writes is committed.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::PartitionId;

/// Texts worth starting from.
const WORDS: &[&str] = &[
    "tx_01k8q3v6m2f9r4t7w0x5y8z1bc",
    "2026-11-23T02:00:00.125+01:00",
    "1970-01-01T00:00:00Z",
    "1500ms",
    "3660d",
    "-9223372036854775808",
    "18446744073709551615",
    "12.50e1",
    "1e400",
];

const EXPRESSIONS: &[&str] = &[
    "input.a + 1\0{\"a\":2}",
    "response.status == 200 && response.body.result == \"BLOCKED\"\0{\"result\":\"BLOCKED\"}",
    "input.list.map(x, x * 2).filter(y, y > 1)\0{\"list\":[1,2,3]}",
    "input.list.exists(x, x.startsWith('a')) ? size(input.list) : 0\0{\"list\":[\"ab\"]}",
    "has(input.a) && input.a.matches('^[1-9][0-9]{7,14}$')\0{\"a\":\"491701234567\"}",
    "{\"k\": [1, 2.5, null, true], 'u': string(input.n)}\0{\"n\":0.1}",
    "input.n / 3 - 7 % 2 * -1\0{\"n\":9223372036854775807}",
    "double(input.n) < 1e300 || int(input.t) in [1, 2]\0{\"n\":\"2.5\",\"t\":\"1\"}",
];

const REQUESTS: &[&str] = &[
    "wait=10s&until=end\0Idempotency-Key: k1\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\0{\"definition\":\"top-up\",\"input\":{\"a\":1},\"version\":2,\"timeout\":\"30s\",\"priority\":\"high\"}",
    "state=waiting&key=subscriber%2F49&began_after=2026-11-23T02:00:00Z&limit=10\0\0",
    "dry_run=true\0\0{\"files\":[{\"path\":\"a.yaml\",\"text\":\"kind: Saga\"}]}",
    "\0Idempotency-Key: \"k\\\"1\"\0{\"transaction\":\"tx_01k8q3v6m2f9r4t7w0x5y8z1bc\",\"signal\":\"go\",\"body\":{}}",
    "\0Tidegate-Actor: anna\0{\"direction\":\"call\",\"outcome\":\"done\",\"result\":{\"id\":\"7\"},\"reason\":\"seen\"}",
    "/v1/transactions/tx_1/steps/charge/resolve\0\0{\"reason\":\"because\"}",
];

const LINES: &[&str] = &[
    "ab{\"idempotency_key\":\"k1\",\"definition\":\"top-up\",\"input\":{}}\n\n{\"idempotency_key\":\"k2\",\"definition\":\"x\"}\nnot json",
    "\x01\x02a\nb\r\nc",
];

const ANSWERS: &[&str] = &[
    "\x64\x00\x07120\ntrace\0{\"id\":\"ch_1\",\"n\":0.1}",
    "\x2e\x01\x00\n\0{\"a\":1,\"a\":2}",
    "\x17\x05\x03Sun, 06 Nov 1994 08:49:37 GMT\n\0busy",
];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, name: &str, bytes: &[u8]| -> io::Result<()> {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    let texts: [(&str, &[&str]); 5] = [
        ("words", WORDS),
        ("expression", EXPRESSIONS),
        ("api_bodies", REQUESTS),
        ("api_lines", LINES),
        ("connector_answer", ANSWERS),
    ];
    for (target, list) in texts {
        for (place, text) in list.iter().enumerate() {
            write(target, &format!("{place:02}"), text.as_bytes())?;
        }
    }
    for text in EXPRESSIONS.iter().chain(REQUESTS) {
        if let Some(json) = text.rsplit('\0').next().filter(|json| !json.is_empty()) {
            write("json", &format!("{:08x}", crc32fast::hash(json.as_bytes())), json.as_bytes())?;
        }
    }
    let golden = root.join("../crates/wire/tests/golden");
    for (name, bytes) in hex(&golden.join("rows.hex"))? {
        write("wire_row", &name, &bytes)?;
    }
    for file in ["entries.hex", "moves.hex"] {
        for (name, bytes) in hex(&golden.join(file))? {
            let mut input = (9_u64 << 8).to_le_bytes().to_vec();
            input.extend_from_slice(&bytes);
            write("wire_entries", &name, &input)?;
            write("apply", &name, &bytes)?;
        }
    }
    checkpoint_and_plans(&root, &write)?;
    for (name, bytes) in stories() {
        for target in ["load", "journal_segments", "store_rows", "store_history", "store_catalog"] {
            write(target, &name, &bytes)?;
        }
    }
    Ok(())
}

type Write<'w> = dyn Fn(&str, &str, &[u8]) -> io::Result<()> + 'w;

fn checkpoint_and_plans(root: &Path, write: &Write<'_>) -> io::Result<()> {
    let mut files = Vec::new();
    for name in ["participants.yaml", "top-up.yaml", "tariff-change.yaml", "number-port-out.yaml"] {
        let text = fs::read_to_string(root.join("../examples/telecom").join(name))?;
        write("definition_files", name, text.as_bytes())?;
        files.push(definition::SourceFile { path: name.to_owned(), text });
    }
    let checked = definition::check(&files, &definition::Known::default());
    let mut partition = partition::Partition::new(PartitionId(5));
    let mut frame = Vec::new();
    for saga in &checked.sagas {
        let bytes = saga.plan.to_bytes();
        write("plan_stored", &saga.plan.name, &bytes)?;
        let hash = plan::Saga::hash_of(&bytes);
        partition.plans.add(hash, bytes.into()).map_err(|e| io::Error::other(e.to_string()))?;
        frame.clear();
        wire::checkpoint::write(&partition, &mut frame);
        write("wire_checkpoint", &saga.plan.name, &frame)?;
    }
    for one in &checked.participants {
        write("plan_stored", &one.participant.name, &one.participant.to_bytes())?;
    }
    Ok(())
}

/// Lines of `name: hex`.
fn hex(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let text = fs::read_to_string(path)?;
    let pair = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    Ok(lines.map(|(name, hex)| (name.replace(' ', "-"), hex.as_bytes().chunks(2).filter_map(pair).collect())).collect())
}

/// Choices for the targets that are told a story: small numbers, so that it goes on for long.
fn stories() -> Vec<(String, Vec<u8>)> {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let story = |length: usize| (0..length).map(|_| next()).collect();
    [64, 200, 600, 1_500].into_iter().zip([64, 200, 600, 1_500].map(story)).map(|(n, s)| (format!("{n}"), s)).collect()
}
