//! Recording of one request for the stream of [`events`](crate::events), from its head to the end of its answer.
//!
//! [`Recording`] travels beside the request and notes facts as they become known. The answer's body then owns it
//! ([`RecordedBody`]). The record is written when it is dropped: with the body, or earlier if the client has left. A request
//! costs five readings of the monotonic clock, clones of shared values, and a copy of the record into the worker's ring.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;

use crate::events::caller::Caller;
use crate::events::record::{PathText, RequestRecord};
use crate::host::Origin;
use crate::policy::Operation;
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::exchange::body::BodyProgress;
use crate::proxy::exchange::error::{BodyFormat, ProxyError};
use crate::proxy::exchange::send::ResponseBody;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::state::Worker;
use crate::proxy::usage::RequestInFlight;

/// Record of a request in progress, written on drop.
#[derive(Debug)]
pub(crate) struct Recording {
    worker: Worker,
    record: RequestRecord,
    begun: Instant,
    /// Start of the present wait for the registry.
    waiting_since: Option<Instant>,
    /// Time spent waiting for the registry.
    waited: Duration,
    upload: Option<BodyProgress>,
    /// Counts the request at its registry, once that is known.
    in_flight: Option<RequestInFlight>,
    is_discarded: bool,
}

impl Recording {
    /// Begins with a request of this connection.
    pub(crate) fn begin(worker: &Worker, caller: &Arc<Caller>) -> Self {
        let begun = Instant::now();
        Self {
            worker: worker.clone(),
            record: RequestRecord::begin(Arc::clone(caller), begun),
            begun,
            waiting_since: None,
            waited: Duration::ZERO,
            upload: None,
            in_flight: None,
            is_discarded: false,
        }
    }

    /// Begins with a CONNECT that is refused.
    pub(crate) fn begin_connect(worker: &Worker, client: &Client, target: &Origin) -> Self {
        let mut recording = Self::begin(worker, client.caller());
        recording.note_client(client);
        recording.record.host = target.to_string().parse().ok();
        recording
    }

    /// Notes method and path.
    pub(crate) fn note_head<B>(&mut self, request: &Request<B>) {
        self.record.method = Some(request.method().clone());
        self.record.path = PathText::new(request.uri().path());
    }

    /// Notes the grant or token that the client has shown.
    pub(crate) fn note_client(&mut self, client: &Client) {
        self.record.bearer = client.bearer().cloned();
    }

    /// Notes the host and port of the request.
    pub(crate) fn note_host(&mut self, host: &Authority) {
        self.record.host = Some(host.clone());
    }

    /// Notes the registry whose scope covers the request.
    pub(crate) fn note_registry(&mut self, registry: &RegistryRoute) {
        self.record.registry = Some(registry.name.clone());
        self.in_flight = Some(registry.usage.begin_request());
    }

    /// Notes the operation.
    pub(crate) fn note_operation(&mut self, operation: Operation) {
        self.record.operation = Some(operation);
    }

    /// Notes the generation that the request carried.
    pub(crate) fn note_generation(&mut self, number: u64) {
        self.record.generation = Some(number);
    }

    /// Notes that the request is on its way. `upload` counts the bytes of its body.
    pub(crate) fn note_sent(&mut self, upload: Option<BodyProgress>) {
        self.waiting_since = Some(Instant::now());
        self.upload = upload.or(self.upload.take());
    }

    /// Notes that the head of the registry's answer is here, and whether its connection has carried earlier requests.
    pub(crate) fn note_answered(&mut self, is_reused: bool) {
        let now = Instant::now();
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.duration_since(since);
        }
        let first_byte = now.duration_since(self.begun);
        self.record.first_byte = Some(first_byte);
        self.record.own = Some(first_byte.saturating_sub(self.waited));
        self.record.reused = Some(is_reused);
    }

    /// Does not record the request: no registry's host is concerned.
    pub(crate) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Notes that regauthd answers with an error.
    pub(crate) fn note_refusal(&mut self, error: &ProxyError) {
        self.is_discarded = false;
        self.record.code = Some(error.code());
        self.record.status = Some(error.status().as_u16());
    }

    /// Waits until the audit record has the request, if `audit-required` demands it.
    ///
    /// # Errors
    /// [`ProxyError::AuditUnavailable`].
    pub(crate) async fn confirm(&mut self) -> Result<(), ProxyError> {
        let audit = &self.worker.state.audit;
        if !audit.is_required() || self.is_discarded {
            return Ok(());
        }
        self.record.total = self.begun.elapsed();
        audit.confirm(self.record.to_event()).await?;
        self.record.is_recorded = true;
        Ok(())
    }

    /// The client's response, whose body writes the record at its end. An error becomes a response of our own. With
    /// `audit-required`, the response comes after its line in the audit record, or becomes an error.
    pub(crate) async fn finish(
        mut self,
        mut result: Result<Response<ResponseBody>, ProxyError>,
        format: BodyFormat,
    ) -> Response<RecordedBody> {
        match &result {
            Ok(response) => self.record.status = Some(response.status().as_u16()),
            Err(error) => self.note_refusal(error),
        }
        if let Err(error) = self.confirm().await {
            self.note_refusal(&error);
            result = Err(error);
        }
        let response = result.unwrap_or_else(|error| {
            tracing::debug!(host = ?self.record.host, code = error.code(), "refused a request");
            error.response(format).map(Either::Right)
        });
        response.map(|body| RecordedBody { body, recording: self })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.is_discarded {
            return;
        }
        let ended = Instant::now();
        self.record.ended = ended;
        self.record.total = ended.duration_since(self.begun);
        self.record.bytes_up = self.upload.as_ref().map_or(0, BodyProgress::bytes);
        let none = RequestRecord::begin(Arc::clone(&self.record.caller), ended);
        let record = std::mem::replace(&mut self.record, none);
        self.worker.state.events.record(self.worker.index, record);
    }
}

/// Body of a response to a client, with the recording of its request.
#[derive(Debug)]
pub(crate) struct RecordedBody {
    body: ResponseBody,
    recording: Recording,
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.recording.record.bytes_down += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
