//! Topics: names, numbers of partitions, and the next offset of each.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
};

use corelane::{
    error_code::ErrorCode,
    protocol::{
        CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ListOffsetsRequest,
        ListOffsetsResponse, MetadataRequest, MetadataResponse, Str,
        create_topics::CreatableTopicResult,
        delete_topics::DeletableTopicResult,
        list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
};

use super::store::{Recycled, Store};

const NODE: i32 = 1;
const PARTITIONS_MAX: usize = 100_000;
/// Each has an open file.
const FILES_MAX: usize = 1024;
const EARLIEST: i64 = -2;

#[derive(Default)]
pub struct Topics {
    by_name: RefCell<HashMap<String, Vec<Rc<Partition>>>>,
}

pub struct Partition {
    pub next_offset: Cell<i64>,
    pub file: Option<Rc<Recycled>>,
}

impl Topics {
    pub fn partition(&self, topic: &str, index: i32) -> Option<Rc<Partition>> {
        let by_name = self.by_name.borrow();
        by_name.get(topic)?.get(usize::try_from(index).ok()?).map(Rc::clone)
    }

    pub async fn create(&self, request: &CreateTopicsRequest, store: &Store) -> CreateTopicsResponse {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let made = self.create_one(&topic.name, topic.num_partitions, store).await;
            let (code, why) = made.err().unwrap_or((ErrorCode::None, String::new()));
            topics.push(CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code.code(),
                error_message: (!why.is_empty()).then(|| Str::from(why)),
                num_partitions: topic.num_partitions,
                replication_factor: 1,
                ..Default::default()
            });
        }
        CreateTopicsResponse { topics, ..Default::default() }
    }

    async fn create_one(&self, name: &str, partitions: i32, store: &Store) -> Result<(), (ErrorCode, String)> {
        if self.by_name.borrow().contains_key(name) {
            return Err((ErrorCode::TopicAlreadyExists, String::new()));
        }
        let count = partitions.max(1) as usize;
        let there: usize = self.by_name.borrow().values().map(Vec::len).sum();
        let most = if matches!(store, Store::Files(_)) { FILES_MAX } else { PARTITIONS_MAX };
        if there + count > most {
            return Err((ErrorCode::InvalidPartitions, format!("this sink has at most {most} partitions")));
        }
        let files = match store {
            Store::Files(files) => {
                let made = files.make(count).await;
                made.map_err(|error| (ErrorCode::KafkaStorageError, error.to_string()))?.into_iter().map(Some).collect()
            }
            Store::Echo(_) => vec![None; count],
        };
        let all = files.into_iter().map(|file| Rc::new(Partition { next_offset: Cell::new(0), file })).collect();
        self.by_name.borrow_mut().insert(name.to_owned(), all);
        Ok(())
    }

    pub fn delete(&self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let delete = |name: &Str| {
            let was = self.by_name.borrow_mut().remove(name.as_str()).is_some();
            let code = if was { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            DeletableTopicResult { name: Some(name.clone()), error_code: code.code(), ..Default::default() }
        };
        DeleteTopicsResponse { responses: request.topic_names.iter().map(delete).collect(), ..Default::default() }
    }

    pub fn metadata(&self, request: &MetadataRequest, address: SocketAddr) -> MetadataResponse {
        let by_name = self.by_name.borrow();
        let names: Vec<String> = match &request.topics {
            None => by_name.keys().cloned().collect(),
            Some(asked) => asked.iter().filter_map(|topic| topic.name.as_deref().map(str::to_owned)).collect(),
        };
        let partition = |index: usize| MetadataResponsePartition {
            partition_index: index as i32,
            leader_id: NODE,
            leader_epoch: 0,
            replica_nodes: vec![NODE],
            isr_nodes: vec![NODE],
            ..Default::default()
        };
        let topic = |name: String| {
            let count = by_name.get(&name).map(Vec::len);
            let code = if count.is_some() { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            MetadataResponseTopic {
                error_code: code.code(),
                name: Some(Str::from(name)),
                partitions: (0..count.unwrap_or(0)).map(partition).collect(),
                ..Default::default()
            }
        };
        let here = MetadataResponseBroker {
            node_id: NODE,
            host: Str::from(address.ip().to_string()),
            port: i32::from(address.port()),
            rack: None,
        };
        MetadataResponse {
            brokers: vec![here],
            controller_id: NODE,
            topics: names.into_iter().map(topic).collect(),
            ..Default::default()
        }
    }

    pub fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let found = self.partition(&topic.name, asked.partition_index);
                let code = if found.is_some() { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
                let end = found.map_or(-1, |partition| partition.next_offset.get());
                partitions.push(ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: code.code(),
                    offset: if asked.timestamp == EARLIEST { 0 } else { end },
                    ..Default::default()
                });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
        }
        ListOffsetsResponse { topics, ..Default::default() }
    }
}
