//! The brokers of a cluster, as far as the commands need them: who coordinates a group, who leads a partition. Asks
//! again while a coordinator is loading or on its way, until the command's time is over.

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use crate::error_code::ErrorCode;
use crate::protocol::metadata::MetadataRequestTopic;
use crate::protocol::{
    FindCoordinatorRequest, ListGroupsRequest, ListGroupsResponse, MetadataRequest, MetadataResponse, Request, Str,
};

use super::connection::Connection;
use super::failure::{Failure, passing};

/// How long the commands pause before they ask again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A broker as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub address: String,
}

pub struct Cluster {
    bootstrap: String,
    deadline: Instant,
    timeout: Duration,
    connections: HashMap<String, Connection>,
    coordinators: HashMap<String, Node>,
}

/// What is asked of the leaders of partitions.
pub type Partitions = BTreeMap<String, Vec<i32>>;

impl Cluster {
    /// `bootstrap` is a list as of Kafka's clients: `host:port,host:port`. Nothing is sent yet.
    pub fn new(bootstrap: &str, timeout: Duration) -> Cluster {
        Cluster {
            bootstrap: bootstrap.to_owned(),
            deadline: Instant::now() + timeout,
            timeout,
            connections: HashMap::new(),
            coordinators: HashMap::new(),
        }
    }

    /// Does `ask` until it succeeds, fails for good, or the command's time is over.
    fn until_deadline<T>(&mut self, mut ask: impl FnMut(&mut Cluster) -> Result<T, Failure>) -> Result<T, Failure> {
        loop {
            match ask(self) {
                Err(failure) if failure.may_pass() && Instant::now() + RETRY_PAUSE < self.deadline => {
                    thread::sleep(RETRY_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    fn connection(&mut self, address: &str) -> Result<&mut Connection, Failure> {
        if !self.connections.contains_key(address) {
            let connection = Connection::open(address, self.timeout)?;
            self.connections.insert(address.to_owned(), connection);
        }
        Ok(self.connections.get_mut(address).expect("it was just put there"))
    }

    /// Asks the broker at an address; a connection that failed is not used again.
    fn at<R: Request>(
        &mut self,
        address: &str,
        cap: i16,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, Failure> {
        let outcome = self.connection(address)?.call(cap, request);
        if matches!(outcome, Err(Failure::Io { .. })) {
            self.connections.remove(address);
        }
        outcome
    }

    /// Asks whichever broker of the bootstrap list answers.
    fn anywhere<R: Request>(&mut self, cap: i16, request: impl Fn(i16) -> R) -> Result<R::Response, Failure> {
        let mut last = None;
        for address in self.bootstrap.clone().split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match self.at(address, cap, &request) {
                Err(Failure::Io { error, .. }) => last = Some(error),
                outcome => return outcome,
            }
        }
        match last {
            Some(error) => Err(Failure::Unreachable { bootstrap: self.bootstrap.clone(), error }),
            None => Err(Failure::Wrong("--bootstrap names no broker; it is HOST:PORT[,HOST:PORT...]".to_owned())),
        }
    }

    /// Of these topics, or of none: then it is about the brokers alone. No topic is created by it.
    pub fn metadata(&mut self, topics: &[&str]) -> Result<MetadataResponse, Failure> {
        let topics: Vec<_> = topics
            .iter()
            .map(|name| MetadataRequestTopic { name: Some(Str::from(*name)), ..MetadataRequestTopic::default() })
            .collect();
        self.until_deadline(|cluster| {
            cluster.anywhere(i16::MAX, |_| MetadataRequest {
                topics: Some(topics.clone()),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            })
        })
    }

    pub fn nodes(&mut self) -> Result<Vec<Node>, Failure> {
        let brokers = self.metadata(&[])?.brokers;
        Ok(brokers.iter().map(|broker| node(broker.node_id, &broker.host, broker.port)).collect())
    }

    /// The groups that one broker coordinates. Filters that a broker doesn't know are left to the caller.
    pub fn groups_at(&mut self, of: &Node, states: &[String], types: &[String]) -> Result<ListGroupsResponse, Failure> {
        let strs = |of: &[String]| of.iter().map(|text| Str::from(text.as_str())).collect::<Vec<_>>();
        self.until_deadline(|cluster| {
            let answer = cluster.at(&of.address, i16::MAX, |version| ListGroupsRequest {
                states_filter: if version >= 4 { strs(states) } else { Vec::new() },
                types_filter: if version >= 5 { strs(types) } else { Vec::new() },
            })?;
            match answer.error_code {
                0 => Ok(answer),
                code => Err(Failure::code(format!("the groups of broker {}", of.id), code)),
            }
        })
    }

    pub fn coordinator(&mut self, group: &str) -> Result<Node, Failure> {
        if let Some(known) = self.coordinators.get(group) {
            return Ok(known.clone());
        }
        let answer = self.anywhere(i16::MAX, |version| {
            let mut request = FindCoordinatorRequest::default();
            if version >= 4 {
                request.coordinator_keys = vec![Str::from(group)];
            } else {
                request.key = Str::from(group);
            }
            request
        })?;
        let found = match answer.coordinators.first() {
            Some(found) => (found.error_code, found.node_id, found.host.clone(), found.port),
            None => (answer.error_code, answer.node_id, answer.host, answer.port),
        };
        match found {
            (0, id, host, port) => {
                let node = node(id, &host, port);
                self.coordinators.insert(group.to_owned(), node.clone());
                Ok(node)
            }
            (code, ..) => Err(Failure::code(format!("the coordinator of {group}"), code)),
        }
    }

    /// Asks a group's coordinator, and again while `code` of the answer says that it may still come.
    pub fn on_coordinator<R: Request>(
        &mut self,
        group: &str,
        cap: i16,
        request: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Failure> {
        self.until_deadline(|cluster| {
            let node = cluster.coordinator(group)?;
            let outcome = cluster.at(&node.address, cap, &request).and_then(|answer| match code(&answer) {
                code if passing(code) => Err(Failure::code(group, code)),
                _ => Ok(answer),
            });
            if outcome.as_ref().is_err_and(Failure::may_pass) {
                cluster.coordinators.remove(group);
            }
            outcome
        })
    }

    /// Whether a group's coordinator knows a request at all.
    pub fn coordinator_speaks<R: Request>(&mut self, group: &str) -> Result<bool, Failure> {
        self.until_deadline(|cluster| {
            let node = cluster.coordinator(group)?;
            Ok(cluster.connection(&node.address)?.version::<R>(i16::MAX).is_some())
        })
    }

    /// How many partitions each topic has; None for those that aren't there.
    pub fn partition_counts(&mut self, topics: &[&str]) -> Result<BTreeMap<String, Option<i32>>, Failure> {
        let mut counts: BTreeMap<String, Option<i32>> =
            topics.iter().map(|topic| ((*topic).to_owned(), None)).collect();
        if counts.is_empty() {
            return Ok(counts);
        }
        let names: Vec<&str> = topics.to_vec();
        for topic in self.metadata(&names)?.topics {
            let Some(name) = topic.name else { continue };
            if topic.error_code == 0 {
                counts.insert(name.as_str().to_owned(), Some(topic.partitions.len() as i32));
            } else if topic.error_code != ErrorCode::UnknownTopicOrPartition.code() {
                return Err(Failure::code(format!("topic {}", name.as_str()), topic.error_code));
            }
        }
        Ok(counts)
    }

    /// The partitions by the broker that leads them. Partitions of no leader or no topic are not among them.
    fn by_leader(&mut self, partitions: &Partitions) -> Result<Vec<(String, Partitions)>, Failure> {
        let names: Vec<&str> = partitions.keys().map(String::as_str).collect();
        let metadata = self.metadata(&names)?;
        let addresses: HashMap<i32, String> = metadata
            .brokers
            .iter()
            .map(|broker| (broker.node_id, node(broker.node_id, &broker.host, broker.port).address))
            .collect();
        let mut shares: BTreeMap<String, Partitions> = BTreeMap::new();
        for topic in &metadata.topics {
            let Some(name) = &topic.name else { continue };
            let Some(wanted) = partitions.get(name.as_str()) else { continue };
            for partition in topic.partitions.iter().filter(|p| wanted.contains(&p.partition_index)) {
                if let Some(address) = addresses.get(&partition.leader_id) {
                    let share = shares.entry(address.clone()).or_default();
                    share.entry(name.as_str().to_owned()).or_default().push(partition.partition_index);
                }
            }
        }
        Ok(shares.into_iter().collect())
    }

    /// Asks the leaders of partitions, each for its share, and again while one may still come.
    pub fn on_leaders<R: Request>(
        &mut self,
        partitions: &Partitions,
        request: impl Fn(&Partitions) -> R,
        codes: impl Fn(&R::Response) -> Vec<i16>,
    ) -> Result<Vec<R::Response>, Failure> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.until_deadline(|cluster| {
            let mut answers = Vec::new();
            for (address, share) in cluster.by_leader(partitions)? {
                let answer = cluster.at(&address, i16::MAX, |_| request(&share))?;
                if let Some(code) = codes(&answer).into_iter().find(|code| passing(*code)) {
                    return Err(Failure::code("offsets of partitions", code));
                }
                answers.push(answer);
            }
            Ok(answers)
        })
    }
}

fn node(id: i32, host: &str, port: i32) -> Node {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Node { id, address }
}
