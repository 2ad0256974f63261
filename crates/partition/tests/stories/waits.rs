//! Signals, times, conditions.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn a_signal_in_time() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h refused_if=signal.body.no kept_signal=id
            z@bill POST undo reads=w.id
        ",
        r#"
            begin
            signal other k {}
            a: done
            signal go k1 {"no":false,"id":5}
            signal go k1 {"no":false,"id":5}
            signal go k2 {"no":true}
            z: done
            state
            signal go k1 {}
        "#,
        expect![[r#"
            begin                        call a#1
            signal other k {}            rejected: definition has no wait for the signal "other"
            a: done
            signal go k1 {"no":false,"id":5} call z#1
            signal go k1 {"no":false,"id":5} rejected: nothing to do
            signal go k2 {"no":true}     rejected: another signal "go" came first
            z: done                      completed; ended
            state                        ended, completed [a done, w done, z done]
            signal go k1 {}              rejected: no live transaction 3 here
        "#]],
    );
}

#[test]
fn a_signal_that_comes_early_is_kept() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h refused_if=signal.body.no kept_signal=id
            z@bill POST undo reads=w.id
        ",
        r#"
            begin
            signal go k1 {"no":false,"id":5}
            a: done
            z: done
            state
        "#,
        expect![[r#"
            begin                        call a#1
            signal go k1 {"no":false,"id":5}
            a: done                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, w done, z done]
        "#]],
    );
}

#[test]
fn a_signal_that_refuses() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h refused_if=signal.body.no kept_signal=id
            z@bill POST undo reads=w.id
        ",
        r#"
            begin
            a: done
            signal go k1 {"no":true}
            undo a: done
            state
        "#,
        expect![[r#"
            begin                        call a#1
            a: done
            signal go k1 {"no":true}     aborted: refused; undo a#1
            undo a: done                 ended
            state                        ended, aborted: refused [a compensated, w refused, z pending]
        "#]],
    );
}

#[test]
fn a_signal_that_lacks_what_is_read() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h refused_if=signal.body.no kept_signal=id
            z@bill POST undo reads=w.id
        ",
        r#"
            begin
            a: done
            signal go k1 {"no":false}
            state
            retry
            state
            resolve w done {"id":9}
            z: done
        "#,
        expect![[r#"
            begin                        call a#1
            a: done
            signal go k1 {"no":false}
            state                        forward, asks result_missing [a done, w active/attention, z pending]
            retry
            state                        forward, asks result_missing [a done, w active/attention, z pending]
            resolve w done {"id":9}      call z#1
            z: done                      completed; ended
        "#]],
    );
}

#[test]
fn a_signal_that_does_not_come() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h refused_if=signal.body.no kept_signal=id
            z@bill POST undo reads=w.id
        ",
        "
            begin
            a: done
            pass 1h
            undo a: done
            signal go k1 {}
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done
            pass 1h                      aborted: failed; undo a#1
            undo a: done                 ended
            signal go k1 {}              rejected: no live transaction 3 here
            state                        ended, aborted: failed [a compensated, w failed, z pending]
        "#]],
    );
}

#[test]
fn a_signal_that_comes_too_late_where_only_forward_is_left() {
    check(
        "
            p@pay POST pivot
            w wait=signal:go:1h
            z@bill POST
        ",
        "
            begin
            p: done
            pass 1h
            state
            signal go k1 {}
            z: done
            state
        ",
        expect![[r#"
            begin                        call p#1
            p: done
            pass 1h
            state                        forward, asks timed_out_after_pivot [p done, w active/attention, z pending]
            signal go k1 {}              call z#1
            z: done                      completed; ended
            state                        ended, completed [p done, w done, z done]
        "#]],
    );
}

#[test]
fn an_optional_wait_outlasts_the_outcome() {
    check(
        "
            a@pay POST undo
            w wait=signal:go:1h optional
        ",
        "
            begin
            a: done
            state
            signal go k1 {}
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      completed
            state                        forward, completed [a done, w active/signal]
            signal go k1 {}              ended
            state                        ended, completed [a done, w done]
        "#]],
    );
}

#[test]
fn a_signal_refuses_after_the_pivot() {
    check(
        "
            p@pay POST pivot
            w wait=signal:go:1h refused_if=signal.body.no
        ",
        r#"
            begin
            p: done
            signal go k1 {"no":true}
            state
            resolve w refused
            state
        "#,
        expect![[r#"
            begin                        call p#1
            p: done
            signal go k1 {"no":true}
            state                        forward, asks refused_after_pivot [p done, w active/attention]
            resolve w refused            completed; ended
            state                        ended, completed [p done, w refused by hand]
        "#]],
    );
}

#[test]
fn signals_missed_and_refused_while_turning_back() {
    check(
        "
            a@pay POST undo after=-
            v wait=signal:in_time:1h refused_if=signal.body.no after=-
            w wait=signal:go:1h after=-
        ",
        r#"
            begin
            cancel
            signal in_time k {"no":true}
            pass 1h
            state
            a: done
            undo a: done
            state
        "#,
        expect![[r#"
            begin                        call a#1
            cancel                       withdraw call a
            signal in_time k {"no":true}
            pass 1h
            state                        stopping cancelled [a active/outstanding, v refused, w failed]
            a: done                      aborted: cancelled; undo a#1
            undo a: done                 ended
            state                        ended, aborted: cancelled [a compensated, v refused, w failed]
        "#]],
    );
}

#[test]
fn skipped_is_done() {
    check(
        "
            a@pay POST undo when=input.x>1
            b@bill POST undo
        ",
        "
            begin
            b: done
            state
        ",
        expect![[r#"
            begin                        call b#1
            b: done                      completed; ended
            state                        ended, completed [a skipped, b done]
        "#]],
    );
}

#[test]
fn a_condition_without_value_asks_and_is_asked_again() {
    check(
        "
            a@pay POST undo when=1/input.x>0
            b@bill POST undo
        ",
        "
            begin x=0
            state
            retry
            state
            resolve a refused
            state
        ",
        expect![[r#"
            begin x=0
            state                        forward, asks expression [a active/attention, b pending]
            retry
            state                        forward, asks expression [a active/attention, b pending]
            resolve a refused            aborted: refused; ended
            state                        ended, aborted: refused [a refused by hand, b pending]
        "#]],
    );
}

#[test]
fn waits_for_a_time() {
    check(
        "
            a wait=for:3s
            b wait=until:input.at
            c@pay POST undo
        ",
        "
            begin at=2026-11-18T12:00:00Z
            pass 3s
            pass 1h
            c: done
            state
        ",
        expect![[r#"
            begin at=2026-11-18T12:00:00Z
            pass 3s
            pass 1h                      call c#1
            c: done                      completed; ended
            state                        ended, completed [a done, b done, c done]
        "#]],
    );
}

#[test]
fn a_time_in_the_past_and_one_that_is_none() {
    check(
        "
            b wait=until:input.at
            c@pay POST undo
        ",
        "
            begin n1 at=2020-01-01T00:00:00Z
            begin n2 at=soon
            state
            resolve b done of n2
        ",
        expect![[r#"
            begin n1 at=2020-01-01T00:00:00Z call c#1
            begin n2 at=soon
            state                        forward [b done, c active/outstanding]; forward, asks expression [b active/attention, c pending]
            resolve b done of n2         n2 call c#1
        "#]],
    );
}
