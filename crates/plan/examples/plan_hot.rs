//! What one top-up costs in this crate, in nanoseconds: validate, key, three calls, results.
//!
//! `cargo run --release -p plan --example plan_hot`

#[path = "../tests/support/cel.rs"]
mod cel;
#[path = "../tests/support/top_up.rs"]
mod top_up;
#[path = "../tests/support/world.rs"]
mod world;

use std::hint::black_box;
use std::time::Duration;

use plan::eval::Response;
use plan::render::{render_call, render_text, render_value};
use plan::{Call, Saga, ValueTemplate};
use world::World;

const ROUNDS: u32 = 400_000;

#[allow(clippy::disallowed_types, reason = "an example may look at the clock; the crate may not")]
fn timed(name: &str, mut run: impl FnMut()) -> Duration {
    for _ in 0..ROUNDS / 4 {
        run();
    }
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        run();
    }
    let each = start.elapsed() / ROUNDS;
    println!("{name:<28} {:>6} ns", each.as_nanos());
    each
}

fn main() {
    let saga: Saga = top_up::saga();
    let mut world = World::new(
        r#"{"msisdn":"491701234567","amount_minor":1000,"currency":"EUR","card_token":"tok_1"}"#,
        r#"{"id":"ch_0001","status":"ok"}"#,
    );
    world.result = world::json(r#"{"charge_id":"ch_0001","balance_minor":1500}"#);
    let mut scope = world.scope();
    scope.response = Some(Response { status: 201, body: &world.body });
    // The test world knows only the result of its first step; the third call reads the second's.
    let calls: Vec<&Call> = saga.steps.iter().filter_map(|s| s.call()).collect();
    let mut notify = calls[2].clone();
    notify.body = Some(top_up::value(&[
        ("to", "${input.msisdn}"),
        ("template", "top-up-done"),
        ("balance_minor", "${steps.s0.result.balance_minor}"),
    ]));
    let output: ValueTemplate = top_up::value(&[
        ("charge_id", "${steps.s0.result.charge_id}"),
        ("balance_minor", "${steps.s0.result.balance_minor}"),
    ]);
    let key = saga.key.as_ref().expect("top-up has a key");
    let answer = cel::cel("response.status == 200 && response.body.result == \"BLOCKED\"");
    let result = cel::cel("response.body.id");

    let parts = [
        timed("validate the input", || {
            black_box(saga.input.validate(black_box(&world.input)));
        }),
        timed("key", || {
            black_box(render_text(key, black_box(&scope)).is_ok());
        }),
        timed("call charge", || {
            black_box(render_call(calls[0], black_box(&scope), 192).is_ok());
        }),
        timed("call credit", || {
            black_box(render_call(calls[1], black_box(&scope), 192).is_ok());
        }),
        timed("call notify", || {
            black_box(render_call(&notify, black_box(&scope), 192).is_ok());
        }),
        timed("3 digests", || {
            let request = render_call(calls[0], black_box(&scope), 192);
            if let Ok(request) = request {
                black_box(request.digest());
                black_box(request.digest());
                black_box(request.digest());
            }
        }),
        timed("3 answer rules", || {
            for _ in 0..3 {
                black_box(answer.eval_bool(black_box(&scope)).is_ok());
            }
        }),
        timed("2 results", || {
            for _ in 0..2 {
                black_box(result.eval(black_box(&scope)).is_ok());
            }
        }),
        timed("output", || {
            black_box(render_value(&output, black_box(&scope)).is_ok());
        }),
    ];
    // The digests' line renders once more, so that is taken off.
    let all: Duration = parts.iter().sum::<Duration>().saturating_sub(parts[2]);
    println!("{:<28} {:>6} ns", "one top-up", all.as_nanos());
}
