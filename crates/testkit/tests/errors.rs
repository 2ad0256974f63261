//! What a user is told about a wrong test file, and about a case that does not come out as expected.

use definition::{Diagnostic, SourceFile};
use expect_test::{Expect, expect};
use testkit::play::{Choice, play_file};
use testkit::report::{Report, Show, json, junit, text};
use testkit::suite;

const PARTICIPANTS: &str = "apiVersion: tidegate/v1
kind: Participants
participants:
  - name: pay
    connector: http
    endpoints: [http://pay.example]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 10s
    timeout: 3s
    retry: {attempts: 3, backoff: 1s, max_backoff: 8s}
    limits: {max_in_flight: 10}
  - name: ship
    connector: http
    endpoints: [http://ship.example]
    idempotency: none
    settles_within: 5s
    timeout: 2s
    retry: {attempts: 2, backoff: 1s, max_backoff: 4s}
    limits: {max_in_flight: 10}
";

const ORDER: &str = "apiVersion: tidegate/v1
kind: Saga
name: order
version: 3
input:
  type: object
  additionalProperties: false
  required: [amount]
  properties:
    amount: {type: integer, minimum: 1}
timeout: 1m
steps:
  - name: charge
    call: {participant: pay, method: POST, path: /charges, body: {amount: \"${input.amount}\"}}
    result: {id: \"${response.body.id}\"}
    compensate: {participant: pay, method: POST, path: /refunds, body: {key: \"${steps.charge.call_key}\"}}
  - name: ship
    call: {participant: ship, method: POST, path: /parcels}
    unknown: compensate
    compensate: none
output: {id: \"${steps.charge.result.id}\"}
";

fn load(path: &str) -> Result<SourceFile, String> {
    let text = match path {
        "order.yaml" => ORDER,
        "participants.yaml" => PARTICIPANTS,
        _ => return Err(format!("{path}: No such file or directory")),
    };
    Ok(SourceFile { path: path.into(), text: text.into() })
}

fn findings(text: &str) -> String {
    let file = SourceFile { path: "order.test.yaml".into(), text: text.into() };
    match suite::read(&file, &mut load) {
        Ok(_) => "no error\n".into(),
        Err(findings) => findings.iter().map(Diagnostic::render).collect(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "reads as expect_test is read everywhere")]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&findings(text));
}

fn played(cases: &str) -> Report {
    let head = "apiVersion: tidegate/v1\nkind: Test\ndefinition: order.yaml\ninput: {amount: 5}\ncases:\n";
    let file = SourceFile { path: "order.test.yaml".into(), text: format!("{head}{cases}") };
    let suite = suite::read(&file, &mut load)
        .unwrap_or_else(|findings| panic!("{}", findings.iter().map(Diagnostic::render).collect::<String>()));
    let (outcome, left_out) = play_file(suite, Choice::default());
    Report { files: vec![outcome], left_out, took: std::time::Duration::ZERO }
}

#[test]
fn all_errors_at_once_each_with_its_place() {
    check(
        "apiVersion: tidegate/v1
kind: Test
definition: order.yaml
input: {amount: 0}
answers:
  chrage: 201
  ship: [tiemout, 99, {status: 200, answer: done}]
  undo ship: 500
cases:
  - name: one
    inptu: {amount: 1}
    events:
      - {cancel: yes please}
      - {at: 5, down: payments}
      - {signal: paid}
    until: soon
    expect:
      outcome: complete
      undone: [charge, shp]
      calls:
        - {call: charge, body: {key: \"${call.kye}\"}}
        - {call: charge, body: {}, body_has: {}}
  - name: one
    expect: {}
",
        expect![[r#"
            order.test.yaml:4:17: error[wrong-value]: input.amount is 0, the minimum is 1
               |
             4 | input: {amount: 0}
               |                 ^
               |
               = the definition would refuse this input; if that is what is tested: expect: {input_refused: […]}
            order.test.yaml:6:3: error[unknown-step]: order has no step "chrage"
               |
             6 |   chrage: 201
               |   ^^^^^^ did you mean "charge"?
               |
               = its steps are: charge, ship
            order.test.yaml:7:10: error[wrong-value]: "tiemout" is no answer
               |
             7 |   ship: [tiemout, 99, {status: 200, answer: done}]
               |          ^^^^^^^ did you mean "timeout"?
               |
               = an answer is a status (402), a word (done, refused, timeout, lost, cut, not_sent, garbled, crash), or an object: {status: 200, body: {…}, after: 3s, executed: true, times: 2}
            order.test.yaml:7:19: error[wrong-value]: 99 is no HTTP status (100 to 599)
               |
             7 |   ship: [tiemout, 99, {status: 200, answer: done}]
               |                   ^^
               |
               = an answer is a status (402), a word (done, refused, timeout, lost, cut, not_sent, garbled, crash), or an object: {status: 200, body: {…}, after: 3s, executed: true, times: 2}
            order.test.yaml:7:37: error[wrong-value]: an answer is a word or a status, not both
               |
             7 |   ship: [tiemout, 99, {status: 200, answer: done}]
               |                                     ^^^^^^
               |
               = an answer is a status (402), a word (done, refused, timeout, lost, cut, not_sent, garbled, crash), or an object: {status: 200, body: {…}, after: 3s, executed: true, times: 2}
            order.test.yaml:8:3: error[wrong-value]: step "ship" has no undo: its definition says compensate: none, or it changes nothing
               |
             8 |   undo ship: 500
               |   ^^^^^^^^^
            order.test.yaml:11:5: error[unknown-field]: "inptu" is not a field of case
               |
            11 |     inptu: {amount: 1}
               |     ^^^^^ did you mean "input"?
               |
               = case has: name, input, answers, events, starts_at, until, expect, may_stay
            order.test.yaml:13:10: error[missing-field]: when does cancel happen?
               |
            13 |       - {cancel: yes please}
               |          ^^^^^^
               |
               = say at: 5s (from the submission), or during: charge (its call is outstanding)
            order.test.yaml:14:14: error[bad-duration]: at is a duration, for instance 1500ms or 30s
               |
            14 |       - {at: 5, down: payments}
               |              ^ did you mean "5s"?
               |
               = a duration is a whole number and one of ms s m h d (1d = 24h), at most 3660d
            order.test.yaml:14:23: error[unknown-participant]: there is no participant "payments"
               |
            14 |       - {at: 5, down: payments}
               |                       ^^^^^^^^
               |
               = the participants are: pay, ship
            order.test.yaml:15:18: error[wrong-value]: no step of order waits for a signal "paid"
               |
            15 |       - {signal: paid}
               |                  ^^^^
               |
               = it waits for no signal
            order.test.yaml:16:12: error[bad-duration]: until is a duration, for instance 1500ms or 30s
               |
            16 |     until: soon
               |            ^^^^
               |
               = a duration is a whole number and one of ms s m h d (1d = 24h), at most 3660d
            order.test.yaml:18:16: error[wrong-value]: "complete" is not a value of outcome
               |
            18 |       outcome: complete
               |                ^^^^^^^^ did you mean "completed"?
               |
               = outcome is one of: completed, aborted, undecided
            order.test.yaml:19:24: error[unknown-step]: order has no step "shp"
               |
            19 |       undone: [charge, shp]
               |                        ^^^ did you mean "ship"?
               |
               = its steps are: charge, ship
            order.test.yaml:21:39: error[not-here]: "call.kye" is no name of what the engine makes
               |
            21 |         - {call: charge, body: {key: "${call.kye}"}}
               |                                       ^^^^^^^^^^^ did you mean "${call.key}"?
               |
               = an expectation has: ${any} (alone), ${transaction.id}, ${call.key}, ${steps.NAME.call_key}; all else is written out
            order.test.yaml:22:36: error[wrong-value]: body is the whole body, body_has a part of it: say one
               |
            22 |         - {call: charge, body: {}, body_has: {}}
               |                                    ^^^^^^^^
            order.test.yaml:23:11: error[duplicate-name]: two cases are called "one"
               |
            23 |   - name: one
               |           ^^^
               |
            10 |   - name: one
               |           --- the first
            order.test.yaml:24:5: error[wrong-value]: a case that expects nothing cannot fail
               |
            24 |     expect: {}
               |     ^^^^^^
               |
               = say at least outcome: completed, or outcome: aborted
        "#]],
    );
}

#[test]
fn what_is_named_must_be_there() {
    check(
        "apiVersion: tidegate/v1
kind: Test
definition: oder.yaml
cases: []
",
        expect![[r#"
            order.test.yaml:3:13: error[wrong-value]: oder.yaml: No such file or directory
               |
             3 | definition: oder.yaml
               |             ^^^^^^^^^
               |
               = paths are taken from the folder of the test file
            order.test.yaml:4:1: error[wrong-value]: the list of cases is empty
               |
             4 | cases: []
               | ^^^^^
        "#]],
    );
    check(
        ORDER,
        expect![[r#"
        order.test.yaml:2:7: error[wrong-value]: this is a file of kind Saga, not a test file
           |
         2 | kind: Saga
           |       ^^^^
           |
           = a test file has kind: Test and names a definition; this one is for: tidegate check
    "#]],
    );
    check(
        "kind: Test\napiVersion: tidegate/v2\ndefinition: order.yaml\ncases: 5\n",
        expect![[r#"
        order.test.yaml:2:13: error[wrong-value]: apiVersion "tidegate/v2" is not that of a test file
           |
         2 | apiVersion: tidegate/v2
           |             ^^^^^^^^^^^
           |
           = write apiVersion: tidegate/v1
        order.test.yaml:4:8: error[wrong-type]: cases is a list, this is a whole number
           |
         4 | cases: 5
           |        ^
    "#]],
    );
}

const WRONG: &str = "  - name: everything is expected otherwise
    answers:
      charge: {status: 201, body: {id: c1}}
      ship: refused
    expect:
      outcome: completed
      reason: none
      cause: {step: charge, detail: sold out}
      output: {id: c1}
      undone: []
      stays_undone: [ship]
      steps: {ship: done}
      decided_within: 1ms
      calls:
        - call: charge
          method: PUT
          path: /charge
          body: {amount: 6, currency: EUR}
        - call: ship
          headers: {X-Key: \"${call.key}\"}
        - ship
";

#[test]
fn each_difference_points_at_its_line() {
    let report = played(WRONG);
    assert_eq!(report.counts(), (0, 1));
    expect![[r#"
        order.test.yaml   order 3
          FAIL  everything is expected otherwise  aborted after 2 ms: refused by ship at step ship (422 refused), 3 calls

        FAIL  everything is expected otherwise
        order.test.yaml:11:16: failed: outcome is aborted (refused by ship at step ship (422 refused)), expected completed
           |
        11 |       outcome: completed
           |                ^^^^^^^^^ got aborted
        order.test.yaml:12:15: failed: reason is refused, expected none
           |
        12 |       reason: none
           |               ^^^^ got refused
        order.test.yaml:13:21: failed: the cause is ship, expected step charge
           |
        13 |       cause: {step: charge, detail: sold out}
           |                     ^^^^^^ got ship
        order.test.yaml:13:37: failed: the cause's detail is 422 refused, expected sold out
           |
        13 |       cause: {step: charge, detail: sold out}
           |                                     ^^^^^^^^ got 422 refused
        order.test.yaml:14:15: failed: output is missing, expected {"id": "c1"}
           |
        14 |       output: {id: c1}
           |               ^^^^^^^^ got missing
        order.test.yaml:15:15: failed: undone, in this order: [charge], expected []
           |
        15 |       undone: []
           |               ^^ got [charge]
        order.test.yaml:16:21: failed: what stays undone is [], expected [ship]
           |
        16 |       stays_undone: [ship]
           |                     ^^^^^^ got []
        order.test.yaml:17:21: failed: step ship is refused, expected done
           |
        17 |       steps: {ship: done}
           |                     ^^^^ got refused
        order.test.yaml:18:23: failed: decided after 2ms, expected within 1ms
           |
        18 |       decided_within: 1ms
           |                       ^^^ took 2ms
        order.test.yaml:21:19: failed: method is POST, expected PUT
           |
        21 |           method: PUT
           |                   ^^^ got POST
        order.test.yaml:22:17: failed: path is "/charges", expected "/charge"
           |
        22 |           path: /charge
           |                 ^^^^^^^ got "/charges"
        order.test.yaml:23:26: failed: body.amount is 5, expected 6
           |
        23 |           body: {amount: 6, currency: EUR}
           |                          ^ got 5
        order.test.yaml:23:39: failed: body.currency is missing, expected "EUR"
           |
        23 |           body: {amount: 6, currency: EUR}
           |                                       ^^^ got missing
        order.test.yaml:25:28: failed: header X-Key is missing, expected "0b0ref00000100008000000003-1c0" (${call.key})
           |
        25 |           headers: {X-Key: "${call.key}"}
           |                            ^^^^^^^^^^^^^ got missing
        order.test.yaml:26:11: failed: call 3 is undo charge, expected ship
           |
        26 |         - ship
           |           ^^^^ got undo charge
           |
           = expected: charge, ship, ship
           = got:      charge, ship, undo charge
        what happened:
                  0 ms  charge       POST pay/charges {"amount": 5}
                  1 ms  charge       201 {"id": "c1"}: done
                  1 ms  ship         POST ship/parcels
                  2 ms  ship         422: refused
                  2 ms               aborted: refused (422 refused)
                  2 ms  undo charge  POST pay/refunds {"key": "0b0ref00000100008000000003-0c0"}
                  3 ms  undo charge  200 {}: done

          covered: 2 of 2 steps, 1 of 1 undo

        1 case, 1 failed   in 0 ms"#]]
    .assert_eq(&text(&report, Show::default()));
}

#[test]
fn a_participant_that_breaks_its_word_is_named() {
    // It settles within 10 s, as its file says; here it does what was asked a minute after nobody waited any more.
    let report = played(
        "  - name: a charge that arrives after its refund
    answers:
      charge: {status: 201, body: {id: c1}, after: 2m}
    expect:
      outcome: aborted
      reason: failed
      undone: [charge]
      stays_undone: [charge]
",
    );
    assert_eq!(report.counts(), (1, 0), "{}", text(&report, Show::default()));
    let run = &json(&report)["files"][0]["cases"][0]["run"];
    let why = run["stays_undone"][0]["why"].as_str();
    assert_eq!(why, Some("the participant did what it denied, or later than it says"));
    assert_eq!(run["violations"].as_array().map(Vec::len), Some(0), "that is not the engine's fault");
}

#[test]
fn what_never_happens_fails_the_case() {
    let report = played(
        "  - name: waits for an undo that never is
    events:
      - {during: undo charge, cancel: because}
    expect: {outcome: completed}
",
    );
    assert_eq!(report.counts(), (0, 1));
    assert!(text(&report, Show::default()).contains("order.test.yaml:8:31: failed: this never happened"));
    let report = played(
        "  - name: scripts an undo that never is
    answers: {undo charge: 500}
    expect: {outcome: completed}
",
    );
    let told = text(&report, Show::default());
    assert!(told.contains("order.test.yaml:7:15: failed: undo charge is never called"), "{told}");
}

#[test]
fn machines_read_the_same() {
    let report = played(WRONG);
    let document = json(&report);
    assert_eq!(document["failed"], 1);
    let case = &document["files"][0]["cases"][0];
    assert_eq!(case["passed"], false);
    assert_eq!(case["findings"][0]["line"], 11);
    assert_eq!(case["run"]["outcome"], "aborted");
    assert_eq!(case["run"]["undone"][0], "charge");
    assert_eq!(case["run"]["calls"][2]["call"], "undo charge");
    assert_eq!(case["run"]["calls"][2]["body"]["key"], case["run"]["calls"][0]["call_key"]);
    let xml = junit(&report);
    assert!(xml.contains("<testsuites name=\"tidegate test\" tests=\"1\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("outcome is aborted (refused by ship at step ship (422 refused)), expected completed"),
        "{xml}"
    );
    assert!(!xml.contains("<failure message=\"outcome is \""), "{xml}");
}

/// A story, a line each: what a participant, a person or the engine does, and that it is told as it was.
#[test]
fn a_story_tells_what_happened() {
    let report = played(
        "  - name: a late answer, a crash, a person
    answers:
      charge: [{status: 201, body: {id: c1}, after: 4s}, {status: 201, body: {id: c1}}]
      ship: {answer: crash, executed: true}
      undo charge: [409, done]
    expect:
      outcome: aborted
      undone: [charge]
      stays_undone: [ship]
",
    );
    expect![[r#"
        order.test.yaml   order 3
          ok    a late answer, a crash, a person  aborted after 3.840 s: failed with ship at step ship (the node restarted while it was outstanding), 5 calls
                  0 ms  charge       POST pay/charges {"amount": 5}
                   3 s  charge       unknown (no answer in time); but it was executed
               3.838 s  charge       POST pay/charges {"amount": 5} (attempt 2)
               3.839 s  charge       201 {"id": "c1"}: done
               3.839 s  ship         POST ship/parcels
               3.840 s  ship         the engine crashes here; it was executed
               3.840 s               the engine starts again from 7 journal entries
               3.840 s               aborted: failed (the node restarted while it was outstanding)
               3.840 s  undo charge  waits 9.159 s until nothing can arrive any more
                  13 s  undo charge  POST pay/refunds {"key": "0b0ref00000100008000000003-0c0"}
              13.001 s  undo charge  409: refused
              13.839 s  undo charge  POST pay/refunds {"key": "0b0ref00000100008000000003-0c0"} (attempt 2)
              13.840 s  undo charge  200 {}: done
          covered: 2 of 2 steps, 1 of 1 undo

        1 case, all passed   in 0 ms"#]].assert_eq(&text(&report, Show { stories: true }));
}
