//! Participants that are no longer declared: what is under way is answered all the same, what is not asks a person.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn whoever_is_not_declared_is_not_called() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            gone bill
            charge: done
            state
            retry
            back bill
            retry
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            gone bill
            charge: done
            state                        forward, asks participant_gone [charge done, credit active/attention]
            retry
            back bill
            retry                        call credit#1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn an_answer_of_one_that_is_gone_counts() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            gone pay
            charge: done
            credit: timeout
            gone bill
            state
            pass 1s
            state
            back bill
            retry
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            gone pay
            charge: done                 call credit#1
            credit: timeout
            gone bill
            state                        forward [charge done, credit active/backoff (may)]
            pass 1s
            state                        forward, asks participant_gone [charge done, credit active/attention (may)]
            back bill
            retry                        call credit#2@1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn an_attempt_of_one_that_is_gone_asks() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            gone bill
            credit: 500
            state
            back bill
            retry
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            gone bill
            credit: 500
            state                        forward, asks participant_gone [charge done, credit active/attention (may)]
            back bill
            retry                        call credit#2@1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn an_undo_that_is_done_is_done_though_nobody_is_declared() {
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
            gone pay
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: 409                  aborted: refused; undo charge#1
            pass 10s
            gone pay
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit refused]
        "#]],
    );
}

#[test]
fn an_undo_that_failed_waits_for_its_participant_to_be_declared() {
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
            gone pay
            undo charge: 500
            state
            retry
            back pay
            retry
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: 409                  aborted: refused; undo charge#1
            pass 10s
            gone pay
            undo charge: 500
            state                        undoing, aborted: refused, asks participant_gone [charge undoing/attention (may), credit refused]
            retry
            back pay
            retry                        undo charge#2
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, credit refused]
        "#]],
    );
}
