//! Between connections and the APIs: requests in, answers out, both counted.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;

use crate::api::table::{self, Dispatched, Frame, Reply};
use crate::api::{Api, Context, Door};
use crate::log::Chunk;
use crate::metrics::ShardMetrics;
use crate::net::{Answer, Call, ConnectionInfo, FileRange, SendPart, Service};
use crate::protocol::ApiKey;
use crate::runtime;

/// Kafka's protocol on one shard.
pub struct KafkaService {
    api: Rc<Api>,
    /// By the number of the listener.
    doors: Vec<Door>,
    metrics: Arc<ShardMetrics>,
}

impl KafkaService {
    pub fn new(api: Rc<Api>, doors: Vec<Door>, metrics: Arc<ShardMetrics>) -> Rc<KafkaService> {
        Rc::new(KafkaService { api, doors, metrics })
    }

    async fn answer(self: Rc<Self>, connection: Rc<ConnectionInfo>, request: BytesMut) -> Answer {
        let began = runtime::now();
        let Some(door) = self.doors.get(connection.listener).copied() else {
            return Answer::Close("the listener is not known".to_owned());
        };
        let mut key = 0;
        let context = |header: &crate::protocol::RequestHeader| {
            key = header.request_api_key.number();
            Context {
                api: Rc::clone(&self.api),
                door,
                version: header.request_api_version,
                client_id: header.client_id.clone(),
                client_address: connection.peer.ip(),
            }
        };
        let mut reply = match table::dispatch(context, request) {
            Dispatched::Started(reply) => reply,
            Dispatched::Refused(why) => return Answer::Close(why),
        };
        // What may wait for long ends when its client is gone. Everything else runs to its end: a command of the
        // controller that was broken off between its records and their taking over would leave the catalog torn.
        let mut may_end = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup].iter().any(|api| api.number() == key);
        let mut closed = pin!(connection.closed());
        let reply = poll_fn(|context| {
            if let Poll::Ready(reply) = reply.as_mut().poll(context) {
                return Poll::Ready(Some(reply));
            }
            if may_end && closed.as_mut().poll(context).is_ready() {
                // A broker that stops has a word for members that wait, and it is on its way.
                may_end = key == ApiKey::Fetch.number() || !connection.is_drained();
                return if may_end { Poll::Ready(None) } else { Poll::Pending };
            }
            Poll::Pending
        })
        .await;
        let took = runtime::now().saturating_duration_since(began);
        let failed = matches!(reply, Some(Reply::Close(_)));
        self.metrics.record_request(key, took.as_micros() as u64, failed);
        match reply {
            None | Some(Reply::Silent) => Answer::Nothing,
            Some(Reply::Close(why)) => Answer::Close(why),
            Some(Reply::Frame(frame)) => spliced(frame),
        }
    }
}

impl Service for KafkaService {
    fn call(self: &Rc<Self>, connection: &Rc<ConnectionInfo>, request: BytesMut) -> Call {
        let concurrent = table::is_concurrent(&request);
        let work = Rc::clone(self).answer(Rc::clone(connection), request);
        if concurrent { Call::concurrent(work) } else { Call::exclusive(work) }
    }
}

fn spliced(mut frame: Frame) -> Answer {
    let inserts: Vec<(usize, Vec<SendPart>)> = frame
        .externals
        .iter()
        .map(|external| {
            let chunks = frame.chunks.get_mut(external.slot as usize).map(std::mem::take).unwrap_or_default();
            (external.position, chunks.into_iter().map(part).collect())
        })
        .collect();
    Answer::spliced(frame.bytes, inserts)
}

fn part(chunk: Chunk) -> SendPart {
    match chunk {
        Chunk::Mem(bytes) => SendPart::Mem(bytes),
        Chunk::File(range) => {
            SendPart::File(FileRange { file: range.file, position: range.position, len: u64::from(range.len) })
        }
    }
}
