//! Wishes and deadlines that come while something waits, and what becomes of it when they come too late.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn after_a_wish_that_came_too_late_what_was_parked_goes_on() {
    check(
        "
            charge@pay POST undo
            notify@bill POST optional undo=none unknown=ignore after=
        ",
        "
            hold bill
            begin
            cancel
            state
            charge: done
            state
            free bill
            notify: done
            state
        ",
        expect![[r#"
            hold bill
            begin                        call charge#1; parked call notify
            cancel                       withdraw call charge
            state                        stopping cancelled [charge active/outstanding, notify active/parked]
            charge: done                 parked call notify; completed
            state                        forward, completed [charge done, notify active/parked]
            free bill                    call notify#1
            notify: done                 ended
            state                        ended, completed [charge done, notify done]
        "#]],
    );
}

#[test]
fn what_would_be_tried_again_is_left_when_the_rest_is_over() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo after=
        ",
        "
            begin
            credit: timeout
            cancel
            state
            pass 1s
            state
            charge: 409
            pass 10s
            undo credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1; call credit#1
            credit: timeout
            cancel                       withdraw call charge
            state                        stopping cancelled [charge active/outstanding, credit active/backoff (may)]
            pass 1s
            state                        stopping cancelled [charge active/outstanding, credit unknown (may)]
            charge: 409                  aborted: cancelled
            pass 10s                     undo credit#1@1
            undo credit: done            ended
            state                        ended, aborted: cancelled [charge refused, credit compensated]
        "#]],
    );
}

#[test]
fn a_repeat_that_falls_due_with_the_timeout_is_never_sent() {
    check(
        "
            saga timeout=3s
            charge@pay POST undo
            credit@bill POST undo after=
        ",
        "
            begin
            charge: timeout
            credit: done
            sleep 5s
            pass 1ms
            state
            undo credit: done
            pass 10s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1; call credit#1
            charge: timeout
            credit: done
            sleep 5s
            pass 1ms                     aborted: timed_out; undo credit#1@1
            state                        undoing, aborted: timed_out [charge unknown (may), credit undoing/outstanding (may)]
            undo credit: done
            pass 10s                     undo charge#1
            undo charge: done            ended
            state                        ended, aborted: timed_out [charge compensated, credit compensated]
        "#]],
    );
}

#[test]
fn what_was_put_aside_on_the_way_back_is_taken_up() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo after=
        ",
        "
            begin
            cancel
            poison
            credit: timeout!
            heal
            state
            resolve credit refused
            state
            charge: 409
            pass 1h
            state
        ",
        expect![[r#"
            begin                        call charge#1; call credit#1
            cancel                       withdraw call charge; withdraw call credit
            poison
            credit: timeout!
            heal
            state                        stopping cancelled, asks quarantined [charge active/outstanding, credit active (may)]
            resolve credit refused
            state                        stopping cancelled [charge active/outstanding, credit refused by hand]
            charge: 409                  aborted: cancelled; ended
            pass 1h
            state                        ended, aborted: cancelled [charge refused, credit refused by hand]
        "#]],
    );
}

#[test]
fn a_call_that_comes_back_while_everything_breaks_is_known_not_to_have_started() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            poison
            park charge
            heal
            state
            retry
            charge: done
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            poison
            park charge
            heal
            state                        forward, asks quarantined [charge active, credit pending]
            retry                        call charge#2
            charge: done                 call credit#1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn an_undo_that_went_through_at_last_asks_no_more() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            credit: 409
            pass 10s
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            pass 1h
            undo charge: 500
            state
            pass 1h
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: 409                  aborted: refused; undo charge#1
            pass 10s
            undo charge: 500
            pass 1h                      undo charge#2
            undo charge: 500
            pass 1h                      undo charge#3
            undo charge: 500
            pass 1h                      undo charge#4
            undo charge: 500
            pass 1h                      undo charge#5
            undo charge: 500
            pass 1h                      undo charge#6
            undo charge: 500
            pass 1h                      undo charge#7
            undo charge: 500
            pass 1h                      undo charge#8
            undo charge: 500
            pass 1h                      undo charge#9
            undo charge: 500
            pass 1h                      undo charge#10
            undo charge: 500
            state                        undoing, aborted: refused, asks undo_fails [charge undoing/backoff (may), credit refused]
            pass 1h                      undo charge#11
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit refused]
        "#]],
    );
}
