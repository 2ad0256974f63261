//! The closed list of problem types: each with its status, its title, and the page that explains it.

use http::StatusCode;

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $title:literal $page:literal)*) => {
        /// What kind of error it is: the last part of a problem's `type`. Stable.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Code { $($name,)* }

        impl Code {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub(crate) fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What happened and what to do, for the page.
            pub(crate) fn explanation(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

codes! {
    BadRequest "bad-request" 400 "The request is not well-formed"
        "A parameter, a header or the path has a value that this route does not take. `errors` names it. Nothing was done."
    JsonInvalid "json-invalid" 400 "The body is not valid JSON"
        "The body could not be read as JSON: a syntax error, a member named twice, nesting deeper than 32 levels, or a \
         whole number that does not fit 64 bits (send such a number as a string). `detail` says where. Nothing was done."
    BodyInvalid "body-invalid" 400 "The body is not what this route takes"
        "A field is missing, is of another type, or is not a field of this request. Unknown fields are refused, so that a \
         misspelt one is never ignored in silence. `errors` points at it. Nothing was done."
    IdempotencyKeyMissing "idempotency-key-missing" 400 "The Idempotency-Key header is missing"
        "Submissions and signals need an `Idempotency-Key` header of 1 to 255 visible characters, with or without quotes. \
         Make one per business event, keep it, and send the same one when you repeat the request: you will get the first \
         one's answer and nothing happens twice."
    NotFound "not-found" 404 "There is nothing at this path"
        "The path is not a route of this server. `GET /openapi.json` lists them all."
    NotYet "not-yet" 404 "This route belongs to a later version"
        "The route is part of the published plan and not of this version: bulk actions, the table of locks and the feed of \
         events. Nothing was done."
    DefinitionNotFound "definition-not-found" 404 "There is no such definition"
        "No definition of that name and version has been applied here. `GET /v1/definitions` lists what there is, \
         `POST /v1/apply` brings one."
    TransactionNotFound "transaction-not-found" 404 "There is no such transaction"
        "No transaction has this id here. Search by idempotency key (`GET /v1/transactions?idempotency_key=…`) if you are not \
         sure that your submission arrived."
    ObjectNotFound "object-not-found" 404 "There is no such object"
        "The name in the path is not known. List the collection to see the names."
    NoneLive "none-live" 404 "No live transaction takes this signal"
        "No live transaction of that definition has that key. It may have ended, or not begun yet: begin it first, or send \
         the signal again later with the same idempotency key."
    MethodNotAllowed "method-not-allowed" 405 "This path does not take that method"
        "The path exists; the `Allow` header lists the methods it takes. Nothing was done."
    RequestTimeout "request-timeout" 408 "The body did not arrive in time"
        "The server stopped waiting for the rest of the body. Nothing was accepted; send it again with the same \
         idempotency key."
    Conflict "conflict" 409 "The state does not allow this"
        "The transaction, or the object, is past the point where this could be done; `detail` says what it is now. Cancel, for \
         example, is refused once the outcome is decided or the pivot is done. Nothing was changed."
    DefinitionPaused "definition-paused" 409 "The definition is paused"
        "An operator has paused this definition: new submissions are refused until it is resumed, running transactions go on. \
         `detail` gives the reason. Nothing was accepted."
    SeveralLive "several-live" 409 "Several live transactions could take this signal"
        "More than one live transaction of that definition has that key and has not had this signal. Send it with \
         `transaction` instead of `definition` and `key`."
    VersionExists "version-exists" 409 "Something in force differs from what was to be applied"
        "A version never changes once it is applied, and the `key` expression never changes between versions. `errors` names each object and \
         what differs; raise its `version`. Nothing was applied."
    Gone "past-retention" 410 "The transaction ended before the history that is kept"
        "The id was made here, and the transaction ended longer ago than this server keeps history."
    BodyTooLarge "body-too-large" 413 "The body is too large"
        "A body may have 1 MiB, a line of a batch 1 MiB, a batch 64 MiB. Nothing of the request, or of this line, was accepted."
    UnsupportedMediaType "unsupported-media-type" 415 "The body has another content type"
        "Send `Content-Type: application/json`, and `application/x-ndjson` for a batch. Nothing was done."
    InputInvalid "input-invalid" 422 "The input does not fit the definition"
        "The input was checked against the definition's schema. `errors` has a JSON pointer and a sentence for each field that \
         is wrong, at most 20. Nothing was accepted; correct it and submit again (under a new idempotency key or the same: a \
         refused submission uses none up)."
    IdempotencyKeyReused "idempotency-key-reused" 422 "The idempotency key belongs to another submission"
        "The same `Idempotency-Key` came before with another body. The first one stands, `transaction` names it, and nothing \
         new was begun. Repeat the first body to get its answer, or use a new key for a new business event."
    FilesInvalid "files-invalid" 422 "The files have errors"
        "`errors` lists every error of every file with its line and column, `diagnostics` the same as data and `text` as \
         `tidegate check` prints it. An apply is all or nothing: nothing was applied."
    Overloaded "overloaded" 429 "Too much at once"
        "A definition, a participant, a key's queue or this node is over a limit; `detail` says which. Wait for `Retry-After` seconds. \
         With `accepted: no` nothing was accepted; with `accepted: unknown` repeat with the same idempotency key, which is always safe."
    Internal "internal" 500 "The server failed"
        "A defect or damaged data. The server's log has the details. Whether anything was accepted is not known: repeat with the same \
         idempotency key, or search for it."
    Unavailable "unavailable" 503 "The node takes no work now"
        "It is starting, draining before a restart, out of disk, or has stopped after a failed write; `detail` says which. \
         Wait for `Retry-After` seconds. With `accepted: unknown` repeat with the same idempotency key, which is always safe."
}

impl Code {
    pub(crate) fn status_code(self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The page behind `type`, for people.
    pub(crate) fn page(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{code}</title></head>\n\
             <body><h1>{title}</h1>\n<p>Status {status}, type <code>/problems/{code}</code></p>\n<p>{text}</p>\n</body></html>\n",
            code = self.as_str(),
            title = escape(self.title()),
            status = self.status(),
            text = escape(self.explanation()),
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_a_status_and_a_page() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::by_name(code.as_str()), Some(*code));
            assert!(Code::ALL[..place].iter().all(|other| other.as_str() != code.as_str()));
            assert_eq!(code.status_code().as_u16(), code.status());
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(code.page().contains(code.title()) && code.explanation().len() > 40, "{code:?}");
        }
    }
}
