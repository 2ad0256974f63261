//! What one call costs in the load manager: its release and its end, with everything that windows and backlogs add.
//!
//! `cargo bench -p load` prints nanoseconds for each call; the aim is 400 at most in every line. A closed loop keeps
//! so many calls here, started or waiting; the clock that the manager sees is a counter, so nothing is measured but
//! the manager itself. What is measured is the time of this thread on a core: others on the machine take none of it.
//!
//! Left out: the lock around it and what `runtime` does with its verdicts.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use load::{CallRef, Class, Decision, Learn, LoadManager, ParticipantSpec, Released, Sample, Verdict};
use model::Timestamp;

/// What distinguishes one line from another.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    learn: Learn,
    endpoints: u16,
    /// Calls here at once, started or waiting.
    calls: u64,
    max_in_flight: u32,
    /// Kinds of calls that are told apart.
    kinds: u16,
    /// Definitions, that take turns.
    flows: u32,
    has_deadline: bool,
    /// First calls of transactions that need two more participants.
    has_route: bool,
}

const PLAIN: Scene = Scene {
    name: "fixed limit, nothing waits",
    learn: Learn::Off,
    endpoints: 1,
    calls: 64,
    max_in_flight: 100_000,
    kinds: 1,
    flows: 1,
    has_deadline: true,
    has_route: false,
};

const SCENES: [Scene; 9] = [
    PLAIN,
    Scene { name: "fixed limit, 1000 wait", calls: 1_064, max_in_flight: 64, ..PLAIN },
    Scene { name: "learned, nothing waits", learn: Learn::On, ..PLAIN },
    Scene { name: "learned, 1000 wait", learn: Learn::On, calls: 1_064, max_in_flight: 64, ..PLAIN },
    Scene {
        name: "learned, 1000 of 8 flows wait",
        learn: Learn::On,
        calls: 1_064,
        max_in_flight: 64,
        flows: 8,
        ..PLAIN
    },
    Scene { name: "learned, 12 kinds of calls", learn: Learn::On, kinds: 12, ..PLAIN },
    Scene { name: "learned, 8 endpoints", learn: Learn::On, endpoints: 8, ..PLAIN },
    Scene { name: "learned, route of three", learn: Learn::On, has_route: true, ..PLAIN },
    Scene {
        name: "learned, all of it, 1000 wait",
        learn: Learn::On,
        endpoints: 8,
        calls: 1_064,
        max_in_flight: 64,
        kinds: 12,
        flows: 8,
        has_deadline: true,
        has_route: true,
    },
];

/// Between calls: 100,000 a second.
const STEP_US: u64 = 10;

struct Loop {
    scene: Scene,
    load: LoadManager,
    now: Timestamp,
    next: u64,
    started: VecDeque<(CallRef, Timestamp)>,
    verdicts: Vec<Verdict>,
}

impl Loop {
    fn new(scene: Scene) -> Self {
        let mut load = LoadManager::new();
        for index in 0..3 {
            let spec = ParticipantSpec {
                name: format!("p{index}").into(),
                endpoints: scene.endpoints,
                max_in_flight: scene.max_in_flight,
                min_in_flight: Some(scene.max_in_flight.min(64)),
                learn: scene.learn,
                ..ParticipantSpec::default()
            };
            load.set_participant(index, spec);
        }
        load.set_route(1, &[1, 2]);
        let mut all = Self {
            scene,
            load,
            now: Timestamp::from_millis(1_000_000),
            next: 0,
            started: VecDeque::new(),
            verdicts: Vec::new(),
        };
        for _ in 0..scene.calls {
            all.release();
        }
        // Past the start, so that what is measured is what lasts.
        for _ in 0..300_000 {
            all.call();
        }
        all
    }

    fn release(&mut self) {
        self.next += 1;
        let call = CallRef { worker: (self.next & 1) as u16, token: self.next };
        let scene = &self.scene;
        let released = Released {
            call,
            deadline: if scene.has_deadline { self.now.after(Duration::from_secs(60)) } else { Timestamp::NEVER },
            class: Class::First,
            operation: (self.next % u64::from(scene.kinds)) as u16,
            flow: (self.next % u64::from(scene.flows)) as u32 * 0x0100_0193,
            route: u32::from(scene.has_route),
            ..Released::default()
        };
        if let Decision::Start { .. } = self.load.release(self.now, released) {
            self.started.push_back((call, self.now));
        }
    }

    /// One call ends, what waited for it starts, and a new one comes.
    fn call(&mut self) {
        self.now = Timestamp(self.now.0 + STEP_US);
        if let Some((call, since)) = self.started.pop_front() {
            let sample = Sample { took: self.now.since(since), ..Sample::default() };
            self.load.finish(self.now, call, sample, &mut self.verdicts);
        }
        for verdict in self.verdicts.drain(..) {
            if let Verdict::Start { call, .. } = verdict {
                self.started.push_back((call, self.now));
            }
        }
        self.release();
    }
}

/// Time of this thread on a core.
struct OnCore;

struct Nanoseconds;

impl Measurement for OnCore {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    fn end(&self, began: u64) -> u64 {
        self.start() - began
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Nanoseconds
    }
}

impl ValueFormatter for Nanoseconds {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "ns on a core"
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "ns on a core"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

fn per_call(c: &mut Criterion<OnCore>) {
    let mut group = c.benchmark_group("per_call");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for scene in SCENES {
        let mut all = Loop::new(scene);
        group.bench_function(scene.name, |b| b.iter(|| black_box(&mut all).call()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(OnCore);
    targets = per_call
}
criterion_main!(benches);
