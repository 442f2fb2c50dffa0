//! Events by partition, as lines of JSON; with `follow` the answer goes on as events come.

use std::convert::Infallible;

use ::http::Response;
use bytes::Bytes;
use futures_util::stream;
use host::signals::Shutdown;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use iot_proto::payload::event::{
    ConsumerGroupsJson, EventLine, EventParts, NDJSON, PartitionJson, PartitionsJson,
};
use iot_proto::rest::{EventsQuery, Query};
use model::Fault;

use super::{Body, Head, ServiceBackend, answer};
use crate::backend::events::{Event, EventReader, EventsBackend};

/// Events read at once.
const BATCH_MAX: usize = 256;

impl<B: ServiceBackend> Head<B> {
    pub(super) fn partitions(&self) -> Result<Response<Body>, Fault> {
        let partitions = EventsBackend::partitions(&*self.backend)?
            .into_iter()
            .map(|info| PartitionJson {
                partition: info.partition,
                oldest_sequence_number: info.oldest,
                next_sequence_number: info.next,
                lost_records: info.lost,
            })
            .collect();
        Ok(answer::json(&PartitionsJson { partitions }))
    }

    pub(super) async fn consumer_groups(&self) -> Result<Response<Body>, Fault> {
        let groups = self.backend.consumer_groups().await?;
        let consumer_groups = groups.iter().map(ToString::to_string).collect();
        Ok(answer::json(&ConsumerGroupsJson { consumer_groups }))
    }

    /// The stream ends at the newest event, or with the connection when it follows. Hyper asks for
    /// the next part only when the last one is on its way, so a slow reader holds one batch.
    pub(super) fn read_partition(
        &self,
        partition: u32,
        query: &Query,
        shutdown: Shutdown,
    ) -> Result<Response<Body>, Fault> {
        let EventsQuery { from, follow } = EventsQuery::parse(query)?;
        let reader = self.backend.read(partition, from)?;
        let parts = stream::unfold((reader, shutdown), move |(mut reader, shutdown)| async move {
            let events = tokio::select! {
                events = reader.next(BATCH_MAX, follow) => events,
                () = shutdown.wait() => return None,
            };
            match events {
                Ok(events) if events.is_empty() => None,
                Ok(events) => {
                    Some((Ok::<_, Infallible>(Frame::data(lines(&events))), (reader, shutdown)))
                }
                Err(fault) => {
                    tracing::warn!(partition, %fault, "reading events ended");
                    None
                }
            }
        });
        let mut response = answer::bytes(::http::StatusCode::OK, Vec::new(), NDJSON);
        *response.body_mut() = StreamBody::new(parts).boxed_unsync();
        Ok(response)
    }
}

fn lines(events: &[Event]) -> Bytes {
    let mut out = Vec::new();
    for event in events {
        let parts = EventParts {
            partition: event.partition,
            sequence_number: event.sequence,
            enqueued: event.enqueued,
            source: event.source,
            sender: &event.sender,
            generation: event.generation.as_str(),
            auth_method: event.auth_method,
            message: &event.message,
        };
        out.extend_from_slice(&EventLine::new(&parts).to_line());
    }
    out.into()
}
