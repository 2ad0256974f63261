//! Which paths there are, and what each method does there: one table, compared with `openapi.json` by a test.

use http::Method;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Submit,
    Batch,
    List,
    Count,
    Get,
    Cancel,
    Retry,
    Resolve,
    Signal,
    Apply,
    Definitions,
    Definition,
    DefinitionVersion,
    Activate,
    PauseDefinition,
    ResumeDefinition,
    Participants,
    Participant,
    PauseParticipant,
    ResumeParticipant,
    PinParticipant,
    ForgetParticipant,
    Node,
    PauseCalls,
    ResumeCalls,
    BackUp,
    Alive,
    Ready,
    Metrics,
    ProblemPage,
    Contract,
    Schema,
    /// Promised for a later version.
    Later,
}

impl Op {
    pub(crate) const ALL: [Self; 33] = [
        Self::Submit,
        Self::Batch,
        Self::List,
        Self::Count,
        Self::Get,
        Self::Cancel,
        Self::Retry,
        Self::Resolve,
        Self::Signal,
        Self::Apply,
        Self::Definitions,
        Self::Definition,
        Self::DefinitionVersion,
        Self::Activate,
        Self::PauseDefinition,
        Self::ResumeDefinition,
        Self::Participants,
        Self::Participant,
        Self::PauseParticipant,
        Self::ResumeParticipant,
        Self::PinParticipant,
        Self::ForgetParticipant,
        Self::Node,
        Self::PauseCalls,
        Self::ResumeCalls,
        Self::BackUp,
        Self::Alive,
        Self::Ready,
        Self::Metrics,
        Self::ProblemPage,
        Self::Contract,
        Self::Schema,
        Self::Later,
    ];

    /// The word in metrics, and the `operationId` of the contract.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Batch => "submit_batch",
            Self::List => "list_transactions",
            Self::Count => "count_transactions",
            Self::Get => "get_transaction",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Resolve => "resolve",
            Self::Signal => "signal",
            Self::Apply => "apply",
            Self::Definitions => "list_definitions",
            Self::Definition => "get_definition",
            Self::DefinitionVersion => "get_definition_version",
            Self::Activate => "activate",
            Self::PauseDefinition => "pause_definition",
            Self::ResumeDefinition => "resume_definition",
            Self::Participants => "list_participants",
            Self::Participant => "get_participant",
            Self::PauseParticipant => "pause_participant",
            Self::ResumeParticipant => "resume_participant",
            Self::PinParticipant => "pin_participant",
            Self::ForgetParticipant => "forget_participant",
            Self::Node => "get_node",
            Self::PauseCalls => "pause_calls",
            Self::ResumeCalls => "resume_calls",
            Self::BackUp => "back_up",
            Self::Alive => "alive",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::ProblemPage => "get_problem",
            Self::Contract => "get_contract",
            Self::Schema => "get_schema",
            // Unknown paths and methods are counted here, too.
            Self::Later => "other",
        }
    }

    /// Its place in [`Op::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// One path and its methods.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) get: Option<Op>,
    pub(crate) post: Option<Op>,
}

const fn get(path: &'static str, op: Op) -> Route {
    Route { path, get: Some(op), post: None }
}

const fn post(path: &'static str, op: Op) -> Route {
    Route { path, get: None, post: Some(op) }
}

/// Searched from the top: fixed words stand before what may be any word.
pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/v1/transactions", get: Some(Op::List), post: Some(Op::Submit) },
    post("/v1/transactions/batch", Op::Batch),
    get("/v1/transactions/count", Op::Count),
    get("/v1/transactions/{id}", Op::Get),
    post("/v1/transactions/{id}/cancel", Op::Cancel),
    post("/v1/transactions/{id}/retry", Op::Retry),
    post("/v1/transactions/{id}/steps/{step}/resolve", Op::Resolve),
    post("/v1/signals", Op::Signal),
    post("/v1/apply", Op::Apply),
    get("/v1/definitions", Op::Definitions),
    get("/v1/definitions/{name}", Op::Definition),
    get("/v1/definitions/{name}/versions/{version}", Op::DefinitionVersion),
    post("/v1/definitions/{name}/activate", Op::Activate),
    post("/v1/definitions/{name}/pause", Op::PauseDefinition),
    post("/v1/definitions/{name}/resume", Op::ResumeDefinition),
    get("/v1/participants", Op::Participants),
    get("/v1/participants/{name}", Op::Participant),
    post("/v1/participants/{name}/pause", Op::PauseParticipant),
    post("/v1/participants/{name}/resume", Op::ResumeParticipant),
    post("/v1/participants/{name}/pin", Op::PinParticipant),
    post("/v1/participants/{name}/forget", Op::ForgetParticipant),
    get("/v1/node", Op::Node),
    post("/v1/node/pause", Op::PauseCalls),
    post("/v1/node/resume", Op::ResumeCalls),
    post("/v1/node/backup", Op::BackUp),
    get("/healthz", Op::Alive),
    get("/readyz", Op::Ready),
    get("/metrics", Op::Metrics),
    get("/problems/{code}", Op::ProblemPage),
    get("/openapi.json", Op::Contract),
    get("/schema/v1.json", Op::Schema),
    post("/v1/bulk", Op::Later),
    get("/v1/bulk/{id}", Op::Later),
    get("/v1/locks", Op::Later),
    post("/v1/locks/release", Op::Later),
    get("/v1/events", Op::Later),
];

/// The variable parts of a path, as they stand in it (still percent-encoded), in order.
pub(crate) type Params<'p> = [&'p str; 2];

/// What a method and a path mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found<'p> {
    Op(Op, Params<'p>),
    /// The path exists, the method does not; what `Allow` says.
    OtherMethod(&'static str),
    Nothing,
}

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    for route in ROUTES {
        let Some(params) = matches(route.path, path) else { continue };
        let op = match *method {
            Method::GET | Method::HEAD => route.get,
            Method::POST => route.post,
            _ => None,
        };
        return match op {
            Some(op) => Found::Op(op, params),
            None => Found::OtherMethod(match (route.get, route.post) {
                (Some(_), Some(_)) => "GET, HEAD, POST",
                (Some(_), None) => "GET, HEAD",
                _ => "POST",
            }),
        };
    }
    Found::Nothing
}

fn matches<'p>(template: &str, path: &'p str) -> Option<Params<'p>> {
    if template == path {
        return Some(["", ""]);
    }
    let mut params = ["", ""];
    let mut known = 0;
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return (known > 0).then_some(params),
            (Some(want), Some(part)) if want.starts_with('{') => {
                if part.is_empty() {
                    return None;
                }
                *params.get_mut(known)? = part;
                known += 1;
            }
            (Some(want), Some(part)) if want == part => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_operation() {
        let of = |method: Method, path: &'static str| find(&method, path);
        assert_eq!(of(Method::POST, "/v1/transactions"), Found::Op(Op::Submit, ["", ""]));
        assert_eq!(of(Method::GET, "/v1/transactions/count"), Found::Op(Op::Count, ["", ""]));
        assert_eq!(of(Method::GET, "/v1/transactions/tx_1"), Found::Op(Op::Get, ["tx_1", ""]));
        assert_eq!(of(Method::HEAD, "/healthz"), Found::Op(Op::Alive, ["", ""]));
        assert_eq!(
            of(Method::POST, "/v1/transactions/tx_1/steps/charge/resolve"),
            Found::Op(Op::Resolve, ["tx_1", "charge"])
        );
        assert_eq!(of(Method::DELETE, "/v1/transactions"), Found::OtherMethod("GET, HEAD, POST"));
        assert_eq!(of(Method::GET, "/v1/apply"), Found::OtherMethod("POST"));
        assert_eq!(of(Method::POST, "/healthz"), Found::OtherMethod("GET, HEAD"));
        for nothing in
            ["/", "/v1", "/v1/transactions/", "/v1/transactions/a/b", "/V1/transactions", "/v1/definitions//pause"]
        {
            assert_eq!(of(Method::GET, nothing), Found::Nothing, "{nothing}");
        }
    }

    #[test]
    fn every_operation_is_reached_and_counted() {
        for (place, op) in Op::ALL.iter().enumerate() {
            assert_eq!(op.index(), place, "{op:?}");
            assert!(ROUTES.iter().any(|r| r.get == Some(*op) || r.post == Some(*op)), "{op:?} has no path");
        }
        for (place, route) in ROUTES.iter().enumerate() {
            assert!(ROUTES[..place].iter().all(|other| other.path != route.path), "{} stands twice", route.path);
        }
    }
}
