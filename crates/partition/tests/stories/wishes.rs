//! Cancels, and locks: who may go, and in which order.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn cancel_is_a_wish_and_the_last_step_may_win() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            cancel
            cancel
            credit: done
            state
            cancel of t1
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            cancel                       withdraw call credit
            cancel                       rejected: nothing to do
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
            cancel of t1                 rejected: no live transaction 3 here
        "#]],
    );
}

#[test]
fn cancel_with_nothing_outstanding() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout
            pass 1s
            charge: 429
            cancel
            pass 10s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout
            pass 1s                      call charge#2
            charge: 429                  parked call charge
            cancel                       aborted: cancelled
            pass 10s                     undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn cancel_takes_a_waiting_call_back() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            takes back
            cancel
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            takes back
            cancel                       withdraw call credit; aborted: cancelled; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn cancel_after_the_outcome() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
        ",
        "
            begin
            a: done
            cancel
            o: done
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1; completed
            cancel                       rejected: the outcome is decided
            o: done                      ended
        "#]],
    );
}

#[test]
fn a_failed_answer_while_turning_back() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            cancel
            credit: 429
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            cancel                       withdraw call credit
            credit: 429                  aborted: cancelled; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn a_lock_is_granted_in_order_of_acceptance() {
    check(
        "
            saga lock=balance timeout=1m
            a@pay POST undo
            n@hlr POST optional undo=none unknown=ignore
        ",
        "
            begin t1
            begin t2
            begin t3
            grant of t3
            grant of t2
            state
            t1.a: done
            t2.a: 422
            t3.a: done
            t1.n: done
            t3.n: done
            state
        ",
        expect![[r#"
            begin t1                     call a#1
            begin t2
            begin t3
            grant of t3                  rejected: nothing to do
            grant of t2                  rejected: nothing to do
            state                        forward [a active/outstanding, n pending]; queued [a pending, n pending]; queued [a pending, n pending]
            t1.a: done                   t1 call n#1; t1 completed; t2 call a#1
            t2.a: 422                    t2 aborted: refused; t2 ended; t3 call a#1
            t3.a: done                   t3 call n#1; t3 completed
            t1.n: done                   t1 ended
            t3.n: done                   t3 ended
            state                        ended, completed [a done, n done]; ended, aborted: refused [a refused, n pending]; ended, completed [a done, n done]
        "#]],
    );
}

#[test]
fn a_lock_is_held_to_the_end_of_all_undoing() {
    check(
        "
            saga lock=balance
            a@pay POST undo
            b@bill POST undo
        ",
        "
            begin t1
            begin t2
            t1.a: done
            t1.b: 422
            undo t1.a: done
            t2.a: done
            t2.b: done
            state
        ",
        expect![[r#"
            begin t1                     call a#1
            begin t2
            t1.a: done                   t1 call b#1
            t1.b: 422                    t1 aborted: refused; t1 undo a#1
            undo t1.a: done              t1 ended; t2 call a#1
            t2.a: done                   t2 call b#1
            t2.b: done                   t2 completed; t2 ended
            state                        ended, aborted: refused [a compensated, b refused]; ended, completed [a done, b done]
        "#]],
    );
}

#[test]
fn a_waiter_expires_without_a_call() {
    check(
        "
            saga lock=balance timeout=1m
            a@pay POST undo
            n@hlr POST optional undo=none unknown=ignore
        ",
        "
            begin t1
            begin t2
            begin t3
            pass 50s
            cancel of t3
            pass 10s
            t1.a: done
            state
        ",
        expect![[r#"
            begin t1                     call a#1
            begin t2
            begin t3
            pass 50s
            cancel of t3                 t3 aborted: cancelled; t3 ended
            pass 10s                     withdraw t1 call a; t2 aborted: timed_out; t2 ended
            t1.a: done                   t1 call n#1; t1 completed
            state                        forward, completed [a done, n active/outstanding]; ended, aborted: timed_out [a pending, n pending]; ended, aborted: cancelled [a pending, n pending]
        "#]],
    );
}

#[test]
fn a_lock_of_another_key_is_another() {
    check(
        "
            saga lock=balance timeout=1m
            a@pay POST undo
            n@hlr POST optional undo=none unknown=ignore
        ",
        "
            begin t1 key=k
            begin t2 key=l
            state
        ",
        expect![[r#"
            begin t1 key=k               call a#1
            begin t2 key=l               t2 call a#1
            state                        forward [a active/outstanding, n pending]; forward [a active/outstanding, n pending]
        "#]],
    );
}

#[test]
fn a_lock_survives_a_restart() {
    check(
        "
            saga lock=balance timeout=1m
            a@pay POST undo
            n@hlr POST optional undo=none unknown=ignore
        ",
        "
            begin t1
            begin t2
            checkpoint
            begin t3
            t1.a: done
            restart
            pass 1s
            t2.a: done
            t3.a: done
            state
        ",
        expect![[r#"
            begin t1                     call a#1
            begin t2
            checkpoint
            begin t3
            t1.a: done                   t1 call n#1; t1 completed; t2 call a#1
            restart                      t1 ended
            pass 1s                      t2 call a#2
            t2.a: done                   t2 call n#1; t2 completed; t3 call a#1
            t3.a: done                   t3 call n#1; t3 completed
            state                        ended, completed [a done, n unknown (may)]; forward, completed [a done, n active/outstanding]; forward, completed [a done, n active/outstanding]
        "#]],
    );
}
