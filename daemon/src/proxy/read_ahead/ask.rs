//! Questions to the registry, each in a task of its own, and the entries that they bring.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, HeaderMap};
use http::response::Parts;
use http::uri::Uri;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::policy::Operation;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::read_ahead::entry::Entry;
use crate::proxy::read_ahead::readings::{Answer, Question, ReadingId};
use crate::proxy::read_ahead::validator::Validator;
use crate::proxy::read_ahead::{CrateName, MAX_ANSWER_TIME, MAX_FILE_SIZE, MAX_UNPACKED_SIZE, Reader, SLOW_ANSWER};

/// Outcome of a question.
enum Outcome {
    Answered(Answer),
    /// The client may not ask, nobody waits for the answer, or there is no such entry.
    Nothing,
    /// The registry failed, was slow or said no.
    Refused,
}

impl Reader {
    /// Asks the questions that are due.
    pub(super) fn ask_due(&self, reading: ReadingId) {
        // Only the client's requests are recorded, so a record of all leaves no room for others.
        if self.worker.state.audit.is_required() {
            return;
        }
        let max_in_flight = self.max_in_flight();
        loop {
            let next = self.index().lock().next(reading, max_in_flight, Instant::now());
            let Some((question, answer)) = next else { return };
            self.worker.state.tasks.spawn(self.clone().ask(question, answer));
        }
    }

    fn max_in_flight(&self) -> usize {
        let upstream = &self.registry.upstream;
        if !upstream.has_h2(self.worker.index, &self.scheme, &self.authority) {
            MAX_IN_FLIGHT_H1
        } else if self.client.bears_grant() {
            MAX_IN_FLIGHT_OF_A_GRANT
        } else {
            MAX_IN_FLIGHT
        }
    }

    async fn ask(self, question: Question, mut answer: oneshot::Sender<Answer>) {
        let outcome = tokio::select! {
            outcome = self.outcome(&question) => outcome,
            () = answer.closed() => Outcome::Nothing,
            () = self.worker.state.drain.cancelled() => Outcome::Nothing,
        };
        let (reading, name, index) = (question.reading, &question.name, self.index());
        match outcome {
            Outcome::Answered(answered) => {
                let whole = match &answered {
                    Answer::Whole(head, body) => Some((head.headers.clone(), body.clone())),
                    Answer::Unmodified(..) => None,
                };
                let size = whole.as_ref().map_or(0, |(_, body)| body.len());
                // The receiver is gone if the client is.
                let is_awaited = answer.send(answered).is_ok();
                index.lock().finish(reading, name, is_awaited.then_some(size));
                match whole {
                    Some((headers, body)) => self.read(reading, name, &headers, &body).await,
                    None => drop(index.lock().follow(reading, name, question.validator.as_ref())),
                }
            }
            Outcome::Nothing => index.lock().finish(reading, name, None),
            Outcome::Refused => {
                index.lock().finish(reading, name, None);
                self.pause();
            }
        }
        self.ask_due(reading);
    }

    /// Reads an index file, and asks for the entries that it names.
    pub(super) async fn read(&self, reading: ReadingId, name: &CrateName, headers: &HeaderMap, file: &[u8]) {
        // The client that waits for the file comes first.
        tokio::task::yield_now().await;
        let index = self.index();
        let validator = Validator::of_answer(headers);
        if !index.lock().follow(reading, name, validator.as_ref()) {
            let entry = unpack(headers, file).and_then(|file| Entry::parse(&file, |url| index.is_own_url(url)));
            index.lock().read(reading, name, validator, entry);
        }
        self.ask_due(reading);
    }

    /// Makes no more questions for a while.
    pub(super) fn pause(&self) {
        self.index().lock().pause(Instant::now());
        tracing::debug!(registry = %self.registry.name, "stopped asking for index entries ahead of cargo for a minute");
    }

    /// The answer. A slow one ends further questions, and is of use until the client stops waiting for it.
    async fn outcome(&self, question: &Question) -> Outcome {
        // Boxed: a reading has many of these tasks.
        let mut answer = Box::pin(self.answer_to(question));
        if let Ok(outcome) = timeout(SLOW_ANSWER, &mut answer).await {
            return outcome;
        }
        self.pause();
        timeout(MAX_ANSWER_TIME, answer).await.unwrap_or(Outcome::Refused)
    }

    async fn answer_to(&self, question: &Question) -> Outcome {
        let is_current = |number: u64| number == question.generation;
        let lease = self.registry.credential.try_acquire();
        let lease = lease.filter(|lease| is_current(lease.generation().value.number));
        let (Some(request), Some(lease), Ok(permit)) = (self.request(question), lease, self.client.begin_request())
        else {
            return Outcome::Nothing;
        };
        let (worker, client, registry) = (&self.worker, &self.client, &self.registry);
        // The client's own request is recorded, which uses the answer or not.
        let mut recording = Recording::begin(worker, client.caller());
        recording.discard();
        let sent = send::send_once(worker, client, registry, lease, request, permit, &mut recording).await;
        let Ok((response, _)) = sent else {
            return Outcome::Refused;
        };
        // The number never goes back, so the request carried this generation if it is still the current one.
        let now = self.registry.credential.generation();
        if !now.is_some_and(|now| is_current(now.value.number)) {
            return Outcome::Nothing;
        }
        match (response.status(), &question.validator) {
            (StatusCode::OK, _) => match read_whole(response).await {
                Some((head, body)) => Outcome::Answered(Answer::Whole(head, body)),
                None => Outcome::Nothing,
            },
            (StatusCode::NOT_MODIFIED, Some(validator)) => {
                let head = response.into_parts().0;
                Outcome::Answered(Answer::Unmodified(head, validator.clone()))
            }
            (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, _) => {
                Outcome::Nothing
            }
            _ => Outcome::Refused,
        }
    }

    /// The request, if the client itself may make it now.
    fn request(&self, question: &Question) -> Option<Request<RequestBody>> {
        self.client.authorize(&self.registry, Operation::Read).ok()?;
        let index = self.index();
        let path = format!("{}{}", index.path, question.name.index_path());
        let routes = self.worker.state.routes.load();
        let host = routes.host(&index.origin).filter(|host| host.plain == index.is_plain)?;
        let registry = host.match_scope(&path).ok()??;
        if !Arc::ptr_eq(registry, &self.registry) {
            return None;
        }
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path);
        let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
        *request.uri_mut() = uri.build().ok()?;
        *request.headers_mut() = question.headers.clone();
        if let Some(validator) = &question.validator {
            validator.attach(request.headers_mut());
        }
        Some(request)
    }
}

/// `None` if the body is too long or was cut.
async fn read_whole(response: Response<ResponseBody>) -> Option<(Parts, Bytes)> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_FILE_SIZE).collect().await.ok()?;
    Some((head, body.to_bytes()))
}

/// Undoes the compression that cargo accepts. `None` if it is another, or the file is too long.
fn unpack<'a>(headers: &HeaderMap, file: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let (coding, None) = (codings.next(), codings.next()) else {
        return None;
    };
    let mut unpacked = Vec::new();
    let limit = MAX_UNPACKED_SIZE as u64 + 1;
    let read = match coding.map(|coding| coding.as_bytes()) {
        None | Some(b"identity") => return Some(Cow::Borrowed(file)),
        Some(b"gzip" | b"x-gzip") => MultiGzDecoder::new(file).take(limit).read_to_end(&mut unpacked),
        Some(b"deflate") => ZlibDecoder::new(file).take(limit).read_to_end(&mut unpacked),
        Some(_) => return None,
    };
    (read.is_ok() && unpacked.len() <= MAX_UNPACKED_SIZE).then_some(Cow::Owned(unpacked))
}

/// A registry allows about 100 streams on a connection. The others are left to the client.
const MAX_IN_FLIGHT: usize = 64;
/// A bearer with more streams gets connections with smaller windows.
const MAX_IN_FLIGHT_OF_A_GRANT: usize = 24;
/// Over HTTP/1.1, or while the protocol is not known: each question may take one of few connections.
const MAX_IN_FLIGHT_H1: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn unpacked(coding: &'static str, file: &[u8]) -> Option<Vec<u8>> {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        unpack(&headers, file).map(Cow::into_owned)
    }

    #[test]
    fn codings_that_cargo_accepts_are_undone() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"entry").unwrap();
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(b"entry").unwrap();
        assert_eq!(unpack(&HeaderMap::new(), b"entry").unwrap(), &b"entry"[..]);
        assert_eq!(unpacked("gzip", &gzip.finish().unwrap()).unwrap(), b"entry");
        assert_eq!(unpacked("deflate", &deflate.finish().unwrap()).unwrap(), b"entry");
        assert_eq!(unpacked("gzip", b"entry"), None);
        assert_eq!(unpacked("br", b"entry"), None);
    }

    #[test]
    fn a_file_that_unpacks_to_much_more_is_not_read() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![0; MAX_UNPACKED_SIZE + 1]).unwrap();
        assert_eq!(unpacked("gzip", &gzip.finish().unwrap()), None);
    }
}
