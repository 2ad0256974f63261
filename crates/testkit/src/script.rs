//! What a case says: which answers come, what else happens meanwhile, what is expected. Plain data with places.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use definition::Span;
use model::{Direction, StepIndex, Value};

use crate::pattern::Pattern;

/// A call of the plan: a step, and whether it does or undoes.
pub type CallName = (StepIndex, Direction);

/// Something with its place in the file.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub span: Span,
    pub value: T,
}

/// One case of a test file.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// The place of its name.
    pub span: Span,
    pub input: Value,
    /// Where the input stands: of the case, or of the file.
    pub input_span: Span,
    pub script: Script,
    /// The calls that the case itself scripts, not its file.
    pub own_answers: Vec<At<CallName>>,
    pub expect: Expect,
    /// What may stay undone under every failure; `None`: not said.
    pub may_stay: Option<At<Vec<StepIndex>>>,
}

/// How the world around one transaction behaves.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// By call, in the order in which its attempts start; the last repeats. What is absent is done, with an answer
    /// made up to fit.
    pub answers: BTreeMap<CallName, Vec<Answer>>,
    pub events: Vec<Event>,
    /// What the clock shows at the submission.
    pub starts_at: Option<model::Timestamp>,
    /// The clock stops here, counted from the submission.
    pub until: Option<Duration>,
}

/// How one attempt is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub comes: Comes,
    /// From the start of the attempt; one that takes longer than the call's timeout is not heard.
    pub after: Duration,
    /// Whether the participant did it. `None`: as the answer says.
    pub executed: Option<bool>,
}

/// What arrives.
#[derive(Clone, Debug, PartialEq)]
pub enum Comes {
    /// Done, with a body made up to fit the plan.
    Done,
    Status {
        status: u16,
        retry_after: bool,
        body: Option<Value>,
    },
    /// A 200 whose body is no JSON.
    Garbled,
    /// No answer in time.
    Timeout,
    /// The connection ends after the request has left.
    Cut,
    /// The request never left.
    NotSent,
    /// The engine ends while the call is outstanding, and another one starts from the journal.
    Crash,
}

/// How long an answer takes if nothing else is said.
pub const TAKES: Duration = Duration::from_millis(1);

impl Answer {
    pub fn of(comes: Comes) -> Self {
        Self { comes, after: TAKES, executed: None }
    }

    pub fn status(status: u16) -> Self {
        Self::of(Comes::Status { status, retry_after: false, body: None })
    }

    pub fn executed(mut self, executed: bool) -> Self {
        self.executed = Some(executed);
        self
    }
}

/// Something that happens besides answers.
#[derive(Clone, Debug)]
pub struct Event {
    pub when: When,
    pub what: What,
    pub span: Span,
}

/// When an event happens.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// So long after the submission.
    At(Duration),
    /// While the first attempt of this call is outstanding.
    During(CallName),
    /// As soon as a step waits for it; of signals only.
    Awaited,
    /// As soon as this step waits for its signal.
    Awaiting(StepIndex),
}

/// What may happen.
#[derive(Clone, Debug)]
pub enum What {
    Signal {
        name: CompactString,
        body: Value,
    },
    Cancel(CompactString),
    /// The engine ends and another one starts from the journal.
    Restart,
    /// Calls to this participant do not leave.
    Down(CompactString),
    Up(CompactString),
    Retry,
    Resolve {
        call: CallName,
        done: bool,
        result: Option<Value>,
    },
}

/// What must have come of it; what is not said is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    pub outcome: Option<At<&'static str>>,
    pub reason: Option<At<&'static str>>,
    pub state: Option<At<&'static str>>,
    pub cause_step: Option<At<StepIndex>>,
    pub cause_detail: Option<At<String>>,
    pub output: Option<Pattern>,
    pub calls: Option<At<Vec<CallWanted>>>,
    pub undone: Option<At<Vec<At<StepIndex>>>>,
    pub stays_undone: Option<At<Vec<At<StepIndex>>>>,
    pub steps: Vec<(StepIndex, At<&'static str>)>,
    pub attention: Option<At<Option<String>>>,
    pub attention_step: Option<At<StepIndex>>,
    pub waits_for: Option<At<&'static str>>,
    pub waits_for_name: Option<At<String>>,
    pub decided_within: Option<At<Duration>>,
    /// The members of the input that the definition does not take.
    pub input_refused: Option<At<Vec<String>>>,
}

/// One call that must have been made, at its place in the order.
#[derive(Clone, Debug)]
pub struct CallWanted {
    pub span: Span,
    pub call: CallName,
    pub method: Option<At<String>>,
    pub path: Option<Pattern>,
    pub body: Option<Pattern>,
    pub headers: Vec<(String, Pattern)>,
}
