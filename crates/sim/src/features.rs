//! What a seed switches on: swarm testing.
//!
//! Every seed draws its own subset of features and faults, and how strong each is. A fault that is always there hides
//! bugs that need its absence. After Groce, Zhang, Eide, Chen and Regehr, "Swarm Testing" (ISSTA 2012).

use std::time::Duration;

use plan::{Participant, PathPattern, SharedRead};

use crate::event::Fault;
use crate::fixed::Rng;
use crate::menu::SHAPES;

/// Chances in ten thousand that a call at a participant meets this.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Temper {
    pub(crate) refuses: u32,
    pub(crate) fails: u32,
    pub(crate) busy: u32,
    pub(crate) gateway: u32,
    pub(crate) hangs: u32,
    pub(crate) cuts: u32,
    pub(crate) late: u32,
    pub(crate) twice: u32,
    pub(crate) unauthorized: u32,
    pub(crate) bad_body: u32,
    pub(crate) proves: u32,
    /// Answers 409 to a repeat that it recognises, instead of the first answer.
    pub(crate) conflict_on_repeat: bool,
    /// Forgets a call key as soon as it may.
    pub(crate) forgetful: bool,
    pub(crate) service_us: (u64, u64),
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Features {
    pub seed: u64,
    pub(crate) partitions: u16,
    pub(crate) dishes: Vec<usize>,
    pub(crate) submissions: u32,
    pub(crate) gap_us: u64,
    pub(crate) accounts: u64,
    pub(crate) tick_us: u64,
    pub(crate) disk_us: (u64, u64),
    pub(crate) storm_us: u64,
    pub(crate) checkpoint_every: u64,
    pub(crate) resident_max: usize,
    pub(crate) lies: bool,
    pub(crate) learns: bool,
    pub(crate) wobbles: bool,
    /// Answers are told twice.
    pub(crate) echoes: bool,
    /// Reads may be shared, with answers so old.
    pub(crate) shares: Option<Duration>,
    pub(crate) duplicates: u32,
    pub(crate) waits: u32,
    pub(crate) tempers: Vec<Temper>,
    pub(crate) faults: Vec<Fault>,
    /// How many faults of the schedule a minute of storm has.
    pub(crate) intensity: u64,
    names: Vec<&'static str>,
}

const SCHEDULED: [(Fault, &str); 17] = [
    (Fault::Crash, "crashes"),
    (Fault::PowerCut, "power cuts"),
    (Fault::FailedSync, "failed fsyncs"),
    (Fault::SlowDisk, "slow disk"),
    (Fault::FullDisk, "full disk"),
    (Fault::BitRot, "bit rot"),
    (Fault::FailedCheckpoint, "failed checkpoints"),
    (Fault::ClockJump, "clock jumps"),
    (Fault::Downtime, "downtime"),
    (Fault::TwoOwners, "two owners"),
    (Fault::Down, "participants down"),
    (Fault::Slow, "participants slow"),
    (Fault::Panic, "panics"),
    (Fault::Operator, "operators"),
    (Fault::Burst, "bursts"),
    (Fault::Definitions, "changed files"),
    (Fault::Pause, "pauses"),
];

impl Features {
    /// What this seed has.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::named(seed, "features");
        let rng = &mut rng;
        let mut names = Vec::new();
        let on = |rng: &mut Rng, names: &mut Vec<&'static str>, name: &'static str, n: u64, of: u64| {
            let on = rng.chance(n, of);
            if on {
                names.push(name);
            }
            on
        };
        // One world in eight is calm but for its load: what is slow there is slow everywhere.
        let stormy = rng.chance(7, 8);
        let mut faults = Vec::new();
        for (fault, name) in SCHEDULED {
            if stormy && on(rng, &mut names, name, 1, 3) {
                faults.push(fault);
            }
        }
        let telecom = on(rng, &mut names, "telecom", 1, 4);
        let mut dishes: Vec<usize> = (0..rng.between(1, 4)).map(|_| 3 + rng.below(SHAPES as u64) as usize).collect();
        if telecom {
            dishes.extend([0, 1, 2]);
        }
        let submissions = match rng.below(10) {
            0 => rng.between(200, 600),
            1..=4 => rng.between(40, 120),
            _ => rng.between(5, 40),
        } as u32;
        let lies = stormy && on(rng, &mut names, "load lies", 1, 6);
        let learns = on(rng, &mut names, "learned limits", 1, 2);
        let wobbles = on(rng, &mut names, "clock wobbles", 1, 3);
        let evicts = on(rng, &mut names, "evictions", 1, 2);
        let tempers = tempers(rng, stormy, &mut names);
        let echoes = stormy && on(&mut Rng::named(seed, "echoes"), &mut names, "answers twice", 1, 4);
        let shares = &mut Rng::named(seed, "shares");
        let shares = on(shares, &mut names, "shared reads", 1, 3)
            .then(|| Duration::from_millis(*shares.pick(&[0, 20, 500, 5_000])));
        Self {
            seed,
            partitions: rng.between(1, 3) as u16,
            dishes,
            submissions,
            gap_us: *rng.pick(&[300, 3_000, 30_000, 300_000]),
            accounts: *rng.pick(&[1, 3, 20, 1_000]),
            tick_us: *rng.pick(&[50, 200, 1_000]),
            disk_us: *rng.pick(&[(50, 200), (300, 3_000), (2_000, 30_000)]),
            storm_us: 0,
            checkpoint_every: *rng.pick(&[20, 100, 400, 1_000_000]),
            resident_max: if evicts { rng.between(0, 20) as usize } else { usize::MAX },
            lies,
            learns,
            wobbles,
            echoes,
            shares,
            duplicates: *rng.pick(&[0, 500, 3_000]),
            waits: *rng.pick(&[0, 5_000, 10_000]),
            tempers,
            faults,
            intensity: *rng.pick(&[3, 10, 40]),
            names,
        }
        .timed()
    }

    fn timed(mut self) -> Self {
        self.storm_us = (self.gap_us * u64::from(self.submissions) * 3 / 2).clamp(3_000_000, 120_000_000);
        self
    }

    /// The participants as this world declares them at its beginning.
    pub(crate) fn participants(&self) -> Vec<Participant> {
        let mut all = crate::menu::participants().to_vec();
        if let Some(max_age) = self.shares {
            let paths = ["/*", "/contracts/*"].map(PathPattern::parse);
            let reads = paths.into_iter().flatten().map(|path| SharedRead { path, max_age });
            all.iter_mut().for_each(|participant| participant.shared_reads = reads.clone().collect());
        }
        all
    }

    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Without one feature, by its name: what shrinking asks for.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut less = self.clone();
        less.names.retain(|n| *n != name);
        if let Some((fault, _)) = SCHEDULED.iter().find(|(_, n)| *n == name) {
            less.faults.retain(|f| f != fault);
        }
        for temper in &mut less.tempers {
            match name {
                "refusals" => temper.refuses = 0,
                "failures" => temper.fails = 0,
                "busy" => temper.busy = 0,
                "gateways" => temper.gateway = 0,
                "hangs" => temper.hangs = 0,
                "cuts" => temper.cuts = 0,
                "late arrivals" => temper.late = 0,
                "calls twice" => temper.twice = 0,
                "expired credentials" => temper.unauthorized = 0,
                "bad bodies" => temper.bad_body = 0,
                "declared proof" => temper.proves = 0,
                "conflicts" => temper.conflict_on_repeat = false,
                "forgetful" => temper.forgetful = false,
                _ => {}
            }
        }
        match name {
            "load lies" => less.lies = false,
            "learned limits" => less.learns = false,
            "clock wobbles" => less.wobbles = false,
            "answers twice" => less.echoes = false,
            "shared reads" => less.shares = None,
            "evictions" => less.resident_max = usize::MAX,
            _ => {}
        }
        less
    }

    /// With fewer submissions.
    pub(crate) fn with_submissions(&self, submissions: u32) -> Self {
        Self { submissions, ..self.clone() }
    }
}

/// Whether a name is that of a fault in the schedule.
pub(crate) fn is_scheduled(name: &str) -> bool {
    SCHEDULED.iter().any(|(_, n)| *n == name)
}

fn tempers(rng: &mut Rng, stormy: bool, names: &mut Vec<&'static str>) -> Vec<Temper> {
    let mut on = |rng: &mut Rng, name: &'static str, n: u64, of: u64| {
        let on = rng.chance(n, of) && (stormy || name == "refusals");
        if on {
            names.push(name);
        }
        on
    };
    let refuses = on(rng, "refusals", 2, 3);
    let fails = on(rng, "failures", 1, 2);
    let busy = on(rng, "busy", 1, 3);
    let gateway = on(rng, "gateways", 1, 3);
    let hangs = on(rng, "hangs", 1, 2);
    let cuts = on(rng, "cuts", 1, 3);
    let late = on(rng, "late arrivals", 1, 2);
    let twice = on(rng, "calls twice", 1, 4);
    let unauthorized = on(rng, "expired credentials", 1, 6);
    let bad_body = on(rng, "bad bodies", 1, 5);
    let proves = on(rng, "declared proof", 1, 3);
    let conflicts = on(rng, "conflicts", 1, 3);
    let forgetful = on(rng, "forgetful", 1, 3);
    let share = |rng: &mut Rng, on: bool, most: u64| {
        // Some participants have it, each in its own strength.
        if on && rng.chance(1, 2) { rng.between(10, most) as u32 } else { 0 }
    };
    crate::menu::participants()
        .iter()
        .map(|_| Temper {
            refuses: share(rng, refuses, 1_500),
            fails: share(rng, fails, 2_500),
            busy: share(rng, busy, 1_500),
            gateway: share(rng, gateway, 1_500),
            hangs: share(rng, hangs, 2_000),
            cuts: share(rng, cuts, 1_000),
            late: share(rng, late, 2_500),
            twice: share(rng, twice, 1_000),
            unauthorized: share(rng, unauthorized, 300),
            bad_body: share(rng, bad_body, 500),
            proves: share(rng, proves, 1_500),
            conflict_on_repeat: conflicts && rng.chance(1, 2),
            forgetful: forgetful && rng.chance(1, 2),
            service_us: *rng.pick(&[(100, 400), (500, 8_000), (5_000, 200_000), (50_000, 1_500_000)]),
        })
        .collect()
}
