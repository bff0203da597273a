//! The commands against brokers that answer by a script: what is asked again, and in which versions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use clap::Parser;

use crate::error_code::ErrorCode;
use crate::protocol::api_versions::ApiVersion;
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::find_coordinator::Coordinator;
use crate::protocol::{
    ApiKey, ApiVersionsResponse, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, Message,
    Reader, RequestHeader, ResponseHeader, Writer,
};

use super::cluster::Cluster;
use super::failure::Failure;
use super::{GroupArgs, facts};

/// A broker that knows APIs up to some versions, and answers DescribeGroups by these codes in turn, then by none.
struct Script {
    apis: Vec<(ApiKey, i16)>,
    codes: Vec<ErrorCode>,
    /// What it was asked, with versions.
    asked: Mutex<Vec<(ApiKey, i16)>>,
    port: u16,
}

impl Script {
    fn start(apis: &[(ApiKey, i16)], codes: &[ErrorCode]) -> Arc<Script> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script =
            Arc::new(Script { apis: apis.to_vec(), codes: codes.to_vec(), asked: Mutex::new(Vec::new()), port });
        let serving = Arc::clone(&script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, stream) = (Arc::clone(&serving), stream.unwrap());
                thread::spawn(move || script.serve(stream));
            }
        });
        script
    }

    fn serve(&self, mut stream: TcpStream) {
        loop {
            let mut size = [0; 4];
            if stream.read_exact(&mut size).is_err() {
                return;
            }
            let mut frame = BytesMut::zeroed(u32::from_be_bytes(size) as usize);
            stream.read_exact(&mut frame).unwrap();
            let mut reader = Reader::new(frame);
            let header = RequestHeader::decode(&mut reader).unwrap();
            let (key, mut version) = (header.request_api_key, header.request_api_version);
            self.asked.lock().unwrap().push((key, version));
            let mut writer = Writer::frame();
            if key == ApiKey::ApiVersions {
                // Of an old broker: it knows version 0 alone.
                let is_known = version == 0;
                version = 0;
                ResponseHeader { correlation_id: header.correlation_id }.encode(&mut writer, key, version);
                self.api_versions(is_known).encode(&mut writer, version).unwrap();
            } else {
                ResponseHeader { correlation_id: header.correlation_id }.encode(&mut writer, key, version);
                match key {
                    ApiKey::FindCoordinator => {
                        let request = FindCoordinatorRequest::decode(&mut reader, version).unwrap();
                        self.coordinator(&request, version).encode(&mut writer, version).unwrap();
                    }
                    ApiKey::DescribeGroups => self.describe().encode(&mut writer, version).unwrap(),
                    other => panic!("nobody should ask {other:?}"),
                }
            }
            let (frame, _) = writer.finish_frame().unwrap();
            stream.write_all(&frame).unwrap();
        }
    }

    fn api_versions(&self, is_known: bool) -> ApiVersionsResponse {
        let of = |(key, max): &(ApiKey, i16)| ApiVersion { api_key: key.number(), min_version: 0, max_version: *max };
        ApiVersionsResponse {
            error_code: if is_known { 0 } else { ErrorCode::UnsupportedVersion.code() },
            api_keys: if is_known { self.apis.iter().map(of).collect() } else { Vec::new() },
            ..Default::default()
        }
    }

    fn coordinator(&self, request: &FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
        let (host, port) = ("127.0.0.1".into(), i32::from(self.port));
        if version < 4 {
            return FindCoordinatorResponse { node_id: 1, host, port, ..Default::default() };
        }
        let key = request.coordinator_keys[0].clone();
        let coordinators = vec![Coordinator { key, node_id: 1, host, port, ..Default::default() }];
        FindCoordinatorResponse { coordinators, ..Default::default() }
    }

    fn describe(&self) -> DescribeGroupsResponse {
        let asked = self.count(ApiKey::DescribeGroups);
        let code = self.codes.get(asked - 1).map_or(0, |code| code.code());
        let group = DescribedGroup { error_code: code, group_state: "Empty".into(), ..Default::default() };
        DescribeGroupsResponse { groups: vec![group], ..Default::default() }
    }

    fn count(&self, key: ApiKey) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| *asked == key).count()
    }

    fn cluster(&self, timeout: Duration) -> Cluster {
        Cluster::new(&format!("127.0.0.1:{}", self.port), timeout)
    }
}

const OLD: &[(ApiKey, i16)] = &[(ApiKey::FindCoordinator, 2), (ApiKey::DescribeGroups, 1)];
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_coordinator_that_loads_or_moves_is_asked_again() {
    let codes = [ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator];
    let script = Script::start(OLD, &codes);
    let group = facts::group(&mut script.cluster(LONG), "g").expect("it is there in the end");
    assert_eq!(group.state, "Empty");
    assert_eq!(script.count(ApiKey::DescribeGroups), 3);
    // Whoever is not the coordinator any more is asked who is.
    assert_eq!(script.count(ApiKey::FindCoordinator), 3);
}

#[test]
fn what_does_not_pass_ends_at_once() {
    let script = Script::start(OLD, &[ErrorCode::GroupAuthorizationFailed]);
    let failure = facts::group(&mut script.cluster(LONG), "g").err().expect("it is refused");
    assert!(matches!(failure, Failure::Code { code: 30, .. }), "{failure}");
    assert_eq!(script.count(ApiKey::DescribeGroups), 1);
}

#[test]
fn a_coordinator_that_never_comes_is_told_in_the_end() {
    let script = Script::start(OLD, &[ErrorCode::CoordinatorNotAvailable; 1000]);
    let failure = facts::group(&mut script.cluster(Duration::from_millis(300)), "g").err().expect("it never comes");
    assert!(failure.to_string().contains("COORDINATOR_NOT_AVAILABLE"), "{failure}");
}

#[test]
fn old_brokers_are_spoken_to_in_their_versions() {
    let script = Script::start(OLD, &[]);
    facts::group(&mut script.cluster(LONG), "g").expect("it answers");
    let asked = script.asked.lock().unwrap().clone();
    for want in [(ApiKey::ApiVersions, 0), (ApiKey::FindCoordinator, 2), (ApiKey::DescribeGroups, 1)] {
        assert!(asked.contains(&want), "{asked:?}");
    }
    assert!(asked.iter().all(|(key, _)| *key != ApiKey::ConsumerGroupDescribe), "{asked:?}");
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut cluster = Cluster::new(&free.to_string(), Duration::from_millis(50));
    let failure = cluster.metadata(&[]).expect_err("nobody listens");
    assert_eq!(failure.exit_code(), 69);
    assert!(failure.to_string().contains(&free.to_string()), "{failure}");
}

#[test]
fn command_lines_that_make_sense() {
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: GroupArgs,
    }
    let parse = |line: &str| Line::try_parse_from(line.split(' '));
    for line in [
        "group list --bootstrap h:1,h:2 --state stable,empty --output json",
        "group --bootstrap h:1 describe a b --members --verbose",
        "group describe --all-groups",
        "group reset-offsets a --topic t:0,1 --topic u --shift-by -5 --execute",
        "group reset-offsets a --all-topics --by-duration P1DT2H",
        "group reset-offsets a --from-file offsets.csv",
        "group delete a b -b h:1",
        "group delete-offsets a --topic t",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
    for line in [
        "group describe",
        "group describe a --all-groups",
        "group reset-offsets a --topic t",
        "group reset-offsets a --topic t --to-latest --to-earliest",
        "group reset-offsets a --topic t --to-datetime yesterday",
        "group delete-offsets a",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
