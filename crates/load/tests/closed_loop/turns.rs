//! A node that works in turns: it looks at answers and starts calls only once in a turn, and each call costs it time.
//!
//! So a call counts as under way for at least a turn, however fast the participant is; what the participant had of it
//! is what the sample says.

use std::collections::VecDeque;
use std::time::Duration;

use load::{CallRef, Decision, LoadManager, ParticipantSpec, Released, Sample, Verdict};
use model::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Callers, each of which waits for its answer.
    pub(crate) clients: u64,
    pub(crate) turn_us: f64,
    pub(crate) call_us: f64,
    /// Of the participant; none: it answers at once, however many there are.
    pub(crate) workers: usize,
    pub(crate) service_us: f64,
}

/// What came of it in the last part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) per_second: f64,
    /// Inside the participant, on the average.
    pub(crate) inside: f64,
}

/// Runs so many seconds, of which those from `from_s` on count.
pub(crate) fn run(node: Node, spec: ParticipantSpec, from_s: f64, seconds: f64) -> Done {
    let mut load = LoadManager::new();
    load.set_participant(0, spec);
    let begin = 1e9;
    let mut clock = begin;
    let mut free = vec![0.0f64; node.workers];
    // Sent, answered, by token.
    let mut inside: VecDeque<(f64, f64, u64)> = VecDeque::new();
    let (mut token, mut idle, mut verdicts) = (0u64, node.clients, Vec::new());
    let (mut done, mut area) = (0u64, 0.0);
    while clock < begin + seconds * 1e6 {
        let now = Timestamp(clock as u64);
        let mut handled = 0;
        let ready: Vec<_> = inside.iter().copied().filter(|(_, answered, _)| *answered <= clock).collect();
        inside.retain(|(_, answered, _)| *answered > clock);
        for (sent, answered, token) in ready {
            handled += 1;
            idle += 1;
            let counts = clock > begin + from_s * 1e6;
            done += u64::from(counts);
            area += if counts { answered - sent } else { 0.0 };
            let sample = Sample { took: Duration::from_nanos(((answered - sent) * 1e3) as u64), ..Sample::default() };
            load.finish(now, CallRef { worker: 0, token }, sample, &mut verdicts);
        }
        let mut starting: Vec<u64> = Vec::new();
        for _ in 0..std::mem::take(&mut idle) {
            token += 1;
            let released = Released { call: CallRef { worker: 0, token }, ..Released::default() };
            match load.release(now, released) {
                Decision::Start { .. } => starting.push(token),
                Decision::Queued => {}
                other => panic!("{other:?} for a call that may wait"),
            }
        }
        for verdict in verdicts.drain(..) {
            if let Verdict::Start { call, .. } = verdict {
                starting.push(call.token);
            }
        }
        handled += starting.len();
        clock += node.turn_us + node.call_us * handled as f64;
        for token in starting {
            let answered = match free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                None => clock,
                Some(worker) => {
                    *worker = worker.max(clock) + node.service_us;
                    *worker
                }
            };
            inside.push_back((clock, answered, token));
        }
        if handled == 0 {
            // Nothing to do: until the next answer.
            let next = inside.iter().map(|(_, answered, _)| *answered).fold(f64::INFINITY, f64::min);
            clock = clock.max(next.min(clock + 10_000.0));
        }
    }
    let counted_us = (seconds - from_s) * 1e6;
    Done { per_second: done as f64 / counted_us * 1e6, inside: area / counted_us }
}
