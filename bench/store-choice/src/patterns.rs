//! The two patterns, once on our segments and once on fjall.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use store::history::{History, Record, Refusal};
use store::statelog::StateLog;

use crate::measure::{Clock, Figures};

const RECORDS: u64 = 2_000_000;
const GROUP: u64 = 50;
const DURABLE_EVERY: u64 = 500_000;
const ROW_BYTES: usize = 400;

const ROWS: u64 = 500_000;
const CHECKPOINTS: u64 = 40;
const DIRTY: u64 = 20_000;
const READS: u64 = 10_000;

/// Holds the caller to 200,000 records a second, in steps of a millisecond.
struct Pace {
    began: Instant,
}

impl Pace {
    fn wait_for(&self, records: u64) {
        let due = Duration::from_micros(records * 5);
        let early = due.saturating_sub(self.began.elapsed());
        if early > Duration::from_millis(1) {
            std::thread::sleep(early);
        }
    }
}

/// A row that is about half random, as an encoded transaction with texts and numbers is.
fn fill(row: &mut [u8], n: u64) {
    let mut seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for (at, chunk) in row.chunks_mut(8).enumerate() {
        if at % 2 == 0 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            chunk.copy_from_slice(&seed.to_le_bytes()[..chunk.len()]);
        } else {
            chunk.copy_from_slice(&b"\"amount\""[..chunk.len()]);
        }
    }
}

fn hash128(n: u64) -> u128 {
    let high = n.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29) ^ 0xa076_1d64_78bd_642f;
    let low = (n ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
    (u128::from(high.wrapping_mul(0xe703_7ed1_a0b4_28db)) << 64) | u128::from(low.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn id(n: u64) -> u128 {
    (u128::from(n / 200) << 86) | u128::from(n)
}

pub fn history_ours(dir: &Path, paced: bool) -> Figures {
    let (history, _) = History::open(dir, store::history::Settings::default()).expect("open");
    let mut row = [0; ROW_BYTES];
    let clock = Clock::start();
    let mut lookups = Duration::ZERO;
    let pace = Pace { began: Instant::now() };
    for first in (0..RECORDS).step_by(GROUP as usize) {
        let mut block = history.take_block();
        for n in first..first + GROUP {
            fill(&mut row, n);
            let pushed = block.push(&Record {
                id: id(n),
                idempotency: hash128(n),
                key: hash128(n % 100_000) as u64,
                began_at_us: n,
                ended_at_us: n,
                definition: (n % 7) as u32,
                state: 1,
                outcome: 1,
                reason: 0,
                tags: &[1, 2, 3],
                row: &row,
            });
            assert!(pushed);
        }
        while let Err(refused) = history.append(block) {
            assert!(matches!(refused.why, Refusal::Busy { .. }), "{:?}", refused.why);
            block = refused.block;
            std::thread::sleep(Duration::from_micros(200));
        }
        let began = Instant::now();
        for n in first..first + GROUP {
            assert!(history.find_idempotency(hash128(n + (1 << 40))).expect("find").is_empty());
        }
        lookups += began.elapsed();
        if paced {
            pace.wait_for(first + GROUP);
        }
        if (first + GROUP) % DURABLE_EVERY == 0 {
            history.flush_to_disk(history.position()).expect("flush");
        }
    }
    // Closing writes what is queued; side files of full segments may be written by the next start, so they are waited
    // for here to be counted.
    while history.stats().memory_bytes > 0 && dir_has_unsealed_full(dir) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let figures_memory = history.stats();
    eprintln!("  ours: CPU us/record by thread, user+system:{}", crate::measure::threads(RECORDS));
    drop(history);
    let figures = clock.stop(RECORDS, lookups, RECORDS, dir);
    let began = Instant::now();
    let (history, opened) = History::open(dir, store::history::Settings::default()).expect("open");
    eprintln!(
        "  ours: {} records, resident {:.1} B/record (signpost {:.1}); opened again in {} ms; signpost then {:.1} B/record",
        opened.records,
        figures_memory.memory_bytes as f64 / opened.records as f64,
        figures_memory.signpost_bytes as f64 / opened.records as f64,
        began.elapsed().as_millis(),
        history.stats().signpost_bytes as f64 / opened.records as f64,
    );
    figures
}

/// What making rows and hashes costs by itself, to be subtracted.
pub fn harness(dir: &Path) -> Figures {
    let mut row = [0; ROW_BYTES];
    let clock = Clock::start();
    let mut sum = 0u128;
    for n in 0..RECORDS {
        fill(&mut row, n);
        std::hint::black_box(&row);
        sum ^= hash128(n) ^ hash128(n % 100_000) ^ hash128(n + (1 << 40)) ^ id(n);
    }
    std::hint::black_box(sum);
    clock.stop(RECORDS, Duration::ZERO, 1, dir)
}

/// What lookups cost when 20,000,000 small records are stored, and the memory for it. The figures are of the lookups.
pub fn lookups_ours(dir: &Path) -> Figures {
    const STORED: u64 = 20_000_000;
    let (history, _) = History::open(dir, store::history::Settings::default()).expect("open");
    for first in (0..STORED).step_by(500) {
        let mut block = history.take_block();
        for n in first..first + 500 {
            let pushed = block.push(&Record {
                id: id(n),
                idempotency: hash128(n),
                key: n,
                began_at_us: n,
                ended_at_us: n,
                definition: 1,
                state: 1,
                outcome: 1,
                reason: 0,
                tags: &[],
                row: &[7; 16],
            });
            assert!(pushed);
        }
        while let Err(refused) = history.append(block) {
            assert!(matches!(refused.why, Refusal::Busy { .. }), "{:?}", refused.why);
            block = refused.block;
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    history.flush_to_disk(history.position()).expect("flush");
    while dir_has_unsealed_full(dir) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stats = history.stats();
    let count = RECORDS;
    let clock = Clock::start();
    let began = Instant::now();
    for n in 0..count {
        assert!(history.find_idempotency(hash128(n + (1 << 40))).expect("find").is_empty());
    }
    let figures = clock.stop(count, began.elapsed(), count, dir);
    let began = Instant::now();
    for n in (0..STORED).step_by(2003) {
        assert_eq!(history.find_idempotency(hash128(n)).expect("find").len(), 1);
    }
    let found_us = began.elapsed().as_micros() as f64 / (STORED / 2003) as f64;
    let began = Instant::now();
    for n in (0..STORED).step_by(2003) {
        assert!(history.get(id(n)).expect("get").is_some());
    }
    let got_us = began.elapsed().as_micros() as f64 / (STORED / 2003) as f64;
    drop(history);
    let began = Instant::now();
    drop(History::open(dir, store::history::Settings::default()).expect("open"));
    eprintln!(
        "  ours: {} records in {} segments; resident {:.1} B/record (signpost {:.1}); a known key {found_us:.1} us, \
         a record by id {got_us:.1} us; opened and closed again in {} ms",
        stats.records,
        stats.segments,
        stats.memory_bytes as f64 / stats.records as f64,
        stats.signpost_bytes as f64 / stats.records as f64,
        began.elapsed().as_millis(),
    );
    figures
}

fn dir_has_unsealed_full(dir: &Path) -> bool {
    let names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let segments = names.iter().filter(|name| name.ends_with(".seg")).count();
    let sides = names.iter().filter(|name| name.ends_with(".idx")).count();
    // One is active and one prepared.
    segments > sides + 2
}

fn keyspace(db: &Database, name: &str, plain: bool) -> Keyspace {
    db.keyspace(name, || {
        let options = KeyspaceCreateOptions::default();
        if plain {
            options.data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        } else {
            options
        }
    })
    .expect("a keyspace")
}

fn database(dir: &Path, plain: bool) -> Database {
    let builder = Database::builder(dir);
    let builder = if plain { builder.journal_compression(CompressionType::None) } else { builder };
    builder.open().expect("open")
}

pub fn history_fjall(dir: &Path, plain: bool, paced: bool) -> Figures {
    let db = database(dir, plain);
    let records = keyspace(&db, "records", plain);
    let idempotency = keyspace(&db, "idempotency", plain);
    let mut value = [0; ROW_BYTES + 60];
    let clock = Clock::start();
    let mut lookups = Duration::ZERO;
    let pace = Pace { began: Instant::now() };
    for first in (0..RECORDS).step_by(GROUP as usize) {
        let mut batch = db.batch();
        for n in first..first + GROUP {
            fill(&mut value, n);
            let id = id(n).to_be_bytes();
            batch.insert(&records, id, value);
            batch.insert(&idempotency, hash128(n).to_be_bytes(), id);
        }
        batch.commit().expect("commit");
        let began = Instant::now();
        for n in first..first + GROUP {
            assert!(idempotency.get(hash128(n + (1 << 40)).to_be_bytes()).expect("get").is_none());
        }
        lookups += began.elapsed();
        if paced {
            pace.wait_for(first + GROUP);
        }
        if (first + GROUP) % DURABLE_EVERY == 0 {
            db.persist(PersistMode::SyncAll).expect("persist");
        }
    }
    settle(&db);
    clock.stop(RECORDS, lookups, RECORDS, dir)
}

/// Lets flushes and compactions that are under way finish, so that their bytes are counted; at most ten seconds.
fn settle(db: &Database) {
    let until = Instant::now() + Duration::from_secs(10);
    while (db.outstanding_flushes() > 0 || db.active_compactions() > 0) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn rows_ours(dir: &Path) -> Figures {
    let (log, _) = StateLog::open(dir, store::statelog::Settings::default()).expect("open");
    let mut row = [0; ROW_BYTES];
    let mut base = log.begin(1, [0; 16], Vec::new());
    for key in 0..ROWS {
        fill(&mut row, key);
        base.put(key, &row).expect("row");
    }
    base.run().expect("checkpoint");
    let clock = Clock::start();
    let mut reads = Duration::ZERO;
    let mut slowest = Duration::ZERO;
    for round in 0..CHECKPOINTS {
        let mut job = log.begin(round + 2, [0; 16], Vec::new());
        for n in 0..DIRTY / 2 {
            let key = ROWS + round * DIRTY / 2 + n;
            fill(&mut row, key);
            job.put(key, &row).expect("row");
            job.delete(round * DIRTY / 2 + n);
        }
        let began = Instant::now();
        job.run().expect("checkpoint");
        slowest = slowest.max(began.elapsed());
        let began = Instant::now();
        let mut buffer = Vec::new();
        for n in 0..READS {
            assert!(log.read_into(read_key(round, n), &mut buffer).expect("read"));
        }
        reads += began.elapsed();
    }
    let index_bytes = log.stats().index_bytes as f64 / log.stats().rows as f64;
    let figures = clock.stop(CHECKPOINTS * DIRTY, reads, CHECKPOINTS * READS, dir);
    drop(log);
    let began = Instant::now();
    let (log, _) = StateLog::open(dir, store::statelog::Settings::default()).expect("open");
    let opened = began.elapsed();
    let began = Instant::now();
    let mut bytes = 0;
    log.for_each_row(|_, row| bytes += row.len()).expect("rows");
    eprintln!(
        "  ours: slowest checkpoint {} ms; index {index_bytes:.1} B/row; opened in {} ms; {} rows streamed in {} ms",
        slowest.as_millis(),
        opened.as_millis(),
        bytes / ROW_BYTES,
        began.elapsed().as_millis()
    );
    figures
}

/// A row that is alive after `round`, anywhere among them.
fn read_key(round: u64, n: u64) -> u64 {
    let lowest = (round + 1) * DIRTY / 2;
    lowest + (hash128(n + round * READS) as u64) % ROWS
}

pub fn rows_fjall(dir: &Path, plain: bool) -> Figures {
    let db = database(dir, plain);
    let rows = keyspace(&db, "rows", plain);
    let mut row = [0; ROW_BYTES];
    for first in (0..ROWS).step_by(DIRTY as usize) {
        let mut batch = db.batch();
        for key in first..first + DIRTY {
            fill(&mut row, key);
            batch.insert(&rows, key.to_be_bytes(), row);
        }
        batch.commit().expect("commit");
    }
    db.persist(PersistMode::SyncAll).expect("persist");
    settle(&db);
    let clock = Clock::start();
    let mut reads = Duration::ZERO;
    let mut slowest = Duration::ZERO;
    for round in 0..CHECKPOINTS {
        let mut batch = db.batch();
        for n in 0..DIRTY / 2 {
            let key = ROWS + round * DIRTY / 2 + n;
            fill(&mut row, key);
            batch.insert(&rows, key.to_be_bytes(), row);
            batch.remove(&rows, (round * DIRTY / 2 + n).to_be_bytes());
        }
        let began = Instant::now();
        batch.commit().expect("commit");
        db.persist(PersistMode::SyncAll).expect("persist");
        slowest = slowest.max(began.elapsed());
        let began = Instant::now();
        for n in 0..READS {
            assert!(rows.get(read_key(round, n).to_be_bytes()).expect("get").is_some());
        }
        reads += began.elapsed();
    }
    settle(&db);
    let figures = clock.stop(CHECKPOINTS * DIRTY, reads, CHECKPOINTS * READS, dir);
    eprintln!("  fjall: slowest checkpoint {} ms", slowest.as_millis());
    figures
}
