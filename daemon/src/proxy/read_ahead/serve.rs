//! A client's request for an index entry: answered with what was asked for ahead, or by the registry.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, HeaderName, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE};
use http::uri::{Authority, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{Either, Full};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::credential::Lease;
use crate::policy::Operation;
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::RequestPermit;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::denial_review;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::read_ahead::readings::{Answer, Begun, EntryRequest, ReadingId};
use crate::proxy::read_ahead::validator::{self, Validator};
use crate::proxy::read_ahead::{CrateName, MAX_FILE_SIZE, ReadAhead, SLOW_ANSWER};
use crate::proxy::routes::{InterceptedHost, RegistryRoute};
use crate::proxy::state::Worker;

/// Client that reads an index, on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(super) worker: Worker,
    pub(super) client: Client,
    pub(super) registry: Arc<RegistryRoute>,
    pub(super) scheme: UriScheme,
    pub(super) authority: Authority,
    index: Arc<ReadAhead>,
}

impl Reader {
    /// The reader that sends a request, if it is cargo and reads below the registry's index on this host.
    pub(crate) fn of(
        worker: &Worker,
        client: &Client,
        registry: &Arc<RegistryRoute>,
        host: &InterceptedHost,
        request: &Request<RequestBody>,
    ) -> Option<Self> {
        let index = registry.read_ahead.as_ref()?;
        let is_below = request.uri().path().starts_with(&index.path) && request.uri().query().is_none();
        let is_plain_read = *request.method() == Method::GET && request.body().is_end_stream();
        if !is_below || !is_plain_read || host.plain != index.is_plain || host.origin != index.origin {
            return None;
        }
        let headers = request.headers();
        // Other programs read single entries of an index.
        if !denial_review::is_cargo(headers) || NEEDS_REGISTRY.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        Some(Self {
            worker: worker.clone(),
            client: client.clone(),
            registry: Arc::clone(registry),
            scheme: request.uri().scheme()?.clone(),
            authority: request.uri().authority()?.clone(),
            index: Arc::clone(index),
        })
    }

    /// Answers a request of a client that may read the registry.
    ///
    /// # Errors
    /// Those of a request to the registry.
    pub(crate) async fn serve(
        self,
        lease: Lease,
        request: Request<RequestBody>,
        permit: RequestPermit,
        recording: &mut Recording,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let path = request.uri().path().strip_prefix(&self.index.path).unwrap_or_default();
        let Some(name) = CrateName::of_index_path(path) else {
            if path == "config.json" {
                self.index.lock().begin_process(self.client.principal());
            }
            return self.send(lease, request, permit, recording).await;
        };
        let validator = Validator::of_request(request.headers());
        let Begun {
            reading,
            is_new,
            awaited,
        } = self.begin(&lease, &request, &name, validator.clone());
        if is_new {
            let state = &self.worker.state;
            let clean_up = clean_up(Arc::clone(&self.index), reading, state.drain.clone());
            state.tasks.spawn(clean_up);
        }
        self.ask_due(reading);
        if let Some(awaited) = awaited
            && let Some(response) = Self::answer(awaited, validator.as_ref()).await
            && self.registry.credential.is_current(&lease)
        {
            recording.note_generation(lease.generation().value.number);
            // The answer took a moment, and rights may have ended meanwhile.
            self.client.authorize(&self.registry, Operation::Read)?;
            tracing::debug!(registry = %self.registry.name, "answered with an index entry that was asked for ahead");
            return Ok(response);
        }
        let response = self.send(lease, request, permit, recording).await?;
        Ok(self.read_along(reading, name, validator, response))
    }

    pub(super) fn index(&self) -> &ReadAhead {
        &self.index
    }

    fn begin(
        &self,
        lease: &Lease,
        request: &Request<RequestBody>,
        name: &CrateName,
        validator: Option<Validator>,
    ) -> Begun {
        let request = EntryRequest {
            client: self.client.principal().clone(),
            generation: lease.generation().value.number,
            headers: validator::unconditional(request.headers()),
            validator,
            name: name.clone(),
        };
        self.index.lock().begin(request, Instant::now())
    }

    /// Sends the client's own request. After an answer that says no, nothing is asked for ahead for a while.
    async fn send(
        &self,
        lease: Lease,
        request: Request<RequestBody>,
        permit: RequestPermit,
        recording: &mut Recording,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let (worker, registry) = (&self.worker, &self.registry);
        let client = (&self.client, Operation::Read);
        let sent = send::send_with_credential(worker, client, registry, lease, request, permit, recording).await;
        let is_busy = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if sent.as_ref().map_or(true, |response| is_busy(response.status())) {
            self.pause();
        }
        sent
    }

    /// Waits for an answer that was asked for ahead, at most [`SLOW_ANSWER`]. `None` if the client's own request has to be
    /// sent: a question that hangs must not hold up the client.
    async fn answer(
        awaited: oneshot::Receiver<Answer>,
        validator: Option<&Validator>,
    ) -> Option<Response<ResponseBody>> {
        match timeout(SLOW_ANSWER, awaited).await.ok()?.ok()? {
            Answer::Whole(mut head, _) if validator.is_some_and(|validator| validator.is_of(&head.headers)) => {
                head.status = StatusCode::NOT_MODIFIED;
                validator::without_body(&mut head.headers);
                Some(Response::from_parts(head, Either::Right(Full::default())))
            }
            Answer::Whole(head, body) => Some(Response::from_parts(head, Either::Right(Full::new(body)))),
            Answer::Unmodified(head, sent) => {
                let is_same = validator == Some(&sent);
                is_same.then(|| Response::from_parts(head, Either::Right(Full::default())))
            }
        }
    }

    /// Has an entry read while it streams to the client.
    fn read_along(
        self,
        reading: ReadingId,
        name: CrateName,
        validator: Option<Validator>,
        mut response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        if response.status() == StatusCode::NOT_MODIFIED {
            self.index.lock().read(reading, &name, validator, None);
        }
        if response.status() != StatusCode::OK {
            return response;
        }
        let headers = response.headers().clone();
        if let Either::Left(body) = response.body_mut() {
            let copy = body.copy(MAX_FILE_SIZE);
            let tasks = self.worker.state.tasks.clone();
            tasks.spawn(async move {
                let Ok(file) = copy.await else { return };
                self.read(reading, &name, &headers, &file.concat()).await;
            });
        }
        response
    }
}

/// Drops answers that no client has asked for in time.
async fn clean_up(index: Arc<ReadAhead>, reading: ReadingId, drain: CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(CLEAN_UP_INTERVAL) => {}
            () = drain.cancelled() => return,
        }
        if !index.lock().clean_up(reading, Instant::now()) {
            return;
        }
    }
}

/// Write to a registry in progress. What was asked for before its end is dropped.
#[derive(Debug)]
pub(crate) struct WriteGuard(Arc<ReadAhead>);

impl WriteGuard {
    /// Drops the answers of all clients, now and at the end of the write.
    pub(crate) fn begin(registry: &RegistryRoute, operation: Operation) -> Option<Self> {
        let index = registry.read_ahead.as_ref().filter(|_| operation == Operation::Write)?;
        index.forget_answers();
        Some(Self(Arc::clone(index)))
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.0.forget_answers();
    }
}

/// Headers of requests that only the registry can answer.
const NEEDS_REGISTRY: [HeaderName; 7] = [
    CACHE_CONTROL,
    COOKIE,
    IF_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    RANGE,
];
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_holds_a_client_up_for_two_seconds_at_most() {
        let (_unanswered, awaited) = oneshot::channel();
        let begin = Instant::now();
        assert!(Reader::answer(awaited, None).await.is_none());
        assert_eq!(begin.elapsed(), SLOW_ANSWER);
    }
}
