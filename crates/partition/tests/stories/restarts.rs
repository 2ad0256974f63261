//! Restarts, and what comes too late.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn a_restart_adds_one_counted_attempt() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            restart
            state
            pass 1s
            restart
            pass 2s
            restart
            state
            pass 10s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            restart
            state                        forward [charge active/backoff (may), credit pending]
            pass 1s                      call charge#2
            restart
            pass 2s                      call charge#3
            restart                      aborted: failed
            state                        undoing, aborted: failed [charge unknown/quiet 10000ms (may), credit pending]
            pass 10s                     undo charge#1
            undo charge: done            ended
            state                        ended, aborted: failed [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn a_restart_leaves_what_is_parked_not_started() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            hold pay
            park charge
            restart
            state
            cancel
            state
        ",
        expect![[r#"
            begin                        call charge#1
            hold pay
            park charge                  parked call charge
            restart
            state                        forward [charge active/parked, credit pending]
            cancel                       aborted: cancelled; ended
            state                        ended, aborted: cancelled [charge pending, credit pending]
        "#]],
    );
}

#[test]
fn a_restart_while_undoing() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            credit: 422
            restart
            pass 1s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: 422                  aborted: refused; undo charge#1
            restart
            pass 1s                      undo charge#2
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit refused]
        "#]],
    );
}

#[test]
fn a_restart_of_evicted_rows() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin t1
            begin t2
            hold pay
            park t1.charge
            park t2.charge
            evict
            restart
            free pay
            t1.charge: done
            t2.charge: done
            t1.credit: done
            t2.credit: done
            state
        ",
        expect![[r#"
            begin t1                     call charge#1
            begin t2                     t2 call charge#1
            hold pay
            park t1.charge               parked t1 call charge
            park t2.charge               parked t2 call charge
            evict
            restart
            free pay                     t1 call charge#1; t2 call charge#1
            t1.charge: done              t1 call credit#1
            t2.charge: done              t2 call credit#1
            t1.credit: done              t1 completed; t1 ended
            t2.credit: done              t2 completed; t2 ended
            state                        ended, completed [charge done, credit done]; ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn what_is_late_decides_nothing() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout!
            pass 1s
            late charge#1: 409
            late charge#1: done
            charge: done
            late charge#2: 422
            wake
            recover
            grant
            unpark charge
            credit: done
            wake
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            pass 1s                      call charge#2
            late charge#1: 409           rejected: nothing to do
            late charge#1: done          rejected: nothing to do
            charge: done                 call credit#1
            late charge#2: 422           rejected: nothing to do
            wake                         rejected: nothing to do
            recover                      rejected: nothing to do
            grant                        rejected: nothing to do
            unpark charge                rejected: nothing to do
            credit: done                 completed; ended
            wake                         rejected: no live transaction 3 here
        "#]],
    );
}

#[test]
fn a_late_done_of_what_was_taken_back_is_undone() {
    check(
        "
            charge@pay POST undo after=-
            credit@bill POST undo after=-
        ",
        "
            begin
            charge: 429
            cancel
            late charge#1: done
            credit: 422
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1; call credit#1
            charge: 429                  parked call charge
            cancel                       withdraw call credit
            late charge#1: done
            credit: 422                  aborted: cancelled; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit refused]
        "#]],
    );
}

#[test]
fn a_restart_loses_where_a_call_went() {
    check(
        "
            a@bill POST undo
            b@bill POST undo
        ",
        "
            begin
            a: timeout
            pass 1s
            restart
            state
            begin t2
            restart
            state
            retry of t2
        ",
        expect![[r#"
            begin                        call a#1
            a: timeout
            pass 1s                      call a#2@1
            restart                      aborted: failed
            state                        undoing, aborted: failed [a unknown/quiet 5000ms (may), b pending]
            begin t2                     t2 call a#1
            restart
            state                        undoing, aborted: failed [a unknown/quiet 5000ms (may), b pending]; forward, asks promise_expired [a active/attention (may), b pending]
            retry of t2                  rejected: there is nothing to retry
        "#]],
    );
}

/// TX-4: the process ended between the freeing of a lock and its handing on.
#[test]
fn a_lock_that_was_freed_before_a_restart_goes_to_the_oldest() {
    check(
        "
            saga lock=balance
            a@pay POST undo
        ",
        "
            begin t1
            begin t2
            begin t3
            grants wait
            t1.a: done
            restart
            grants go
            t2.a: done
            t3.a: done
        ",
        expect![[r#"
            begin t1                     call a#1
            begin t2
            begin t3
            grants wait
            t1.a: done                   t1 completed; t1 ended
            restart
            grants go                    t2 call a#1
            t2.a: done                   t2 completed; t2 ended; t3 call a#1
            t3.a: done                   t3 completed; t3 ended
        "#]],
    );
}

#[test]
fn after_a_restore_the_next_call_may_have_been_made() {
    check(
        "
            charge@pay POST undo
            credit@tomb POST undo
        ",
        "
            begin
            hold tomb
            charge: done
            state
            restore
            free tomb
            state
            credit: 404
            state
            undo credit: done
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            hold tomb
            charge: done                 parked call credit
            state                        forward [charge done, credit active/parked]
            restore
            free tomb                    call credit#1
            state                        forward [charge done, credit active/outstanding (may)]
            credit: 404                  aborted: refused; undo credit#1
            state                        undoing, aborted: refused [charge done, credit undoing/outstanding (may)]
            undo credit: done            undo charge#1
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit compensated]
        "#]],
    );
}

#[test]
fn after_a_restore_what_nobody_recognises_is_not_asked_again() {
    check(
        "
            charge@pay POST undo
            credit@crm POST undo=PUT unknown=operator
        ",
        "
            begin
            hold crm
            charge: done
            restore
            free crm
            state
        ",
        expect![[r#"
            begin                        call charge#1
            hold crm
            charge: done                 parked call credit
            restore
            free crm
            state                        forward, asks unknown [charge done, credit active/attention (may)]
        "#]],
    );
}

#[test]
fn after_a_restore_what_was_parked_and_is_given_up_is_undone() {
    check(
        "
            charge@pay POST undo
            credit@tomb POST undo
        ",
        "
            begin
            hold tomb
            charge: done
            restore
            cancel
            state
            free tomb
            undo credit: done
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            hold tomb
            charge: done                 parked call credit
            restore
            cancel                       aborted: cancelled; parked undo credit
            state                        undoing, aborted: cancelled [charge done, credit undoing/parked (may)]
            free tomb                    undo credit#1
            undo credit: done            undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit compensated]
        "#]],
    );
}
