//! The power goes at any moment, again and again: what is recovered is a prefix that contains all that was committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use journal::disk::sim::{Faults, SimDisk};
use journal::{BatchHash, Journal, Part, Settings, Start, Starts, Status};
use proptest::prelude::*;

use crate::scene::{Chain, Desk, SEGMENT_BYTES, read, settings, try_open};

/// One life of the journal between two failures of the power.
#[derive(Clone, Debug)]
struct Life {
    /// What is submitted: partition, entries, bytes of entries; and whether it is waited for.
    parts: Vec<(u16, u32, usize, bool)>,
    /// After so many changing calls of the disk the power is gone.
    cut_in: u64,
    /// Decides what was spared of what was not synced.
    spare: u64,
    /// Only the process dies; what was written stays readable.
    only_process: bool,
    /// Trim everything committed of these partitions after each part that is waited for.
    trim: Vec<u16>,
}

fn life() -> impl Strategy<Value = Life> {
    let part = (0..4_u16, 0..3_u32, 0..3000_usize, any::<bool>());
    let parts = prop::collection::vec(part, 0..60);
    (
        parts,
        1..200_u64,
        any::<u64>(),
        prop::bool::weighted(0.2),
        prop_oneof![Just(vec![]), (0..4_u16).prop_map(|one| vec![one]), Just(vec![0, 1, 2, 3]), Just(vec![0, 2, 3])],
    )
        .prop_map(|(parts, cut_in, spare, only_process, trim)| Life { parts, cut_in, spare, only_process, trim })
}

/// What the world outside knows of a partition.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Hashes of all batches ever made on the present chain, in order, with their last seq.
    made: Vec<(u64, BatchHash)>,
    /// How many of them have been told to be durable.
    committed: usize,
    /// Trimmed up to here.
    trimmed_seq: u64,
}

fn check_lives(lives: &[Life], align_bytes: u32) -> Result<(), TestCaseError> {
    let settings = Settings {
        live_segments_max: 3,
        align_bytes,
        segment_bytes: if align_bytes == 512 { SEGMENT_BYTES } else { 2 * SEGMENT_BYTES },
        ..settings()
    };
    let mut disk = SimDisk::new(11, 1 << 30);
    let mut known: BTreeMap<u16, Known> = BTreeMap::new();
    for life in lives {
        disk.set_faults(Faults { cut_power_in: Some(life.cut_in), ..Faults::default() });
        // The power may also go during recovery; then this life is over before it began.
        if let Ok(opened) = try_open(&disk, settings.clone()) {
            let desk = Desk::default();
            let Ok(journal) = opened.start(desk.completion()) else { continue };
            let mut waiting = 0;
            for &(partition, count, bytes, wait) in &life.parts {
                let of = known.entry(partition).or_default();
                let (last_seq, hash) = of.made.last().copied().unwrap_or_default();
                let mut chain = Chain { partition, next_seq: last_seq + 1, hash };
                let batch = chain.batch(count, &vec![partition as u8; bytes]);
                let (last_seq, hash) = (batch.last_seq(), batch.hash());
                if journal.submit(0, Part { batches: vec![batch], token: u64::from(partition) }).is_err() {
                    break;
                }
                of.made.push((last_seq, hash));
                waiting += 1;
                if wait {
                    if !ends(&journal, &desk, waiting) {
                        break;
                    }
                    for (_, committed) in desk.wait(waiting) {
                        waiting -= 1;
                        if committed.result.is_ok() {
                            known.entry(committed.token as u16).or_default().committed += 1;
                        }
                    }
                    for &partition in &life.trim {
                        if let Some(of) = known.get_mut(&partition)
                            && of.committed > 0
                        {
                            of.trimmed_seq = of.made[of.committed - 1].0;
                            journal.trimmable(partition, of.trimmed_seq);
                        }
                    }
                }
            }
            // The plug is pulled while the journal still runs, or after it has stopped.
            let next = if life.only_process { disk.after_process_death() } else { disk.after_power_cut(life.spare) };
            // What is committed from here on is neither known nor unknown to the picture.
            journal.stop();
            prop_assert_eq!(desk.count(), waiting, "every part ends");
            disk = next;
        } else {
            disk = disk.after_power_cut(life.spare);
        }
        verify(&disk, &settings, &mut known)?;
    }
    Ok(())
}

/// Waits for all completions; false if the journal can give no more because the power is gone.
fn ends(journal: &impl Journal, desk: &Desk, waiting: usize) -> bool {
    let began = Instant::now();
    while desk.count() < waiting && journal.status() == Status::Well {
        assert!(began.elapsed() < Duration::from_secs(60), "{} of {waiting} completions arrived", desk.count());
        std::thread::yield_now();
    }
    desk.count() == waiting
}

fn verify(disk: &SimDisk, settings: &Settings, known: &mut BTreeMap<u16, Known>) -> Result<(), TestCaseError> {
    let opened = match try_open(disk, settings.clone()) {
        Ok(opened) => opened,
        Err(error) => return Err(TestCaseError::fail(format!("it does not open: {error}"))),
    };
    let starts: Starts =
        known.iter().map(|(&partition, of)| (partition, Start { seq: of.trimmed_seq, hash: None })).collect();
    prop_assert!(opened.recovery().damage.is_empty(), "{:?}", opened.recovery().damage);
    let (batches, damage) = read(&opened, &starts);
    prop_assert!(damage.is_empty(), "{damage:?}");
    for (&partition, of) in known.iter_mut() {
        let found: Vec<(u64, BatchHash)> = batches
            .iter()
            .filter(|batch| batch.partition == partition)
            .map(|batch| (batch.last_seq, batch.hash))
            .collect();
        // A prefix of what was made, from the trimmed seq on; empty batches at that seq go with it.
        let behind = of.made.iter().position(|(last_seq, _)| *last_seq > of.trimmed_seq).unwrap_or(of.made.len());
        let made = &of.made[behind..];
        prop_assert!(made.starts_with(&found), "partition {partition}: found {found:?}, made {made:?}");
        // Empty batches at the trimmed seq are not given back; whether they are there, the end of the chain tells.
        let through = if found.is_empty() { of.committed } else { behind + found.len() };
        let lost = of.made[..of.committed].iter().any(|(last_seq, _)| *last_seq > of.trimmed_seq) && found.is_empty();
        prop_assert!(
            through >= of.committed && !lost,
            "partition {partition}: {through} of {} committed",
            of.committed
        );
        let tail = opened.recovery().tails.get(&partition);
        // The next life goes on from what the journal has.
        match tail.and_then(|tail| of.made.iter().position(|(_, hash)| *hash == tail.hash)) {
            Some(at) => {
                prop_assert!(at + 1 >= through);
                of.made.truncate(at + 1);
            }
            None => {
                prop_assert!(tail.is_none());
                of.made.truncate(through);
            }
        }
        of.committed = of.made.len();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_survives(lives in prop::collection::vec(life(), 1..6), wide in any::<bool>()) {
        check_lives(&lives, if wide { 4096 } else { 512 })?;
    }
}
