//! Turning back: when, in which order, how often.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn undo_is_in_reverse_order_of_completion() {
    check(
        "
            a@pay POST undo after=-
            b@bill POST undo after=-
            c@hlr PUT undo=PUT after=-
            d@pay POST undo after=a,b,c
        ",
        "
            begin
            c: done
            a: done
            b: done
            d: 422
            undo b: done
            undo a: done
            undo c: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1; call c#1
            c: done
            a: done
            b: done                      call d#1
            d: 422                       aborted: refused; undo b#1@1
            undo b: done                 undo a#1
            undo a: done                 undo c#1
            undo c: done                 ended
            state                        ended, aborted: refused [a compensated, b compensated, c compensated, d refused]
        "#]],
    );
}

#[test]
fn an_undo_waits_for_all_that_is_outstanding() {
    check(
        "
            a@pay POST undo after=-
            b@bill POST undo after=-
        ",
        "
            begin
            a: done
            cancel
            b: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1
            a: done
            cancel                       withdraw call b
            b: done                      completed; ended
            state                        ended, completed [a done, b done]
        "#]],
    );
}

#[test]
fn a_refusal_beside_an_outstanding_call() {
    check(
        "
            a@pay POST undo after=-
            b@bill POST undo after=-
        ",
        "
            begin
            a: 422
            state
            b: timeout+4s
            state
            pass 4s
            pass 1s
            undo b: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1
            a: 422                       aborted: refused; withdraw call b
            state                        undoing, aborted: refused [a refused, b active/outstanding]
            b: timeout+4s
            state                        undoing, aborted: refused [a refused, b unknown/quiet 5000ms (may)]
            pass 4s
            pass 1s                      undo b#1@1
            undo b: done                 ended
            state                        ended, aborted: refused [a refused, b compensated]
        "#]],
    );
}

#[test]
fn an_undo_is_repeated_without_end() {
    check(
        "
            charge@bill POST undo
            last@pay POST undo
        ",
        "
            begin
            charge: done
            last: 422
            undo charge: 409
            pass 1s
            undo charge: 500
            pass 2s
            undo charge: 405
            pass 4s
            undo charge: 418
            pass 4s
            undo charge: 409
            pass 4s
            undo charge: 409
            pass 4s
            undo charge: 409
            pass 4s
            undo charge: 409
            pass 4s
            undo charge: 409
            state
            pass 4s
            undo charge: 409
            state
            pass 8s
            undo charge: 409
            state
            retry
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call last#1
            last: 422                    aborted: refused; undo charge#1@1
            undo charge: 409
            pass 1s                      undo charge#2@1
            undo charge: 500
            pass 2s                      undo charge#3@1
            undo charge: 405
            pass 4s                      undo charge#4@1
            undo charge: 418
            pass 4s                      undo charge#5@1
            undo charge: 409
            pass 4s                      undo charge#6@1
            undo charge: 409
            pass 4s                      undo charge#7@1
            undo charge: 409
            pass 4s                      undo charge#8@1
            undo charge: 409
            pass 4s                      undo charge#9@1
            undo charge: 409
            state                        undoing, aborted: refused [charge undoing/backoff (may), last refused]
            pass 4s                      undo charge#10@1
            undo charge: 409
            state                        undoing, aborted: refused, asks undo_fails [charge undoing/backoff (may), last refused]
            pass 8s                      undo charge#11@1
            undo charge: 409
            state                        undoing, aborted: refused, asks undo_fails [charge undoing/backoff (may), last refused]
            retry                        undo charge#12@1
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, last refused]
        "#]],
    );
}

#[test]
fn an_undo_that_was_not_taken_is_parked() {
    check(
        "
            charge@bill POST undo
            last@pay POST undo
        ",
        "
            begin
            charge: done
            last: 422
            undo charge: 429
            free bill
            undo charge: not_sent
            state
            free bill
            park undo charge
            free bill
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call last#1
            last: 422                    aborted: refused; undo charge#1@1
            undo charge: 429             parked undo charge
            free bill                    undo charge#2@1
            undo charge: not_sent        parked undo charge
            state                        undoing, aborted: refused [charge undoing/parked (may), last refused]
            free bill                    undo charge#3@1
            park undo charge             parked undo charge
            free bill                    undo charge#3@1
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, last refused]
        "#]],
    );
}

#[test]
fn nothing_to_undo_is_done_when_it_has_settled() {
    check(
        "
            charge@pay POST undo=gone
        ",
        "
            begin
            charge: timeout
            cancel
            pass 10s
            undo charge: 404
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout
            cancel                       aborted: cancelled
            pass 10s                     undo charge#1
            undo charge: 404             ended
            state                        ended, aborted: cancelled [charge compensated]
        "#]],
    );
}

#[test]
fn an_undo_without_promise_asks_a_person() {
    check(
        "
            charge@crm POST undo=operator unknown=compensate
            next@bill POST undo
        ",
        "
            begin
            charge: done
            next: 422
            undo charge: timeout
            state
            retry
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call next#1
            next: 422                    aborted: refused; undo charge#1
            undo charge: timeout
            state                        undoing, aborted: refused, asks unknown [charge undoing/attention (may), next refused]
            retry                        undo charge#2
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, next refused]
        "#]],
    );
}

#[test]
fn an_undo_is_not_repeated_past_its_promise() {
    check(
        "
            charge@bill POST undo
            next@pay POST undo
        ",
        "
            begin
            charge: done
            next: 422
            undo charge: timeout!
            hold bill
            pass 1s
            pass 2h
            free bill
            state
            resolve undo charge done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call next#1
            next: 422                    aborted: refused; undo charge#1@1
            undo charge: timeout!
            hold bill
            pass 1s                      parked undo charge
            pass 2h
            free bill
            state                        undoing, aborted: refused, asks promise_expired [charge undoing/attention (may), next refused]
            resolve undo charge done     ended
            state                        ended, aborted: refused [charge compensated by hand, next refused]
        "#]],
    );
}

#[test]
fn an_undo_that_needs_what_nobody_knows() {
    check(
        "
            charge@pay POST undo=reads keep=id
            next@bill POST undo
        ",
        "
            begin
            charge: timeout!
            cancel
            pass 10s
            state
            retry
            resolve undo charge refused
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            cancel                       aborted: cancelled
            pass 10s
            state                        undoing, aborted: cancelled, asks expression [charge unknown/attention (may), next pending]
            retry
            resolve undo charge refused  ended
            state                        ended, aborted: cancelled [charge givenup (may) by hand, next pending]
        "#]],
    );
}

#[test]
fn no_undo_where_none_was_declared() {
    check(
        "
            charge@pay POST undo=none
            next@bill POST undo
        ",
        "
            begin
            charge: done
            next: 422
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call next#1
            next: 422                    aborted: refused; ended
            state                        ended, aborted: refused [charge done, next refused]
        "#]],
    );
}
