//! The job that is measured: reserve, charge, notify; and submissions of it, each with another subscriber.

use runtime::SourceText;

/// More calls at once than any benchmark makes.
pub(crate) const NO_LIMIT: u32 = 100_000;

/// The three participants answer at `url`, which is a base address (inside the process nobody asks for it), and take
/// `max_in_flight` calls at once. What `learn` is, if it is said.
pub(crate) fn files(url: &str, max_in_flight: u32, learn: Option<&str>) -> Vec<SourceText> {
    let learn = learn.map_or(String::new(), |learn| format!(", learn: {learn}"));
    let participant = |name: &str| {
        format!(
            "  - name: {name}\n    connector: http\n    endpoints: [\"{url}/{name}\"]\n    idempotency: {{header: Idempotency-Key, for: 24h}}\n    settles_within: 0s\n    timeout: 10s\n    retry: {{attempts: 3, backoff: 100ms, max_backoff: 1s}}\n    limits: {{max_in_flight: {max_in_flight}{learn}}}\n"
        )
    };
    let participants = format!(
        "apiVersion: tidegate/v1\nkind: Participants\nparticipants:\n{}{}{}",
        participant("stock"),
        participant("payments"),
        participant("sms")
    );
    vec![
        SourceText { path: "participants.yaml".into(), text: participants },
        SourceText { path: "order.yaml".into(), text: SAGA.into() },
    ]
}

const SAGA: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: order
version: 1
input:
  type: object
  additionalProperties: false
  required: [msisdn, amount]
  properties:
    msisdn: {type: string, pattern: "^[1-9][0-9]{7,14}$"}
    amount: {type: integer, minimum: 1, maximum: 100000}
key: subscriber/${input.msisdn}
timeout: 60s
steps:
  - name: reserve
    call:
      participant: stock
      method: POST
      path: /reservations
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}", note: "reserve the amount on the subscriber's balance for an order"}
    compensate:
      participant: stock
      method: POST
      path: /releases
      body: {key: "${steps.reserve.call_key}"}
  - name: charge
    call:
      participant: payments
      method: POST
      path: /charges
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}", note: "charge the reserved amount and keep the number of the charge"}
    result: {ok: "${response.body.ok}"}
    compensate:
      participant: payments
      method: POST
      path: /refunds
      body: {key: "${steps.charge.call_key}"}
  - name: notify
    call:
      participant: sms
      method: POST
      path: /messages
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}", note: "tell the subscriber that the order has been charged and booked"}
    compensate:
      participant: sms
      method: POST
      path: /retractions
      body: {key: "${steps.notify.call_key}"}
output: {charged: "${steps.charge.result.ok}"}
"#;

/// The body of the n-th submission, as a client would send it.
pub(crate) fn body(n: u64, into: &mut Vec<u8>) {
    use std::io::Write as _;
    into.clear();
    // Writing to memory cannot fail.
    let _ = write!(
        into,
        r#"{{"definition":"order","input":{{"msisdn":"49{:011}","amount":{}}}}}"#,
        n.wrapping_mul(0x9e37_79b9) % 100_000_000_000,
        1 + n % 1_000
    );
}
