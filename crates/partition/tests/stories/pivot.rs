//! The point of no return, before it, at it, after it.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn a_pivot_refused_with_proof_is_a_refusal() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: 422
            undo a: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: 422                       aborted: refused; undo a#1
            undo a: done                 ended
            state                        ended, aborted: refused [a compensated, p refused, z pending]
        "#]],
    );
}

#[test]
fn a_pivot_that_failed_is_a_failure() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: 418
            pass 1s
            p: 418
            pass 2s
            p: 418
            undo a: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: 418
            pass 1s                      call p#2
            p: 418
            pass 2s                      call p#3
            p: 418                       aborted: failed; undo a#1
            undo a: done                 ended
            state                        ended, aborted: failed [a compensated, p failed, z pending]
        "#]],
    );
}

#[test]
fn a_pivot_unknown_is_asked_on_and_nothing_is_undone() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout
            pass 1s
            p: timeout
            pass 2s
            p: timeout
            pass 4s
            p: timeout
            pass 8s
            p: done
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout
            pass 1s                      call p#2
            p: timeout
            pass 2s                      call p#3
            p: timeout
            pass 4s                      call p#4
            p: timeout
            pass 8s                      call p#5
            p: done                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn a_pivot_that_is_asked_on_as_the_timeout_passes_is_asked_all_the_same() {
    // Both are due when the clock is looked at again: the timeout must not take the call back and leave it parked.
    check(
        "
            saga timeout=30s
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout
            sleep 40s
            pass 0s
            p: done
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout
            sleep 40s
            pass 0s                      call p#2
            p: done                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn a_pivot_refused_after_an_unknown_asks_a_person() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout
            pass 1s
            p: 422
            state
            resolve p refused
            undo a: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout
            pass 1s                      call p#2
            p: 422
            state                        forward, asks refused_after_pivot [a done, p active/attention (may), z pending]
            resolve p refused            aborted: refused; undo a#1
            undo a: done                 ended
            state                        ended, aborted: refused [a compensated, p refused by hand, z pending]
        "#]],
    );
}

#[test]
fn cancelled_while_the_pivot_is_unknown() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout!
            cancel
            state
            hold pay
            pass 1s
            state
            free pay
            park p
            free pay
            p: 429
            free pay
            p: done
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout!
            cancel
            state                        stopping cancelled [a done, p active/backoff (may), z pending]
            hold pay
            pass 1s                      parked call p
            state                        stopping cancelled [a done, p active/parked (may), z pending]
            free pay                     call p#2
            park p                       parked call p
            free pay                     call p#2
            p: 429                       parked call p
            free pay                     call p#3
            p: done                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn a_person_retries_a_pivot_of_which_nobody_knows() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout!
            cancel
            pass 1s
            p: 405
            state
            retry
            p: done
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout!
            cancel
            pass 1s                      call p#2
            p: 405
            state                        stopping cancelled, asks our_mistake [a done, p active/attention (may), z pending]
            retry                        call p#3
            p: done                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn cancelled_while_the_pivot_is_unknown_and_it_never_was() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: timeout
            cancel
            pass 1s
            p: 422
            state
            resolve p refused
            undo a: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: timeout
            cancel
            pass 1s                      call p#2
            p: 422
            state                        stopping cancelled, asks refused_after_pivot [a done, p active/attention (may), z pending]
            resolve p refused            aborted: cancelled; undo a#1
            undo a: done                 ended
            state                        ended, aborted: cancelled [a compensated, p refused by hand, z pending]
        "#]],
    );
}

#[test]
fn after_the_pivot_only_forward() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: done
            cancel
            z: timeout
            pass 1s
            z: timeout
            pass 2s
            z: 418
            pass 4s
            z: 418
            pass 4s
            z: 422
            state
            resolve z refused
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: done                      call z#1
            cancel                       rejected: past the point of no return
            z: timeout
            pass 1s                      call z#2@1
            z: timeout
            pass 2s                      call z#3@1
            z: 418
            pass 4s                      call z#4@1
            z: 418
            pass 4s                      call z#5
            z: 422
            state                        forward, asks refused_after_pivot [a done, p done, z active/attention]
            resolve z refused            completed; ended
            state                        ended, completed [a done, p done, z refused by hand]
        "#]],
    );
}

#[test]
fn the_timeout_before_the_pivot_aborts() {
    check(
        "
            saga timeout=30s
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            pass 30s
            p: 422
            undo a: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            pass 30s                     withdraw call p
            p: 422                       aborted: timed_out; undo a#1
            undo a: done                 ended
            state                        ended, aborted: timed_out [a compensated, p refused, z pending]
        "#]],
    );
}

#[test]
fn the_timeout_after_the_pivot_asks_and_goes_on() {
    check(
        "
            saga timeout=30s
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            p: done
            z: timeout
            hold bill
            pass 30s
            state
            free bill
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            p: done                      call z#1
            z: timeout
            hold bill
            pass 30s                     parked call z
            state                        forward, asks timed_out_after_pivot [a done, p done, z active/parked (may)]
            free bill                    call z#2@1
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn the_timeout_while_the_pivot_is_in_flight() {
    check(
        "
            saga timeout=30s
            a@pay POST undo
            p@pay POST pivot
            z@bill POST
        ",
        "
            begin
            a: done
            pass 30s
            p: done
            state
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            pass 30s                     withdraw call p
            p: done                      call z#1
            state                        forward, asks timed_out_after_pivot [a done, p done, z active/outstanding]
            z: done                      completed; ended
            state                        ended, completed [a done, p done, z done]
        "#]],
    );
}

#[test]
fn a_pivot_whose_result_is_missing() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot keep=id
            z@bill POST reads=p.id
        ",
        r#"
            begin
            a: done
            cancel
            p: 200 {}
            state
            resolve p done {"id":3}
            z: done
            state
        "#,
        expect![[r#"
            begin                        call a#1
            a: done                      call p#1
            cancel                       withdraw call p
            p: 200 {}
            state                        stopping cancelled, asks result_missing [a done, p active/attention (may), z pending]
            resolve p done {"id":3}      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, p done by hand, z done]
        "#]],
    );
}

#[test]
fn a_pivot_that_is_skipped_is_passed() {
    check(
        "
            a@pay POST undo
            p@pay POST pivot when=input.x>1
            z@bill POST
        ",
        "
            begin
            a: done
            cancel
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call z#1
            cancel                       rejected: past the point of no return
            z: done                      completed; ended
            state                        ended, completed [a done, p skipped, z done]
        "#]],
    );
}
