//! Reads that are handed the answer of another call (SEMANTICS 27).

use expect_test::expect;

use crate::support::story::check;

#[test]
fn anothers_yes_is_an_answer_and_nothing_was_executed() {
    check(
        "
            saga output=look.id
            look@book GET keep=id
            charge@pay POST undo
        ",
        r#"
            begin
            shared look: 200 {"id":7}
            state
            evict
            charge: done
            state
        "#,
        expect![[r#"
            begin                        call look#1 may share
            shared look: 200 {"id":7}    call charge#1
            state                        forward [look done (by another's), charge active/outstanding]
            evict
            charge: done                 completed; ended
            state                        ended, completed, output {"v":7} [look done (by another's), charge done]
        "#]],
    );
}

#[test]
fn anothers_no_is_judged_by_the_rules_of_the_step() {
    check(
        "
            look@book GET refused_if=response.status==200
            charge@pay POST undo
        ",
        "
            begin
            shared look: 200
            state
        ",
        expect![[r#"
            begin                        call look#1 may share
            shared look: 200             aborted: refused; ended
            state                        ended, aborted: refused [look refused, charge pending]
        "#]],
    );
    check(
        "
            look@book GET
            charge@pay POST undo
        ",
        "
            begin
            shared look: 404
            state
        ",
        expect![[r#"
            begin                        call look#1 may share
            shared look: 404             aborted: refused; ended
            state                        ended, aborted: refused [look refused, charge pending]
        "#]],
    );
}

/// Nothing is spent by it: the attempt is outstanding as before, and its own answer decides.
#[test]
fn what_says_neither_yes_nor_no_judges_nobody() {
    check(
        "
            look@book GET keep=id
            charge@pay POST undo reads=look.id
        ",
        r#"
            begin
            shared look: timeout
            shared look: cut
            shared look: 500
            shared look: 429
            shared look: 503r
            shared look: 401
            shared look: 405
            shared look: 418
            shared look: 200 {"other":1}
            shared look: 200 unusable
            state
            look: 200 {"id":7}
            charge: done
            state
        "#,
        expect![[r#"
            begin                        call look#1 may share
            shared look: timeout         rejected: another's answer does not do here
            shared look: cut             rejected: another's answer does not do here
            shared look: 500             rejected: another's answer does not do here
            shared look: 429             rejected: another's answer does not do here
            shared look: 503r            rejected: another's answer does not do here
            shared look: 401             rejected: another's answer does not do here
            shared look: 405             rejected: another's answer does not do here
            shared look: 418             rejected: another's answer does not do here
            shared look: 200 {"other":1} rejected: another's answer does not do here
            shared look: 200 unusable    rejected: another's answer does not do here
            state                        forward [look active/outstanding, charge pending]
            look: 200 {"id":7}           call charge#1
            charge: done                 completed; ended
            state                        ended, completed [look done, charge done]
        "#]],
    );
}

/// A repeat of what may have been executed asks for itself, and so does whatever was outstanding at a restart.
#[test]
fn whoever_has_asked_takes_no_other_answer() {
    check(
        "
            look@book GET
            charge@pay POST undo
        ",
        "
            begin
            look: timeout
            pass 1s
            shared look: done
            state
            look: done
            charge: done
            state
        ",
        expect![[r#"
            begin                        call look#1 may share
            look: timeout
            pass 1s                      call look#2 may be shared
            shared look: done            rejected: another's answer does not do here
            state                        forward [look active/outstanding (may), charge pending]
            look: done                   call charge#1
            charge: done                 completed; ended
            state                        ended, completed [look done, charge done]
        "#]],
    );
    check(
        "
            look@book GET
            charge@pay POST undo
        ",
        "
            begin
            restart
            pass 1s
            shared look: done
            look: done
            charge: done
            state
        ",
        expect![[r#"
            begin                        call look#1 may share
            restart
            pass 1s                      call look#2 may be shared
            shared look: done            rejected: another's answer does not do here
            look: done                   call charge#1
            charge: done                 completed; ended
            state                        ended, completed [look done, charge done]
        "#]],
    );
}

/// What was given back never started: it may share as if it were asked for the first time.
#[test]
fn a_parked_read_may_share_when_it_is_asked_for() {
    check(
        "
            look@book GET
            charge@pay POST undo
        ",
        "
            begin
            park look
            free book
            shared look: done
            charge: 404
            state
        ",
        expect![[r#"
            begin                        call look#1 may share
            park look                    parked call look
            free book                    call look#1 may share
            shared look: done            call charge#1
            charge: 404                  aborted: refused; ended
            state                        ended, aborted: refused [look done (by another's), charge refused]
        "#]],
    );
}

/// Only what is declared, only what reads, and never the point of no return.
#[test]
fn what_may_not_be_shared() {
    check(
        "
            other@book GET
            look@pay GET
            change@book POST undo=none unknown=operator
            charge@pay POST pivot
        ",
        "
            begin
            other: done
            look: done
            change: done
            charge: done
            state
        ",
        expect![[r#"
            begin                        call other#1
            other: done                  call look#1
            look: done                   call change#1
            change: done                 call charge#1
            charge: done                 completed; ended
            state                        ended, completed [other done, look done, change done, charge done]
        "#]],
    );
}

/// Too late is too late: an answer to an attempt that is over changes nothing, and proves nothing about it.
#[test]
fn a_shared_answer_after_a_cancel_finds_nobody() {
    check(
        "
            charge@pay POST undo
            look@book GET
        ",
        "
            takes back
            begin
            charge: done
            cancel
            state
            undo charge: done
            state
        ",
        expect![[r#"
            takes back
            begin                        call charge#1
            charge: done                 call look#1 may share
            cancel                       withdraw call look; aborted: cancelled; undo charge#1
            state                        undoing, aborted: cancelled [charge undoing/outstanding (may), look pending]
            undo charge: done            ended
            state                        ended, aborted: cancelled [charge compensated, look pending]
        "#]],
    );
}
