//! What a partition does, told as stories: what happens on the left, what it asks of the world on the right.

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/saga.rs"]
mod saga;
#[path = "support/story.rs"]
mod story;
#[path = "support/world.rs"]
mod world;

use expect_test::expect;
use story::check;

const TOP_UP: &str = "
    charge@pay POST undo keep=id
    credit@bill POST undo
    notify@hlr POST optional undo=none unknown=ignore
";

#[test]
fn all_goes_well() {
    check(
        TOP_UP,
        "
        begin
        charge: done
        credit: done
        notify: done
        state
        ",
        expect![[r#"
            begin                        call charge#1
            charge: done                 call credit#1
            credit: done                 call notify#1; completed
            notify: done                 ended
            state                        ended, completed [charge done, credit done, notify done]
        "#]],
    );
}
