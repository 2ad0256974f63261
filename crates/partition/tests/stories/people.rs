//! What a person decides, and what is put aside for one.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn an_output_that_cannot_be_made_does_not_keep_it_open() {
    check(
        "
            saga output=a.id
            a@pay POST undo keep=id
        ",
        "
            begin
            a: 200 {}
            resolve a done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: 200 {}
            resolve a done               completed; ended
            state                        ended, completed, the output cannot be made: there is no "id in the result of step 0" [a done by hand]
        "#]],
    );
}

#[test]
fn a_person_decides_a_call_as_refused() {
    check(
        "
            charge@pay POST undo
            next@crm POST undo=PUT unknown=operator
        ",
        "
            begin
            charge: done
            next: timeout
            resolve next refused
            undo charge: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call next#1
            next: timeout
            resolve next refused         aborted: refused; undo charge#1
            undo charge: done            ended
            state                        ended, aborted: refused [charge compensated, next refused by hand]
        "#]],
    );
}

#[test]
fn a_person_cannot_decide_what_is_still_on_its_way() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            resolve charge done
            resolve undo charge done
            resolve credit refused
            retry
            state
        ",
        expect![[r#"
            begin                        call charge#1
            resolve charge done          rejected: step "charge" does not wait for a decision
            resolve undo charge done     rejected: step "charge" does not wait for a decision
            resolve credit refused       rejected: step "credit" does not wait for a decision
            retry                        rejected: there is nothing to retry
            state                        forward [charge active/outstanding, credit pending]
        "#]],
    );
}

#[test]
fn a_person_undoes_by_hand() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            credit: 422
            undo charge: 429
            resolve undo charge done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: 422                  aborted: refused; undo charge#1
            undo charge: 429             parked undo charge
            resolve undo charge done     ended
            state                        ended, aborted: refused [charge compensated by hand, credit refused]
        "#]],
    );
}

#[test]
fn a_person_does_the_second_question_after_the_first() {
    check(
        "
            a@crm POST undo=PUT unknown=operator after=-
            b@crm POST undo=PUT unknown=operator after=-
        ",
        "
            begin
            a: timeout!
            b: timeout!
            state
            resolve a done
            state
            resolve b done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1
            a: timeout!
            b: timeout!
            state                        forward, asks unknown [a active/attention (may), b active/attention (may)]
            resolve a done
            state                        forward, asks unknown [a done by hand, b active/attention (may)]
            resolve b done               completed; ended
            state                        ended, completed [a done by hand, b done by hand]
        "#]],
    );
}

#[test]
fn a_poisoned_decision_puts_one_transaction_aside() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            poison
            charge: done
            wake
            heal
            state
            pass 1h
            retry
            charge: done
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            poison
            charge: done
            wake                         rejected: nothing to do
            heal
            state                        forward, asks quarantined [charge active (may), credit pending]
            pass 1h
            retry                        call charge#2
            charge: done                 call credit#1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn what_is_put_aside_goes_on_when_a_person_says_so_and_not_when_there_is_room() {
    check(
        "
            a@pay POST undo
            b@bill POST undo
        ",
        "
            begin
            hold bill
            a: done
            poison
            retry
            heal
            free bill
            state
            retry
            b: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            hold bill
            a: done                      parked call b
            poison
            retry
            heal
            free bill
            state                        forward, asks quarantined [a done, b active/parked]
            retry                        call b#1
            b: done                      completed; ended
            state                        ended, completed [a done, b done]
        "#]],
    );
}

#[test]
fn a_poisoned_timer_does_not_fire_at_every_turn() {
    check(
        "
            saga timeout=1h
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: 500
            poison
            pass 1s
            pass 2h
            heal
            state
            retry
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: 500
            poison
            pass 1s
            pass 2h
            heal
            state                        forward, asks quarantined [charge active/backoff (may), credit pending]
            retry                        call charge#2
            state                        forward [charge active/outstanding (may), credit pending]
        "#]],
    );
}

#[test]
fn a_poisoned_recovery() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            poison
            restart
            heal
            state
            retry
            state
            resolve credit done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            poison
            restart
            heal
            state                        forward, asks quarantined [charge done, credit active (may)]
            retry
            state                        forward, asks promise_expired [charge done, credit active/attention (may)]
            resolve credit done          completed; ended
            state                        ended, completed [charge done, credit done by hand]
        "#]],
    );
}

#[test]
fn a_participant_that_is_gone() {
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
fn a_decision_about_one_step_takes_up_the_rest_of_what_was_put_aside() {
    check(
        "
            a@crm POST undo=PUT unknown=operator after=-
            b@pay POST undo after=-
            c@bill POST undo after=-
        ",
        "
            begin
            a: timeout!
            c: 429
            poison
            b: done
            heal
            free bill
            state
            resolve a done
            state
            b: done
            free bill
            c: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1; call c#1
            a: timeout!
            c: 429                       parked call c
            poison
            b: done
            heal
            free bill
            state                        forward, asks quarantined [a active/attention (may), b active (may), c active/parked]
            resolve a done               parked call c; call b#2
            state                        forward [a done by hand, b active/outstanding (may), c active/parked]
            b: done
            free bill                    call c#2
            c: done                      completed; ended
            state                        ended, completed [a done by hand, b done, c done]
        "#]],
    );
}

#[test]
fn a_cancel_turns_back_what_was_put_aside_with_an_undo_under_way() {
    check(
        "
            a@bill POST undo optional after=-
            b@pay POST undo after=-
        ",
        "
            begin
            a: timeout!
            pass 2s
            a: timeout!
            pass 10s
            undo a: 429
            poison
            b: timeout!
            heal
            free bill
            state
            cancel
            state
            free bill
            undo a: done
            pass 2h
            undo b: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call b#1
            a: timeout!
            pass 2s                      call a#2@1
            a: timeout!
            pass 10s                     undo a#1@1
            undo a: 429                  parked undo a
            poison
            b: timeout!
            heal
            free bill
            state                        forward, asks quarantined [a undoing/parked (may), b active (may)]
            cancel                       aborted: cancelled; parked undo a
            state                        undoing, aborted: cancelled [a undoing/parked (may), b unknown (may)]
            free bill                    undo a#2@1
            undo a: done
            pass 2h                      undo b#1
            undo b: done                 ended
            state                        ended, aborted: cancelled [a compensated, b compensated]
        "#]],
    );
}

#[test]
fn the_endpoint_that_would_recognise_it_is_gone() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            credit: timeout!
            hold bill
            pass 1s
            endpoints bill 1
            free bill
            free bill
            state
            retry
            endpoints bill 2
            retry
            credit: done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: timeout!
            hold bill
            pass 1s                      parked call credit
            endpoints bill 1
            free bill
            free bill
            state                        forward, asks participant_gone [charge done, credit active/attention (may)]
            retry
            endpoints bill 2
            retry                        call credit#2@1
            credit: done                 completed; ended
            state                        ended, completed [charge done, credit done]
        "#]],
    );
}

#[test]
fn one_endpoint_today_says_nothing_of_yesterday() {
    check(
        "
            charge@pay POST undo
            credit@bill POST undo
        ",
        "
            begin
            charge: done
            endpoints bill 1
            restart
            state
            resolve credit done
            state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            endpoints bill 1
            restart
            state                        forward, asks promise_expired [charge done, credit active/attention (may)]
            resolve credit done          completed; ended
            state                        ended, completed [charge done, credit done by hand]
        "#]],
    );
}
