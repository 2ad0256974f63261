//! Optional steps: nobody waits for them, and nothing of them is forgotten.

use expect_test::expect;

use crate::support::story::check;

#[test]
fn an_optional_step_that_is_refused() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
            z@pay POST undo
        ",
        "
            begin
            a: done
            o: 422
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1
            o: 422                       call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, o refused, z done]
        "#]],
    );
}

#[test]
fn an_optional_step_outlives_the_timeout_when_the_outcome_is_decided() {
    // A call of it that carried the spent deadline would never start (the world of these stories refuses it).
    check(
        "
            saga timeout=5s
            a@pay POST undo
            o@pay POST undo=none optional
        ",
        "
            begin
            a: done
            pass 6s
            o: timeout
            pass 2s
            o: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1; completed
            pass 6s
            o: timeout
            pass 2s                      call o#2
            o: done                      ended
            state                        ended, completed [a done, o done]
        "#]],
    );
}

#[test]
fn an_optional_step_counts_every_attempt() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
            z@pay POST undo
        ",
        "
            begin
            a: done
            o: 429
            pass 1s
            o: 401
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1
            o: 429
            pass 1s                      call o#2
            o: 401                       call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, o failed, z done]
        "#]],
    );
}

#[test]
fn an_optional_step_that_may_have_executed_is_undone_on_its_own() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
            z@pay POST undo
        ",
        "
            begin
            a: done
            o: timeout
            pass 1s
            o: timeout+4s
            z: done
            state
            pass 4s
            pass 1s
            undo o: 500
            pass 1s
            undo o: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1
            o: timeout
            pass 1s                      call o#2@1
            o: timeout+4s                call z#1
            z: done                      completed
            state                        forward, completed [a done, o unknown/quiet 5000ms (may), z done]
            pass 4s
            pass 1s                      undo o#1@1
            undo o: 500
            pass 1s                      undo o#2@1
            undo o: done                 ended
            state                        ended, completed [a done, o compensated, z done]
        "#]],
    );
}

#[test]
fn an_optional_step_waits_for_its_participant_only_so_long() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
            z@pay POST undo
        ",
        "
            begin
            hold bill
            a: done
            state
            pass 2s
            z: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            hold bill
            a: done                      parked call o
            state                        forward [a done, o active/parked, z pending]
            pass 2s                      call z#1
            z: done                      completed; ended
            state                        ended, completed [a done, o failed, z done]
        "#]],
    );
}

#[test]
fn patience_ends_after_an_attempt_that_may_have_executed() {
    check(
        "
            a@pay POST undo
            o@bill POST undo optional
            z@pay POST undo
        ",
        "
            begin
            a: done
            o: timeout+4s
            hold bill
            pass 1s
            state
            pass 2s
            z: done
            state
            pass 5s
            state
            free bill
            undo o: done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1
            o: timeout+4s
            hold bill
            pass 1s                      parked call o
            state                        forward [a done, o active/parked (may), z pending]
            pass 2s                      call z#1
            z: done                      completed
            state                        forward, completed [a done, o unknown/quiet 2000ms (may), z done]
            pass 5s                      parked undo o
            state                        forward, completed [a done, o undoing/parked (may), z done]
            free bill                    undo o#1@1
            undo o: done                 ended
            state                        ended, completed [a done, o compensated, z done]
        "#]],
    );
}

#[test]
fn an_optional_step_unknown_is_ignored_where_that_is_said() {
    check(
        "
            a@pay POST undo
            n@hlr POST optional undo=none unknown=ignore
        ",
        "
            begin
            a: done
            n: timeout!
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call n#1; completed
            n: timeout!                  ended
            state                        ended, completed [a done, n unknown (may)]
        "#]],
    );
}

#[test]
fn a_wish_that_lost_still_undoes_what_optional_steps_did() {
    check(
        "
            a@pay POST undo after=-
            o@bill POST undo optional after=-
        ",
        "
            begin
            cancel
            o: timeout!
            a: done
            state
            pass 5s
            undo o: done
            state
        ",
        expect![[r#"
            begin                        call a#1; call o#1
            cancel                       withdraw call a; withdraw call o
            o: timeout!
            a: done                      completed
            state                        forward, completed [a done, o unknown/quiet 5000ms (may)]
            pass 5s                      undo o#1@1
            undo o: done                 ended
            state                        ended, completed [a done, o compensated]
        "#]],
    );
}

#[test]
fn an_optional_undo_that_cannot_begin() {
    check(
        "
            a@pay POST undo
            o@bill POST undo=reads optional keep=id
        ",
        "
            begin
            a: done
            o: timeout!
            pass 1s
            o: timeout
            pass 5s
            state
            retry
            resolve undo o done
            state
        ",
        expect![[r#"
            begin                        call a#1
            a: done                      call o#1; completed
            o: timeout!
            pass 1s                      call o#2@1
            o: timeout
            pass 5s
            state                        forward, completed, asks expression [a done, o unknown/attention (may)]
            retry
            resolve undo o done          ended
            state                        ended, completed [a done, o compensated by hand]
        "#]],
    );
}

#[test]
fn an_optional_step_after_the_pivot() {
    check(
        "
            p@pay POST pivot
            n@bill POST optional
        ",
        "
            begin
            p: done
            n: 500
            pass 1s
            n: 500
            state
        ",
        expect![[r#"
            begin                        call p#1
            p: done                      call n#1; completed
            n: 500
            pass 1s                      call n#2@1
            n: 500                       ended
            state                        ended, completed [p done, n unknown (may)]
        "#]],
    );
}
