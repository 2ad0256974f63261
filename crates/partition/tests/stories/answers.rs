//! What the answers of participants mean, and what may be asked again.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn what_was_not_taken_is_parked_and_costs_no_attempt() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: not_sent
            free pay
            charge: 429
            free pay
            charge: 503r
            free pay
            charge: 401
            free pay
            charge: 407
            free pay
            state
            charge: done
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: not_sent             parked call charge
            free pay                     call charge#2
            charge: 429                  parked call charge
            free pay                     call charge#3
            charge: 503r                 parked call charge
            free pay                     call charge#4
            charge: 401                  parked call charge
            free pay                     call charge#5
            charge: 407                  parked call charge
            free pay                     call charge#6
            state                        forward [charge active/outstanding, credit pending]
            charge: done                 call credit#1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn our_own_mistake_asks_a_person_and_judges_nothing() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: 405
            state
            retry
            charge: 301
            retry
            charge: 431
            cancel
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: 405
            state                        forward, asks our_mistake [charge active/attention, credit pending]
            retry                        call charge#2
            charge: 301
            retry                        call charge#3
            charge: 431
            cancel                       aborted: cancelled; ended
            state                        ended, aborted: cancelled [charge pending, credit pending]
        "#]],
    );
}

#[test]
fn unknown_is_asked_again_and_then_undone() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout
            pass 1s
            charge: 500
            pass 2s
            charge: 504!
            state
            pass 9s
            pass 1s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout
            pass 1s                      call charge#2
            charge: 500
            pass 2s                      call charge#3
            charge: 504!                 aborted: failed
            state                        undoing, aborted: failed [charge unknown/quiet 10000ms (may), credit pending]
            pass 9s
            pass 1s                      undo charge#1
            undo charge: done            ended
            state                        ended, aborted: failed [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn every_status_that_may_have_executed() {
    check(
        "
            a@crm POST undo=PUT unknown=operator
        ",
        "
            begin n1
            n1.a: 408
            begin n2
            n2.a: 425
            begin n3
            n3.a: 500
            begin n4
            n4.a: 502
            begin n5
            n5.a: 503
            begin n6
            n6.a: 504
            begin n7
            n7.a: 599
            begin n8
            n8.a: cut
            begin n9
            n9.a: timeout
            state
        ",
        expect![[r#"
            begin n1                     call a#1
            n1.a: 408
            begin n2                     n2 call a#1
            n2.a: 425
            begin n3                     n3 call a#1
            n3.a: 500
            begin n4                     n4 call a#1
            n4.a: 502
            begin n5                     n5 call a#1
            n5.a: 503
            begin n6                     n6 call a#1
            n6.a: 504
            begin n7                     n7 call a#1
            n7.a: 599
            begin n8                     n8 call a#1
            n8.a: cut
            begin n9                     n9 call a#1
            n9.a: timeout
            state                        forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]; forward, asks unknown [a active/attention (may)]
        "#]],
    );
}

#[test]
fn every_status_that_refuses() {
    check(
        "
            a@crm POST undo=PUT unknown=operator
        ",
        "
            begin n1
            n1.a: 400
            begin n2
            n2.a: 402
            begin n3
            n3.a: 403
            begin n4
            n4.a: 404
            begin n5
            n5.a: 409
            begin n6
            n6.a: 422
            begin n7
            n7.a: 451
            state
        ",
        expect![[r#"
            begin n1                     call a#1
            n1.a: 400                    aborted: refused; ended
            begin n2                     n2 call a#1
            n2.a: 402                    n2 aborted: refused; n2 ended
            begin n3                     n3 call a#1
            n3.a: 403                    n3 aborted: refused; n3 ended
            begin n4                     n4 call a#1
            n4.a: 404                    n4 aborted: refused; n4 ended
            begin n5                     n5 call a#1
            n5.a: 409                    n5 aborted: refused; n5 ended
            begin n6                     n6 call a#1
            n6.a: 422                    n6 aborted: refused; n6 ended
            begin n7                     n7 call a#1
            n7.a: 451                    n7 aborted: refused; n7 ended
            state                        ended, aborted: refused [a refused]; ended, aborted: refused [a refused]; ended, aborted: refused [a refused]; ended, aborted: refused [a refused]; ended, aborted: refused [a refused]; ended, aborted: refused [a refused]; ended, aborted: refused [a refused]
        "#]],
    );
}

#[test]
fn a_later_refusal_does_not_erase_an_earlier_unknown() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout!
            pass 1s
            charge: 409
            state
            pass 10s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            pass 1s                      call charge#2
            charge: 409                  aborted: refused
            state                        undoing, aborted: refused [charge refused/quiet 9000ms (may), credit pending]
            pass 10s                     undo charge#1
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn declared_proof_clears_it_once_all_has_settled() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout
            pass 1s
            charge: 418
            state
            pass 2s
            charge: 418
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout
            pass 1s                      call charge#2
            charge: 418
            state                        forward [charge active/backoff (may), credit pending]
            pass 2s                      call charge#3
            charge: 418                  aborted: failed
            state                        undoing, aborted: failed [charge unknown/quiet 7000ms (may), credit pending]
        "#]],
    );
}

#[test]
fn declared_proof_after_the_settling_time() {
    check(
        "
            charge@bill POST undo
        ",
        "
            begin
            charge: timeout
            hold bill
            pass 1s
            pass 10s
            free bill
            charge: 418
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout
            hold bill
            pass 1s                      parked call charge
            pass 10s
            free bill                    call charge#2@1
            charge: 418                  aborted: failed; ended
            state                        ended, aborted: failed [charge failed]
        "#]],
    );
}

#[test]
fn the_undo_waits_until_what_may_arrive_has_arrived() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: timeout+9s
            cancel
            state
            pass 9s
            pass 1s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout+9s
            cancel                       aborted: cancelled
            state                        undoing, aborted: cancelled [charge unknown/quiet 10000ms (may), credit pending]
            pass 9s
            pass 1s                      undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, credit pending]
        "#]],
    );
}

#[test]
fn an_undo_that_blocks_a_later_do_need_not_wait() {
    check(
        "
            charge@tomb POST undo
        ",
        "
            begin
            charge: timeout+9s
            cancel
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout+9s
            cancel                       aborted: cancelled; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated]
        "#]],
    );
}

#[test]
fn a_promise_that_expired_is_not_relied_on() {
    check(
        "
            charge@pay POST undo
            last@hlr POST undo=PUT unknown=operator
        ",
        "
            begin
            charge: timeout!
            hold pay
            pass 1s
            state
            pass 2d
            free pay
            state
            retry
            resolve charge done
            last: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            hold pay
            pass 1s                      parked call charge
            state                        forward [charge active/parked (may), last pending]
            pass 2d
            free pay
            state                        forward, asks promise_expired [charge active/attention (may), last pending]
            retry                        rejected: there is nothing to retry
            resolve charge done          call last#1
            last: done                   completed; ended
            state                        ended, completed [charge done by hand, last done]
        "#]],
    );
}

#[test]
fn a_promise_of_one_endpoint_is_kept_there() {
    check(
        "
            charge@bill POST undo
        ",
        "
            begin
            charge: timeout!
            pass 1s
            charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            pass 1s                      call charge#2@1
            charge: done                 completed; ended
            state                        ended, completed [charge done]
        "#]],
    );
}

#[test]
fn unknown_without_a_promise_is_never_asked_again() {
    check(
        "
            charge@crm POST undo=PUT unknown=operator
            next@bill POST undo
        ",
        r#"
            begin
            charge: timeout!
            state
            retry
            resolve charge done {"id":1}
            next: done
            state
        "#,
        expect![[r#"
            begin                        call charge#1
            charge: timeout!
            state                        forward, asks unknown [charge active/attention (may), next pending]
            retry                        rejected: there is nothing to retry
            resolve charge done {"id":1} call next#1
            next: done                   completed; ended
            state                        ended, completed [charge done by hand, next done]
        "#]],
    );
}

#[test]
fn unknown_that_is_to_be_compensated() {
    check(
        "
            charge@crm POST undo=PUT unknown=compensate
        ",
        "
            begin
            charge: timeout!
            pass 5s
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: timeout!             aborted: failed
            pass 5s                      undo charge#1
            undo charge: done            ended
            state                        ended, aborted: failed [charge compensated]
        "#]],
    );
}

#[test]
fn a_body_that_cannot_be_read_is_done() {
    check(
        "
            charge@pay POST undo
        ",
        "
            begin
            charge: 200 unusable
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: 200 unusable         completed; ended
            state                        ended, completed [charge done]
        "#]],
    );
}

#[test]
fn a_result_that_is_missing_asks_a_person() {
    check(
        "
            charge@pay POST undo keep=id
            next@bill POST undo reads=charge.id
        ",
        r#"
            begin
            charge: 200 unusable
            state
            resolve charge done [1]
            resolve charge done {"id":7}
            next: done
            state
        "#,
        expect![[r#"
            begin                        call charge#1
            charge: 200 unusable
            state                        forward, asks result_missing [charge active/attention (may), next pending]
            resolve charge done [1]      rejected: the result is not an object
            resolve charge done {"id":7} call next#1
            next: done                   completed; ended
            state                        ended, completed [charge done by hand, next done]
        "#]],
    );
}

#[test]
fn a_result_missing_while_turning_back_asks_nobody() {
    check(
        "
            charge@pay POST undo keep=id
            next@bill POST undo reads=charge.id
        ",
        "
            begin
            cancel
            charge: 200 {}
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            cancel                       withdraw call charge
            charge: 200 {}               aborted: cancelled; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, next pending]
        "#]],
    );
}
